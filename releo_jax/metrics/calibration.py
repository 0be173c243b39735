"""Is a posterior calibrated, and does it learn anything? From draws `(sample, draw, dimension)` and their truths.

    check = sbc(truth, draws)                    # each dimension for itself
    check = tarp(truth, draws)                   # all dimensions together
    check = predictive_chi2(observed, predicted, noise_std=0.02)    # in the bands; needs no truth
    check.within                                 # False: miscalibrated; .spread > 0: over-confident
    contraction(draws, prior_std=std), z_scores(truth, draws)

A posterior that is the prior is calibrated: always look at the contraction as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from releo_jax.metrics._checks import check_level, seeded, truth_and_draws
from releo_jax.metrics.ranks import RankCheck, rank_check, simultaneous_band


def sbc(truth: ArrayLike, draws: ArrayLike, *, level: float = 0.95) -> RankCheck:
    """Simulation-based calibration: ranks of true values among posterior draws, one dimension at a time.

    Args:
        truth: values drawn from the prior `(sample, dimension)`, whose observations were simulated.
        draws: posterior draws given these observations `(sample, draw, dimension)`, independent (thin those of a
            chain); 100 to 1000 are enough.
        level: probability that a calibrated posterior is found within the bands, in all dimensions together.

    References:
        Talts et al. 2018, arXiv 1804.06788; Säilynoja, Bürkner & Vehtari 2022, Stat. Comput. 32, 32.
    """
    y, x = truth_and_draws("sbc", truth, draws)
    return rank_check((x < y[:, None]).sum(1), draws=x.shape[1], level=level)


def tarp(
    truth: ArrayLike, draws: ArrayLike, *, references: ArrayLike | None = None, level: float = 0.95, seed: int = 0
) -> RankCheck:
    """Tests of accuracy with random points: expected coverage of joint posteriors, in all dimensions together.

    The balls around a reference point that reach to the truth are credible regions; the share of draws in them is
    their probability, and `ecdf` says how often the truth lay in regions of each probability (`points`). Unlike the
    ranks of single dimensions, it sees wrong correlations.

    Args:
        truth: values drawn from the prior `(sample, dimension)`, whose observations were simulated.
        draws: posterior draws given these observations `(sample, draw, dimension)`, independent.
        references: a point for each sample `(sample, dimension)`; default: random ones from the box that holds nearly
            all draws. Random ones cannot tell the posterior from the prior; points that depend on the observations can.
        level: probability that a calibrated posterior is found within the bands.
        seed: of the reference points.

    Returns:
        as `sbc` does, with one dimension.

    References:
        Lemos et al. 2023, ICML, PMLR 202, 19256-19273 (algorithm 2); the bands are those of the ranks, exact instead of
        bootstrapped.
    """
    y, x = truth_and_draws("tarp", truth, draws, keep_nan=True)
    n, dimensions = y.shape
    # Truth and draws are treated alike, or the scale would tell them apart.
    low, high = np.nanquantile(np.concatenate([x, y[:, None]], 1), [0.01, 0.99], (0, 1))
    width = np.where(high > low, high - low, 1.0)
    if references is None:
        points = low + width * seeded("tarp", seed).uniform(size=(n, dimensions))
    else:
        points = np.asarray(references, np.float64)
        points = points[:, None] if np.ndim(truth) == 1 and points.ndim == 1 else points
        if points.shape != y.shape or np.isnan(points).any():
            raise ValueError(
                f"tarp: expected references of the truth's shape {np.shape(truth)} without NaN, got "
                f"{np.shape(references)}; give one point a sample"
            )
    usable = ~(np.isnan(y).any(1) | np.isnan(x).any((1, 2)))
    y, x, points = y[usable] / width, x[usable] / width, points[usable] / width
    reach = ((y - points) ** 2).sum(1)
    return rank_check((((x - points[:, None]) ** 2).sum(2) < reach[:, None]).sum(1), draws=x.shape[1], level=level)


def contraction(draws: ArrayLike, *, prior_std: ArrayLike) -> np.ndarray:
    """How much narrower than the prior a posterior is: 0 nothing learned, 1 all known `(sample, dimension)`.

    Args:
        draws: posterior draws `(sample, draw, dimension)`.
        prior_std: standard deviation of the prior `(dimension,)`.

    Equation:
        1 - posterior variance / prior variance

    References:
        Betancourt 2018, arXiv 1803.08393; Schad, Betancourt & Vasishth 2021, Psychol. Methods 26, 103-126.
    """
    x, std = np.asarray(draws, np.float64), np.asarray(prior_std, np.float64)
    if x.ndim != 3 or x.shape[1] < 2 or std.shape != x.shape[2:] or not np.all(std > 0.0):
        raise ValueError(
            "contraction: expected draws (sample, draw, dimension) with two draws at least and a positive prior_std "
            f"(dimension,), got {x.shape} and {prior_std!r}; give one standard deviation a dimension"
        )
    return 1.0 - x.var(1, ddof=1) / std**2


def z_scores(truth: ArrayLike, draws: ArrayLike) -> np.ndarray:
    """Posterior mean minus truth, in posterior standard deviations `(sample, dimension)`; NaN where an argument is.

    Their squares have a mean of about 1 where posteriors are calibrated: more is over-confidence.

    Args:
        truth: `(sample, dimension)`.
        draws: posterior draws `(sample, draw, dimension)`.

    References:
        as for `contraction`.
    """
    y, x = truth_and_draws("z_scores", truth, draws, keep_nan=True)
    std = x.std(1, ddof=1)
    if np.any(std == 0.0):
        raise ValueError("z_scores: expected draws that differ, got posteriors without a spread; leave these out")
    return (x.mean(1) - y) / std


@dataclasses.dataclass(frozen=True)
class PredictiveCheck:
    """Whether posterior draws explain observations within their noise, neither worse nor better than they should.

    Attributes:
        within: whether the misfits of all samples together follow their chi-squared laws; those of calibrated
            posteriors and a right noise do with probability `level`.
        level: probability that the bands stand for.
        chi2: squared misfits in units of the noise, summed over bands, mean over draws `(sample,)`.
        bands: number of bands behind it, its expectation `(sample,)`.
        ratio: sum of all `chi2` over the sum of all `bands`: about 1 where calibrated, above 1 for noise that is larger
            than stated, a wrong model, or posteriors that are too wide; below 1 for noise that is smaller than
            stated or posteriors that are too narrow.
        p_values: posterior-predictive probability of a larger misfit `(sample,)`; small ones are single misfits.
        points: where the distribution of the misfits' probabilities is looked at `(point,)`, between 0 and 1.
        ecdf: share of the samples whose probability lies below `(point,)`.
        lower: lower end of the bands of `ecdf` `(point,)`.
        upper: upper end `(point,)`.
    """

    within: bool
    level: float
    chi2: np.ndarray
    bands: np.ndarray
    ratio: float
    p_values: np.ndarray
    points: np.ndarray
    ecdf: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def predictive_chi2(
    observed: ArrayLike,
    predicted: ArrayLike,
    *,
    noise_std: ArrayLike,
    mask: ArrayLike | None = None,
    level: float = 0.95,
) -> PredictiveCheck:
    """Compares observations with what the model predicts for posterior draws, before noise; needs no truth.

    The misfit of the true state follows a chi-squared law with as many degrees of freedom as bands, and so does that of
    one draw of the posterior, since both are drawn alike. The decision takes the first draw of each sample; the numbers
    of single samples take all.

    Args:
        observed: `(sample, band)`.
        predicted: model at posterior draws, without noise `(sample, draw, band)`; draws in no order.
        noise_std: standard deviation of the noise, independent between bands: a number, or an array that broadcasts
            against `predicted`, such as `(band,)` or `(sample, draw, 1)`.
        mask: `(sample, band)`, True = usable; None for all. What stands where it is False does not matter.
        level: probability that the misfits of a calibrated posterior are found within the bands.

    Raises:
        ValueError: shapes that do not fit, NaN where the mask is True, or no sample with a usable band.

    References:
        Gelman, Meng & Stern 1996, Stat. Sin. 6, 733-807 (the probabilities of single samples); Johnson 2007,
        Bayesian Anal. 2, 719-734 (the law of one draw's misfit).
    """
    check_level("predictive_chi2", level)
    y, f, std = (np.asarray(value, np.float64) for value in (observed, predicted, noise_std))
    used = np.ones(y.shape, bool) if mask is None else np.asarray(mask)
    if y.ndim != 2 or f.ndim != 3 or f.shape[::2] != y.shape or not f.shape[1] or used.shape != y.shape:
        raise ValueError(
            "predictive_chi2: expected observed (sample, band), predicted (sample, draw, band) and a mask like "
            f"observed, got {y.shape}, {f.shape} and {used.shape}; transpose draws that come first"
        )
    if used.dtype != bool:
        raise ValueError(f"predictive_chi2: expected a boolean mask, True = usable, got {used.dtype}; compare it first")
    try:
        std = np.broadcast_to(std, f.shape)
    except ValueError:
        raise ValueError(
            f"predictive_chi2: expected noise_std that broadcasts against predicted {f.shape}, got {std.shape}; "
            "give (band,), or (sample, 1, band)"
        ) from None
    everywhere = used[:, None]
    if np.any((~(std > 0.0) | np.isnan(f) | np.isnan(y)[:, None]) & everywhere) or not used.any():
        raise ValueError(
            "predictive_chi2: expected a positive noise_std, no NaN where the mask is True, and some usable band, got "
            "other values; mask what was not measured"
        )
    safe = np.where(everywhere, std, 1.0)
    misfit = (np.where(everywhere, y[:, None] - f, 0.0) / safe) ** 2
    kept = used.any(1)
    chi2, bands = misfit.sum(2), used.sum(1)
    p_values = np.full(len(y), np.nan)
    p_values[kept] = special.chdtrc(bands[kept, None], chi2[kept]).mean(1)
    unit = special.chdtr(bands[kept], chi2[kept, 0])
    points = np.linspace(0.0, 1.0, 101)[1:-1]
    counts = np.searchsorted(np.sort(unit), points)
    n = int(kept.sum())
    lower, upper, _ = simultaneous_band(n, tuple(points), level)
    return PredictiveCheck(
        within=bool(np.all((counts >= lower) & (counts <= upper))),
        level=level,
        chi2=np.where(kept, chi2.mean(1), np.nan),
        bands=bands,
        ratio=float(chi2.mean(1).sum() / bands.sum()),
        p_values=p_values,
        points=points,
        ecdf=counts / n,
        lower=lower / n,
        upper=upper / n,
    )
