"""Acquisition samplers: under which angles and with which bands the simulated training pixels are seen.

An acquisition sampler is any callable `sampler(key, n) -> Observations` of `n` pixels whose values are placeholders;
the model, run without its observations, fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physics.optics.geometry import SunView
from releo_jax.observations import Observations, SingleDate, check_observations, take, with_values

Acquisitions: TypeAlias = Callable[[Array, int], Observations]

# The band sets that Sentinel-2 products come in, by what their users have at hand.
_TEN = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
_EIGHT = ("B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
SENTINEL2_SUBSETS: tuple[tuple[str, ...], ...] = (_TEN, tuple(band for band in _TEN if band != "B08"), _EIGHT)


class _Synthetic(eqx.Module):
    name: str = eqx.field(static=True)
    subsets: Array  # (subset, band) True = in the subset
    low: Array
    high: Array
    random_drop: float
    empty: float

    @eqx.filter_jit
    def __call__(self, key: Array, n: int) -> Observations:
        key_angles, key_subset, key_how, key_rate, key_drop = jax.random.split(key, 5)
        angles = jax.random.uniform(key_angles, (n, 3), minval=self.low, maxval=self.high)
        mask = self.subsets[jax.random.randint(key_subset, (n,), 0, self.subsets.shape[0])]
        how = jax.random.uniform(key_how, (n, 1))
        # Each pixel has its own rate of loss, so that few and many missing bands are about equally common.
        kept = jax.random.uniform(key_drop, mask.shape) > jax.random.uniform(key_rate, (n, 1))
        mask = jnp.where(how < self.random_drop, mask & kept, mask) & (how < 1.0 - self.empty)
        geometry = SunView(sun_zenith=angles[:, 0], view_zenith=angles[:, 1], relative_azimuth=angles[:, 2])
        return {self.name: SingleDate(jnp.zeros(mask.shape), mask, geometry)}


def synthetic_acquisition(
    name: str,
    bands: Sequence[str],
    *,
    subsets: Iterable[Sequence[str]] | None = None,
    sun_zenith: tuple[float, float] = (15.0, 75.0),
    view_zenith: tuple[float, float] = (0.0, 12.0),
    relative_azimuth: tuple[float, float] = (0.0, 180.0),
    random_drop: float = 0.2,
    empty: float = 0.005,
) -> Acquisitions:
    """A sampler of invented acquisitions: uniform angles, and a random set of usable bands for each pixel.

    Args:
        name: of the record in the observations.
        bands: in the order of the record's last axis.
        subsets: band sets that users come with, drawn with equal probability (default: all bands, and those of
            `SENTINEL2_SUBSETS` that `bands` contain); all bands are always one of them.
        sun_zenith, view_zenith, relative_azimuth: ranges in degrees.
        random_drop: share of pixels that lose further bands at random, each pixel at its own rate.
        empty: share of pixels without any band, from which the network learns the prior.

    Returns:
        `sampler(key, n) -> Observations`.

    Raises:
        ValueError: a subset names a band that is not in `bands`, or a share outside 0 to 1.
    """
    if subsets is None:
        subsets = [subset for subset in SENTINEL2_SUBSETS if set(subset) <= set(bands)]
    ordered = [tuple(band for band in bands if band in subset) for subset in _checked(subsets, bands)]
    sets = list(dict.fromkeys([tuple(bands), *ordered]))
    if not (0.0 <= random_drop <= 1.0 and 0.0 <= empty <= 1.0 - random_drop):
        raise ValueError(
            f"expected shares random_drop and empty in 0 to 1 with a sum of at most 1, got {random_drop} and {empty}"
        )
    ranges = np.radians(np.array([sun_zenith, view_zenith, relative_azimuth], np.float32))
    return _Synthetic(
        name=name,
        subsets=jnp.asarray([[band in subset for band in bands] for subset in sets]),
        low=jnp.asarray(ranges[:, 0]),
        high=jnp.asarray(ranges[:, 1]),
        random_drop=random_drop,
        empty=empty,
    )


def _checked(subsets: Iterable[Sequence[str]], bands: Sequence[str]) -> list[Sequence[str]]:
    subsets = list(subsets)
    unknown = sorted({band for subset in subsets for band in subset} - set(bands))
    if unknown:
        raise ValueError(f"expected subsets of the bands {tuple(bands)}, got the unknown {unknown}")
    return subsets


def placeholder(sampler: Acquisitions, n: int) -> Observations:
    """Observations as a sampler draws them for `n` pixels, with zeros for all numbers: nothing is compiled."""
    shapes = jax.eval_shape(lambda key: sampler(key, n), jax.random.key(0))
    example: Observations = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return example


class _Bootstrap(eqx.Module):
    observations: Observations
    size: int = eqx.field(static=True)

    @eqx.filter_jit
    def __call__(self, key: Array, n: int) -> Observations:
        drawn = take(self.observations, jax.random.randint(key, (n,), 0, self.size))
        return {name: with_values(record, jnp.zeros_like(record.values)) for name, record in drawn.items()}


def from_observations(observations: Observations) -> Acquisitions:
    """A sampler that draws, with replacement, the angles, dates and masks of real pixels.

    Args:
        observations: the pixels to draw from; their values are not used.

    Returns:
        `sampler(key, n) -> Observations`.
    """
    size = check_observations(observations)
    if size == 0:
        raise ValueError("expected observations of at least one pixel, got none")
    return _Bootstrap(observations=dict(observations), size=size)


__all__ = ["SENTINEL2_SUBSETS", "Acquisitions", "from_observations", "synthetic_acquisition"]
