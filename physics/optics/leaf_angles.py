"""Leaf angle distributions and what they do to a beam: extinction and scattering per leaf area.

References:
    Verhoef 1984, Remote Sens. Environ. 16, 125 (SAIL: extinction and scattering of inclined leaves).
    Campbell 1990, Agric. For. Meteorol. 49, 173 (ellipsoidal distribution).
    Verhoef 1998, PhD thesis, Wageningen (two-parameter distribution, here "bimodal").
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physics.numerics import root, stored, stored_spectra

CLASSES = 18
_EDGES = np.radians(np.linspace(0.0, 90.0, CLASSES + 1))
_CENTRES = 0.5 * (_EDGES[1:] + _EDGES[:-1])


def ellipsoidal(mean_leaf_angle: Array) -> Array:
    """Share of leaf area in 18 inclination classes of 5°, ellipsoidal distribution.

    Args:
        mean_leaf_angle: mean leaf inclination, degrees, `(*batch)`.

    Returns:
        Shares that sum to one, `(*batch, 18)`.

    Equation:
        Leaves are oriented like the surface of an ellipsoid with ratio of axes chi (Campbell 1990). With
        x = chi cos(theta) / sqrt(cos²(theta) + chi² sin²(theta)) the share of a class is the integral over x of
        sqrt(1 + x² (chi² - 1) / chi²). Its closed form has separate branches above, below and at the sphere (mean angle
        58.4°), which is singular in each; a four-point Gauss rule in every class has neither branch nor singularity
        (error below 1e-8).
    """
    angle = mean_leaf_angle
    # ratio of axes as fitted by Campbell, the fit that the SAIL codes use
    log_chi = ((-1.6184e-5 * angle + 2.1145e-3) * angle - 1.2390e-1) * angle + 3.2491
    chi = jnp.exp(log_chi)
    # Classes lead and the batch comes last here and in `beam_coefficients`: 18 does not fill the vector registers.
    cosine, sine = _cosine_and_sine("edges", angle.ndim, angle.dtype)
    x = chi * cosine * root(cosine**2 + (chi * sine) ** 2)[1]
    centre, half = 0.5 * (x[1:] + x[:-1]), 0.5 * (x[:-1] - x[1:])
    flattening = -jnp.expm1(-2.0 * log_chi)  # 1 - 1 / chi²
    density = jnp.zeros_like(centre)
    for node, weight in zip(*(part.tolist() for part in np.polynomial.legendre.leggauss(4)), strict=True):
        point = centre + half * node
        density = density + weight * root(1.0 + point * point * flattening)[0]
    share = half * density
    return jnp.moveaxis(share / share.sum(axis=0), 0, -1)


@functools.cache
def _cosine_and_sine(which: Literal["edges", "centres"], ndim: int, dtype: np.dtype) -> tuple[Any, Any]:
    """Cosine and sine of leaf angles, with an axis for each one of the batch: `(n, 1, ...)`.

    The very same arrays every time: the compiler merges equal computations only if their constants are one object.
    """
    angles = {"edges": _EDGES, "centres": _CENTRES}[which].reshape(-1, *(1,) * ndim)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def bimodal(leaf_angle_a: Array, leaf_angle_b: Array) -> Array:
    """Share of leaf area in 18 inclination classes of 5°, Verhoef's two-parameter distribution.

    Args:
        leaf_angle_a: mean inclination, 1 = planophile, -1 = erectophile; `(*batch)`.
        leaf_angle_b: bimodality; |a| + |b| <= 1; `(*batch)`.

    Returns:
        Shares that sum to one, `(*batch, 18)`.

    Equation:
        Cumulative share F(theta) = 2/pi (x - theta), where x solves x - a sin(x) - b/2 sin(2 x) = 2 theta (Verhoef
        1998). The root is found by bisection and polished by one Newton step, which also carries the right slope.
    """
    a, b = jnp.broadcast_arrays(leaf_angle_a[..., None], leaf_angle_b[..., None])
    inner = jnp.asarray(_EDGES[1:-1], a.dtype)

    def excess(x: Array) -> Array:
        return x - 2.0 * inner - a * jnp.sin(x) - 0.5 * b * jnp.sin(2.0 * x)

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        above = excess(middle) > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    zero = jnp.zeros(jnp.broadcast_shapes(a.shape, inner.shape), a.dtype)
    steps = 50 if a.dtype == jnp.float64 else 26
    low, high = jax.lax.fori_loop(0, steps, halve, (zero, zero + np.pi))
    x = jax.lax.stop_gradient(0.5 * (low + high))
    slope = jax.lax.stop_gradient(1.0 - a * jnp.cos(x) - b * jnp.cos(2.0 * x))
    # |a| + |b| = 1 makes the slope vanish at one angle, where the root moves infinitely fast
    x = x - excess(x) / jnp.maximum(slope, 1e-3)
    cumulated = (2.0 / np.pi) * (x - inner)
    ends = jnp.zeros((*cumulated.shape[:-1], 1), cumulated.dtype)
    cumulated = jnp.concatenate([ends, cumulated, ends + 1.0], axis=-1)
    return cumulated[..., 1:] - cumulated[..., :-1]


class BeamCoefficients(NamedTuple):
    """Extinction and scattering of sun and view beams by one unit of leaf area, each `(*batch)`.

    Attributes:
        sun_extinction: k_s, of the direct sun beam.
        view_extinction: k_o, in the direction of the sensor.
        inclination: mean squared cosine of leaf inclination (b_f).
        bidirectional_back: weight of leaf reflectance in sun-to-sensor scattering.
        bidirectional_forward: weight of leaf transmittance in sun-to-sensor scattering.
    """

    sun_extinction: Array
    view_extinction: Array
    inclination: Array
    bidirectional_back: Array
    bidirectional_forward: Array


def beam_coefficients(share: Array, sun_zenith: Array, view_zenith: Array, azimuth: Array) -> BeamCoefficients:
    """Averages extinction and scattering over leaf inclination and (uniform) leaf azimuth.

    Args:
        share: share of leaf area per class, `(*batch, 18)`.
        sun_zenith, view_zenith: radians, `(*batch)`.
        azimuth: folded relative azimuth, 0 to pi, `(*batch)`.

    Returns:
        Coefficients `(*batch)`.

    Equation:
        A leaf with normal at inclination l and azimuth phi meets sun and view with the cosines
        f_s = cos(l) cos(s) + sin(l) sin(s) cos(phi) and f_o = cos(l) cos(o) + sin(l) sin(o) cos(phi - psi).
        Extinction is the mean of |f|; the bidirectional weights are the integrals over phi of the positive part of
        f_s f_o (both beams on one side: reflectance) and of the negative part (transmittance). The negative set is the
        symmetric difference of the arcs where f_s < 0 and f_o < 0, and the integral over an arc is elementary.
        The integrands vanish at the ends of the arcs, so the ends carry no first derivative and are taken as constants.
    """
    share = jnp.moveaxis(share, -1, 0)
    ndim = max(share.ndim - 1, jnp.ndim(sun_zenith), jnp.ndim(view_zenith), jnp.ndim(azimuth))
    share = share.reshape(CLASSES, *(1,) * (ndim + 1 - share.ndim), *share.shape[1:])
    cos_leaf, sin_leaf = _cosine_and_sine("centres", ndim, share.dtype)
    cos_sun, sin_sun = jnp.cos(sun_zenith), jnp.sin(sun_zenith)
    cos_view, sin_view = jnp.cos(view_zenith), jnp.sin(view_zenith)
    psi = azimuth
    cos_psi, sin_psi = jnp.cos(psi), jnp.sin(psi)
    # Kept apart, or XLA computes these anew for each of the classes.
    cos_sun, sin_sun, cos_view, sin_view, cos_psi, sin_psi = stored(
        cos_sun, sin_sun, cos_view, sin_view, cos_psi, sin_psi
    )

    # f = c + d cos(phi), negative for |phi| > edge, where cos(edge) = -c / d
    c_sun, d_sun = cos_leaf * cos_sun, sin_leaf * sin_sun
    c_view, d_view = cos_leaf * cos_view, sin_leaf * sin_view
    edge_sun, cos_edge_sun, sin_edge_sun = _edge(c_sun, d_sun)
    edge_view, cos_edge_view, sin_edge_view = _edge(c_view, d_view)

    # mean of |f| = (2/pi) ((edge - pi/2) c + sin(edge) d)
    mean_sun = (2.0 / np.pi) * ((edge_sun - 0.5 * np.pi) * c_sun + sin_edge_sun * d_sun)
    mean_view = (2.0 / np.pi) * ((edge_view - 0.5 * np.pi) * c_view + sin_edge_view * d_view)

    # f_s f_o = constant + ..., with antiderivative
    # constant phi + d_s c_o sin(phi) + c_s d_o sin(phi - psi) + d_s d_o sin(2 phi - psi) / 4
    constant = c_sun * c_view + 0.5 * d_sun * d_view * cos_psi
    both = d_sun * d_view
    arc_sun = 2.0 * (
        constant * (np.pi - edge_sun)
        - sin_edge_sun * (d_sun * c_view + (c_sun * d_view + 0.5 * both * cos_edge_sun) * cos_psi)
    )
    arc_view = 2.0 * (
        constant * (np.pi - edge_view)
        - sin_edge_view * (d_view * c_sun + (c_view * d_sun + 0.5 * both * cos_edge_view) * cos_psi)
    )
    # the common arc runs from psi + edge_view to 2 pi - edge_sun, unless one arc contains the other or they are apart
    sin_view_end = sin_psi * cos_edge_view + cos_psi * sin_edge_view  # sin(psi + edge_view)
    sin_sun_end = sin_edge_sun * cos_psi + cos_edge_sun * sin_psi  # sin(edge_sun + psi)
    sin_2sun_end = sin_edge_sun * (cos_edge_sun * cos_psi - sin_edge_sun * sin_psi) + cos_edge_sun * sin_sun_end
    sin_2view_end = sin_edge_view * (cos_edge_view * cos_psi - sin_edge_view * sin_psi) + cos_edge_view * sin_view_end
    length = 2.0 * np.pi - edge_sun - edge_view - psi
    overlap = (
        constant * length
        - d_sun * c_view * (sin_edge_sun + sin_view_end)
        - c_sun * d_view * (sin_sun_end + sin_edge_view)
        - 0.25 * both * (sin_2sun_end + sin_2view_end)
    )
    overlap = jnp.where(length > 0, overlap, 0.0)
    overlap = jnp.where(edge_view - edge_sun >= psi, arc_view, overlap)
    overlap = jnp.where(edge_sun - edge_view >= psi, arc_sun, overlap)
    (forward,) = stored_spectra(-(arc_sun + arc_view - 2.0 * overlap))
    # the integral over the whole circle is 2 pi times the constant
    back = forward + 2.0 * np.pi * constant

    # Divided after the sum: XLA computes again, for each wavelength that uses it, what ends in anything cheaper.
    total = share.sum(axis=0)
    both_cosines = 2.0 * np.pi * cos_sun * cos_view * total
    return BeamCoefficients(
        sun_extinction=(share * mean_sun).sum(axis=0) / (cos_sun * total),
        view_extinction=(share * mean_view).sum(axis=0) / (cos_view * total),
        inclination=(share * cos_leaf**2).sum(axis=0) / total,
        bidirectional_back=(share * jnp.maximum(back, 0.0)).sum(axis=0) / both_cosines,
        bidirectional_forward=(share * jnp.maximum(forward, 0.0)).sum(axis=0) / both_cosines,
    )


def _edge(c: Array, d: Array) -> tuple[Array, Array, Array]:
    """Azimuth (pi/2 to pi) beyond which c + d cos(phi) < 0, with its cosine and sine; pi where it never is."""
    c, d = jax.lax.stop_gradient((c, d))
    crosses = d > c
    cosine = jnp.where(crosses, -c / jnp.where(crosses, d, 1.0), -1.0)
    sine = jnp.sqrt(jnp.maximum(1.0 - cosine * cosine, 0.0))
    return np.pi - _arccos(-cosine), cosine, sine


def _arccos(x: Array) -> Array:
    """Arc cosine for 0 <= x <= 1 (no slope wanted): XLA's own takes 17 ns an element on a CPU.

    sqrt(1 - x) times a polynomial, Abramowitz & Stegun 4.4.46 (error 2e-8); in float64 the library function.
    """
    if x.dtype == jnp.float64:
        return jnp.arccos(x)
    polynomial = jnp.full_like(x, -0.0012624911)
    for coefficient in (
        0.0066700901,
        -0.0170881256,
        0.0308918810,
        -0.0501743046,
        0.0889789874,
        -0.2145988016,
        1.5707963050,
    ):
        polynomial = polynomial * x + coefficient
    return jnp.sqrt(jnp.maximum(1.0 - x, 0.0)) * polynomial
