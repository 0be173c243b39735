"""Speckle, decibels, incidence: against scipy, closed forms and draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from physics.microwave.geometry import RadarView
from physics.microwave.power import (
    SENTINEL1_LOOKS,
    check_decibels,
    check_power,
    decibel_bias,
    decibel_std,
    from_decibels,
    gamma_nought,
    normalised_by_cosine,
    normalised_by_slope,
    sample_speckle,
    speckle_log_density,
    to_decibels,
    usable_power,
)
from tests.physics.microwave.cases import reference


@pytest.mark.parametrize("looks", ["1.0", "4.4", "16.0"])
def test_density_of_speckle_equals_the_reference(looks):
    r = reference("speckle_gamma")
    with jax.enable_x64(True):
        found = speckle_log_density(r[f"ppf_L{looks}"], 1.0, float(looks))
        np.testing.assert_allclose(found, r[f"logpdf_L{looks}"], atol=1e-12)
        # another mean stretches the law
        half = speckle_log_density(0.05 * r[f"ppf_L{looks}"], 0.05, float(looks))
        np.testing.assert_allclose(half, r[f"logpdf_L{looks}"] - np.log(0.05), atol=1e-11)


def test_moments_in_decibels_equal_the_reference():
    r = reference("speckle_gamma")
    np.testing.assert_allclose(decibel_bias(r["ENL"]), r["db_bias"], rtol=1e-4)
    np.testing.assert_allclose(decibel_std(r["ENL"]), r["db_std"], rtol=1e-4)


def test_draws_follow_the_law_and_carry_slopes():
    mean = np.float32([0.01, 0.2])
    run = jax.jit(lambda key, mean: sample_speckle(key, mean, SENTINEL1_LOOKS))
    draws = run(jax.random.key(0), np.broadcast_to(mean, (4000, 2)))
    for column, sigma in enumerate(mean):
        law = stats.gamma(SENTINEL1_LOOKS, scale=sigma / SENTINEL1_LOOKS)
        assert stats.kstest(np.asarray(draws[:, column]), law.cdf).pvalue > 0.01
    decibels = to_decibels(draws) - to_decibels(mean)
    np.testing.assert_allclose(decibels.mean(0), decibel_bias(SENTINEL1_LOOKS), atol=0.15)
    both = jax.jit(jax.value_and_grad(lambda mean: sample_speckle(jax.random.key(1), mean, SENTINEL1_LOOKS)))
    assert both(0.1)[1] == pytest.approx(float(both(1.0)[0]), rel=1e-5)


def test_decibels_there_and_back():
    power = jnp.array([1e-4, 0.01, 1.0, 5.0])
    np.testing.assert_allclose(to_decibels(power), [-40.0, -20.0, 0.0, 6.9897], atol=1e-4)
    np.testing.assert_allclose(from_decibels(to_decibels(power)), power, rtol=1e-5)
    assert np.isneginf(to_decibels(0.0))


def test_incidence_is_taken_out():
    seen, reference_view = RadarView.from_degrees(jnp.array([30.0, 38.0, 45.0])), RadarView.from_degrees(38.0)
    lambertian = 0.1 * jnp.cos(seen.incidence) ** 2
    flat = normalised_by_cosine(lambertian, seen, reference_view, exponent=2.0)
    np.testing.assert_allclose(flat, lambertian[1], rtol=1e-6)
    line = normalised_by_slope(-10.0 - 0.13 * jnp.array([30.0, 38.0, 45.0]), seen, reference_view, slope=-0.13)
    np.testing.assert_allclose(line, -14.94, atol=1e-5)
    np.testing.assert_allclose(gamma_nought(lambertian, seen), 0.1 * jnp.cos(seen.incidence), rtol=1e-6)


@pytest.mark.parametrize(
    ("check", "values", "words"),
    [
        (check_power, [-12.0, -15.0, np.nan], r"vv: expected linear power .* median of -13.5 .*dB: .*from_decibels"),
        (check_power, [350.0, 120.0], "vv: .*digital numbers"),
        (check_decibels, [0.02, 0.3, -0.001], "vv: expected dB .* median of 0.02 .*linear power: .*to_decibels"),
        (check_decibels, [350.0, 120.0], "vv: .*digital numbers"),
    ],
)
def test_power_and_decibels_in_each_others_place_are_named(check, values, words):
    with pytest.raises(ValueError, match=words):
        check(np.array(values), name="vv")


@pytest.mark.parametrize(
    ("check", "values"),
    [
        # less the noise, a dark area may be below zero on average; cities scatter more than 1
        (check_power, [-0.004, 0.001, -0.002, 3.0]),
        (check_decibels, [-28.0, -8.0, 4.0, np.nan]),
        (check_decibels, [0.4, -0.3, -1.5, 0.2]),
        (check_power, [np.nan]),
        (check_decibels, []),
    ],
)
def test_what_occurs_passes(check, values):
    check(np.array(values))


def test_powers_without_decibels_are_masked_pixel_by_pixel():
    power = jnp.array([0.1, -1e-4, 0.0, jnp.nan, jnp.inf, 1e-6])
    np.testing.assert_array_equal(jax.jit(usable_power)(power), [True, False, False, False, False, True])
