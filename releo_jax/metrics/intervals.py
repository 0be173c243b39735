"""Central intervals of posterior draws, and how often they hold the truth at several levels.

lower, upper = central_interval(draws, level=0.9)
curve = coverage_curve(truth, draws, levels=(0.5, 0.68, 0.9, 0.95))
curve.coverage, curve.width, curve.within
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from releo_jax.metrics._checks import check_level, truth_and_draws
from releo_jax.metrics.ranks import simultaneous_band


@dataclasses.dataclass(frozen=True)
class CoverageCurve:
    """How often central intervals hold the truth, and how wide they are.

    Attributes:
        within: whether the coverage of all dimensions stays within the bands at all levels; that of a calibrated
            posterior does with probability `confidence`.
        levels: probabilities that the intervals stand for `(level,)`.
        coverage: share of the truths inside, both ends included `(dimension, level)`.
        width: mean width of the intervals, in the units of the truth `(dimension, level)`.
        lower: lower end of the bands of `coverage` `(level,)`.
        upper: upper end `(level,)`.
        confidence: probability that the bands stand for, at all levels of all dimensions together.
        samples: number of samples.
    """

    within: bool
    levels: np.ndarray
    coverage: np.ndarray
    width: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    confidence: float
    samples: int


def central_interval(draws: ArrayLike, *, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval that leaves as much probability below as above, from posterior draws.

    Args:
        draws: `(sample, draw)` or `(sample, draw, dimension)`.
        level: probability of the interval, (draws - 1) / (draws + 1) at most.

    Returns:
        lower and upper end, `(sample,)` or `(sample, dimension)`. A new value of the same law lies inside with the
        probability asked for whatever the number of draws (the usual sample quantiles hold it less often).

    Raises:
        ValueError: more probability than so few draws can bound.
    """
    check_level("central_interval", level)
    x = np.asarray(draws, np.float64)
    if x.ndim not in (2, 3):
        raise ValueError(
            f"central_interval: expected draws (sample, draw) or (sample, draw, dimension), got {x.shape}; "
            "flatten images first"
        )
    needed = int(np.ceil((1.0 + level) / (1.0 - level) - 1e-9))
    if x.shape[1] < needed:
        raise ValueError(
            f"central_interval: expected {needed} draws at least for {100 * level:g} % intervals, got {x.shape[1]}; "
            "draw more, or ask for a lower level"
        )
    lower, upper = np.quantile(x, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=1, method="weibull")
    return lower, upper


def coverage_curve(
    truth: ArrayLike,
    draws: ArrayLike,
    *,
    levels: Sequence[float] = (0.5, 0.68, 0.9, 0.95),
    confidence: float = 0.95,
) -> CoverageCurve:
    """Coverage and width (PICP and MPIW) of the central intervals of posterior draws, at several levels.

    Args:
        truth: `(sample, dimension)`, or `(sample,)`.
        draws: `(sample, draw, dimension)`, or `(sample, draw)`.
        levels: probabilities of the intervals, increasing.
        confidence: probability that the coverage of a calibrated posterior is found within the bands, at all levels of
            all dimensions together. The bands hold where samples are independent: pixels of a field are not.
    """
    check_level("coverage_curve", confidence)
    z = np.asarray(levels, np.float64)
    if z.ndim != 1 or not z.size or np.any(np.diff(z) <= 0.0):
        raise ValueError(f"coverage_curve: expected increasing levels, got {levels}; sort them")
    y, x = truth_and_draws("coverage_curve", truth, draws)
    n, dimensions = y.shape
    found, widths = np.empty((2, dimensions, z.size))
    for index, level in enumerate(z):
        lower, upper = central_interval(x, level=float(level))
        found[:, index] = ((lower <= y) & (y <= upper)).mean(0)
        widths[:, index] = (upper - lower).mean(0)
    # Intervals are nested: the truths inside are counted by the level from which on they are.
    least, largest, _ = simultaneous_band(n, tuple(map(float, z)), 1.0 - (1.0 - confidence) / dimensions)
    counts = np.rint(found * n)
    return CoverageCurve(
        within=bool(np.all((counts >= least) & (counts <= largest))),
        levels=z,
        coverage=found,
        width=widths,
        lower=least / n,
        upper=largest / n,
        confidence=confidence,
        samples=n,
    )
