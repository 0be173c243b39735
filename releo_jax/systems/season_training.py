"""What the temporal retrieval is trained on: simulated seasons, seen on irregular dates between clouds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physics import Sensor, SunView
from releo_jax.acquisitions import Acquisitions
from releo_jax.cubes.scene import cloud_reflectance
from releo_jax.encoders.pixel import band_statistics
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.observations import Observations, Series
from releo_jax.systems.domain import log_reflectance
from releo_jax.systems.land_surface import RECORD
from releo_jax.systems.prosail_vae import acquisition
from releo_jax.systems.seasonal import seasonal_surface, seasonal_variables
from releo_jax.systems.temporal import TEMPORAL, TemporalRetrieval, log_density, prior_scores, untrained
from releo_jax.training.loop import Loop, adam, train
from releo_jax.variables import VARIABLES

DATES = 36
"""Of a simulated series."""

SPOILT = 0.04
"""Share of the dates that a mask lets through beside clouds or in their shadow."""


class _Seasons(eqx.Module):
    bands: Acquisitions
    dates: int = eqx.field(static=True)
    largest_gap: float

    def __call__(self, key: Array, n: int) -> Observations:
        keys = jax.random.split(key, 11)
        shape = (n, self.dates)
        revisit = jnp.asarray([2.5, 5.0, 5.0, 10.0])[jax.random.randint(keys[0], (n, 1), 0, 4)]
        days = revisit * (jnp.arange(self.dates) + 0.8 * jax.random.uniform(keys[1], shape))
        clear = jax.random.uniform(keys[2], shape) < jax.random.uniform(keys[3], (n, 1), minval=0.08)
        begin, length, half = jax.random.uniform(keys[4], (3, n, 1))
        begin, length = begin * days[:, -1:], jnp.where(half < 0.5, self.largest_gap * length, 0.0)
        clear = clear & ~((days >= begin) & (days < begin + length))
        zenith = _sun_zenith(keys[5], days)
        clear = clear & (zenith < np.radians(75.0))
        view, azimuth = jax.random.uniform(keys[6], (2, *shape))
        geometry = SunView(
            sun_zenith=jnp.clip(zenith, np.radians(15.0), np.radians(75.0)),
            view_zenith=np.radians(12.0) * view,
            relative_azimuth=np.pi * azimuth,
        )
        # A series has the bands of its product on all dates; one in ten loses others on single dates.
        product = self.bands(keys[7], n)[RECORD].mask[:, None]
        lost = jax.random.uniform(keys[8], (*shape, 1)) < jnp.where(
            jax.random.uniform(keys[9], (n, 1, 1)) < 0.1, 0.3, 0.0
        )
        single = jax.random.uniform(keys[10], (*shape, product.shape[-1])) < 0.5
        mask = product & clear[..., None] & (single | ~lost)
        return {RECORD: Series(jnp.zeros(mask.shape), mask, days, geometry)}


def _sun_zenith(key: Array, days: Array) -> Array:
    """Of the sun in the late morning at some latitude, the series begun in some season."""
    latitude, day, hour = jax.random.uniform(key, (3, len(days), 1))
    latitude, hour = jnp.radians(120.0 * latitude - 60.0), jnp.radians(-25.0 + 25.0 * hour)
    declination = jnp.radians(23.44) * jnp.sin(2.0 * jnp.pi * (days / 365.25 + day))
    cosine = jnp.sin(latitude) * jnp.sin(declination) + jnp.cos(latitude) * jnp.cos(declination) * jnp.cos(hour)
    return jnp.arccos(jnp.clip(cosine, -1.0, 1.0))


def season_acquisition(sensor: Sensor, *, dates: int = DATES, largest_gap: float = 60.0) -> Acquisitions:
    """A sampler of invented seasons: dates every 2.5 to 10 days, 8 to 100 % of them clear, a long gap in half.

    Args:
        sensor: whose bands, or any usual part of them, are seen.
        dates: of a series.
        largest_gap: days.

    Returns:
        `sampler(key, n) -> Observations`.
    """
    return _Seasons(acquisition(sensor), dates, largest_gap)


def spoil(key: Array, record: Series, centres: np.ndarray, share: float = SPOILT) -> Series:
    """Dates under thin cloud or in shadow that nobody has masked, up to twice the share of those of a series."""
    keys = jax.random.split(key, 4)
    shape = record.time.shape
    hit = jax.random.uniform(keys[0], shape) < 2.0 * share * jax.random.uniform(keys[1], (len(record.time), 1))
    strength = jax.random.uniform(keys[2], (*shape, 1))
    cloudy = record.values + 0.6 * strength * (cloud_reflectance(centres) - record.values)
    changed = jnp.where(jax.random.bernoulli(keys[3], 0.5, (*shape, 1)), cloudy, record.values * (1.0 - 0.7 * strength))
    values = jnp.where(hit[..., None], changed, record.values)
    return Series(values, record.mask, record.time, record.geometry)


def thin(key: Array, record: Series) -> Series:
    """Loses further dates, half of the series at a rate of their own."""
    rate, half, each = jax.random.split(key, 3)
    n = len(record.time)
    kept = jnp.where(jax.random.bernoulli(half, 0.5, (n, 1)), jax.random.uniform(rate, (n, 1)), 1.0)
    clear = jax.random.uniform(each, record.time.shape) < kept
    return Series(record.values, record.mask & clear[..., None], record.time, record.geometry)


class Seasons(NamedTuple):
    """Simulated seasons.

    Attributes:
        record: what is seen of them.
        truth: variables `(variable, pixel, date)` in the order of `TEMPORAL`.
    """

    record: Series
    truth: Array


def simulator(sensor: Sensor, acquisitions: Acquisitions, *, spoilt: float = 0.0) -> Callable[[Array, int], Seasons]:
    """Simulates seasons, every one with a noise of its own: `simulated(key, n)`.

    Args:
        sensor: bands.
        acquisitions: dates, angles and masks.
        spoilt: share of dates of `spoil`.
    """
    model = seasonal_surface(sensor)
    structure = read_structure(model, acquisitions(jax.random.key(0), 4))

    def simulated(key: Array, n: int) -> Seasons:
        one, two, three = jax.random.split(key, 3)
        sites, seen = simulate(structure, model, acquisitions(one, n), two, separately=True)
        record = seen[RECORD]
        assert isinstance(record, Series)
        found = seasonal_variables(sites, record) | {"leaf_area_index": sites["leaf_area_index"]}
        truth = jnp.stack([found[VARIABLES[alias].name] for alias in TEMPORAL])
        return Seasons(spoil(three, record, sensor.centres, spoilt) if spoilt else record, truth)

    return simulated


def train_temporal(
    sensor: Sensor,
    *,
    steps: int,
    seasons: int = 50_000,
    batch: int = 64,
    seed: int = 0,
    loop: Loop | None = None,
    progress: bool = False,
) -> TemporalRetrieval:
    """Trains the temporal retrieval on simulated seasons, each step with other clouds before them.

    Args:
        sensor: bands.
        steps: of the training.
        seasons: simulated before it.
        batch: series of a step.
        seed: of everything random.
        loop: devices, checkpoints, metrics, see `releo_jax.training.Loop`; its parts share the batch.
        progress: show a bar.
    """
    loop = Loop() if loop is None else loop
    own = loop.share(batch)
    start_key, train_key = jax.random.split(jax.random.key(seed))
    bank = simulated_seasons(sensor, seasons, key=start_key)
    scores = prior_scores(bank.truth.reshape(len(TEMPORAL), -1))
    mean, scale = band_statistics(log_reflectance(bank.record.values), bank.record.mask)
    retrieval = untrained(sensor.bands, mean, scale, scores, seed=seed)
    truth = jnp.moveaxis(scores.of(bank.truth), 0, 1)

    def loss(parameters: Any, key: Array, data: tuple[Series, Array]) -> Array:
        pick, clouds, spoiling = jax.random.split(key, 3)
        chosen = jax.random.randint(pick, (own,), 0, data[1].shape[0])
        record, truth = jax.tree.map(lambda leaf: leaf[chosen], data)
        record = spoil(spoiling, thin(clouds, record), sensor.centres)
        return -log_density(retrieval.network(parameters), record, truth).mean() / truth.shape[-1]

    trained = train(
        loss,
        retrieval.parameters,
        (bank.record, truth),
        key=train_key,
        steps=steps,
        optimiser=adam(steps, learning_rate=2e-3),
        average=0.998,
        loop=loop,
        progress=progress,
        description="temporal",
    )
    return dataclasses.replace(retrieval, parameters=trained.parameters)


def simulated_seasons(sensor: Sensor, number: int, *, key: Array, at_once: int = 200) -> Seasons:
    """Seasons under the dates and clouds of `season_acquisition`, in memory."""
    simulate_some = simulator(sensor, season_acquisition(sensor))
    simulated = jax.jit(lambda key: simulate_some(key, at_once))
    parts = [jax.device_get(simulated(one)) for one in jax.random.split(key, -(-number // at_once))]
    record = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:number], *[part.record for part in parts])
    truth = np.concatenate([part.truth for part in parts], 1)[:, :number]
    return Seasons(jax.tree.map(jnp.asarray, record), jnp.asarray(truth))
