"""Joint laws of the bands of a pixel, marginalised over the bands that were not measured."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints
from numpyro.distributions.distribution import Distribution


class _Marginal(Distribution):
    """A normal law whose density counts the usable bands only; draws have all bands.

    `reduced` is the law in which the masked bands are independent standard normals around their location: evaluated
    there, each adds the constant -log(2 pi)/2, which is taken out again.
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    pytree_data_fields = ("full", "reduced", "usable")

    def __init__(self, full: Distribution, reduced: Distribution, usable: Array) -> None:
        self.full, self.reduced, self.usable = full, reduced, usable
        super().__init__(batch_shape=full.batch_shape, event_shape=full.event_shape)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        return self.full.sample(key, sample_shape)

    def log_prob(self, value: Array, intermediates: object = None) -> Array:
        log_density = self.reduced.log_prob(jnp.where(self.usable, value, self.reduced.loc))
        return log_density + 0.5 * math.log(2.0 * math.pi) * jnp.sum(~self.usable, -1)


def marginal_covariance(law: dist.MultivariateNormal | dist.LowRankMultivariateNormal, usable: Array) -> Array:
    """Covariance `(*batch, band, band)` of a normal law whose masked bands are independent with unit variance."""
    both = usable[..., :, None] & usable[..., None, :]
    return jnp.where(both, law.covariance_matrix, jnp.eye(usable.shape[-1], dtype=law.loc.dtype))


class _Sequential(Distribution):
    """A normal law whose density is that of each band given those before it.

    The factors of a matrix per pixel, and their derivatives, are batched LAPACK calls that share the threads of XLA's
    CPU client with their callers, and wait for each other for ever (jaxlib 0.10.2, second derivatives of a thousand
    pixels on two cores). Ten bands are few enough to be eliminated by arithmetic on all pixels at once.
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    pytree_data_fields = ("loc", "covariance")

    def __init__(self, loc: Array, covariance: Array) -> None:
        self.loc, self.covariance = loc, covariance
        super().__init__(batch_shape=loc.shape[:-1], event_shape=loc.shape[-1:])

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        return dist.MultivariateNormal(self.loc, self.covariance).sample(key, sample_shape)

    def log_prob(self, value: Array, intermediates: object = None) -> Array:
        def eliminate(left: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            covariance, residual = left
            variance, first = covariance[..., 0, 0], residual[..., 0]
            slope = covariance[..., :, 0] / variance[..., None]
            residual = residual - slope * first[..., None]
            covariance = covariance - slope[..., :, None] * covariance[..., None, 0, :]
            term = jnp.log(2.0 * math.pi * variance) + first**2 / variance
            # The band that is done goes to the end. Unrolled, it takes XLA many times longer to compile.
            return (jnp.roll(covariance, (-1, -1), (-2, -1)), jnp.roll(residual, -1, -1)), term

        residual = value - self.loc
        covariance = jnp.broadcast_to(self.covariance, (*residual.shape, residual.shape[-1]))
        _, terms = jax.lax.scan(eliminate, (covariance, residual), None, length=residual.shape[-1])
        return -0.5 * terms.sum(0)


_MOST_BY_ARITHMETIC = 32  # bands


def _normal(law: dist.MultivariateNormal, usable: Array) -> Distribution:
    location, covariance = jnp.broadcast_to(law.loc, usable.shape), marginal_covariance(law, usable)
    if usable.shape[-1] <= _MOST_BY_ARITHMETIC:
        return _Sequential(location, covariance)
    return dist.MultivariateNormal(location, covariance)


def _low_rank_normal(law: dist.LowRankMultivariateNormal, usable: Array) -> Distribution:
    factor = jnp.where(usable[..., None], law.cov_factor, 0.0)
    diagonal = jnp.where(usable, law.cov_diag, 1.0)
    return dist.LowRankMultivariateNormal(jnp.broadcast_to(law.loc, usable.shape), factor, diagonal)


class _WholePixels(Distribution):
    """A joint law that scores complete pixels, skips empty ones, and has no density for the others."""

    arg_constraints: dict = {}
    pytree_data_fields = ("full", "usable")

    def __init__(self, full: Distribution, usable: Array) -> None:
        self.full, self.usable = full, usable
        super().__init__(batch_shape=full.batch_shape, event_shape=full.event_shape)

    @property
    def support(self) -> constraints.Constraint:
        return self.full.support

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        return self.full.sample(key, sample_shape)

    def log_prob(self, value: Array, intermediates: object = None) -> Array:
        whole, none = self.usable.all(-1), ~self.usable.any(-1)
        filled = jnp.where(whole[..., None], value, self.full.support.feasible_like(value))
        log_density = jnp.where(whole, self.full.log_prob(filled), 0.0)
        return jnp.where(whole | none, log_density, jnp.nan)


def marginal(law: Distribution, usable: Array, *, name: str) -> Distribution:
    """The law of the usable bands, as a distribution of unchanged shape in which the others carry no density.

    Args:
        law: event shape `(band,)`, batch shape that broadcasts to `(*batch)`. Normal laws are marginalised exactly,
            others by their own method `marginal(mask)`, which returns a distribution of shape `(*batch, band)`.
        usable: `(*batch, band)`, True = measured.
        name: of the site, for the message.

    Raises:
        ValueError: pixels are partly masked and the law cannot be marginalised.
    """
    base = law.base_dist if isinstance(law, dist.ExpandedDistribution) else law
    full = law.expand(usable.shape[:-1])
    if isinstance(base, dist.Independent) and base.event_dim == base.reinterpreted_batch_ndims:
        return base.base_dist.expand(usable.shape).mask(usable).to_event(1)
    if isinstance(base, dist.MultivariateNormal):
        return _Marginal(full, _normal(base, usable), usable)
    if isinstance(base, dist.LowRankMultivariateNormal):
        return _Marginal(full, _low_rank_normal(base, usable), usable)
    if hasattr(base, "marginal"):
        return base.marginal(usable)
    if not isinstance(usable, jax.core.Tracer):
        mask = np.asarray(usable)
        partly = int((mask.any(-1) & ~mask.all(-1)).sum())
        if partly:
            raise ValueError(
                f"observe {name!r}: expected pixels with all bands or none for {type(base).__name__}, got {partly} of "
                f"{mask[..., 0].size} pixels with some; give the distribution a method marginal(mask), use a normal "
                "law, or drop those pixels"
            )
    return _WholePixels(full, usable)
