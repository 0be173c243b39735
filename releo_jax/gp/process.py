"""The protocol that all Gaussian processes share."""

from __future__ import annotations

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from releo_jax.gp.kernels import Kernel
from releo_jax.gp.sites import Marginals, Sites


class Process(eqx.Module):
    """A Gaussian process with mean zero: `Exact`, `Markov`, `Sparse` or `Nearest`.

    Attributes:
        kernel: its covariance. Parameters are scalars, or have the shape `(*batch)` of the pixels.
    """

    kernel: Kernel

    @abc.abstractmethod
    def condition(self, sites: Sites) -> Posterior:
        """The process given the sites."""

    @abc.abstractmethod
    def sample(self, key: Array, time: ArrayLike, sample_shape: tuple[int, ...] = ()) -> Array:
        """Joint draws of the process at rising days `(*batch, date)`.

        Returns:
            `(*sample_shape, *batch, date)`, or `(*sample_shape, *batch, date, output)`.
        """

    def log_prob(self, sites: Sites) -> Array:
        """Log density of the values of the sites, `(*batch)`."""
        return self.condition(sites).log_evidence

    def kl(self, sites: Sites) -> Array:
        """Kullback-Leibler divergence of `condition(sites)` from the process, `(*batch)`."""
        return self.condition(sites).kl()


class Law(eqx.Module):
    """What is known of a process at its dates: a `Posterior`, which has seen sites, or a `FreeLaw`."""

    @abc.abstractmethod
    def at(self, time: ArrayLike | None = None) -> Marginals:
        """Marginals at days `(*batch, date)` in any order, forecasts included; at its dates by default."""

    @abc.abstractmethod
    def kl(self) -> Array:
        """Kullback-Leibler divergence from the process before, `(*batch)`."""

    @abc.abstractmethod
    def sample(self, key: Array, time: ArrayLike, sample_shape: tuple[int, ...] = ()) -> Array:
        """Joint draws at days `(*batch, date)` in any order.

        Returns:
            `(*sample_shape, *batch, date)`, or `(*sample_shape, *batch, date, output)`.
        """


class Posterior(Law):
    """A process that has seen sites.

    Attributes:
        process: before it saw them.
        sites: seen.
        log_evidence: log density of the values of the sites, `(*batch)`.
    """

    process: Process
    sites: Sites
    log_evidence: Array

    def kl(self) -> Array:
        """Kullback-Leibler divergence from the process before, `(*batch)`.

        Equation:
            The mean of the log density of the sites' values over this law, less their log evidence.
        """
        return expected_log_likelihood(self.sites, self.at()) - self.log_evidence

    def sample(self, key: Array, time: ArrayLike, sample_shape: tuple[int, ...] = ()) -> Array:
        """Joint draws at days `(*batch, date)` in any order, by Matheron's rule.

        Returns:
            `(*sample_shape, *batch, date)`, or `(*sample_shape, *batch, date, output)`.

        Equation:
            A prior draw f at both the sites' dates and the days wanted, plus the mean of the process given what the
            sites' values have more than f with noise.

        References:
            Wilson et al. 2021, Pathwise conditioning of Gaussian processes, JMLR 22, equation 12.
        """
        return _sample(self, key, jnp.asarray(time, self.sites.value.dtype), sample_shape)


@eqx.filter_jit
def _sample(posterior: Posterior, key: Array, time: Array, sample_shape: tuple[int, ...]) -> Array:
    process, sites = posterior.process, posterior.sites
    batch = sites.time.shape[:-1]
    wanted = jnp.broadcast_to(time, (*batch, time.shape[-1]))
    every = jnp.concatenate([sites.time, wanted], -1)
    order = jnp.argsort(every, -1, stable=True)
    prior_key, noise_key = jax.random.split(key)
    drawn = process.sample(prior_key, jnp.take_along_axis(every, order, -1), sample_shape)
    axis = len(sample_shape) + len(batch)
    place = jnp.argsort(order, -1)
    if drawn.ndim > axis + 1:
        place = place[..., None]
    drawn = jnp.take_along_axis(drawn, jnp.broadcast_to(place, (*sample_shape, *place.shape)), axis)
    at_sites, at_wanted = jnp.split(drawn, [sites.time.shape[-1]], axis)
    noise = jnp.sqrt(sites.variance) * jax.random.normal(noise_key, at_sites.shape, at_sites.dtype)

    def correction(residual: Array) -> Array:
        # Not new sites, whose mask would depend on the draw, and with it all that the draws can share.
        seen = eqx.tree_at(lambda s: s.value, sites, residual)
        return process.condition(seen).at(wanted).mean

    residual = jnp.where(sites.mask, sites.value - at_sites - noise, 0.0).reshape(-1, *sites.value.shape)
    return at_wanted + jax.vmap(correction)(residual).reshape(at_wanted.shape)


@jax.jit
def expected_log_likelihood(sites: Sites, marginals: Marginals) -> Array:
    """Mean of the log density of the sites' values over a law of the process, `(*batch)`.

    Args:
        sites: Gaussian sites.
        marginals: of the process at their dates.

    Returns:
        Sum over the usable sites of E log N(value | f, variance).
    """
    miss = (sites.value - marginals.mean) ** 2 + marginals.variance
    terms = jnp.where(sites.mask, -0.5 * (jnp.log(2.0 * math.pi * sites.variance) + miss / sites.variance), 0.0)
    return terms.reshape(*sites.time.shape[:-1], -1).sum(-1)
