"""Methods that tell hidden dates of series of bands: autoencoders, lines, Whittaker's smoother, Gaussian processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from benchmarks.time_autoencoders_data import Case
from benchmarks.time_gaps_methods import SMOOTHNESS, roughness
from releo_jax.gp import Markov, Matern32, Nearest, Process, Sites, Sparse
from releo_jax.systems.gp_vae import GPVAE, gp_vae, independent, smooth, two_speeds

LEVEL = 0.9
_DIGITS = NormalDist().inv_cdf(0.5 + 0.5 * LEVEL)
_EVIDENCE_STEPS = 150


class Settings(NamedTuple):
    """Of the autoencoders."""

    steps: int = 800
    batch: int = 32
    latents: int = 6
    width: int = 64
    scales: tuple[float, float] = (30.0, 300.0)
    learning_rate: float = 8e-3
    hidden: float = 0.3


DEFAULT = Settings()


class Told(NamedTuple):
    """What a method says of all dates, `(pixel, date, band)` each.

    Attributes:
        mean: of a measurement.
        log_density: of the measurements.
        lower, upper: ends of the central 90 %.
    """

    mean: np.ndarray
    log_density: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


Method = Callable[[Case, Settings, int], Told]


def _normal(case: Case, mean: np.ndarray, deviation: np.ndarray) -> Told:
    density = -0.5 * (((case.values - mean) / deviation) ** 2 + np.log(2.0 * math.pi * deviation**2))
    return Told(mean, density, mean - _DIGITS * deviation, mean + _DIGITS * deviation)


def straight(days: np.ndarray, seen: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines between the seen dates of each pixel, level beyond their ends.

    Args:
        days: `(pixel, date)`.
        seen: `(pixel, date)`.
        values: `(pixel, date, band)`.

    Returns:
        Of all dates, and of all dates from the seen ones other than themselves, `(pixel, date, band)` each.
    """
    told, without = np.array(values, float), np.array(values, float)
    for pixel, (day, known) in enumerate(zip(days, seen, strict=True)):
        index = np.flatnonzero(known)
        for band in range(values.shape[-1]):
            value = values[pixel, :, band]
            told[pixel, :, band] = np.interp(day, day[index], value[index])
            without[pixel, :, band] = told[pixel, :, band]
            for place, date in enumerate(index):
                others = np.delete(index, place)[max(place - 1, 0) : place + 1]
                without[pixel, date, band] = np.interp(day[date], day[others], value[others])
    return told, without


def _left_out(case: Case, without: np.ndarray) -> np.ndarray:
    """Deviation of each band, of the seen dates told without themselves `(band,)`."""
    return np.sqrt(((case.values - without)[case.seen] ** 2).mean(0))


def lines(case: Case, settings: Settings, seed: int) -> Told:
    """Straight lines of the bands; their deviation is that of seen dates left out in turn."""
    told, without = straight(case.days, case.seen, case.values)
    return _normal(case, told, _left_out(case, without))


def whittaker(case: Case, settings: Settings, seed: int) -> Told:
    """Penalised least squares, the penalty of each band the one that tells seen dates, left out in turn, best."""
    smoothed = np.zeros((SMOOTHNESS.size, *case.values.shape))
    squares = np.zeros((SMOOTHNESS.size, case.values.shape[-1]))
    there = case.there()
    for pixel, known in enumerate(there):
        used, values = case.seen[pixel, known], case.values[pixel, known]
        penalty = roughness(case.days[pixel, known].astype(float))
        for number, weight in enumerate(SMOOTHNESS):
            hat = np.linalg.inv(np.diag(used.astype(float)) + weight * penalty)[:, used]
            fitted = hat @ values[used]
            smoothed[number, pixel, known] = fitted
            # A date that is left out moves by its residual over one minus its leverage.
            own = 1.0 - np.diagonal(hat[used])
            squares[number] += (((fitted[used] - values[used]) / own[:, None]) ** 2).sum(0)
    best = np.argmin(squares, 0)
    mean = np.take_along_axis(smoothed, best[None, None, None], 0)[0]
    return _normal(case, mean, np.sqrt(squares.min(0) / case.seen.sum()))


def _kernel(logarithms: Array) -> Matern32:
    return Matern32(jnp.exp(logarithms[0]), jnp.exp(logarithms[1]))


