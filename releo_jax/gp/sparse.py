"""Gaussian processes by their values on a few inducing days: any kernel, in linear time, approximate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.typing import ArrayLike

from releo_jax.gp.batches import one_by_one, with_outputs, without_outputs
from releo_jax.gp.covariances import flat, jitter, singular_root
from releo_jax.gp.exact import Exact
from releo_jax.gp.kernels import Kernel
from releo_jax.gp.process import Posterior, Process, expected_log_likelihood
from releo_jax.gp.sites import Marginals, Sites


def _as_days(inducing: ArrayLike) -> Array:
    days = jnp.asarray(inducing)
    return days if jnp.issubdtype(days.dtype, jnp.floating) else days.astype(jnp.float32)


class Sparse(Process):
    """A Gaussian process whose posterior is told by its values on inducing days.

    The prior stays the exact process; what is approximate is the posterior, the best of those that add nothing to
    p(f | u) but a law q(u) of the inducing values u. Cost: m² for each date and m³ once, for m inducing days times
    outputs. With inducing days at all dates it is exact.

    Attributes:
        kernel: any. With several outputs, all of them have a value on each inducing day.
        inducing: days, rising, `(m,)`, or `(*batch, m)` where each pixel has its own. `log_evidence` has a gradient
            towards them.

    Validity:
        The rougher the kernel and the smaller the errors of the sites, the more inducing days it takes; too few make
        the posterior too wide, and the bound low by many units. With errors of a thousandth of the variance, a day for
        each half of its scale is enough for `SquaredExponential` (variances within 6 %, in single precision 20 %), and
        one for each third of it is not for `Matern52` (variances up to 15 times too large). Add days until the bound
        stays.

    Equation:
        With u = L v, L Lᵀ = K_uu + jitter, A = L⁻¹ K_uf and S the reciprocal variances of the sites:
        q(v) = N(P⁻¹ h, P⁻¹), P = 1 + A S Aᵀ, h = A S y. The jitter is `covariances.jitter`, 4e-16 m of the variance in
        double precision and 2e-7 m in single: it is the variance of an error of the inducing values, so that the bound
        stays one; it lowers it by half the sum of jitter / variance over the sites or so.

    Raises:
        ValueError: no inducing days, days that do not rise, or of another batch than the sites.

    References:
        Titsias 2009, Variational learning of inducing variables in sparse Gaussian processes, AISTATS; Hensman, Fusi &
        Lawrence 2013, Gaussian processes for big data, UAI; Jazbec et al. 2021, Scalable Gaussian process variational
        autoencoders, AISTATS (minibatches).
    """

    kernel: Kernel
    inducing: Array = eqx.field(converter=_as_days)

    def __check_init__(self) -> None:
        if not self.inducing.ndim or not self.inducing.shape[-1]:
            raise ValueError(
                f"Sparse: expected inducing days (m,) or (*batch, m), got the shape {self.inducing.shape}; give one "
                "day at least, jnp.linspace over the season for instance"
            )
        if isinstance(self.inducing, jax.core.Tracer):
            return
        days = np.asarray(self.inducing)
        if not np.isfinite(days).all():
            raise ValueError(
                f"Sparse: expected inducing days that are known, got {days[~np.isfinite(days)][0]} at index "
                f"{tuple(int(i) for i in np.argwhere(~np.isfinite(days))[0])}; leave it out"
            )
        falls = np.diff(days, axis=-1) <= 0.0
        if falls.any():
            where = tuple(int(i) for i in np.argwhere(falls)[0])
            following = (*where[:-1], where[-1] + 1)
            raise ValueError(
                f"Sparse: expected rising inducing days, no two the same, got day {days[following]} after day "
                f"{days[where]} at index {following}; give numpy.unique of them"
            )

    def condition(self, sites: Sites, *, weight: ArrayLike = 1.0) -> SparsePosterior:
        """The process given the sites.

        Args:
            sites: all, or a minibatch.
            weight: number of dates that each site stands for, `()` or `(*batch)`: N / n for n dates drawn from N. The
                mean of `shift` and `precision` over such minibatches is that of all dates.
        """
        batch = sites.time.shape[:-1]
        if self.inducing.shape[:-1] not in ((), batch):
            raise ValueError(
                f"Sparse: expected inducing days (m,), or {(*batch, 'm')} for the pixels of these sites, got "
                f"{self.inducing.shape}"
            )
        weights = jnp.broadcast_to(jnp.asarray(weight, sites.value.dtype), batch)
        bound, *parts = _condition(self, sites, weights)
        return SparsePosterior(self, sites, bound, weights, *parts)

    def sample(self, key: Array, time: ArrayLike, sample_shape: tuple[int, ...] = ()) -> Array:
        """Joint draws of the exact process, which is the prior here: its cost is the third power of their dates."""
        return Exact(self.kernel).sample(key, time, sample_shape)

    def kl(self, sites: Sites, *, weight: ArrayLike = 1.0) -> Array:
        """Kullback-Leibler divergence of q(u) from p(u), `(*batch)`: of the approximate posterior from the process."""
        return self.condition(sites, weight=weight).kl()


class SparsePosterior(Posterior):
    """A process that has seen sites; made by `Sparse.condition`.

    Attributes:
        log_evidence: a lower bound of the log density of the values of the sites, each counted with its weight,
            `(*batch)`.
        weight: number of dates that each site stands for, `(*batch)`.
        root: L, lower factor of the covariance of the inducing values, `(*batch, m, m)`.
        shift: h = precision times mean of the whitened inducing values, `(*batch, m)`.
        precision: P of the whitened inducing values, `(*batch, m, m)`.
    """

    process: Sparse
    weight: Array
    root: Array
    shift: Array
    precision: Array

    def at(self, time: ArrayLike | None = None) -> Marginals:
        return _at(self, self.sites.time if time is None else jnp.asarray(time, self.sites.value.dtype))

    def kl(self) -> Array:
        """Kullback-Leibler divergence of q(u) from p(u), `(*batch)`.

        Equation:
            The mean of the log density of the sites' values over this law, times weight, less the bound.
        """
        return self.weight * expected_log_likelihood(self.sites, self.at()) - self.log_evidence

    def sample(self, key: Array, time: ArrayLike, sample_shape: tuple[int, ...] = ()) -> Array:
        """Joint draws of u from q(u), then of f given u, at days `(*batch, date)` in any order.

        Returns:
            `(*sample_shape, *batch, date)`, or `(*sample_shape, *batch, date, output)`. The cost is the third power of
            the number of days.
        """
        return _sample(self, key, jnp.asarray(time, self.sites.value.dtype), sample_shape)


def _root(kernel: Kernel, inducing: Array) -> Array:
    covariance = flat(kernel, inducing, inducing)
    return jnp.linalg.cholesky(covariance + jnp.diag(jitter(jnp.diagonal(covariance), len(covariance))))


def _towards(kernel: Kernel, root: Array, inducing: Array, days: Array) -> Array:
    """Covariance between the whitened inducing values and the process: A, `(m output, n output)`."""
    return solve_triangular(root, flat(kernel, inducing, days), lower=True)


@eqx.filter_jit
def _condition(process: Sparse, sites: Sites, weight: Array) -> tuple[Array, Array, Array, Array]:
    def pixel(kernel: Kernel, given: tuple[Sites, Array, Array]) -> tuple[Array, Array, Array, Array]:
        sites, inducing, weight = given
        value, variance = sites.value.reshape(-1), sites.variance.reshape(-1)
        counted = jnp.where(sites.mask.reshape(-1), weight, 0.0)
        certain = counted / variance
        root = _root(kernel, inducing)
        towards = _towards(kernel, root, inducing, sites.time)
        shift = jnp.einsum("ij,j->i", towards, certain * value, precision="highest")
        seen = jnp.einsum("ij,kj->ik", towards * certain, towards, precision="highest")
        precision = jnp.eye(len(seen), dtype=seen.dtype) + seen
        factor = jnp.linalg.cholesky(precision)
        mean = cho_solve((factor, True), shift)
        # At its maximum over v the exponent is a sum of squares: y'Sy - h'P⁻¹h would lose single precision's digits.
        miss = (value - jnp.einsum("i,ij->j", mean, towards, precision="highest")) ** 2
        left = kernel.variances(sites.time).reshape(-1) - (towards**2).sum(0)
        density = counted * jnp.log(2.0 * math.pi * variance) + certain * (miss + left)
        bound = -0.5 * (density.sum() + (mean**2).sum()) - jnp.log(jnp.diagonal(factor)).sum()
        return bound, root, shift, precision

    batch = sites.time.shape[:-1]
    given = (with_outputs(sites), _inducing(process, sites), weight)
    found: tuple[Array, Array, Array, Array] = one_by_one(pixel, process.kernel, given, batch=batch)
    return found


def _inducing(process: Sparse, sites: Sites) -> Array:
    days = process.inducing.astype(sites.value.dtype)
    return jnp.broadcast_to(days, (*sites.time.shape[:-1], days.shape[-1]))


def _over_days(function: Callable[..., Any], posterior: SparsePosterior, time: Array) -> Any:
    """A function of the kernel, the days wanted, and the three roots that tell their moments, over the pixels.

    The roots are A, F⁻¹ A with F Fᵀ = P, and F⁻¹ h: the mean of the process is (F⁻¹ A)ᵀ F⁻¹ h, its covariance
    K - Aᵀ A + (F⁻¹ A)ᵀ F⁻¹ A.
    """

    def pixel(kernel: Kernel, given: tuple[Array, Array, Array, Array, Array]) -> Any:
        inducing, root, shift, precision, days = given
        towards = _towards(kernel, root, inducing, days)
        factor = jnp.linalg.cholesky(precision)
        kept = solve_triangular(factor, towards, lower=True)
        return function(kernel, days, towards, kept, solve_triangular(factor, shift, lower=True))

    process, sites = posterior.process, posterior.sites
    batch = sites.time.shape[:-1]
    days = jnp.broadcast_to(time, (*batch, time.shape[-1]))
    given = (_inducing(process, sites), posterior.root, posterior.shift, posterior.precision, days)
    return one_by_one(pixel, process.kernel, given, batch=batch)


def _mean(kept: Array, whitened: Array, days: Array) -> Array:
    return jnp.einsum("i,ij->j", whitened, kept, precision="highest").reshape(len(days), -1)


@eqx.filter_jit
def _at(posterior: SparsePosterior, time: Array) -> Marginals:
    def pixel(kernel: Kernel, days: Array, towards: Array, kept: Array, whitened: Array) -> Marginals:
        variance = kernel.variances(days).reshape(-1) - (towards**2).sum(0) + (kept**2).sum(0)
        return Marginals(_mean(kept, whitened, days), variance.reshape(len(days), -1))

    return without_outputs(_over_days(pixel, posterior, time), posterior.process.kernel)


@eqx.filter_jit
def _sample(posterior: SparsePosterior, key: Array, time: Array, sample_shape: tuple[int, ...]) -> Array:
    def pixel(kernel: Kernel, days: Array, towards: Array, kept: Array, whitened: Array) -> tuple[Array, Array]:
        taken = jnp.einsum("ij,ik->jk", towards, towards, precision="highest")
        added = jnp.einsum("ij,ik->jk", kept, kept, precision="highest")
        return _mean(kept, whitened, days), singular_root(flat(kernel, days, days) - taken + added)

    mean, root = _over_days(pixel, posterior, time)
    noise = jax.random.normal(key, (*sample_shape, *root.shape[:-1]), root.dtype)
    drawn = mean + jnp.einsum("...ij,...j->...i", root, noise, precision="highest").reshape(*sample_shape, *mean.shape)
    return drawn if posterior.process.kernel.outputs is not None else drawn[..., 0]
