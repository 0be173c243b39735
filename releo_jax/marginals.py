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

_EXACT = jax.lax.Precision.HIGHEST


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


def marginal_covariance(law: dist.MultivariateNormal, usable: Array) -> Array:
    """Covariance `(*batch, band, band)` of a normal law whose masked bands are independent with unit variance."""
    both = usable[..., :, None] & usable[..., None, :]
    return jnp.where(both, law.covariance_matrix, jnp.eye(usable.shape[-1], dtype=law.loc.dtype))


def _eliminate(matrix: Array, vector: Array) -> tuple[Array, Array, Array]:
    """Pivots `(n, *batch)`, what of the vector meets each `(n, *batch)`, and the solution `(*batch, n)`.

    The factors of a matrix per pixel, and their derivatives, are batched LAPACK calls that share the threads of XLA's
    CPU client with their callers, and wait for each other for ever (jaxlib 0.10.2, second derivatives of a thousand
    pixels of ten bands, first ones of twenty series of 170 days, on two cores). A few unknowns are eliminated by
    arithmetic on all pixels at once (Gauss and Jordan; a positive matrix needs no exchange of rows).
    """

    def step(left: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        matrix, vector = left
        row, first = matrix[..., :1, :], vector[..., :1]
        pivot = row[..., :1]
        slope = matrix[..., 1:, :1] / pivot
        matrix = jnp.concatenate([matrix[..., 1:, :] - slope * row, row / pivot], -2)
        vector = jnp.concatenate([vector[..., 1:] - slope[..., 0] * first, first / pivot[..., 0]], -1)
        # The unknown that is done goes to the end. Unrolled, it takes XLA many times longer to compile.
        return (jnp.roll(matrix, -1, -1), vector), (pivot[..., 0, 0], first[..., 0])

    matrix = jnp.broadcast_to(matrix, (*vector.shape, vector.shape[-1]))
    (_, solution), (pivots, met) = jax.lax.scan(step, (matrix, vector), None, length=vector.shape[-1])
    return pivots, met, solution


class _Sequential(Distribution):
    """A normal law whose density is that of each band given those before it."""

    arg_constraints: dict = {}
    support = constraints.real_vector
    pytree_data_fields = ("loc", "covariance")

    def __init__(self, loc: Array, covariance: Array) -> None:
        self.loc, self.covariance = loc, covariance
        super().__init__(batch_shape=loc.shape[:-1], event_shape=loc.shape[-1:])

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        return dist.MultivariateNormal(self.loc, self.covariance).sample(key, sample_shape)

    def log_prob(self, value: Array, intermediates: object = None) -> Array:
        variances, residuals, _ = _eliminate(self.covariance, value - self.loc)
        return -0.5 * (jnp.log(2.0 * math.pi * variances) + residuals**2 / variances).sum(0)


class LowRankNormal(Distribution):
    """A normal law of covariance S F F' S + D whose density is arithmetic on as many unknowns as F has columns.

    Args:
        loc: mean `(*batch, band)`.
        factor: F `(band, rank)`, or one for each of the batch `(*batch, band, rank)`: one for all takes less memory.
        scale: diagonal of S `(*batch, band)`.
        diagonal: of D `(*batch, band)`.

    Equation:
        r' (S F F' S + D)^-1 r = (r - S F x)' D^-1 (r - S F x) + x' x, (1 + F' S D^-1 S F) x = F' S D^-1 r (Woodbury,
        as a sum of squares: nothing is lost in a difference).
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    pytree_data_fields = ("loc", "factor", "scale", "diagonal")

    def __init__(self, loc: Array, factor: Array, scale: Array, diagonal: Array) -> None:
        self.loc, self.factor, self.scale, self.diagonal = loc, factor, scale, diagonal
        super().__init__(batch_shape=loc.shape[:-1], event_shape=loc.shape[-1:])

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        key_smooth, key_rough = jax.random.split(key)
        weights = jax.random.normal(key_smooth, (*sample_shape, *self.batch_shape, self.factor.shape[-1]))
        rough = jax.random.normal(key_rough, self.shape(sample_shape))
        return self.loc + self.scale * _columns(self.factor, weights) + jnp.sqrt(self.diagonal) * rough

    def log_prob(self, value: Array, intermediates: object = None) -> Array:
        whitened, pivots = self._whiten(value - self.loc)
        determinant = jnp.log(2.0 * math.pi * self.diagonal).sum(-1) + jnp.log(pivots).sum(0)
        return -0.5 * (determinant + (whitened**2).sum(-1))

    def whiten(self, residual: Array) -> Array:
        """Vectors `(*batch, band + rank)` whose products are those of residuals with the inverse covariance."""
        return self._whiten(residual)[0]

    def _whiten(self, residual: Array) -> tuple[Array, Array]:
        root = jnp.sqrt(self.diagonal)
        scale, residual = self.scale / root, residual / root
        if self.factor.ndim == 2:  # one for all of the batch, and so are the products of its columns
            products = self.factor[:, :, None] * self.factor[:, None, :]
            inner = jnp.einsum("...b,bij->...ij", scale**2, products, precision=_EXACT)
        else:
            scaled = scale[..., None] * self.factor
            inner = jnp.einsum("...bi,...bj->...ij", scaled, scaled, precision=_EXACT)
        inner = inner + jnp.eye(self.factor.shape[-1])
        right = jnp.einsum("...b,...bi->...i", scale * residual, self.factor, precision=_EXACT)
        pivots, _, weights = _eliminate(inner, right)
        return jnp.concatenate([residual - scale * _columns(self.factor, weights), weights], -1), pivots


def _columns(factor: Array, weights: Array) -> Array:
    return jnp.einsum("...bi,...i->...b", factor, weights, precision=_EXACT)


_MOST_BY_ARITHMETIC = 32  # bands


def _normal(law: dist.MultivariateNormal, usable: Array) -> Distribution:
    location, covariance = jnp.broadcast_to(law.loc, usable.shape), marginal_covariance(law, usable)
    if usable.shape[-1] <= _MOST_BY_ARITHMETIC:
        return _Sequential(location, covariance)
    return dist.MultivariateNormal(location, covariance)


def low_rank_normal(law: LowRankNormal | dist.LowRankMultivariateNormal, usable: Array) -> LowRankNormal:
    """The law `(*batch, band)` in which masked bands are independent with unit variance."""
    if isinstance(law, dist.LowRankMultivariateNormal):
        law = LowRankNormal(law.loc, law.cov_factor, jnp.ones_like(law.cov_diag), law.cov_diag)
    location, scale = (jnp.broadcast_to(part, usable.shape) for part in (law.loc, law.scale))
    return LowRankNormal(location, law.factor, jnp.where(usable, scale, 0.0), jnp.where(usable, law.diagonal, 1.0))


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
    if isinstance(base, LowRankNormal | dist.LowRankMultivariateNormal):
        return _Marginal(full, low_rank_normal(base, usable), usable)
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
