"""Scores of retrieved values, of their intervals and of whole posteriors, and checks of their calibration.

    rmse(truth, mean), coverage(truth, lower, upper)            # of values and of one interval each
    crps(truth, draws), energy_score(truth, draws)              # of marginal and of joint posteriors
    coverage_curve(truth, draws)                                # coverage and width at several levels
    sbc(truth, draws), tarp(truth, draws)                       # calibration, with bands
    predictive_chi2(observed, predicted, noise_std=std)         # misfit in the bands
    contraction(draws, prior_std=std), z_scores(truth, draws)   # what was learned, and how far off it is
    c2st(draws, reference)                                      # against draws of a reference method

NumPy arrays in and out, in double precision. Truths are `(sample, dimension)`, draws `(sample, draw, dimension)`;
samples where an argument is NaN are left out. What decides returns a record with `within`, which holds all that
`releo_jax.plots` needs to draw it.
"""

from releo_jax.metrics.calibration import (
    PredictiveCheck,
    contraction,
    predictive_chi2,
    sbc,
    tarp,
    z_scores,
)
from releo_jax.metrics.intervals import CoverageCurve, central_interval, coverage_curve
from releo_jax.metrics.ranks import RankCheck, rank_check, simultaneous_band
from releo_jax.metrics.scores import (
    Metric,
    bias,
    bootstrap,
    coverage,
    crps,
    crps_normal,
    energy_score,
    interval_score,
    mean_width,
    r2,
    rmse,
    summary,
)
from releo_jax.metrics.two_sample import TwoSampleTest, c2st

__all__ = [
    "CoverageCurve",
    "Metric",
    "PredictiveCheck",
    "RankCheck",
    "TwoSampleTest",
    "bias",
    "bootstrap",
    "c2st",
    "central_interval",
    "contraction",
    "coverage",
    "coverage_curve",
    "crps",
    "crps_normal",
    "energy_score",
    "interval_score",
    "mean_width",
    "predictive_chi2",
    "r2",
    "rank_check",
    "rmse",
    "sbc",
    "simultaneous_band",
    "summary",
    "tarp",
    "z_scores",
]
