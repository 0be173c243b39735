"""Series with dates and whole months hidden: simulated from canopies that change, and measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from numpyro.distributions import Distribution

from benchmarks.measurements import PLOT_BANDS
from physics import Canopy, Leaf, Soil, SunView, prosail, sensor, soil_mixture
from releo_jax.gp import Kernel, Markov, Matern12, Matern32, Matern52, WarpedGP
from releo_jax.observations import Series
from releo_jax.priors import prosail_vae as prior
from releo_jax.systems.prosail_vae import SENTINEL2_BANDS

NOISE = 0.01  # reflectance
HIDDEN = 0.3  # of the dates
MONTH = 30.0  # days

# What changes over time, and how fast. Everything else is a number of its pixel.
CHANGES: dict[str, tuple[Kernel, Distribution]] = {
    "leaf_area_index": (Matern52(1.0, 45.0), prior.canopy["leaf_area_index"]),
    "chlorophyll": (Matern32(1.0, 60.0), prior.leaf["chlorophyll"]),
    "water": (Matern32(1.0, 60.0), prior.leaf["water"]),
    "wetness": (Matern12(1.0, 10.0), prior.soil["wetness"]),
}


class Case(NamedTuple):
    """Clear dates of pixels, padded at the end.

    Attributes:
        days: rising, `(pixel, date)`.
        values: reflectance `(pixel, date, band)`.
        seen: dates that methods may look at, `(pixel, date)`.
        hidden: those that they are scored on, by kind, `(pixel, date)`.
    """

    days: np.ndarray
    values: np.ndarray
    seen: np.ndarray
    hidden: dict[str, np.ndarray]

    def there(self) -> np.ndarray:
        """Dates that are no padding, `(pixel, date)`."""
        return np.any([self.seen, *self.hidden.values()], 0)

    def series(self) -> Series:
        """What methods may look at, without what is hidden."""
        order = np.argsort(~self.seen, axis=1, kind="stable")[:, : self.seen.sum(1).max()]
        there = np.take_along_axis(self.seen, order, 1)
        days = np.where(there, np.take_along_axis(self.days, order, 1), self.days.max(1, keepdims=True))
        values = np.take_along_axis(self.values, order[..., None], 1)
        return Series(values, np.repeat(there[..., None], values.shape[-1], -1), days)


def hide(days: np.ndarray, values: np.ndarray, clear: np.ndarray, seed: int) -> Case:
    """A case of clear dates `(pixel, date)`: of each pixel a month a year is hidden, and a share of what is left.

    Raises:
        ValueError: a pixel without two dates left.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(~clear, axis=1, kind="stable")[:, : clear.sum(1).max()]
    there = np.take_along_axis(clear, order, 1)
    days = np.where(there, np.take_along_axis(days, order, 1), 0.0)
    last = days.max(1, keepdims=True)
    days = np.where(there, days, last)
    values = np.where(there[..., None], np.take_along_axis(values, order[..., None], 1), 0.0)
    months = np.zeros_like(there)
    span = np.ptp(np.where(there, days, days[:, :1]), axis=1)
    for year in range(max(1, round(float(np.median(span)) / 365.0))):
        begin = days[:, 0] + 365.0 * year + rng.uniform(0.0, 365.0 - MONTH, len(days))
        months |= there & (days >= begin[:, None]) & (days < begin[:, None] + MONTH)
    dates = there & ~months & (rng.random(there.shape) < HIDDEN)
    seen = there & ~months & ~dates
    if seen.sum(1).min() < 2:
        raise ValueError(f"hide: expected two dates left in every pixel, got {seen.sum(1).min()}; give more dates")
    return Case(
        days.astype(np.float32), values.astype(np.float32), seen, {"single dates": dates, "whole months": months}
    )


