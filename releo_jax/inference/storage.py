"""Trained weights on disk: one safetensors file, whose header says which model and guide they belong to."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from releo_jax.inference.structure import Structure

_KEY = "releo_jax.amortized"
_VERSION = 1


def description(structure: Structure, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says about the model and the guide."""
    if not isinstance(options["family"], str):
        raise ValueError(
            f"save: expected a family by name, got {options['family']!r}; weights of an own family need an own format"
        )
    return {
        "version": _VERSION,
        "options": dict(options),
        "local": [[site.name, list(site.shape)] for site in structure.local],
        "shared": [[site.name, list(site.shape)] for site in structure.shared],
        "observed": list(structure.observed),
    }


def named(*states: Any) -> dict[str, Any]:
    """Arrays of parameters and constants by their place in the states."""
    leaves = {}
    for group, state in zip(("parameters", "constants"), states, strict=True):
        for path, leaf in jax.tree.leaves_with_path(state):
            leaves[f"{group}{jax.tree_util.keystr(path)}"] = leaf
    return leaves


def save(path: str | os.PathLike[str], parameters: Any, constants: Any, header: Mapping[str, Any]) -> None:
    """Writes the weights of a guide."""
    write(path, named(parameters, constants), {_KEY: json.dumps(header)})


def write(path: str | os.PathLike[str], arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Writes beside the target and renames, so that a file under its name is whole."""
    target = pathlib.Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        save_file({name: np.array(leaf, order="C") for name, leaf in arrays.items()}, beside, metadata=dict(metadata))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def read_header(path: str | os.PathLike[str], key: str, version: int, *, writer: str, remedy: str) -> dict[str, Any]:
    """What a file says of itself under a key of its metadata.

    Raises:
        ValueError: not a safetensors file, not one that `writer` wrote, or of another version.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: expected a safetensors file, got {error}") from error
    if key not in metadata:
        raise ValueError(f"{os.fspath(path)}: expected a file written by {writer}, got another one")
    header: dict[str, Any] = json.loads(metadata[key])
    if header["version"] != version:
        raise ValueError(f"{os.fspath(path)}: expected format version {version}, got {header['version']}; {remedy}")
    return header


def _header(path: str | os.PathLike[str]) -> dict[str, Any]:
    remedy = "train again, or install the version of releo-jax that wrote it"
    return read_header(path, _KEY, _VERSION, writer="AmortizedPosterior.save", remedy=remedy)


def read_options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Arguments of `amortize` as they were."""
    # The first files have no options of the family.
    options = {"family_options": {}} | _header(path)["options"]
    return options | {"sites": tuple(options["sites"])}


def check_structure(path: str | os.PathLike[str], structure: Structure) -> None:
    """Raises if a model has other sites than the one whose guide was saved."""
    header = _header(path)
    for kind, sites in (("local", structure.local), ("shared", structure.shared)):
        expected, got = header[kind], [[site.name, list(site.shape)] for site in sites]
        if expected != got:
            raise ValueError(
                f"{os.fspath(path)}: expected a model with the {kind} sites {expected}, got {got}; load it with the "
                "model it was trained with"
            )


def read_constants(path: str | os.PathLike[str], place: Any) -> Any:
    """Some of the stored constants, without knowing the others.

    Args:
        path: a file that `save` wrote.
        place: a structure like theirs, such as `{"domain": ...}`; its leaves are replaced by the stored arrays.
    """
    names = named({}, place)
    with safe_open(path, framework="numpy") as file:
        found = iter([jnp.asarray(file.get_tensor(name)) for name in names])
    return jax.tree.map(lambda leaf: next(found), place)


def restore(path: str | os.PathLike[str], parameters: Any, constants: Any) -> tuple[Any, Any]:
    """The stored arrays, in states of the given structure."""
    expected = named(parameters, constants)
    with safe_open(path, framework="numpy") as file:
        names = set(file.keys())
        if names != set(expected):
            raise ValueError(
                f"{os.fspath(path)}: expected weights of this encoder and family; the file lacks "
                f"{sorted(set(expected) - names)} and has beside them {sorted(names - set(expected))}"
            )
        stored = {name: file.get_tensor(name) for name in names}
    for name, leaf in expected.items():
        if stored[name].shape != leaf.shape:
            raise ValueError(
                f"{os.fspath(path)}: expected {name} of shape {leaf.shape}, got {stored[name].shape}; build the "
                "encoder with the width, depth and bands it was trained with"
            )
    filled = iter([jnp.asarray(stored[name]) for name in expected])
    return jax.tree.map(lambda leaf: next(filled), (parameters, constants))
