"""Laws of the latent sites: what an amortised guide says about every pixel, with its marginals in closed form.

A law has `sample(key, shape) -> (values, log_density)`, `log_prob(values)` and `marginal(site)`; `values` maps site
names to arrays `(*shape, *batch, *site.shape)`, densities are `(*shape, *batch)` with respect to the values as the
model has them (not their images on the real line). A marginal has `mean`, `std`, `quantile(level)`, `log_prob(value)`.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtri
from numpyro.distributions import transforms

from releo_jax.inference.structure import Site

_LOG_2PI = math.log(2.0 * math.pi)


def offsets(sites: tuple[Site, ...]) -> dict[str, slice]:
    """Where each site lies in the vector of all sites."""
    ends = np.cumsum([0, *(site.size for site in sites)])
    return {site.name: slice(int(ends[i]), int(ends[i + 1])) for i, site in enumerate(sites)}


def to_vector(sites: tuple[Site, ...], values: Mapping[str, Array]) -> Array:
    """Real vector `(*batch, size)` of the values of all sites."""
    missing = [site.name for site in sites if site.name not in values]
    if missing:
        raise ValueError(f"expected values of all sites {[site.name for site in sites]}, got none of {missing}")
    return jnp.concatenate([site.to_real(jnp.asarray(values[site.name])) for site in sites], -1)


def from_vector(sites: tuple[Site, ...], vector: Array) -> tuple[dict[str, Array], Array]:
    """Values of all sites, and the log volume change `(*batch)` of the map."""
    values, volume = {}, jnp.zeros(vector.shape[:-1], vector.dtype)
    for name, where in offsets(sites).items():
        site = next(site for site in sites if site.name == name)
        values[name], change = site.from_real(vector[..., where])
        volume = volume + change
    return values, volume


class Marginal(Protocol):
    """Law of one site of every pixel."""

    @property
    def mean(self) -> Array:
        """Expectation `(*batch, *site.shape)`."""

    @property
    def std(self) -> Array:
        """Standard deviation `(*batch, *site.shape)`."""

    def quantile(self, level: float | Array) -> Array:
        """Value `(*batch, *site.shape)` below which the site lies with probability `level`."""

    def log_prob(self, value: Array) -> Array:
        """Log density `(*batch)`."""


class Law(Protocol):
    """Joint law of the sites of every pixel."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """In the order of the vector."""

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> tuple[dict[str, Array], Array]:
        """Values and their log density; differentiable with respect to the law's arrays."""

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        """Log density of values of all sites."""

    def marginal(self, site: str) -> Marginal:
        """Law of one site."""


def of_pixels(law: Any, where: slice | Array) -> Any:
    """The law of some of the pixels: its fields have the pixels first, but for `weights`, which serve them all."""
    fields = {field.name: (field, getattr(law, field.name)) for field in dataclasses.fields(law)}
    kept = {n: v if n == "weights" or f.metadata.get("static") else v[where] for n, (f, v) in fields.items()}
    return type(law)(**kept)


class MappedMarginal(eqx.Module):
    """Law on the real line, mapped to the support of its site.

    Attributes:
        site: whose value it is.
    """

    site: Site = eqx.field(static=True)

    @property
    def mean(self) -> Array:
        """Expectation `(*batch, *site.shape)`."""
        return self._moments()[0]

    @property
    def std(self) -> Array:
        """Standard deviation `(*batch, *site.shape)`."""
        return self._moments()[1]

    @abc.abstractmethod
    def _moments(self) -> tuple[Array, Array]:
        """Mean and standard deviation, each `(*batch, *site.shape)`."""

    def _below(self, level: float | Array, dtype: Any) -> Array:
        """Probability of what lies below the quantile of a level on the real line."""
        upward = rising(elementwise(self.site))
        return jnp.asarray(level if upward else 1.0 - level, dtype)


