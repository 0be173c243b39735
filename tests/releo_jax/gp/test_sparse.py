"""Gaussian processes by inducing days: against the covariance of all dates, and the formulae of the papers."""

import jax
import numpy as np
import pytest

from releo_jax.gp import Exact, Matern32, Sites, Sparse, SquaredExponential, expected_log_likelihood
from tests.releo_jax.gp.cases import KERNELS, SEASONS, SEVERAL, covariance, in_double, make_sites

WANTED = np.array([640.0, -80.0, 3.0, 100.5, 350.0, 900.0])  # in no order; before, between and after the dates
INDUCING = np.linspace(0.0, 700.0, 15)


def _part(sites, index):
    return Sites(*(np.asarray(x)[:, index] for x in (sites.time, sites.value, sites.variance, sites.mask)))


@pytest.mark.parametrize("name", ["matern12", "matern52", "periodic", SEASONS, SEVERAL])
def test_is_exact_with_inducing_days_at_all_dates(name):
    with jax.enable_x64(True):
        kernel, sites = in_double(KERNELS[name]), in_double(make_sites(KERNELS[name]))
        process = Sparse(kernel, np.stack([np.unique(days) for days in sites.time]))
        reference, found = Exact(kernel).condition(sites), process.condition(sites)
        np.testing.assert_allclose(found.log_evidence, reference.log_evidence, rtol=0.0, atol=1e-9)
        for time in (None, np.resize(WANTED, sites.time.shape)):  # as many as dates: the same programs
            for ours, theirs in zip(found.at(time), reference.at(time), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-9)
        np.testing.assert_allclose(process.kl(sites), Exact(kernel).kl(sites), rtol=0.0, atol=1e-9)


