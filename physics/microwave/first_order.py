"""Backscatter of soil under vegetation by radiative transfer to first order, for any scattering laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from physics.microwave.geometry import RadarView
from physics.numerics import one_minus_exp_over
from physics.parameters import Record, param

# Of the cosine of the angle by which a wave is turned; its mean over all directions is one.
ScatteringLaw = Callable[[Array], Array]


def isotropic(cosine: Array) -> Array:
    """The same in all directions."""
    return jnp.ones_like(cosine)


def rayleigh(cosine: Array) -> Array:
    """Scatterers much smaller than the wavelength: 3/4 (1 + cos²)."""
    return 0.75 * (1.0 + cosine**2)


def henyey_greenstein(asymmetry: ArrayLike) -> ScatteringLaw:
    """Scattering forwards (asymmetry t above 0) or backwards: (1 - t²) / (1 + t² - 2 t cos)^1.5, -1 < t < 1."""

    def law(cosine: Array) -> Array:
        t = jnp.asarray(asymmetry, cosine.dtype)
        return (1.0 - t**2) / (1.0 + t**2 - 2.0 * t * cosine) ** 1.5

    return law


def rayleigh_henyey_greenstein(asymmetry: ArrayLike) -> ScatteringLaw:
    """The product of both, 3 / (4 + 2 t²) (1 + cos²) times `henyey_greenstein` (Liu & Weng 2006)."""
    directed = henyey_greenstein(asymmetry)

    def law(cosine: Array) -> Array:
        t = jnp.asarray(asymmetry, cosine.dtype)
        return 1.5 / (2.0 + t**2) * (1.0 + cosine**2) * directed(cosine)

    return law


class CanopyLayer(Record):
    """A layer of scatterers above a surface; every field an array `(*batch)`."""

    optical_depth: Array = param(
        unit="1",
        bounds=(0.0, 5.0),
        symbol="tau",
        description="power lost by a vertical wave, as the exponent of e",
        standard_name="vegetation_optical_thickness",
    )
    albedo: Array = param(
        unit="1", bounds=(0.0, 1.0), symbol="omega", description="share of the lost power that is scattered"
    )
    reflectance: Array = param(
        unit="1",
        bounds=(0.0, 1.0),
        symbol="N",
        description="factor on the scattering law of the surface: its hemispherical reflectance if that is isotropic",
    )


class FirstOrder(NamedTuple):
    """Backscatter, linear, `(*batch)` each.

    Attributes:
        total: sum of the others.
        surface: of the surface, through the layer and back.
        volume: of the layer alone.
        interaction: scattered once by each, in both orders.
    """

    total: Array
    surface: Array
    volume: Array
    interaction: Array


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_AZIMUTHS = (np.arange(16) + 0.5) * math.pi / 16.0  # the other half is its mirror image


def rt1(
    layer: CanopyLayer,
    view: RadarView,
    *,
    volume: ScatteringLaw = rayleigh,
    surface: ScatteringLaw = isotropic,
) -> FirstOrder:
    """Backscatter of a surface under a layer that scatters, with the interaction of both to first order.

    Args:
        layer: fields `(*batch)`.
        view: direction of the radar, `(*batch)`.
        volume: scattering law p of the layer, of the angle between the directions before and after.
        surface: scattering law B of the surface, of the angle to the specular direction.

    Returns:
        Backscatter and its parts, linear.

    Equation:
        With mu = cos(theta) and Theta_s = 2 theta at backscatter, p and B normalised to mean one:
        surface: 4 N B mu² exp(-2 tau / mu); volume: omega mu / 2 (1 - exp(-2 tau / mu)) p;
        interaction: 2 N omega tau mu / pi exp(-2 tau / mu) times the integral of B p phi(tau / mu' - tau / mu) over the
        hemisphere of directions mu' between surface and volume, with phi(x) = (1 - exp(-x)) / x.

    Validity:
        Albedo below about 0.3. The integral is taken at 24 x 32 directions: 1e-6 for asymmetries up to 0.5.

    References:
        Quast & Wagner 2016, Appl. Opt. 55, 5379.
    """
    theta = view.incidence
    dtype = theta.dtype
    mu = jnp.cos(theta)
    depth = layer.optical_depth / mu
    back = jnp.full_like(mu, -1.0)
    direct = 4.0 * layer.reflectance * surface(jnp.cos(2.0 * theta)) * mu**2 * jnp.exp(-2.0 * depth)
    scattered = -0.5 * layer.albedo * mu * jnp.expm1(-2.0 * depth) * volume(back)

    between = jnp.asarray(0.5 + 0.5 * _NODES, dtype)[:, None]
    turn = jnp.asarray(np.cos(_AZIMUTHS), dtype)
    weight = jnp.asarray(np.pi / 16.0 * _WEIGHTS, dtype)[:, None]  # 1/2 of the nodes' interval, 2 of the mirror image
    upright = between * mu[..., None, None]
    level = jnp.sqrt(1.0 - between**2) * jnp.sin(theta)[..., None, None] * turn
    # The wave comes down along (-mu, 0), is sent up along (mu', phi) and turned to (mu, pi) by the layer; the specular
    # direction is (mu, 0).
    path = layer.optical_depth[..., None, None] / between - depth[..., None, None]
    integrand = surface(upright + level) * volume(upright - level) * one_minus_exp_over(path)
    integral = jnp.sum(weight * integrand, (-2, -1))
    both = (
        2.0 / math.pi * layer.reflectance * layer.albedo * layer.optical_depth * mu * jnp.exp(-2.0 * depth) * integral
    )
    return FirstOrder(direct + scattered + both, direct, scattered, both)
