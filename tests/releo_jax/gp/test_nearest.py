"""Gaussian processes by neighbouring dates: against the covariance of all dates, and that of Vecchia's prior."""

import jax
import numpy as np
import pytest

from releo_jax.gp import Exact, Matern12, Matern32, Matern52, Nearest, Sites
from tests.releo_jax.gp.cases import KERNELS, SEASONS, SEVERAL, covariance, in_double, make_sites

WANTED = np.array([640.0, -80.0, 3.0, 100.5, 350.0, 900.0])  # in no order; before, between and after the dates


def _same(process, kernel, sites, tolerance):
    exact = Exact(kernel)
    reference, found = exact.condition(sites), process.condition(sites)
    np.testing.assert_allclose(found.log_evidence, reference.log_evidence, rtol=0.0, atol=tolerance)
    np.testing.assert_allclose(process.log_prob(sites), reference.log_evidence, rtol=0.0, atol=tolerance)
    for time in (None, np.resize(WANTED, sites.time.shape)):  # as many as dates: the same programs
        for ours, theirs in zip(found.at(time), reference.at(time), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=tolerance)
    np.testing.assert_allclose(process.kl(sites), exact.kl(sites), rtol=0.0, atol=10.0 * tolerance)


@pytest.mark.parametrize("name", ["matern32", "matern52", "sum", SEASONS, SEVERAL])
@pytest.mark.parametrize("more", [0, 5])
def test_is_exact_with_all_dates_as_neighbours(name, more):
    with jax.enable_x64(True):
        kernel, sites = in_double(KERNELS[name]), in_double(make_sites(KERNELS[name], dates=15))
        _same(Nearest(kernel, 14 + more), kernel, sites, 1e-9)


def test_one_neighbour_is_exact_for_matern_12():
    with jax.enable_x64(True):
        kernel = in_double(Matern12(0.7, 60.0))
        _same(Nearest(kernel, 1), kernel, in_double(make_sites(kernel)), 1e-9)


def _vecchia(kernel, days, neighbours):
    """Covariance of the prior, (1 - B)⁻¹ D (1 - B)⁻ᵀ, from full matrices."""
    full = np.asarray(covariance(kernel, days, days))
    slopes, left = np.zeros_like(full), np.zeros(len(days))
    for i in range(len(days)):
        before = np.arange(max(i - neighbours, 0), i)
        slopes[i, before] = np.linalg.solve(full[np.ix_(before, before)], full[before, i])
        left[i] = full[i, i] - slopes[i, before] @ full[before, i]
    root = np.linalg.inv(np.eye(len(days)) - slopes)
    return root * left @ root.T


def test_evidence_and_marginals_are_those_of_vecchia():
    with jax.enable_x64(True):
        kernel = in_double(Matern52(0.7, 60.0))
        rng = np.random.default_rng(0)
        days = np.cumsum(rng.uniform(1.0, 12.0, 25))
        y, noise, usable = rng.normal(size=25), rng.uniform(0.01, 0.1, 25), rng.random(25) < 0.8
        found = Nearest(kernel, 3).condition(Sites(days, y, noise, usable))
        prior, y, noise = _vecchia(kernel, days[usable], 3), y[usable], noise[usable]
        total = prior + np.diag(noise)
        evidence = -0.5 * (np.linalg.slogdet(2.0 * np.pi * total)[1] + y @ np.linalg.solve(total, y))
        np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-9)
        exact = Exact(kernel).log_prob(Sites(days[usable], y, noise))
        assert abs(evidence - exact) > 1e-4  # three neighbours are not all
        places, seen = np.array([6, 12]), len(y)
        mean, variance = found.at(np.concatenate([days[usable], days[usable][places] - 0.4]))
        smoothed, left = prior @ np.linalg.solve(total, y), prior - prior @ np.linalg.solve(total, prior)
        np.testing.assert_allclose(mean[:seen], smoothed, rtol=0.0, atol=1e-9)
        np.testing.assert_allclose(variance[:seen], np.diag(left), rtol=0.0, atol=1e-9)
        # Between dates: a regression on the four around, two before and two after, and their joint covariance.
        for place, own, spread in zip(places, mean[seen:], variance[seen:], strict=True):
            around = np.arange(place - 2, place + 2)
            together = np.append(days[usable][around], days[usable][place] - 0.4)
            joint = np.asarray(covariance(kernel, together, together))
            towards, slopes = joint[:4, 4], np.linalg.solve(joint[:4, :4], joint[:4, 4])
            expected = 0.7 - slopes @ towards + slopes @ left[np.ix_(around, around)] @ slopes
            np.testing.assert_allclose(spread, expected, rtol=0.0, atol=1e-9)
            np.testing.assert_allclose(own, slopes @ smoothed[around], rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", ["matern32", SEVERAL])
def test_more_neighbours_come_closer(name):
    with jax.enable_x64(True):
        kernel, sites = in_double(KERNELS[name]), in_double(make_sites(KERNELS[name]))
        exact = Exact(kernel).log_prob(sites)
        left = [abs(Nearest(kernel, n).log_prob(sites) - exact).max() for n in (1, 3, 6)]
        assert left[0] > 10.0 * left[1] > 100.0 * left[2]


@pytest.mark.parametrize("double", [False, True])
def test_values_of_the_same_day_are_their_mean(double):
    with jax.enable_x64(double):
        dtype = np.float64 if double else np.float32
        days = np.array([3.0, 10.0, 10.0, 10.0, 22.0], dtype)
        thrice = Sites(days, np.array([0.1, 0.4, 0.6, 0.8, 0.2], dtype), 0.03)
        # Padded to the same number of dates: the same programs.
        known, padding = np.array([[3.0, 10.0, 22.0], [0.1, 0.6, 0.2], [0.03, 0.01, 0.03]]), np.full(2, np.nan)
        once = Sites(*(np.append(x, padding).astype(dtype) for x in known))
        wanted, process = np.array([3.0, 10.0, 16.0, 22.0, 40.0], dtype), Nearest(Matern32(0.5, 20.0), 4)
        found = process.condition(thrice)
        for ours, theirs in zip(found.at(wanted), process.condition(once).at(wanted), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-10 if double else 1e-5)
        np.testing.assert_allclose(found.log_evidence, Exact(process.kernel).log_prob(thrice), rtol=1e-5)
        slope = jax.jit(jax.grad(lambda scale: Nearest(Matern32(0.5, scale), 1).log_prob(thrice)))
        assert np.isfinite(slope(dtype(20.0)))  # the one neighbour is the same day


def test_draws_have_the_covariance_of_the_prior(optimised):
    days = np.array([0.0, 4.0, 5.0, 30.0, 31.0, 60.0], np.float32)
    kernel = Matern52(0.7, 30.0)
    drawn = Nearest(kernel, 2).sample(jax.random.key(0), days, (40_000,))
    assert drawn.shape == (40_000, 6)
    with jax.enable_x64(True):
        expected = _vecchia(in_double(kernel), days.astype(np.float64), 2)
    # Five standard errors: a product of two normal draws varies by 2 var² at most.
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=5.0 * np.sqrt(2.0 / 40_000) * 0.7)


@pytest.mark.parametrize("neighbours", [0, -3, 2.5])
def test_there_is_one_neighbour_at_least(neighbours):
    with pytest.raises((ValueError, TypeError), match="neighbours|int"):
        Nearest(Matern32(), neighbours)
    if isinstance(neighbours, int):
        with pytest.raises(ValueError, match=f"1 at least, got {neighbours}; take 10, or Exact"):
            Nearest(Matern32(), neighbours)
