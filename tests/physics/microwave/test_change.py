"""Soil moisture from change: what was put in comes out, and slopes are those of differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics.microwave.change import (
    alpha_approximation,
    alpha_horizontal,
    alpha_vertical,
    gao17,
    largest_change,
    relative_moisture,
)
from physics.microwave.fresnel import fresnel
from physics.microwave.geometry import RadarView
from physics.microwave.permittivity import MoistSoil, Permittivity, mironov09

SEEN = RadarView.from_degrees(np.float32([35.0]))


def loam(moisture):
    return mironov09(MoistSoil(soil_moisture=moisture, clay=0.2, sand=0.4), frequency=5.405)


@functools.partial(jax.jit, static_argnames="amplitude")
def backscatter(moisture, amplitude=alpha_vertical, factor=0.02):
    return factor * amplitude(loam(moisture), RadarView(incidence=SEEN.incidence[..., None])) ** 2


@functools.partial(jax.jit, static_argnames="amplitude")
def invert(series, amplitude=alpha_vertical):
    return alpha_approximation(series, SEEN, permittivity=loam, driest=0.05, wettest=0.4, amplitude=amplitude)


def found_in(series, amplitude=alpha_vertical):
    return jax.device_get(invert(series, amplitude=amplitude))


@pytest.mark.parametrize("amplitude", [alpha_vertical, alpha_horizontal])
def test_a_series_from_the_driest_to_the_wettest_soil_is_found(amplitude):
    moisture = np.float32([[0.05, 0.12, 0.3, 0.4, 0.2]])
    found = found_in(backscatter(moisture, amplitude=amplitude), amplitude)
    np.testing.assert_allclose(found.best, moisture, atol=2e-4)
    np.testing.assert_allclose(found.low, found.high, atol=5e-4)


def test_any_other_series_lies_within_what_the_ratios_allow():
    moisture = np.float32([[0.1, 0.18, 0.22, 0.15, 0.12]])
    found = found_in(backscatter(moisture))
    assert ((found.low <= moisture) & (moisture <= found.high)).all()
    assert ((found.low < found.best) & (found.best < found.high)).all()
    # vegetation and roughness are a factor, which does not matter
    np.testing.assert_allclose(found_in(backscatter(moisture, factor=0.3)).best, found.best, atol=1e-4)
    # either end of the range is reached by one date
    assert found.low.min() == pytest.approx(0.05, abs=1e-4) and found.high.max() == pytest.approx(0.4, abs=1e-4)


def test_a_series_that_no_factor_explains_stays_within_the_range_and_is_seen():
    found = found_in(np.float32([[0.01, 0.1, 0.02, 0.015, 0.03]]))
    assert ((found.best >= 0.0499) & (found.best <= 0.4001)).all()
    assert (found.low > found.high).any()


def test_slopes_of_the_moisture_are_those_of_differences():
    moisture = np.array([[0.1, 0.18, 0.22, 0.15]])
    with jax.enable_x64(True):
        series = np.asarray(backscatter(moisture))

        @jax.jit
        @jax.value_and_grad
        def second(series):
            return alpha_approximation(
                series, RadarView(incidence=np.array([0.6])), permittivity=loam, driest=0.05, wettest=0.4
            ).best[0, 1]

        slope = np.asarray(second(series)[1])
        for date, step in enumerate(1e-5 * series[0]):
            moved = [float(second(series + sign * step * np.eye(4)[date])[0]) for sign in (1, -1)]
            assert slope[0, date] == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-4, abs=1e-6)


def test_horizontal_amplitude_is_the_reflection_coefficient():
    """(e - 1) / (c + r)² = (c - r) / (c + r) with a minus: e - 1 = r² - c²."""
    soil = Permittivity(dielectric_constant=np.linspace(3.0, 30.0, 9, dtype=np.float32), dielectric_loss=2.0)
    view = RadarView.from_degrees(40.0)
    amplitude, reflectivity = jax.jit(lambda *given: (alpha_horizontal(*given), fresnel(*given).horizontal))(soil, view)
    np.testing.assert_allclose(amplitude**2, reflectivity, rtol=1e-5)


def test_relative_moisture_is_zero_and_one_at_the_ends():
    np.testing.assert_allclose(relative_moisture(jnp.array([-16.0, -12.0, -8.0]), -16.0, -8.0), [0.0, 0.5, 1.0])


def test_the_line_of_largest_changes_and_the_moisture_under_it_come_back():
    rng = np.random.default_rng(0)
    ndvi = rng.uniform(0.1, 0.8, 20000)
    moisture = rng.uniform(0.05, 0.35, ndvi.size)
    change = (-6.0 * ndvi + 8.0) * (moisture - 0.05) / 0.3
    run = jax.jit(largest_change)
    slope, bare = map(float, run(change, ndvi))
    # the largest of a class lies at its lower end
    assert slope == pytest.approx(-6.0, abs=0.2) and bare == pytest.approx(8.2, abs=0.2)
    found = gao17(change, ndvi, slope=-6.0, bare=8.0, driest=0.05, wettest=0.35)
    np.testing.assert_allclose(found, moisture, atol=1e-5)
    with_gap = run(change, np.where(ndvi > 0.5, 0.8, ndvi))
    assert np.isfinite(with_gap).all()
