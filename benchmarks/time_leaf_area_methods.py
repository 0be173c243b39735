"""Ways to tell leaf area on any day from images of single dates, for `benchmarks/time_leaf_area.py`."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.gp import Markov, Matern12, Matern32, Process, Sites
from releo_jax.gp.shared import condition_shared, log_likelihood_shared
from releo_jax.observations import Series, SingleDate
from releo_jax.systems.land_surface import RECORD
from releo_jax.systems.prosail_vae import load_retrieval
from releo_jax.systems.temporal import TEMPORAL, Scores, TemporalRetrieval
from releo_jax.training.loop import adam, train
from releo_jax.variables import VARIABLES

LEVELS = (np.arange(40) + 0.5) / 40.0
"""Of quantiles that stand for draws."""

_AT_ONCE = 1 << 13
_STANDARD = jax.scipy.special.ndtri(LEVELS.astype(np.float32))


class Law(NamedTuple):
    """What is said of rows.

    Attributes:
        draws: `(*row, draw)`; one draw is an estimate without uncertainty.
    """

    draws: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Estimate `(*row,)`."""
        return self.draws.mean(-1)


@functools.cache
def _program(alias: str) -> Any:
    retrieval = load_retrieval("sentinel2a")
    assert retrieval.derived is not None
    guide, heads, name = retrieval.posterior.guide(), retrieval.derived.heads(), VARIABLES[alias].name

    @jax.jit
    def invert(record: SingleDate) -> Array:
        context = guide.encoder({RECORD: record})  # type: ignore[operator]
        law = guide.local.marginal(context, name) if alias == "lai" else heads.marginal(context, (name,))[name]  # type: ignore[attr-defined]
        return jax.vmap(law.quantile, out_axes=-1)(jnp.asarray(LEVELS, jnp.float32))

    return invert


def per_date(record: Series, alias: str) -> np.ndarray:
    """Quantiles of a variable by the retrieval of single dates `(pixel, date, level)`, whatever the mask."""
    pixels, dates, bands = record.values.shape
    flat = jax.tree.map(np.asarray, (record.values.reshape(-1, bands), record.mask.reshape(-1, bands)))
    angles = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1), record.geometry)
    found = []
    for start in range(0, pixels * dates, _AT_ONCE):
        rows = np.minimum(np.arange(start, start + _AT_ONCE), pixels * dates - 1)
        part = SingleDate(flat[0][rows], flat[1][rows], jax.tree.map(lambda leaf, rows=rows: leaf[rows], angles))
        found.append(np.asarray(_program(alias)(part)))
    return np.concatenate(found)[: pixels * dates].reshape(pixels, dates, -1)


def straight_lines(record: Series, quantiles: np.ndarray, days: np.ndarray) -> Law:
    """Quantiles of single dates with straight lines between them, level beyond the first and the last.

    Args:
        record: series.
        quantiles: of its dates, from `per_date`.
        days: wanted `(pixel, day)`.
    """
    seen, time = np.asarray(record.mask.any(-1)), np.asarray(record.time)
    found = np.full((*days.shape, quantiles.shape[-1]), np.nan)
    for pixel in np.flatnonzero(seen.any(1)):
        there = seen[pixel]
        for level in range(quantiles.shape[-1]):
            found[pixel, :, level] = np.interp(days[pixel], time[pixel, there], quantiles[pixel, there, level])
    return Law(found)


