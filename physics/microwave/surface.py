"""Backscatter of bare soil by closed forms: fits to measurements over rough surfaces.

Each states the ranges its authors fitted. `ranges` collects them, and `within_ranges` says where an input keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.microwave.fresnel import fresnel, nadir_reflectivity
from physics.microwave.geometry import Backscatter, RadarView, Roughness, wave_number, wavelength
from physics.microwave.permittivity import Permittivity
from physics.numerics import one_minus_exp_over, safe_power, safe_sqrt


def oh92(permittivity: Permittivity, roughness: Roughness, view: RadarView, *, frequency: ArrayLike) -> Backscatter:
    """Backscatter of bare soil from permittivity and roughness.

    Args:
        permittivity: of the soil, fields `(*batch)`.
        roughness: fields `(*batch)`; the correlation length does not enter.
        view: direction of the radar, `(*batch)`.
        frequency: GHz, broadcasting with the fields.

    Returns:
        vv, hh and vh `(*batch)`.

    Equation:
        vv = 0.7 (1 - exp(-0.65 ks^1.8)) cos³(theta) (G_v + G_h) / sqrt(p), hh = p vv, vh = q vv,
        sqrt(p) = 1 - (2 theta / pi)^(1 / (3 G_0)) exp(-ks), q = 0.23 sqrt(G_0) (1 - exp(-ks)), with reflectivities G.

    Validity:
        0.1 < ks < 6, 2.5 < kL < 20, soil moisture 0.09 to 0.31 m³ m⁻³, 10 to 70°.

    References:
        Oh, Sarabandi & Ulaby 1992, IEEE Trans. Geosci. Remote Sens. 30, 370.
    """
    ks = wave_number(frequency) * roughness.rms_height
    reflected = fresnel(permittivity, view)
    nadir = nadir_reflectivity(permittivity)
    # Without contrast the exponent is infinite and the power zero.
    contrast = nadir > 1e-6
    exponent = 1.0 / (3.0 * jnp.where(contrast, nadir, 1.0))
    steep = jnp.where(contrast, safe_power(2.0 / math.pi * view.incidence, exponent), 0.0)
    root_p = 1.0 - steep * jnp.exp(-ks)
    q = 0.23 * safe_sqrt(nadir) * -jnp.expm1(-ks)
    g = -0.7 * jnp.expm1(-0.65 * safe_power(ks, 1.8))
    vv = g * jnp.cos(view.incidence) ** 3 * (reflected.vertical + reflected.horizontal) / root_p
    return Backscatter(vv=vv, hh=root_p**2 * vv, vh=q * vv)


def oh04(soil_moisture: ArrayLike, roughness: Roughness, view: RadarView, *, frequency: ArrayLike) -> Backscatter:
    """Backscatter of bare soil from moisture and roughness.

    Args:
        soil_moisture: m³ m⁻³, `(*batch)`.
        roughness: fields `(*batch)`; the correlation length does not enter.
        view: direction of the radar, `(*batch)`.
        frequency: GHz, broadcasting with the fields.

    Returns:
        vv, hh and vh `(*batch)`.

    Equation:
        vh = 0.11 m_v^0.7 cos^2.2(theta) (1 - exp(-0.32 ks^1.8)), vv = vh / q, hh = p vv,
        p = 1 - (2 theta / pi)^(0.35 m_v^-0.65) exp(-0.4 ks^1.4),
        q = 0.095 (0.13 + sin(1.5 theta))^1.4 (1 - exp(-1.3 ks^0.9)).

    Validity:
        0.13 < ks < 6.98, soil moisture 0.04 to 0.291 m³ m⁻³, 10 to 70°.

    References:
        Oh 2004, IEEE Trans. Geosci. Remote Sens. 42, 596.
    """
    theta = view.incidence
    moisture = jnp.asarray(soil_moisture, theta.dtype)
    ks = wave_number(frequency) * roughness.rms_height
    wet = moisture > 0.0
    exponent = 0.35 * jnp.where(wet, moisture, 1.0) ** -0.65
    steep = jnp.where(wet, safe_power(2.0 / math.pi * theta, exponent), 0.0)
    p = 1.0 - steep * jnp.exp(-0.4 * safe_power(ks, 1.4))
    # vh and q both vanish with y = ks^0.9: each is y times what stays finite, and only the quotient enters vv.
    y = safe_power(ks, 0.9)
    cross = 0.11 * safe_power(moisture, 0.7) * jnp.cos(theta) ** 2.2 * 0.32 * one_minus_exp_over(0.32 * y**2) * y
    q = 0.095 * (0.13 + jnp.sin(1.5 * theta)) ** 1.4 * 1.3 * one_minus_exp_over(1.3 * y)
    vv = cross / q
    return Backscatter(vv=vv, hh=p * vv, vh=cross * y)


def dubois95(permittivity: Permittivity, roughness: Roughness, view: RadarView, *, frequency: ArrayLike) -> Backscatter:
    """Backscatter of bare soil from the dielectric constant and roughness, without cross-polarisation.

    Args:
        permittivity: of the soil, fields `(*batch)`; the loss does not enter.
        roughness: fields `(*batch)`; the correlation length does not enter.
        view: direction of the radar, `(*batch)`.
        frequency: GHz, broadcasting with the fields.

    Returns:
        vv and hh `(*batch)`, infinite at nadir.

    Equation:
        hh = 10^-2.75 cos^1.5 / sin^5 10^(0.028 e' tan) (ks sin)^1.4 lambda^0.7,
        vv = 10^-2.35 cos^3 / sin^3 10^(0.046 e' tan) (ks sin)^1.1 lambda^0.7, of the incidence, lambda in cm.

    Validity:
        ks < 2.5, soil moisture below 0.35 m³ m⁻³, above 30°, 1.5 to 11 GHz.

    References:
        Dubois, van Zyl & Engman 1995, IEEE Trans. Geosci. Remote Sens. 33, 915, in the corrected form of Ulaby & Long
        2014, eq. 10.41.
    """
    cosine, sine = jnp.cos(view.incidence), jnp.sin(view.incidence)
    wet = permittivity.dielectric_constant * sine / cosine
    rough = wave_number(frequency) * roughness.rms_height * sine
    scale = wavelength(frequency) ** 0.7
    hh = 10.0 ** (-2.75 + 0.028 * wet) * cosine**1.5 / sine**5 * safe_power(rough, 1.4) * scale
    vv = 10.0 ** (-2.35 + 0.046 * wet) * (cosine / sine) ** 3 * safe_power(rough, 1.1) * scale
    return Backscatter(vv=vv, hh=hh)


def baghdadi16(soil_moisture: ArrayLike, roughness: Roughness, view: RadarView, *, frequency: ArrayLike) -> Backscatter:
    """Backscatter of bare soil from moisture and roughness.

    Args:
        soil_moisture: m³ m⁻³, `(*batch)`.
        roughness: fields `(*batch)`; the correlation length does not enter.
        view: direction of the radar, `(*batch)`.
        frequency: GHz, broadcasting with the fields.

    Returns:
        vv, hh and vh `(*batch)`, infinite at nadir for moist soil.

    Equation:
        hh = 10^-1.287 cos^1.227 10^(0.009 cot m) ks^(0.86 sin),
        vv = 10^-1.138 cos^1.528 10^(0.008 cot m) ks^(0.71 sin),
        vh = 10^-2.325 cos^-0.01 10^(0.011 cot m) ks^(0.44 sin), of the incidence, with the moisture m in per cent.

    Validity:
        Fitted at L, C and X band over soils of up to 0.4 m³ m⁻³, 20 to 50°. Public codes disagree about the sign of
        the exponent -0.01 (0.02 dB at 40°).

    References:
        Baghdadi, Choker, Zribi, El Hajj, Paloscia, Verhoest, Lievens, Baup & Mattia 2016, Remote Sens. 8, 920.
    """
    cosine, sine = jnp.cos(view.incidence), jnp.sin(view.incidence)
    wet = 100.0 * jnp.asarray(soil_moisture, cosine.dtype) * cosine / sine
    ks = wave_number(frequency) * roughness.rms_height
    return Backscatter(
        vv=10.0 ** (-1.138 + 0.008 * wet) * cosine**1.528 * safe_power(ks, 0.71 * sine),
        hh=10.0 ** (-1.287 + 0.009 * wet) * cosine**1.227 * safe_power(ks, 0.86 * sine),
        vh=10.0 ** (-2.325 + 0.011 * wet) * cosine**-0.01 * safe_power(ks, 0.44 * sine),
    )


_DEGREE = math.pi / 180.0
# What each model was fitted on: closed intervals of ks and kL (1), soil moisture (m³ m⁻³), incidence (radian) and
# frequency (GHz).
_RANGES: Mapping[Callable[..., Any], Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        oh92: {
            "ks": (0.1, 6.0),
            "kl": (2.5, 20.0),
            "soil_moisture": (0.09, 0.31),
            "incidence": (10.0 * _DEGREE, 70.0 * _DEGREE),
        },
        oh04: {
            "ks": (0.13, 6.98),
            "soil_moisture": (0.04, 0.291),
            "incidence": (10.0 * _DEGREE, 70.0 * _DEGREE),
        },
        dubois95: {
            "ks": (0.0, 2.5),
            "soil_moisture": (0.0, 0.35),
            "incidence": (30.0 * _DEGREE, 90.0 * _DEGREE),
            "frequency": (1.5, 11.0),
        },
        baghdadi16: {"soil_moisture": (0.0, 0.4), "incidence": (20.0 * _DEGREE, 50.0 * _DEGREE)},
    }
)


def ranges(model: Callable[..., Any]) -> Mapping[str, tuple[float, float]]:
    """Closed intervals that a surface model was fitted on, by name: `ks`, `kl`, `soil_moisture`, `incidence`, ...

    Raises:
        ValueError: for a function that is no closed-form surface model.
    """
    found = _RANGES.get(model)
    if found is None:
        names = ", ".join(sorted(known.__name__ for known in _RANGES))
        raise ValueError(f"ranges: expected one of {names}, got {getattr(model, '__name__', model)!r}")
    return MappingProxyType(dict(found))


def within_ranges(
    model: Callable[..., Any],
    roughness: Roughness,
    view: RadarView,
    *,
    frequency: ArrayLike,
    soil_moisture: ArrayLike | None = None,
) -> Array:
    """Where inputs lie within the ranges that a surface model was fitted on. Works under `jit`.

    Args:
        model: `oh92`, `oh04`, `dubois95` or `baghdadi16`.
        roughness: fields `(*batch)`.
        view: direction of the radar, `(*batch)`.
        frequency: GHz.
        soil_moisture: m³ m⁻³, `(*batch)`; None leaves its range out.

    Returns:
        Boolean mask `(*batch)`.
    """
    k = wave_number(frequency)
    values = {
        "ks": k * roughness.rms_height,
        "kl": k * roughness.correlation_length,
        "incidence": view.incidence,
        "frequency": jnp.asarray(frequency),
    }
    if soil_moisture is not None:
        values["soil_moisture"] = jnp.asarray(soil_moisture)
    inside = jnp.asarray(True)
    for name, (low, high) in ranges(model).items():
        if name in values:
            slack = 1e-6 * high
            inside = inside & (values[name] >= low - slack) & (values[name] <= high + slack)
    return inside
