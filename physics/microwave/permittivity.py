"""Relative permittivity of moist soil, of water and of leaves and stems."""

from __future__ import annotations

import math
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from physics.numerics import safe_power
from physics.parameters import Record, as_float, param

# Loss of a conductivity of 1 S m⁻¹ at 1 GHz: 1 / (2 pi 1e9 epsilon_0).
_CONDUCTION = 1.0 / (2.0 * math.pi * 1e9 * 8.8541878128e-12)
_PARTICLES = 2.65  # density of soil particles, g cm⁻³
_SHAPE = 0.65  # exponent of the mixing law


class Permittivity(Record):
    """Relative permittivity `dielectric_constant - j dielectric_loss`; every field an array `(*batch)`."""

    dielectric_constant: Array = param(
        unit="1", bounds=(1.0, 100.0), symbol="epsilon'", description="real part of the relative permittivity"
    )
    dielectric_loss: Array = param(
        unit="1",
        bounds=(0.0, 100.0),
        symbol="epsilon''",
        description="imaginary part of the relative permittivity, positive where waves are absorbed",
    )


class MoistSoil(Record):
    """A moist mineral soil; every field an array `(*batch)`."""

    wholes: ClassVar[tuple[tuple[str, ...], ...]] = (("clay", "sand"),)

    soil_moisture: Array = param(
        unit="m3 m-3",
        bounds=(0.0, 0.6),
        symbol="m_v",
        description="volume of water per volume of soil",
        standard_name="volume_fraction_of_condensed_water_in_soil",
    )
    clay: Array = param(
        unit="1",
        bounds=(0.0, 1.0),
        symbol="C",
        description="clay in the mass of the dry soil",
        standard_name="mass_fraction_of_clay_in_soil",
    )
    sand: Array = param(
        unit="1",
        bounds=(0.0, 1.0),
        symbol="S",
        description="sand in the mass of the dry soil",
        standard_name="mass_fraction_of_sand_in_soil",
    )
    bulk_density: Array = param(
        unit="g cm-3", bounds=(0.8, 1.9), symbol="rho_b", description="mass of dry soil per volume", default=1.3
    )
    temperature: Array = param(
        unit="degC",
        bounds=(0.0, 45.0),
        symbol="T",
        description="temperature of the soil",
        standard_name="soil_temperature",
        default=20.0,
    )


def mironov09(soil: MoistSoil, *, frequency: ArrayLike) -> Permittivity:
    """Permittivity of moist soil by the mineralogically based spectroscopic model, from moisture and clay.

    Args:
        soil: fields `(*batch)`; sand, density and temperature do not enter.
        frequency: GHz, broadcasting with the fields.

    Returns:
        Permittivity `(*batch)`.

    Equation:
        Refractive index n and attenuation index k of dry soil, bound and free water add up by volume:
        n = n_d + (n_b - 1) min(m_v, m_t) + (n_u - 1) max(m_v - m_t, 0), k alike, with the largest share m_t of bound
        water and Debye spectra of both waters; epsilon = (n - j k)².

    Validity:
        0.045 to 26.5 GHz, 20 to 22 degC, clay 0 to 0.76. The slope with respect to moisture has a step at m_t.

    References:
        Mironov, Kosolapova & Fomin 2009, IEEE Trans. Geosci. Remote Sens. 47, 2059.
    """
    frequency = jnp.asarray(frequency, soil.clay.dtype)
    c = 100.0 * soil.clay
    n_dry = 1.634 - 0.539e-2 * c + 0.2748e-4 * c**2  # eq. 17
    k_dry = 0.03952 - 0.04038e-2 * c  # eq. 18
    most_bound = 0.02863 + 0.30673e-2 * c  # eq. 19
    n_bound, k_bound = _indices(
        *_debye(
            static=79.8 - 85.4e-2 * c + 32.7e-4 * c**2,  # eq. 20
            turns=frequency * 1e9 * 2.0 * math.pi * (1.062e-11 + 3.450e-12 * 1e-2 * c),  # eq. 21
            conductivity=0.3112 + 0.467e-2 * c,  # eq. 22
            frequency=frequency,
        )
    )
    n_free, k_free = _indices(
        *_debye(
            static=jnp.full_like(c, 100.0),  # eq. 24
            turns=frequency * 1e9 * 2.0 * math.pi * 8.5e-12,  # eq. 25
            conductivity=0.3631 + 1.217e-2 * c,  # eq. 23
            frequency=frequency,
        )
    )
    bound = jnp.minimum(soil.soil_moisture, most_bound)
    free = soil.soil_moisture - bound
    n = n_dry + (n_bound - 1.0) * bound + (n_free - 1.0) * free
    k = k_dry + k_bound * bound + k_free * free
    return Permittivity(dielectric_constant=n**2 - k**2, dielectric_loss=2.0 * n * k)


