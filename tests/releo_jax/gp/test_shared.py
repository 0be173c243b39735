"""Sites with an error in common: against the covariance written out."""

import jax
import numpy as np
import pytest
from scipy import stats

from releo_jax.gp import Exact, Markov, Matern32, Sites
from releo_jax.gp.shared import condition_shared, log_likelihood_shared
from tests.releo_jax.gp.cases import covariance, in_double

DAYS = np.array([0.0, 3.0, 10.0, 11.0, 40.0])
WANTED = np.array([-20.0, 5.0, 11.0, 25.0, 90.0])


def _case():
    rng = np.random.default_rng(0)
    value, variance, loading = rng.normal(size=5), rng.uniform(0.05, 0.4, 5), rng.normal(0.5, 0.3, 5)
    return value, variance, loading, np.array([True, True, False, True, True])


@pytest.mark.parametrize("process", [Exact, Markov])
def test_posterior_is_that_of_the_covariance_written_out(process):
    with jax.enable_x64(True):
        kernel = in_double(Matern32(0.8, 20.0))
        value, variance, loading, mask = _case()
        found = condition_shared(process(kernel), Sites(DAYS, value, variance, mask), loading)
        seen = DAYS[mask]
        k = np.asarray(covariance(kernel, seen, seen))
        noise = np.diag(variance[mask]) + np.outer(loading[mask], loading[mask])
        cross = np.asarray(covariance(kernel, WANTED, seen))
        gain = cross @ np.linalg.inv(k + noise)
        told = found.at(WANTED)
        np.testing.assert_allclose(told.mean, gain @ value[mask], rtol=1e-9)
        np.testing.assert_allclose(told.variance, 0.8 - (gain * cross).sum(1), rtol=1e-9)
        evidence = stats.multivariate_normal(np.zeros(4), k + noise).logpdf(value[mask])
        np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-10)
        truth = np.linspace(-1.0, 1.0, 5)
        expected = stats.multivariate_normal(truth[mask], noise).logpdf(value[mask])
        sites = Sites(DAYS, value, variance, mask)
        np.testing.assert_allclose(log_likelihood_shared(sites, loading, truth), expected, rtol=1e-10)


def test_more_dates_do_not_tell_the_error_that_they_share():
    process = Markov(Matern32(1.0, 1e4))  # as good as constant
    days = np.arange(200, dtype=np.float32)
    told = condition_shared(process, Sites(days, np.ones_like(days), 0.1), 0.7).at()
    # 0.49 of the error is never averaged away: 1 / (1 + 1 / 0.49)
    np.testing.assert_allclose(told.variance, 0.49 / 1.49, rtol=0.01)
    np.testing.assert_allclose(told.mean, 1.0 / 1.49, rtol=0.01)


def test_pixels_have_loadings_of_their_own_and_one_without_dates_has_the_prior():
    value, variance, loading, mask = (np.float32(x) for x in _case())
    pixels = np.stack([mask > 0, np.zeros(5, bool), mask > 0])
    loadings = np.stack([loading, loading, np.zeros(5, np.float32)])
    both = [np.broadcast_to(x, (3, 5)) for x in (np.float32(DAYS), value, variance)]
    process = Markov(Matern32(0.8, 20.0))
    found = condition_shared(process, Sites(*both, pixels), loadings)
    told = found.at(WANTED)
    np.testing.assert_allclose(told.mean[1], 0.0)
    np.testing.assert_allclose(told.variance[1], 0.8, rtol=1e-5)
    np.testing.assert_allclose(found.log_evidence[1], 0.0, atol=1e-6)
    alone = process.condition(Sites(DAYS, value, variance, mask > 0)).at(WANTED)
    np.testing.assert_allclose(told.mean[2], alone.mean, rtol=1e-4, atol=1e-6)


def test_several_outputs_are_refused():
    with pytest.raises(ValueError, match="one output"):
        condition_shared(Markov(Matern32(1.0, 20.0)), Sites(DAYS, np.zeros((5, 2)), 1.0), 0.0)
