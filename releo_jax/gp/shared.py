"""Sites whose errors the dates share in part: what a retrieval takes for certain on one date is wrong on all."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from releo_jax.gp.process import Posterior, Process
from releo_jax.gp.sites import Marginals, Sites


class SharedPosterior(eqx.Module):
    """A process that has seen sites with a common error; made by `condition_shared`.

    Attributes:
        own: the process given the values of the sites, as if their errors were independent.
        response: the process given the loadings in their place.
        error: posterior mean of the common error, `(*batch)`.
        precision: one over its posterior variance, `(*batch)`.
        log_evidence: log density of the values of the sites, `(*batch)`.
    """

    own: Posterior
    response: Posterior
    error: Array
    precision: Array
    log_evidence: Array

    def at(self, time: ArrayLike | None = None) -> Marginals:
        """Marginals of the process at days `(*batch, date)` in any order; at those of the sites by default."""
        return _joined(self, self.own.at(time), self.response.at(time))


@eqx.filter_jit
def _joined(posterior: SharedPosterior, own: Marginals, response: Marginals) -> Marginals:
    mean = own.mean - posterior.error[..., None] * response.mean
    return Marginals(mean, own.variance + response.mean**2 / posterior.precision[..., None])


def condition_shared(process: Process, sites: Sites, loading: ArrayLike) -> SharedPosterior:
    """A process of one output given sites that have an error in common.

    Args:
        process: `Exact`, `Markov`, ...
        sites: `(*batch, date)`; their variances are those of the independent errors.
        loading: of the common error on each date, `(*batch, date)`.

    Returns:
        The posterior. It costs twice that of independent errors, whatever the number of dates.

    Equation:
        value = f + loading e + noise, e ~ N(0, 1). With M the covariance of f + noise, m[y] the mean of f given values
        y, and h the loadings: e ~ N(hᵀM⁻¹y / p, 1 / p), p = 1 + hᵀM⁻¹h; f = m[y] - e m[h] + what noise leaves open.
        M⁻¹y = (y - m[y]) / variance at the dates; the evidence follows from the determinant lemma.

    Raises:
        ValueError: sites of several outputs.
    """
    if sites.value.ndim > sites.time.ndim:
        raise ValueError(f"condition_shared: expected sites of one output, got values {sites.value.shape}")
    return _condition(process, sites, jnp.asarray(loading))


@eqx.filter_jit
def _condition(process: Process, sites: Sites, loading: Array) -> SharedPosterior:
    loading = jnp.where(sites.mask, jnp.broadcast_to(loading, sites.value.shape), 0.0)
    own = process.condition(sites)
    response = process.condition(eqx.tree_at(lambda s: s.value, sites, loading))
    weight = loading / sites.variance
    precision = 1.0 + (weight * (loading - response.at().mean)).sum(-1)
    error = (weight * (sites.value - own.at().mean)).sum(-1) / precision
    evidence = own.log_evidence + 0.5 * (error**2 * precision - jnp.log(precision))
    return SharedPosterior(own, response, error, precision, evidence)


@jax.jit
def log_likelihood_shared(sites: Sites, loading: ArrayLike, truth: ArrayLike) -> Array:
    """Log density of the values of sites around a known course of the process, `(*batch)`.

    Args:
        sites: as of `condition_shared`.
        loading: likewise.
        truth: the process at the dates, `(*batch, date)`.
    """
    loading = jnp.where(sites.mask, loading, 0.0)
    miss = jnp.where(sites.mask, sites.value - truth, 0.0)
    weight = loading / sites.variance
    precision = 1.0 + (weight * loading).sum(-1)
    own = jnp.where(sites.mask, jax.scipy.stats.norm.logpdf(miss, 0.0, jnp.sqrt(sites.variance)), 0.0).sum(-1)
    shared = (weight * miss).sum(-1) ** 2 / precision
    return own + 0.5 * (shared - jnp.log(precision))
