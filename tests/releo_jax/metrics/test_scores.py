"""Scores: by hand, against integrals, and over groups."""

import functools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from releo_jax.metrics import (
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

TRUTH = np.array([1.0, 2.0, 3.0, 6.0, np.nan])
MEAN = np.array([2.0, 2.0, 4.0, 4.0, 5.0], np.float32)
LOWER, UPPER = MEAN - 1.0, MEAN + 1.0


def test_scores_by_hand():
    assert rmse(TRUTH, MEAN) == pytest.approx(math.sqrt(6.0 / 4.0))
    assert bias(TRUTH, MEAN) == pytest.approx(0.0)
    assert r2(TRUTH, MEAN) == pytest.approx(1.0 - 6.0 / 14.0)
    assert coverage(TRUTH, LOWER, UPPER) == 0.75  # ends count
    assert mean_width(LOWER, UPPER) == 2.0
    assert interval_score(TRUTH, LOWER, UPPER, level=0.8) == pytest.approx(2.0 + 10.0 * 1.0 / 4.0)


def test_explained_variance_is_zero_for_the_mean_and_undefined_without_variance():
    assert r2(TRUTH[:4], np.full(4, 3.0)) == pytest.approx(0.0)
    assert r2(TRUTH[:4], np.full(4, 9.0)) < 0.0
    assert math.isnan(r2(np.ones(3), np.arange(3.0)))


def test_interval_score_is_least_for_the_true_quantiles():
    y = np.random.default_rng(0).normal(size=20_000)
    end = stats.norm.ppf(0.95)
    scores = [interval_score(y, np.full_like(y, -k * end), np.full_like(y, k * end), level=0.9) for k in (0.8, 1, 1.25)]
    assert scores[1] == min(scores)


@pytest.mark.parametrize(("y", "mean", "std"), [(0.3, 0.0, 1.0), (4.0, 1.0, 0.5), (-2.0, -2.0, 3.0)])
def test_normal_crps_is_the_integral_of_the_squared_difference(y, mean, std):
    grid = np.linspace(min(y, mean) - 12 * std, max(y, mean) + 12 * std, 200_001)
    expected = integrate.trapezoid((stats.norm.cdf(grid, mean, std) - (grid >= y)) ** 2, grid)
    assert crps_normal([y], [mean], [std]) == pytest.approx(expected, rel=1e-3)


def test_crps_of_draws_is_that_of_their_law():
    rng = np.random.default_rng(0)
    truth, mean = rng.normal(size=4000), rng.normal(size=4000)
    expected = crps_normal(truth, mean, np.full(4000, 0.7))
    for n in (2, 5, 100):  # the fair version does not depend on the number of draws
        draws = mean[:, None] + 0.7 * rng.normal(size=(4000, n))
        assert crps(truth, draws) == pytest.approx(expected, rel=0.03)
    x = np.array([[0.0, 1.0, 3.0]])
    assert crps([1.0], x) == pytest.approx((1.0 + 0.0 + 2.0) / 3.0 - 0.5 * (1.0 + 3.0 + 2.0) / 3.0)


def test_crps_leaves_samples_with_nan_out():
    draws = np.array([[0.0, 1.0], [np.nan, 1.0], [2.0, 4.0], [1.0, 2.0]])
    assert crps([0.5, 1.0, 3.0, np.nan], draws) == crps([0.5, 3.0], draws[[0, 2]])


def test_energy_score_of_one_dimension_is_the_crps():
    rng = np.random.default_rng(0)
    truth, draws = rng.normal(size=50), rng.normal(size=(50, 30))
    assert energy_score(truth, draws) == pytest.approx(crps(truth, draws))
    assert energy_score(truth, draws, scale=4.0) == pytest.approx(crps(truth, draws) / 4.0)


def test_energy_score_of_a_normal_law():
    """Truth and draws of N(0, I_3): E||X - X'|| is that of a chi law, sqrt(2) 2 sqrt(2 / pi); half of it remains."""
    rng = np.random.default_rng(0)
    found = energy_score(rng.normal(size=(4000, 3)), rng.normal(size=(4000, 20, 3)))
    assert found == pytest.approx(math.sqrt(2.0) * math.sqrt(2.0 / math.pi), rel=0.01)


def test_energy_score_is_least_for_the_true_law():
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky([[1.0, 0.9], [0.9, 1.0]])
    truth, noise = rng.normal(size=(3000, 2)) @ factor.T, rng.normal(size=(3000, 40, 2))
    true = energy_score(truth, noise @ factor.T)
    assert all(true < energy_score(truth, draws) for draws in (noise, 0.6 * noise @ factor.T, 1.6 * noise @ factor.T))


def test_energy_score_takes_the_scale_of_each_dimension_and_leaves_nan_out():
    rng = np.random.default_rng(0)
    truth, draws, scale = rng.normal(size=(9, 2)), rng.normal(size=(9, 5, 2)), np.array([1e-3, 50.0])
    expected = energy_score(truth, draws)
    assert energy_score(scale * truth, scale * draws, scale=scale) == pytest.approx(expected)
    more = np.concatenate([draws, np.full((1, 5, 2), np.nan)])
    assert energy_score(np.concatenate([truth, [[0.0, 0.0]]]), more) == expected


def test_bootstrap_of_independent_samples_is_the_standard_error():
    error = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(bias, np.zeros(400), error, n=2000)
    assert (high - low) / 2 == pytest.approx(1.645 * error.std() / 20.0, rel=0.08)
    assert low < error.mean() < high
    assert (low, high) == bootstrap(bias, np.zeros(400), error, n=2000)
    assert (low, high) != bootstrap(bias, np.zeros(400), error, n=2000, seed=1)


def test_bootstrap_resamples_whole_groups():
    """Copies of a sample in its field say nothing new: the interval is that of the fields."""
    error = np.random.default_rng(1).normal(size=40)
    copies, fields = np.repeat(error, 25), np.repeat([f"field {i}" for i in range(40)], 25)
    shuffled = np.random.default_rng(2).permutation(1000)
    whole = bootstrap(bias, np.zeros(1000), copies[shuffled], groups=fields[shuffled])
    alone = bootstrap(bias, np.zeros(40), error)
    pixels = bootstrap(bias, np.zeros(1000), copies)
    assert whole[1] - whole[0] == pytest.approx(alone[1] - alone[0], rel=0.15)
    assert whole[1] - whole[0] > 3.0 * (pixels[1] - pixels[0])


def test_bootstrap_takes_draws_and_leaves_nan_out():
    rng = np.random.default_rng(0)
    truth, draws = rng.normal(size=30), rng.normal(size=(30, 8))
    truth[3], draws[4, 2] = np.nan, np.nan
    low, high = bootstrap(crps, truth, draws, n=100)
    assert low < crps(truth, draws) < high


def test_summary():
    rng = np.random.default_rng(0)
    field = np.repeat(np.arange(20), 10)
    truth = rng.uniform(0.0, 6.0, 200)
    mean = truth + rng.normal(size=200)
    mean[7] = np.nan
    found = summary(truth, mean, mean - 1.645, mean + 1.645, level=0.9, groups=field)
    assert (found["samples"], found["groups"]) == (199, 20)
    assert found["rmse"] == rmse(truth, mean) and found["mean_width"] == pytest.approx(3.29)
    score = functools.partial(interval_score, level=0.9)
    assert found["interval_score"] == score(truth, mean - 1.645, mean + 1.645)
    assert 0.8 < found["coverage"] < 0.97
    for name in ("rmse", "bias", "r2", "coverage", "interval_score"):
        low, high = found[f"{name}_interval"]
        assert low <= found[name] <= high and low < high
    one = summary(truth, mean, mean - 1, mean + 1, level=0.9, groups=np.zeros(200))
    assert math.isnan(one["rmse_interval"][0]) and one["groups"] == 1
    assert summary(truth, mean, mean - 1, mean + 1, level=0.9)["groups"] is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rmse(np.zeros(3), np.zeros(4)), r"rmse: expected arrays of one shape, got .*truth.*\(3,\)"),
        (lambda: rmse(np.zeros((3, 1)), np.zeros(3)), "one shape"),
        (lambda: bias(np.full(2, np.nan), np.zeros(2)), "at least one sample without NaN"),
        (lambda: interval_score([0.0], [0.0], [1.0], level=90), "level between 0 and 1, got 90"),
        (lambda: crps(np.zeros(3), np.zeros((5, 3))), "transpose draws"),
        (lambda: crps_normal([0.0], [0.0], [0.0]), "positive deviations"),
        (lambda: energy_score(np.zeros((3, 2)), np.zeros((5, 3, 2))), "transpose draws"),
        (lambda: energy_score(np.zeros((3, 2)), np.zeros((3, 5, 2)), scale=[1.0, 0.0]), "positive scale"),
        (lambda: bootstrap(rmse, np.zeros(3), np.zeros(4)), "of one length"),
        (lambda: bootstrap(rmse, np.zeros(3), np.zeros(3), groups=np.zeros(3)), "two groups at least, got 1"),
        (lambda: summary([0.0], [0.0], [0.0], [1.0], level=0.9, groups=[1, 2]), "one group a sample"),
    ],
)
def test_bad_requests_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
