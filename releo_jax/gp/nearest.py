"""Gaussian processes by the dates next to each date: any kernel, in linear time, approximate."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.typing import ArrayLike

from releo_jax.gp.batches import one_by_one, with_outputs, without_outputs
from releo_jax.gp.covariances import jitter
from releo_jax.gp.kernels import Kernel
from releo_jax.gp.process import Posterior, Process
from releo_jax.gp.sites import Marginals, Sites

_times = functools.partial(jnp.matmul, precision="highest")


class Nearest(Process):
    """A Gaussian process in which each date depends on a few dates before it only: Vecchia's approximation.

    The precision of the dates is banded. Its Cholesky factor, with what the sites add to it, is found from the last
    date to the first, and the band of its inverse on the way back. Cost: neighbours² for each date, and neighbours³ for
    the regression on the dates before it. Masked dates are no one's neighbours.

    Attributes:
        kernel: any. With several outputs, those of the neighbours and of the date itself that stand before an output
            are regressed on.
        neighbours: dates before each.

    Validity:
        Exact with all dates before as neighbours, and for `Matern12` with one. Dates that are the same count each. What
        the neighbours do not tell is lost: for a period of a year they must reach back a year. Smooth kernels need
        more: over 60 dates a year with errors of a thousandth of the variance, ten neighbours move means by 0.04
        posterior standard deviations at most for `Matern52` with a scale of 40 days, and by 0.3 for
        `SquaredExponential` with one of 30; twenty by 0.004 and 0.1. Series of less than a hundred dates take `Exact`
        less time, and kernels with a state space `Markov`.

    Equation:
        f_i = sum_j b_ij f_j + sqrt(d_i) e_i over the dates j before i, b and d from the kernel. Each date has an error
        with the variance `covariances.jitter`, 4e-16 n of the kernel's in double precision and 2e-7 n in single for n =
        neighbours + 1, so that two dates may be the same.

    Raises:
        ValueError: fewer than one neighbour.

    References:
        Vecchia 1988, Estimation and model identification for continuous spatial processes, J. R. Statist. Soc. B 50;
        Datta et al. 2016, Hierarchical nearest-neighbor Gaussian process models, JASA 111; Takahashi, Fagan & Chin
        1973 (selected inverse).
    """

    kernel: Kernel
    neighbours: int = eqx.field(static=True, default=10)

    def __check_init__(self) -> None:
        if not isinstance(self.neighbours, int) or self.neighbours < 1:
            raise ValueError(
                f"Nearest: expected an integer number of neighbours, 1 at least, got {self.neighbours!r}; take 10, or "
                "Exact for short series"
            )

    def condition(self, sites: Sites) -> NearestPosterior:
        return NearestPosterior(self, sites, *_condition(self, sites))

    def sample(self, key: Array, time: ArrayLike, sample_shape: tuple[int, ...] = ()) -> Array:
        return _sample(self, key, jnp.asarray(time), sample_shape)

    def log_prob(self, sites: Sites) -> Array:
        return _log_prob(self, sites)


class Sequence(NamedTuple):
    """What a process is told at, one after the other: usable values, then what is masked.

    Attributes:
        day: `(item,)`, rising among the usable.
        output: `(item,)`.
        usable: `(item,)`.
    """

    day: Array
    output: Array
    usable: Array


class NearestPosterior(Posterior):
    """A process that has seen sites; made by `Nearest.condition`.

    Marginals at any day, those of the sites included, are those of its regression on the neighbours + 1 usable dates
    around it, as many before as after where there are, with their joint posterior covariance; other dates are taken to
    add nothing. Joint draws (`sample`) take neighbours among the sites' dates and the days wanted together: many days
    wanted need more neighbours.

    Attributes:
        sequence: usable values first, leaves `(*batch, item)`, an item for each date and output.
        mean: of each item, `(*batch, item)`.
        band: covariance of each item with itself and those before it, `(*batch, item, window)`.
    """

    process: Nearest
    sequence: Sequence
    mean: Array
    band: Array

    def at(self, time: ArrayLike | None = None) -> Marginals:
        return _at(self, self.sites.time if time is None else jnp.asarray(time, self.sites.value.dtype))


def _window(process: Nearest) -> int:
    """Number of items that are told jointly: those of the neighbours and of one date."""
    return (process.neighbours + 1) * (process.kernel.outputs or 1)


def _covariance(kernel: Kernel, day: Array, output: Array, other_day: Array, other_output: Array) -> Array:
    found = kernel(day, other_day)
    if kernel.outputs is None:
        return found
    return found[jnp.arange(len(day))[:, None], output[:, None], jnp.arange(len(other_day)), other_output]


def _regression(
    kernel: Kernel, given: tuple[Array, Array], there: Array, wanted: tuple[Array, Array], window: int
) -> tuple[Array, Array, Array]:
    """Of the process on its values, with their error, at days and outputs `(n,)` of which some are not there.

    Returns:
        Slopes `(n, wanted)`, zero for those not there, the variance that is left `(wanted,)`, and that without any.
    """
    covariance = _covariance(kernel, *given, *given)
    error = jitter(jnp.diagonal(covariance), window)
    covariance = jnp.where(there[:, None] & there, covariance, 0.0) + jnp.diag(jnp.where(there, error, 1.0))
    towards = jnp.where(there[:, None], _covariance(kernel, *given, *wanted), 0.0)
    root = jnp.linalg.cholesky(covariance)
    own = jnp.diagonal(_covariance(kernel, *wanted, *wanted))
    left = own - (solve_triangular(root, towards, lower=True) ** 2).sum(0)
    return cho_solve((root, True), towards), left, own


def _regressions(kernel: Kernel, sequence: Sequence, window: int) -> tuple[Array, Array]:
    """Of each item on those before it, the nearest first: slopes `(item, window - 1)`, and what is left `(item,)`."""

    def item(index: Array) -> tuple[Array, Array]:
        before = index - 1 - jnp.arange(window - 1)
        # What is masked comes last and depends on nothing, so that nothing depends on it.
        there = (before >= 0) & sequence.usable[index]
        before = jnp.maximum(before, 0)
        given = sequence.day[before], sequence.output[before]
        wanted = sequence.day[index][None], sequence.output[index][None]
        slopes, left, own = _regression(kernel, given, there, wanted, window)
        # What is left is not negative, and rounding is.
        return slopes[:, 0], (jnp.maximum(left, 0.0) + jitter(own, window))[0]

    return jax.vmap(item)(jnp.arange(len(sequence.day)))


def _dot(x: Array, y: Array) -> Array:
    return jnp.einsum("...i,i->...", x, y, precision="highest")


class _Factor(NamedTuple):
    """The banded factor of the precision of all items given their sites, by item: f given those before it, x, has the
    mean b x + v (h - k x) and the variance v = d / (1 + d w).

    Attributes:
        slopes: b of the process before it saw the sites, the nearest item first, `(item, n)`.
        left: d.
        precision: w, what the item's site and later ones add to 1 / d.
        shift: h, what they add to b x / d.
        coupling: k, `(item, n)`.
    """

    slopes: Array
    left: Array
    precision: Array
    shift: Array
    coupling: Array


def _eliminate(slopes: Array, left: Array, value: Array, certain: Array) -> _Factor:
    """Integrates items out, from the last to the first.

    What an item f and later ones say of f and those before it is kept as the exponent s z - z C z / 2. With f = b x +
    sqrt(d) e put in, nothing is divided by d, which smooth kernels leave small.
    """

    def item(said: tuple[Array, Array], seen: tuple[Array, ...]) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        s, c = said
        b, d, value, certain = seen
        h, w = s[0] + certain * value, c[0, 0] + certain
        to_before = jnp.append(c[0, 1:], 0.0)
        k = to_before + w * b
        v = d / (1.0 + d * w)
        cross = jnp.outer(b, to_before + 0.5 * w * b)
        c = jnp.pad(c[1:, 1:], (0, 1)) + cross + cross.T - v * jnp.outer(k, k)
        return (jnp.append(s[1:], 0.0) + h * (b - v * k), c), (w, h, k)

    number = slopes.shape[1]
    start = jnp.zeros(number, slopes.dtype), jnp.zeros((number, number), slopes.dtype)
    _, (precision, shift, coupling) = jax.lax.scan(item, start, (slopes, left, value, certain), reverse=True)
    return _Factor(slopes, left, precision, shift, coupling)


def _means(factor: _Factor) -> tuple[Array, Array]:
    """Posterior mean m of each item, and the sum of log1p(d w) + (m - b x)² / d."""

    def item(before: Array, own: _Factor) -> tuple[Array, tuple[Array, Array]]:
        kept = 1.0 + own.left * own.precision
        raised = (own.shift - _times(own.coupling, before)) / kept
        mean = _times(own.slopes, before) + own.left * raised
        return jnp.append(mean, before[:-1]), (mean, jnp.log(kept) + own.left * raised**2)

    _, (mean, terms) = jax.lax.scan(item, jnp.zeros_like(factor.slopes[0]), factor)
    return mean, terms.sum()


def _band(factor: _Factor) -> Array:
    """Posterior covariance of each item with itself and those before it, `(item, n + 1)`: the selected inverse."""

    def item(before: Array, own: _Factor) -> tuple[Array, Array]:
        v = own.left / (1.0 + own.left * own.precision)
        slopes = own.slopes - v * own.coupling
        towards = _times(before, slopes)
        row = jnp.append(v + _times(slopes, towards), towards)
        return jnp.concatenate([row[None, :-1], jnp.column_stack([towards[:-1], before[:-1, :-1]])]), row

    number = factor.slopes.shape[1]
    _, band = jax.lax.scan(item, jnp.zeros((number, number), factor.slopes.dtype), factor)
    return band


def _evidence(process: Nearest, kernel: Kernel, sites: Sites) -> tuple[Array, Sequence, Array, _Factor]:
    """Of one pixel: its log evidence, and the items with their means and the factor."""
    mask = sites.mask.reshape(-1)
    order = jnp.argsort(~mask, stable=True)
    outputs = sites.value.shape[-1]
    sequence = Sequence(sites.time[order // outputs], order % outputs, mask[order])
    value, variance = sites.value.reshape(-1)[order], sites.variance.reshape(-1)[order]
    certain = jnp.where(sequence.usable, 1.0 / variance, 0.0)
    slopes, left = _regressions(kernel, sequence, _window(process))
    factor = _eliminate(slopes.astype(value.dtype), left.astype(value.dtype), value, certain)
    mean, terms = _means(factor)
    # log p(y | f) + log p(f) - log p(f | y) is the same for all f. At the mean it is a sum of squares.
    density = jnp.where(sequence.usable, jnp.log(2.0 * math.pi * variance), 0.0) + certain * (value - mean) ** 2
    return -0.5 * (density.sum() + terms), sequence, mean, factor


@eqx.filter_jit
def _log_prob(process: Nearest, sites: Sites) -> Array:
    def pixel(kernel: Kernel, sites: Sites) -> Array:
        return _evidence(process, kernel, sites)[0]

    return one_by_one(pixel, process.kernel, with_outputs(sites))


@eqx.filter_jit
def _condition(process: Nearest, sites: Sites) -> tuple[Array, Sequence, Array, Array]:
    def pixel(kernel: Kernel, sites: Sites) -> tuple[Array, Sequence, Array, Array]:
        evidence, sequence, mean, factor = _evidence(process, kernel, sites)
        return evidence, sequence, mean, _band(factor)

    found: tuple[Array, Sequence, Array, Array] = one_by_one(pixel, process.kernel, with_outputs(sites))
    return found


@eqx.filter_jit
def _at(posterior: NearestPosterior, time: Array) -> Marginals:
    process = posterior.process
    window = _window(process)

    def pixel(kernel: Kernel, given: tuple[Sequence, Array, Array, Array]) -> Marginals:
        sequence, mean, band, wanted = given
        outputs = jnp.arange(kernel.outputs or 1)
        days = jnp.where(sequence.usable, sequence.day, jnp.inf)

        def day(now: Array) -> tuple[Array, Array]:
            # The window's last item; before the first where none is usable.
            after = jnp.searchsorted(days, now, side="right") + window // 2 - 1
            last = jnp.minimum(jnp.maximum(after, window - 1), sequence.usable.sum() - 1)
            index = last - jnp.arange(window)
            there, index = index >= 0, jnp.maximum(index, 0)
            wanted = jnp.broadcast_to(now, outputs.shape), outputs
            slopes, left, _ = _regression(kernel, (sequence.day[index], sequence.output[index]), there, wanted, window)
            lag = jnp.abs(index[:, None] - index)
            covariance = band[jnp.maximum(index[:, None], index), lag]
            spread = (slopes * _times(covariance, slopes)).sum(0)
            return _times(mean[index], slopes), left + spread

        return Marginals(*jax.vmap(day)(wanted))

    batch = posterior.sites.time.shape[:-1]
    wanted = jnp.broadcast_to(time, (*batch, time.shape[-1]))
    given = (posterior.sequence, posterior.mean, posterior.band, wanted)
    return without_outputs(one_by_one(pixel, process.kernel, given, batch=batch), process.kernel)


@eqx.filter_jit
def _sample(process: Nearest, key: Array, time: Array, sample_shape: tuple[int, ...]) -> Array:
    kernel, outputs = process.kernel, process.kernel.outputs or 1
    dtype = jnp.result_type(time, jnp.float32)
    items = jnp.arange(time.shape[-1] * outputs)
    noise = jax.random.normal(key, (*sample_shape, *time.shape[:-1], len(items)), dtype)

    def pixel(kernel: Kernel, time: Array) -> tuple[Array, Array]:
        sequence = Sequence(time[items // outputs], items % outputs, jnp.ones(len(items), bool))
        return _regressions(kernel, sequence, _window(process))

    slopes, left = one_by_one(pixel, kernel, time.astype(dtype), batch=time.shape[:-1])
    fresh = jnp.sqrt(left.astype(dtype)) * noise

    def item(before: Array, own: tuple[Array, Array]) -> tuple[Array, Array]:
        slopes, fresh = own
        value = fresh + (slopes * before).sum(-1)
        return jnp.concatenate([value[..., None], before[..., :-1]], -1), value

    start = jnp.zeros((*fresh.shape[:-1], slopes.shape[-1]), dtype)
    each = jnp.moveaxis(slopes.astype(dtype), -2, 0), jnp.moveaxis(fresh, -1, 0)
    drawn = jnp.moveaxis(jax.lax.scan(item, start, each)[1], 0, -1)
    return drawn if kernel.outputs is None else drawn.reshape(*drawn.shape[:-1], -1, outputs)