def test_bound_and_predictions_are_those_of_titsias():
    """Equations 6, 9 and 10 of Titsias 2009, by inverses of full matrices, of the usable dates."""
    with jax.enable_x64(True):
        kernel, sites = in_double(Matern32(0.7, 40.0)), in_double(make_sites(Matern32()))
        found = Sparse(kernel, INDUCING).condition(sites)
        mean, variance = found.at(WANTED)
        for pixel in (0, 2):
            usable = np.asarray(sites.mask[pixel])
            days, y, noise = (np.asarray(x[pixel])[usable] for x in (sites.time, sites.value, sites.variance))
            k_uu, k_uf = (np.asarray(covariance(kernel, INDUCING, x)) for x in (INDUCING, days))
            nystroem = k_uf.T @ np.linalg.solve(k_uu, k_uf)
            total = nystroem + np.diag(noise)
            density = np.linalg.slogdet(2.0 * np.pi * total)[1] + y @ np.linalg.solve(total, y)
            bound = -0.5 * density - 0.5 * ((0.7 - np.diag(nystroem)) / noise).sum()
            np.testing.assert_allclose(found.log_evidence[pixel], bound, rtol=1e-10)
            sigma = np.linalg.inv(k_uu + (k_uf / noise) @ k_uf.T)
            k_wu = np.asarray(covariance(kernel, WANTED, INDUCING))
            np.testing.assert_allclose(mean[pixel], k_wu @ sigma @ k_uf @ (y / noise), rtol=0.0, atol=1e-10)
            spread = 0.7 - np.diag(k_wu @ (np.linalg.inv(k_uu) - sigma) @ k_wu.T)
            np.testing.assert_allclose(variance[pixel], spread, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_bound_is_the_expected_likelihood_less_the_divergence(weight):
    with jax.enable_x64(True):
        kernel, sites = in_double(KERNELS["coregionalised"]), in_double(make_sites(KERNELS["coregionalised"]))
        process = Sparse(kernel, INDUCING)
        found = process.condition(sites, weight=weight)
        divergence = []
        for shift, precision in zip(found.shift, found.precision, strict=True):
            covariance = np.linalg.inv(precision)
            mean = covariance @ shift
            logarithm = np.linalg.slogdet(precision)[1]
            divergence.append(0.5 * (np.trace(covariance) + mean @ mean - len(mean) + logarithm))
        np.testing.assert_allclose(process.kl(sites, weight=weight), divergence, rtol=1e-10, atol=1e-10)
        expected = weight * expected_log_likelihood(sites, found.at())
        np.testing.assert_allclose(found.log_evidence, expected - np.array(divergence), rtol=1e-10, atol=1e-10)


def test_bound_lies_below_and_rises_with_the_inducing_days():
    with jax.enable_x64(True):
        kernel, sites = in_double(SquaredExponential(0.7, 40.0)), in_double(make_sites(SquaredExponential()))
        exact = Exact(kernel).log_prob(sites)
        below = [exact - Sparse(kernel, np.linspace(0.0, 700.0, 2**n + 1)).log_prob(sites) for n in (2, 3, 4, 5)]
        left = np.stack(below)[:, [0, 2]]
        assert (left > -1e-9).all()
        assert (np.diff(left, axis=0) < 0.0).all()
        assert (left[-1] < 1e-3).all()


def test_minibatches_have_the_natural_parameters_of_all_dates_as_their_mean():
    with jax.enable_x64(True):
        kernel, sites = in_double(KERNELS["matern32"]), in_double(make_sites(KERNELS["matern32"]))
        process = Sparse(kernel, INDUCING)
        full = process.condition(sites)
        groups = np.random.default_rng(1).permutation(30).reshape(5, 6)
        parts = [process.condition(_part(sites, np.sort(group)), weight=30 / 6) for group in groups]
        for name in ("shift", "precision"):
            mean = np.mean([getattr(part, name) for part in parts], axis=0)
            np.testing.assert_allclose(mean, getattr(full, name), rtol=1e-12, atol=1e-12)


def test_a_weight_is_that_of_as_many_equal_dates():
    with jax.enable_x64(True):
        kernel, sites = in_double(KERNELS["matern32"]), in_double(make_sites(KERNELS["matern32"]))
        process = Sparse(kernel, INDUCING)
        once, thrice = (
            process.condition(sites, weight=3.0),
            process.condition(_part(sites, np.repeat(np.arange(30), 3))),
        )
        np.testing.assert_allclose(once.log_evidence, thrice.log_evidence, rtol=1e-12)
        np.testing.assert_allclose(once.at(WANTED), thrice.at(WANTED), rtol=0.0, atol=1e-12)
        assert abs(once.log_evidence - process.log_prob(sites))[0] > 1.0


def test_the_gradient_towards_inducing_days_is_that_of_differences():
    with jax.enable_x64(True):
        kernel, sites = in_double(KERNELS["matern32"]), in_double(make_sites(KERNELS["matern32"]))

        def evidence(days):
            return Sparse(kernel, days).log_prob(sites).sum()

        both, step = jax.jit(jax.value_and_grad(evidence)), 1e-4
        found = both(INDUCING)[1]
        for index in (0, 7):
            moved = step * np.eye(15)[index]
            difference = (both(INDUCING + moved)[0] - both(INDUCING - moved)[0]) / (2.0 * step)
            np.testing.assert_allclose(found[index], difference, rtol=1e-6)


def test_draws_before_sites_are_those_of_the_exact_process():
    kernel, key = KERNELS["coregionalised"], jax.random.key(0)
    ours = Sparse(kernel, INDUCING).sample(key, np.arange(0.0, 50.0, 10.0), (3,))
    np.testing.assert_array_equal(ours, Exact(kernel).sample(key, np.arange(0.0, 50.0, 10.0), (3,)))


@pytest.mark.parametrize(
    ("inducing", "message"),
    [
        (np.zeros(0), r"expected inducing days .* got the shape \(0,\); give"),
        (3.0, r"expected inducing days .* got the shape \(\)"),
        (np.array([1.0, np.nan, 3.0]), r"days that are known, got nan at index \(1,\); leave it out"),
        (
            np.array([[1.0, 2.0, 3.0], [1.0, 4.0, 2.5]]),
            r"got day 2.5 after day 4.0 at index \(1, 2\); give numpy.unique",
        ),
        (np.array([1.0, 1.0]), "no two the same, got day 1.0 after day 1.0"),
    ],
)
def test_inducing_days_are_known_and_rise(inducing, message):
    with pytest.raises(ValueError, match=message):
        Sparse(Matern32(), inducing)


def test_inducing_days_belong_to_the_pixels():
    with pytest.raises(
        ValueError, match=r"expected inducing days \(m,\), or \(3, 'm'\) for the pixels .* got \(2, 2\)"
    ):
        Sparse(Matern32(), np.array([[0.0, 1.0], [0.0, 1.0]])).condition(make_sites(Matern32()))
