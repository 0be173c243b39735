"""Radiance of a black body, and the temperature that a radiance stands for."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.parameters import as_float

_C1 = 1.191042972e8  # 2 h c², W µm⁴ m⁻² sr⁻¹
_C2 = 14387.769  # h c / k, µm K


def planck(temperature: ArrayLike, wavelength: ArrayLike) -> Array:
    """Spectral radiance of a black body.

    Args:
        temperature: K, `(*batch)`.
        wavelength: µm, broadcasting with the temperature.

    Returns:
        W m⁻² sr⁻¹ µm⁻¹, `(*batch)`.

    Equation:
        c_1 / (lambda⁵ (exp(c_2 / (lambda T)) - 1)).

    References:
        Planck 1901; constants of CODATA 2018.
    """
    t = as_float(temperature)
    micrometres = jnp.asarray(wavelength, t.dtype)
    return _C1 / micrometres**5 / jnp.expm1(_C2 / (micrometres * t))


def brightness_temperature(radiance: ArrayLike, wavelength: ArrayLike) -> Array:
    """Temperature of the black body with a spectral radiance: the inverse of `planck`.

    Args:
        radiance: W m⁻² sr⁻¹ µm⁻¹, above zero, `(*batch)`.
        wavelength: µm, broadcasting with the radiance.

    Returns:
        K, `(*batch)`.

    Equation:
        c_2 / (lambda ln(1 + c_1 / (lambda⁵ L))).
    """
    value = as_float(radiance)
    micrometres = jnp.asarray(wavelength, value.dtype)
    return _C2 / (micrometres * jnp.log1p(_C1 / (micrometres**5 * value)))


@dataclasses.dataclass(frozen=True)
class ThermalBand:
    """Band of a thermal sensor with the two constants of its calibration.

    Attributes:
        name: of the band.
        k1: W m⁻² sr⁻¹ µm⁻¹.
        k2: K.
        wavelength: effective, µm: c_2 / k2.
    """

    name: str
    k1: float
    k2: float

    @property
    def wavelength(self) -> float:
        """Effective wavelength, µm."""
        return _C2 / self.k2


# K1_CONSTANT_BAND_10 and so on of the Level-1 metadata (MTL) that the U.S. Geological Survey ships with every scene.
LANDSAT8_B10 = ThermalBand("Landsat-8 band 10", 774.8853, 1321.0789)
LANDSAT8_B11 = ThermalBand("Landsat-8 band 11", 480.8883, 1201.1442)
LANDSAT9_B10 = ThermalBand("Landsat-9 band 10", 799.0284, 1329.2405)
LANDSAT9_B11 = ThermalBand("Landsat-9 band 11", 475.6581, 1198.3494)


def monochromatic(wavelength: float) -> ThermalBand:
    """A band so narrow that Planck's law holds in it: k1 = c_1 / lambda⁵, k2 = c_2 / lambda.

    Args:
        wavelength: µm.

    Returns:
        The band; `band_radiance` in it is `planck` at the wavelength.

    Raises:
        ValueError: a wavelength outside of 1 to 1000 µm, most likely in another unit.
    """
    if not 1.0 <= wavelength <= 1000.0:
        raise ValueError(f"monochromatic: expected a wavelength of 1 to 1000 um, got {wavelength:g}; convert it to um")
    return ThermalBand(f"{wavelength:g} um", _C1 / wavelength**5, _C2 / wavelength)


def band_radiance(temperature: ArrayLike, band: ThermalBand) -> Array:
    """Radiance of a black body in a band.

    Args:
        temperature: K, `(*batch)`.
        band: of the sensor.

    Returns:
        W m⁻² sr⁻¹ µm⁻¹, `(*batch)`.

    Equation:
        k1 / (exp(k2 / T) - 1).
    """
    t = as_float(temperature)
    return band.k1 / jnp.expm1(band.k2 / t)


def band_temperature(radiance: ArrayLike, band: ThermalBand) -> Array:
    """Brightness temperature in a band: the inverse of `band_radiance`.

    Args:
        radiance: W m⁻² sr⁻¹ µm⁻¹, `(*batch)`; not a number where it is negative.
        band: of the sensor.

    Returns:
        K, `(*batch)`.

    Equation:
        k2 / ln(1 + k1 / L).
    """
    value = as_float(radiance)
    return band.k2 / jnp.log1p(band.k1 / value)
