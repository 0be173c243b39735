"""Water of a crop: reference evapotranspiration and the daily balance of the root zone (FAO-56)."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.parameters import Record, as_float, param

_SOLAR_CONSTANT = 0.0820  # MJ m⁻² min⁻¹
_STEFAN_BOLTZMANN = 4.903e-9  # MJ K⁻⁴ m⁻² day⁻¹
_ALBEDO = 0.23  # of the reference crop, grass of 0.12 m


class DailyClimate(Record):
    """Weather of a day as FAO-56 needs it; every field an array `(*batch)`."""

    maximum_temperature: Array = param(
        unit="degC", bounds=(-40.0, 55.0), symbol="Tmax", description="highest air temperature"
    )
    minimum_temperature: Array = param(
        unit="degC", bounds=(-50.0, 45.0), symbol="Tmin", description="lowest air temperature"
    )
    maximum_humidity: Array = param(
        unit="percent", bounds=(0.0, 100.0), symbol="RHmax", description="highest relative humidity"
    )
    minimum_humidity: Array = param(
        unit="percent", bounds=(0.0, 100.0), symbol="RHmin", description="lowest relative humidity"
    )
    radiation: Array = param(unit="MJ m-2 day-1", bounds=(0.0, 45.0), symbol="Rs", description="global radiation")
    wind: Array = param(unit="m s-1", bounds=(0.0, 20.0), symbol="u2", description="wind at 2 m")


class Site(Record):
    """Where a day is; every field an array `(*batch)`."""

    latitude: Array = param(
        unit="radian", bounds=(-0.5 * math.pi, 0.5 * math.pi), symbol="phi", description="latitude, north above zero"
    )
    elevation: Array = param(
        unit="m", bounds=(-430.0, 6000.0), symbol="z", description="height above the sea", standard_name="altitude"
    )
    day_of_year: Array = param(unit="day", bounds=(1.0, 366.0), symbol="J", description="day of the year")

    @classmethod
    def from_degrees(cls, latitude: ArrayLike, elevation: ArrayLike, day_of_year: ArrayLike) -> Site:
        """The same from a latitude in degrees, the only place where degrees enter."""
        north = jnp.radians(as_float(latitude))
        return cls(latitude=north, elevation=elevation, day_of_year=day_of_year)  # type: ignore[arg-type]


def saturation_pressure(temperature: ArrayLike) -> Array:
    """Vapour pressure of saturated air, kPa, at a temperature in °C: 0.6108 exp(17.27 T / (T + 237.3))."""
    t = as_float(temperature)
    return 0.6108 * jnp.exp(17.27 * t / (t + 237.3))


def extraterrestrial_radiation(site: Site) -> Array:
    """Radiation of a day above the air.

    Args:
        site: fields `(*batch)`.

    Returns:
        MJ m⁻² day⁻¹, `(*batch)`; zero in the polar night.

    Equation:
        24 60 / pi G d_r [w sin(phi) sin(delta) + cos(phi) cos(delta) sin(w)], w the angle of sunset.

    References:
        Allen, Pereira, Raes & Smith 1998, FAO Irrigation and drainage paper 56, eq. 21 to 25.
    """
    year = 2.0 * math.pi / 365.0 * site.day_of_year
    distance = 1.0 + 0.033 * jnp.cos(year)
    declination = 0.409 * jnp.sin(year - 1.39)
    # Cosine of the angle of sunset: beyond one the sun does not rise, below minus one it does not set.
    cosine = -jnp.tan(site.latitude) * jnp.tan(declination)
    sets = jnp.abs(cosine) < 1.0
    sunset = jnp.where(sets, jnp.arccos(jnp.where(sets, cosine, 0.0)), jnp.where(cosine < 0, math.pi, 0.0))
    level = jnp.cos(site.latitude) * jnp.cos(declination) * jnp.sin(sunset)
    upright = sunset * jnp.sin(site.latitude) * jnp.sin(declination)
    return 24.0 * 60.0 / math.pi * _SOLAR_CONSTANT * distance * (upright + level)


def reference_evapotranspiration(climate: DailyClimate, site: Site) -> Array:
    """Evapotranspiration of the reference crop, well-watered grass (FAO Penman-Monteith).

    Args:
        climate: fields `(*batch)`.
        site: fields `(*batch)`.

    Returns:
        mm day⁻¹, `(*batch)`.

    Equation:
        [0.408 Delta R_n + gamma 900 / (T + 273) u_2 (e_s - e_a)] / [Delta + gamma (1 + 0.34 u_2)], without heat flux
        into the soil.

    Validity:
        Whole days; clear-sky radiation above zero. The share of it that arrives counts as 0.3 to 1 for the long waves.

    References:
        Allen, Pereira, Raes & Smith 1998, FAO Irrigation and drainage paper 56, eq. 6; Allen, Walter, Elliott, Howell,
        Itenfisu & Jensen 2005, ASCE standardized reference evapotranspiration equation (limits of the share).
    """
    high, low = climate.maximum_temperature, climate.minimum_temperature
    mean = 0.5 * (high + low)
    pressure = 101.3 * ((293.0 - 0.0065 * site.elevation) / 293.0) ** 5.26  # eq. 7
    psychrometric = 0.665e-3 * pressure  # eq. 8
    saturated = 0.5 * (saturation_pressure(high) + saturation_pressure(low))  # eq. 12
    actual = 0.005 * (
        saturation_pressure(low) * climate.maximum_humidity + saturation_pressure(high) * climate.minimum_humidity
    )  # eq. 17
    slope = 4098.0 * saturation_pressure(mean) / (mean + 237.3) ** 2  # eq. 13
    clear = (0.75 + 2e-5 * site.elevation) * extraterrestrial_radiation(site)  # eq. 37
    share = jnp.clip(climate.radiation / clear, 0.3, 1.0)
    kelvin = 0.5 * ((high + 273.16) ** 4 + (low + 273.16) ** 4)
    longwave = _STEFAN_BOLTZMANN * kelvin * (0.34 - 0.14 * jnp.sqrt(actual)) * (1.35 * share - 0.35)  # eq. 39
    net = (1.0 - _ALBEDO) * climate.radiation - longwave  # eq. 40
    aerodynamic = psychrometric * 900.0 / (mean + 273.0) * climate.wind * (saturated - actual)
    return (0.408 * slope * net + aerodynamic) / (slope + psychrometric * (1.0 + 0.34 * climate.wind))
