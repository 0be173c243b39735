"""Planck's law: reference values, inverses, and the Rayleigh-Jeans and Wien ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics.thermal.planck import (
    LANDSAT8_B10,
    LANDSAT8_B11,
    LANDSAT9_B10,
    LANDSAT9_B11,
    band_radiance,
    band_temperature,
    brightness_temperature,
    planck,
)
from tests.physics.thermal.cases import reference


def test_radiances_and_temperatures_equal_the_reference():
    r = reference()
    with jax.enable_x64(True):
        # the reference rounds the radiation constants
        np.testing.assert_allclose(planck(r["planck_T"], 10.895), r["planck_B_10p895"], rtol=2e-7)
        np.testing.assert_allclose(planck(r["planck_T"], 12.005), r["planck_B_12p005"], rtol=2e-7)
        np.testing.assert_allclose(band_temperature(r["L_radiance"], LANDSAT8_B10), r["TB10"], rtol=1e-12)
        np.testing.assert_allclose(band_temperature(r["L_radiance"], LANDSAT8_B11), r["TB11"], rtol=1e-12)


def test_inverses_come_back_in_single_precision_with_their_slopes():
    temperature = jnp.linspace(200.0, 350.0, 31)
    np.testing.assert_allclose(brightness_temperature(planck(temperature, 11.0), 11.0), temperature, rtol=1e-6)
    for band in (LANDSAT8_B10, LANDSAT8_B11):
        np.testing.assert_allclose(band_temperature(band_radiance(temperature, band), band), temperature, rtol=1e-6)
    there = jax.vmap(jax.grad(lambda t: planck(t, 11.0)))(temperature)
    back = jax.vmap(jax.grad(lambda r: brightness_temperature(r, 11.0)))(planck(temperature, 11.0))
    np.testing.assert_allclose(there * back, 1.0, rtol=1e-4)


def test_long_waves_grow_linearly_with_temperature():
    # 2 c k T / lambda⁴ with 2 c k = 8278.2 W µm³ m⁻² sr⁻¹ K⁻¹
    assert planck(300.0, 1e5) == pytest.approx(8278.2 * 300.0 / 1e20, rel=1e-3)


def test_bands_of_landsat_are_plancks_law_at_wavelengths_inside_of_them():
    for band, (low, high) in {
        LANDSAT8_B10: (10.6, 11.19),
        LANDSAT9_B10: (10.6, 11.19),
        LANDSAT8_B11: (11.5, 12.51),
        LANDSAT9_B11: (11.5, 12.51),
    }.items():
        assert low < band.wavelength < high
        # two constants of a calibration, one wavelength: both ways to a radiance agree if no digit is wrong
        assert band_radiance(300.0, band) == pytest.approx(float(planck(300.0, band.wavelength)), rel=0.006)
