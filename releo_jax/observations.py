"""What goes into an inversion: records of measured bands with masks and angles, and how a model scores them.

`Observations` is a mapping from a sensor's name to its record. Every array has the pixels first, sizes are read from
shapes, and what was not measured is masked, never encoded by a special value:

    data = {"s2": SingleDate(reflectance, mask, SunView.from_degrees(30.0, 5.0, 120.0))}

A model function scores them with `observe("s2", distribution, data["s2"])`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from numpyro.distributions.distribution import Distribution

from releo_jax.marginals import marginal


class SingleDate(eqx.Module):
    """One acquisition per pixel.

    Attributes:
        values: measured bands `(pixel, band)`; what stands where the mask is False does not matter (it becomes 0).
        mask: `(pixel, band)`, True = usable. Values that are not finite, and pixels whose angles are not, are masked.
        geometry: record of arrays `(pixel,)`, usually a `SunView` in radians; None where the model needs none.
    """

    values: Array
    mask: Array
    geometry: Any

    def __init__(self, values: Any, mask: Any = None, geometry: Any = None) -> None:
        values, mask = _values_and_mask("SingleDate", values, mask, axes=("pixel", "band"))
        geometry = _geometry("SingleDate", geometry, values.shape[:1])
        self.values, self.mask, _, self.geometry = _clean(values, mask, None, geometry)


class Series(eqx.Module):
    """Acquisitions at irregular dates, padded to a common number of dates per pixel.

    Attributes:
        values: measured bands `(pixel, date, band)`; what stands where the mask is False does not matter.
        mask: `(pixel, date, band)`, True = usable; padded dates are masked.
        time: `(pixel, date)`, days since an origin that the user states; 0 where a date is padded by NaN.
        geometry: record of arrays `(pixel, date)`, usually a `SunView` in radians; None where the model needs none.
    """

    values: Array
    mask: Array
    time: Array
    geometry: Any

    def __init__(self, values: Any, mask: Any = None, time: Any = None, geometry: Any = None) -> None:
        values, mask = _values_and_mask("Series", values, mask, axes=("pixel", "date", "band"))
        if time is None:
            raise ValueError(f"Series: expected time (pixel, date) {values.shape[:2]} in days, got None")
        time = _array(time)
        if time.shape != values.shape[:2]:
            raise ValueError(f"Series: expected time of shape (pixel, date) {values.shape[:2]}, got {time.shape}")
        geometry = _geometry("Series", geometry, values.shape[:2])
        self.values, self.mask, self.time, self.geometry = _clean(values, mask, time, geometry)


Record: TypeAlias = SingleDate | Series
Observations: TypeAlias = Mapping[str, Record]


def _array(values: Any) -> Any:
    """An array, of NumPy where it is on the host: what compiled programs are given, they bring to the device."""
    return values if isinstance(values, Array) else np.asarray(values)


def _values_and_mask(record: str, values: Any, mask: Any, *, axes: tuple[str, ...]) -> tuple[Any, Any]:
    values = _array(values)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(
            f"{record}: expected floating-point values, got {values.dtype}; scaled integers must be divided by their "
            "scale first (10000 for Sentinel-2 reflectance)"
        )
    if values.ndim != len(axes):
        raise ValueError(f"{record}: expected values of shape ({', '.join(axes)}), got {values.shape}")
    if mask is None:
        return values, None
    mask = _array(mask)
    if mask.dtype != jnp.bool_:
        raise ValueError(f"{record}: expected a boolean mask (True = usable), got {mask.dtype}; compare it first")
    if mask.shape != values.shape:
        raise ValueError(
            f"{record}: expected a mask of the values' shape {values.shape}, got {mask.shape}; a mask that holds for "
            "all bands needs jnp.broadcast_to(mask[..., None], values.shape)"
        )
    return values, mask


def _geometry(record: str, geometry: Any, shape: tuple[int, ...]) -> Any:
    """The geometry as arrays, of which each is a number or has one for every acquisition."""
    geometry = jax.tree.map(_array, geometry)
    for leaf in jax.tree.leaves(geometry):
        if leaf.shape not in ((), shape):
            raise ValueError(
                f"{record}: expected geometry of shape {shape} (or numbers), got {leaf.shape}; give one value per "
                f"{'pixel' if len(shape) == 1 else 'pixel and date'}"
            )
    return geometry


@jax.jit
def _clean(
    values: Array, mask: Array | None, time: Array | None, geometry: Any
) -> tuple[Array, Array, Array | None, Any]:
    """Values, mask, days and angles; what is not finite is 0 and its acquisition masked."""
    shape, dtype = values.shape[:-1], values.dtype
    known = jnp.ones(shape, bool)
    for leaf in jax.tree.leaves((time, geometry)):
        known = known & jnp.isfinite(leaf)
    mask = jnp.isfinite(values) & known[..., None] & (True if mask is None else mask)

    # An angle that is not known must not reach the simulator: a NaN there spoils every gradient of the batch.
    def finite(leaf: Array) -> Array:
        return jnp.broadcast_to(jnp.where(jnp.isfinite(leaf), leaf, 0.0), shape).astype(dtype)

    time, geometry = jax.tree.map(finite, (time, geometry))
    return jnp.where(mask, values, 0.0), mask, time, geometry


def check_observations(observations: Any) -> int:
    """Returns the number of pixels, after checking that `observations` is a mapping of records that agree on it.

    Raises:
        ValueError: not a mapping of records, empty, or different numbers of pixels.
    """
    if not isinstance(observations, Mapping) or not observations:
        raise ValueError(
            f"expected observations as a mapping from sensor names to records, got {type(observations).__name__}; "
            'write {"s2": SingleDate(values, mask, geometry)}'
        )
    wrong = {name: type(r).__name__ for name, r in observations.items() if not isinstance(r, SingleDate | Series)}
    if wrong:
        raise ValueError(f"expected SingleDate or Series records in observations, got {wrong}")
    sizes = {name: record.values.shape[0] for name, record in observations.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"expected the same number of pixels in every record, got {sizes}")
    return next(iter(sizes.values()))


def take(observations: Observations, index: Any) -> dict[str, Record]:
    """Selects pixels: `index` is a slice or an integer array `(n,)`."""
    if isinstance(index, slice):
        index = np.arange(check_observations(observations))[index]
    return rows(dict(observations), index)


@jax.jit
def rows(arrays: Any, index: Array) -> Any:
    """Rows `index` `(n,)` of every array of a pytree, by one program for all of them."""
    return jax.tree.map(lambda leaf: leaf[index], arrays)


def with_values(record: Record, values: Array) -> Record:
    """The record with other values `(pixel, [date,] band)`, set to 0 where the mask is False."""
    return eqx.tree_at(lambda r: r.values, record, jnp.where(record.mask, values, 0.0))


def observe(name: str, distribution: Distribution, record: Record) -> Array:
    """Scores a record inside a NumPyro model; masked bands carry no information and leave no trace in gradients.

    Args:
        name: name of the site; `amortize` expects the record's own name in the observations.
        distribution: over the record's values. Either one univariate law per band, batch shape (broadcast to)
            `(pixel, band)`, or one joint law per pixel with event shape `(band,)`. Gaussians are marginalised exactly
            over their masked bands; other joint laws can offer a method `.marginal(mask)`. Without it, pixels in
            which all bands are usable are scored and fully masked ones are not.
        record: as made by `SingleDate` or `Series`.

    Returns:
        The values, or a draw where the model is run without its observations (masked bands are drawn too).

    Raises:
        ValueError: shapes disagree, or some pixels are partly masked and the joint law cannot be marginalised. Under
            `jit`, where masks have no values yet, the density of such pixels is NaN instead.
    """
    shape = record.values.shape
    if distribution.event_dim not in (0, 1):
        raise ValueError(
            f"observe {name!r}: expected a distribution over bands (event_dim 0 or 1), got event_dim "
            f"{distribution.event_dim}; do not call .to_event yourself"
        )
    try:
        full = jnp.broadcast_shapes(distribution.shape(), shape)
    except ValueError:
        full = None
    if full != shape:
        raise ValueError(
            f"observe {name!r}: expected a distribution whose shape broadcasts to the record's values {shape}, got "
            f"batch shape {distribution.batch_shape} and event shape {distribution.event_shape}"
        )
    batch_dims = len(shape) - 1  # axes left of the bands: those of the plates, then dates
    if distribution.event_dim == 0:
        law = distribution.expand(shape).mask(record.mask).to_event(1)
    else:
        law = marginal(distribution, record.mask, name=name)
    if batch_dims > 1:
        law = law.to_event(batch_dims - 1)
    safe = jnp.where(record.mask, record.values, distribution.support.feasible_like(record.values))
    return numpyro.sample(name, law, obs=safe, infer={"observe": distribution})


__all__ = [
    "Observations",
    "Record",
    "Series",
    "SingleDate",
    "check_observations",
    "observe",
    "take",
    "with_values",
]
