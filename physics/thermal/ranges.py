"""What the empirical models of emissivity and temperature were made for, and where inputs keep to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.parameters import as_float
from physics.thermal.emissivity import skokovic14, sobrino08
from physics.thermal.surface_temperature import du15, jimenez_munoz14, slstr

# What each model was made for: closed intervals of water vapour (g cm⁻²), NDVI, red reflectance, view zenith (radian).
_RANGES: Mapping[Callable[..., Any], Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        jimenez_munoz14: {"water_vapour": (0.0, 6.0)},
        du15: {"water_vapour": (0.0, 6.3)},
        slstr: {"view_zenith": (0.0, math.radians(60.0))},
        sobrino08: {"ndvi": (0.0, 1.0)},
        skokovic14: {"ndvi": (0.0, 1.0), "red": (0.0, 0.4)},
    }
)


def ranges(model: Callable[..., Any]) -> Mapping[str, tuple[float, float]]:
    """Closed intervals that a model was made for, by name of its input: `water_vapour`, `ndvi`, `red`, `view_zenith`.

    Raises:
        ValueError: for a function that is no empirical model of emissivity or temperature.
    """
    found = _RANGES.get(model)
    if found is None:
        names = ", ".join(sorted(known.__name__ for known in _RANGES))
        raise ValueError(f"ranges: expected one of {names}, got {getattr(model, '__name__', model)!r}")
    return MappingProxyType(dict(found))


def within_ranges(model: Callable[..., Any], **inputs: ArrayLike) -> Array:
    """Where inputs lie within the ranges that a model was made for. Works under `jit`.

    Args:
        model: `jimenez_munoz14`, `du15`, `slstr`, `sobrino08` or `skokovic14`.
        inputs: by the names that `ranges` gives, `(*batch)` each. `physics.validity` masks by the bounds of a record.

    Returns:
        Boolean mask `(*batch)`, False where an input is not a number.

    Raises:
        ValueError: an input of another name, or one that is missing.
    """
    known = ranges(model)
    if set(inputs) != set(known):
        raise ValueError(
            f"within_ranges: expected {', '.join(sorted(known))} for {model.__name__}, got "
            f"{', '.join(sorted(inputs)) or 'nothing'}; name the inputs as ranges({model.__name__}) does"
        )
    inside = jnp.asarray(True)
    for name, (low, high) in known.items():
        value, slack = as_float(inputs[name]), 1e-6 * high
        inside = inside & (value >= low - slack) & (value <= high + slack)
    return inside
