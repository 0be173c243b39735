"""Other people's codes as entries, called for comparison only; an entry whose package is absent says so."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np

from benchmarks.optics import ANGLES, PRIOR, classical_spectra, entry, model, spectra_on_one_soil
from releo_jax.benchmarking import Simulator, Skipped


def prosail_entry() -> Simulator | Skipped:
    """The package `prosail`: Numba, float64, one canopy a call, no derivatives."""
    if importlib.util.find_spec("prosail") is None:
        return Skipped("prosail", "the package is not installed; install the extra releo-jax[benchmark]")
    classical = model("classical", classical_spectra, dtype="float64")
    return entry(
        "prosail", peer_spectra, dtype="float64", jax=False, reference=classical, note="GPL-3.0, Numba; no derivatives"
    )


def torchrtm_entry() -> Simulator | Skipped:
    """The package `torchrtm`: PyTorch, float32; its soil has no brightness."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchrtm") is None:
        return Skipped(
            "torchrtm", "the package is not installed; `pip install torchrtm` brings PyTorch, some gigabytes"
        )
    # Only to learn whether it loads: a PyTorch without its libraries is found and cannot be imported.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
            import torchrtm  # noqa: F401
    except (ImportError, OSError) as error:
        return Skipped("torchrtm", f"the package does not load: {error}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        import os

        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    return entry(
        "torchrtm",
        torch_spectra,
        jax=False,
        vjp=torch_vjp,
        conditions=("brightness", *ANGLES),
        reference=model("on one soil", spectra_on_one_soil, dtype="float64"),
        note=f"MIT, PyTorch {torch.__version__} on {device}; soil of brightness 1",
    )


def peer_spectra(parameters: np.ndarray) -> np.ndarray:
    """Spectra (batch, 2101) by the package `prosail`."""
    import prosail as peer

    found = []
    for n, cab, car, ant, brown, cw, cm, lai, angle, hot_spot, brightness, wetness, *angles in parameters.tolist():
        found.append(
            peer.run_prosail(
                n,
                cab,
                car,
                brown,
                cw,
                cm,
                lai,
                angle,
                hot_spot,
                *angles,
                ant=ant,
                prospect_version="D",
                typelidf=2,
                rsoil=brightness,
                psoil=1.0 - wetness,
            )
        )
    return np.array(found)


def torch_spectra(parameters: np.ndarray) -> np.ndarray:
    """Spectra (batch, 2101) by the package `torchrtm`, in single precision whatever comes."""
    import torch

    with torch.no_grad():
        return _torch(torch.as_tensor(parameters, dtype=torch.float32), False).cpu().numpy()


def torch_vjp(parameters: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectra and the gradient of their weighted sum."""
    import torch

    given = torch.tensor(parameters, dtype=torch.float32, requires_grad=True)
    found = _torch(given, True)
    found.backward(torch.as_tensor(weights, dtype=torch.float32, device=found.device))
    assert given.grad is not None
    return found.detach().cpu().numpy(), given.grad.numpy()


def _torch(parameters: Any, differentiable: bool) -> Any:
    import torch
    from torchrtm.models import prosail

    names = list(PRIOR)
    on_device = parameters.to("cuda" if torch.cuda.is_available() else "cpu")
    field = {name: on_device[:, column] for column, name in enumerate(names)}
    traits = ("chlorophyll", "carotenoids", "brown_pigment", "water", "dry_matter", "anthocyanins")
    components = prosail(
        torch.stack([field[name] for name in traits], dim=1),
        field["layers"],
        field["mean_leaf_angle"],
        torch.zeros_like(field["layers"]),
        field["leaf_area_index"],
        field["hot_spot"],
        *(field[name] for name in ANGLES),
        torch.full_like(field["layers"], 40.0),
        1.0 - field["wetness"],
        batch_size=len(on_device),
        prospect_type="prospect5d",
        lidtype=2,
        differentiable=differentiable,
    )
    return components[3].T  # diffuse, directional, ...: the fourth is the bidirectional reflectance
