"""Gaussian processes by the covariance between all dates: any kernel, cost of the third power of their number."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from releo_jax.gp.batches import one_by_one, with_outputs, without_outputs
from releo_jax.gp.covariances import flat, singular_root
from releo_jax.gp.kernels import Kernel
from releo_jax.gp.process import Posterior, Process
from releo_jax.gp.sites import Marginals, Sites


class Exact(Process):
    """A Gaussian process by the Cholesky factor of the covariance of its dates: the reference, and for short series.

    Attributes:
        kernel: any.

    References:
        Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, algorithm 2.1.
    """

    kernel: Kernel

    def condition(self, sites: Sites) -> ExactPosterior:
        return ExactPosterior(self, sites, *_condition(self.kernel, sites))

    def sample(self, key: Array, time: ArrayLike, sample_shape: tuple[int, ...] = ()) -> Array:
        return _sample(self.kernel, key, jnp.asarray(time), sample_shape)


class ExactPosterior(Posterior):
    """A process that has seen sites; made by `Exact.condition`.

    Attributes:
        root: Cholesky factor of the covariance of the sites' values; a masked one has a pivot of one.
        whitened: values, solved for it.
    """

    root: Array
    whitened: Array

    def at(self, time: ArrayLike | None = None) -> Marginals:
        return _at(self, self.sites.time if time is None else jnp.asarray(time, self.sites.value.dtype))


@eqx.filter_jit
def _condition(kernel: Kernel, sites: Sites) -> tuple[Array, Array, Array]:
    def pixel(kernel: Kernel, sites: Sites) -> tuple[Array, Array, Array]:
        value, variance, mask = sites.value.reshape(-1), sites.variance.reshape(-1), sites.mask.reshape(-1)
        covariance = flat(kernel, sites.time, sites.time)
        covariance = jnp.where(mask[:, None] & mask, covariance, 0.0) + jnp.diag(jnp.where(mask, variance, 1.0))
        root = jnp.linalg.cholesky(covariance)
        whitened = jax.scipy.linalg.solve_triangular(root, value, lower=True)
        pivots = jnp.log(jnp.diagonal(root)).sum()
        return -0.5 * ((whitened**2).sum() + math.log(2.0 * math.pi) * mask.sum()) - pivots, root, whitened

    found: tuple[Array, Array, Array] = one_by_one(pixel, kernel, with_outputs(sites), together=False)
    return found


@eqx.filter_jit
def _at(posterior: ExactPosterior, time: Array) -> Marginals:
    def pixel(kernel: Kernel, given: tuple[Sites, Array, Array, Array]) -> Marginals:
        sites, root, whitened, wanted = given
        towards = jnp.where(sites.mask.reshape(-1)[:, None], flat(kernel, sites.time, wanted), 0.0)
        towards = jax.scipy.linalg.solve_triangular(root, towards, lower=True)
        mean = jnp.einsum("i,ij->j", whitened, towards, precision="highest")
        variance = kernel.variances(wanted).reshape(-1) - (towards**2).sum(0)
        return Marginals(mean.reshape(len(wanted), -1), variance.reshape(len(wanted), -1))

    sites = posterior.sites
    wanted = jnp.broadcast_to(time, (*sites.time.shape[:-1], time.shape[-1]))
    given = (with_outputs(sites), posterior.root, posterior.whitened, wanted)
    kernel, batch = posterior.process.kernel, sites.time.shape[:-1]
    return without_outputs(one_by_one(pixel, kernel, given, batch=batch, together=False), kernel)


@eqx.filter_jit
def _sample(kernel: Kernel, key: Array, time: Array, sample_shape: tuple[int, ...]) -> Array:
    dtype = jnp.result_type(time, jnp.float32)
    number = time.shape[-1] * (kernel.outputs or 1)
    noise = jax.random.normal(key, (*sample_shape, *time.shape[:-1], number), dtype)

    def pixel(kernel: Kernel, time: Array) -> Array:
        return singular_root(flat(kernel, time, time))

    root = one_by_one(pixel, kernel, time.astype(dtype), batch=time.shape[:-1], together=False)
    drawn = jnp.einsum("...ij,...j->...i", root, noise, precision="highest")
    return drawn if kernel.outputs is None else drawn.reshape(*drawn.shape[:-1], time.shape[-1], kernel.outputs)
