"""Mixtures of multivariate normals on the real line: several modes, curved ridges, marginals in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.scipy.special import logsumexp, ndtr, ndtri

from releo_jax.encoders.pixel import Constant
from releo_jax.inference.heads import Head, factor_rows, find, row_entries, total_size
from releo_jax.inference.laws import (
    MappedMarginal,
    NormalMarginal,
    colour,
    from_vector,
    log_volume,
    normal_density,
    offsets,
    to_vector,
    whiten,
)
from releo_jax.inference.structure import Site

_BISECTIONS = 32  # a bracket of a few deviations shrinks below single precision
_APART = 0.5  # root mean square of the means of untrained components, in deviations of the prior


class MixtureMarginal(MappedMarginal):
    """Mixture of normals on the real line, mapped to the support of its site.

    Attributes:
        log_weights: of the components `(*batch, component)`, normalised.
        location: `(*batch, component, site.size)`.
        rows: lower Cholesky factors of the covariances, row after row, `(*batch, component, ...)`.
    """

    log_weights: Array
    location: Array
    rows: Array

    def _scale(self) -> Array:
        rows = [self.rows[..., row_entries([i])] for i in range(self.site.size)]
        return jnp.stack([jnp.sqrt(jnp.sum(row**2, -1)) for row in rows], -1)

    def _moments(self) -> tuple[Array, Array]:
        parts = NormalMarginal(self.site, self.location, self._scale())
        axis = self.log_weights.ndim - 1
        weights = jnp.exp(self.log_weights).reshape(*self.log_weights.shape, *(1 for _ in self.site.shape))
        mean = (weights * parts.mean).sum(axis)
        within, between = parts.std**2, (parts.mean - jnp.expand_dims(mean, axis)) ** 2
        return mean, jnp.sqrt((weights * (within + between)).sum(axis))

    def quantile(self, level: float | Array) -> Array:
        """Value `(*batch, *site.shape)` below which the site lies with probability `level`, by bisection."""
        below = self._below(level, self.location.dtype)
        weights, scale = jnp.exp(self.log_weights)[..., None], self._scale()
        # The quantile of a mixture lies between those of its components.
        ends = self.location + scale * ndtri(below)

        def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            short = (weights * ndtr((middle[..., None, :] - self.location) / scale)).sum(-2) < below
            return jnp.where(short, middle, low), jnp.where(short, high, middle)

        low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (ends.min(-2), ends.max(-2)))
        return self.site.from_real(0.5 * (low + high))[0]

    def log_prob(self, value: Array) -> Array:
        """Log density `(*batch)`; of all components of the site together."""
        vector = self.site.to_real(value)
        return _density(vector, self.log_weights, self.location, self.rows) - self.site.from_real(vector)[1]


class NormalMixture(eqx.Module):
    """Mixture of multivariate normals on the real line.

    Draws are differentiable with respect to weights, means and covariances: implicitly, through the conditional
    distribution functions of one component of the vector after the other, which have closed forms here.

    Attributes:
        sites: in the order of the vector.
        log_weights: of the components `(*batch, component)`, normalised.
        location: `(*batch, component, size)`.
        rows: lower Cholesky factors of the covariances, row after row, `(*batch, component, size (size + 1) / 2)`.

    References:
        Figurnov, Mohamed & Mnih 2018, NeurIPS 31 (implicit reparameterisation gradients).
    """

    sites: tuple[Site, ...] = eqx.field(static=True)
    log_weights: Array
    location: Array
    rows: Array

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> tuple[dict[str, Array], Array]:
        """Values and their log density."""
        key_component, key_noise = jax.random.split(key)
        batch, dtype = self.log_weights.shape[:-1], self.location.dtype
        uniform = jax.random.uniform(key_component, shape + batch, dtype)
        reached = jnp.cumsum(jnp.exp(self.log_weights), -1)[..., :-1]
        chosen = (uniform[..., None] > reached).sum(-1)[..., None, None]
        location, rows = (_take(part, chosen) for part in (self.location, self.rows))
        noise = jax.random.normal(key_noise, location.shape, dtype)
        drawn = jax.lax.stop_gradient(location + colour(rows, noise))
        vector = _attached(drawn, self.log_weights, self.location, self.rows)
        values, volume = from_vector(self.sites, vector)
        return values, _density(vector, self.log_weights, self.location, self.rows) - volume

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        """Log density of values of all sites."""
        vector = to_vector(self.sites, values)
        volume = from_vector(self.sites, vector)[1]
        return _density(vector, self.log_weights, self.location, self.rows) - volume

    def marginal(self, site: str) -> MixtureMarginal:
        """Law of one site."""
        where = offsets(self.sites)[site]
        rows = [self.rows[..., row_entries([i])] for i in range(where.start, where.stop)]
        return MixtureMarginal(find(self.sites, site), self.log_weights, self.location[..., where], _cholesky(rows))


def _take(components: Array, chosen: Array) -> Array:
    """One component for each draw: `(*batch, component, n)` and `(*shape, *batch, 1, 1)` to `(*shape, *batch, n)`."""
    components = components.reshape((1,) * (chosen.ndim - components.ndim) + components.shape)
    return jnp.take_along_axis(components, chosen, axis=-2)[..., 0, :]


def _density(vector: Array, log_weights: Array, location: Array, rows: Array) -> Array:
    standardised = whiten(rows, vector[..., None, :] - location)
    return logsumexp(log_weights + normal_density(standardised, log_volume(rows, location.shape[-1])), axis=-1)


def _cholesky(rows: list[Array]) -> Array:
    """Factor of the covariance of some components, row after row, from their rows in the factor of all."""
    factor: list[list[Array]] = []
    for i, row in enumerate(rows):
        factor.append([])
        for j in range(i + 1):
            known = sum(factor[i][k] * factor[j][k] for k in range(j))
            rest = (row[..., : rows[j].shape[-1]] * rows[j]).sum(-1) - known
            factor[i].append(jnp.sqrt(rest) if i == j else rest / factor[j][j])
    return jnp.stack([entry for line in factor for entry in line], -1)


@jax.custom_jvp
def _attached(vector: Array, log_weights: Array, location: Array, rows: Array) -> Array:
    """Draws of a mixture, which move with its parameters so that their distribution functions keep their values."""
    return vector


@_attached.defjvp
def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    vector, *parameters = primals
    moved = jax.jvp(lambda *parameters: _moving(vector, *parameters), tuple(parameters), tangents[1:])[1]
    return vector, moved


def _moving(vector: Array, log_weights: Array, location: Array, rows: Array) -> Array:
    """The draws themselves, with the slope of the implicit function F_i(z_i | z_1 ... z_i-1; parameters) = constant.

    d z_i = - d F_i / p_i(z_i | z_1 ... z_i-1), where F_i mixes the normal distribution functions of the components,
    weighed by how well each explains the coordinates before.
    """
    moved: list[Array] = []
    solved: list[Array] = []
    for i in range(vector.shape[-1]):
        row = rows[..., row_entries([i])]
        centre = location[..., i] + sum(row[..., j] * solved[j] for j in range(i))
        share = jax.nn.softmax(log_weights, axis=-1)
        standardised = (vector[..., i, None] - centre) / row[..., i]
        # From the nearer tail: close to 1 the differences of the distribution function drown in rounding.
        side = jnp.where((share * ndtr(standardised)).sum(-1, keepdims=True) < 0.5, 1.0, -1.0)
        below = (share * side * ndtr(side * standardised)).sum(-1)
        density = (share * jnp.exp(-0.5 * standardised**2) / row[..., i]).sum(-1) / math.sqrt(2.0 * math.pi)
        step = (below - jax.lax.stop_gradient(below)) / jax.lax.stop_gradient(density)
        moved.append(vector[..., i] - step)
        solved.append((moved[i][..., None] - centre) / row[..., i])
        log_weights = log_weights - 0.5 * solved[i] ** 2 - jnp.log(row[..., i])
    return jnp.stack(moved, -1)


class Mixture(nnx.Module):
    """Mixture of multivariate normals on the unconstrained line.

    Untrained components lie apart, or they would stay the same for ever; together they have the prior's means and
    standard deviations.

    Args:
        sites: local latent sites.
        features: of the context.
        location, scale: of the sites under the prior, unconstrained `(size,)`; fixed, they centre and scale the head.
        components: number of normals.
    """

    def __init__(
        self, sites: tuple[Site, ...], features: int, *, location: Array, scale: Array, components: int = 8
    ) -> None:
        if components < 1:
            raise ValueError(f"mixture: expected at least one component, got {components}")
        size = total_size(sites)
        self.sites, self.components = nnx.static(sites), components
        self.location, self.scale = Constant(location), Constant(scale)
        self.starts = Constant(jnp.asarray(_starts(components, size), location.dtype))
        self.head = Head(features, components * (1 + size + size * (size + 1) // 2))

    def __call__(self, context: Array) -> NormalMixture:
        """Joint law."""
        return NormalMixture(self.sites, *self._parameters(context, range(total_size(self.sites))))

    def marginal(self, context: Array, site: str) -> MixtureMarginal:
        """Law of one site, from its own rows of the factors."""
        where = offsets(self.sites)[site]
        numbers = range(where.start, where.stop)
        log_weights, location, rows = self._parameters(context, numbers)
        ends = np.cumsum([0, *(i + 1 for i in numbers)])
        factor = _cholesky([rows[..., a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)])
        return MixtureMarginal(find(self.sites, site), log_weights, location, factor)

    def _parameters(self, context: Array, numbers: range) -> tuple[Array, Array, Array]:
        """Log weights, and locations and rows of the factors for some numbers of the vector."""
        size, count = total_size(self.sites), self.components
        # The head holds weights, then locations, then factors, each component after component.
        entries = row_entries(numbers)
        locations = count + size * np.arange(count)[:, None] + np.asarray(numbers)
        factors = count * (1 + size) + size * (size + 1) // 2 * np.arange(count)[:, None] + entries
        raw = self.head(context, np.concatenate([np.arange(count), locations.ravel(), factors.ravel()]))
        weights, place, factor = jnp.split(raw, np.cumsum([count, locations.size]), axis=-1)
        place = place.reshape(*place.shape[:-1], count, len(numbers))
        factor = factor.reshape(*factor.shape[:-1], count, entries.size)
        picked, scale = np.asarray(numbers), self.scale[...]
        location = self.location[...][picked] + scale[picked] * (self.starts[...][:, picked] + place)
        spread = math.sqrt(1.0 - _APART**2) if count > 1 else 1.0
        return jax.nn.log_softmax(weights, axis=-1), location, factor_rows(factor, spread * scale, numbers)


def _starts(components: int, size: int) -> np.ndarray:
    """Fixed means `(component, size)` of untrained components, standardised, whose average is 0."""
    if components == 1:
        return np.zeros((1, size))
    drawn = np.random.RandomState(0).normal(size=(components, size))
    drawn -= drawn.mean(0)
    return _APART * drawn / drawn.std(0)
