"""Reflectance of bare soil."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from physics.data import resolve, table
from physics.parameters import Record, param


class Soil(Record):
    """A soil between dry and wet; every field an array `(*batch)`."""

    brightness: Array = param(
        unit="1", bounds=(0.0, 3.5), symbol="r_soil", description="factor on the reflectance of the reference soil"
    )
    wetness: Array = param(
        unit="1",
        bounds=(0.0, 1.0),
        symbol="1 - p_soil",
        description="share of the wet reference soil, 0 = dry (the older p_soil is the share of the dry one)",
    )


def soil_mixture(soil: Soil, *, wavelengths: np.ndarray | None = None) -> Array:
    """Reflectance of a mixture of the dry and the wet reference soil of PROSAIL.

    Args:
        soil: fields `(*batch)`.
        wavelengths: nm, concrete, 1-D, within 400 to 2500; default every nm.

    Returns:
        Reflectance `(*batch, wavelength)`.

    Equation:
        brightness ((1 - wetness) dry + wetness wet).

    Validity:
        A brightness above about 1.5 with the dry spectrum exceeds reflectance 1 in the infrared.

    References:
        Jacquemoud et al. 2009, Remote Sens. Environ. 113, S56 (PROSAIL and its soils).
    """
    spectra = table("soil_dry_wet")
    dry, wet = (jnp.asarray(resolve(spectra[name], wavelengths), soil.brightness.dtype) for name in ("dry", "wet"))
    wetness = soil.wetness[..., None]
    return soil.brightness[..., None] * (dry + wetness * (wet - dry))
