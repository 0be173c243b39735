"""Our microwave models beside other people's codes: cases a second, in one run on one core.

    python -m benchmarks microwave_peers [--peers DIR] [--quick] [--output FILE.json]

The peers (`pyi2em`, `smrt`) are called for comparison only and skipped with a line where they are absent. They need not
be installed beside the project: --peers names the site-packages of another environment of the same Python. Closed forms
have no installable peer (SenSE is on no registry); vectorised NumPy from the same equations in double precision, which
is what such codes do, stands in for one. Configurations take turns; the best batch size and the best run count.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.one_core import bind_to_one_core

if TYPE_CHECKING:
    from releo_jax.benchmarking import Simulator

# jax and what rests on it are imported inside functions: the process is bound to one core before.

_WAVE_NUMBER = 2.0 * math.pi * 5.405 / 29.9792458  # radian cm⁻¹, Sentinel-1
Columns = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rates:
    """Cases a second of one of our models and of a peer.

    Attributes:
        model: ours.
        peer: whose code, or "NumPy" for the stand-in.
        value: of our model.
        gradient: of its value and gradient.
        peer_value: of the peer.
        difference: largest relative difference of the values.
    """

    model: str
    peer: str
    value: float
    gradient: float
    peer_value: float
    difference: float


def _reflected(e: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reflectivities of v and h at an incidence, and at nadir."""
    cosine, root = np.cos(angle), np.sqrt(e - np.sin(angle) ** 2)
    vertical = np.abs((e * cosine - root) / (e * cosine + root)) ** 2
    horizontal = np.abs((cosine - root) / (cosine + root)) ** 2
    return vertical, horizontal, np.abs((1.0 - np.sqrt(e)) / (1.0 + np.sqrt(e))) ** 2


def oh92(p: Columns) -> np.ndarray:
    """Oh, Sarabandi & Ulaby 1992, vv, hh and vh."""
    angle, ks = np.radians(p["incidence"]), _WAVE_NUMBER * p["rms_height"]
    vertical, horizontal, nadir = _reflected(p["dielectric_constant"] - 1j * p["dielectric_loss"], angle)
    root_p = 1.0 - (2.0 * angle / np.pi) ** (1.0 / (3.0 * nadir)) * np.exp(-ks)
    vv = 0.7 * (1.0 - np.exp(-0.65 * ks**1.8)) * np.cos(angle) ** 3 * (vertical + horizontal) / root_p
    return np.stack([vv, root_p**2 * vv, 0.23 * np.sqrt(nadir) * (1.0 - np.exp(-ks)) * vv], -1)


def oh04(p: Columns) -> np.ndarray:
    """Oh 2004, vv, hh and vh."""
    angle, ks, m = np.radians(p["incidence"]), _WAVE_NUMBER * p["rms_height"], p["soil_moisture"]
    ratio = 1.0 - (2.0 * angle / np.pi) ** (0.35 * m**-0.65) * np.exp(-0.4 * ks**1.4)
    q = 0.095 * (0.13 + np.sin(1.5 * angle)) ** 1.4 * (1.0 - np.exp(-1.3 * ks**0.9))
    vh = 0.11 * m**0.7 * np.cos(angle) ** 2.2 * (1.0 - np.exp(-0.32 * ks**1.8))
    return np.stack([vh / q, ratio * vh / q, vh], -1)


def dubois95(p: Columns) -> np.ndarray:
    """Dubois, van Zyl & Engman 1995, vv and hh."""
    angle = np.radians(p["incidence"])
    cosine, sine, tangent = np.cos(angle), np.sin(angle), np.tan(angle)
    rough, scale = _WAVE_NUMBER * p["rms_height"] * sine, (2.0 * np.pi / _WAVE_NUMBER) ** 0.7
    wet = p["dielectric_constant"] * tangent
    hh = 10.0 ** (-2.75 + 0.028 * wet) * cosine**1.5 / sine**5 * rough**1.4 * scale
    vv = 10.0 ** (-2.35 + 0.046 * wet) * cosine**3 / sine**3 * rough**1.1 * scale
    return np.stack([vv, hh], -1)


