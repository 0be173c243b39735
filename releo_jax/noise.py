"""What separates measured bands from simulated ones: laws of the noise, and of the model's own error.

Each function takes the simulated bands `(*batch, band)` and returns the law that `observe` scores; masked bands are
marginalised there, so that every law here works with missing bands. What is to be learned is sampled once for all
pixels, outside the plate:

    def model(data):
        std = learned_noise("noise", bands=10, median=0.02)
        misfit = learn_discrepancy("misfit", Discrepancy(wavelengths=s2.centres, bias=0.02, amplitude=0.01))
        with numpyro.plate("pixel", data["s2"].values.shape[0]):
            bands = ...
            observe("s2", with_discrepancy(gaussian(bands, std), misfit), data["s2"])

Standard deviations of bands are in the unit of the bands, for reflectance 1.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions.distribution import Distribution


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
    _check_mean("gaussian", mean)
    return dist.Normal(mean, _spread("gaussian", "std", std, mean, positive=True))


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
    _check_mean("student_t", mean)
    scale = _spread("student_t", "scale", scale, mean, positive=True)
    return dist.StudentT(_spread("student_t", "degrees", degrees, mean, positive=True), mean, scale)


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
    _check_mean(name, mean)
    additive = _spread(name, "additive", additive, mean)
    variance = (_spread(name, "relative", relative, mean) * mean) ** 2 + additive**2
    if _is_zero(common_additive) and _is_zero(common_relative):
        return dist.Normal(mean, jnp.sqrt(variance))
    factors = [
        _spread(name, "common_relative", common_relative, mean) * mean,
        jnp.broadcast_to(_spread(name, "common_additive", common_additive, mean), mean.shape),
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
    _check_mean("common_gain", mean)
    position = _log_wavelengths("common_gain", wavelengths, mean.shape[-1])
    if np.ptp(position) == 0.0:
        raise ValueError("common_gain: expected at least two different wavelengths, got one; use gaussian")
    position = (position - position.mean()) / np.ptp(position)
    given = {"gain": gain, "tilt": tilt, "offset": offset, "relative": relative, "std": std}
    gain, tilt, offset, relative, std = (_spread("common_gain", name, value, mean) for name, value in given.items())
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
    _check_mean("correlated", mean)
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
    position = _log_wavelengths("smooth_correlation", wavelengths, None)
    length = _positive("smooth_correlation", "length", length)
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
    median, spread = (_of_bands("learned_noise", n, v, bands) for n, v in (("median", median), ("spread", spread)))
    law = dist.LogNormal(jnp.log(median), spread).expand(shape).to_event(1)
    return _global(name, law, shape)


class Discrepancy(eqx.Module):
    """What the simulator gets wrong, beside the noise: a bias of each band, and an error smooth in wavelength.

    The bias is the same in all pixels; the smooth error is each pixel's own.

    Attributes:
        wavelengths: centres `(band,)`, nm.
        bias: standard deviation of the bias around `offset`, in the unit of the bands; a number or `(band,)`.
        amplitude: standard deviation of the smooth error, in the unit of the bands; a number or `(band,)`.
        length: correlation length of the smooth error in the logarithm of wavelength, see `smooth_correlation`.
        offset: known part of the bias, in the unit of the bands; a number or `(band,)`.
    """

    wavelengths: tuple[float, ...] = eqx.field(static=True)
    bias: Any
    amplitude: Any
    length: Any
    offset: Any

    def __init__(
        self, *, wavelengths: Any, bias: Any = 0.0, amplitude: Any = 0.0, length: Any = 0.3, offset: Any = 0.0
    ) -> None:
        _log_wavelengths("Discrepancy", wavelengths, None)
        self.wavelengths = tuple(float(w) for w in np.asarray(wavelengths))
        example = jnp.zeros(len(self.wavelengths))
        for part, value in (("bias", bias), ("amplitude", amplitude)):
            _spread("Discrepancy", part, value, example)
        _check_shape("Discrepancy", "offset", jnp.asarray(offset), example.shape)
        _positive("Discrepancy", "length", length)
        self.bias, self.amplitude, self.length, self.offset = bias, amplitude, length, offset


def with_discrepancy(law: Distribution, discrepancy: Discrepancy) -> Distribution:
    """The law of the bands when the simulator is wrong as `discrepancy` says; its deviations are integrated out.

    For one pixel this is exact. Over many pixels a bias that is integrated out counts as if each had its own: nothing
    is learned about it, and intervals stay as wide as the prior of the bias asks. `learn_discrepancy` ties the pixels.

    Args:
        law: normal law of the noise, per band or joint, around the simulated bands `(*batch, band)`; other laws only
            if `bias` and `amplitude` are the number 0.
        discrepancy: deviations given, or learned.

    Returns:
        One joint law per pixel; a law of the kind that was given if only the offset is not 0.

    Raises:
        ValueError: the law is not normal, or has another number of bands.

    Equation:
        y ~ N(m + offset, C + diag(bias^2) + amplitude_i amplitude_j rho_ij), C the covariance of the law.

    References:
        Kennedy & O'Hagan 2001, J. R. Stat. Soc. B 63, 425-464. Brynjarsdottir & O'Hagan 2014, Inverse Problems 30,
        114007, on what can be learned of parameters beside a discrepancy.
    """
    bands, shape = len(discrepancy.wavelengths), law.shape()
    if not shape or shape[-1] != bands:
        raise ValueError(
            f"with_discrepancy: expected a law of the {bands} bands whose wavelengths the discrepancy has, got shape "
            f"{shape}; select the same bands for both"
        )
    base = law.base_dist if isinstance(law, dist.Independent) and law.event_dim == 1 else law
    offset = jnp.asarray(discrepancy.offset)
    if _is_zero(discrepancy.bias) and _is_zero(discrepancy.amplitude):
        return _shifted(base, offset)
    if isinstance(base, dist.MultivariateNormal | dist.LowRankMultivariateNormal):
        covariance = base.covariance_matrix
    elif isinstance(base, dist.Normal):
        covariance = (jnp.asarray(base.scale) ** 2)[..., None] * jnp.eye(bands)
    else:
        raise ValueError(
            f"with_discrepancy: expected a normal law (gaussian, additive_multiplicative, common_gain, correlated), "
            f"got {type(base).__name__}; learn the bias and give amplitude=0.0"
        )
    bias, amplitude = (jnp.broadcast_to(jnp.asarray(v), (bands,)) for v in (discrepancy.bias, discrepancy.amplitude))
    extra = jnp.diag(bias**2)
    if not _is_zero(discrepancy.amplitude):
        smooth = smooth_correlation(discrepancy.wavelengths, discrepancy.length)
        extra = extra + amplitude[:, None] * amplitude * smooth
    return dist.MultivariateNormal(jnp.broadcast_to(base.loc, shape) + offset, covariance + extra)


def learn_discrepancy(
    name: str, prior: Discrepancy, *, amplitude_spread: float = 0.5, length_spread: float = 0.0
) -> Discrepancy:
    """Samples the discrepancy that all pixels share: call it outside the plate.

    The sites are `{name}_bias`, around the offset with the prior's deviation, `{name}_amplitude` and `{name}_length`,
    log-normal around the prior's values as medians. What is the number 0 stays so. The smooth error itself remains
    integrated out, pixel by pixel.

    Args:
        name: the beginning of the sites' names.
        prior: deviations of the bias, medians of amplitude and length; numbers, the bias also `(band,)`.
        amplitude_spread: deviation of the logarithm of the amplitude, 1; 0 leaves the amplitude at the prior's.
        length_spread: the same for the length, which few bands say little about.

    Returns:
        A discrepancy whose bias is known, for `with_discrepancy` inside the plate.

    Raises:
        ValueError: a spread is negative, or the call is in a plate.
    """
    bands = len(prior.wavelengths)
    spreads = {"amplitude_spread": amplitude_spread, "length_spread": length_spread}
    for part, value in spreads.items():
        if value < 0.0:
            raise ValueError(f"learn_discrepancy: expected {part} at least 0, got {value}; 0 leaves the value as it is")
    offset, amplitude, length = prior.offset, prior.amplitude, prior.length
    if not _is_zero(prior.bias):
        deviation = _of_bands("learn_discrepancy", "bias", prior.bias, bands)
        law = dist.Normal(jnp.broadcast_to(jnp.asarray(offset), (bands,)), deviation).to_event(1)
        offset = _global(f"{name}_bias", law, (bands,))
    if not _is_zero(amplitude) and amplitude_spread > 0.0:
        amplitude = _scaled(f"{name}_amplitude", amplitude, amplitude_spread)
        if length_spread > 0.0:
            length = _scaled(f"{name}_length", length, length_spread)
    return Discrepancy(wavelengths=prior.wavelengths, bias=0.0, amplitude=amplitude, length=length, offset=offset)


def _scaled(name: str, median: Any, spread: float) -> Array:
    """A log-normal site; one factor for all bands where the median has several."""
    median = jnp.asarray(median)
    if median.ndim == 0:
        return _global(name, dist.LogNormal(jnp.log(median), spread), ())
    return median * _global(name, dist.LogNormal(0.0, spread), ())


def _global(name: str, law: Distribution, shape: tuple[int, ...]) -> Array:
    value = numpyro.sample(name, law)
    if jnp.shape(value) != shape:
        raise ValueError(
            f"site {name!r}: expected one value {shape} for all pixels, got {jnp.shape(value)}; call it before the "
            "plate is entered"
        )
    return value


def _shifted(law: Distribution, offset: Array) -> Distribution:
    """A law around its location plus an offset `()` or `(band,)`."""
    if isinstance(law, dist.Normal | dist.Laplace):
        return type(law)(law.loc + offset, law.scale)
    if isinstance(law, dist.StudentT):
        return dist.StudentT(law.df, law.loc + offset, law.scale)
    if isinstance(law, dist.LowRankMultivariateNormal):
        return dist.LowRankMultivariateNormal(law.loc + offset, law.cov_factor, law.cov_diag)
    if isinstance(law, dist.MultivariateNormal):
        return dist.MultivariateNormal(law.loc + offset, scale_tril=law.scale_tril)
    raise ValueError(
        f"with_discrepancy: expected a law of this module, got {type(law).__name__}; add the offset to the simulated "
        "bands yourself"
    )


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and value == 0


def _check_mean(function: str, mean: Any) -> None:
    if jnp.ndim(mean) < 1:
        raise ValueError(f"{function}: expected simulated bands (*batch, band), got a number; put the bands last")


def _check_shape(function: str, name: str, value: Array, shape: tuple[int, ...]) -> None:
    try:
        fits = jnp.broadcast_shapes(value.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{function}: expected {name} to be a number or to broadcast to the bands {shape}, got shape "
            f"{value.shape}; give one value per band, in their order"
        )


def _spread(function: str, name: str, value: Any, mean: Array, *, positive: bool = False) -> Any:
    """A standard deviation that goes with the bands, after a look at its shape and, outside `jit`, its sign."""
    _check_shape(function, name, jnp.asarray(value), jnp.shape(mean))
    return _positive(function, name, value) if positive else _checked(function, name, value, "at least 0", 0.0)


def _positive(function: str, name: str, value: Any) -> Any:
    return _checked(function, name, value, "above 0", float(np.finfo(np.float32).tiny))


def _checked(function: str, name: str, value: Any, wanted: str, least: float) -> Any:
    if not isinstance(value, jax.core.Tracer):
        numbers = np.asarray(value)
        if not (np.isfinite(numbers) & (numbers >= least)).all():
            worst = numbers.min() if np.isfinite(numbers).all() else "values that are not finite"
            raise ValueError(
                f"{function}: expected {name} {wanted}, got {worst}; give a standard deviation or a length"
            )
    return value


def _of_bands(function: str, name: str, value: Any, bands: int) -> Array:
    _check_shape(function, name, jnp.asarray(value), (bands,))
    return jnp.asarray(_positive(function, name, value))


def _log_wavelengths(function: str, wavelengths: Any, bands: int | None) -> np.ndarray:
    centres = np.asarray(wavelengths, np.float64)
    if centres.ndim != 1 or bands not in (None, centres.size):
        raise ValueError(
            f"{function}: expected the wavelengths of the {bands or ''} bands (band,), got shape {centres.shape}; give "
            "the sensor's centres, of the bands that are simulated"
        )
    if not (np.isfinite(centres) & (centres > 0.0)).all():
        raise ValueError(
            f"{function}: expected wavelengths above 0 in nm, got {centres.min()}; use the sensor's centres"
        )
    return np.log(centres)


__all__ = [
    "Discrepancy",
    "additive_multiplicative",
    "common_gain",
    "correlated",
    "gaussian",
    "learn_discrepancy",
    "learned_noise",
    "smooth_correlation",
    "student_t",
    "with_discrepancy",
]
