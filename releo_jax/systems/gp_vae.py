"""GP-prior variational autoencoders of pixel series: latents vary smoothly over time, a network decodes them to bands.

    vae = gp_vae(data, latents=6)                                # data: {"s2": Series(...)}
    vae = vae.fit(data, key=key, steps=2000)
    weekly = vae(data).predict(jnp.arange(0.0, 365.0, 7.0), key=key)     # mean, deviation and draws of the bands

Every latent is a Gaussian process with a time scale of its own. The encoder looks at each date alone and says what it
tells of the latents, a value and a variance; dates under clouds tell nothing. The posterior is the process given all of
that, in closed form, so that dates help each other through the prior and not through the network. Training hides dates
and asks for them (`GPVAE.fit`), from principal components on.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import ArrayLike

from releo_jax.gp import Law, Marginals, Markov, Matern12, Matern32, Process, Sites, banded, mean_field
from releo_jax.observations import Observations, Series, check_observations
from releo_jax.systems.gp_vae_network import PARTS, GPNetwork
from releo_jax.training.loop import Loop, adam, train

ProcessOf = Callable[[Array], Process]
"""From time scales `(latent,)` in days to the prior of the latents, of variance one."""


_DRAWS = 8  # of the latents, in a step
_WINDOW = 30.0  # days of a window that training hides


def two_speeds(scales: Array) -> Process:
    """The default prior: a quarter of the variance changes within days, the rest with the scales, by state space.

    Equation:
        0.25 exp(-lag / 8) + 0.75 (1 + x) exp(-x), x = sqrt(3) lag / scale, lag and scale in days.

    The fast part is what dates have on their own and all bands share: haze, wet soil, the angles of an orbit.
    """
    each = jnp.ones_like(scales)
    return Markov(Matern12(0.25 * each, 8.0 * each) + Matern32(0.75 * each, scales))


def smooth(scales: Array) -> Process:
    """Matérn 3/2, by state space."""
    return Markov(Matern32(jnp.ones_like(scales), scales))


def independent(scales: Array) -> Process:
    """Every date on its own: an autoencoder of single dates, for comparison."""
    return Markov(Matern32(jnp.ones_like(scales), jnp.full_like(scales, 1e-3)))


class Prediction(NamedTuple):
    """Of the bands at days.

    Attributes:
        mean, deviation: of a measurement, noise included, `(pixel, date, band)`.
        draws: of what is measured without noise, `(draw, pixel, date, band)`.
        noise: deviation of the noise of each draw, `(draw, pixel, date, band)`.
    """

    mean: Array
    deviation: Array
    draws: Array
    noise: Array

    @jax.jit
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
        return _mixed(*self.network.decode(_drawn(marginals, key, draws)))


@functools.partial(jax.jit, static_argnames="draws")
def _drawn(marginals: Marginals, key: Array, draws: int) -> Array:
    """Latents of each date on its own, `(draw, pixel, date, latent)`."""
    standard = jax.random.normal(key, (draws, *marginals.mean.shape), marginals.mean.dtype)
    latents = marginals.mean + jnp.sqrt(jnp.maximum(marginals.variance, 0.0)) * standard
    return jnp.moveaxis(latents, 2, -1)


@jax.jit
def _mixed(bands: Array, noise: Array) -> Prediction:
    return Prediction(bands.mean(0), jnp.sqrt(bands.var(0) + (noise**2).mean(0)), bands, noise)


@jax.jit
def _fit(record: Series, predicted: Prediction) -> Array:
    """Expectation of the log density of each pixel's usable bands, each on its own."""
    each = -0.5 * (((record.values - predicted.draws) / predicted.noise) ** 2)
    each = each - 0.5 * jnp.log(2.0 * jnp.pi * predicted.noise**2)
    return jnp.where(record.mask, each, 0.0).sum((-1, -2)).mean(0)


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
            sum over dates and usable bands of E_q log N(x | bands(z), noise(z)²) - KL(q || prior), q as the guide says.
        """
        network, record = self.network(parameters), self._series(data)
        posterior = self._law(network, record)
        predicted = GPPosterior(network, posterior).predict(key=key, draws=draws)
        return _fit(record, predicted) - posterior.kl().sum(-1)

    def fit(
        self,
        data: Observations,
        *,
        key: Array,
        steps: int = 2000,
        batch: int = 128,
        learning_rate: float = 8e-3,
        hidden: float = 0.3,
        loop: Loop | None = None,
        progress: bool = False,
    ) -> GPVAE:
        """Trains it on series, from where it stands, to tell dates that are hidden from the encoder.

        Each step hides others: a share of the dates, and in some pixels a whole month besides. The loss is the mean
        negative log density of their bands, each on its own, as `Prediction.log_density` says it of a few draws. The
        evidence lower bound asks only for dates that the encoder sees; where bands are many and pixels few, it comes
        to trust them too much.

        Args:
            data: series; masked dates and bands are not asked for.
            key: random; the same key gives the same result.
            steps: of the optimiser.
            batch: pixels of a step.
            learning_rate: at its peak.
            hidden: share of the dates that a step hides; 0 trains by the evidence lower bound instead.
            loop: devices, checkpoints, metrics, see `releo_jax.training.Loop`; its parts share the batch.
            progress: show a bar.

        Returns:
            A new autoencoder.

        Raises:
            ValueError: the share is not one, or the parts of a step do not share the batch evenly.
        """
        if not 0.0 <= hidden < 1.0:
            raise ValueError(f"fit: expected a share of hidden dates of 0 or more and below 1, got {hidden}")
        record = self._series(data)
        pixels = record.values.shape[0]
        loop = Loop() if loop is None else loop
        own = loop.share(batch)
        rate = jnp.maximum(record.mask.sum() / pixels, 1.0)

        def loss(parameters: Any, key: Array, record: Series) -> Array:
            pick, draw, hide = jax.random.split(key, 3)
            rows = record.values.shape[0]
            chosen = jax.random.randint(pick, (min(own, rows),), 0, rows)
            part = jax.tree.map(lambda leaf: leaf[chosen], record)
            if not hidden:
                return -self.elbo({self.record: part}, key=draw, parameters=parameters).mean() / rate
            gone = _hidden(part, hidden, hide)[..., None]
            network = self.network(parameters)
            law = self._law(network, eqx.tree_at(lambda series: series.mask, part, part.mask & ~gone))
            told = GPPosterior(network, law).predict(key=draw, draws=_DRAWS)
            density = jnp.where(part.mask & gone, told.log_density(part.values), 0.0)
            return -density.sum((-1, -2)).mean() / (hidden * rate)

        trained = train(
            loss,
            self.parameters,
            record,
            key=key,
            steps=steps,
            optimiser=adam(steps, learning_rate=learning_rate, warmup=0.1),
            loop=loop,
            progress=progress,
            description="gp_vae",
        )
        return dataclasses.replace(self, parameters=trained.parameters, history=(*self.history, trained.history))

    def _law(self, network: GPNetwork, record: Series) -> Law:
        prior = self.process(jnp.exp(network.log_scales[...]))
        value, variance, *coupling = network.encode(record)
        seen = jnp.broadcast_to(record.mask.any(-1)[:, None], value.shape)
        time = jnp.broadcast_to(jax.lax.cummax(record.time, axis=1)[:, None], value.shape)
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


def _hidden(record: Series, share: float, key: Array) -> Array:
    """Dates to hide `(pixel, date)`: each with a chance, and in some pixels those of a window of days besides."""
    each, where, which = jax.random.split(key, 3)
    pixels, dates = record.time.shape
    seen = record.mask.any(-1)
    last = jnp.where(seen, record.time, record.time[:, :1]).max(1, keepdims=True)
    begin = record.time[:, :1] + jax.random.uniform(where, (pixels, 1)) * (last - record.time[:, :1]) - 0.5 * _WINDOW
    within = (record.time >= begin) & (record.time < begin + _WINDOW)
    within = within & (jax.random.uniform(which, (pixels, 1)) < share)
    return seen & (within | (jax.random.uniform(each, (pixels, dates)) < share))


def gp_vae(
    data: Observations,
    *,
    record: str = "s2",
    latents: int = 6,
    scales: tuple[float, float] = (30.0, 300.0),
    process: ProcessOf = two_speeds,
    guide: str = "sites",
    width: int = 64,
    seed: int = 0,
) -> GPVAE:
    """An untrained GP-prior autoencoder.

    Args:
        data: examples of the series, for the means, deviations and principal components of the bands; dates rise,
            padded ones come last.
        record: name of the record.
        latents: number of processes.
        scales: shortest and longest first guess of their time scales, days, the longest for the first component; they
            are learned.
        process: from the scales to the prior: `two_speeds`, `smooth`, `independent`, or a function that returns
            `Exact`, `Sparse` or `Nearest` with any kernel.
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
    guess = jnp.geomspace(*scales[::-1], latents)
    network = GPNetwork(example, guide=guide, latents=latents, scales=guess, width=width, rngs=nnx.Rngs(seed))
    graph, parameters, constants = nnx.split(network, nnx.Param, ...)  # type: ignore[misc]
    return GPVAE(process, guide, record, graph, parameters, constants)
