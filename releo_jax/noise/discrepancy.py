"""What the simulator gets wrong beside the noise: a bias of each band, and an error smooth in wavelength."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions.distribution import Distribution

from releo_jax.noise._checks import (
    check_positive,
    check_shape,
    global_site,
    is_zero,
    log_wavelengths,
    of_bands,
    spread_of,
)
from releo_jax.noise.laws import smooth_correlation


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
        log_wavelengths("Discrepancy", wavelengths, None)
        self.wavelengths = tuple(float(w) for w in np.asarray(wavelengths))
        example = jnp.zeros(len(self.wavelengths))
        for part, value in (("bias", bias), ("amplitude", amplitude)):
            spread_of("Discrepancy", part, value, example)
        check_shape("Discrepancy", "offset", jnp.asarray(offset), example.shape)
        check_positive("Discrepancy", "length", length)
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
    if is_zero(discrepancy.bias) and is_zero(discrepancy.amplitude):
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
    if not is_zero(discrepancy.amplitude):
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
    if not is_zero(prior.bias):
        deviation = of_bands("learn_discrepancy", "bias", prior.bias, bands)
        law = dist.Normal(jnp.broadcast_to(jnp.asarray(offset), (bands,)), deviation).to_event(1)
        offset = global_site(f"{name}_bias", law, (bands,))
    if not is_zero(amplitude) and amplitude_spread > 0.0:
        amplitude = _scaled(f"{name}_amplitude", amplitude, amplitude_spread)
        if length_spread > 0.0:
            length = _scaled(f"{name}_length", length, length_spread)
    return Discrepancy(wavelengths=prior.wavelengths, bias=0.0, amplitude=amplitude, length=length, offset=offset)


def _scaled(name: str, median: Any, spread: float) -> Array:
    """A log-normal site; one factor for all bands where the median has several."""
    median = jnp.asarray(median)
    if median.ndim == 0:
        return global_site(name, dist.LogNormal(jnp.log(median), spread), ())
    return median * global_site(name, dist.LogNormal(0.0, spread), ())


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
