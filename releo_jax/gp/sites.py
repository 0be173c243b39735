"""What a process is conditioned on, and what comes back."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


class Sites(eqx.Module):
    """Gaussian observations, or pseudo-observations, of a process at its dates.

    Attributes:
        time: days since any origin, rising, `(*batch, date)`; two dates may be the same.
        value: `(*batch, date)`, or `(*batch, date, output)` for a kernel with several outputs.
        variance: of the error of each value, above zero, of the same shape.
        mask: of the same shape, True = usable. What is not finite is masked, and carries no information.
    """

    time: Array
    value: Array
    variance: Array
    mask: Array

    def __init__(self, time: ArrayLike, value: ArrayLike, variance: ArrayLike, mask: ArrayLike | None = None) -> None:
        value = jnp.asarray(value)
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"Sites: expected floating-point values, got {value.dtype}")
        days = _days(time, value.dtype)
        several = value.ndim > days.ndim
        expected = value.shape[:-1] if several else value.shape
        if days.ndim < 1 or value.ndim - days.ndim > 1 or days.shape != expected:
            raise ValueError(
                f"Sites: expected time (*batch, date) and values (*batch, date) or (*batch, date, output), got "
                f"{days.shape} and {value.shape}"
            )
        if not days.shape[-1]:
            raise ValueError("Sites: expected one date at least, got none; leave empty pixels in and mask their dates")
        if mask is not None:
            mask = jnp.asarray(mask)
            if mask.dtype != jnp.bool_:
                raise ValueError(f"Sites: expected a boolean mask (True = usable), got {mask.dtype}; compare it first")
        masked = _masked(days, value, jnp.asarray(variance, value.dtype), mask)
        _check_order(time)
        self.time = _filled(days)
        self.value, self.variance, self.mask = masked


@jax.jit
def _masked(days: Array, value: Array, variance: Array, mask: Array | None) -> tuple[Array, Array, Array]:
    """Values, variances and which are usable; what is not is a zero with a variance of one."""
    variance = jnp.broadcast_to(variance, value.shape)
    usable = jnp.isfinite(value) & jnp.isfinite(variance) & (variance > 0.0)
    dated = jnp.isfinite(days)
    usable = usable & (dated[..., None] if value.ndim > days.ndim else dated)
    if mask is not None:
        of_dates = value.ndim > days.ndim and mask.shape == days.shape
        usable = usable & jnp.broadcast_to(mask[..., None] if of_dates else mask, value.shape)
    return jnp.where(usable, value, 0.0), jnp.where(usable, variance, 1.0), usable


def _days(time: ArrayLike, dtype: Any) -> Array:
    if not isinstance(time, jax.Array) and np.asarray(time).dtype.kind not in "fiu":
        raise ValueError(
            f"Sites: expected time in days as numbers, got {np.asarray(time).dtype}; subtract the origin, in one time "
            "zone: (dates - origin) / numpy.timedelta64(1, 'D')"
        )
    return jnp.asarray(time, dtype)


def _check_order(time: ArrayLike) -> None:
    """Looks at dates whose values are known.

    Raises:
        ValueError: they fall.
    """
    if isinstance(time, jax.core.Tracer):
        return
    days = np.asarray(time)
    dated = np.isfinite(days)
    seen = np.where(dated, days, -np.inf)
    falls = dated & (seen < np.maximum.accumulate(seen, -1))
    if falls.any():
        where = tuple(int(i) for i in np.argwhere(falls)[0])
        raise ValueError(
            f"Sites: expected rising dates, got day {days[where]} after a later one at index {where} "
            f"({int(falls.any(-1).sum())} series fall); sort them with their values, or use sorted_sites"
        )


def _filled(days: Array) -> Array:
    """Days with those that are not finite moved to their neighbour before, or to the first known one."""
    if not isinstance(days, jax.core.Tracer) and np.isfinite(np.asarray(days)).all():
        return days
    return _with_neighbours(days)


@jax.jit
def _with_neighbours(days: Array) -> Array:
    known = jnp.isfinite(days)
    latest = jax.lax.cummax(jnp.where(known, days, -jnp.inf), axis=days.ndim - 1)
    first = jnp.min(jnp.where(known, days, jnp.inf), -1, keepdims=True)
    return jnp.where(jnp.isfinite(latest), latest, jnp.where(jnp.isfinite(first), first, 0.0))


def sorted_sites(
    time: ArrayLike, value: ArrayLike, variance: ArrayLike, mask: ArrayLike | None = None
) -> tuple[Sites, Array]:
    """Sites in the order of their dates, and the index that put them there.

    Args:
        time: days `(*batch, date)`; dates that are not finite come last, masked.
        value, variance, mask: as those of `Sites`.

    Returns:
        The sites, and the index `(*batch, date)`: the i-th of them was the index[..., i]-th given.
    """
    value = jnp.asarray(value)
    given = (value, jnp.asarray(variance), None if mask is None else jnp.asarray(mask))
    days, moved, order = _in_order(_days(time, value.dtype), *given)
    return Sites(days, *moved), order


@jax.jit
def _in_order(
    days: Array, value: Array, variance: Array, mask: Array | None
) -> tuple[Array, tuple[Array, Array, Array | None], Array]:
    order = jnp.argsort(jnp.where(jnp.isfinite(days), days, jnp.inf), axis=-1, stable=True)

    def moved(x: Array) -> Array:
        x = jnp.broadcast_to(x, value.shape)
        index = order[..., None] if x.ndim > order.ndim else order
        return jnp.take_along_axis(x, index, order.ndim - 1)

    if mask is not None and mask.ndim < value.ndim:
        mask = mask[..., None]
    given = (moved(value), moved(variance), None if mask is None else moved(mask))
    return jnp.take_along_axis(days, order, -1), given, order


class Marginals(NamedTuple):
    """Of a process at dates.

    Attributes:
        mean: `(*batch, date)` or `(*batch, date, output)`.
        variance: the same.
    """

    mean: Array
    variance: Array
