"""Biomass above the ground: radar backscatter of forests and its inversion, and allometries of trees."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.numerics import safe_power, safe_sqrt
from physics.parameters import Record, as_float, floats, param, validity

_DECIBEL = 10.0 / 2.302585092994046


class Forest(Record):
    """Backscatter of a forest in one image, linear; every field an array `(*batch)`."""

    ground: Array = param(
        unit="1", bounds=(1e-4, 1.0), symbol="sigma_gr", description="backscatter without trees, gaps included"
    )
    canopy: Array = param(
        unit="1", bounds=(1e-4, 1.0), symbol="sigma_veg", description="backscatter of a closed, opaque canopy"
    )
    attenuation: Array = param(
        unit="ha m-3",
        bounds=(0.001, 0.03),
        symbol="beta",
        description="two-way decay of the ground's share per stem volume; 0.006 at C band (Santoro et al. 2011)",
        default=0.006,
    )


class Volume(NamedTuple):
    """Stem volume of a pixel, `(*batch)` each.

    Attributes:
        volume: growing stock, m³ ha⁻¹; 0 or the largest where the backscatter lies beyond.
        std: its standard deviation, to first order at that volume, m³ ha⁻¹.
        saturated: True where the backscatter fits any volume above the largest: the forest has that much or more.
        usable: True where the backscatter lies in the range of the model, or no further outside than the buffer.
    """

    volume: Array
    std: Array
    saturated: Array
    usable: Array


class CombinedVolume(NamedTuple):
    """Stem volume from many images, `(*batch)` each.

    Attributes:
        volume: m³ ha⁻¹; NaN where no image was of use.
        std: m³ ha⁻¹.
        images: number of images used; 20 at least are wanted, 60 to 100 are better.
        saturated: share of their weight that was saturated.
    """

    volume: Array
    std: Array
    images: Array
    saturated: Array


def forest_backscatter(volume: ArrayLike, forest: Forest) -> Array:
    """Backscatter of a forest: its ground seen through gaps and crowns, and its canopy as a water cloud.

    Args:
        volume: growing stock, m³ ha⁻¹, zero or more, `(*batch)`.
        forest: fields `(*batch)`.

    Returns:
        Backscatter, linear, `(*batch)`.

    Equation:
        sigma = sigma_gr exp(-beta V) + sigma_veg (1 - exp(-beta V)).

    Validity:
        One species group, season and state of water: sigma_gr and sigma_veg hold for one image and neighbourhood.
        Little is left to see above 300 m³ ha⁻¹ at C band.

    References:
        Santoro et al. 2011, Remote Sens. Environ. 115, 490 (BIOMASAR).
    """
    depth = forest.attenuation * jnp.asarray(volume, forest.ground.dtype)
    return forest.ground * jnp.exp(-depth) - forest.canopy * jnp.expm1(-depth)


def canopy_backscatter(
    dense: ArrayLike, ground: ArrayLike, *, dense_volume: ArrayLike, attenuation: ArrayLike = 0.006
) -> Array:
    """Backscatter of an opaque canopy from that of dense forest, through which some ground still shows.

    Args:
        dense: mean backscatter of dense forest (tree cover above 70 to 80 %), linear, `(*batch)`.
        ground: backscatter of ground (median where tree cover is 15 % or less), linear, `(*batch)`.
        dense_volume: growing stock of dense forest, m³ ha⁻¹: 90th percentile of the region, above zero.
        attenuation: beta, ha m⁻³.

    Returns:
        sigma_veg, linear, `(*batch)`.

    Equation:
        (sigma_df - sigma_gr exp(-beta V_df)) / (1 - exp(-beta V_df)).

    References:
        Santoro et al. 2011, Remote Sens. Environ. 115, 490.
    """
    forest, bare = floats(dense, ground)
    depth = jnp.asarray(attenuation, forest.dtype) * jnp.asarray(dense_volume, forest.dtype)
    return (forest - bare * jnp.exp(-depth)) / -jnp.expm1(-depth)


def contrast(forest: Forest) -> Array:
    """Difference of canopy and ground, dB, `(*batch)`: what an image can tell."""
    return jnp.abs(_DECIBEL * jnp.log(forest.canopy / forest.ground))


def telling(forest: Forest, *, least: float = 0.5) -> Array:
    """Whether an image of a forest lies within bounds and tells volumes apart, by `least` dB or more, `(*batch)`."""
    return validity(forest) & (contrast(forest) >= least)


def forest_volume(
    backscatter: ArrayLike,
    forest: Forest,
    *,
    largest: ArrayLike,
    backscatter_std: ArrayLike,
    ground_std: ArrayLike = 0.0,
    canopy_std: ArrayLike = 0.0,
    buffer: float = 0.5,
) -> Volume:
    """Stem volume from the backscatter of one image: the inverse of `forest_backscatter`, up to saturation.

    Args:
        backscatter: linear, above zero, `(*batch)`.
        forest: fields `(*batch)`, canopy and ground apart.
        largest: volume above which the backscatter is as good as constant, m³ ha⁻¹: that of dense forest plus 50.
        backscatter_std: standard deviation of the backscatter by speckle and calibration, linear, `(*batch)`.
        ground_std: of sigma_gr, linear.
        canopy_std: of sigma_veg, linear.
        buffer: dB that a backscatter may lie outside of the modelled range and still count, at its end.

    Returns:
        Volume `(*batch)`. All of it is finite, slopes included, for any backscatter that is a number; what is none is
        NaN, alone. The standard deviation is that at the volume returned, so it grows towards saturation by
        exp(beta V) and is largest where `saturated`.

    Equation:
        V = -ln((sigma_veg - sigma) / (sigma_veg - sigma_gr)) / beta, 0 to `largest`; with independent errors
        beta² std² = (std_sigma / d)² + (std_gr / c)² + (std_veg (1 / c - 1 / d))², c = sigma_veg - sigma_gr,
        d = sigma_veg - sigma.

    References:
        Santoro et al. 2011, Remote Sens. Environ. 115, 490, eq. 5.
    """
    dtype = forest.ground.dtype
    given = jnp.asarray(backscatter, dtype)
    number = jnp.isfinite(given)
    # What is no number is replaced inside, so that it harms no slope of what pixels share, and NaN in the result.
    seen = jnp.where(number, given, forest.ground)
    most = jnp.asarray(largest, dtype)
    span = forest.canopy - forest.ground
    share = (forest.canopy - seen) / span  # exp(-beta V): what is left of the ground
    least = jnp.exp(-forest.attenuation * most)
    saturated = number & (share < least)
    inside = (share >= least) & (share <= 1.0)
    log = jnp.log(jnp.where(inside, share, 1.0))
    volume = jnp.where(inside, -log / forest.attenuation, jnp.where(saturated, most, 0.0))
    left = span * jnp.clip(share, least, 1.0)
    variance = (
        (jnp.asarray(backscatter_std, dtype) / left) ** 2
        + (jnp.asarray(ground_std, dtype) / span) ** 2
        + (jnp.asarray(canopy_std, dtype) * (1.0 / span - 1.0 / left)) ** 2
    )
    std = safe_sqrt(variance) / forest.attenuation
    volume, std = (jnp.where(number, value, jnp.nan) for value in (volume, std))

    ends = jnp.stack(jnp.broadcast_arrays(forest.ground, forest_backscatter(most, forest)))
    slack = 10.0 ** (0.1 * buffer)
    usable = number & (seen >= ends.min(0) / slack) & (seen <= ends.max(0) * slack)
    return Volume(volume, std, saturated, usable)


def combine_volumes(
    volumes: Volume, forest: Forest, *, least: float = 0.5, correlation: ArrayLike = 0.0
) -> CombinedVolume:
    """Stem volume of many images together.

    Args:
        volumes: of single images, `(*batch, image)`; those not usable, or not numbers, do not count.
        forest: of the same images, fields that broadcast with `(*batch, image)`.
        least: contrast below which an image does not count, dB.
        correlation: of the errors of two images of a pixel, 0 to 1. Speckle differs between images; the growth of the
            forest and the error of the model do not.

    Returns:
        CombinedVolume `(*batch)`.

    Equation:
        V = sum w V_i / sum w, with w = |sigma_veg - sigma_gr| in dB; var = [(1 - r) sum (w std)² + r (sum w std)²] /
        (sum w)².

    References:
        Santoro et al. 2011, Remote Sens. Environ. 115, 490, eq. 7.
    """
    weight = contrast(forest)
    used = volumes.usable & (weight >= least) & jnp.isfinite(volumes.volume) & jnp.isfinite(volumes.std)
    weight = jnp.where(used, weight, 0.0)
    count = used.sum(-1)
    total = jnp.where(count > 0, weight.sum(-1), 1.0)
    volume = (weight * jnp.where(used, volumes.volume, 0.0)).sum(-1) / total
    errors = weight * jnp.where(used, volumes.std, 0.0)
    shared = jnp.asarray(correlation, volume.dtype)
    variance = (1.0 - shared) * (errors**2).sum(-1) + shared * errors.sum(-1) ** 2
    saturated = jnp.where(volumes.saturated, weight, 0.0).sum(-1) / total
    none = count == 0

    def known(value: Array) -> Array:
        return jnp.where(none, jnp.nan, value)

    return CombinedVolume(known(volume), known(safe_sqrt(variance) / total), count, known(saturated))


def volume_biomass(volume: ArrayLike, *, expansion: ArrayLike) -> Array:
    """Biomass above the ground, t ha⁻¹, from growing stock, m³ ha⁻¹, `(*batch)`.

    Args:
        volume: m³ ha⁻¹.
        expansion: biomass of whole trees per volume of stems, t m⁻³, of the species and climate: density of the wood
            times the weight of whole trees per weight of stems.
    """
    stock = as_float(volume)
    return stock * jnp.asarray(expansion, stock.dtype)


def komiyama05_above_ground(diameter: ArrayLike, density: ArrayLike) -> Array:
    """Dry weight above the ground of one mangrove tree.

    Args:
        diameter: of the trunk at breast height, or 0.3 m above the highest prop root of Rhizophora, cm, `(*batch)`.
        density: of the wood, g cm⁻³, `(*batch)`.

    Returns:
        kg, `(*batch)`.

    Equation:
        W_top = 0.251 rho D^2.46.

    Validity:
        Fitted on 104 trees of ten species in South-East Asia.

    References:
        Komiyama, Poungparn & Kato 2005, J. Trop. Ecol. 21, 471; coefficients as public scripts for mangrove plots quote
        them.
    """
    width, wood = floats(diameter, density)
    return 0.251 * wood * safe_power(width, 2.46)


def komiyama05_roots(diameter: ArrayLike, density: ArrayLike) -> Array:
    """Dry weight of the roots of one mangrove tree, kg: as `komiyama05_above_ground`, 0.199 rho^0.899 D^2.22."""
    width, wood = floats(diameter, density)
    return 0.199 * safe_power(wood, 0.899) * safe_power(width, 2.22)
