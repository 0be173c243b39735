"""Guide families and their laws: densities, draws and marginals agree with each other."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from flax import nnx
from numpyro.distributions import constraints
from scipy import integrate, special, stats

from releo_jax.inference.families import FAMILIES, SharedNormal
from releo_jax.inference.flows import SplineFlow
from releo_jax.inference.laws import DiagonalNormal, NormalMarginal, moments, quantiles, to_vector
from releo_jax.inference.mixtures import Mixture, NormalMixture
from releo_jax.inference.structure import Site, read_structure

FEATURES = 6
LEVELS = np.array([0.05, 0.5, 0.95], np.float32)


def _made(family, sites, key, spread=0.3):
    """A head with random weights."""
    size = sum(site.size for site in sites)
    options = {"layers": 2, "width": 32} if family == "flow" else {}
    start = {
        "location": np.linspace(-0.5, 0.5, size, dtype=np.float32),
        "scale": np.linspace(0.6, 1.2, size, dtype=np.float32),
    }
    graph, parameters, rest = nnx.split(FAMILIES[family](sites, FEATURES, **start, **options), nnx.Param, ...)
    return nnx.merge(graph, _scattered(parameters, key, spread), rest)


def _scattered(parameters, key, spread):
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return jax.tree.map(lambda leaf: jnp.asarray(spread * rng.standard_normal(leaf.shape), jnp.float32), parameters)


@functools.partial(jax.jit, static_argnums=2)
def _sample(law, key, n):
    return law.sample(key, (n,))


def _statistics(marginal):
    return marginal.mean, marginal.std, jax.vmap(marginal.quantile)(LEVELS)


@jax.jit
def _summary(law):
    levels = jax.vmap(lambda level: quantiles(law, level))(LEVELS)
    return {name: (*of_site, levels[name]) for name, of_site in moments(law).items()}


DRAWS = 20_000


def _law(family, context):
    return jax.jit(lambda context: family(context))(context)


@jax.jit
def _log_prob(law, values):
    return law.log_prob(values)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def made(request, bounded, intervals):
    """A law, the family that made it, its context, draws, their density and what the marginals say."""
    key = jax.random.key(2024)
    model, acquisitions = intervals if request.param == "truncated_normal" else bounded
    sites = read_structure(model, acquisitions(key, 3)).local
    # Mixtures spread more than one normal, and random networks bend without measure.
    family = _made(request.param, sites, key, spread=0.15 if request.param in ("mixture", "flow") else 0.3)
    context = jax.random.normal(key, (5, FEATURES))
    law = _law(family, context)
    return law, family, context, *_sample(law, key, DRAWS), _summary(law)


def test_draws_carry_their_own_density_and_stay_in_their_support(made):
    law, _, _, values, density, _ = made
    assert density.shape == (DRAWS, 5)
    found = _log_prob(law, values)
    np.testing.assert_allclose(found[:40], density[:40], rtol=2e-3, atol=2e-3)
    error = np.abs(found - density) / (4e-3 + 2e-3 * np.abs(density))
    assert np.quantile(error, 0.999) < 1.0 and error.max() < 10.0  # next to a bound, values are rounded to it
    for site in law.sites:
        assert bool(site.support(values[site.name]).all())


def test_marginals_agree_with_draws(made):
    law, _, _, values, _, summary = made
    # Flows know their marginals by 512 draws.
    noise = 5 * 0.5 / np.sqrt(DRAWS) if not isinstance(law, SplineFlow) else 2 * 0.5 / np.sqrt(512)
    for site in law.sites:
        value = np.asarray(values[site.name], np.float64)
        mean, std, levels = summary[site.name]
        # Five standard errors of the mean; deviations of heavy right tails (exp) converge more slowly.
        np.testing.assert_array_less(np.abs(value.mean(0) - mean), 5.0 * std / np.sqrt(DRAWS))
        np.testing.assert_allclose(value.std(0), std, rtol=0.15)
        for level, quantile in zip(LEVELS, levels, strict=True):
            below = (value < np.asarray(quantile)).mean(0)
            np.testing.assert_allclose(below, level, atol=noise)


def test_one_site_alone_gives_the_same_marginal(made):
    law, family, context, _, _, summary = made
    names = [site.name for site in law.sites]
    alone = jax.jit(lambda context: {name: _statistics(family.marginal(context, name)) for name in names})
    for one, other in zip(jax.tree.leaves(alone(context)), jax.tree.leaves(summary), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_marginal_density_integrates_to_one(made):
    law = made[0]
    if isinstance(law, SplineFlow):
        with pytest.raises(ValueError, match="'share': expected a family whose marginals have densities"):
            law.marginal("share").log_prob(jnp.ones(5))
        return
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


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_joint_density_integrates_to_one(family, intervals, key):
    model, acquisitions = intervals
    sites = read_structure(model, acquisitions(key, 3)).local
    law = _law(_made(family, sites, key, spread=0.15), jax.random.normal(key, (1, FEATURES)))
    unit = special.expit(np.linspace(-9.0, 9.0, 301))
    grid = dict(zip([s.name for s in sites], np.meshgrid(unit, unit, indexing="ij"), strict=True))
    values = {s.name: jnp.asarray(s.interval[0] + (s.interval[1] - s.interval[0]) * grid[s.name]) for s in sites}
    log_density = _log_prob(law, {n: v[..., None] for n, v in values.items()})
    density = np.exp(np.asarray(log_density[..., 0], np.float64)) * np.prod(
        [s.interval[1] - s.interval[0] for s in sites]
    )
    mass = integrate.simpson(integrate.simpson(density, x=unit, axis=1), x=unit)
    np.testing.assert_allclose(mass, 1.0, atol=5e-3)


def test_full_covariance_density_is_that_of_a_multivariate_normal(bounded, key):
    model, acquisitions = bounded
    sites = read_structure(model, acquisitions(key, 3)).local
    law = _law(_made("full_covariance", sites, key), jax.random.normal(key, (1, FEATURES)))

    @jax.jit
    def known(law):
        values, _ = law.sample(key, (3,))
        vector = to_vector(sites, values)
        return vector, sum(s.from_real(s.to_real(values[s.name]))[1] for s in sites), law.log_prob(values)

    vector, volume, found = (np.asarray(part[:, 0], np.float64) for part in known(law))
    size = law.location.shape[-1]
    factor = np.zeros((size, size))
    factor[np.tril_indices(size)] = np.asarray(law.rows)[0]
    normal = stats.multivariate_normal(np.asarray(law.location)[0], factor @ factor.T)
    np.testing.assert_allclose(found, normal.logpdf(vector) - volume, rtol=1e-3)


def test_untrained_head_starts_at_the_priors_moments(bounded, key):
    model, acquisitions = bounded
    sites = read_structure(model, acquisitions(key, 3)).local
    location, scale = jnp.arange(4.0), jnp.arange(1.0, 5.0)
    for family in ("logit_normal", "full_covariance"):
        law = _law(FAMILIES[family](sites, FEATURES, location=location, scale=scale), jnp.ones((2, FEATURES)))
        np.testing.assert_allclose(law.location, np.tile(location, (2, 1)))
        std = jax.jit(lambda law: [law.marginal(s.name).scale[0] for s in sites])(law)
        np.testing.assert_allclose(np.concatenate(std), scale, rtol=1e-3)


@pytest.mark.parametrize("family", ["mixture", "flow"])
def test_untrained_mixtures_and_flows_have_the_priors_moments_on_the_real_line(family, key):
    sites = tuple(Site(name, constraints.real, (), ()) for name in "abcd")
    location, scale = jnp.arange(4.0), jnp.arange(1.0, 5.0)
    law = _law(FAMILIES[family](sites, FEATURES, location=location, scale=scale), jnp.ones((2, FEATURES)))
    for i, (mean, std, _) in enumerate(_summary(law).values()):
        # Those of a flow come from 512 quasi-random points.
        np.testing.assert_allclose(mean, location[i], atol=0.02 * scale[i])
        np.testing.assert_allclose(std, scale[i], rtol=0.02)


def test_a_flow_of_one_site_is_bent_by_the_context(key):
    sites = (Site("a", constraints.real, (), ()),)
    law = _law(_made("flow", sites, key, spread=0.15), jax.random.normal(key, (2, FEATURES)))
    values, density = _sample(law, key, 500)
    np.testing.assert_allclose(_log_prob(law, values), density, atol=2e-3)
    x = np.linspace(-12.0, 12.0, 2001)
    mass = integrate.simpson(np.exp(_log_prob(law, {"a": jnp.asarray(x, jnp.float32)[:, None]})), x=x, axis=0)
    np.testing.assert_allclose(mass, 1.0, atol=2e-3)


@pytest.mark.parametrize("components", [1, 3])
def test_mixture_density_and_moments_are_those_of_the_sum(components, key):
    sites = (Site("pair", constraints.real_vector, (2,), (2,)), Site("c", constraints.real, (), ()))
    family = Mixture(sites, FEATURES, location=jnp.zeros(3), scale=jnp.ones(3), components=components)
    graph, parameters, rest = nnx.split(family, nnx.Param, ...)
    law = _law(nnx.merge(graph, _scattered(parameters, key, 0.3), rest), jnp.ones((1, FEATURES)))
    weights = np.exp(np.asarray(law.log_weights, np.float64)[0])
    factors = np.zeros((components, 3, 3))
    factors[:, *np.tril_indices(3)] = np.asarray(law.rows)[0]
    means, covariances = np.asarray(law.location, np.float64)[0], factors @ factors.transpose(0, 2, 1)
    x = np.array([0.3, -0.8, 0.5])
    parts = [stats.multivariate_normal(m, c).pdf(x) for m, c in zip(means, covariances, strict=True)]
    one = {"pair": x[None, :2].astype(np.float32), "c": x[None, 2].astype(np.float32)}

    @jax.jit
    def known(law):
        marginal = law.marginal("c")
        return law.log_prob(one)[0], marginal.log_prob(one["c"])[0], marginal.mean[0]

    joint, density, mean = known(law)
    np.testing.assert_allclose(joint, np.log(weights @ parts), rtol=1e-4)
    parts = [stats.norm(m[2], np.sqrt(c[2, 2])).pdf(x[2]) for m, c in zip(means, covariances, strict=True)]
    np.testing.assert_allclose(density, np.log(weights @ parts), rtol=1e-4)
    np.testing.assert_allclose(mean, weights @ means[:, 2], rtol=1e-4)


def test_marginal_of_the_last_numbers_keeps_their_correlation(key):
    sites = (Site("c", constraints.real, (), ()), Site("pair", constraints.real, (2,), (2,)))
    law = _law(_made("mixture", sites, key), jax.random.normal(key, (1, FEATURES)))
    factors = np.zeros((8, 3, 3))
    factors[:, *np.tril_indices(3)] = np.asarray(law.rows[0])
    covariances = (factors @ factors.transpose(0, 2, 1))[:, 1:, 1:]
    small = np.zeros((8, 2, 2))
    small[:, *np.tril_indices(2)] = np.asarray(law.marginal("pair").rows[0])
    np.testing.assert_allclose(small @ small.transpose(0, 2, 1), covariances, rtol=1e-4, atol=1e-5)


def _gaussian_bump(x):
    return jnp.exp(-0.5 * ((x - 0.7) / 0.4) ** 2)


def test_gradient_of_an_expectation_under_a_mixture_is_that_of_quadrature(key):
    """Two numbers that depend on each other, apart in two components: weights, means and factors all count."""
    sites = (Site("a", constraints.real, (), ()), Site("b", constraints.real, (), ()))
    parameters = (
        jnp.asarray([[0.4, -0.3]]),  # logits
        jnp.asarray([[[-0.8, 0.5], [1.0, -0.4]]]),
        jnp.asarray([[[0.6, 0.3, 0.5], [0.9, -0.5, 0.7]]]),
    )

    def made(logits, location, rows):
        return NormalMixture(sites, jax.nn.log_softmax(logits), location, rows)

    def integrand(values):
        return _gaussian_bump(values["a"]) * jnp.sin(values["b"] + 0.5 * values["a"]) + values["b"] ** 2

    def by_draws(parameters, key):
        return integrand(made(*parameters).sample(key, (20_000,))[0]).mean()

    x = jnp.linspace(-8.0, 8.0, 401)
    a, b = jnp.meshgrid(x, x, indexing="ij")
    grid = {"a": a[..., None], "b": b[..., None]}

    def by_quadrature(parameters):
        return (jnp.exp(made(*parameters).log_prob(grid)) * integrand(grid)).sum() * (x[1] - x[0]) ** 2

    exact = jax.jit(jax.grad(by_quadrature))(parameters)
    gradient = jax.jit(jax.grad(by_draws))
    many = [gradient(parameters, k) for k in jax.random.split(key, 16)]
    for name, expected, *found in zip(("logits", "location", "rows"), exact, *many, strict=True):
        found = np.stack(found)
        error = found.std(0, ddof=1) / np.sqrt(len(found))
        assert (np.abs(found.mean(0) - expected) < 4.5 * error + 1e-4).all(), name
        assert (error < 0.02).all(), name


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
    site = Site("x", constraints.less_than(2.0), (), ())
    law = DiagonalNormal((site,), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    quantile = jax.jit(lambda law: law.marginal("x").quantile(0.05))(law)
    # 2 - exp(z), z standard normal.
    np.testing.assert_allclose(quantile[0], 2.0 - np.exp(1.6448536), rtol=1e-5)
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
    mean, _, (_, median, _) = jax.jit(lambda law: _statistics(law.marginal("noise")))(law)
    np.testing.assert_allclose(mean, np.exp(-1.0 + 0.125), rtol=1e-3)
    np.testing.assert_allclose(median, np.exp(-1.0), rtol=1e-5)
