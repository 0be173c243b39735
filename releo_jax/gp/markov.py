"""Gaussian processes with a state space: exact, in linear time and memory."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from releo_jax.gp import kalman
from releo_jax.gp.batches import one_by_one, with_outputs, without_outputs
from releo_jax.gp.kernels import Kernel
from releo_jax.gp.process import Posterior, Process
from releo_jax.gp.sites import Marginals, Sites


class Markov(Process):
    """A Gaussian process by its state space: Kalman filter and smoother over the dates.

    The time between dates may be anything; cost and memory grow with the number of dates. Exact.

    Attributes:
        kernel: with a `state_space`: `Matern12`, `Matern32`, `Matern52`, `Periodic`, sums, products, `Coregionalized`.
        parallel: all dates at once by associative scans, for few long series on a device with many cores; on a
            processor with many pixels it takes several times longer.

    References:
        Hartikainen & Särkkä 2010, Kalman filtering and smoothing solutions to temporal Gaussian process regression;
        Särkkä & Solin 2019, Applied Stochastic Differential Equations, chapter 12.
    """

    kernel: Kernel
    parallel: bool = eqx.field(static=True, default=False)

    def condition(self, sites: Sites) -> MarkovPosterior:
        filtered, adjoint, marginals = _condition(self.kernel, sites, self.parallel)
        return MarkovPosterior(self, sites, filtered.log_prob, filtered, adjoint, marginals)

    def sample(self, key: Array, time: ArrayLike, sample_shape: tuple[int, ...] = ()) -> Array:
        return _sample(self.kernel, key, jnp.asarray(time), sample_shape)

    def log_prob(self, sites: Sites) -> Array:
        return _log_prob(self.kernel, sites, self.parallel)


class MarkovPosterior(Posterior):
    """A process that has seen sites; made by `Markov.condition`."""

    process: Markov
    filtered: kalman.Filtered
    adjoint: kalman.Adjoint
    marginals: Marginals

    def at(self, time: ArrayLike | None = None) -> Marginals:
        return self.marginals if time is None else _at(self, jnp.asarray(time, self.sites.value.dtype))


def _space(kernel: Kernel, sites: Sites, parallel: bool) -> kalman.StateSpace:
    return kalman.written_out(kernel.state_space(), sites.value.dtype, parallel=parallel)


@eqx.filter_jit
def _log_prob(kernel: Kernel, sites: Sites, parallel: bool) -> Array:
    def pixel(kernel: Kernel, sites: Sites) -> Array:
        seen = (sites.time, sites.value, sites.variance, sites.mask)
        return kalman.forward(_space(kernel, sites, parallel), *seen, parallel=parallel).log_prob

    return one_by_one(pixel, kernel, with_outputs(sites))


@eqx.filter_jit
def _condition(kernel: Kernel, sites: Sites, parallel: bool) -> tuple[kalman.Filtered, kalman.Adjoint, Marginals]:
    def pixel(kernel: Kernel, sites: Sites) -> tuple[kalman.Filtered, kalman.Adjoint, Marginals]:
        space = _space(kernel, sites, parallel)
        seen = (sites.time, sites.value, sites.variance, sites.mask)
        filtered = kalman.forward(space, *seen, parallel=parallel)
        adjoint, mean, variance = kalman.backward(space, sites.time, filtered, parallel=parallel)
        return filtered, adjoint, Marginals(mean, variance)

    filtered, adjoint, marginals = one_by_one(pixel, kernel, with_outputs(sites))
    return filtered, adjoint, without_outputs(marginals, kernel)


@eqx.filter_jit
def _at(posterior: MarkovPosterior, time: Array) -> Marginals:
    def pixel(kernel: Kernel, given: tuple[Sites, kalman.Filtered, kalman.Adjoint, Array]) -> Marginals:
        sites, filtered, adjoint, wanted = given
        space = _space(kernel, sites, posterior.process.parallel)
        each = jax.vmap(lambda day: kalman.between(space, sites.time, filtered, adjoint, day))
        mean, variance = each(wanted)
        return Marginals(jnp.stack(mean, -1), jnp.stack(variance, -1))

    sites = posterior.sites
    wanted = jnp.broadcast_to(time, (*sites.time.shape[:-1], time.shape[-1]))
    given = (with_outputs(sites), posterior.filtered, posterior.adjoint, wanted)
    kernel = posterior.process.kernel
    return without_outputs(one_by_one(pixel, kernel, given, batch=sites.time.shape[:-1]), kernel)


@eqx.filter_jit
def _sample(kernel: Kernel, key: Array, time: Array, sample_shape: tuple[int, ...]) -> Array:
    space = kernel.state_space()
    dtype = jnp.result_type(time, jnp.float32)
    shape = (*sample_shape, *time.shape, len(space.stationary))
    noise = jax.random.normal(key, shape, dtype)

    def pixel(kernel: Kernel, given: tuple[Array, Array]) -> Array:
        return kalman.draw(kernel.state_space(), *given)

    def each(noise: Array) -> Array:
        return one_by_one(pixel, kernel, (time.astype(dtype), noise), batch=time.shape[:-1])

    flat = noise.reshape(-1, *noise.shape[len(sample_shape) :])
    drawn = jax.vmap(each)(flat)
    drawn = drawn.reshape(*sample_shape, *drawn.shape[1:])
    return drawn if kernel.outputs is not None else drawn[..., 0]
