"""GP-prior variational autoencoders of pixel series: latents vary smoothly over time, a network decodes them to bands.

    vae = gp_vae(data, latents=4)                                # data: {"s2": Series(...)}
    vae = vae.fit(data, key=key, steps=2000)
    weekly = vae(data).predict(jnp.arange(0.0, 365.0, 7.0), key=key)     # mean, deviation and draws of the bands

Every latent is a Gaussian process with a time scale of its own. The encoder looks at each date alone and says what it
tells of the latents, a value and a variance; dates under clouds tell nothing. The posterior is the process given all of
that, in closed form, so that dates help each other through the prior and not through the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike

from releo_jax.encoders.pixel import Constant, band_statistics
from releo_jax.gp import Law, Markov, Matern32, Process, Sites, banded, mean_field
from releo_jax.observations import Observations, Series, check_observations
from releo_jax.training.loop import adam, train

ProcessOf = Callable[[Array], Process]
"""From time scales `(latent,)` in days to the prior of the latents, of variance one."""


def smooth(scales: Array) -> Process:
    """Matérn 3/2, by state space: the default prior."""
    return Markov(Matern32(jnp.ones_like(scales), scales))


def independent(scales: Array) -> Process:
    """Every date on its own: an autoencoder of single dates, for comparison."""
    return Markov(Matern32(jnp.ones_like(scales), jnp.full_like(scales, 1e-3)))


PARTS = {"sites": 2, "mean_field": 2, "banded": 3}
"""Guides, and the numbers that their encoder says for each latent of each date."""

_AROUND = 2  # usable dates before and after that the encoder of a guide without sites sees


class GPNetwork(nnx.Module):
    """Everything of a GP-prior autoencoder that has weights.

    Args:
        record: example series, for the fixed means and deviations of the bands.
        guide: see `gp_vae`.
        latents: number of processes.
        scales: first guess of their time scales, days, `(latent,)`.
        width: units of the two hidden layers of encoder and decoder.
        rngs: random streams of the initial weights.
    """

    def __init__(self, record: Series, *, guide: str, latents: int, scales: Array, width: int, rngs: nnx.Rngs) -> None:
        bands = record.values.shape[-1]
        self.parts, self.around = PARTS[guide], 0 if guide == "sites" else _AROUND
        inputs = 2 * bands + 2 * self.around * (2 * bands + 1)
        mean, deviation = band_statistics(record.values, record.mask)
        self.mean, self.deviation = Constant(mean), Constant(deviation)
        self.encoder = nnx.List(
            [nnx.Linear(i, o, rngs=rngs) for i, o in ((inputs, width), (width, width), (width, self.parts * latents))]
        )
        self.decoder = nnx.List(
            [nnx.Linear(i, o, rngs=rngs) for i, o in ((latents, width), (width, width), (width, bands))]
        )
        self.log_scales = nnx.Param(jnp.log(scales))
        self.log_noise = nnx.Param(jnp.full(bands, -1.5))  # of the standardised bands

    def encode(self, record: Series) -> list[Array]:
        """What each date tells of each latent: as many numbers as the guide has parts, `(pixel, latent, date)` each."""
        bands = jnp.where(record.mask, (record.values - self.mean[...]) / self.deviation[...], 0.0)
        inputs = jnp.concatenate([bands, record.mask.astype(bands.dtype)], -1)
        if self.around:
            inputs = _with_neighbours(inputs, record, self.around)
        return jnp.split(jnp.moveaxis(_layers(self.encoder, inputs), -1, 1), self.parts, 1)

    def decode(self, latents: Array) -> tuple[Array, Array]:
        """Bands `(..., band)` of latents `(..., latent)`, and the deviation of their noise `(band,)`."""
        bands = self.mean[...] + self.deviation[...] * _layers(self.decoder, latents)
        return bands, self.deviation[...] * jnp.exp(self.log_noise[...])


def _layers(layers: Any, x: Array) -> Array:
    for layer in layers[:-1]:
        x = jax.nn.gelu(layer(x))
    return jnp.asarray(layers[-1](x))


def _with_neighbours(inputs: Array, record: Series, number: int) -> Array:
    """Inputs `(pixel, date, input)` beside those of the usable dates before and after, and the days in between."""
    seen = record.mask.any(-1)
    # Usable dates side by side; what lies beyond their ends is masked, with no days in between.
    order = jnp.argsort(~seen, axis=1, stable=True)
    every = jnp.concatenate([inputs, record.time[..., None]], -1)
    every = jnp.take_along_axis(jnp.where(seen[..., None], every, 0.0), order[..., None], 1)
    there = jnp.take_along_axis(seen, order, 1)
    parts = [every[..., :-1]]
    for step in (*range(-number, 0), *range(1, number + 1)):
        index = jnp.arange(seen.shape[1]) + step
        inside = (index >= 0) & (index < seen.shape[1])
        index = jnp.clip(index, 0, seen.shape[1] - 1)
        known = there & there[:, index] & inside
        other = jnp.where(known[..., None], every[:, index], 0.0)
        days = jnp.where(known, jnp.abs(other[..., -1] - every[..., -1]), 0.0)
        parts += [other[..., :-1], jnp.log1p(days)[..., None]]
    return jnp.take_along_axis(jnp.concatenate(parts, -1), jnp.argsort(order, axis=1)[..., None], 1)


class Prediction(NamedTuple):
    """Of the bands at days.

    Attributes:
        mean, deviation: of a measurement, noise included, `(pixel, date, band)`.
        draws: of what is measured without noise, `(draw, pixel, date, band)`.
        noise: deviation of the noise `(band,)`.
    """

    mean: Array
    deviation: Array
    draws: Array
    noise: Array

    def log_density(self, values: Array) -> Array:
        """Log density of measurements `(pixel, date, band)`, each band of each date on its own."""
        each = -0.5 * (((values - self.draws) / self.noise) ** 2 + jnp.log(2.0 * jnp.pi * self.noise**2))
        return jax.nn.logsumexp(each, 0) - jnp.log(each.shape[0])

    def interval(self, level: float, *, key: Array) -> tuple[Array, Array]:
        """Central interval of a measurement, from the draws and one of noise for each, `(pixel, date, band)` twice."""
        noisy = self.draws + self.noise * jax.random.normal(key, self.draws.shape, self.draws.dtype)
        return jnp.quantile(noisy, 0.5 - 0.5 * level, axis=0), jnp.quantile(noisy, 0.5 + 0.5 * level, axis=0)


@dataclasses.dataclass(frozen=True, eq=False)
class GPPosterior:
    """Latents of pixels given their series.

    Attributes:
        network: decodes them.
        latents: posterior of the processes, batch `(pixel, latent)`.
    """

    network: GPNetwork
    latents: Law

    def predict(self, time: ArrayLike | None = None, *, key: Array, draws: int = 100) -> Prediction:
        """Bands on days `(pixel, date)` or `(date,)` in any order, forecasts included; default: those of the series.

        Args:
            time: days from the origin of the series.
            key: random.
            draws: of the latents of each date.
        """
        days = None if time is None else jnp.asarray(time, self.network.mean[...].dtype)
        if days is not None and days.ndim == 2:
            days = days[:, None]
        marginals = self.latents.at(days)
        standard = jax.random.normal(key, (draws, *marginals.mean.shape), marginals.mean.dtype)
        latents = marginals.mean + jnp.sqrt(jnp.maximum(marginals.variance, 0.0)) * standard
        bands, noise = self.network.decode(jnp.moveaxis(latents, 2, -1))
        return Prediction(bands.mean(0), jnp.sqrt(bands.var(0) + noise**2), bands, noise)


@dataclasses.dataclass(frozen=True, eq=False)
class GPVAE:
    """A GP-prior autoencoder; immutable. Make it with `gp_vae`, train it with `fit`, apply it by calling it.

    Attributes:
        process: prior of the latents.
        guide: see `gp_vae`.
        record: name of the record it reads.
        graph, parameters, constants: of its `GPNetwork`.
        history: losses, one array per `fit`.
    """

    process: ProcessOf
    guide: str
    record: str
    graph: nnx.GraphDef
    parameters: nnx.State
    constants: nnx.State
    history: tuple[np.ndarray, ...] = ()

    def network(self, parameters: Any = None) -> GPNetwork:
        """The network, with these parameters instead of its own if given."""
        network: GPNetwork = nnx.merge(
            self.graph, self.parameters if parameters is None else parameters, self.constants
        )
        return network

    def scales(self) -> Array:
        """Time scales of the latents, days, `(latent,)`."""
        return jnp.exp(self.network().log_scales[...])

    def __call__(self, data: Observations) -> GPPosterior:
        """The posterior of pixels; one without usable dates returns the prior."""
        network, record = self.network(), self._series(data)
        return GPPosterior(network, self._law(network, record))

    def elbo(self, data: Observations, *, key: Array, parameters: Any = None, draws: int = 1) -> Array:
        """Evidence lower bound of each pixel `(pixel,)`, the expectation over the latents by draws.

        Equation:
            sum over dates and usable bands of E_q log N(x | decoder(z), noise²) - KL(q || prior), q as the guide says.
        """
        network, record = self.network(parameters), self._series(data)
        posterior = self._law(network, record)
        predicted = GPPosterior(network, posterior).predict(key=key, draws=draws)
        each = -0.5 * (((record.values - predicted.draws) / predicted.noise) ** 2)
        each = each - 0.5 * jnp.log(2.0 * jnp.pi * predicted.noise**2)
        fit = jnp.where(record.mask, each, 0.0).sum((-1, -2)).mean(0)
        return fit - posterior.kl().sum(-1)

    def fit(
        self,
        data: Observations,
        *,
        key: Array,
        steps: int = 2000,
        batch: int = 128,
        learning_rate: float = 3e-3,
        progress: bool = False,
    ) -> GPVAE:
        """Trains it on series by the evidence lower bound, from where it stands.

        Args:
            data: series; masked dates and bands are not asked for.
            key: random; the same key gives the same result.
            steps: of the optimiser.
            batch: pixels of a step.
            learning_rate: at its peak.
            progress: show a bar.

        Returns:
            A new autoencoder.
        """
        record = self._series(data)
        pixels = record.values.shape[0]
        size = min(batch, pixels)
        rate = jnp.maximum(record.mask.sum() / pixels, 1.0)

        def loss(parameters: Any, key: Array, record: Series) -> Array:
            pick, draw = jax.random.split(key)
            chosen = jax.random.randint(pick, (size,), 0, pixels)
            part = {self.record: jax.tree.map(lambda leaf: leaf[chosen], record)}
            return -self.elbo(part, key=draw, parameters=parameters).mean() / rate

        trained = train(
            loss,
            self.parameters,
            record,
            key=key,
            steps=steps,
            optimiser=adam(steps, learning_rate=learning_rate, warmup=0.1),
            progress=progress,
            description="elbo",
        )
        return dataclasses.replace(self, parameters=trained.parameters, history=(*self.history, trained.history))

    def _law(self, network: GPNetwork, record: Series) -> Law:
        prior = self.process(jnp.exp(network.log_scales[...]))
        value, certainty, *coupling = network.encode(record)
        seen = jnp.broadcast_to(record.mask.any(-1)[:, None], value.shape)
        time = jnp.broadcast_to(jax.lax.cummax(record.time, axis=1)[:, None], value.shape)
        # As certain as a hundredth of the prior's variance after one date, at most.
        variance = 1e-2 + jax.nn.softplus(certainty)
        if self.guide == "sites":
            return prior.condition(Sites(time, value, variance, seen))
        if self.guide == "mean_field":
            return mean_field(prior.kernel, time, value, variance, seen)
        # Given the next date, the mean moves by less than that does: products over many dates stay finite.
        diagonal = 1.0 / jnp.sqrt(variance)
        return banded(prior.kernel, time, value, diagonal, diagonal * jnp.tanh(coupling[0]), seen)

    def _series(self, data: Observations) -> Series:
        check_observations(data)
        record = data.get(self.record)
        if not isinstance(record, Series):
            raise ValueError(f"gp_vae: expected the record {self.record!r} as a Series, got {type(record).__name__}")
        if not isinstance(record.time, jax.core.Tracer):
            days = np.where(np.asarray(record.mask).any(-1), np.asarray(record.time), -np.inf)
            falls = np.isfinite(days) & (days < np.maximum.accumulate(np.asarray(record.time), 1))
            if falls.any():
                pixel, date = (int(i) for i in np.argwhere(falls)[0])
                raise ValueError(
                    f"gp_vae: expected dates that rise, got day {days[pixel, date]} after a later one, pixel {pixel}; "
                    "sort every pixel's dates, padded ones last"
                )
        return record


def gp_vae(
    data: Observations,
    *,
    record: str = "s2",
    latents: int = 4,
    scales: tuple[float, float] = (15.0, 120.0),
    process: ProcessOf = smooth,
    guide: str = "sites",
    width: int = 64,
    seed: int = 0,
) -> GPVAE:
    """An untrained GP-prior autoencoder.

    Args:
        data: examples of the series, for the means and deviations of the bands; dates rise, padded ones come last.
        record: name of the record.
        latents: number of processes.
        scales: shortest and longest first guess of their time scales, days; they are learned.
        process: from the scales to the prior: `smooth`, `independent`, or a function that returns `Exact`, `Sparse` or
            `Nearest` with any kernel.
        guide: of the posterior. "sites": the process given what the encoder says of each date. For comparison, laws
            that the encoder says outright, seeing two dates before and after as well, at the cost of the third power
            of the number of dates: "mean_field", in which dates are independent, and "banded", in which each depends
            on the next.
        width: units of hidden layers.
        seed: of the initial weights.

    Returns:
        An autoencoder; `fit` it to the series.

    References:
        Fortuin et al. 2020, GP-VAE, AISTATS ("banded"); Zhu et al. 2023, Markovian Gaussian process variational
        autoencoders, ICML.
    """
    example = data.get(record)
    if not isinstance(example, Series):
        raise ValueError(f"gp_vae: expected the record {record!r} as a Series, got {type(example).__name__}")
    if latents < 1 or not 0.0 < scales[0] <= scales[1]:
        raise ValueError(f"gp_vae: expected a latent at least and rising scales above 0, got {latents} and {scales}")
    if guide not in PARTS:
        raise ValueError(f"gp_vae: expected a guide of {sorted(PARTS)}, got {guide!r}")
    guess = jnp.geomspace(*scales, latents)
    network = GPNetwork(example, guide=guide, latents=latents, scales=guess, width=width, rngs=nnx.Rngs(seed))
    graph, parameters, constants = nnx.split(network, nnx.Param, ...)  # type: ignore[misc]
    return GPVAE(process, guide, record, graph, parameters, constants)
