"""Soil moisture from changes of backscatter over time, where vegetation and roughness hardly change."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.microwave.fresnel import as_complex
from physics.microwave.geometry import RadarView
from physics.microwave.permittivity import Permittivity
from physics.parameters import as_float


def relative_moisture(decibels: ArrayLike, dry: ArrayLike, wet: ArrayLike) -> Array:
    """Place of a measurement between the driest and the wettest state of a pixel (change detection of TU Wien).

    Args:
        decibels: backscatter at a reference incidence, dB, `(*batch)`.
        dry: of the driest state, dB, `(*batch)`.
        wet: of the wettest state, dB, `(*batch)`.

    Returns:
        0 to 1 between the two states, `(*batch)`; beyond, where a measurement lies beyond.

    Equation:
        (sigma - sigma_dry) / (sigma_wet - sigma_dry).

    References:
        Wagner, Lemoine & Rott 1999, Remote Sens. Environ. 70, 191.
    """
    value = as_float(decibels)
    low, high = jnp.asarray(dry, value.dtype), jnp.asarray(wet, value.dtype)
    return (value - low) / (high - low)


def gao17(
    change: ArrayLike,
    ndvi: ArrayLike,
    *,
    slope: ArrayLike,
    bare: ArrayLike,
    driest: ArrayLike,
    wettest: ArrayLike,
) -> Array:
    """Soil moisture from the change of backscatter since the driest date and from NDVI.

    Args:
        change: backscatter minus the smallest of the pixel's series, dB, `(*batch)`.
        ndvi: `(*batch)`.
        slope: of the largest change with NDVI, dB, below zero; fitted by `largest_change`.
        bare: largest change of bare soil, dB.
        driest: soil moisture where the change is zero, m³ m⁻³.
        wettest: soil moisture where the change is largest, m³ m⁻³.

    Returns:
        Soil moisture, m³ m⁻³, `(*batch)`.

    Equation:
        m_v = change / (slope NDVI + bare) (wettest - driest) + driest.

    Validity:
        NDVI at which the largest change is well above zero: 0.1 to 0.7 for VV at C band.

    References:
        Gao, Zribi, Escorihuela & Baghdadi 2017, Sensors 17, 1966.
    """
    seen = as_float(change)
    dtype = seen.dtype
    largest = jnp.asarray(slope, dtype) * jnp.asarray(ndvi, dtype) + jnp.asarray(bare, dtype)
    low, high = jnp.asarray(driest, dtype), jnp.asarray(wettest, dtype)
    return seen / largest * (high - low) + low


def largest_change(change: Array, ndvi: Array, *, bins: int = 10) -> tuple[Array, Array]:
    """Line through the largest changes of backscatter in classes of NDVI, for `gao17`.

    Args:
        change: of all pixels and dates, dB, `(sample,)`. Average speckle first: it is a maximum.
        ndvi: `(sample,)`.
        bins: classes of equal width between the extremes of NDVI; those without samples do not count.

    Returns:
        Slope (dB) and value at NDVI 0 (dB) of the line of least squares through the middles of the classes.

    References:
        Gao, Zribi, Escorihuela & Baghdadi 2017, Sensors 17, 1966.
    """
    low, high = ndvi.min(), ndvi.max()
    index = jnp.clip(jnp.floor((ndvi - low) / (high - low) * bins).astype(int), 0, bins - 1)
    largest = jax.ops.segment_max(change, index, bins)
    used = jax.ops.segment_sum(jnp.ones_like(change), index, bins) > 0
    weight = used / used.sum()
    largest = jnp.where(used, largest, 0.0)
    middle = low + (high - low) * (jnp.arange(bins) + 0.5) / bins
    away = middle - weight @ middle
    slope = weight @ (away * largest) / (weight @ away**2)
    return slope, weight @ largest - slope * (weight @ middle)


def alpha_vertical(permittivity: Permittivity, view: RadarView) -> Array:
    """Amplitude |alpha_vv| of slightly rough soil, which its backscatter is proportional to the square of.

    Args:
        permittivity: of the soil, fields `(*batch)`.
        view: direction of the radar, `(*batch)`.

    Returns:
        Amplitude `(*batch)`.

    Equation:
        |(e - 1) (s² - e (1 + s²)) / (e c + sqrt(e - s²))²|, with c and s the cosine and the sine of the incidence.

    References:
        Balenzano, Mattia, Satalino & Davidson 2011, IEEE J. Sel. Top. Appl. Earth Obs. 4, 439.
    """
    e, c, s2 = as_complex(permittivity), jnp.cos(view.incidence), jnp.sin(view.incidence) ** 2
    below = jnp.sqrt(e - s2)
    return jnp.abs((e - 1.0) * (s2 - e * (1.0 + s2)) / (e * c + below) ** 2)


def alpha_horizontal(permittivity: Permittivity, view: RadarView) -> Array:
    """Amplitude |alpha_hh|: as `alpha_vertical`, |(e - 1) / (c + sqrt(e - s²))²|."""
    e, c, s2 = as_complex(permittivity), jnp.cos(view.incidence), jnp.sin(view.incidence) ** 2
    return jnp.abs((e - 1.0) / (c + jnp.sqrt(e - s2)) ** 2)


class MoistureSeries(NamedTuple):
    """Soil moisture, m³ m⁻³, `(*batch, date)` each.

    Attributes:
        best: in the middle of what the series allows, on the logarithmic scale of the amplitude.
        low: smallest that the series allows.
        high: largest that the series allows.
    """

    best: Array
    low: Array
    high: Array


def alpha_approximation(
    backscatter: Array,
    view: RadarView,
    *,
    permittivity: Callable[[Array], Permittivity],
    driest: float,
    wettest: float,
    amplitude: Callable[[Permittivity, RadarView], Array] = alpha_vertical,
) -> MoistureSeries:
    """Soil moisture of a series whose vegetation and roughness stay the same, from ratios of its backscatter.

    Ratios of N dates are N - 1 equations for N amplitudes and leave a common factor free. It has to keep all dates
    between the driest and the wettest soil: that is the range of `low` to `high`, the narrower the more the moisture
    changed. Published solutions by bounded least squares are one of its points, which depends on where they start.
    Where noise or growth leaves no such factor, `best` violates the range least and `low` lies above `high`.

    Args:
        backscatter: co-polarised, linear, above zero, `(*batch, date)`, with speckle averaged.
        view: direction of the radar, the same for all dates, `(*batch)`.
        permittivity: of soil, from soil moisture `(*batch, date)`: a partial dielectric model.
        driest: smallest soil moisture of the series, m³ m⁻³.
        wettest: largest soil moisture of the series, m³ m⁻³.
        amplitude: `alpha_vertical` for vv, `alpha_horizontal` for hh.

    Returns:
        Soil moisture `(*batch, date)`, within `driest` and `wettest`, with slopes by the implicit function.

    Equation:
        sigma(t) / sigma(t') = |alpha(e(t))|² / |alpha(e(t'))|².

    Validity:
        Bare soil, or crops that attenuate more than they scatter (cereals at C band), over a few weeks.

    References:
        Balenzano, Mattia, Satalino & Davidson 2011, IEEE J. Sel. Top. Appl. Earth Obs. 4, 439.
    """
    seen = RadarView(incidence=view.incidence[..., None])

    def log_amplitude(moisture: Array) -> Array:
        return jnp.log(amplitude(permittivity(moisture), seen))

    relative = 0.5 * jnp.log(backscatter)
    low_end, high_end = (log_amplitude(jnp.full_like(relative, end)) for end in (driest, wettest))
    low = jnp.max(low_end - relative, -1, keepdims=True)
    high = jnp.min(high_end - relative, -1, keepdims=True)

    def moisture(factor: Array) -> Array:
        wanted = jnp.clip(relative + factor, low_end, high_end)

        def halve(ends: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            below, above = ends
            middle = 0.5 * (below + above)
            more = log_amplitude(middle) < wanted
            return (jnp.where(more, middle, below), jnp.where(more, above, middle)), None

        start = (jnp.full_like(relative, driest), jnp.full_like(relative, wettest))
        (below, above), _ = jax.lax.scan(halve, jax.lax.stop_gradient(start), None, length=40)
        found = jax.lax.stop_gradient(0.5 * (below + above))
        # One step of Newton's method, whose slope is that of the implicit function.
        value, slope = jax.jvp(log_amplitude, (found,), (jnp.ones_like(found),))
        return found + (wanted - value) / jax.lax.stop_gradient(slope)

    return MoistureSeries(moisture(0.5 * (low + high)), moisture(low), moisture(high))
