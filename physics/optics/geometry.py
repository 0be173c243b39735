"""Where the sun and the sensor stand."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.parameters import Record, param


class SunView(Record):
    """Directions of sun and sensor in radians; every field an array `(*batch)`.

    The relative azimuth may be any difference of azimuths: the models fold it into 0 to pi.
    """

    sun_zenith: Array = param(
        unit="radian",
        bounds=(0.0, math.radians(89.0)),
        symbol="theta_s",
        description="zenith angle of the sun",
        standard_name="solar_zenith_angle",
    )
    view_zenith: Array = param(
        unit="radian",
        bounds=(0.0, math.radians(89.0)),
        symbol="theta_o",
        description="zenith angle of the sensor",
        standard_name="sensor_zenith_angle",
    )
    relative_azimuth: Array = param(
        unit="radian",
        bounds=(-2.0 * math.pi, 2.0 * math.pi),
        symbol="psi",
        description="azimuth of the sensor minus azimuth of the sun; 0 = the sun behind the sensor (hot spot)",
        standard_name="relative_sensor_azimuth_angle",
    )

    @classmethod
    def from_degrees(cls, sun_zenith: ArrayLike, view_zenith: ArrayLike, relative_azimuth: ArrayLike) -> SunView:
        """The same from angles in degrees, the only place where degrees enter."""
        angles: dict[str, Any] = {
            "sun_zenith": sun_zenith,
            "view_zenith": view_zenith,
            "relative_azimuth": relative_azimuth,
        }
        directions: SunView = jax.tree.map(jnp.radians, cls(**angles))
        return directions


def fold_azimuth(relative_azimuth: Array) -> Array:
    """Angle between two azimuths, 0 to pi, from any difference of azimuths (radians).

    Slope +1 or -1; at 0 and at pi, where the direction turns back, the slope of one side.
    """
    turns = jnp.round(relative_azimuth / (2.0 * math.pi))
    return jnp.abs(relative_azimuth - 2.0 * math.pi * turns)