def _debye(*, static: Array, turns: Array, conductivity: Array, frequency: Array) -> tuple[Array, Array]:
    """Constant and loss of water that relaxes, with permittivity 4.9 at high frequencies."""
    share = (static - 4.9) / (1.0 + turns**2)
    return 4.9 + share, turns * share + _CONDUCTION * conductivity / frequency


def _indices(constant: Array, loss: Array) -> tuple[Array, Array]:
    """Refractive and attenuation index: n - j k = sqrt(epsilon), without the difference of equal numbers in k."""
    n = jnp.sqrt(0.5 * (jnp.sqrt(constant**2 + loss**2) + constant))
    return n, 0.5 * loss / n


def water(temperature: ArrayLike, *, frequency: ArrayLike) -> Permittivity:
    """Permittivity of pure water.

    Args:
        temperature: degC, `(*batch)`.
        frequency: GHz, broadcasting with the temperature.

    Returns:
        Permittivity `(*batch)`.

    Equation:
        epsilon = 4.9 + (epsilon_0(T) - 4.9) / (1 + j 2 pi f tau(T)).

    Validity:
        0 to 40 degC, below about 50 GHz.

    References:
        Stogryn 1971, IEEE Trans. Microw. Theory Tech. 19, 733; Ulaby, Moore & Fung 1986, appendix E.
    """
    t = as_float(temperature)
    static = 88.045 - 0.4147 * t + 6.295e-4 * t**2 + 1.075e-5 * t**3
    # 2 pi tau in units of 1e-10 s, times the frequency in units of 1e10 Hz
    turns = (1.1109 - 3.824e-2 * t + 6.938e-4 * t**2 - 5.096e-6 * t**3) * 0.1 * jnp.asarray(frequency, t.dtype)
    share = (static - 4.9) / (1.0 + turns**2)
    return Permittivity(dielectric_constant=4.9 + share, dielectric_loss=turns * share)


def dobson85(soil: MoistSoil, *, frequency: ArrayLike) -> Permittivity:
    """Permittivity of moist soil by the semi-empirical mixing law, from moisture, texture, density and temperature.

    Args:
        soil: fields `(*batch)`.
        frequency: GHz, broadcasting with the fields.

    Returns:
        Permittivity `(*batch)`.

    Equation:
        epsilon'  = [1 + 0.66 rho_b + m_v^b' epsilon_w'^0.65 - m_v]^(1 / 0.65),
        epsilon'' = m_v^b'' epsilon_w'',
        b' = 1.27 - 0.519 S - 0.152 C, b'' = 2.06 - 0.928 S - 0.255 C, with water that conducts by
        sigma = -1.645 + 1.939 rho_b - 2.256 S + 1.594 C in the share of the pores that it fills.

    Validity:
        1.4 to 18 GHz. The conductivity of light sandy soils is negative, and with it, at low frequencies, the loss.

    References:
        Dobson, Ulaby, Hallikainen & El-Rayes 1985, IEEE Trans. Geosci. Remote Sens. 23, 35; Ulaby & Long 2014, eq. 4.66
        to 4.68.
    """
    moisture, clay, sand, density = soil.soil_moisture, soil.clay, soil.sand, soil.bulk_density
    pure = water(soil.temperature, frequency=frequency)
    exponent = 1.27 - 0.519 * sand - 0.152 * clay
    mixed = 1.0 + 0.66 * density + safe_power(moisture, exponent) * pure.dielectric_constant**_SHAPE - moisture
    return Permittivity(
        dielectric_constant=mixed ** (1.0 / _SHAPE),
        dielectric_loss=_wet_loss(
            soil,
            pure.dielectric_loss,
            exponent=2.06 - 0.928 * sand - 0.255 * clay,
            conductivity=-1.645 + 1.939 * density - 2.256 * sand + 1.594 * clay,
            particles=_PARTICLES,
            frequency=frequency,
        ),
    )