def simulated(pixels: int = 200, *, dates: int = 73, clear: float = 0.6, seed: int = 0) -> Case:
    """A year of Sentinel-2A over canopies whose leaf area, chlorophyll, water and soil wetness are warped Gaussian
    processes: PROSAIL with the marginal laws of PROSAIL-VAE, the sun's height over the year at 45 degrees north, and
    noise of 0.01, independent."""
    key, noise_key, *keys = jax.random.split(jax.random.key(seed), 2 + len(CHANGES))
    rng = np.random.default_rng(seed)
    revisit = 365.0 / dates
    days = np.asarray(revisit * (np.arange(dates) + rng.random((pixels, 1))), np.float32)
    changing = {
        name: WarpedGP(Markov(kernel), days, law).sample(own)
        for own, (name, (kernel, law)) in zip(keys, CHANGES.items(), strict=True)
    }
    bands = _bands(key, changing, jnp.asarray(days))
    values = bands + NOISE * jax.random.normal(noise_key, bands.shape)
    return hide(days, np.asarray(values), rng.random(days.shape) < clear, seed)


def _bands(key: Array, changing: dict[str, Array], days: Array) -> Array:
    """Reflectance without noise `(pixel, date, band)`."""
    satellite = sensor("sentinel2a", bands=SENTINEL2_BANDS)

    def fixed(part: str, names: tuple[str, ...], number: int) -> dict[str, Array]:
        keys = jax.random.split(jax.random.fold_in(key, number), len(names))
        laws = getattr(prior, part)
        return {n: laws[n].sample(k, (days.shape[0], 1)) for n, k in zip(names, keys, strict=True)}

    canopy = Canopy(leaf_area_index=changing["leaf_area_index"], **fixed("canopy", ("mean_leaf_angle", "hot_spot"), 0))
    leaf = Leaf(
        chlorophyll=changing["chlorophyll"],
        water=changing["water"],
        carotenoids=0.25 * changing["chlorophyll"],
        anthocyanins=jnp.zeros_like(days),
        **fixed("leaf", ("layers", "dry_matter", "brown_pigment"), 1),
    )
    soil = Soil(brightness=0.5 + 0.7 * jax.random.uniform(key, (days.shape[0], 1)), wetness=changing["wetness"])
    # Of 10:30 at 45 degrees north, between 68 degrees in December and 28 in June.
    zenith = 48.0 + 20.0 * jnp.cos(2.0 * jnp.pi * (days + 10.0) / 365.25)
    view = SunView.from_degrees(zenith, jnp.full_like(days, 5.0), jnp.full_like(days, 90.0))

    @jax.jit
    def pixel(given: tuple[Leaf, Canopy, Soil, SunView]) -> Array:
        leaf, canopy, soil, view = given
        return prosail(leaf, canopy, soil_mixture(soil, wavelengths=satellite.wavelengths), view, sensor=satellite)

    whole = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, days.shape), (leaf, canopy, soil, view))
    return jax.lax.map(pixel, whole)


def measured(data: Path, *, every: int = 1, seed: int = 0) -> Case:
    """The clear dates of the plots in France and Spain, without any value measured in the field."""
    rows = pd.read_parquet(data / "s2_lai_plots" / "s2_timeseries.parquet")
    masks = rows[["cloud_mask", "sat_mask", "geophysical_mask"]].to_numpy()
    values = rows[list(PLOT_BANDS)].to_numpy(float) * 1e-4
    rows = rows.assign(day=(rows["date"] - rows["date"].min()).dt.days.astype(float), number=np.arange(len(rows)))
    rows = rows[(masks == 0).all(1) & (values > 0.0).all(1)].sort_values("day")
    plots = [group for _, group in rows.groupby("loc_id")][::every]
    longest = max(map(len, plots))
    days, index = np.zeros((len(plots), longest)), np.zeros((len(plots), longest), int)
    clear = np.zeros((len(plots), longest), bool)
    for plot, group in enumerate(plots):
        clear[plot, : len(group)] = True
        days[plot, : len(group)], index[plot, : len(group)] = group["day"], group["number"]
    return hide(days, values[index], clear, seed)
