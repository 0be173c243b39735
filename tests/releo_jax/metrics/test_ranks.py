"""Bands of rank distributions: against published probabilities, simulation and small cases by hand."""

import numpy as np
import pytest
from scipy import stats

from releo_jax.metrics import rank_check, simultaneous_band


def test_band_at_one_point_is_the_binomials_interval():
    lower, upper, gamma = simultaneous_band(50, (0.3,), 0.9)
    assert (lower[0], upper[0]) == (stats.binom.ppf(0.05, 50, 0.3), stats.binom.ppf(0.95, 50, 0.3))
    assert gamma == pytest.approx(0.1)


def test_band_of_two_points_by_enumeration():
    """All outcomes of 60 values in three cells: the largest gamma that keeps 90 % of them inside."""
    n, z = 60, np.array([0.2, 0.6])
    a, b = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    cells = np.stack([a, b, n - a - b], -1)
    mass = np.where(cells[..., 2] >= 0, stats.multinomial.pmf(np.maximum(cells, 0), n, [0.2, 0.4, 0.4]), 0.0)
    assert mass.sum() == pytest.approx(1.0)

    def inside(gamma):
        low, high = stats.binom.ppf(gamma / 2, n, z), stats.binom.ppf(1 - gamma / 2, n, z)
        kept = (low[0] <= a) & (a <= high[0]) & (low[1] <= a + b) & (a + b <= high[1])
        return mass[kept].sum()

    lower, upper, gamma = simultaneous_band(n, tuple(z), 0.9)
    assert inside(gamma) >= 0.9 > inside(1.002 * gamma)
    np.testing.assert_array_equal(lower, stats.binom.ppf(gamma / 2, n, z))
    np.testing.assert_array_equal(upper, stats.binom.ppf(1 - gamma / 2, n, z))


@pytest.mark.parametrize(("n", "draws", "level"), [(100, 20, 0.95), (1000, 99, 0.9), (5000, 99, 0.5)])
def test_uniform_ranks_stay_inside_as_often_as_asked_for(n, draws, level):
    z = np.arange(1, draws + 1) / (draws + 1)
    lower, upper, gamma = simultaneous_band(n, tuple(z), level)
    cells = np.full(draws + 1, 1 / (draws + 1))
    counts = np.random.default_rng(0).multinomial(n, cells, 20_000).cumsum(1)[:, :-1]
    # 20 000 repeats: a standard error of 0.0035 at most; discrete counts allow a little more than was asked for.
    share = ((counts >= lower) & (counts <= upper)).all(1).mean()
    assert level - 0.01 < share < level + 0.02
    assert (1 - level) / draws <= gamma < 1 - level
    pointwise = stats.binom.interval(level, n, z)
    assert ((counts >= pointwise[0]) & (counts <= pointwise[1])).all(1).mean() < level - 0.1  # hence the adjustment


def test_many_samples_approach_kolmogorovs_scale():
    """Nowhere is the band far from Kolmogorov's 1.358 / sqrt(n), which has one width everywhere and the same level."""
    n, z = 100_000, np.arange(1, 100) / 100
    lower, upper, _ = simultaneous_band(n, tuple(z), 0.95)
    half = (upper - lower) / 2 / np.sqrt(n)
    assert 1.358 < half.max() < 1.7 and half[0] < 0.4
    # Beyond, the width only shrinks with the root of n (as that of all maps' pixels does).
    lower, upper, _ = simultaneous_band(10_000_000, tuple(z), 0.95)
    np.testing.assert_allclose((upper - lower) / 2 / np.sqrt(10_000_000), half, rtol=0.02)


def test_ranks_by_hand():
    check = rank_check([0, 0, 1, 3], draws=3)
    np.testing.assert_allclose(check.points, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(check.ecdf, [[0.5, 0.75, 0.75]])
    assert check.ranks.shape == (4, 1)
    np.testing.assert_allclose(check.spread, 4 * np.mean([0.375, 0.375, 0.125, 0.375]) - 1)
    np.testing.assert_allclose(check.shift, 2 * np.mean([0.125, 0.125, 0.375, 0.875]) - 1)


def test_calibrated_ranks_are_found_within_as_often_as_the_level_says():
    """Three dimensions count together; of 300 repeats at 80 %, binomial: 240 +- 7, and the bands are discrete."""
    rng = np.random.default_rng(1)
    found = [rank_check(rng.integers(0, 64, (200, 3)), draws=63, level=0.8).within for _ in range(300)]
    assert 219 < sum(found) < 271


def test_deciding_and_log_gamma_agree():
    rng = np.random.default_rng(2)
    for power in (1.0, 1.1, 1.25, 1.6):
        ranks = np.floor(100 * rng.uniform(size=(300, 20)) ** power).astype(int)
        check = rank_check(ranks, draws=99)
        np.testing.assert_array_equal(check.inside, check.log_gamma >= 0.0)
        assert check.within == check.inside.all()
    assert not check.within and (check.shift < 0).all()  # powers make ranks smaller


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rank_check([0, 4], draws=3), "from 0 to draws = 3, got int64 .* to 4"),
        (lambda: rank_check([0.0, 1.0], draws=3), "whole numbers"),
        (lambda: rank_check(np.zeros((2, 2, 2), int), draws=3), r"\(sample, dimension\)"),
        (lambda: rank_check([0, 1], draws=3, level=95), "level between 0 and 1"),
    ],
)
def test_bad_requests_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