def peplinski95(soil: MoistSoil, *, frequency: ArrayLike) -> Permittivity:
    """Permittivity of moist soil by the mixing law with the conductivity of low frequencies.

    Args:
        soil: fields `(*batch)`.
        frequency: GHz, broadcasting with the fields.

    Returns:
        Permittivity `(*batch)`.

    Equation:
        epsilon'  = [1 + rho_b / 2.664 (4.7^0.65 - 1) + m_v^b' epsilon_w'^0.65 - m_v]^(1 / 0.65),
        epsilon'' = m_v^(b'' / 0.65) epsilon_w'',
        b' = 1.2748 - 0.519 S - 0.152 C, b'' = 1.33797 - 0.603 S - 0.166 C, with water that conducts by
        sigma = 0.0467 + 0.2204 rho_b - 0.4111 S + 0.6614 C in the share of the pores that it fills.

    Validity:
        0.3 to 1.3 GHz. The linear correction of epsilon' that the authors give for these frequencies is not applied, as
        in the public codes.

    References:
        Peplinski, Ulaby & Dobson 1995, IEEE Trans. Geosci. Remote Sens. 33, 803.
    """
    moisture, clay, sand, density = soil.soil_moisture, soil.clay, soil.sand, soil.bulk_density
    particles = 2.664
    pure = water(soil.temperature, frequency=frequency)
    wet = safe_power(moisture, 1.2748 - 0.519 * sand - 0.152 * clay) * pure.dielectric_constant**_SHAPE
    mixed = 1.0 + density / particles * (4.7**_SHAPE - 1.0) + wet - moisture
    return Permittivity(
        dielectric_constant=mixed ** (1.0 / _SHAPE),
        dielectric_loss=_wet_loss(
            soil,
            pure.dielectric_loss,
            exponent=(1.33797 - 0.603 * sand - 0.166 * clay) / _SHAPE,
            conductivity=0.0467 + 0.2204 * density - 0.4111 * sand + 0.6614 * clay,
            particles=particles,
            frequency=frequency,
        ),
    )


def _wet_loss(
    soil: MoistSoil, loss: Array, *, exponent: Array, conductivity: Array, particles: float, frequency: ArrayLike
) -> Array:
    """m_v^exponent (loss of water + conduction (rho_s - rho_b) / (rho_s m_v)), finite for dry soil: exponent > 1."""
    conduction = _CONDUCTION * conductivity / jnp.asarray(frequency, loss.dtype)
    pores = (particles - soil.bulk_density) / particles
    moisture = soil.soil_moisture
    return safe_power(moisture, exponent) * loss + safe_power(moisture, exponent - 1.0) * pores * conduction


