"""Guide families and their laws: densities, draws and marginals agree with each other."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, special, stats

from releo_jax.inference.families import FAMILIES, SharedNormal
from releo_jax.inference.laws import DiagonalNormal, NormalMarginal
from releo_jax.inference.structure import read_structure

FEATURES = 6


def _made(family, sites, key, spread=0.3):
    """A head with random weights, and a context."""
    size = sum(site.size for site in sites)
    made = FAMILIES[family](sites, FEATURES, location=jnp.linspace(-0.5, 0.5, size), scale=jnp.linspace(0.6, 1.2, size))
    graph, parameters, rest = nnx.split(made, nnx.Param, ...)
    leaves, structure = jax.tree.flatten(parameters)
    keys = jax.random.split(key, len(leaves))
    random = [spread * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(structure, random), rest)


@functools.partial(jax.jit, static_argnums=2)
def _sample(law, key, n):
    return law.sample(key, (n,))


@pytest.fixture(params=["truncated_normal", "logit_normal", "full_covariance"])
def law_and_family(request, bounded, intervals, key):
    model, acquisitions = intervals if request.param == "truncated_normal" else bounded
    sites = read_structure(model, acquisitions(key, 3)).local
    family = _made(request.param, sites, key)
    context = jax.random.normal(key, (5, FEATURES))
    return family(context), family, context


def test_draws_carry_their_own_density(law_and_family, key):
    law, _, _ = law_and_family
    values, density = _sample(law, key, 40)
    assert density.shape == (40, 5)
    np.testing.assert_allclose(jax.jit(lambda law, v: law.log_prob(v))(law, values), density, rtol=2e-3, atol=2e-3)


def test_draws_stay_in_their_support(law_and_family, key):
    law, _, _ = law_and_family
    values, _ = _sample(law, key, 2000)
    for site in law.sites:
        assert bool(site.support(values[site.name]).all())


def test_marginals_agree_with_draws(law_and_family, key):
    law, _, _ = law_and_family
    draws = 20_000
    values, _ = _sample(law, key, draws)
    for site in law.sites:
        value = np.asarray(values[site.name], np.float64)
        marginal = law.marginal(site.name)
        std = np.asarray(marginal.std)
        # Five standard errors of the mean; deviations of heavy right tails (exp) converge more slowly.
        np.testing.assert_array_less(np.abs(value.mean(0) - marginal.mean), 5.0 * std / np.sqrt(draws))
        np.testing.assert_allclose(value.std(0), std, rtol=0.15)
        for level in (0.05, 0.5, 0.95):
            below = (value < np.asarray(marginal.quantile(level))).mean(0)
            np.testing.assert_allclose(below, level, atol=5 * 0.5 / np.sqrt(draws))


def test_one_site_alone_gives_the_same_marginal(law_and_family):
    law, family, context = law_and_family
    for site in law.sites:
        whole, alone = law.marginal(site.name), family.marginal(context, site.name)
        np.testing.assert_allclose(alone.mean, whole.mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alone.std, whole.std, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alone.quantile(0.9), whole.quantile(0.9), rtol=1e-5, atol=1e-6)


def test_marginal_density_integrates_to_one(law_and_family):
    law, _, _ = law_and_family
    for site in law.sites:
        if site.shape:
            continue
        if site.interval:
            low, high = site.interval
            x = low + (high - low) * special.expit(np.linspace(-14.0, 14.0, 20_001))  # close where it may be steep
        else:
            x = np.geomspace(1e-6, 1e4, 20_001)
        values = jnp.broadcast_to(jnp.asarray(x, jnp.float32)[:, None], (x.size, 5))
        density = np.exp(np.asarray(eqx.filter_jit(law.marginal(site.name).log_prob)(values), np.float64))
        np.testing.assert_allclose(integrate.simpson(density, x=x, axis=0), 1.0, atol=1e-3)


def test_full_covariance_density_is_that_of_a_multivariate_normal(bounded, key):
    model, acquisitions = bounded
    sites = read_structure(model, acquisitions(key, 3)).local
    law = _made("full_covariance", sites, key)(jax.random.normal(key, (1, FEATURES)))
    values, _ = law.sample(key, (3,))
    size = law.location.shape[-1]
    factor = np.zeros((size, size))
    factor[np.tril_indices(size)] = np.asarray(law.rows[0])
    for i in range(3):
        vector = np.concatenate([np.asarray(s.to_real(values[s.name][i])).ravel() for s in sites]).astype(np.float64)
        volume = sum(float(s.from_real(s.to_real(values[s.name][i]))[1][0]) for s in sites)
        expected = stats.multivariate_normal(np.asarray(law.location[0]), factor @ factor.T).logpdf(vector) - volume
        one = {name: value[i] for name, value in values.items()}
        np.testing.assert_allclose(law.log_prob(one)[0], expected, rtol=1e-3)


def test_untrained_head_starts_at_the_priors_moments(bounded, key):
    model, acquisitions = bounded
    sites = read_structure(model, acquisitions(key, 3)).local
    location, scale = jnp.arange(4.0), jnp.arange(1.0, 5.0)
    for family in ("logit_normal", "full_covariance"):
        law = FAMILIES[family](sites, FEATURES, location=location, scale=scale)(jnp.ones((2, FEATURES)))
        np.testing.assert_allclose(law.location, np.tile(location, (2, 1)))
        std = [law.marginal(s.name).scale[0] for s in sites]
        np.testing.assert_allclose(np.concatenate(std), scale, rtol=1e-3)


@pytest.mark.parametrize("scale", [0.05, 1.0, 3.0])
def test_logit_normal_moments_against_quadrature(intervals, scale):
    model, acquisitions = intervals
    site = read_structure(model, acquisitions(jax.random.key(0), 3)).site("angle")
    for location in (-3.0, 0.0, 2.0):
        marginal = NormalMarginal(site, jnp.full((1, 1), location), jnp.full((1, 1), scale))

        def moment(power, location=location):
            def integrand(x):
                return stats.norm.pdf(x) * (30.0 + 50.0 / (1.0 + np.exp(-location - scale * x))) ** power

            return integrate.quad(integrand, -10.0, 10.0, epsabs=1e-10)[0]

        mean = moment(1)
        std = np.sqrt(moment(2) - mean**2)
        np.testing.assert_allclose(marginal.mean[0], mean, atol=2e-3 * 50.0)
        np.testing.assert_allclose(marginal.std[0], std, rtol=0.01, atol=1e-3)


def test_quantiles_of_a_falling_transform_are_not_swapped(key):
    import numpyro.distributions as dist
    from numpyro.distributions import constraints

    from releo_jax.inference.structure import Site

    site = Site("x", constraints.less_than(2.0), (), ())
    marginal = DiagonalNormal((site,), jnp.zeros((1, 1)), jnp.ones((1, 1))).marginal("x")
    # 2 - exp(z), z standard normal.
    np.testing.assert_allclose(marginal.quantile(0.05)[0], 2.0 - np.exp(1.6448536), rtol=1e-5)
    assert dist.biject_to(site.support)(jnp.asarray(1.0)) < dist.biject_to(site.support)(jnp.asarray(0.0))


def test_truncated_normal_wants_intervals(bounded, key):
    model, acquisitions = bounded
    sites = read_structure(model, acquisitions(key, 3)).local
    with pytest.raises(ValueError, match="'amount'"):
        FAMILIES["truncated_normal"](sites, FEATURES, location=jnp.zeros(4), scale=jnp.ones(4))


def test_missing_values_are_named(intervals, key):
    model, acquisitions = intervals
    sites = read_structure(model, acquisitions(key, 3)).local
    law = _made("logit_normal", sites, key)(jnp.ones((2, FEATURES)))
    with pytest.raises(ValueError, match="angle"):
        law.log_prob({"share": jnp.ones(2)})


def test_global_law_starts_at_the_prior(bounded, key):
    model, acquisitions = bounded
    sites = read_structure(model, acquisitions(key, 3)).shared
    law = SharedNormal(sites, location=jnp.full(3, -1.0), scale=jnp.full(3, 0.5))()
    # The model's prior of the noise is log-normal(-1, 0.5).
    np.testing.assert_allclose(law.marginal("noise").mean, np.exp(-1.0 + 0.125), rtol=1e-3)
    np.testing.assert_allclose(law.marginal("noise").quantile(0.5), np.exp(-1.0), rtol=1e-5)
