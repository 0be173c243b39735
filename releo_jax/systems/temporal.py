"""Temporal PROSAIL-VAE: leaf area and what goes with it on any day, from all dates of a season together.

    retrieval = load_temporal()
    season = retrieval(reflectance, mask, sun_view, days)         # (pixel, date, band), (pixel, date)
    weekly = season.at("lai", jnp.arange(0.0, 180.0, 7.0))        # mean, deviation and quantiles on any day

The decoder is the model of `releo_jax.systems.seasonal`. Each variable is a Gaussian process over time on the line of
its normal score, u = Phi^-1(F(x)) with F its prior, so that without dates the posterior is that prior. A network looks
at every date beside all others of the series and says what it tells of each variable: a value, the variance of an error
of its own, and the loading of an error that all dates share, for a wrong soil is wrong all season. The posterior is
the process given that, in closed form, on any day. It is trained on simulations alone by the density of the truth on
each day, in closed form too (`releo train --method temporal`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from physics import SunView
from releo_jax.encoders.pixel import Constant
from releo_jax.gp import Markov, Matern12, Matern32, Process, Sites
from releo_jax.gp.shared import SharedPosterior, condition_shared
from releo_jax.inference import storage
from releo_jax.observations import Series
from releo_jax.systems.domain import Domain, log_reflectance
from releo_jax.systems.retrieval import STATE, SUFFIXES, load_domain
from releo_jax.systems.weights import weights_file
from releo_jax.variables import FLAGS

TEMPORAL = ("lai", "pai", "ccc", "cwc", "fcover")
"""Aliases of the variables. Absorbed light is none of them: it depends on the sun of the date."""

WIDTH = 64
"""Features of a date in the network that the shipped weights belong to."""

_FORMAT = "releo_jax.temporal"
_LEVELS = (0.05, 0.5, 0.95)
_HEADS = 4
_KNOTS = np.linspace(-3.5, 3.5, 141)  # scores at which the quantiles of the prior are kept
_ALWAYS = 1e5  # days; what forgets this slowly is constant over a season
_NUGGET = 1e-3
_NODES = 33  # of the quadrature over the score for means and deviations


class Scores(NamedTuple):
    """Between variables and their normal scores, by quantiles of the prior.

    Attributes:
        quantiles: of each variable at the scores of the knots `(variable, knot)`, rising.
    """

    quantiles: Array

    def of(self, values: Array) -> Array:
        """Scores `(variable, ...)` of values, within those of the outermost knots."""
        return jax.vmap(lambda x, q: jnp.interp(x, q, _KNOTS.astype(np.float32)))(values, self.quantiles)

    def values(self, index: int, score: Array) -> Array:
        """Values of one variable at scores of any shape."""
        return jnp.interp(score, _KNOTS.astype(np.float32), self.quantiles[index])


def prior_scores(draws: Array) -> Scores:
    """Scores of variables from draws of their prior `(variable, draw)`."""
    levels = jax.scipy.special.ndtr(_KNOTS)
    return Scores(jnp.quantile(draws, levels.astype(np.float32), axis=1).T)


class Season(eqx.Module):
    """What is known of pixels over a season.

    Attributes:
        scores: of the variables.
        variables: their aliases, in the order of the last axis of the batch.
        posterior: of the scores, batch `(pixel, variable)`.
    """

    scores: Scores
    variables: tuple[str, ...] = eqx.field(static=True)
    posterior: SharedPosterior

    def at(
        self, alias: str, days: ArrayLike | None = None, *, levels: Sequence[float] | np.ndarray = _LEVELS
    ) -> Figures:
        """A variable on days `(day,)` or `(pixel, day)` in any order, forecasts included; default: those of the dates.

        Args:
            alias: of the variable.
            days: from the origin of the series.
            levels: of quantiles.
        """
        index = self.variables.index(alias)
        days = None if days is None else jnp.atleast_1d(jnp.asarray(days, jnp.float32))
        if days is not None and days.ndim == 2:
            days = days[:, None]
        marginals = self.posterior.at(days)
        row = TEMPORAL.index(alias)
        return figures(self.scores, row, marginals.mean[:, index], marginals.variance[:, index], levels)


class Figures(NamedTuple):
    """Of a variable on days.

    Attributes:
        mean, std: `(pixel, day)`.
        quantiles: `(level, pixel, day)`.
    """

    mean: Array
    std: Array
    quantiles: Array


@functools.partial(jax.jit, static_argnames="row")
def figures(scores: Scores, row: int, mean: Array, variance: Array, levels: Sequence[float] | np.ndarray) -> Figures:
    """Figures of a variable whose score is normal, its mean and deviation by quadrature over the score."""
    deviation = jnp.sqrt(jnp.maximum(variance, 0.0))
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    drawn = scores.values(row, mean + deviation * nodes.astype(np.float32).reshape(-1, *[1] * mean.ndim))
    first = jnp.tensordot(weights.astype(np.float32), drawn, 1)
    spread = jnp.tensordot(weights.astype(np.float32), (drawn - first) ** 2, 1)
    quantiles = ndtri(jnp.asarray(levels, mean.dtype)).reshape(-1, *[1] * mean.ndim)
    return Figures(first, jnp.sqrt(spread), scores.values(row, mean + deviation * quantiles))


class SeasonNetwork(nnx.Module):
    """From a series to what each date tells of each variable; and the processes of the variables.

    Every date looks at all usable ones of its series, nearer ones more: attention whose weight falls with the days
    between, each head at a pace of its own. Nothing depends on where the days begin, nor on the order of the dates.

    Args:
        mean, scale: of the logarithms of the bands `(band,)`.
        scores: quantiles of the variables `(variable, knot)`.
        width: features of a date, a multiple of 4.
        rngs: random streams of the initial weights.
    """

    def __init__(self, mean: Array, scale: Array, scores: Array, *, width: int, rngs: nnx.Rngs) -> None:
        self.mean, self.scale, self.quantiles = Constant(mean), Constant(scale), Constant(scores)
        inputs, number = 2 * len(mean) + 3, len(scores)
        self.dates = nnx.List([nnx.Linear(inputs, width, rngs=rngs), nnx.Linear(width, width, rngs=rngs)])
        self.looks = nnx.List(
            [nnx.Linear(width, width, rngs=rngs) for _ in ("query", "key", "value", "query", "key", "value")]
        )
        self.log_pace = nnx.Param(jnp.log(jnp.asarray([[8.0, 30.0, 100.0, 1000.0]] * 2)))
        self.mixing = nnx.List([nnx.Linear(2 * width + 1, width, rngs=rngs) for _ in range(2)])
        self.last = nnx.List([nnx.Linear(width, width, rngs=rngs), nnx.Linear(width, 3 * number, rngs=rngs)])
        self.log_scale = nnx.Param(jnp.full(number, math.log(40.0)))
        self.constant = nnx.Param(jnp.full(number, -2.5))  # logit of the constant share of the variance

    def scores(self) -> Scores:
        """Of the variables."""
        return Scores(self.quantiles[...])

    def process(self, rows: Sequence[int] | np.ndarray | None = None) -> Process:
        """Of the scores of some variables, all by default: a constant and a smooth part, of variance one together."""
        chosen = slice(None) if rows is None else np.asarray(rows)
        share = jax.nn.sigmoid(self.constant[...])[chosen]
        scale = jnp.exp(self.log_scale[...])[chosen]
        return Markov(Matern32(1.0 - share, scale) + Matern12(share, jnp.full_like(share, _ALWAYS)))

    def __call__(self, record: Series) -> tuple[Sites, Array]:
        """Sites and loadings of the common error, `(pixel, variable, date)`; dates rise."""
        bands = (log_reflectance(record.values) - self.mean[...]) / self.scale[...]
        angles = [jnp.cos(angle)[..., None] for angle in jax.tree.leaves(record.geometry)]
        inputs = [jnp.where(record.mask, bands, 0.0), record.mask.astype(bands.dtype), *angles]
        there = record.mask.any(-1)
        x = jnp.concatenate(inputs, -1)
        for layer in self.dates:
            x = jax.nn.relu(layer(x))
        apart = jnp.abs(record.time[:, :, None] - record.time[:, None, :])
        count = jnp.log1p(there.sum(-1).astype(bands.dtype))[:, None, None] * jnp.ones_like(x[..., :1])
        for i, mixing in enumerate(self.mixing):
            seen = self._look(x, apart, there, i)
            x = x + jax.nn.relu(mixing(jnp.concatenate([x, seen, count], -1)))
        found = self.last[1](jax.nn.relu(self.last[0](x)))
        value, log_variance, loading = jnp.split(jnp.moveaxis(found, -1, 1), 3, 1)
        seen = jnp.broadcast_to(there[:, None], value.shape)
        time = jnp.broadcast_to(record.time[:, None], value.shape)
        return Sites(time, value, 1e-3 + jax.nn.softplus(log_variance), seen), loading

    def _look(self, x: Array, apart: Array, there: Array, layer: int) -> Array:
        query, key, value = (
            look(x).reshape(*x.shape[:2], _HEADS, -1) for look in list(self.looks)[3 * layer : 3 * layer + 3]
        )
        weight = jnp.einsum("ndhf,nehf->nhde", query, key) / math.sqrt(query.shape[-1])
        weight = weight - apart[:, None] * jnp.exp(-self.log_pace[...][layer])[:, None, None]
        weight = jnp.where(there[:, None, None], weight, -1e30)
        share = jnp.where(there[:, None, None], jax.nn.softmax(weight, -1), 0.0)
        return jnp.einsum("nhde,nehf->ndhf", share, value).reshape(x.shape)


def log_density(network: SeasonNetwork, record: Series, scores: Array) -> Array:
    """Log density of known scores under the posterior of each day, summed over the days, `(pixel, variable)`.

    Days by themselves and not the course as a whole: what is told are days, and where the errors of dates are related
    in other ways than by one error that all share, as those of the model are, the most likely course has days that are
    too certain.

    Args:
        network: that says what the dates tell.
        record: series; masked dates tell nothing, and their truth is asked for all the same.
        scores: true ones `(pixel, variable, date)`.
    """
    told = condition_shared(network.process(), *network(record)).at()
    return jax.scipy.stats.norm.logpdf(scores, told.mean, jnp.sqrt(told.variance + _NUGGET)).sum(-1)


@dataclasses.dataclass(frozen=True, eq=False)
class TemporalRetrieval:
    """Retrieves courses over a season from series; immutable.

    Attributes:
        bands: names of those it reads, in the order of the last axis of reflectance.
        graph, parameters, constants: of its `SeasonNetwork`.
        domain: of single dates; those outside are left out. None: none are.
    """

    bands: tuple[str, ...]
    graph: nnx.GraphDef
    parameters: nnx.State
    constants: nnx.State
    domain: Domain | None = None

    @property
    def name(self) -> str:
        """Of the method."""
        return "prosail-vae temporal"

    @property
    def required(self) -> tuple[str, ...]:
        """None: it was trained with any subset of its bands."""
        return ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Aliases of what it retrieves."""
        return TEMPORAL

    def network(self, parameters: Any = None) -> SeasonNetwork:
        """The network, with these parameters instead of its own if given."""
        network: SeasonNetwork = nnx.merge(
            self.graph, self.parameters if parameters is None else parameters, self.constants
        )
        return network

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all trained figures into one safetensors file."""
        header = {_FORMAT: json.dumps({"version": 1, "bands": list(self.bands)})}
        storage.write(path, storage.named(self.parameters, self.constants), header)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, domain: Domain | None = None) -> TemporalRetrieval:
        """Reads a file written by `save`."""
        header = storage.read_header(path, _FORMAT, 1, writer="TemporalRetrieval.save", remedy="train again")
        bands = tuple(header["bands"])

        @nnx.eval_shape  # shapes are enough: no weights are drawn
        def blank() -> SeasonNetwork:
            mean, scores = jnp.zeros(len(bands)), jnp.zeros((len(TEMPORAL), _KNOTS.size))
            return SeasonNetwork(mean, mean, scores, width=WIDTH, rngs=nnx.Rngs(0))

        graph, *states = nnx.split(blank, nnx.Param, ...)
        return cls(bands, graph, *storage.restore(path, *states), domain)

    def usable(self, reflectance: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The mask `(pixel, date, band)` without dates that are unlike anything simulated (snow, water, cloud)."""
        if self.domain is None:
            return mask
        flat = (np.asarray(reflectance).reshape(-1, len(self.bands)), mask.reshape(-1, len(self.bands)))
        outside = self.domain.outside(*flat).reshape(mask.shape[:-1])
        return mask & ~outside[..., None]

    def __call__(
        self,
        reflectance: ArrayLike,
        mask: ArrayLike,
        sun_view: SunView,
        days: ArrayLike,
        *,
        variables: Sequence[str] = TEMPORAL,
    ) -> Season:
        """What is known of pixels over the season.

        Args:
            reflectance: `(pixel, date, band)`; what stands where the mask is False does not matter.
            mask: the same shape, True = usable; a date without any usable band tells nothing.
            sun_view: angles `(pixel, date)`, radians.
            days: from any origin, `(date,)` or `(pixel, date)`, rising.
            variables: aliases among `TEMPORAL`.

        Returns:
            The season, whose posterior has the batch `(pixel, variable)`. A pixel without usable dates has the prior.

        Raises:
            ValueError: shapes disagree, dates fall, or a variable is none of `TEMPORAL`.
        """
        unknown = [alias for alias in variables if alias not in TEMPORAL]
        if unknown or not variables:
            raise ValueError(f"expected variables among {TEMPORAL}, got {tuple(variables)}")
        reflectance, mask = np.asarray(reflectance, np.float32), np.asarray(mask, bool)
        if reflectance.ndim != 3 or reflectance.shape[2] != len(self.bands) or mask.shape != reflectance.shape:
            raise ValueError(
                f"expected reflectance and mask (pixel, date, {len(self.bands)}), got {reflectance.shape} and "
                f"{mask.shape}"
            )
        days = np.broadcast_to(np.asarray(days, np.float32), reflectance.shape[:2])
        if (np.diff(days, axis=1) < 0.0).any():
            raise ValueError("expected days that rise; sort the dates with all that belongs to them")
        record = Series(reflectance, self.usable(reflectance, mask), days, sun_view)
        return Season(self.network().scores(), tuple(variables), self._condition(record, tuple(variables)))

    @functools.cached_property
    def _condition(self) -> Callable[[Series, tuple[str, ...]], SharedPosterior]:
        network = self.network()

        @functools.partial(jax.jit, static_argnums=1)
        def condition(record: Series, variables: tuple[str, ...]) -> SharedPosterior:
            rows = np.asarray([TEMPORAL.index(alias) for alias in variables])
            sites, loading = network(record)
            chosen = jax.tree.map(lambda leaf: leaf[:, rows], (sites, loading))
            return condition_shared(network.process(rows), *chosen)

        return condition

    def figures(
        self,
        reflectance: np.ndarray,
        mask: np.ndarray,
        sun_view: SunView,
        days: np.ndarray,
        wanted: np.ndarray,
        *,
        variables: Sequence[str],
        level: float,
    ) -> dict[str, np.ndarray]:
        """Figures of variables on days, as maps have them.

        Args:
            reflectance, mask, sun_view, days: as of a call.
            wanted: days `(day,)`.
            variables: aliases.
            level: probability of the interval from `lower` to `upper`.

        Returns:
            Arrays `(pixel, day)` by `<alias>_<suffix>`, suffixes as of `releo_jax.systems.Retrieval`. Pixels without a
            usable date are NaN and flagged: `input_masked` where all are masked, `out_of_domain` where those that are
            not are unlike anything simulated.
        """
        mask = np.asarray(mask, bool)
        season = self(reflectance, mask, sun_view, days, variables=variables)
        used = np.asarray(np.asarray(season.posterior.own.sites.mask).any((1, 2)))[:, None]
        clear = np.asarray(mask.any((1, 2)))[:, None]
        flag = np.where(used, 0, np.where(clear, FLAGS["out_of_domain"], FLAGS["input_masked"]))
        levels = (0.05, 0.5, 0.95, 0.5 - 0.5 * level, 0.5 + 0.5 * level)
        found: dict[str, np.ndarray] = {}
        marginals = season.posterior.at(jnp.asarray(wanted, jnp.float32))
        for index, alias in enumerate(season.variables):
            law = figures(season.scores, TEMPORAL.index(alias), *(m[:, index] for m in marginals), np.asarray(levels))
            rows = np.concatenate([law.mean[None], law.std[None], law.quantiles])
            high = rows[-1] > (np.inf if self.domain is None or alias != STATE else self.domain.largest)
            flags = flag | np.where(used & high, FLAGS["at_prior_bound"], 0)
            rows = np.where(used, rows, np.float32(np.nan))
            found |= {f"{alias}_{suffix}": row for suffix, row in zip(SUFFIXES, rows, strict=True)}
            found[f"{alias}_flag"] = flags.astype(np.uint8)
        return found


