"""Reflection at the plane boundary of a lossy medium."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from physics.microwave.geometry import RadarView
from physics.microwave.permittivity import Permittivity


class Reflectivity(NamedTuple):
    """Shares of the power that a plane surface reflects, `(*batch)` each."""

    vertical: Array
    horizontal: Array


def fresnel(permittivity: Permittivity, view: RadarView) -> Reflectivity:
    """Reflectivities of a plane surface.

    Args:
        permittivity: of the medium below, fields `(*batch)`.
        view: direction of the wave, `(*batch)`.

    Returns:
        Reflectivities `(*batch)`.

    Equation:
        rho_v = (e c - r) / (e c + r), rho_h = (c - r) / (c + r), r = sqrt(e - s²), with c and s the cosine and the sine
        of the incidence; reflectivities are |rho|².

    References:
        Ulaby & Long 2014, eq. 2.124 to 2.127.
    """
    vertical, horizontal = coefficients(permittivity, view.incidence)
    return Reflectivity(_power(vertical), _power(horizontal))


def coefficients(permittivity: Permittivity, incidence: Array) -> tuple[Array, Array]:
    """Complex reflection coefficients rho_v and rho_h."""
    e = as_complex(permittivity)
    cosine = jnp.cos(incidence)
    below = jnp.sqrt(e - jnp.sin(incidence) ** 2)
    return (e * cosine - below) / (e * cosine + below), (cosine - below) / (cosine + below)


def as_complex(permittivity: Permittivity) -> Array:
    """The permittivity as a complex number, with a negative imaginary part."""
    return jax.lax.complex(*jnp.broadcast_arrays(permittivity.dielectric_constant, -permittivity.dielectric_loss))


def nadir_reflectivity(permittivity: Permittivity) -> Array:
    """Share of the power reflected at normal incidence, |(1 - sqrt(e)) / (1 + sqrt(e))|²."""
    index = jnp.sqrt(as_complex(permittivity))
    return _power((1.0 - index) / (1.0 + index))


def _power(amplitude: Array) -> Array:
    """|a|² with a slope everywhere, which `abs` has not at zero (Brewster's angle)."""
    return jnp.real(amplitude) ** 2 + jnp.imag(amplitude) ** 2
