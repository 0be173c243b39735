"""Checks of calibration on a model whose posterior is known: exact ones pass, wrong ones are flagged and named."""

import numpy as np
import pytest
from scipy import stats

from releo_jax.metrics import contraction, coverage_curve, predictive_chi2, sbc, tarp, z_scores


def chi2_of(case):
    return predictive_chi2(case.observed, case.predicted, noise_std=0.5)


CHECKS = {
    "sbc": lambda case: sbc(case.truth, case.draws),
    "tarp": lambda case: tarp(case.truth, case.draws),
    "coverage": lambda case: coverage_curve(case.truth, case.draws),
    "chi2": chi2_of,
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_exact_posterior_passes_and_wrong_widths_are_flagged(check, exact, narrow, wide):
    assert check(exact).within
    assert not check(narrow).within
    assert not check(wide).within


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_exact_posteriors_are_seldom_flagged(check, cases):
    """Forty repeats at 95 %: more than six flags have a probability of 0.3 %."""
    assert sum(not check(cases(seed=seed)).within for seed in range(100, 140)) <= 6


@pytest.mark.parametrize("name", ["sbc", "tarp"])
def test_ranks_name_the_direction(name, exact, narrow, wide):
    check = CHECKS[name]
    assert (check(narrow).spread > 0.08).all() and (check(wide).spread < -0.08).all()
    assert (np.abs(check(exact).spread) < 0.06).all()


def test_sbc_sees_a_shift_and_which_dimension(cases, exact):
    moved = cases(offset=0.4)
    found = sbc(moved.truth, moved.draws)
    assert not found.inside.any() and (found.shift < -0.1).all()  # estimates too high
    draws = np.stack([exact.draws[..., 0], moved.draws[..., 1]], -1)
    assert sbc(exact.truth, draws).inside.tolist() == [True, False]


def test_sbc_counts_draws_below():
    found = sbc([0.5, 2.5], [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    assert found.ranks.ravel().tolist() == [1, 3] and found.draws == 3


def test_tarp_sees_a_wrong_correlation_that_single_dimensions_do_not():
    rng = np.random.default_rng(3)
    factor = np.linalg.cholesky([[1.0, 0.9], [0.9, 1.0]])
    truth = rng.normal(size=(800, 2)) @ factor.T
    draws = rng.normal(size=(800, 200, 2))
    assert sbc(truth, draws).within
    assert not tarp(truth, draws).within
    assert tarp(truth, rng.normal(size=(800, 200, 2)) @ factor.T).within


def test_tarp_needs_references_that_know_the_observations_to_refuse_the_prior(exact):
    """The prior is calibrated (Lemos et al. 2023, section 4): only its references can tell."""
    prior = np.random.default_rng(4).normal(size=exact.draws.shape)
    assert tarp(exact.truth, prior).within
    estimate = exact.draws.mean(1)  # stands for any function of the observations
    assert not tarp(exact.truth, prior, references=estimate).within
    assert tarp(exact.truth, exact.draws, references=estimate).within


def test_tarp_does_not_depend_on_units_and_follows_its_seed(exact):
    factor, start = np.array([1e-3, 40.0]), np.array([5.0, -300.0])
    first = tarp(exact.truth, exact.draws)
    other = tarp(start + factor * exact.truth, start + factor * exact.draws)
    np.testing.assert_array_equal(other.ranks, first.ranks)
    assert (tarp(exact.truth, exact.draws, seed=1).ranks != first.ranks).any()


def test_samples_with_nan_are_left_out(exact):
    truth, draws = exact.truth.copy(), exact.draws.copy()
    truth[3, 1], draws[7, 5, 0] = np.nan, np.nan
    kept = np.delete(np.arange(len(truth)), [3, 7])
    np.testing.assert_array_equal(sbc(truth, draws).ranks, sbc(truth[kept], draws[kept]).ranks)
    assert tarp(truth, draws).ranks.shape == (len(kept), 1) and tarp(truth, draws).within


def test_contraction_and_z_scores_have_their_expectations(exact, narrow):
    """Linear model: posterior variances do not depend on the data, and z-scores are standard normal."""
    covariance = np.linalg.inv(np.eye(2) + 4.0 * np.array([[2.04, 0.82], [0.82, 1.7]]))  # matrix' matrix by hand
    found = contraction(exact.draws, prior_std=[1.0, 1.0])
    np.testing.assert_allclose(found.mean(0), 1.0 - np.diag(covariance), atol=0.005)
    np.testing.assert_allclose(contraction(exact.draws, prior_std=[2.0, 1.0])[:, 0], 1 - (1 - found[:, 0]) / 4)
    z = z_scores(exact.truth, exact.draws)
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.01
    np.testing.assert_allclose((z**2).mean(), 1.0, atol=0.1)
    np.testing.assert_allclose((z_scores(narrow.truth, narrow.draws) ** 2).mean(), 1 / 0.49, rtol=0.12)
    assert z_scores([1.0], [[2.0, 4.0]]) == pytest.approx(np.array([[2.0 / np.sqrt(2.0)]]))


def test_misfits_have_their_expectation(exact, narrow, wide):
    """Of four bands, two dimensions are fitted: E chi2 = 4 + (width^2 - 1) trace(A C A') / noise^2."""
    matrix = np.array([[1.0, 0.5], [0.8, -0.3], [0.2, 1.0], [0.6, 0.6]])
    fitted = 4.0 * np.trace(matrix.T @ matrix @ np.linalg.inv(np.eye(2) + 4.0 * matrix.T @ matrix))
    for case, width in ((narrow, 0.7), (exact, 1.0), (wide, 1.4)):
        found = chi2_of(case)
        assert found.chi2.mean() == pytest.approx(4.0 + (width**2 - 1.0) * fitted, abs=0.35)
        assert found.ratio == pytest.approx(found.chi2.mean() / 4.0)


def test_misfits_by_hand():
    predicted = np.array([[[1.0, 2.0, np.nan], [1.0, 4.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    mask = np.array([[True, True, False], [False, False, False]])
    found = predictive_chi2([[2.0, 2.0, np.nan], [1.0, 1.0, 1.0]], predicted, noise_std=[0.5, 1.0, 2.0], mask=mask)
    assert found.chi2[0] == pytest.approx((4.0 + 8.0) / 2) and np.isnan(found.chi2[1])
    assert found.bands.tolist() == [2, 0] and found.ratio == pytest.approx(3.0)
    assert found.p_values[0] == pytest.approx((np.exp(-2.0) + np.exp(-4.0)) / 2)  # two bands: exponential
    assert np.isnan(found.p_values[1])


def test_wrong_noise_and_wrong_models_are_flagged(exact):
    assert predictive_chi2(exact.observed, exact.predicted, noise_std=0.4).ratio > 1.4
    assert not predictive_chi2(exact.observed, exact.predicted, noise_std=0.4).within
    assert not predictive_chi2(exact.observed, exact.predicted + 0.2, noise_std=0.5).within
    per_draw = np.full((600, 127, 1), 0.5)
    np.testing.assert_array_equal(
        predictive_chi2(exact.observed, exact.predicted, noise_std=per_draw).chi2, chi2_of(exact).chi2
    )


def test_masked_bands_leave_no_trace(exact):
    mask = np.random.default_rng(0).uniform(size=exact.observed.shape) > 0.3
    spoilt = np.where(mask, exact.observed, 1e6)
    found = predictive_chi2(spoilt, exact.predicted, noise_std=0.5, mask=mask)
    assert 0.8 < found.ratio < 1.25 and found.bands.max() == 4 and found.bands.min() < 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sbc(np.zeros((5, 2)), np.zeros((9, 5, 2))), "transpose draws"),
        (lambda: sbc(np.zeros((5, 2)), np.full((5, 4, 2), np.nan)), "at least one sample without NaN"),
        (lambda: tarp(np.zeros((5, 2)), np.ones((5, 9, 2)), references=np.zeros(5)), "one point a sample"),
        (lambda: tarp(np.zeros((5, 2)), np.ones((5, 9, 2)), seed=0.5), "whole number"),
        (lambda: contraction(np.zeros((5, 9, 2)), prior_std=1.0), r"positive prior_std \(dimension,\)"),
        (lambda: z_scores([0.0], [[1.0, 1.0]]), "without a spread"),
        (lambda: predictive_chi2(np.zeros((5, 3)), np.zeros((9, 5, 3)), noise_std=1.0), "transpose draws"),
        (lambda: predictive_chi2([[0.0]], [[[0.0]]], noise_std=0.0), "positive noise_std"),
        (lambda: predictive_chi2([[np.nan]], [[[0.0]]], noise_std=1.0), "mask what was not measured"),
        (lambda: predictive_chi2([[0.0]], [[[0.0]]], noise_std=1.0, mask=[[1]]), "boolean mask"),
        (lambda: predictive_chi2([[0.0]], [[[0.0]]], noise_std=[1.0, 1.0, 1.0]), "broadcasts"),
    ],
)
def test_bad_requests_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