def untrained(bands: tuple[str, ...], mean: Array, scale: Array, scores: Scores, *, seed: int = 0) -> TemporalRetrieval:
    """A retrieval before training.

    Args:
        bands: names.
        mean, scale: of their logarithms.
        scores: of the variables.
        seed: of the initial weights.
    """
    network = SeasonNetwork(mean, scale, scores.quantiles, width=WIDTH, rngs=nnx.Rngs(seed))
    return TemporalRetrieval(bands, *nnx.split(network, nnx.Param, ...))  # type: ignore[misc]


def load_temporal(folder: Path | None = None) -> TemporalRetrieval:
    """The trained temporal retrieval that comes with the package, for series of any of the Sentinel-2 satellites.

    It was trained with the responses of Sentinel-2A; those of the others differ by less than the errors of reflectance.

    Args:
        folder: of other weights than those of the package, as `releo train` writes them.

    Raises:
        ReleoError: there are none.
    """
    return _shipped() if folder is None else _load(folder)


@functools.cache
def _shipped() -> TemporalRetrieval:
    return _load(None)


def _load(folder: Path | None) -> TemporalRetrieval:
    with weights_file("prosail_vae_sentinel2a") as path:
        domain = load_domain(path)
    with weights_file("prosail_vae_temporal", folder) as path:
        return TemporalRetrieval.load(path, domain=domain)
