"""What a radar sees a surface with: its direction, and lengths in units of its wave."""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.parameters import Record, as_float, param

_LIGHT = 29.9792458  # speed of light, cm ns⁻¹


class RadarView(Record):
    """Direction of a radar; every field an array `(*batch)`."""

    incidence: Array = param(
        unit="radian",
        bounds=(0.0, math.radians(80.0)),
        symbol="theta",
        description="angle between the wave and the vertical on the ground",
        standard_name="angle_of_incidence",
    )

    @classmethod
    def from_degrees(cls, incidence: ArrayLike) -> RadarView:
        """The same from an angle in degrees, the only place where degrees enter."""
        return cls(incidence=jnp.radians(as_float(incidence)))


class Roughness(Record):
    """Statistics of the heights of a surface; every field an array `(*batch)`."""

    rms_height: Array = param(unit="cm", bounds=(0.0, 6.0), symbol="s", description="standard deviation of the heights")
    correlation_length: Array = param(
        unit="cm",
        bounds=(0.5, 50.0),
        symbol="L",
        description="distance at which the correlation of two heights has fallen to 1/e",
    )


class Backscatter(eqx.Module):
    """Backscattering coefficients sigma-0, m² m⁻², linear; every field an array `(*batch)`.

    Attributes:
        vv: sent and received vertically polarised.
        hh: sent and received horizontally polarised.
        vh: one vertically, the other horizontally; None where a model does not state it.
    """

    vv: Array
    hh: Array
    vh: Array | None = None


def wave_number(frequency: ArrayLike) -> Array:
    """Wave number, radian cm⁻¹, of a frequency in GHz."""
    return as_float(frequency) * (2.0 * math.pi / _LIGHT)


def wavelength(frequency: ArrayLike) -> Array:
    """Wavelength, cm, of a frequency in GHz."""
    return _LIGHT / as_float(frequency)
