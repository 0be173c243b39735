"""Are ranks uniform? The cumulative distribution of ranks within bands that hold at all ranks together.

    check = rank_check(ranks, draws=200)        # ranks (sample, dimension) of truths among 200 draws
    check.within                                # True: no sign of miscalibration
    plots.plot_ranks(check)

The truth's rank among L independent draws of its exact posterior is uniform on 0 ... L, so that the number of ranks
below r among n samples is binomial, B(n, r / (L + 1)). Bands from the binomial's quantiles hold at one r; here
their probability is raised until the whole trajectory stays inside with the probability asked for.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from releo_jax.metrics._checks import check_level

_POINTS = 100
"""Ranks at which the cumulative distribution is looked at; more cost time and hardly change the bands."""

_MANY = 100_000
"""Samples beyond which gamma changes no more: counts are normal, with correlations that n does not change."""


@dataclasses.dataclass(frozen=True)
class RankCheck:
    """Whether ranks of true values among posterior draws are uniform, as they are where the posterior is calibrated.

    Attributes:
        within: whether all dimensions stay within the bands; calibrated posteriors do with probability `level`.
        inside: by dimension, whether it stays within the bands `(dimension,)`.
        level: probability that the bands stand for, at all ranks of all dimensions together.
        draws: largest rank.
        ranks: number of draws below the truth `(sample, dimension)`.
        points: where the distribution is looked at, as shares of the ranks `(point,)`, between 0 and 1.
        ecdf: share of the samples whose rank lies below `(dimension, point)`.
        lower: lower end of the bands of `ecdf` `(point,)`.
        upper: upper end `(point,)`.
        log_gamma: by dimension, logarithm of the least probable point's probability over that of the bands
            `(dimension,)`: negative outside, and the lower the clearer.
        spread: by dimension, -1 ... 1: above 0 truths lie too far out among the draws (posterior too narrow,
            over-confident), below 0 too near the middle (too wide, under-confident) `(dimension,)`.
        shift: by dimension, -1 ... 1: above 0 truths lie above the draws (estimates too low), below 0 below them
            `(dimension,)`.
    """

    within: bool
    inside: np.ndarray
    level: float
    draws: int
    ranks: np.ndarray
    points: np.ndarray
    ecdf: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    log_gamma: np.ndarray
    spread: np.ndarray
    shift: np.ndarray


def rank_check(ranks: ArrayLike, *, draws: int, level: float = 0.95) -> RankCheck:
    """Compares ranks with the uniform distribution.

    Args:
        ranks: number of draws below the truth, 0 ... draws, `(sample,)` or `(sample, dimension)`. Samples must be
            independent, and so must the draws of a sample: thin those of a chain.
        draws: posterior draws of each sample.
        level: probability that uniform ranks stay within the bands, in all dimensions together (Bonferroni).

    Raises:
        ValueError: ranks out of range or not whole numbers.

    References:
        Säilynoja, Bürkner & Vehtari 2022, Stat. Comput. 32, 32; Talts et al. 2018, arXiv 1804.06788.
    """
    check_level("rank_check", level)
    r = np.asarray(ranks)
    r = r[:, None] if r.ndim == 1 else r
    if r.ndim != 2 or not r.size or not np.issubdtype(r.dtype, np.integer) or r.min() < 0 or r.max() > draws:
        found = f"{r.dtype} {np.shape(ranks)}" + (f" from {r.min()} to {r.max()}" if r.size else "")
        raise ValueError(
            f"rank_check: expected whole numbers (sample, dimension) from 0 to draws = {draws}, got {found}; "
            "count the draws below each truth"
        )
    n, dimensions = r.shape
    at = np.unique(np.linspace(1, draws, min(draws, _POINTS)).round().astype(int))
    points = at / (draws + 1)
    counts = np.stack([np.searchsorted(np.sort(column), at, side="left") for column in r.T])  # ranks below `at`
    lower, upper, gamma = simultaneous_band(n, tuple(points), 1.0 - (1.0 - level) / dimensions)
    least = 2.0 * np.minimum(special.bdtr(counts, n, points), _at_least(counts, n, points)).min(1)
    unit = (r + 0.5) / (draws + 1)
    inside = np.all((counts >= lower) & (counts <= upper), axis=1)
    return RankCheck(
        within=bool(inside.all()),
        inside=inside,
        level=level,
        draws=draws,
        ranks=r,
        points=points,
        ecdf=counts / n,
        lower=lower / n,
        upper=upper / n,
        log_gamma=np.log(np.maximum(least, np.finfo(np.float64).tiny) / gamma),
        spread=4.0 * np.abs(unit - 0.5).mean(0) - 1.0,
        shift=2.0 * unit.mean(0) - 1.0,
    )


def _at_least(counts: np.ndarray, n: int, points: np.ndarray) -> np.ndarray:
    """Probability that a binomial count is at least so large."""
    return np.where(counts > 0, special.bdtrc(np.maximum(counts - 1, 0), n, points), 1.0)


@functools.lru_cache(maxsize=256)
def simultaneous_band(n: int, points: tuple[float, ...], level: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Numbers of n uniform values below each point, within which all of them stay with a probability.

    Args:
        n: independent values that are uniform on 0 ... 1.
        points: where they are counted, increasing, between 0 and 1.
        level: probability that the counts stay inside at all points.

    Returns:
        least and largest count at each point `(point,)`, both inside, and gamma: each point alone is left with at
        most this probability.

    Equation:
        [B^-1(gamma / 2; n, z), B^-1(1 - gamma / 2; n, z)] with the largest gamma for which the trajectory stays inside
        with the probability asked for, which is computed and not simulated.

    References:
        Säilynoja, Bürkner & Vehtari 2022, Stat. Comput. 32, 32; Moscovich & Nadler 2017, Stat. Probab. Lett. 123,
        177-182 (the probability).
    """
    z = np.asarray(points)
    if n > _MANY:
        gamma = simultaneous_band(_MANY, points, level)[2]
        return *_pointwise(n, z, gamma), gamma
    low, high = (1.0 - level) / len(z), 1.0 - level  # Bonferroni's gamma holds; that of a single point is too large
    if _stays(n, z, *_pointwise(n, z, high)) >= level:
        low = high
    while high / low > 1.001:
        middle = float(np.sqrt(low * high))
        if _stays(n, z, *_pointwise(n, z, middle)) >= level:
            low = middle
        else:
            high = middle
    lower, upper = _pointwise(n, z, low)
    lower.flags.writeable = upper.flags.writeable = False  # they are in the cache
    return lower, upper, low


