"""Emissivity of land from the share of vegetation.

Published rules jump where NDVI says "all soil" and "all vegetation"; here one rule gives way to the next smoothly, so
that emissivity has a slope with respect to NDVI everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.parameters import as_float, floats

SOIL_NDVI, FULL_NDVI = 0.2, 0.5
_BLEND = 0.01  # of NDVI: half a dozen of these on either side of a threshold one rule has given way to the other


class BandEmissivity(NamedTuple):
    """Emissivities in the two thermal bands of Landsat-8, 10.9 and 12.0 µm, `(*batch)` each."""

    band10: Array
    band11: Array


def vegetation_share(ndvi: ArrayLike, *, soil: float = SOIL_NDVI, full: float = FULL_NDVI) -> Array:
    """Share of vegetation from NDVI.

    Args:
        ndvi: `(*batch)`.
        soil: NDVI of bare soil.
        full: NDVI of a closed canopy.

    Returns:
        0 to 1, `(*batch)`.

    Equation:
        ((NDVI - soil) / (full - soil))², 0 below and 1 above.

    References:
        Carlson & Ripley 1997, Remote Sens. Environ. 62, 241.
    """
    value = as_float(ndvi)
    return jnp.clip((value - soil) / (full - soil), 0.0, 1.0) ** 2


def _blend(ndvi: Array, soil: Array, mixed: Array, vegetated: Array) -> Array:
    """The rule for soil, the one for mixtures or the one for vegetation, whichever NDVI calls for."""
    green = jax.nn.sigmoid((ndvi - FULL_NDVI) / _BLEND)
    bare = jax.nn.sigmoid((SOIL_NDVI - ndvi) / _BLEND)
    return bare * soil + green * vegetated + (1.0 - bare - green) * mixed


def sobrino08(ndvi: ArrayLike) -> Array:
    """Emissivity near 11 µm from NDVI.

    Args:
        ndvi: `(*batch)`.

    Returns:
        Emissivity `(*batch)`.

    Equation:
        0.97 for soil, 0.004 P_v + 0.986 for mixtures, 0.99 for vegetation, P_v the share of vegetation.

    Validity:
        Land without snow or water.

    References:
        Sobrino, Jiménez-Muñoz, Sòria et al. 2008, IEEE Trans. Geosci. Remote Sens. 46, 316.
    """
    value = as_float(ndvi)
    one = jnp.ones_like(value)
    return _blend(value, 0.97 * one, 0.986 + 0.004 * vegetation_share(value), 0.99 * one)


def skokovic14(ndvi: ArrayLike, red: ArrayLike) -> BandEmissivity:
    """Emissivities in the thermal bands of Landsat-8 from NDVI and the reflectance of red light.

    Args:
        ndvi: `(*batch)`.
        red: reflectance of red light, `(*batch)`.

    Returns:
        Both emissivities.

    Equation:
        Soil: 0.979 - 0.046 red and 0.982 - 0.027 red. Mixtures: 0.971 (1 - P_v) + 0.987 P_v and
        0.977 (1 - P_v) + 0.989 P_v, plus the light between soil and plants (1 - e_s) e_v 0.55 (1 - P_v).
        Vegetation: the mixture with P_v = 1.

    Validity:
        Land without snow or water, red reflectance up to about 0.4.

    References:
        Skoković, Sobrino, Jiménez-Muñoz et al. 2014, Landsat-8 calibration and validation (as public codes quote it).
    """
    value, light = floats(ndvi, red)
    share = vegetation_share(value)

    def emissivity(soil: Array, soil_mixed: float, vegetated: float) -> Array:
        cavity = (1.0 - soil_mixed) * vegetated * 0.55 * (1.0 - share)
        mixed = soil_mixed * (1.0 - share) + vegetated * share + cavity
        return _blend(value, soil, mixed, jnp.full_like(value, vegetated))

    return BandEmissivity(
        emissivity(0.979 - 0.046 * light, 0.971, 0.987), emissivity(0.982 - 0.027 * light, 0.977, 0.989)
    )