# fmt: off
# Frequencies (GHz), then a, b, c of (a0 + a1 S + a2 C) + (b0 + b1 S + b2 C) m_v + (c0 + c1 S + c2 C) m_v², S and C in
# per cent: Hallikainen et al. 1985, tables 2 and 3.
_HALLIKAINEN = np.array([1.4, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0])
_HALLIKAINEN_CONSTANT = np.array([
    [[2.862, -0.012, 0.001], [2.927, -0.012, -0.001], [1.993, 0.002, 0.015], [1.997, 0.002, 0.018],
     [2.502, -0.003, -0.003], [2.200, -0.001, 0.012], [2.301, 0.001, 0.009], [2.237, 0.002, 0.009],
     [1.912, 0.007, 0.021]],
    [[3.803, 0.462, -0.341], [5.505, 0.371, 0.062], [38.086, -0.176, -0.633], [25.579, -0.017, -0.412],
     [10.101, 0.221, -0.004], [26.473, 0.013, -0.523], [17.918, 0.084, -0.282], [15.505, 0.076, -0.217],
     [29.123, -0.190, -0.545]],
    [[119.006, -0.500, 0.633], [114.826, -0.389, -0.547], [10.720, 1.256, 1.522], [39.793, 0.723, 0.941],
     [77.482, -0.061, -0.135], [34.333, 0.284, 1.062], [50.149, 0.012, 0.387], [48.260, 0.168, 0.289],
     [6.960, 0.822, 1.195]],
])
_HALLIKAINEN_LOSS = np.array([
    [[0.356, -0.003, -0.008], [0.004, 0.001, 0.002], [-0.123, 0.002, 0.003], [-0.201, 0.003, 0.003],
     [-0.070, 0.000, 0.001], [-0.142, 0.001, 0.003], [-0.096, 0.001, 0.002], [-0.027, -0.001, 0.003],
     [-0.071, 0.000, 0.003]],
    [[5.507, 0.044, -0.002], [0.951, 0.005, -0.010], [7.502, -0.058, -0.116], [11.266, -0.085, -0.155],
     [6.620, 0.015, -0.081], [11.868, -0.059, -0.225], [8.583, -0.005, -0.153], [6.179, 0.074, -0.086],
     [6.938, 0.029, -0.128]],
    [[17.753, -0.313, 0.206], [16.759, 0.192, 0.290], [2.942, 0.452, 0.543], [0.194, 0.584, 0.581],
     [21.578, 0.293, 0.332], [7.817, 0.570, 0.801], [28.707, 0.297, 0.357], [34.126, 0.143, 0.206],
     [29.945, 0.275, 0.377]],
])
# fmt: on


def hallikainen85(soil: MoistSoil, *, frequency: ArrayLike) -> Permittivity:
    """Permittivity of moist soil by the empirical polynomials, from moisture and texture.

    Args:
        soil: fields `(*batch)`; density and temperature do not enter.
        frequency: GHz, broadcasting with the fields.

    Returns:
        Permittivity `(*batch)`.

    Equation:
        (a0 + a1 S + a2 C) + (b0 + b1 S + b2 C) m_v + (c0 + c1 S + c2 C) m_v², for constant and loss each, with
        coefficients tabulated at nine frequencies and interpolated linearly.

    Validity:
        1.4 to 18 GHz, 23 degC; beyond, the coefficients of the nearest frequency. The loss of dry soil may be negative.

    References:
        Hallikainen, Ulaby, Dobson, El-Rayes & Wu 1985, IEEE Trans. Geosci. Remote Sens. 23, 25.
    """
    dtype = soil.clay.dtype
    frequency = jnp.asarray(frequency, dtype)

    # How far the frequency has come from each tabulated one to the next: a sum of shares interpolates.
    share = jnp.clip((frequency[..., None] - _HALLIKAINEN[:-1]) / np.diff(_HALLIKAINEN), 0.0, 1.0).astype(dtype)

    def polynomial(table: np.ndarray) -> Array:
        def coefficient(power: int) -> Array:
            one, sand, clay = (
                float(each[0]) + jnp.sum(share * jnp.asarray(np.diff(each), dtype), -1) for each in table[power].T
            )
            return one + 100.0 * (sand * soil.sand + clay * soil.clay)

        return coefficient(0) + soil.soil_moisture * (coefficient(1) + soil.soil_moisture * coefficient(2))

    return Permittivity(
        dielectric_constant=polynomial(_HALLIKAINEN_CONSTANT), dielectric_loss=polynomial(_HALLIKAINEN_LOSS)
    )


