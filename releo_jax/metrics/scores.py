"""Scores of retrieved values and of their intervals, with bootstrap intervals over fields.

    rmse(truth, mean), coverage(truth, lower, upper)
    bootstrap(rmse, truth, mean, groups=field)          # resamples whole fields: their pixels are not independent
    summary(truth, mean, lower, upper, level=0.9, groups=field)

Plain NumPy in double precision. Samples where an argument is NaN are left out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist

from releo_jax.metrics._checks import aligned, check_level, truth_and_draws

Metric = Callable[..., float]


def rmse(truth: ArrayLike, mean: ArrayLike) -> float:
    """Root of the mean squared error of estimates `(sample,)`, in their units."""
    truth, mean = aligned("rmse", truth=truth, mean=mean)
    return float(np.sqrt(np.mean((mean - truth) ** 2)))


def bias(truth: ArrayLike, mean: ArrayLike) -> float:
    """Mean of estimate minus truth `(sample,)`, in their units."""
    truth, mean = aligned("bias", truth=truth, mean=mean)
    return float(np.mean(mean - truth))


def r2(truth: ArrayLike, mean: ArrayLike) -> float:
    """Share of the variance of the truth that estimates `(sample,)` explain: 1 - MSE / variance.

    Not the squared correlation: biased estimates lose, and it is negative where the mean of the truth would have done
    better. NaN where the truth does not vary.
    """
    truth, mean = aligned("r2", truth=truth, mean=mean)
    variance = truth.var()
    return float(1.0 - np.mean((mean - truth) ** 2) / variance) if variance > 0.0 else math.nan


def coverage(truth: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> float:
    """Share of the samples `(sample,)` whose truth lies in the interval, both ends included."""
    truth, lower, upper = aligned("coverage", truth=truth, lower=lower, upper=upper)
    return float(np.mean((lower <= truth) & (truth <= upper)))


def mean_width(lower: ArrayLike, upper: ArrayLike) -> float:
    """Mean of upper minus lower end `(sample,)`, in their units."""
    lower, upper = aligned("mean_width", lower=lower, upper=upper)
    return float(np.mean(upper - lower))


def interval_score(truth: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, level: float) -> float:
    """Width of the intervals and a penalty for what they miss, in the units of the truth; smaller is better.

    Args:
        truth: `(sample,)`.
        lower: lower end of a central interval `(sample,)`.
        upper: upper end `(sample,)`.
        level: probability that the intervals stand for.

    Equation:
        S = mean of (u - l) + 2 / (1 - level) ((l - y)+ + (y - u)+)

    References:
        Gneiting & Raftery 2007, J. Am. Stat. Assoc. 102, 359-378, equation 43.
    """
    check_level("interval_score", level)
    truth, lower, upper = aligned("interval_score", truth=truth, lower=lower, upper=upper)
    missed = np.maximum(lower - truth, 0.0) + np.maximum(truth - upper, 0.0)
    return float(np.mean(upper - lower + 2.0 / (1.0 - level) * missed))


def crps(truth: ArrayLike, draws: ArrayLike) -> float:
    """Continuous ranked probability score of posterior draws, in the units of the truth; smaller is better.

    Args:
        truth: `(sample,)`.
        draws: `(sample, draw)`, two at least. The score does not depend on their number but for chance.

    Equation:
        mean of E|X - y| - E|X - X'| / 2, the second over pairs of different draws

    References:
        Gneiting & Raftery 2007, J. Am. Stat. Assoc. 102, 359-378; Ferro 2014, Q. J. R. Meteorol. Soc. 140, 1917-1923
        (the fair version).
    """
    y, x = np.asarray(truth, np.float64), np.asarray(draws, np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or x.shape[1] < 2:
        raise ValueError(
            f"crps: expected truth (sample,) and draws (sample, draw) with two draws at least, got {y.shape} and "
            f"{x.shape}; transpose draws that come first"
        )
    usable = ~(np.isnan(y) | np.isnan(x).any(1))
    if not usable.any():
        raise ValueError(f"crps: expected at least one sample without NaN, got none of {usable.size}; check the draws")
    y, x = y[usable], np.sort(x[usable], 1)
    n = x.shape[1]
    pairs = x @ (2.0 * np.arange(1, n + 1) - n - 1.0) / (n * (n - 1.0))  # E|X - X'| / 2
    return float(np.mean(np.abs(x - y[:, None])) - np.mean(pairs))


def energy_score(truth: ArrayLike, draws: ArrayLike, *, scale: ArrayLike = 1.0) -> float:
    """Energy score of joint posterior draws: the CRPS of several dimensions together; smaller is better.

    Args:
        truth: `(sample, dimension)`.
        draws: `(sample, draw, dimension)`, two draws at least. The score does not depend on their number but for
            chance; its cost grows with the square.
        scale: `(dimension,)` what is divided by first, e.g. the prior's standard deviation: distances would add
            different units without it.

    Equation:
        mean of E||X - y|| - E||X - X'|| / 2, the second over pairs of different draws

    References:
        Gneiting & Raftery 2007, J. Am. Stat. Assoc. 102, 359-378, section 4.3.
    """
    y, x = truth_and_draws("energy_score", truth, draws)
    divisor = np.asarray(scale, np.float64)
    if divisor.shape not in ((), (y.shape[1],)) or not np.all(divisor > 0.0):
        raise ValueError(
            f"energy_score: expected a positive scale (dimension,) = ({y.shape[1]},), got {scale!r}; "
            "give one standard deviation a dimension"
        )
    y, x = y / divisor, x / divisor
    misses = np.linalg.norm(x - y[:, None], axis=-1).mean()
    return float(misses - 0.5 * np.mean([pdist(of_sample).mean() for of_sample in x]))


def crps_normal(truth: ArrayLike, mean: ArrayLike, std: ArrayLike) -> float:
    """Continuous ranked probability score of normal laws, in the units of the truth; smaller is better.

    Args:
        truth: `(sample,)`.
        mean: `(sample,)`.
        std: standard deviation `(sample,)`, positive.

    Equation:
        mean of std (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)),  z = (y - mean) / std

    References:
        Gneiting et al. 2005, Mon. Weather Rev. 133, 1098-1118, equation 5.
    """
    y, m, deviation = aligned("crps_normal", truth=truth, mean=mean, std=std)
    if np.any(deviation <= 0.0):
        raise ValueError(f"crps_normal: expected positive deviations, got {deviation.min()}; leave such samples out")
    z = (y - m) / deviation
    twice_inner = np.array([math.erf(value) for value in z / math.sqrt(2.0)])  # 2 Phi(z) - 1
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    return float(np.mean(deviation * (z * twice_inner + 2.0 * density - 1.0 / math.sqrt(math.pi))))


def bootstrap(
    metric: Metric,
    *arrays: ArrayLike,
    groups: ArrayLike | None = None,
    n: int = 1000,
    level: float = 0.9,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a score by resampling whole groups.

    Args:
        metric: takes the arrays and returns a number, e.g. `rmse`.
        *arrays: arguments of the metric, `(sample,)` or `(sample, ...)`.
        groups: label of the group of each sample `(sample,)`, e.g. the field; None where samples are independent.
        n: number of resamples.
        level: probability of the interval.
        seed: of the resampling.

    Returns:
        lower and upper end.

    Raises:
        ValueError: arrays of different lengths, or fewer than two groups.
    """
    check_level("bootstrap", level)
    if not arrays or n < 1:
        raise ValueError(f"bootstrap: expected arrays and n >= 1, got {len(arrays)} arrays and n = {n}; give both")
    made = [np.asarray(array, np.float64) for array in arrays]
    labels = np.arange(len(made[0])) if groups is None else np.asarray(groups)
    lengths = [array.shape[0] if array.ndim else 0 for array in (*made, labels)]
    if len(set(lengths)) > 1 or labels.ndim != 1:
        raise ValueError(
            f"bootstrap: expected arrays (sample, ...) and groups (sample,) of one length, got {lengths}; "
            "flatten images first"
        )
    # Samples without a value go first: a resample made of them alone would have no score.
    missing = [np.isnan(array).reshape(lengths[0], -1).any(1) for array in made]
    usable = ~np.logical_or.reduce(missing)
    made, labels = [array[usable] for array in made], labels[usable]
    _, codes = np.unique(labels, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    if len(members) < 2:
        raise ValueError(
            f"bootstrap: expected two groups at least, got {len(members) if len(order) else 0}; "
            "an interval cannot be told from one field: leave groups out if its samples are independent"
        )
    rng = np.random.default_rng(seed)
    scores = np.empty(n)
    for i in range(n):
        rows = np.concatenate([members[group] for group in rng.integers(len(members), size=len(members))])
        scores[i] = metric(*(array[rows] for array in made))
    scores = scores[~np.isnan(scores)]  # r2 of a resample without variance
    if not scores.size:
        return math.nan, math.nan
    low, high = np.quantile(scores, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return float(low), float(high)


def summary(
    truth: ArrayLike,
    mean: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    level: float,
    groups: ArrayLike | None = None,
) -> dict[str, Any]:
    """Scores of estimates and their intervals, each with a 90 % bootstrap interval over groups.

    Args:
        truth: `(sample,)`.
        mean: estimate `(sample,)`.
        lower: lower end of its interval `(sample,)`.
        upper: upper end `(sample,)`.
        level: probability that the intervals stand for.
        groups: label of the group of each sample `(sample,)`, e.g. the field.

    Returns:
        `samples` and `groups` (numbers of them, `groups` None without groups), and the scores `rmse`, `bias`, `r2`,
        `coverage`, `mean_width` and `interval_score`, each with `<name>_interval` `(low, high)`, NaN where there
        is one group only.
    """
    check_level("summary", level)
    arrays = [np.asarray(array, np.float64).ravel() for array in (truth, mean, lower, upper)]
    aligned("summary", truth=truth, mean=mean, lower=lower, upper=upper)
    usable = ~np.any(np.isnan(arrays), 0)
    y, m, low, high = (array[usable] for array in arrays)
    labels = None if groups is None else np.asarray(groups).ravel()
    if labels is not None and labels.size != usable.size:
        raise ValueError(f"summary: expected one group a sample ({usable.size}), got {labels.size}; label every sample")
    labels = labels if labels is None else labels[usable]
    scores: dict[str, tuple[Metric, tuple[np.ndarray, ...]]] = {
        "rmse": (rmse, (y, m)),
        "bias": (bias, (y, m)),
        "r2": (r2, (y, m)),
        "coverage": (coverage, (y, low, high)),
        "mean_width": (mean_width, (low, high)),
        "interval_score": (functools.partial(interval_score, level=level), (y, low, high)),
    }
    count = None if labels is None else len(np.unique(labels))
    found: dict[str, Any] = {"samples": len(y), "groups": count}
    for name, (metric, values) in scores.items():
        found[name] = metric(*values)
        enough = (len(y) if count is None else count) > 1
        found[f"{name}_interval"] = bootstrap(metric, *values, groups=labels) if enough else (math.nan, math.nan)
    return found
