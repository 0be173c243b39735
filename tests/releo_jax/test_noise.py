"""Laws of the noise and of the simulator's own error."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

from releo_jax.inference import fit_laplace
from releo_jax.noise import (
    Discrepancy,
    additive_multiplicative,
    common_gain,
    correlated,
    gaussian,
    learn_discrepancy,
    learned_noise,
    smooth_correlation,
    student_t,
    with_discrepancy,
)
from releo_jax.observations import SingleDate, observe
from releo_jax.systems.land_surface import ReflectanceError

WAVELENGTHS = np.array([490.0, 665.0, 842.0, 1610.0])
BANDS = np.array([0.05, 0.1, 0.4, 0.25], np.float32)
STD = np.array([0.01, 0.02, 0.03, 0.04], np.float32)
DISCREPANCY = Discrepancy(wavelengths=WAVELENGTHS, bias=0.02, amplitude=0.03, length=0.4)
LAWS = {
    "gaussian": lambda mean: gaussian(mean, STD),
    "student": lambda mean: student_t(mean, STD, 5.0),
    "additive": lambda mean: additive_multiplicative(mean),
    "common": lambda mean: additive_multiplicative(mean, common_additive=0.01, common_relative=0.02),
    "gain": lambda mean: common_gain(mean, STD, wavelengths=WAVELENGTHS),
    "correlated": lambda mean: correlated(mean, STD[:, None] * STD * smooth_correlation(WAVELENGTHS, 0.3)),
    "discrepancy": lambda mean: with_discrepancy(gaussian(mean, STD), DISCREPANCY),
    "gain and discrepancy": lambda mean: with_discrepancy(common_gain(mean, STD, wavelengths=WAVELENGTHS), DISCREPANCY),
    "shifted": lambda mean: with_discrepancy(
        student_t(mean, STD, 5.0), Discrepancy(wavelengths=WAVELENGTHS, offset=STD)
    ),
}


def _covariance(name):
    """As the equations of the docstrings say."""
    independent = np.diag(STD.astype(float) ** 2)
    position = np.log(WAVELENGTHS)
    distance = np.sqrt(3.0) * np.abs(position[:, None] - position) / 0.4
    error = np.diag(np.full(4, 0.02**2)) + 0.03**2 * (1.0 + distance) * np.exp(-distance)
    tilt = (position - position.mean()) / (position.max() - position.min())
    both = np.outer(BANDS, BANDS)
    gain = (0.1**2 + 0.08**2 * np.outer(tilt, tilt)) * both + 0.008**2 + np.diag((0.04 * BANDS) ** 2) + independent
    additive = np.diag(0.01**2 + (0.02 * BANDS) ** 2)
    near = np.sqrt(3.0) * np.abs(position[:, None] - position) / 0.3
    return {
        "gaussian": independent,
        "student": 5.0 / 3.0 * independent,
        "additive": additive,
        "common": additive + 0.01**2 + 0.02**2 * both,
        "gain": gain,
        "correlated": np.outer(STD, STD) * (1.0 + near) * np.exp(-near),
        "discrepancy": independent + error,
        "gain and discrepancy": gain + error,
        "shifted": 5.0 / 3.0 * independent,
    }[name]


@functools.partial(jax.jit, static_argnums=0)
def _log_density(name, mean, record):
    """Of what is observed."""

    def model(data):
        with numpyro.plate("pixel", data["s2"].values.shape[0]):
            observe("s2", LAWS[name](mean), data["s2"])

    site = handlers.trace(model).get_trace({"s2": record})["s2"]
    return site["fn"].log_prob(site["value"])


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("name", LAWS)
def test_draws_have_the_covariance_of_the_equation(name, n=60_000):
    draws = np.asarray(jax.jit(lambda key: LAWS[name](BANDS).sample(key, (n,)))(jax.random.key(1)), np.float64)
    expected = _covariance(name)
    spread = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        draws.mean(0), BANDS + (STD if name == "shifted" else 0.0), atol=4.0 * spread.max() / n**0.5
    )
    # An entry of a sample correlation has a standard error of 1/sqrt(n), the tails of Student's law double it.
    np.testing.assert_allclose(
        np.cov(draws.T) / np.outer(spread, spread), expected / np.outer(spread, spread), atol=0.03
    )


@pytest.mark.parametrize("name", LAWS)
def test_masked_bands_leave_the_density_of_the_others(name):
    mean = np.stack([BANDS, 1.5 * BANDS, BANDS])
    values = mean + np.array([0.02, -0.03, 0.01, 0.05], np.float32)
    mask = np.array([[True] * 4, [True, False, True, False], [False] * 4])
    density = _log_density(name, mean, SingleDate(values, mask))
    other = _log_density(name, mean, SingleDate(np.where(mask, values, 9.0).astype(np.float32), mask))
    np.testing.assert_array_equal(density, other)
    np.testing.assert_allclose(density[2], 0.0, atol=1e-5)

    @jax.jit
    def known(mean, values):
        law = LAWS[name](mean)
        return (law.log_prob(values), None) if law.event_dim == 0 else (None, law.covariance_matrix)

    each, covariance = known(mean, values)
    if covariance is None:
        np.testing.assert_allclose(density[:2], np.where(mask, each, 0.0).sum(-1)[:2], rtol=1e-5)
    else:
        used = mask[1]
        covariance = np.asarray(covariance[1], np.float64)[np.ix_(used, used)]
        residual = (values - mean)[1, used]
        expected = (
            -0.5 * residual @ np.linalg.solve(covariance, residual) - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
        )
        np.testing.assert_allclose(density[1], expected, rtol=2e-4)


def test_integrated_discrepancy_is_the_learned_one_averaged(n=20_000):
    # Of one pixel: p(y) = E[p(y | bias)] over the prior of the bias that the learned variant samples.
    values = BANDS + np.array([0.03, -0.02, 0.04, 0.01], np.float32)

    def learned(key):
        drawn = handlers.seed(learn_discrepancy, key)("misfit", DISCREPANCY, amplitude_spread=0.0)
        return with_discrepancy(gaussian(BANDS, 0.03), drawn).log_prob(values)

    @jax.jit
    def both(key):
        integrated = with_discrepancy(gaussian(BANDS, 0.03), DISCREPANCY).log_prob(values)
        return jax.vmap(learned)(jax.random.split(key, n)), integrated

    density, expected = (np.exp(np.asarray(part, np.float64)) for part in both(jax.random.key(0)))
    assert abs(density.mean() - expected) < 4.0 * density.std() / n**0.5
    assert density.std() / n**0.5 < 0.02 * expected


def test_learned_sites_are_global_and_what_is_zero_is_not_sampled():
    prior = Discrepancy(wavelengths=WAVELENGTHS, bias=STD, amplitude=0.01, offset=0.05)
    shapes = {}

    @jax.jit
    def known():
        trace = handlers.trace(handlers.seed(learn_discrepancy, 0)).get_trace("misfit", prior, length_spread=0.2)
        shapes.update({name: site["value"].shape for name, site in trace.items()})
        return trace["misfit_bias"]["fn"].base_dist.loc, trace["misfit_amplitude"]["fn"].icdf(0.5)

    centre, median = known()
    assert shapes == {
        "misfit_bias": (4,),
        "misfit_amplitude": (),
        "misfit_length": (),
    }
    np.testing.assert_allclose(centre, 0.05)
    np.testing.assert_allclose(median, 0.01, rtol=1e-5)
    known = Discrepancy(wavelengths=WAVELENGTHS)
    assert not handlers.trace(handlers.seed(learn_discrepancy, 0)).get_trace("misfit", known)


def test_land_surface_has_the_same_law():
    def parts(law):
        made = jax.jit(law)(np.stack([BANDS, 2.0 * BANDS]), STD)
        return made.loc, made.cov_factor, made.cov_diag

    one = parts(lambda bands, noise: ReflectanceError().law(bands, noise, WAVELENGTHS))
    other = parts(lambda bands, noise: common_gain(bands, noise, wavelengths=WAVELENGTHS))
    for found, expected in zip(one, other, strict=True):
        np.testing.assert_array_equal(found, expected)


MIXING = np.array([[1.0, 0.3], [0.2, -0.8], [0.5, 0.6], [-0.4, 0.7]], np.float32)


def test_learned_bias_is_as_uncertain_as_it_is():
    """Most of what a pixel says of the bias its own state takes away: the rest is a small difference."""

    def model(data):
        error = learn_discrepancy("misfit", Discrepancy(wavelengths=WAVELENGTHS, bias=0.3))
        with numpyro.plate("pixel", data["s2"].values.shape[0]):
            state = numpyro.sample("state", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            observe("s2", with_discrepancy(gaussian(state @ MIXING.T, 0.05), error), data["s2"])

    rng = np.random.default_rng(4)
    values = rng.normal(size=(60, 2)) @ MIXING.T + 0.05 * rng.normal(size=(60, 4)) + [0.1, 0.0, -0.2, 0.3]
    posterior = fit_laplace(model, {"s2": SingleDate(values.astype(np.float32))}, key=jax.random.key(0), reference=0)
    covariance = MIXING.astype(float) @ MIXING.T + 0.05**2 * np.eye(4)
    exact = np.linalg.inv(np.eye(4) / 0.3**2 + 60 * np.linalg.inv(covariance))
    np.testing.assert_allclose(posterior.std["misfit_bias"], np.sqrt(np.diag(exact)), rtol=0.02)
    mean = exact @ np.linalg.solve(covariance, values.sum(0))
    np.testing.assert_allclose(posterior.mean["misfit_bias"], mean, atol=0.05 * np.sqrt(np.diag(exact)).min())


def test_posterior_with_an_integrated_bias_is_exact():
    error = Discrepancy(wavelengths=WAVELENGTHS, bias=np.array([0.5, 0.1, 0.3, 0.2], np.float32), amplitude=0.3)

    def model(data):
        with numpyro.plate("pixel", data["s2"].values.shape[0]):
            state = numpyro.sample("state", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            observe("s2", with_discrepancy(gaussian(state @ MIXING.T, 0.2), error), data["s2"])

    rng = np.random.default_rng(3)
    record = SingleDate(rng.normal(size=(20, 4)).astype(np.float32), rng.uniform(size=(20, 4)) > 0.3)
    posterior = fit_laplace(model, {"s2": record}, key=jax.random.key(0), reference=0)
    covariance = jax.jit(lambda mean: with_discrepancy(gaussian(mean, 0.2), error).covariance_matrix)(np.zeros(4))
    covariance = np.asarray(covariance, np.float64)
    for pixel in range(20):
        used = np.asarray(record.mask[pixel])
        mixing, precision = MIXING[used].astype(float), np.linalg.inv(covariance[np.ix_(used, used)])
        exact = np.linalg.inv(np.eye(2) + mixing.T @ precision @ mixing)
        mean = exact @ mixing.T @ precision @ np.asarray(record.values[pixel], np.float64)[used]
        np.testing.assert_allclose(posterior.mean["state"][pixel], mean, atol=2e-3)
        np.testing.assert_allclose(posterior.std["state"][pixel], np.sqrt(np.diag(exact)), rtol=1e-3)


def test_learned_noise_is_the_exact_maximum_with_its_uncertainty():
    mixing = np.concatenate([MIXING, 0.5 * MIXING[::-1]])
    truth = np.array([0.1, 0.15, 0.2, 0.3, 0.25, 0.1, 0.2, 0.15])
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 2)) @ mixing.T + truth * rng.normal(size=(500, 8))

    def model(data):
        std = learned_noise("noise", bands=8, median=0.3, spread=0.5)
        with numpyro.plate("pixel", data["s2"].values.shape[0]):
            state = numpyro.sample("state", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            observe("s2", gaussian(state @ mixing.T, std), data["s2"])

    data = {"s2": SingleDate(values.astype(np.float32))}
    posterior = fit_laplace(model, data, key=jax.random.key(0), reference=0)
    found, spread = (np.asarray(part["noise"], np.float64) for part in (posterior.quantile(0.5), posterior.std))
    np.testing.assert_allclose(found, truth, rtol=0.15)
    # The states integrated out by hand: log density of log noise, its slope and its curvature.
    scatter = values.T @ values / 500

    def slope(log_noise):
        inverse = np.linalg.inv(mixing @ mixing.T + np.diag(np.exp(2.0 * log_noise)))
        inner = np.diag(inverse - inverse @ scatter @ inverse)
        return -500 * inner * np.exp(2.0 * log_noise) - (log_noise - np.log(0.3)) / 0.25

    def curvature(log_noise):
        return np.stack([(slope(log_noise + e) - slope(log_noise - e)) / 2e-4 for e in 1e-4 * np.eye(8)])

    exact = np.log(found)
    for _ in range(5):
        exact = exact - np.linalg.solve(curvature(exact), slope(exact))
    np.testing.assert_allclose(found, np.exp(exact), rtol=0.01)
    np.testing.assert_allclose(spread / found, np.sqrt(np.diag(np.linalg.inv(-curvature(exact)))), rtol=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian(jnp.ones((5, 4)), -0.1), "expected std above 0, got -0.1"),
        (lambda: gaussian(jnp.ones((5, 4)), np.ones(3)), r"bands \(5, 4\), got shape \(3,\); give one value per band"),
        (lambda: gaussian(jnp.ones(()), 0.1), "put the bands last"),
        (lambda: student_t(jnp.ones(4), 0.1, 0.0), "expected degrees above 0, got 0.0"),
        (lambda: additive_multiplicative(jnp.ones(4), relative=-1.0), "expected relative at least 0, got -1.0"),
        (lambda: common_gain(jnp.ones(3), 0.1, wavelengths=WAVELENGTHS), r"of the 3 bands \(band,\), got shape \(4,\)"),
        (lambda: common_gain(jnp.ones(2), 0.1, wavelengths=[500.0, 500.0]), "two different wavelengths"),
        (lambda: correlated(jnp.ones(4), np.ones((4, 3))), r"square covariance .* = \(4, 4\), got shape \(4, 3\)"),
        (lambda: correlated(jnp.ones(4), STD), "independent bands use gaussian"),
        (lambda: correlated(jnp.ones(2), [[1.0, 0.5], [0.1, 1.0]]), "symmetric covariance"),
        (lambda: correlated(jnp.ones(2), [[1.0, 2.0], [2.0, 1.0]]), "least eigenvalue -1; add the variance"),
        (lambda: smooth_correlation([500.0, -1.0], 0.3), "wavelengths above 0 in nm, got -1.0"),
        (lambda: smooth_correlation(WAVELENGTHS, 0.0), "expected length above 0"),
        (lambda: Discrepancy(wavelengths=WAVELENGTHS, bias=np.ones(3)), r"bias to be a number .* got shape \(3,\)"),
        (lambda: Discrepancy(wavelengths=WAVELENGTHS, amplitude=np.nan), "values that are not finite"),
        (lambda: with_discrepancy(gaussian(jnp.ones(3), 0.1), DISCREPANCY), r"law of the 4 bands .* got shape \(3,\)"),
        (lambda: with_discrepancy(student_t(jnp.ones(4), 0.1), DISCREPANCY), "got StudentT; learn the bias"),
        (lambda: learned_noise("noise", bands=4, median=-1.0), "expected median above 0"),
        (lambda: learn_discrepancy("misfit", DISCREPANCY, length_spread=-1.0), "length_spread at least 0, got -1.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_learning_inside_the_plate_is_refused():
    def model():
        with numpyro.plate("pixel", 3):
            learned_noise("noise", bands=4)

    with pytest.raises(ValueError, match=r"one value \(4,\) for all pixels, got \(3, 4\); call it before the plate"):
        handlers.seed(model, 0)()


def test_laws_work_under_jit():
    @jax.jit
    def density(bands, std, covariance):
        laws = [gaussian(bands, std), additive_multiplicative(bands, additive=std), correlated(bands, covariance)]
        return [law.log_prob(bands) for law in [*laws, with_discrepancy(laws[0], DISCREPANCY)]]

    assert all(np.isfinite(part).all() for part in density(jnp.asarray(BANDS), jnp.asarray(STD), jnp.eye(4)))
