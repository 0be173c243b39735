"""Intervals from draws: their probability whatever the number of draws, and how coverage and width are counted."""

import numpy as np
import pytest
from scipy import stats

from releo_jax.metrics import central_interval, coverage, coverage_curve, mean_width


@pytest.mark.parametrize(("draws", "level"), [(19, 0.9), (39, 0.9), (39, 0.95), (99, 0.5), (1000, 0.99)])
def test_a_new_value_lies_inside_as_often_as_asked_for(draws, level):
    """Exact at whole order statistics for every law; 200 000 values: a standard error of 0.001."""
    rng = np.random.default_rng(0)
    repeats = 200_000 // 20
    lower, upper = central_interval(rng.exponential(size=(repeats, draws)), level=level)
    new = rng.exponential(size=(20, repeats))
    inside = stats.expon.cdf(upper) - stats.expon.cdf(lower)  # probability of each interval, which has less noise
    assert inside.mean() == pytest.approx(level, abs=0.003)
    assert np.mean((new >= lower) & (new <= upper)) == pytest.approx(level, abs=0.005)
    usual = np.quantile(rng.exponential(size=(repeats, draws)), [0.5 - level / 2, 0.5 + level / 2], axis=1)
    if draws < 50:  # what sample quantiles of few draws would lose
        assert np.diff(stats.expon.cdf(usual), axis=0).mean() < level - 0.03


def test_interval_by_hand():
    lower, upper = central_interval([[3.0, 1.0, 2.0, 5.0, 4.0, 9.0, 8.0, 6.0, 7.0]], level=0.6)
    assert (lower[0], upper[0]) == pytest.approx((2.0, 8.0))  # order statistics 2 and 8 of 9: 10 p
    assert central_interval(np.zeros((4, 9, 3)), level=0.6)[0].shape == (4, 3)


def test_curve_is_coverage_and_width_at_each_level(exact):
    levels = (0.5, 0.68, 0.9, 0.95)
    curve = coverage_curve(exact.truth, exact.draws, levels=levels)
    assert curve.coverage.shape == curve.width.shape == (2, 4) and curve.samples == 600
    for index, level in enumerate(levels):
        lower, upper = central_interval(exact.draws, level=level)
        for d in (0, 1):
            assert curve.coverage[d, index] == coverage(exact.truth[:, d], lower[:, d], upper[:, d])
            assert curve.width[d, index] == pytest.approx(mean_width(lower[:, d], upper[:, d]))
    assert np.all((curve.lower < levels) & (levels < curve.upper))


def test_wrong_widths_cover_what_their_law_says(narrow, wide):
    for case, width in ((narrow, 0.7), (wide, 1.4)):
        curve = coverage_curve(case.truth, case.draws)
        expected = 2 * stats.norm.cdf(width * stats.norm.ppf(0.5 + curve.levels / 2)) - 1
        np.testing.assert_allclose(curve.coverage.mean(0), expected, atol=0.04)
        assert not curve.within


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: central_interval(np.zeros((5, 38)), level=0.95), "expected 39 draws at least for 95 %"),
        (lambda: central_interval(np.zeros(5), level=0.5), "flatten images"),
        (lambda: coverage_curve(np.zeros(5), np.zeros((5, 50)), levels=(0.9, 0.5)), "increasing levels"),
        (lambda: coverage_curve(np.zeros(5), np.zeros((50, 5))), "transpose draws"),
    ],
)
def test_bad_requests_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
