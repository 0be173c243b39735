"""Laws of the noise: they take the simulated bands `(*batch, band)` and return what `observe` scores."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions.distribution import Distribution

from releo_jax.noise._checks import (
    check_mean,
    check_positive,
    global_site,
    is_zero,
    log_wavelengths,
    of_bands,
    spread_of,
)


def gaussian(mean: Array, std: Any) -> Distribution:
    """Independent normal noise in each band.

    Args:
        mean: simulated bands `(*batch, band)`.
        std: standard deviation, a number, `(band,)` or `(*batch, band)`; fixed, or from `learned_noise`.

    Returns:
        One normal law per band.

    Raises:
        ValueError: `std` does not broadcast to the bands, or is not positive.

    Equation:
        y_i = m_i + s_i e_i, e_i ~ N(0, 1).
    """
    check_mean("gaussian", mean)
    return dist.Normal(mean, spread_of("gaussian", "std", std, mean, positive=True))


def student_t(mean: Array, scale: Any, degrees: Any = 4.0) -> Distribution:
    """Independent noise with heavy tails: undetected clouds and shadows pull less than under a normal law.

    Args:
        mean: simulated bands `(*batch, band)`.
        scale: of each band, a number, `(band,)` or `(*batch, band)`; the standard deviation is larger by
            sqrt(degrees / (degrees - 2)).
        degrees: degrees of freedom, 1; the variance is finite above 2, and the law is normal in the limit.

    Returns:
        One Student law per band.

    Raises:
        ValueError: `scale` or `degrees` do not broadcast to the bands, or are not positive.

    Equation:
        p(y_i) ~ (1 + ((y_i - m_i) / s_i)^2 / degrees)^(-(degrees + 1) / 2).

    References:
        Lange, Little & Taylor 1989, J. Am. Stat. Assoc. 84, 881-896.
    """
    check_mean("student_t", mean)
    scale = spread_of("student_t", "scale", scale, mean, positive=True)
    return dist.StudentT(spread_of("student_t", "degrees", degrees, mean, positive=True), mean, scale)


def additive_multiplicative(
    mean: Array,
    *,
    additive: Any = 0.01,
    relative: Any = 0.02,
    common_additive: Any = 0.0,
    common_relative: Any = 0.0,
) -> Distribution:
    """Noise of two parts, one that every reflectance has and one that grows with it.

    The defaults are the band-dependent terms of the Sentinel-2 toolbox. Its band-independent ones, a draw for all
    bands of a pixel, are `common_additive=0.01, common_relative=0.02`. Public code draws the second pair independently
    in B2 and B3 and leaves it out elsewhere: then both stds of these two bands are larger by sqrt(2) (give arrays).

    Args:
        mean: simulated bands `(*batch, band)`.
        additive: standard deviation of AD, in the unit of the bands; a number, `(band,)` or `(*batch, band)`.
        relative: standard deviation of MD, 1; the same shapes.
        common_additive: standard deviation of AI, in the unit of the bands; a number or `(*batch, 1)`.
        common_relative: standard deviation of MI, 1; a number or `(*batch, 1)`.

    Returns:
        One normal law per band where both common terms are the number 0, else one joint law per pixel.

    Raises:
        ValueError: a standard deviation does not broadcast to the bands, or is negative.

    Equation:
        y_i = m_i (1 + MD_i + MI) + AD_i + AI.

    References:
        Weiss & Baret 2016, S2ToolBox level 2 products: LAI, FAPAR, FCOVER, version 1.1.
    """
    name = "additive_multiplicative"
    check_mean(name, mean)
    additive = spread_of(name, "additive", additive, mean)
    variance = (spread_of(name, "relative", relative, mean) * mean) ** 2 + additive**2
    if is_zero(common_additive) and is_zero(common_relative):
        return dist.Normal(mean, jnp.sqrt(variance))
    factors = [
        spread_of(name, "common_relative", common_relative, mean) * mean,
        jnp.broadcast_to(spread_of(name, "common_additive", common_additive, mean), mean.shape),
    ]
    return dist.LowRankMultivariateNormal(mean, jnp.stack(factors, -1), variance)


def common_gain(
    mean: Array,
    std: Any,
    *,
    wavelengths: Any,
    gain: Any = 0.10,
    tilt: Any = 0.08,
    offset: Any = 0.008,
    relative: Any = 0.04,
) -> Distribution:
    """Errors that are alike in all bands, as residual aerosol, anisotropy and shadows make them, over noise of each.

    Args:
        mean: simulated bands `(*batch, band)`.
        std: standard deviation of the independent noise, in the unit of the bands; a number, `(band,)` or
            `(*batch, band)`.
        wavelengths: centres `(band,)`, nm, at least two different ones.
        gain: standard deviation of the factor g common to all bands, 1; numbers, as those below.
        tilt: of the factor t that grows linearly with the logarithm of wavelength, 1.
        offset: of the term o common to all bands, in their unit.
        relative: of the independent factor r_i in each band, 1.

    Returns:
        One joint law per pixel.

    Raises:
        ValueError: shapes disagree with the bands, a standard deviation is negative, or wavelengths are not positive.

    Equation:
        y_i = m_i (1 + g + t x_i + r_i) + o + s_i e_i, x_i = (log w_i - mean log w) / (max log w - min log w).
    """
    check_mean("common_gain", mean)
    position = log_wavelengths("common_gain", wavelengths, mean.shape[-1])
    if np.ptp(position) == 0.0:
        raise ValueError("common_gain: expected at least two different wavelengths, got one; use gaussian")
    position = (position - position.mean()) / np.ptp(position)
    given = {"gain": gain, "tilt": tilt, "offset": offset, "relative": relative, "std": std}
    gain, tilt, offset, relative, std = (spread_of("common_gain", name, value, mean) for name, value in given.items())
    factors = [
        gain * mean,
        tilt * position.astype(np.float32) * mean,
        jnp.broadcast_to(jnp.asarray(offset, mean.dtype), mean.shape),
    ]
    diagonal = (relative * mean) ** 2 + std**2
    return dist.LowRankMultivariateNormal(mean, jnp.stack(factors, axis=-1), diagonal)


def correlated(mean: Array, covariance: Any) -> Distribution:
    """Normal noise with a covariance between the bands.

    Args:
        mean: simulated bands `(*batch, band)`.
        covariance: `(band, band)` or `(*batch, band, band)`, symmetric and positive definite, in the squared unit of
            the bands; for example `std[:, None] * std * smooth_correlation(wavelengths, 0.3)`.

    Returns:
        One joint law per pixel.

    Raises:
        ValueError: the covariance is not square, has another number of bands, or is not positive definite.
    """
    check_mean("correlated", mean)
    covariance = jnp.asarray(covariance)
    bands = mean.shape[-1]
    if covariance.ndim < 2 or covariance.shape[-2:] != (bands, bands):
        raise ValueError(
            f"correlated: expected a square covariance (band, band) = ({bands}, {bands}), got shape "
            f"{covariance.shape}; for standard deviations of independent bands use gaussian"
        )
    if not isinstance(covariance, jax.core.Tracer):
        value = np.asarray(covariance, np.float64)
        if not np.allclose(value, np.swapaxes(value, -1, -2), rtol=1e-4, atol=1e-6 * np.abs(value).max()):
            raise ValueError(
                "correlated: expected a symmetric covariance, got one that is not; average it with its transpose"
            )
        least = float(np.linalg.eigvalsh(value).min())
        if not least > 0.0:
            raise ValueError(
                f"correlated: expected a positive definite covariance, got the least eigenvalue {least:.3g}; add the "
                "variance of independent noise to its diagonal"
            )
    return dist.MultivariateNormal(mean, covariance)


def smooth_correlation(wavelengths: Any, length: Any) -> Array:
    """Correlation between bands that falls with their distance in wavelength (Matern, 3/2).

    Args:
        wavelengths: centres `(band,)`, nm.
        length: distance in the logarithm of wavelength at which the correlation is 0.48, 1; 0.3 is from 600 to 810 nm.

    Returns:
        Correlation `(band, band)`.

    Raises:
        ValueError: `wavelengths` or `length` are not positive.

    Equation:
        rho_ij = (1 + sqrt(3) d) exp(-sqrt(3) d), d = |log w_i - log w_j| / length.

    References:
        Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, equation 4.17.
    """
    position = log_wavelengths("smooth_correlation", wavelengths, None)
    length = check_positive("smooth_correlation", "length", length)
    distance = math.sqrt(3.0) * jnp.asarray(np.abs(position[:, None] - position), jnp.result_type(float)) / length
    return (1.0 + distance) * jnp.exp(-distance)


def learned_noise(name: str, *, bands: int, median: Any = 0.02, spread: Any = 0.5) -> Array:
    """Samples the standard deviation of the noise of each band, one for all pixels: call it outside the plate.

    Args:
        name: of the site.
        bands: number of bands.
        median: of the prior, in the unit of the bands; a number or `(band,)`.
        spread: deviation of the logarithm, 1; 0.5 is a factor of 1.6 up or down. A number or `(band,)`.

    Returns:
        Standard deviations `(band,)`, to be handed to `gaussian` and the others.

    Raises:
        ValueError: `median` or `spread` are not positive or of another number of bands, or the call is in a plate.
    """
    shape = (bands,)
    median, spread = (of_bands("learned_noise", n, v, bands) for n, v in (("median", median), ("spread", spread)))
    law = dist.LogNormal(jnp.log(median), spread).expand(shape).to_event(1)
    return global_site(name, law, shape)
