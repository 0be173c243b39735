"""Laws of a process at the dates of a series that are not the process given sites: mean-field and banded ones.

They are what autoencoders had before sites, and are here to compare with. The network says directly which law the
process has at the dates; nothing makes it that of a process, so that all it knows of the dates around must come out of
the network. The covariance of the prior is factored whole, for any kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike

from releo_jax.gp.batches import one_by_one
from releo_jax.gp.covariances import flat, jitter, singular_root
from releo_jax.gp.kernels import Kernel
from releo_jax.gp.process import Law
from releo_jax.gp.sites import Marginals, Sites


class FreeLaw(Law):
    """A process that has a Gaussian law of its own at its usable dates, and elsewhere follows from it by the prior.

    Made by `mean_field` or `banded`. The cost is the third power of the number of dates, masked ones included, and the
    memory the second: the divergence needs the factor of the prior's covariance. A masked date adds nothing to the
    divergence, and its marginals are those of any other day.

    Attributes:
        kernel: of the prior, with one output. Parameters are scalars, or have the shape `(*batch)` of the pixels.
        dates: rising days, means and mask `(*batch, date)`; their variances are not used.
        diagonal: of B, above zero, `(*batch, date)`.
        coupling: of each date with the next usable one in B, `(*batch, date)`; that of the last is not used.

    Equation:
        q(f) = N(m, (Bᵀ B)⁻¹) with B upper bidiagonal, and q(f*) the mean of p(f* | f) over q(f).
        KL = ½ (|L⁻¹ B⁻¹|² + |L⁻¹ m|² - n) + sum log L_ii + sum log B_ii with L Lᵀ = K + jitter, where the jitter is
        `covariances.jitter`: the variance of an error of the prior at each date.

    Validity:
        Under the prior two dates of one day have the same value, and close ones nearly: a law that takes them for
        independent is so far from it that the divergence grows with variance / jitter. In single precision that of
        dates half a day apart under a `Matern52` of 25 days is wrong by a third, that of dates 5 days apart by 1e-3.

    References:
        Fortuin et al. 2020, GP-VAE: deep probabilistic time series imputation, AISTATS, section 3.2 (banded precision).
    """

    kernel: Kernel
    dates: Sites
    diagonal: Array
    coupling: Array

    def __check_init__(self) -> None:
        if self.kernel.outputs is not None:
            raise ValueError(
                f"FreeLaw: expected a kernel with one output, got {self.kernel.outputs}; give every output a law"
            )

    def at(self, time: ArrayLike | None = None) -> Marginals:
        if time is not None:
            return _at(self, jnp.asarray(time, self.dates.value.dtype))
        # The dates themselves have their law without the jitter's error; the masked ones are days like others.
        elsewhere, mask = _at(self, self.dates.time), self.dates.mask
        return Marginals(
            jnp.where(mask, self.dates.value, elsewhere.mean), jnp.where(mask, _variances(self), elsewhere.variance)
        )

    def kl(self) -> Array:
        return _kl(self)

    def sample(self, key: Array, time: ArrayLike, sample_shape: tuple[int, ...] = ()) -> Array:
        return _sample(self, key, jnp.asarray(time, self.dates.value.dtype), sample_shape)


def banded(
    kernel: Kernel,
    time: ArrayLike,
    mean: ArrayLike,
    diagonal: ArrayLike,
    coupling: ArrayLike,
    mask: ArrayLike | None = None,
) -> FreeLaw:
    """The law N(mean, (Bᵀ B)⁻¹), in which each date depends on the next: the precision has three diagonals.

    Args:
        kernel: of the prior.
        time: rising days `(*batch, date)`.
        mean: `(*batch, date)`.
        diagonal: of B, above zero, `(*batch, date)`.
        coupling: entry of B that couples a date with the next usable one, `(*batch, date)`; that of the last is not
            used. Below zero the two go together.
        mask: `(*batch, date)`, True = usable.
    """
    dates = Sites(time, mean, 1.0, mask)
    shape, dtype = dates.value.shape, dates.value.dtype
    return FreeLaw(
        kernel,
        dates,
        jnp.broadcast_to(jnp.asarray(diagonal, dtype), shape),
        jnp.broadcast_to(jnp.asarray(coupling, dtype), shape),
    )


def mean_field(
    kernel: Kernel, time: ArrayLike, mean: ArrayLike, variance: ArrayLike, mask: ArrayLike | None = None
) -> FreeLaw:
    """The law in which dates are independent.

    Args:
        kernel: of the prior.
        time: rising days `(*batch, date)`.
        mean: `(*batch, date)`.
        variance: above zero, `(*batch, date)`.
        mask: `(*batch, date)`, True = usable.
    """
    return banded(kernel, time, mean, 1.0 / jnp.sqrt(jnp.asarray(variance)), 0.0, mask)


def _usable_first(dates: Sites) -> Array:
    return jnp.argsort(~dates.mask, stable=True)


def _band(order: Array, there: Array, diagonal: Array, coupling: Array) -> Array:
    """B of the dates in an order, `(date, date)`."""
    band = jnp.diag(jnp.where(there, diagonal[order], 1.0))
    return band + jnp.diag(jnp.where(there[1:], coupling[order][:-1], 0.0), 1)


def _over_pixels(function: Callable[..., Any], law: FreeLaw, *others: Array) -> Any:
    """A function over the pixels of the kernel, and of their usable dates, which come first: days, which of them there
    are, L, B, and L⁻¹ m. What is not there has a one on the diagonals and zeros elsewhere."""

    def pixel(kernel: Kernel, given: tuple[Any, ...]) -> Any:
        dates, diagonal, coupling, *others = given
        order = _usable_first(dates)
        days, there = dates.time[order], dates.mask[order]
        covariance = flat(kernel, days, days)
        error = jitter(jnp.diagonal(covariance), 1) * there.sum()  # of what is there: masked dates change nothing
        covariance = jnp.where(there[:, None] & there, covariance, 0.0) + jnp.diag(jnp.where(there, error, 1.0))
        root = jnp.linalg.cholesky(covariance)
        band = _band(order, there, diagonal, coupling)
        whitened = solve_triangular(root, dates.value[order], lower=True)
        return function(kernel, days, there, root, band, whitened, *others)

    batch = law.dates.time.shape[:-1]
    given = (law.dates, law.diagonal, law.coupling, *others)
    return one_by_one(pixel, law.kernel, given, batch=batch, together=False)


@eqx.filter_jit
def _variances(law: FreeLaw) -> Array:
    """Of the dates themselves, `(*batch, date)`; what is masked has a one."""

    def pixel(kernel: Kernel, given: tuple[Sites, Array, Array]) -> Array:
        dates, diagonal, coupling = given
        order = _usable_first(dates)
        band = _band(order, dates.mask[order], diagonal, coupling)
        inverse = solve_triangular(band, jnp.eye(len(order), dtype=band.dtype))
        return (inverse**2).sum(1)[jnp.argsort(order)]

    given = (law.dates, law.diagonal, law.coupling)
    found: Array = one_by_one(pixel, law.kernel, given, batch=law.dates.time.shape[:-1], together=False)
    return found


@eqx.filter_jit
def _kl(law: FreeLaw) -> Array:
    def pixel(kernel: Kernel, days: Array, there: Array, root: Array, band: Array, whitened: Array) -> Array:
        spread = solve_triangular(root, solve_triangular(band, jnp.eye(len(days), dtype=band.dtype)), lower=True)
        pivots = jnp.log(jnp.diagonal(root)).sum() + jnp.log(jnp.diagonal(band)).sum()
        return 0.5 * ((spread**2).sum() + (whitened**2).sum() - len(days)) + pivots

    found: Array = _over_pixels(pixel, law)
    return found


def _towards(kernel: Kernel, days: Array, there: Array, root: Array, band: Array, wanted: Array) -> tuple[Array, Array]:
    """Of the days wanted: L⁻¹ K, and B⁻ᵀ K⁻¹ K, whose squares the variance of the prior loses and gets back."""
    taken = solve_triangular(root, jnp.where(there[:, None], flat(kernel, days, wanted), 0.0), lower=True)
    slopes = solve_triangular(root, taken, lower=True, trans="T")
    return taken, solve_triangular(band, slopes, trans="T")


@eqx.filter_jit
def _at(law: FreeLaw, time: Array) -> Marginals:
    def pixel(
        kernel: Kernel, days: Array, there: Array, root: Array, band: Array, whitened: Array, wanted: Array
    ) -> Marginals:
        taken, given = _towards(kernel, days, there, root, band, wanted)
        mean = jnp.einsum("i,ij->j", whitened, taken, precision="highest")
        return Marginals(mean, kernel.variances(wanted) - (taken**2).sum(0) + (given**2).sum(0))

    wanted = jnp.broadcast_to(time, (*law.dates.time.shape[:-1], time.shape[-1]))
    found: Marginals = _over_pixels(pixel, law, wanted)
    return found


@eqx.filter_jit
def _sample(law: FreeLaw, key: Array, time: Array, sample_shape: tuple[int, ...]) -> Array:
    def pixel(
        kernel: Kernel, days: Array, there: Array, root: Array, band: Array, whitened: Array, wanted: Array
    ) -> tuple[Array, Array]:
        taken, given = _towards(kernel, days, there, root, band, wanted)
        mean = jnp.einsum("i,ij->j", whitened, taken, precision="highest")
        lost = jnp.einsum("ij,ik->jk", taken, taken, precision="highest")
        kept = jnp.einsum("ij,ik->jk", given, given, precision="highest")
        return mean, singular_root(flat(kernel, wanted, wanted) - lost + kept)

    wanted = jnp.broadcast_to(time, (*law.dates.time.shape[:-1], time.shape[-1]))
    mean, root = _over_pixels(pixel, law, wanted)
    noise = jax.random.normal(key, (*sample_shape, *mean.shape), mean.dtype)
    return mean + jnp.einsum("...ij,...j->...i", root, noise, precision="highest")