def water_cloud(p: Columns) -> np.ndarray:
    """Attema & Ulaby 1978 over a soil that is linear in decibels: total, vegetation and soil."""
    cosine = np.cos(np.radians(p["incidence"]))
    through = np.exp(-2.0 * p["attenuation"] * p["descriptor"] / cosine)
    cloud = p["scattering"] * p["descriptor"] ** p["exponent"] * cosine * (1.0 - through)
    soil = through * 10.0 ** (0.1 * (-15.0 + 25.0 * p["soil_moisture"]))
    return np.stack([cloud + soil, cloud, soil], -1)


def mironov09(p: Columns) -> np.ndarray:
    """Mironov, Kosolapova & Fomin 2009: real and imaginary part."""
    clay, water = 100.0 * p["clay"], p["soil_moisture"]
    bound = np.minimum(water, 0.02863 + 0.30673e-2 * clay)
    n = 1.634 - 0.539e-2 * clay + 0.2748e-4 * clay**2
    k = 0.03952 - 0.04038e-2 * clay
    kinds = (
        (79.8 - 85.4e-2 * clay + 32.7e-4 * clay**2, 1.062e-11 + 3.450e-14 * clay, 0.3112 + 0.467e-2 * clay, bound),
        (100.0, 8.5e-12, 0.3631 + 1.217e-2 * clay, water - bound),
    )
    for static, relaxation, conductivity, volume in kinds:
        x = 2.0 * np.pi * 5.405e9 * relaxation
        real = 4.9 + (static - 4.9) / (1.0 + x**2)
        loss = x * (static - 4.9) / (1.0 + x**2) + conductivity / (2.0 * np.pi * 5.405e9 * 8.8541878128e-12)
        size = np.hypot(real, loss)
        n = n + (np.sqrt((size + real) / 2.0) - 1.0) * volume
        k = k + np.sqrt((size - real) / 2.0) * volume
    return np.stack([n**2 - k**2, 2.0 * n * k], -1)


def _pyi2em(p: Columns) -> np.ndarray:
    """I²EM by the package `pyi2em` (C++), vv and hh."""
    import pyi2em

    found = []
    for e, loss, height, length, angle in zip(*(p[name].tolist() for name in _ROUGH), strict=True):
        one = pyi2em.sigma0_backscatter(
            5.405, 0.01 * height, 0.01 * length, angle, complex(e, loss), include_hv=False, return_db=False
        )
        found.append((float(np.ravel(one["vv"])[0]), float(np.ravel(one["hh"])[0])))
    return np.array(found)


_ROUGH = ("dielectric_constant", "dielectric_loss", "rms_height", "correlation_length", "incidence")


def _smrt(p: Columns) -> np.ndarray:
    """The integral equation model of 1992 by the package `smrt`, vv and hh, each soil at its own angle."""
    from smrt.interface.iem_fung92 import IEM_Fung92

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of slopes beyond its range, which ours computes too
        for e, loss, height, length, angle in zip(*(p[name].tolist() for name in _ROUGH), strict=True):
            model = IEM_Fung92(roughness_rms=0.01 * height, corr_length=0.01 * length, series_truncation=54)
            mu = np.atleast_1d(math.cos(math.radians(angle)))
            vv, hh = model.diffuse_reflection_matrix(5.405e9, 1.0, complex(e, loss), mu, mu, math.pi, 2).values[:, 0]
            found.append((4.0 * math.pi * mu[0] * vv, 4.0 * math.pi * mu[0] * hh))
    return np.array(found)


