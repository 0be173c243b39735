"""Gaussian processes under marginal laws: against the copula with all covariances, and inside models."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy import stats

from releo_jax.distributions import LogitNormal, TruncatedNormal
from releo_jax.gp import Coregionalized, Exact, Markov, Matern12, Matern32, WarpedGP
from releo_jax.inference import fit_laplace
from releo_jax.observations import Series, observe
from tests.releo_jax.gp.cases import in_double

DAYS = np.array([0.0, 3.0, 10.0, 11.0, 40.0])
LEAVES = LogitNormal(-1.0, 0.8, low=0.0, high=10.0)


@pytest.fixture
def key():
    return jax.random.key(0)


def test_density_is_that_of_the_copula(key):
    @jax.jit
    def densities(key):
        kernel = in_double(Matern32(3.0, 20.0))  # the variance does not matter
        nugget = 0.05
        law = WarpedGP(Markov(kernel), np.stack([DAYS, DAYS + 0.5 * DAYS**1.1]), LEAVES, nugget=nugget)
        value = law.sample(key, (3,))
        correlation = jax.vmap(lambda days: kernel(days, days))(law.time) / 3.0
        correlation = (1.0 - nugget) * correlation + nugget * jnp.eye(5)
        leaves = LogitNormal(jnp.full((2, 5), -1.0), 0.8, low=0.0, high=10.0)
        reference = dist.GaussianCopula(leaves, correlation)
        return value, law.warp(law.standardise(value)), law.log_prob(value), reference.log_prob(value)

    with jax.enable_x64(True):
        value, back, found, expected = densities(key)
    assert value.shape == (3, 2, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(back, value, rtol=1e-10)


def test_density_of_several_variables(key):
    @jax.jit
    def known(key):
        weights = np.array([[0.9, 0.1], [0.6, -0.5]])
        kernel = in_double(Coregionalized((Matern32(1.0, 20.0), Matern12(1.0, 5.0)), weights))
        laws = (LEAVES, LogitNormal(0.0, 1.0, low=10.0, high=90.0))
        law = WarpedGP(Markov(kernel), DAYS, laws, nugget=0.02)
        value = law.sample(key, (4,))
        assert law.event_shape == value.shape[1:] == (5, 2)
        each = sum(part.log_prob(value[..., i]).sum(-1) for i, part in enumerate(laws))
        return law.support(value), kernel(DAYS, DAYS), law.standardise(value), each, law.log_prob(value)

    with jax.enable_x64(True):
        inside, covariance, standard, each, found = map(np.asarray, known(key))
    assert inside.all()
    covariance, standard = covariance.reshape(10, 10), standard.reshape(4, 10)
    deviation = np.sqrt(np.diag(covariance))
    correlation = 0.98 * covariance / np.outer(deviation, deviation) + 0.02 * np.eye(10)
    expected = stats.multivariate_normal(cov=correlation).logpdf(standard) - stats.norm.logpdf(standard).sum(-1)
    np.testing.assert_allclose(found, expected + each, rtol=1e-9)


def test_draws_have_the_marginal_and_the_correlation(key):
    leaves = TruncatedNormal(2.0, 2.0, low=0.0, high=10.0)
    law = WarpedGP(Markov(Matern32(1.0, 20.0)), DAYS, leaves)
    drawn = np.asarray(jax.jit(lambda key: law.sample(key, (4000,)))(key))
    assert ((drawn > 0.0) & (drawn < 10.0)).all()
    for date in range(len(DAYS)):
        assert stats.kstest(drawn[:, date], lambda x: np.asarray(leaves.cdf(x))).pvalue > 1e-3
    standard = np.asarray(jax.jit(law.standardise)(drawn))
    correlation = np.asarray(jax.jit(lambda days: Matern32(1.0, 20.0)(days, days))(DAYS))
    np.testing.assert_allclose(np.corrcoef(standard.T), correlation, atol=0.06)


def test_prediction_at_other_days_joins_what_is_known(key):
    process = Exact(Matern32(1.0, 20.0))
    both = np.array([0.0, 3.0, 10.0, 11.0, 25.0, 40.0])
    law = WarpedGP(process, DAYS, LEAVES)
    known = jax.jit(lambda key: law.sample(key, (4000,)))(key)
    filled = np.asarray(jax.jit(law.predict)(jax.random.key(1), known, np.array([25.0])))
    assert filled.shape == (4000, 1)
    joint = WarpedGP(process, both, LEAVES)
    together = np.insert(np.asarray(known), 4, filled[:, 0], axis=1)
    standard = np.asarray(jax.jit(joint.standardise)(together))
    expected = np.asarray(jax.jit(lambda days: process.kernel(days, days))(both))
    np.testing.assert_allclose(np.cov(standard.T), expected, atol=0.06)


def test_slopes_are_finite_at_the_ends_of_the_interval():
    value = jnp.asarray([1e-7, 1e-4, 5.0, 9.9999, 2.0])

    def density(value, scale):
        return WarpedGP(Markov(Matern32(1.0, scale)), DAYS, LEAVES).log_prob(value)

    for slope in jax.jit(jax.grad(density, (0, 1)))(value, 20.0):
        assert np.isfinite(slope).all()


@pytest.mark.thorough
def test_is_a_law_of_a_model_for_every_pixel():
    time = np.tile(DAYS[:4], (2, 1)).astype(np.float32)

    def model(data):
        record = data["lai"]
        with numpyro.plate("pixel", record.values.shape[0]):
            area = numpyro.sample("area", WarpedGP(Markov(Matern32(1.0, 30.0)), record.time, LEAVES))
            observe("lai", dist.Normal(area[..., None], 0.3), record)

    values = np.array([[3.0, 3.2, np.nan, 4.0], [np.nan] * 4], np.float32)[..., None]
    data = {"lai": Series(values, time=time)}
    with handlers.seed(rng_seed=0):
        model(data)
    posterior = fit_laplace(model, data, key=jax.random.key(2), starts=4, reference=0)
    drawn = posterior.sample(jax.random.key(3), 400, sites=["area"])["area"]
    drawn = np.asarray(drawn)
    assert drawn.shape[-2:] == (2, 4)
    drawn = drawn.reshape(-1, 2, 4)
    middle, spread = drawn.mean(0), drawn.std(0)
    assert 2.8 < middle[0, 2] < 4.4
    assert spread[0, 2] < 0.5 * spread[1, 2]


def test_bad_input_is_named():
    process = Markov(Matern32(1.0, 20.0))
    with pytest.raises(ValueError, match="expected one law, got 2 laws"):
        WarpedGP(process, DAYS, (LEAVES, LEAVES))
    with pytest.raises(ValueError, match="2 laws, one for each output, got one law"):
        WarpedGP(Markov(Coregionalized((Matern32(), Matern12()), np.eye(2))), DAYS, LEAVES)
    with pytest.raises(ValueError, match=r"univariate laws with cdf and icdf, got \['VonMises'\]"):
        WarpedGP(process, DAYS, dist.VonMises(0.0, 1.0))
    with pytest.raises(ValueError, match=r"hold for every date.* got \[\(5,\)\]"):
        WarpedGP(process, DAYS, LEAVES.expand([5]))
    with pytest.raises(ValueError, match="nugget between 0 and 1, got 0.0"):
        WarpedGP(process, DAYS, LEAVES, nugget=0.0)
