"""What users ask of a canopy beyond its reflectance: absorbed light, cover, albedo."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from physics.optics.leaf_angles import beam_coefficients, bimodal, ellipsoidal
from physics.optics.sail import BimodalCanopy, Canopy, CanopyReflectance


def surface_reflectance(canopy_reflectance: CanopyReflectance, skyl: Array | float) -> Array:
    """Reflectance towards the sensor under sun and sky light.

    Args:
        canopy_reflectance: as returned by `sail`.
        skyl: share of diffuse in incoming light, 0 to 1; broadcasts with `(*batch, wavelength)`.

    Returns:
        Hemispherical-directional reflectance factor `(*batch, wavelength)`.

    References:
        François, Ottlé, Olioso, Prévot, Bruguier & Ducros 2002, Agronomie 22, 669.
    """
    scene = canopy_reflectance
    return scene.bidirectional + skyl * (scene.hemispherical_directional - scene.bidirectional)


def albedo(canopy_reflectance: CanopyReflectance, skyl: Array | float) -> Array:
    """Spectral albedo under sun and sky light: black-sky and white-sky albedo mixed by the share of diffuse light.

    Args:
        canopy_reflectance: as returned by `sail`.
        skyl: share of diffuse in incoming light; 0 gives black-sky, 1 white-sky albedo.

    Returns:
        Albedo `(*batch, wavelength)`.
    """
    scene = canopy_reflectance
    return scene.directional_hemispherical + skyl * (scene.bihemispherical - scene.directional_hemispherical)


def fapar(
    canopy_reflectance: CanopyReflectance, skyl: Array | float = 0.0, *, wavelengths: np.ndarray | None = None
) -> Array:
    """Fraction of photosynthetically active radiation (400 to 700 nm) absorbed by the canopy.

    Args:
        canopy_reflectance: as returned by `sail`.
        skyl: share of diffuse light; 0 (default) gives the black-sky fAPAR that SL2P reports.
        wavelengths: the grid of the spectra (nm); default every nm from 400 to 2500.

    Returns:
        fAPAR `(*batch)`: mean over the wavelengths between 400 and 700 nm, weighted by their spacing.

    Equation:
        absorbed = (1 - albedo) - (1 - soil) (light that reaches the soil), which counts what the soil reflects back.

    Raises:
        ValueError: no wavelength of the grid within 400 to 700 nm.
    """
    scene = canopy_reflectance
    grid = np.arange(400, 2501) if wavelengths is None else np.asarray(wavelengths, np.float64)
    inside = (grid >= 400) & (grid <= 700)
    if not inside.any() or grid.size != scene.bidirectional.shape[-1]:
        raise ValueError(
            f"fapar: expected spectra on the given wavelengths with some within 400 to 700 nm, got "
            f"{scene.bidirectional.shape[-1]} spectral values and {grid.size} wavelengths ({inside.sum()} within)"
        )
    spacing = np.gradient(grid) if grid.size > 1 else np.ones(1)
    share = np.where(inside, np.abs(spacing), 0.0)
    weights = jnp.asarray(share / share.sum(), scene.bidirectional.dtype)
    terms = scene.canopy
    bounce = 1.0 / (1.0 - scene.soil * terms.diffuse_reflectance)
    reaching_sun = (terms.sun_transmittance + terms.sun_diffuse_transmittance) * bounce
    reaching_sky = terms.diffuse_transmittance * bounce
    reaching = reaching_sun + skyl * (reaching_sky - reaching_sun)
    absorbed = 1.0 - albedo(scene, skyl) - (1.0 - scene.soil) * reaching
    return (absorbed * weights).sum(axis=-1)


def gap_fraction(canopy: Canopy | BimodalCanopy, zenith: Array) -> Array:
    """Share of the ground that is seen through the leaves from a direction, exp(-k LAI).

    Args:
        canopy: fields `(*batch)`.
        zenith: angle of the direction, radians, `(*batch)`.

    Returns:
        Gap fraction `(*batch)`.
    """
    if isinstance(canopy, BimodalCanopy):
        share = bimodal(canopy.leaf_angle_a, canopy.leaf_angle_b)
    else:
        share = ellipsoidal(canopy.mean_leaf_angle)
    zenith = jnp.broadcast_to(zenith, share[..., 0].shape)
    extinction = beam_coefficients(share, zenith, zenith, jnp.zeros_like(zenith)).view_extinction
    return jnp.exp(-extinction * canopy.leaf_area_index)


def plant_area_effective(canopy: Canopy | BimodalCanopy, vegetated_fraction: Array) -> Array:
    """Leaf area index of randomly placed leaves with the same gap fraction at 57.5 degrees.

    What hemispherical photographs and plant canopy analysers measure: gaps between plants and clumps lower it. At 57.5
    degrees the extinction hardly depends on leaf angles, 0.5 / cos(57.5 degrees).

    Args:
        canopy: of the vegetated part, its leaf area index without clumping; fields `(*batch)`.
        vegetated_fraction: share of the ground on which plants stand, `(*batch)`.

    Returns:
        Effective plant area index `(*batch)`.

    Equation:
        -ln(1 - f (1 - P(57.5))) cos(57.5) / 0.5, P the gap fraction of the vegetated part.

    References:
        Weiss, Baret, Smith, Jonckheere & Coppin 2004, Agric. For. Meteorol. 121, 37.
    """
    angle = np.radians(57.5)
    closed = 1.0 - gap_fraction(canopy, jnp.asarray(angle, canopy.leaf_area_index.dtype))
    return -jnp.log1p(-vegetated_fraction * closed) * (np.cos(angle) / 0.5)


def fcover(canopy: Canopy | BimodalCanopy) -> Array:
    """Fraction of ground covered by leaves seen from above: what is no gap at nadir.

    Args:
        canopy: fields `(*batch)`.

    Returns:
        Cover fraction `(*batch)`.
    """
    return 1.0 - gap_fraction(canopy, jnp.zeros((), canopy.leaf_area_index.dtype))
