"""Backscattered power: speckle, decibels, and the incidence it is referred to."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from physics.microwave.geometry import RadarView
from physics.parameters import as_float, floats

_DECIBEL = 10.0 / math.log(10.0)

SENTINEL1_LOOKS = 4.4
"""Equivalent number of looks of a pixel of Sentinel-1 GRD, interferometric wide swath, high resolution (10 m), mean
over the swaths: documentation of the Sentinel-1 normalised radar backscatter product, after the mission performance
centre 2016."""


def to_decibels(power: ArrayLike) -> Array:
    """10 log10 of a power above zero; that of zero is minus infinity."""
    return _DECIBEL * jnp.log(as_float(power))


def from_decibels(decibels: ArrayLike) -> Array:
    """Power from decibels, 10^(x / 10)."""
    return jnp.exp(as_float(decibels) / _DECIBEL)


def usable_power(power: ArrayLike) -> Array:
    """Where measured powers can be used: finite and above zero. Works under `jit`.

    After the noise is subtracted, dark pixels have powers below zero, which have no decibels: mask them, or average
    more pixels before the logarithm is taken.

        usable = usable_power(power)
        record = SingleDate(to_decibels(jnp.where(usable, power, 1.0)), usable, geometry)

    Args:
        power: linear, `(*batch)`.

    Returns:
        Boolean mask `(*batch)`.
    """
    value = as_float(power)
    return jnp.isfinite(value) & (value > 0.0)


def check_power(power: ArrayLike, *, name: str = "backscatter", remedy: str = "convert it with from_decibels") -> None:
    """Raises if values cannot be linear backscatter as a whole. For use outside `jit`.

    Single powers below zero, as they are after the noise is subtracted, pass: `usable_power` masks them.

    Args:
        power: linear, any shape; values that are not finite are left out.
        name: of the values, for the message.
        remedy: what to do where they look like dB, for the message.

    Raises:
        ValueError: most values are those of decibels or of digital numbers; says what to do.
    """
    value = _finite(power)
    if not value.size:
        return
    middle = float(np.median(value))
    seen = f"got a median of {middle:g} (from {value.min():g} to {value.max():g}) in {value.size} values"
    # No noise is subtracted that is as strong as a power of 1, and no field scatters as much as 100.
    if middle < -1.0:
        raise ValueError(
            f"{name}: expected linear power (m2 m-2, mostly 0.001 to 1), {seen}; this looks like dB: {remedy}"
        )
    if middle > 100.0:
        raise ValueError(
            f"{name}: expected linear power (m2 m-2, mostly 0.001 to 1), {seen}; this looks like digital numbers: "
            "calibrate them first"
        )


def check_decibels(
    decibels: ArrayLike, *, name: str = "backscatter", remedy: str = "convert it with to_decibels"
) -> None:
    """Raises if values cannot be backscatter in decibels as a whole. For use outside `jit`.

    Args:
        decibels: dB, any shape; values that are not finite are left out.
        name: of the values, for the message.
        remedy: what to do where they look like linear power, for the message.

    Raises:
        ValueError: most values are those of linear power or of digital numbers; says what to do.
    """
    value = _finite(decibels)
    if not value.size:
        return
    middle = float(np.median(value))
    seen = f"got a median of {middle:g} (from {value.min():g} to {value.max():g}) in {value.size} values"
    # Land scatters -30 to -3 dB; in linear power its values lie between -0.01, less the noise, and 1.
    if float(np.median(np.abs(value))) < 1.0 and float(np.quantile(value, 0.05)) > -1.0:
        raise ValueError(f"{name}: expected dB (mostly -30 to 0), {seen}; this looks like linear power: {remedy}")
    if middle > 30.0:
        raise ValueError(
            f"{name}: expected dB (mostly -30 to 0), {seen}; this looks like digital numbers: calibrate them first"
        )


def _finite(values: ArrayLike) -> np.ndarray:
    value = np.asarray(values, np.float64)
    return value[np.isfinite(value)]


def speckle_log_density(power: ArrayLike, mean: ArrayLike, looks: ArrayLike) -> Array:
    """Log density of the power measured over a surface without texture.

    Args:
        power: measured, linear, above zero, `(*batch)`.
        mean: backscatter of the surface, linear, above zero, `(*batch)`.
        looks: equivalent number of looks.

    Returns:
        Log density per unit of power, `(*batch)`.

    Equation:
        Gamma law of shape L and mean sigma: L ln(L / sigma) + (L - 1) ln x - L x / sigma - ln Gamma(L).

    References:
        Ulaby & Long 2014, chapter 5-7 (speckle of averaged intensities).
    """
    x, sigma, shape = floats(power, mean, looks)
    relative = x / sigma
    gamma = jax.scipy.special.gammaln(shape)
    return shape * jnp.log(shape) - gamma + (shape - 1.0) * jnp.log(relative) - shape * relative - jnp.log(sigma)


def sample_speckle(key: Array, mean: ArrayLike, looks: ArrayLike) -> Array:
    """Powers measured over a surface of given backscatter `(*batch)`, drawn from the law of `speckle_log_density`."""
    sigma = as_float(mean)
    shape = jnp.asarray(looks, sigma.dtype)
    return sigma * jax.random.gamma(key, shape, jnp.broadcast_shapes(sigma.shape, shape.shape), sigma.dtype) / shape


def decibel_bias(looks: ArrayLike) -> Array:
    """Mean of measured decibels minus the decibels of the mean power.

    Args:
        looks: equivalent number of looks, `(*batch)`.

    Returns:
        dB, below zero, `(*batch)`.

    Equation:
        10 / ln 10 (psi(L) - ln L).
    """
    shape = as_float(looks)
    return _DECIBEL * (jax.scipy.special.digamma(shape) - jnp.log(shape))


def decibel_std(looks: ArrayLike) -> Array:
    """Standard deviation of measured decibels.

    Args:
        looks: equivalent number of looks, `(*batch)`.

    Returns:
        dB, `(*batch)`.

    Equation:
        10 / ln 10 sqrt(psi'(L)).
    """
    shape = as_float(looks)
    return _DECIBEL * jnp.sqrt(jax.scipy.special.polygamma(1, shape))


def gamma_nought(backscatter: ArrayLike, view: RadarView) -> Array:
    """Backscatter per area across the line of sight, sigma-0 / cos(theta), linear."""
    return jnp.asarray(backscatter, view.incidence.dtype) / jnp.cos(view.incidence)


def normalised_by_cosine(
    backscatter: ArrayLike, view: RadarView, reference: RadarView, *, exponent: ArrayLike
) -> Array:
    """Backscatter as it would be seen from a reference incidence, by a power of the cosine.

    Args:
        backscatter: linear, `(*batch)`.
        view: direction of the measurement, `(*batch)`.
        reference: direction to refer to.
        exponent: 2 for a Lambertian surface, 1 for a volume; vegetated fields lie between.

    Returns:
        Linear, `(*batch)`.

    Equation:
        sigma (cos(theta_ref) / cos(theta))^n.

    References:
        Ulaby, Moore & Fung 1982, Microwave Remote Sensing 2, chapter 11.
    """
    ratio = jnp.cos(reference.incidence) / jnp.cos(view.incidence)
    return jnp.asarray(backscatter, ratio.dtype) * ratio ** jnp.asarray(exponent, ratio.dtype)


def normalised_by_slope(decibels: ArrayLike, view: RadarView, reference: RadarView, *, slope: ArrayLike) -> Array:
    """Backscatter as it would be seen from a reference incidence, by a line in decibels.

    Args:
        decibels: dB, `(*batch)`.
        view: direction of the measurement, `(*batch)`.
        reference: direction to refer to.
        slope: dB per degree, below zero: -0.10 to -0.20 over land at C band.

    Returns:
        dB, `(*batch)`.

    Equation:
        sigma - beta (theta - theta_ref), of angles in degrees.

    References:
        Wagner, Lemoine, Borgeaud & Rott 1999, IEEE Trans. Geosci. Remote Sens. 37, 938.
    """
    turned = jnp.degrees(view.incidence - reference.incidence)
    return jnp.asarray(decibels, turned.dtype) - jnp.asarray(slope, turned.dtype) * turned