@dataclasses.dataclass(frozen=True)
class DateSites:
    """The retrieval of single dates as sites of a process: no training but of four numbers, on simulated seasons.

    The quantiles of a date, as scores of the prior, have a centre and a deviation; the prior divided out of that normal
    leaves a site. Its variance is multiplied by one number, an error that all dates share has another as its loading,
    and the process has a time scale and a constant share.

    Attributes:
        alias: of the variable.
        scores: of the variables.
        parameters: logarithms of inflation, loading and time scale, and the logit of the constant share.
    """

    alias: str
    scores: Scores
    parameters: Array

    def process(self, parameters: Array) -> Process:
        """Of the score."""
        share = jax.nn.sigmoid(parameters[3])
        return Markov(Matern32(1.0 - share, jnp.exp(parameters[2])) + Matern12(share, 1e5))

    def sites(self, record: Series, quantiles: np.ndarray) -> Sites:
        """Sites of the dates, before inflation."""
        row = TEMPORAL.index(self.alias)
        score = jax.vmap(lambda q: jnp.interp(q, self.scores.quantiles[row], _KNOTS))(jnp.asarray(quantiles))
        low, middle, high = (int(round(level * len(LEVELS))) for level in (0.16, 0.5, 0.84))
        centre = 0.5 * (score[..., middle - 1] + score[..., middle])
        deviation = (score[..., high] - score[..., low]) / (_STANDARD[high] - _STANDARD[low])
        own = 1.0 / jnp.maximum(deviation, 0.02) ** 2
        left = jnp.maximum(own - 1.0, 0.02)  # a date that tells nothing has the prior
        return Sites(record.time, centre * own / left, 1.0 / left, record.mask.any(-1))

    def fit(self, record: Series, quantiles: np.ndarray, truth: Array, *, key: Array, steps: int = 300) -> DateSites:
        """Learns the numbers by the likelihood of simulated courses `(pixel, date)`."""
        row = TEMPORAL.index(self.alias)
        score = jnp.interp(truth, self.scores.quantiles[row], _KNOTS)
        whole = (self.sites(record, quantiles), score)

        def loss(parameters: Array, key: Array, data: tuple[Sites, Array]) -> Array:
            sites, score = jax.tree.map(lambda leaf: leaf[jax.random.randint(key, (128,), 0, len(leaf))], data)
            sites, loading = _spread(sites, parameters)
            process = self.process(parameters)
            before = process.log_prob(Sites(sites.time, score, 1e-3))
            after = before + log_likelihood_shared(sites, loading, score)
            return -(after - condition_shared(process, sites, loading).log_evidence).mean() / score.shape[1]

        found = train(loss, self.parameters, whole, key=key, steps=steps, optimiser=adam(steps, learning_rate=0.03))
        return dataclasses.replace(self, parameters=found.parameters)

    def __call__(self, record: Series, quantiles: np.ndarray, days: np.ndarray) -> Law:
        """The variable on days `(pixel, day)`."""
        sites, loading = _spread(self.sites(record, quantiles), self.parameters)
        told = condition_shared(self.process(self.parameters), sites, loading).at(days)
        score = told.mean[..., None] + jnp.sqrt(told.variance)[..., None] * _STANDARD
        return Law(np.asarray(self.scores.values(TEMPORAL.index(self.alias), score)))


_KNOTS = np.linspace(-3.5, 3.5, 141, dtype=np.float32)


def _spread(sites: Sites, parameters: Array) -> tuple[Sites, Array]:
    wider = Sites(sites.time, sites.value, sites.variance * jnp.exp(parameters[0]), sites.mask)
    return wider, jnp.exp(parameters[1]) * jnp.ones_like(sites.value)


def untaught(alias: str, scores: Scores) -> DateSites:
    """Before its numbers are learned."""
    return DateSites(alias, scores, jnp.asarray([0.0, -1.0, np.log(40.0), -2.5], jnp.float32))


def together(retrieval: TemporalRetrieval, record: Series, alias: str, days: np.ndarray) -> Law:
    """The temporal retrieval on days `(pixel, day)`."""
    found = []
    size = 256
    for start in range(0, len(record.time), size):
        rows = np.minimum(np.arange(start, start + size), len(record.time) - 1)
        part = jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], record)
        season = retrieval(part.values, part.mask, part.geometry, part.time, variables=(alias,))
        found.append(np.moveaxis(np.asarray(season.at(alias, days[rows], levels=LEVELS).quantiles), 0, -1))
    return Law(np.concatenate(found)[: len(record.time)])
