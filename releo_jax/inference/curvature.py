"""What a step of Newton's method needs: log density, slope and curvature of every pixel, in one pass.

The curvature of the likelihood is its Fisher information (generalised Gauss-Newton): the derivatives of the observed
law's own parameters, weighted by what the law knows about them. It is never negative, and it costs one directional
derivative of the simulator for each unknown. The curvature of the prior is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions.distribution import Distribution

from releo_jax.inference.density import Target, log_likelihood, log_prior, values_at
from releo_jax.marginals import LowRankNormal, low_rank_normal, marginal_covariance
from releo_jax.observations import Observations, Record


class Expansion(NamedTuple):
    """Second-order expansion of the negative log density at a vector.

    Attributes:
        value: `(pixel,)`.
        slope: `(pixel, size)`.
        curvature: `(pixel, size, size)`.
    """

    value: Array
    slope: Array
    curvature: Array


def expand(target: Target, data: Observations, local: Array, shared: Array, *, volume: bool) -> Expansion:
    """Expands the negative log density of local vectors.

    Args:
        target: the model.
        data: observations of the pixels.
        local: vectors `(pixel, size)`.
        shared: global vector `(size,)`.
        volume: whether the density is that of the vector; otherwise that of the sites' values, where the image of the
            prior's bounds does not count.

    Raises:
        ValueError: an observed law whose information is not known.
    """
    columns = tuple(local[:, i] for i in range(target.size))

    def seen(*columns: Array) -> tuple[Array, dict[str, tuple[Array, ...]]]:
        values, _ = values_at(target, jnp.stack(columns, -1), shared)
        density, laws = log_likelihood(target, data, values)
        return density, {name: _parameters(name, law, data[name]) for name, law in laws.items()}

    density, parameters = seen(*columns)
    laws = log_likelihood(target, data, values_at(target, local, shared)[0])[1]
    weigh = {name: _weights(law, data[name]) for name, law in laws.items()}
    slopes, changes = [], []
    for i in range(target.size):
        # One column after the other: the others are then constants to the simulator's derivative, not zeros.
        def along(column: Array, i: int = i) -> Any:
            return seen(*columns[:i], column, *columns[i + 1 :])

        _, (slope, change) = jax.jvp(along, (columns[i],), (jnp.ones_like(columns[i]),))
        slopes.append(slope)
        changes.append(jnp.concatenate([weigh[name](change[name]) for name in weigh], -1))
    changed = jnp.stack(changes, -2)  # (pixel, size, whitened)
    information = jnp.einsum("piw,pjw->pij", changed, changed, precision=jax.lax.Precision.HIGHEST)
    prior, prior_slope, prior_curvature = _prior(target, data, local, shared, volume)
    return Expansion(-density - prior, -jnp.stack(slopes, -1) - prior_slope, information - prior_curvature)


def _prior(target: Target, data: Observations, local: Array, shared: Array, volume: bool) -> tuple[Array, Array, Array]:
    if volume:

        def density(vectors: Array) -> Array:
            values, change = values_at(target, vectors, shared)
            return log_prior(target, data, values)[0] + change

    else:
        # The map of the vector to the values counts as straight, as it does for the likelihood: at a mode the bends of
        # both cancel, and one alone would leave a curvature that is negative where there is a mode.
        here, along = jax.linearize(lambda local: values_at(target, local, shared)[0], local)

        def density(vectors: Array) -> Array:
            values = jax.tree.map(jnp.add, here, along(vectors - local))
            return log_prior(target, data, values)[0]

    slope = jax.grad(lambda local: density(local).sum())

    def column(i: int) -> Array:
        return jax.jvp(slope, (local,), (jnp.zeros_like(local).at[:, i].set(1.0),))[1]

    curvature = jnp.stack([column(i) for i in range(target.size)], -1)
    return density(local), slope(local), 0.5 * (curvature + jnp.swapaxes(curvature, -1, -2))


def _base(law: Distribution) -> Distribution:
    """The law without the wrappers that change its shape only."""
    while isinstance(law, dist.ExpandedDistribution | dist.Independent):
        law = law.base_dist
    return law


def _parameters(name: str, law: Distribution, record: Record) -> tuple[Array, ...]:
    """The parameters of an observed law, each as large as the record."""
    base, shape = _base(law), record.values.shape
    if isinstance(base, dist.Normal | dist.StudentT | dist.Laplace | dist.LogNormal):
        return jnp.broadcast_to(base.loc, shape), jnp.broadcast_to(base.scale, shape)
    if isinstance(base, dist.MultivariateNormal | dist.LowRankMultivariateNormal | LowRankNormal):
        return (jnp.broadcast_to(base.loc, shape),)
    raise ValueError(
        f"observe {name!r}: expected a law whose Fisher information is known (Normal, LogNormal, StudentT, Laplace, "
        f"MultivariateNormal, LowRankMultivariateNormal), got {type(base).__name__}; use fit_svi, fit_lut, fit_smc or "
        "fit_nuts, which need none"
    )


def _weights(law: Distribution, record: Record) -> Callable[[tuple[Array, ...]], Array]:
    """A function from changes of a law's parameters to vectors `(pixel, n)` whose products are the information."""
    base, mask, shape = _base(law), record.mask, record.values.shape
    pixels = shape[0]
    # Of joint laws the information about the mean. What the covariance says of the state is left out: the slope has it.
    if isinstance(base, LowRankNormal | dist.LowRankMultivariateNormal):
        law_of_usable = low_rank_normal(base, mask)
        return lambda changes: law_of_usable.whiten(jnp.where(mask, changes[0], 0.0)).reshape(pixels, -1)
    if isinstance(base, dist.MultivariateNormal):
        factor = jnp.linalg.cholesky(jnp.broadcast_to(marginal_covariance(base, mask), (*shape, shape[-1])))

        def joint(changes: tuple[Array, ...]) -> Array:
            change = jnp.where(mask, changes[0], 0.0)[..., None]
            return jax.scipy.linalg.solve_triangular(factor, change, lower=True).reshape(pixels, -1)

        return joint
    location = scale = jnp.ones(())
    if isinstance(base, dist.StudentT):
        degrees = base.df
        location, scale = (degrees + 1.0) / (degrees + 3.0), 2.0 * degrees / (degrees + 3.0)
    elif not isinstance(base, dist.Laplace):  # which has one for both
        scale = jnp.full((), 2.0)
    spread = jnp.broadcast_to(base.scale, shape)
    roots = [jnp.where(mask, jnp.sqrt(weight) / spread, 0.0) for weight in (location, scale)]

    def independent(changes: tuple[Array, ...]) -> Array:
        parts = [root * change for root, change in zip(roots, changes, strict=True)]
        return jnp.concatenate([part.reshape(pixels, -1) for part in parts], -1)

    return independent


def precision_factor(curvature: Array) -> Array:
    """Upper factor U `(pixel, size, size)` with curvature = U transposed(U); NaN where it is not positive."""
    return jnp.linalg.cholesky(curvature[..., ::-1, ::-1])[..., ::-1, ::-1]


@jax.jit
def covariance_rows(curvature: Array) -> Array:
    """Lower Cholesky factor of the inverse, row after row `(pixel, size (size + 1) / 2)`; NaN where not positive."""
    size = curvature.shape[-1]
    upper = precision_factor(curvature)
    inverse = jax.scipy.linalg.solve_triangular(upper, jnp.broadcast_to(jnp.eye(size), upper.shape), lower=False)
    lower = jnp.swapaxes(inverse, -1, -2)
    return jnp.concatenate([lower[..., i, : i + 1] for i in range(size)], -1)


def log_determinant(curvature: Array) -> Array:
    """Logarithm of the determinant `(pixel,)`."""
    return 2.0 * jnp.log(jnp.diagonal(precision_factor(curvature), axis1=-2, axis2=-1)).sum(-1)


LOG_2PI = math.log(2.0 * math.pi)
