"""Checks of arguments, and sites that all pixels share."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from numpyro.distributions.distribution import Distribution


def check_mean(function: str, mean: Any) -> None:
    """Raises ValueError unless the simulated bands have an axis `(*batch, band)`."""
    if jnp.ndim(mean) < 1:
        raise ValueError(f"{function}: expected simulated bands (*batch, band), got a number; put the bands last")


def check_shape(function: str, name: str, value: Array, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless a value broadcasts to the bands, of that shape `(*batch, band)`."""
    try:
        fits = jnp.broadcast_shapes(value.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{function}: expected {name} to be a number or to broadcast to the bands {shape}, got shape "
            f"{value.shape}; give one value per band, in their order"
        )


def spread_of(function: str, name: str, value: Any, mean: Array, *, positive: bool = False) -> Any:
    """A standard deviation that goes with the bands, after a look at its shape and, outside `jit`, its sign."""
    check_shape(function, name, jnp.asarray(value), jnp.shape(mean))
    return check_positive(function, name, value) if positive else _checked(function, name, value, "at least 0", 0.0)


def check_positive(function: str, name: str, value: Any) -> Any:
    """The value; raises ValueError, outside `jit`, unless all of it is finite and positive."""
    return _checked(function, name, value, "above 0", float(np.finfo(np.float32).tiny))


def _checked(function: str, name: str, value: Any, wanted: str, least: float) -> Any:
    if not isinstance(value, jax.core.Tracer):
        numbers = np.asarray(value)
        if not (np.isfinite(numbers) & (numbers >= least)).all():
            worst = numbers.min() if np.isfinite(numbers).all() else "values that are not finite"
            raise ValueError(
                f"{function}: expected {name} {wanted}, got {worst}; give a standard deviation or a length"
            )
    return value


def of_bands(function: str, name: str, value: Any, bands: int) -> Array:
    """A positive number or `(band,)` as an array; raises ValueError where it is neither."""
    check_shape(function, name, jnp.asarray(value), (bands,))
    return jnp.asarray(check_positive(function, name, value))


def log_wavelengths(function: str, wavelengths: Any, bands: int | None) -> np.ndarray:
    """Logarithms of centres in nm `(band,)`; raises ValueError unless positive, one for each band if given."""
    centres = np.asarray(wavelengths, np.float64)
    if centres.ndim != 1 or bands not in (None, centres.size):
        raise ValueError(
            f"{function}: expected the wavelengths of the {bands or ''} bands (band,), got shape {centres.shape}; give "
            "the sensor's centres, of the bands that are simulated"
        )
    if not (np.isfinite(centres) & (centres > 0.0)).all():
        raise ValueError(
            f"{function}: expected wavelengths above 0 in nm, got {centres.min()}; use the sensor's centres"
        )
    return np.log(centres)


def global_site(name: str, law: Distribution, shape: tuple[int, ...]) -> Array:
    """Samples a site of that shape; raises ValueError inside the plate, which would make it one per pixel."""
    value = numpyro.sample(name, law)
    if jnp.shape(value) != shape:
        raise ValueError(
            f"site {name!r}: expected one value {shape} for all pixels, got {jnp.shape(value)}; call it before the "
            "plate is entered"
        )
    return value


def is_zero(value: Any) -> bool:
    """Whether a value is the number 0, which says that a term is absent; an array of zeros is a value like others."""
    return isinstance(value, int | float) and value == 0
