"""Reflectance of bare soil."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from physics.data import resolve, table
from physics.optics.prospect import interface_transmissivity
from physics.parameters import Record, param

_FILM = 0.015
"""Thickness of one film of water, cm."""

_MOST_FILMS = 8


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


def moist_soil(
    dry: Array, soil_moisture: Array, *, capacity: Array | float = 0.25, wavelengths: np.ndarray | None = None
) -> Array:
    """Reflectance of a soil that water has darkened.

    Args:
        dry: reflectance of the dry soil `(*batch, wavelength)`, at `wavelengths`.
        soil_moisture: of the surface, m3 m-3, `(*batch)`.
        capacity: soil moisture, above 0.05, at which the ground bears one film of water on average, m3 m-3,
            `(*batch)`.
        wavelengths: nm, concrete, 1-D, within 400 to 2500; default every nm.

    Returns:
        Reflectance `(*batch, wavelength)`.

    Equation:
        sum_k P(k; mu) R_k, mu = max(soil_moisture - 0.05, 0) / capacity: the number of films on a spot is a Poisson
        number. R_0 is the dry soil,
        R_k = r + (1 - r) (1 - p) t^k b / (1 - p t^k b), t = exp(-2 a 0.015 cm), with a the absorption of water,
        r = 1 - T(40 degrees, n) and p = 1 - T(90 degrees, n) / n² the reflectances of a film from outside and inside,
        b = 1 - (1 - dry) (dry T(90 degrees, n_s / n) / T(90 degrees, n_s) + 1 - dry) that of the soil under water,
        n_s = 2 the refractive index of its grains. Spots with more than 8 films count as spots with 8.

    Validity:
        Moisture from 0.05 (dry up to there, with a kink of the slope) to 0.55; isotropic soils. The index of water is
        that of 20 degrees C; its formula was made for 182 to 1129 nm and lies within 0.006 of tabulated ones to 2500.

    References:
        Yang, van der Tol, Yin & Verhoef 2020, The SPART model, Remote Sens. Environ. 247, 111870 (films, 0.25 and
        0.015 cm); Lekner & Dorf 1988, Appl. Opt. 27, 1278 (b); Daimon & Masumura 2007, Appl. Opt. 46, 3811 (n).
    """
    dtype = dry.dtype
    grid = np.arange(400.0, 2501.0) if wavelengths is None else np.asarray(wavelengths, np.float64)
    index = _water_index(grid)
    isotropic = interface_transmissivity(index, 90.0)
    outside = jnp.asarray(1.0 - interface_transmissivity(index, 40.0), dtype)
    inside = jnp.asarray(1.0 - isotropic / index**2, dtype)
    grains = interface_transmissivity(2.0 / index, 90.0) / interface_transmissivity(np.full(1, 2.0), 90.0)
    below = 1.0 - (1.0 - dry) * (dry * jnp.asarray(grains, dtype) + 1.0 - dry)
    absorption = np.asarray(resolve(table("prospect_d")["water"], wavelengths), np.float64)
    through = jnp.asarray(np.exp(-2.0 * _FILM * absorption * np.arange(1, _MOST_FILMS + 1)[:, None]), dtype)
    seen = through * below[..., None, :]
    wet = outside + (1.0 - outside) * (1.0 - inside) * seen / (1.0 - inside * seen)
    films = jnp.maximum(jnp.asarray(soil_moisture, dtype) - 0.05, 0.0) / capacity
    shares = [jnp.exp(-films)]
    for count in range(1, _MOST_FILMS):
        shares.append(shares[-1] * films / count)
    share = jnp.stack(shares, -1)
    share = jnp.concatenate([share, 1.0 - share.sum(-1, keepdims=True)], -1)
    return share[..., :1] * dry + (share[..., 1:, None] * wet).sum(-2)


def _water_index(wavelengths: np.ndarray) -> np.ndarray:
    """Refractive index of water at 20 degrees C, wavelengths in nm; source: see `moist_soil`."""
    squared = (wavelengths * 1e-3)[:, None] ** 2
    strength = np.array([5.684027565e-1, 1.726177391e-1, 2.086189578e-2, 1.130748688e-1])
    resonance = np.array([5.101829712e-3, 1.821153936e-2, 2.620722293e-2, 1.069792721e1])
    index: np.ndarray = np.sqrt(1.0 + (strength * squared / (squared - resonance)).sum(-1))
    return index
