"""Laws on an interval: against quadrature in float64, in float32 as in float64, and as NumPyro expects them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.distributions.kl import kl_divergence
from scipy import special, stats

from releo_jax import truncated_normal as arithmetic
from releo_jax.distributions import LogitNormal, NormalScore, TruncatedNormal

# (loc, scale) on 0 to 1: inside, nearly uniform, narrow, at an end, outside on both sides by up to 1000 widths.
CASES = [
    (0.3, 0.2),
    (0.5, 1e3),
    (0.5, 1e-4),
    (0.0, 0.5),
    (0.0, 1e-6),
    (1.2, 0.3),
    (-3.0, 0.2),
    (4.0, 0.1),
    (-50.0, 1.0),
    (-1e3, 1.0),
    (1e3, 100.0),
]
LOC, SCALE = (np.array(column, np.float32) for column in zip(*CASES, strict=True))


@pytest.fixture
def key():
    return jax.random.key(0)


def _quadrature(loc, scale, low=0.0, high=1.0, upper=None):
    """Nodes, and weights of the normalised law up to `upper`, by 4000 Gauss-Legendre nodes in float64."""
    t, w = np.polynomial.legendre.leggauss(200)
    mode = np.clip(loc, low, high)
    p = abs(mode - loc) / scale
    reach = scale * min(40.0, 80.0 / max(p, 2.0))  # 800 in the exponent
    start, end = max(low, mode - reach), min(high, mode + reach)

    def rule(a, b):
        edges = np.linspace(a, b, 21)
        half = np.diff(edges)[:, None] / 2
        x = edges[:-1, None] + half * (t + 1)
        d = (x - mode) / scale
        return x.ravel(), (half * w * np.exp(-d * (d / 2 + (mode - loc) / scale))).ravel()

    x, weight = rule(start, end)
    total = weight.sum()
    if upper is not None:
        x, weight = rule(start, min(max(upper, start), end))
    return x, weight / total


@functools.partial(jax.jit, static_argnums=0)
def _all(name, loc, scale, other):
    """A quantity of the laws and its derivatives."""

    def value(loc, scale):
        p = TruncatedNormal(loc, scale, low=0.0, high=1.0)
        match name:
            case "quantile":
                return p.icdf(other)
            case "density":
                return p.log_prob(other)
            case "mean" | "variance":
                return getattr(p, name)
            case "entropy":
                return p.entropy()
            case "divergence":
                return kl_divergence(p, TruncatedNormal(0.4, 0.3, low=0.0, high=1.0))

    found, slopes = jax.vjp(value, loc, scale)
    return found, *slopes(jnp.ones_like(found))


@pytest.mark.parametrize(
    "name",
    [
        *("quantile", "density", "mean", "variance"),
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("entropy", "divergence")),
    ],
)
def test_single_precision_is_as_good_as_double(name):
    q = np.full(LOC.shape, 0.3, np.float32)
    other = np.asarray(_all("quantile", LOC, SCALE, q)[0]) if name == "density" else q
    single = [np.asarray(x, np.float64) for x in _all(name, LOC, SCALE, other)]
    with jax.enable_x64(True):
        wide = [jnp.asarray(x, jnp.float64) for x in (LOC, SCALE, other)]
        double = [np.asarray(x) for x in _all(name, *wide)]
        if name == "density":  # a rounded value in a narrow law: what the rounding of its argument does
            assert np.all(np.isfinite(double[0]))
    # Relative to the value, or to what one rounding of the location does to it where that is more.
    natural = {"quantile": (1.0, 1.0, 1.0), "mean": (1.0, 1.0, 1.0)}.get(name, (1.0, 0.0, 0.0))
    assert all(np.all(np.isfinite(x)) for x in single)
    conditioned = (SCALE > 1e-3) | (LOC == 0.0)
    for a, b, floor in zip(single, double, natural, strict=True):
        error = np.abs(a - b)[conditioned]
        size = np.abs(b)[conditioned]
        assert np.all(error <= 2e-5 * size + 2e-6 * floor * (size < 1e-3) + 1e-6)


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_moments_entropy_and_density_are_those_of_quadrature(loc, scale):
    loc, scale = float(np.float32(loc)), float(np.float32(scale))
    x, w = _quadrature(loc, scale)
    mean = (w * x).sum()
    variance = (w * (x - mean) ** 2).sum()
    law = TruncatedNormal(jnp.float32(loc), jnp.float32(scale), low=0.0, high=1.0)
    np.testing.assert_allclose(law.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(law.variance, variance, rtol=1e-5)
    with jax.enable_x64(True):
        law = TruncatedNormal(jnp.float64(loc), jnp.float64(scale), low=0.0, high=1.0)
        log_density = np.asarray(law.log_prob(x))
        # Nodes further than nine deviations carry no weight.
        np.testing.assert_allclose((w * np.where(w > 0, -log_density, 0.0)).sum(), law.entropy(), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(law.mean, mean, rtol=1e-11)
        np.testing.assert_allclose(law.variance, variance, rtol=1e-9)


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_quantiles_invert_the_distribution_function(loc, scale):
    loc, scale = float(np.float32(loc)), float(np.float32(scale))
    levels = np.array([2.0**-20, 2.0**-10, 0.0625, 0.5, 0.9375, 1.0 - 2.0**-10])  # exact in float32
    with jax.enable_x64(True):
        law = TruncatedNormal(jnp.float64(loc), jnp.float64(scale), low=0.0, high=1.0)
        values = np.asarray(law.icdf(levels))
        np.testing.assert_allclose(law.cdf(values), levels, rtol=1e-8)
        deviation = np.sqrt(float(law.variance))
    reached = [_quadrature(loc, scale, upper=value)[1].sum() for value in values]
    np.testing.assert_allclose(reached, levels, rtol=1e-6)
    single = TruncatedNormal(jnp.float32(loc), jnp.float32(scale), low=0.0, high=1.0).icdf(levels.astype(np.float32))
    # Two roundings of the value, or 1e-6 of its own size.
    assert np.all(np.abs(single - values) <= 1e-5 * deviation + 2e-7 * values)


def _densities(law, values):
    """Log density and its slope."""
    return jax.vmap(lambda value: (law.log_prob(value), jax.grad(law.log_prob)(value)))(values)


# Laws that are not known before tracing: the general way.
@jax.jit
def _general_quantiles(loc, scale, levels):
    return TruncatedNormal(loc, scale, low=0.0, high=1.0).icdf(levels)


@jax.jit
def _general_densities(loc, scale, values):
    return _densities(TruncatedNormal(loc, scale, low=0.0, high=1.0), values)


@pytest.mark.parametrize(("loc", "scale"), [(0.3, 0.2), (0.0, 0.5), (1.2, 0.3), (-0.1, 0.1), (0.5, 1.9), (0.0, 1e-4)])
def test_one_central_law_has_the_quantiles_and_densities_that_many_have(loc, scale):
    law = TruncatedNormal(loc, scale, low=0.0, high=1.0)
    assert arithmetic.is_central(law.loc, law.scale, law.low, law.high)
    levels = np.r_[0.0, 1e-6, np.linspace(1e-3, 1.0 - 1e-3, 200), 1.0].astype(np.float32)
    general = _general_quantiles(loc, scale, levels)
    quantiles = law.icdf(levels)
    np.testing.assert_allclose(quantiles, general, rtol=0, atol=2e-6 * min(scale, 1.0))
    values = np.r_[np.float32(-0.1), np.float32(0.0), quantiles[1:-1], np.float32(1.0), np.float32(1.1)]

    @jax.jit
    def compiled(levels, values):
        return law.icdf(levels), jax.vmap(jax.grad(law.icdf))(levels[2:-1]), _densities(law, values)

    again, slope, found = compiled(levels, values)
    np.testing.assert_allclose(again, quantiles, rtol=0, atol=1e-6 * min(scale, 1.0))
    np.testing.assert_allclose(slope, np.exp(-law.log_prob(quantiles[2:-1])), rtol=1e-4)
    for got, expected in zip(found, _general_densities(loc, scale, values), strict=True):
        size = np.abs(np.where(np.isfinite(expected), expected, 0.0)).max()
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6 * size)
    assert np.isnan(law.icdf(jnp.float32(np.nan)))
    assert 0.0 < law.icdf(jnp.float32(0.0)) and law.icdf(jnp.float32(1.0)) < 1.0
    # A law far outside, one nearly uniform, and several at once take the general way.
    for other in ((-3.0, 0.2), (0.5, 1e3), (np.array([0.3, 0.3]), 0.2)):
        assert not arithmetic.is_central(*other, 0.0, 1.0)


def test_ordinary_laws_are_those_of_scipy():
    loc, scale = 0.6, 0.4
    reference = stats.truncnorm((0.2 - loc) / scale, (1.5 - loc) / scale, loc=loc, scale=scale)
    with jax.enable_x64(True):
        law = TruncatedNormal(loc, scale, low=0.2, high=1.5)
        x = np.linspace(0.21, 1.49, 7)
        np.testing.assert_allclose(law.log_prob(x), reference.logpdf(x), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(law.cdf(x), reference.cdf(x), rtol=1e-12)
        np.testing.assert_allclose(law.icdf(reference.cdf(x)), x, rtol=1e-12)
        np.testing.assert_allclose([law.mean, law.variance], reference.stats("mv"), rtol=1e-12)
        np.testing.assert_allclose(law.entropy(), reference.entropy(), rtol=1e-12)
    outside = jax.jit(lambda: TruncatedNormal(loc, scale, low=0.2, high=1.5).log_prob(jnp.array([0.1, 1.6])))()
    assert np.all(outside == -np.inf)


@pytest.mark.parametrize("law", [TruncatedNormal, LogitNormal])
def test_draws_stay_inside_and_have_the_moments(law, key):
    loc = LOC if law is TruncatedNormal else np.clip(LOC, -9.0, 9.0)
    scale = SCALE if law is TruncatedNormal else np.clip(SCALE, 1e-3, 3.0)
    low, high = np.float32(-0.5), np.float32(0.5)
    made = law(loc - 0.5 if law is TruncatedNormal else loc, scale, low=low, high=high)
    draws = np.asarray(made.sample(key, (20_000,)), np.float64)
    assert np.all((low < draws) & (draws < high))
    error = np.sqrt(np.asarray(made.variance) / draws.shape[0])
    np.testing.assert_array_less(np.abs(draws.mean(0) - made.mean), 4.5 * error + 1e-6)
    spread = np.abs(draws.var(0) / np.asarray(made.variance, np.float64) - 1.0)
    # A law narrower than the spacing of float32 near the end of the interval cannot be told in its draws.
    np.testing.assert_array_less(spread[np.asarray(made.variance) > 1e-10], 0.1)


@pytest.mark.parametrize("shift", [1e4, -1e4, 1e6])
def test_laws_far_outside_stay_finite(shift, key):
    def draw(loc, scale):
        return TruncatedNormal(loc, scale, low=2.0, high=3.0).sample(key, (100,)).mean()

    value, slopes = jax.jit(jax.value_and_grad(draw, (0, 1)))(jnp.float32(shift), jnp.float32(0.5))
    assert 2.0 < value < 3.0
    assert np.all(np.isfinite(slopes))
    law = TruncatedNormal(jnp.float32(shift), jnp.float32(0.5), low=2.0, high=3.0)
    assert np.all(np.isfinite([law.mean, law.variance, law.log_prob(2.5)]))


def test_implicit_gradients_are_finite_differences():
    q = np.array([0.01, 0.3, 0.8, 0.99])

    def quantile(parameters):
        loc, scale, low, high = parameters
        return TruncatedNormal(loc, scale, low=low, high=high).icdf(q)

    @jax.jit
    @jax.vmap
    def quantile_and_slopes(parameters):
        value, back = jax.vjp(quantile, parameters)
        return value, jax.vmap(back)(jnp.eye(q.size))[0]

    step = 1e-5 * np.eye(4)
    with jax.enable_x64(True):
        for loc, scale in [(0.4, 0.3), (-1.0, 0.4), (2.0, 0.3)]:
            at = np.array([loc, scale, 0.0, 1.0])
            values, slopes = map(np.asarray, quantile_and_slopes(np.stack([at, *(at + step), *(at - step)])))
            expected = (values[1:5] - values[5:]) / 2e-5
            np.testing.assert_allclose(slopes[0], expected.T, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_divergences_are_integrals(loc, scale):
    loc, scale = float(np.float32(loc)), float(np.float32(scale))
    x, w = _quadrature(loc, scale)
    with jax.enable_x64(True):
        p = TruncatedNormal(jnp.float64(loc), jnp.float64(scale), low=0.0, high=1.0)
        own = np.asarray(p.log_prob(x))
        for q in (
            dist.Uniform(0.0, 1.0),
            dist.Uniform(-1.0, 2.0),
            TruncatedNormal(0.4, 0.3, low=0.0, high=1.0),
            TruncatedNormal(-4.0, 0.5, low=0.0, high=1.0),
            TruncatedNormal(0.4, 0.3, low=-0.5, high=1.5),
        ):
            r = np.where(w > 0, own - np.asarray(q.log_prob(x)), 0.0)
            np.testing.assert_allclose(kl_divergence(p, q), (w * r).sum(), rtol=1e-8, atol=1e-11)


def test_small_divergences_keep_their_digits():
    """Between N(0.5, 0.1) and N(0.5 + d, 0.1), where truncation does not matter, it is d^2 / (2 0.1^2)."""
    p = TruncatedNormal(jnp.float32(0.5), jnp.float32(0.1), low=0.0, high=1.0)
    for step in (2.0**-7, 2.0**-10, 2.0**-14):
        q = TruncatedNormal(jnp.float32(0.5 + step), jnp.float32(0.1), low=0.0, high=1.0)
        np.testing.assert_allclose(kl_divergence(p, q), step**2 / 0.02, rtol=1e-3)
    assert abs(kl_divergence(p, p)) < 1e-12


def test_divergences_are_infinite_where_the_support_is_too_small():
    p = TruncatedNormal(0.4, 0.3, low=0.0, high=1.0)
    assert kl_divergence(p, dist.Uniform(0.1, 1.0)) == jnp.inf
    assert kl_divergence(p, TruncatedNormal(0.4, 0.3, low=0.0, high=0.9)) == jnp.inf


@pytest.mark.parametrize("law", [TruncatedNormal, LogitNormal])
def test_numpyro_can_handle_them(law, key):
    def make(loc):
        return law(loc, 0.5, low=0.0, high=2.0)

    loc = jnp.array([0.1, 0.5, 0.9])
    batched = jax.vmap(make)(loc)
    value = jnp.array([0.2, 1.0, 1.9])
    together, single = jax.jit(jax.vmap(lambda d, v: d.log_prob(v))), jax.jit(lambda v: make(loc).log_prob(v))
    np.testing.assert_allclose(together(batched, value), single(value), rtol=1e-6)
    passed = jax.jit(lambda d: d.sample(key, (2,)))(make(loc))
    np.testing.assert_allclose(passed, jax.jit(lambda: make(loc).sample(key, (2,)))(), rtol=1e-6)
    joint = make(0.5).expand([4, 3]).to_event(1)
    assert joint.batch_shape == (4,) and joint.event_shape == (3,)
    assert jax.eval_shape(lambda key: joint.log_prob(joint.sample(key)), key).shape == (4,)

    def model():
        with numpyro.plate("pixel", 3):
            return numpyro.sample("x", make(loc))

    assert jax.eval_shape(handlers.seed(model, key)).shape == (3,)
    assert float(make(0.5).support.upper_bound) == 2.0
    transform = dist.biject_to(make(0.5).support)
    assert np.all(make(0.5).support(transform(jnp.array([-3.0, 3.0]))))
    with pytest.raises(ValueError, match="outside the support|Out-of-support|scale"):
        law(0.5, -1.0, low=0.0, high=1.0, validate_args=True)


def test_divergences_pass_through_expansion():
    p = TruncatedNormal(0.4, 0.3, low=0.0, high=1.0)
    q = dist.Uniform(0.0, 1.0)
    single = kl_divergence(p, q)
    np.testing.assert_allclose(kl_divergence(p.expand([2, 3]).to_event(1), q.expand([2, 3]).to_event(1)), 3 * single)


def test_numbers_take_the_precision_of_the_caller(key):
    law = TruncatedNormal(2.0, 3.0, low=0.0, high=15.0)
    assert law.sample(key).dtype == jnp.float32
    with jax.enable_x64(True):
        assert law.sample(key).dtype == jnp.float64
        assert law.log_prob(jnp.float32(1.0)).dtype == jnp.float32


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (0.0, np.inf), (np.array([0.0, 2.0]), 1.0)])
def test_bounds_out_of_order_are_refused(low, high):
    with pytest.raises(ValueError, match="expected finite bounds low < high"):
        TruncatedNormal(0.0, 1.0, low=low, high=high)


def test_logit_normal_is_the_normal_of_the_logit():
    with jax.enable_x64(True):
        law = LogitNormal(0.3, 0.8, low=1.0, high=3.0)
        t, w = np.polynomial.hermite_e.hermegauss(60)
        x, w = 1.0 + 2.0 * special.expit(0.3 + 0.8 * t), w / w.sum()
        mean = (w * x).sum()
        np.testing.assert_allclose([law.mean, law.variance], [mean, (w * (x - mean) ** 2).sum()], rtol=1e-9)
        y = np.array([1.2, 2.0, 2.7])
        z = (special.logit((y - 1.0) / 2.0) - 0.3) / 0.8
        np.testing.assert_allclose(law.cdf(y), stats.norm.cdf(z), rtol=1e-12)
        np.testing.assert_allclose(law.icdf(stats.norm.cdf(z)), y, rtol=1e-12)
        slope = 2.0 / ((y - 1.0) * (3.0 - y)) / 0.8
        np.testing.assert_allclose(law.log_prob(y), stats.norm.logpdf(z) + np.log(slope), rtol=1e-12)


@pytest.mark.parametrize("scale", [0.5, 3.0, 8.0])
def test_logit_normal_moments_in_single_precision(scale):
    t = (np.arange(200_001) + 0.5) / 200_001 * 20.0 - 10.0
    w = np.exp(-0.5 * t**2) / np.exp(-0.5 * t**2).sum()
    x = special.expit(0.4 + scale * t)
    mean = (w * x).sum()
    law = LogitNormal(0.4, scale, low=0.0, high=1.0)
    np.testing.assert_allclose([law.mean, law.variance], [mean, (w * (x - mean) ** 2).sum()], atol=3e-7)


def test_a_normal_score_makes_uniform_laws_of_normal_ones():
    """Uniform quantities under a Gaussian copula, as NumPyro has them; on the line of the scores they are normal."""
    correlation = np.array([[1.0, 0.6], [0.6, 1.0]], np.float32)

    def made():
        return dist.TransformedDistribution(dist.MultivariateNormal(jnp.zeros(2), correlation), NormalScore(0.03, 0.45))

    @jax.jit
    def densities(key):
        known = dist.GaussianCopula(dist.Uniform(jnp.full(2, 0.03), jnp.full(2, 0.45)), correlation)
        values = known.sample(key, (200,))
        return made().log_prob(values), known.log_prob(values)

    np.testing.assert_allclose(*densities(jax.random.key(0)), rtol=1e-4, atol=1e-4)
    scores = np.linspace(-4.5, 4.5, 19, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    ends = np.array([[0.03, 0.45], [0.24, 0.24]], np.float32)

    @jax.jit
    def there_and_back(scores):
        line = biject_to(made().support)
        image = line(scores)
        slope = jax.grad(lambda x: NormalScore(0.03, 0.45)._inverse(x))(jnp.float32(0.24))
        return line._inverse(image), line.log_abs_det_jacobian(scores, image), line._inverse(ends), slope

    back, volume, at_ends, slope = there_and_back(scores)
    np.testing.assert_allclose(back, scores, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(volume, np.log(0.42**2) + stats.norm.logpdf(scores).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(at_ends, [[-5.0, 5.0], [0.0, 0.0]], atol=1e-3)
    np.testing.assert_allclose(slope, np.sqrt(2.0 * np.pi) / 0.42, rtol=1e-5)
    with pytest.raises(ValueError, match="NormalScore: expected finite bounds low < high, got low 1"):
        NormalScore(1.0, 0.0)
