"""Guide families: Flax heads from the context of a pixel to the law of its latent sites.

A family is a class with `__init__(sites, features, *, location, scale)`, its own options after these,
`__call__(context) -> law` and `marginal(context, site) -> marginal`, which computes no more of the head than that site
needs.
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
from releo_jax.inference.flows import Flow
from releo_jax.inference.heads import Head, factor_rows, find, positive, row_entries, total_size
from releo_jax.inference.laws import DiagonalNormal, FullNormal, Law, Marginal, NormalMarginal, offsets
from releo_jax.inference.mixtures import Mixture
from releo_jax.inference.structure import Site
from releo_jax.inference.truncated_normals import TruncatedMarginal, TruncatedNormals


class Family(Protocol):
    """What `amortize` builds for the sites of a plate."""

    def __call__(self, context: Array) -> Law:
        """Joint law `(pixel)` for a context `(pixel, features)`."""

    def marginal(self, context: Array, site: str) -> Marginal:
        """Law of one site."""


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
        self.head = Head(features, 2 * total_size(sites))

    def __call__(self, context: Array) -> DiagonalNormal:
        """Joint law."""
        location, scale = jnp.split(self.head(context), 2, axis=-1)
        return DiagonalNormal(
            self.sites, self.location[...] + self.scale[...] * location, self.scale[...] * positive(scale)
        )

    def marginal(self, context: Array, site: str) -> NormalMarginal:
        """Law of one site, from its own two columns of the head."""
        size, where = total_size(self.sites), offsets(self.sites)[site]
        columns = np.arange(where.start, where.stop)
        location, scale = jnp.split(self.head(context, np.concatenate([columns, size + columns])), 2, axis=-1)
        centre, spread = self.location[...][where], self.scale[...][where]
        return NormalMarginal(find(self.sites, site), centre + spread * location, spread * positive(scale))


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
        size = total_size(sites)
        self.head = Head(features, size + size * (size + 1) // 2)

    def __call__(self, context: Array) -> FullNormal:
        """Joint law."""
        size, raw = total_size(self.sites), self.head(context)
        location = self.location[...] + self.scale[...] * raw[..., :size]
        return FullNormal(self.sites, location, factor_rows(raw[..., size:], self.scale[...], range(size)))

    def marginal(self, context: Array, site: str) -> NormalMarginal:
        """Law of one site, from its own rows of the factor."""
        size, where = total_size(self.sites), offsets(self.sites)[site]
        components = range(where.start, where.stop)
        raw = self.head(context, np.concatenate([np.asarray(components), size + row_entries(components)]))
        location = self.location[...][where] + self.scale[...][where] * raw[..., : len(components)]
        squares = factor_rows(raw[..., len(components) :], self.scale[...], components) ** 2
        ends = np.cumsum([0, *(i + 1 for i in components)])
        variance = [squares[..., a:b].sum(-1) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        return NormalMarginal(find(self.sites, site), location, jnp.sqrt(jnp.stack(variance, -1)))


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
        self.head = Head(features, 2 * total_size(sites))

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
        size, where = total_size(self.sites), offsets(self.sites)[site]
        columns = np.arange(where.start, where.stop)
        raw = self.head(context, np.concatenate([columns, size + columns]))
        return TruncatedMarginal(find(self.sites, site), *self._parameters(raw))


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
        return DiagonalNormal(self.sites, location, self.scale[...] * positive(self.spread[...]))


FAMILIES: Mapping[str, type[nnx.Module]] = {
    "truncated_normal": TruncatedNormal,
    "logit_normal": LogitNormal,
    "full_covariance": FullCovariance,
    "mixture": Mixture,
    "flow": Flow,
}
