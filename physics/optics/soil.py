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


class LibrarySoil(Record):
    """A soil like those of a spectral library; every field an array `(*batch)`."""

    brightness: Array = param(
        unit="1", bounds=(0.0, 1.0), symbol="b", description="mean reflectance from 400 to 2500 nm"
    )
    shape_1: Array = param(unit="1", bounds=(-4.0, 4.0), symbol="z_1", description="score of the first component")
    shape_2: Array = param(unit="1", bounds=(-4.0, 4.0), symbol="z_2", description="score of the second component")
    shape_3: Array = param(unit="1", bounds=(-4.0, 4.0), symbol="z_3", description="score of the third component")
    shape_4: Array = param(unit="1", bounds=(-4.0, 4.0), symbol="z_4", description="score of the fourth component")


def library_soil(soil: LibrarySoil, *, wavelengths: np.ndarray | None = None) -> Array:
    """Reflectance of a soil composed from the principal components of a spectral library.

    Args:
        soil: fields `(*batch)`. Over the library the scores have mean 0 and variance 1.
        wavelengths: nm, concrete, 1-D, within 400 to 2500; default every nm.

    Returns:
        Reflectance `(*batch, wavelength)`, never negative.

    Equation:
        b (m + sum_i z_i e_i)², with m the mean and e_i the components of the square roots of the library's spectra,
        each spectrum divided by its mean.

    Validity:
        38 soils, dry; the four components hold 97 % of the variance of their shapes.

    References:
        Baldridge, Hook, Grove & Rivera 2009, Remote Sens. Environ. 113, 711 (spectra of Johns Hopkins University).
    """
    library = table("soil_library")
    dtype = soil.brightness.dtype
    root = jnp.asarray(resolve(library["mean"], wavelengths), dtype)
    scores = (soil.shape_1, soil.shape_2, soil.shape_3, soil.shape_4)
    for score, component in zip(scores, library["components"], strict=False):
        root = root + score[..., None] * jnp.asarray(resolve(component, wavelengths), dtype)
    return soil.brightness[..., None] * root**2


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