CLOSED: dict[str, Callable[[Columns], np.ndarray]] = {
    one.__name__: one for one in (oh92, oh04, dubois95, water_cloud, mironov09)
}
PEERS: dict[str, tuple[str, Callable[[Columns], np.ndarray]]] = {
    "iem, exponential": ("pyi2em", _pyi2em),
    "iem_fung92": ("smrt", _smrt),
}


def pairs(say: Callable[[str], None]) -> list[tuple[str, Simulator, Simulator]]:
    """The peer's name, our model and the peer's, of the same columns."""
    from benchmarks.microwave import microwave
    from releo_jax.benchmarking import Simulator, by_name

    ours = {one.name: one for one in microwave()}
    wanted = {name: ("NumPy", function) for name, function in CLOSED.items()}
    for name, (package, function) in PEERS.items():
        if importlib.util.find_spec(package) is None:
            say(f"{package}: not installed, left out; `pip install {package}` into any environment, named by --peers")
        else:
            wanted[name] = (package, function)
    made = []
    for name, (peer, function) in wanted.items():
        prior = ours[name].prior
        theirs = Simulator(
            name=f"{peer}, {name}", function=by_name(function, prior), prior=prior, jax=False, dtype="float64"
        )
        made.append((peer, ours[name], theirs))
    return made


def measure(peer: str, ours: Simulator, theirs: Simulator, *, seed: int, rounds: int) -> Rates:
    """Rates of one pair, in turns."""
    from releo_jax.benchmarking.space import draw
    from releo_jax.benchmarking.timing import prepare, rate, throughput

    sizes = (256, 4096, 65536)
    ready = [prepare(ours, operation, size, seed=seed) for operation in ("forward", "gradient") for size in sizes]
    external = [prepare(theirs, "forward", size, seed=seed) for size in (sizes if peer == "NumPy" else (64,))]
    throughput([*ready, *external], rounds=rounds, slice_seconds=0.1)
    best = {
        operation: max(rate(one).best for one in ready if one.operation == operation)
        for operation in ("forward", "gradient")
    }
    at = draw(ours.prior, 64, seed=seed)
    import jax.numpy as jnp

    mine, other = np.asarray(ours.function(jnp.asarray(at, jnp.float32)), float), theirs.function(at)
    columns = min(mine.shape[1], other.shape[1])
    difference = np.abs(mine[:, :columns] - other[:, :columns]) / np.abs(other[:, :columns]).max(0)
    return Rates(
        ours.name,
        peer,
        best["forward"],
        best["gradient"],
        max(rate(one).best for one in external),
        float(np.nanmax(difference)),
    )


def table(found: list[Rates]) -> str:
    """Rates in millions of cases a second and their ratios, as markdown."""
    lines = [
        "| model | beside | ours | value and gradient | theirs | ours / theirs | gradient / theirs | difference |",
        "|---" * 8 + "|",
    ]
    for r in found:
        rates = " | ".join(f"{1e-6 * value:.3g}" for value in (r.value, r.gradient, r.peer_value))
        ratios = f"{r.value / r.peer_value:.3g} | {r.gradient / r.peer_value:.3g}"
        lines.append(f"| {r.model} | {r.peer} | {rates} | {ratios} | {r.difference:.1g} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line; `argv` without the program's name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="site-packages of an environment that has the peers")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file; the table (.md) goes beside it")
    given = parser.parse_args(argv)
    bind_to_one_core()
    if given.peers is not None:
        sys.path.append(str(given.peers))  # behind ours, whose NumPy stays

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    found = [measure(*pair, seed=given.seed, rounds=2 if given.quick else 6) for pair in pairs(say)]
    print(table(found))
    if given.output is not None:
        from releo_jax.benchmarking.machine import machine

        entries = [dataclasses.asdict(one) for one in found]
        report = {"seed": given.seed, "machine": machine(), "rates": entries}
        given.output.write_text(json.dumps(report, indent=1) + "\n")
        given.output.with_suffix(".md").write_text(table(found) + "\n")


if __name__ == "__main__":
    main()
