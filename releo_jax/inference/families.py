"""Guide families: Flax heads from the context of a pixel to the law of its latent sites.

A family is a class with `__init__(sites, features, *, location, scale)`, `__call__(context) -> law` and
`marginal(context, site) -> marginal`, which computes no more of the head than that site needs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from releo_jax.encoders.pixel import Constant
from releo_jax.inference.laws import (
    DiagonalNormal,
    FullNormal,
    Law,
    Marginal,
    NormalMarginal,
    TruncatedMarginal,
    TruncatedNormals,
    offsets,
)
from releo_jax.inference.structure import Site

_FLOOR = 1e-4  # smallest scale, in units of the prior's


class Family(Protocol):
    """What `amortize` builds for the sites of a plate."""

    def __call__(self, context: Array) -> Law:
        """Joint law `(pixel)` for a context `(pixel, features)`."""

    def marginal(self, context: Array, site: str) -> Marginal:
        """Law of one site."""


class _Head(nnx.Module):
    """Linear map whose outputs can be computed in part. It starts at zero: the law starts at the prior's moments."""

    def __init__(self, features: int, outputs: int) -> None:
        self.kernel = nnx.Param(jnp.zeros((features, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, context: Array, columns: np.ndarray | slice = slice(None)) -> Array:
        return context @ self.kernel[...][:, columns] + self.bias[...][columns]


def _positive(raw: Array) -> Array:
    """Softplus moved so that 0 gives 1, above a floor."""
    return jax.nn.softplus(raw + math.log(math.e - 1.0)) + _FLOOR


def _size(sites: tuple[Site, ...]) -> int:
    return sum(site.size for site in sites)


def _find(sites: tuple[Site, ...], name: str) -> Site:
    return next(site for site in sites if site.name == name)


class LogitNormal(nnx.Module):
    """Independent normals on the unconstrained line: logit-normal where the support is an interval.

    Args:
        sites: local latent sites.
        features: of the context.
        location, scale: of the sites under the prior, unconstrained `(size,)`; fixed, they centre and scale the head.
    """

    def __init__(self, sites: tuple[Site, ...], features: int, *, location: Array, scale: Array) -> None:
        self.sites = nnx.static(sites)
        self.location, self.scale = Constant(location), Constant(scale)
        self.head = _Head(features, 2 * _size(sites))

    def __call__(self, context: Array) -> DiagonalNormal:
        """Joint law."""
        location, scale = jnp.split(self.head(context), 2, axis=-1)
        return DiagonalNormal(
            self.sites, self.location[...] + self.scale[...] * location, self.scale[...] * _positive(scale)
        )

    def marginal(self, context: Array, site: str) -> NormalMarginal:
        """Law of one site, from its own two columns of the head."""
        size, where = _size(self.sites), offsets(self.sites)[site]
        columns = np.arange(where.start, where.stop)
        location, scale = jnp.split(self.head(context, np.concatenate([columns, size + columns])), 2, axis=-1)
        centre, spread = self.location[...][where], self.scale[...][where]
        return NormalMarginal(_find(self.sites, site), centre + spread * location, spread * _positive(scale))


class FullCovariance(nnx.Module):
    """Multivariate normal on the unconstrained line; the head gives the Cholesky factor of the covariance.

    The marginal of component i needs row i of the factor, so the first sites are the cheapest.

    Args:
        sites: local latent sites, in the order of the factor.
        features: of the context.
        location, scale: of the sites under the prior, unconstrained `(size,)`; fixed, they centre and scale the head.
    """

    def __init__(self, sites: tuple[Site, ...], features: int, *, location: Array, scale: Array) -> None:
        self.sites = nnx.static(sites)
        self.location, self.scale = Constant(location), Constant(scale)
        size = _size(sites)
        self.head = _Head(features, size + size * (size + 1) // 2)

    def _rows(self, raw: Array, components: range) -> Array:
        """Rows of the factor from their raw entries, one after the other."""
        row = np.concatenate([np.full(i + 1, i) for i in components])
        diagonal = np.concatenate([np.arange(i + 1) == i for i in components])
        return jnp.where(diagonal, _positive(raw), raw) * self.scale[...][row]

    def __call__(self, context: Array) -> FullNormal:
        """Joint law."""
        size, raw = _size(self.sites), self.head(context)
        location = self.location[...] + self.scale[...] * raw[..., :size]
        return FullNormal(self.sites, location, self._rows(raw[..., size:], range(size)))

    def marginal(self, context: Array, site: str) -> NormalMarginal:
        """Law of one site, from its own rows of the factor."""
        size, where = _size(self.sites), offsets(self.sites)[site]
        components = range(where.start, where.stop)
        starts = [size + i * (i + 1) // 2 for i in components]
        entries = [np.arange(start, start + i + 1) for start, i in zip(starts, components, strict=True)]
        raw = self.head(context, np.concatenate([np.arange(where.start, where.stop), *entries]))
        location = self.location[...][where] + self.scale[...][where] * raw[..., : len(components)]
        squares = self._rows(raw[..., len(components) :], components) ** 2
        ends = np.cumsum([0, *(i + 1 for i in components)])
        variance = [squares[..., a:b].sum(-1) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        return NormalMarginal(_find(self.sites, site), location, jnp.sqrt(jnp.stack(variance, -1)))


class TruncatedNormal(nnx.Module):
    """Independent truncated normals on the intervals of the sites, parametrised as in PROSAIL-VAE.

    On the interval mapped to 0 to 1, the parent normal has its mean inside the interval and its standard deviation
    between 5e-4 and 1.4, which is close to uniform.

    Args:
        sites: local latent sites, each on an interval.
        features: of the context.
        location, scale: not used; the bounds say where the sites are.

    Raises:
        ValueError: a site without two bounds.

    References:
        Zérah, Valero & Inglada 2024, Remote Sens. Environ. 312, 114309.
    """

    def __init__(self, sites: tuple[Site, ...], features: int, *, location: Array, scale: Array) -> None:
        unbounded = {site.name: str(site.support) for site in sites if site.interval is None}
        if unbounded:
            raise ValueError(
                f"truncated_normal: expected sites on intervals, got {unbounded}; bound them, or use the families "
                "logit_normal or full_covariance, which take any support"
            )
        self.sites = nnx.static(sites)
        self.head = _Head(features, 2 * _size(sites))

    @staticmethod
    def _parameters(raw: Array) -> tuple[Array, Array]:
        location, scale = jnp.split(raw, 2, axis=-1)
        low, high = math.log(5e-4), math.log(1.4)
        # The shift makes an untrained head say 0.35: wide, not the middle of the logarithmic range (0.026).
        log_scale = low + (high - low) * jax.nn.sigmoid(scale + 1.56)
        return jax.nn.sigmoid(location), jnp.exp(log_scale)

    def __call__(self, context: Array) -> TruncatedNormals:
        """Joint law."""
        return TruncatedNormals(self.sites, *self._parameters(self.head(context)))

    def marginal(self, context: Array, site: str) -> TruncatedMarginal:
        """Law of one site, from its own two columns of the head."""
        size, where = _size(self.sites), offsets(self.sites)[site]
        columns = np.arange(where.start, where.stop)
        raw = self.head(context, np.concatenate([columns, size + columns]))
        return TruncatedMarginal(_find(self.sites, site), *self._parameters(raw))


class SharedNormal(nnx.Module):
    """Independent normals on the unconstrained line for the sites that all pixels share; starts at the prior.

    Args:
        sites: global latent sites.
        location, scale: of the sites under the prior, unconstrained `(size,)`.
    """

    def __init__(self, sites: tuple[Site, ...], *, location: Array, scale: Array) -> None:
        self.sites = nnx.static(sites)
        self.location, self.scale = Constant(location), Constant(scale)
        self.shift = nnx.Param(jnp.zeros_like(location))
        self.spread = nnx.Param(jnp.zeros_like(scale))

    def __call__(self) -> DiagonalNormal:
        """Joint law."""
        location = self.location[...] + self.scale[...] * self.shift[...]
        return DiagonalNormal(self.sites, location, self.scale[...] * _positive(self.spread[...]))


FAMILIES: Mapping[str, type[nnx.Module]] = {
    "truncated_normal": TruncatedNormal,
    "logit_normal": LogitNormal,
    "full_covariance": FullCovariance,
}
