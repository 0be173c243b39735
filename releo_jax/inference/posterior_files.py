"""Posteriors on disk: one safetensors file of numbers, nothing that runs code when it is read."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from safetensors import safe_open

from releo_jax.inference.flows import FlowShape, SplineFlow
from releo_jax.inference.laws import DiagonalNormal, FullNormal, Law
from releo_jax.inference.lut import TablePosterior
from releo_jax.inference.mixtures import NormalMixture
from releo_jax.inference.posterior import DrawsPosterior, GuidePosterior, PointPosterior, Posterior
from releo_jax.inference.storage import read_header, write
from releo_jax.inference.structure import Model, Site, Structure, read_structure
from releo_jax.inference.truncated_normals import TruncatedNormals
from releo_jax.observations import Observations

_KEY = "releo_jax.posterior"
_VERSION = 1
_LAWS = {law.__name__: law for law in (DiagonalNormal, FullNormal, TruncatedNormals, NormalMixture, SplineFlow)}


def save_posterior(posterior: Posterior, path: str | os.PathLike[str]) -> None:
    """Writes what a posterior knows; model and observations stay with their owner.

    Args:
        posterior: of any engine.
        path: of the file, e.g. "field.safetensors".

    Raises:
        ValueError: a law of an own family, whose format is not known.
    """
    arrays: dict[str, Any] = {f"diagnostics/{name}": value for name, value in posterior.diagnostics.items()}
    header: dict[str, Any] = {"version": _VERSION, "kind": type(posterior).__name__}
    if isinstance(posterior, DrawsPosterior):
        arrays |= {f"draws/{name}": value for name, value in posterior.draws.items()}
        plate, size = posterior._plate()
        local = {name: posterior._local(name) for name in posterior.draws}
        header |= {"plate": plate, "size": size, "local": local}
    elif isinstance(posterior, TablePosterior):
        arrays |= {f"table/{name}": value for name, value in posterior.table.items()} | {"chosen": posterior.chosen}
        header |= {"plate": posterior._plate()[0]}
    elif isinstance(posterior, PointPosterior):
        arrays |= {f"values/{name}": value for name, value in posterior.values.items()}
        header |= _sites(posterior.structure)
    elif isinstance(posterior, GuidePosterior):
        header |= _sites(posterior.structure)
        for name, law in (("law", posterior.law), ("shared", posterior.shared)):
            if law is not None:
                header[name] = _pack(name, law, arrays)
    else:
        raise ValueError(f"save_posterior: expected a posterior of this package, got {type(posterior).__name__}")
    write(path, arrays, {_KEY: json.dumps(header)})


def load_posterior(
    path: str | os.PathLike[str], *, model: Model | None = None, observations: Observations | None = None
) -> Posterior:
    """Reads a file written by `save_posterior`.

    Args:
        path: of the file.
        model: the NumPyro model function of the posterior; for those of `fit_map`, `fit_laplace`, `fit_svi` and
            `amortize`, which state laws of its sites.
        observations: what it was fitted to; for the same.

    Raises:
        ValueError: another file, or another model than the one that was fitted.
    """
    header, arrays = _read(path)
    diagnostics = _group(arrays, "diagnostics")
    kind = header["kind"]
    if kind == "DrawsPosterior":
        draws, how = _group(arrays, "draws"), {"plate": header["plate"], "size": header["size"]}
        return DrawsPosterior(draws, header["local"], diagnostics=diagnostics, **how)
    if kind == "TablePosterior":
        table = {name: np.asarray(value) for name, value in _group(arrays, "table").items()}
        return TablePosterior(table, arrays["chosen"], plate=header["plate"], diagnostics=diagnostics)
    if model is None or observations is None:
        raise ValueError(
            f"{os.fspath(path)}: expected model= and observations= beside a {kind}, whose numbers mean nothing without "
            "them; give those that it was fitted with"
        )
    found = _sites(read_structure(model, observations, plate=header["plate"]))
    if any(sorted(found[part]) != sorted(header[part]) for part in ("sites", "global")):
        raise ValueError(
            f"{os.fspath(path)}: expected a model with the sites {header['sites']} and {header['global']}, got "
            f"{found['sites']} and {found['global']}; load it with the model it was fitted with"
        )
    order = [name for name, _ in header["sites"]]
    structure = read_structure(model, observations, plate=header["plate"], first=order)
    common: Any = {
        "model": model,
        "structure": structure,
        "observations": dict(observations),
        "diagnostics": diagnostics,
    }
    if kind == "PointPosterior":
        return PointPosterior(values=_group(arrays, "values"), **common)
    law = _unpack("law", header["law"], structure.local, arrays)
    shared = _unpack("shared", header["shared"], structure.shared, arrays) if "shared" in header else None
    return GuidePosterior(law=law, shared=shared, **common)


def _sites(structure: Structure) -> dict[str, Any]:
    return {
        "plate": structure.plate,
        "sites": [[site.name, list(site.shape)] for site in structure.local],
        "global": [[site.name, list(site.shape)] for site in structure.shared],
    }


def _pack(name: str, law: Law, arrays: dict[str, Any]) -> dict[str, Any]:
    """Puts the arrays of a law among the others; returns what else there is to know."""
    kind = type(law).__name__
    if kind not in _LAWS:
        raise ValueError(
            f"save_posterior: expected one of the laws {sorted(_LAWS)}, got {kind}; keep draws of it instead"
        )
    described: dict[str, Any] = {"kind": kind}
    for field in dataclasses.fields(law):  # type: ignore[arg-type]
        value = getattr(law, field.name)
        if isinstance(value, list):
            described[field.name] = len(value)
            arrays |= {f"{name}/{field.name}/{i}": leaf for i, leaf in enumerate(value)}
        elif isinstance(value, Array | np.ndarray):
            arrays[f"{name}/{field.name}"] = value
        elif field.name != "sites":
            described[field.name] = list(value)
    return described


def _unpack(name: str, described: Mapping[str, Any], sites: tuple[Site, ...], arrays: Mapping[str, Any]) -> Any:
    made: dict[str, Any] = {"sites": sites}
    for field in dataclasses.fields(_LAWS[described["kind"]]):
        key = f"{name}/{field.name}"
        if key in arrays:
            made[field.name] = jnp.asarray(arrays[key])
        elif field.name == "weights":
            made[field.name] = [jnp.asarray(arrays[f"{key}/{i}"]) for i in range(described["weights"])]
        elif field.name == "shape":
            made[field.name] = FlowShape(*described["shape"])
    return _LAWS[described["kind"]](**made)


def _group(arrays: Mapping[str, np.ndarray], group: str) -> dict[str, Array]:
    return {
        name.removeprefix(f"{group}/"): jnp.asarray(value)
        for name, value in arrays.items()
        if name.startswith(f"{group}/")
    }


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    header = read_header(path, _KEY, _VERSION, writer="save_posterior", remedy="fit again")
    with safe_open(path, framework="numpy") as file:
        return header, {name: file.get_tensor(name) for name in file.keys()}