def _pointwise(n: int, z: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles gamma / 2 and 1 - gamma / 2 of binomials: least k with P(K <= k) >= q."""
    return _quantile(0.5 * gamma, n, z), n - _quantile(0.5 * gamma, n, 1.0 - z)


def _quantile(q: float, n: int, z: np.ndarray) -> np.ndarray:
    # By bisection over all counts: the normal approximation is off by more than one where n z is small.
    low, high = np.full(z.shape, -1), np.full(z.shape, n)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        enough = special.bdtr(np.maximum(middle, 0), n, z) >= q
        enough &= middle >= 0
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def _stays(n: int, z: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Probability that the counts of n uniform values below the points z all lie within lower ... upper.

    A Poisson process of n expected events, of which exactly n happen, counts like n uniform values; its increments do
    not depend on what was before, so that each step is a convolution.
    """
    mass, start = np.ones(1), 0  # probabilities of the counts start, start + 1, ...
    edges = np.append(z, 1.0)
    for step, least, largest in zip(np.diff(edges, prepend=0.0), np.append(lower, n), np.append(upper, n), strict=True):
        steps = np.arange(max(largest - start + 1, 1))
        increment = np.exp(special.xlogy(steps, n * step) - n * step - special.gammaln(steps + 1.0))
        following = np.convolve(mass, increment)[: largest - start + 1]
        mass, start = following[least - start :], least
        if not mass.size or start > largest:
            return 0.0
    return float(mass[0] / np.exp(special.xlogy(n, n) - n - special.gammaln(n + 1.0)))