def gaussian_processes(case: Case, settings: Settings, seed: int) -> Told:
    """A process for each band, by itself: what all pixels have in common is its mean, its variances, scales and noise,
    learned from the evidence of the seen dates. Exact, by state space.

    Equation:
        band = mean + f(t) + g(t) + e,  f and g of covariance Matern 3/2, f at first of 20 days, g of 200.
    """
    mean, deviation = (getattr(case.values[case.seen], name)(0) for name in ("mean", "std"))
    values = jnp.asarray(np.moveaxis((case.values - mean) / deviation, -1, 1), jnp.float32)
    time = jnp.broadcast_to(jnp.asarray(case.days)[:, None], values.shape)
    mask = jnp.broadcast_to(jnp.asarray(case.seen)[:, None], values.shape)

    def process(found: Array) -> Markov:
        return Markov(_kernel(found[:2]) + _kernel(found[2:4]))

    def sites(found: Array, pick: Array) -> Sites:
        part = values[pick]
        return Sites(time[pick], part, jnp.broadcast_to(jnp.exp(found[4])[:, None], part.shape), mask[pick])

    number = values.shape[1]
    start = jnp.broadcast_to(jnp.log(jnp.array([0.5, 20.0, 0.5, 200.0, 0.1]))[:, None], (5, number))
    optimiser = optax.adam(optax.cosine_decay_schedule(0.1, _EVIDENCE_STEPS))

    @jax.jit
    def learned(key: Array) -> Array:
        def step(state: tuple[Array, Any], key: Array) -> tuple[tuple[Array, Any], None]:
            found, moments = state
            pick = jax.random.randint(key, (min(128, len(values)),), 0, len(values))
            slope = jax.grad(lambda found: -process(found).log_prob(sites(found, pick)).mean(0).sum())(found)
            change, moments = optimiser.update(slope, moments)
            return (found + change, moments), None

        keys = jax.random.split(key, _EVIDENCE_STEPS)
        return jax.lax.scan(step, (start, optimiser.init(start)), keys)[0][0]

    found = learned(jax.random.key(seed))
    marginals = process(found).condition(sites(found, jnp.arange(len(values)))).at()
    variance = marginals.variance + jnp.exp(found[4])[:, None]
    told = (np.moveaxis(np.asarray(x, float), 1, -1) for x in (marginals.mean, jnp.sqrt(variance)))
    centre, spread = told
    return _normal(case, mean + deviation * centre, deviation * spread)


def _trained(case: Case, settings: Settings, seed: int, process: Any, guide: str) -> GPVAE:
    data = {"s2": case.series()}
    vae = gp_vae(
        data,
        latents=settings.latents,
        scales=settings.scales,
        process=process,
        guide=guide,
        width=settings.width,
        seed=seed,
    )
    return vae.fit(
        data,
        key=jax.random.key(seed),
        steps=settings.steps,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        hidden=settings.hidden,
    )


def autoencoder(process: Any, guide: str = "sites") -> Method:
    """A GP-prior autoencoder, trained on the seen dates."""

    def method(case: Case, settings: Settings, seed: int) -> Told:
        vae = _trained(case, settings, seed, process, guide)
        found = vae({"s2": case.series()}).predict(case.days, key=jax.random.key(seed + 1), draws=200)
        lower, upper = found.interval(LEVEL, key=jax.random.key(seed + 2))
        density = found.log_density(jnp.asarray(case.values))
        return Told(*(np.asarray(x, float) for x in (found.mean, density, lower, upper)))

    return method


def interpolated(case: Case, settings: Settings, seed: int) -> Told:
    """An autoencoder of single dates, the means of its latents interpolated by straight lines; the deviation of a band
    is that of seen dates left out in turn."""
    # A date that is hidden has no law to learn from: nothing ties it to the others.
    vae = _trained(case, settings._replace(hidden=0.0), seed, independent, "sites")
    latents = np.moveaxis(np.asarray(vae({"s2": case.series()}).latents.at(case.days[:, None]).mean, float), 1, -1)
    network = vae.network()
    told, without = (
        np.asarray(network.decode(jnp.asarray(x, jnp.float32))[0], float)
        for x in straight(case.days, case.seen, latents)
    )
    return _normal(case, told, _left_out(case, without))


def bound(case: Case, settings: Settings, seed: int) -> Told:
    """The autoencoder, trained by the evidence lower bound of the dates that it sees."""
    return autoencoder(two_speeds)(case, settings._replace(hidden=0.0), seed)


def nearest(scales: Array) -> Process:
    """The default prior, each date given the four before it."""
    return Nearest(two_speeds(scales).kernel, 4)


def sparse(case: Case) -> Callable[[Array], Process]:
    """The default prior by values on one day in ten, over the days of the case."""
    inducing = jnp.arange(case.days.min(), case.days.max() + 10.0, 10.0)
    return lambda scales: Sparse(two_speeds(scales).kernel, inducing)


def _sparse(case: Case, settings: Settings, seed: int) -> Told:
    return autoencoder(sparse(case))(case, settings, seed)


METHODS: dict[str, Method] = {
    "straight lines": lines,
    "Whittaker": whittaker,
    "Gaussian process of each band": gaussian_processes,
    "autoencoder of single dates, lines between": interpolated,
    "GP-VAE": autoencoder(two_speeds),
    "GP-VAE, Matérn 3/2 alone": autoencoder(smooth),
    "GP-VAE, evidence lower bound": bound,
    "GP-VAE, mean-field guide": autoencoder(two_speeds, "mean_field"),
    "GP-VAE, banded guide": autoencoder(two_speeds, "banded"),
    "GP-VAE, nearest dates": autoencoder(nearest),
    "GP-VAE, inducing days": _sparse,
}