def topp80(soil_moisture: ArrayLike) -> Array:
    """Dielectric constant of moist mineral soil, from moisture alone.

    Args:
        soil_moisture: m³ m⁻³, `(*batch)`.

    Returns:
        Dielectric constant `(*batch)`.

    Equation:
        3.03 + 9.3 m_v + 146 m_v² - 76.7 m_v³.

    Validity:
        20 MHz to 1 GHz, 0 to 0.55 m³ m⁻³.

    References:
        Topp, Davis & Annan 1980, Water Resour. Res. 16, 574.
    """
    w = as_float(soil_moisture)
    return 3.03 + w * (9.3 + w * (146.0 - 76.7 * w))


def topp80_inverse(dielectric_constant: ArrayLike) -> Array:
    """Moisture of a mineral soil from its dielectric constant: the authors' own fit, not the inverse of `topp80`.

    Args:
        dielectric_constant: `(*batch)`.

    Returns:
        Soil moisture, m³ m⁻³, `(*batch)`. It differs from the inverse of `topp80` by up to 0.025 m³ m⁻³.

    Equation:
        -0.053 + 0.0292 e - 5.5e-4 e² + 4.3e-6 e³.

    Validity:
        20 MHz to 1 GHz, dielectric constants of 3 to 40.

    References:
        Topp, Davis & Annan 1980, Water Resour. Res. 16, 574.
    """
    e = as_float(dielectric_constant)
    return -5.3e-2 + e * (2.92e-2 + e * (-5.5e-4 + 4.3e-6 * e))


def elrayes87(gravimetric_moisture: ArrayLike, *, frequency: ArrayLike, conductivity: ArrayLike = 1.27) -> Permittivity:
    """Permittivity of leaves and stems, from their water.

    Args:
        gravimetric_moisture: mass of water per mass of fresh vegetation, `(*batch)`.
        frequency: GHz, broadcasting with the moisture.
        conductivity: of the free water, S m⁻¹; 1.27 is that of the authors' corn leaves.

    Returns:
        Permittivity `(*batch)`.

    Equation:
        epsilon = e_r + v_f [4.9 + 75 / (1 + j f / 18) - j 18 sigma / f] + v_b [2.9 + 55 / (1 + sqrt(j f / 0.18))],
        e_r = 1.7 - 0.74 m + 6.16 m², v_f = m (0.55 m - 0.076), v_b = 4.64 m² / (1 + 7.36 m²).

    Validity:
        0.2 to 20 GHz, 22 degC, m up to 0.7. Below m = 0.138, where v_f would be negative, there is no free water.

    References:
        Ulaby & El-Rayes 1987, IEEE Trans. Geosci. Remote Sens. 25, 550.
    """
    m = as_float(gravimetric_moisture)
    f = jnp.asarray(frequency, m.dtype)
    free = jnp.maximum(m * (0.55 * m - 0.076), 0.0)
    bound = 4.64 * m**2 / (1.0 + 7.36 * m**2)
    relaxed = 75.0 / (1.0 + (f / 18.0) ** 2)
    # sqrt(j x) = (1 + j) sqrt(x / 2)
    a = jnp.sqrt(f / 0.36)
    spread = 55.0 / ((1.0 + a) ** 2 + a**2)
    return Permittivity(
        dielectric_constant=1.7 - 0.74 * m + 6.16 * m**2 + free * (4.9 + relaxed) + bound * (2.9 + spread * (1.0 + a)),
        dielectric_loss=free * (relaxed * f / 18.0 + 18.0 * jnp.asarray(conductivity, m.dtype) / f)
        + bound * spread * a,
    )