class NormalMarginal(MappedMarginal):
    """Normal on the real line, mapped to the support of its site.

    Attributes:
        location, scale: `(*batch, site.size)`.
    """

    location: Array
    scale: Array

    @eqx.filter_jit
    def _moments(self) -> tuple[Array, Array]:
        if isinstance(elementwise(self.site), transforms.IdentityTransform):
            shape = self.location.shape[:-1] + self.site.shape
            return self.location.reshape(shape), self.scale.reshape(shape)
        nodes, weights = _trapezoid() if self.site.interval is not None else _hermite()
        rule = jnp.asarray(nodes, self.location.dtype), jnp.asarray(weights, self.location.dtype)

        def sum_over_nodes(function: Callable[[Array], Array]) -> Array:
            def add(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
                return total + node[1] * function(self._at(node[0])), None

            like = jax.eval_shape(lambda: function(self._at(0.0)))
            return jax.lax.scan(add, jnp.zeros(like.shape, like.dtype), rule)[0]

        # A loop: written out, the sums are as quick, but take seconds to compile for every site.
        mean = sum_over_nodes(lambda value: value)
        return mean, jnp.sqrt(sum_over_nodes(lambda value: (value - mean) ** 2))

    def _at(self, standardised: float | Array) -> Array:
        return self.site.from_real(self.location + self.scale * standardised)[0]

    def quantile(self, level: float | Array) -> Array:
        """Value `(*batch, *site.shape)` below which the site lies with probability `level`."""
        return self._at(ndtri(self._below(level, self.location.dtype)))

    def log_prob(self, value: Array) -> Array:
        """Log density `(*batch)`."""
        vector = self.site.to_real(value)
        volume = self.site.from_real(vector)[1]
        return normal_density((vector - self.location) / self.scale, jnp.log(self.scale).sum(-1)) - volume


def elementwise(site: Site) -> transforms.Transform:
    """Map of a site's components, one by one, from the real line."""
    transform = site.transform
    if isinstance(transform, transforms.IndependentTransform):
        transform = transform.base_transform
    if transform.domain.event_dim != 0:
        raise ValueError(
            f"site {site.name!r}: expected independent components for a marginal, got the support {site.support}; "
            "take moments and quantiles from posterior draws"
        )
    return transform


def rising(transform: transforms.Transform) -> bool:
    """Whether a map of the real line rises."""
    with jax.ensure_compile_time_eval():
        low, high = (np.asarray(transform(jnp.asarray(z))) for z in (-1.0, 1.0))
    return bool(np.all(high > low))


@functools.cache
def _trapezoid() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Equal steps: converges geometrically for the logistic map, whose poles spoil the Gauss-Hermite rule."""
    nodes = np.linspace(-4.5, 4.5, 19)
    weights = np.exp(-0.5 * nodes**2)
    return tuple(nodes.tolist()), tuple((weights / weights.sum()).tolist())


@functools.cache
def _hermite() -> tuple[tuple[float, ...], tuple[float, ...]]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    return tuple(nodes.tolist()), tuple((weights / weights.sum()).tolist())


def normal_density(standardised: Array, log_volume: Array) -> Array:
    """Log density of normal vectors from their standardised values and the log volume of the factor."""
    size = standardised.shape[-1]
    return -0.5 * jnp.sum(standardised**2, -1) - 0.5 * size * _LOG_2PI - log_volume


def whiten(rows: Array, residual: Array) -> Array:
    """Solves L e = r for lower-triangular factors given row after row `(*batch, size (size + 1) / 2)`."""
    # Forward substitution, written out: ten times faster on small systems than batched triangular solves.
    solved: list[Array] = []
    for i in range(residual.shape[-1]):
        row = rows[..., i * (i + 1) // 2 : (i + 1) * (i + 2) // 2]
        rest = residual[..., i] - sum(row[..., j] * solved[j] for j in range(i))
        solved.append(rest / row[..., i])
    return jnp.stack(solved, -1)


def colour(rows: Array, noise: Array) -> Array:
    """Products L e of lower-triangular factors given row after row `(*batch, size (size + 1) / 2)`."""
    size = noise.shape[-1]
    row = [rows[..., i * (i + 1) // 2 : (i + 1) * (i + 2) // 2] for i in range(size)]
    return jnp.stack([(row[i] * noise[..., : i + 1]).sum(-1) for i in range(size)], -1)


def to_square(rows: Array, size: int) -> Array:
    """Lower-triangular factors `(*batch, size, size)` from their rows, one after the other."""
    return jnp.zeros((*rows.shape[:-1], size, size), rows.dtype).at[..., *np.tril_indices(size)].set(rows)


def to_rows(factor: Array) -> Array:
    """Rows, one after the other `(*batch, size (size + 1) / 2)`, of lower-triangular factors."""
    return factor[..., *np.tril_indices(factor.shape[-1])]


def log_volume(rows: Array, size: int) -> Array:
    """Log determinants of lower-triangular factors given row after row."""
    return jnp.log(rows[..., np.cumsum(np.arange(1, size + 1)) - 1]).sum(-1)


class DiagonalNormal(eqx.Module):
    """Independent normals on the real line.

    Attributes:
        sites: in the order of the vector.
        location, scale: `(*batch, size)`.
    """

    sites: tuple[Site, ...] = eqx.field(static=True)
    location: Array
    scale: Array

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> tuple[dict[str, Array], Array]:
        """Values and their log density."""
        noise = jax.random.normal(key, shape + self.location.shape, self.location.dtype)
        values, volume = from_vector(self.sites, self.location + self.scale * noise)
        return values, normal_density(noise, jnp.log(self.scale).sum(-1)) - volume

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        """Log density of values of all sites."""
        vector = to_vector(self.sites, values)
        volume = from_vector(self.sites, vector)[1]
        return normal_density((vector - self.location) / self.scale, jnp.log(self.scale).sum(-1)) - volume

    def marginal(self, site: str) -> NormalMarginal:
        """Law of one site."""
        where = offsets(self.sites)[site]
        found = next(s for s in self.sites if s.name == site)
        return NormalMarginal(found, self.location[..., where], self.scale[..., where])


class FullNormal(eqx.Module):
    """Multivariate normal on the real line.

    Attributes:
        sites: in the order of the vector.
        location: `(*batch, size)`.
        rows: lower Cholesky factor of the covariance, row after row, `(*batch, size (size + 1) / 2)`.
    """

    sites: tuple[Site, ...] = eqx.field(static=True)
    location: Array
    rows: Array

    def _log_volume(self) -> Array:
        return log_volume(self.rows, self.location.shape[-1])

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> tuple[dict[str, Array], Array]:
        """Values and their log density."""
        noise = jax.random.normal(key, shape + self.location.shape, self.location.dtype)
        values, volume = from_vector(self.sites, self.location + colour(self.rows, noise))
        return values, normal_density(noise, self._log_volume()) - volume

    def at(self, standardised: Array) -> dict[str, Array]:
        """Values at points `(*shape, *batch, size)` of the standard normal law."""
        return from_vector(self.sites, self.location + colour(self.rows, standardised))[0]

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        """Log density of values of all sites."""
        vector = to_vector(self.sites, values)
        volume = from_vector(self.sites, vector)[1]
        residual = vector - self.location
        return normal_density(whiten(self.rows, residual), self._log_volume()) - volume

    def marginal(self, site: str) -> NormalMarginal:
        """Law of one site: the variance of component i is the squared length of row i."""
        where = offsets(self.sites)[site]
        found = next(s for s in self.sites if s.name == site)
        rows = [self.rows[..., i * (i + 1) // 2 : (i + 1) * (i + 2) // 2] for i in range(where.start, where.stop)]
        scale = [jnp.sqrt(jnp.sum(row**2, -1)) for row in rows]
        return NormalMarginal(found, self.location[..., where], jnp.stack(scale, -1))


def marginals(law: Law, names: Sequence[str]) -> dict[str, Marginal]:
    """Laws of several sites; those of a law known by draws share them."""
    together = getattr(law, "marginals", None)
    return {name: law.marginal(name) for name in names} if together is None else together(names)


def moments(law: Law) -> dict[str, tuple[Array, Array]]:
    """Means and standard deviations of all sites."""
    together = getattr(law, "moments", None)
    if together is not None:
        return together()
    return {name: (one.mean, one.std) for name, one in marginals(law, [site.name for site in law.sites]).items()}


def quantiles(law: Law, level: Array) -> dict[str, Array]:
    """Values of all sites below which each lies with probability `level`."""
    together = getattr(law, "quantiles", None)
    if together is not None:
        return together(level)
    return {name: one.quantile(level) for name, one in marginals(law, [site.name for site in law.sites]).items()}
