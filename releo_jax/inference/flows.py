"""Normalising flows: a multivariate normal on the real line, bent by conditional rational-quadratic splines.

The flow is a chain of coupling layers, which are as quick to draw from as to evaluate; its networks are flowjax's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flowjax.bijections import AbstractBijection, Chain, Coupling, Permute, RationalQuadraticSpline, Scan
from jax import Array
from scipy.special import ndtri
from scipy.stats import qmc

from releo_jax.encoders.pixel import Constant
from releo_jax.inference.heads import Head, factor_rows, find, total_size
from releo_jax.inference.laws import (
    colour,
    from_vector,
    log_volume,
    normal_density,
    to_vector,
    whiten,
)
from releo_jax.inference.structure import Site

MARGINAL_DRAWS = 512
_TOGETHER = 16  # of these draws are in memory at once
_REACH = 5.0  # splines bend this many deviations to either side, and leave what lies beyond
_CONTEXT = 32  # features that the conditioners see


class DrawsMarginal(eqx.Module):
    """One site of a law that has no closed marginals, known by draws.

    Attributes:
        site: whose value it is.
        draws: `(draw, *batch, *site.shape)`.
    """

    site: Site = eqx.field(static=True)
    draws: Array

    @property
    def mean(self) -> Array:
        """Expectation `(*batch, *site.shape)`."""
        return self.draws.mean(0)

    @property
    def std(self) -> Array:
        """Standard deviation `(*batch, *site.shape)`."""
        return self.draws.std(0)

    def quantile(self, level: float | Array) -> Array:
        """Value `(*batch, *site.shape)` below which the site lies with probability `level`."""
        return jnp.quantile(self.draws, level, axis=0)

    def log_prob(self, value: Array) -> Array:
        """Not known.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"site {self.site.name!r}: expected a family whose marginals have densities, got a flow; use the family "
            "mixture or full_covariance, or the joint log_prob of all sites"
        )


class FlowShape(NamedTuple):
    """What the networks of a flow look like.

    Attributes:
        size: of the vector.
        context: features that the conditioners see.
        layers: coupling layers.
        width: of the hidden layer of each conditioner.
        knots: of each spline, inner ones.
    """

    size: int
    context: int
    layers: int
    width: int
    knots: int


@functools.cache
def _untrained(shape: FlowShape) -> AbstractBijection:
    """From the bent vector to the normal one; starts at the identity."""
    half = shape.size // 2  # 0 of 1: the only number is bent by what the context says
    one = Coupling(
        jax.random.key(0),
        # Steeper splines than these lose their inverse in single precision.
        transformer=RationalQuadraticSpline(knots=shape.knots, interval=_REACH, min_derivative=1e-2, min_width=5e-2),
        untransformed_dim=half,
        dim=shape.size,
        cond_dim=shape.context,
        nn_width=shape.width,
        nn_depth=1,
    )
    # Turning by about a half lets every number be bent, and be seen, within a few layers.
    turn = Permute(jnp.roll(jnp.arange(shape.size), -max(1, half - 1)))
    stacked = jax.tree.map(
        lambda leaf: jnp.asarray(np.stack([np.asarray(leaf)] * shape.layers)) if eqx.is_array(leaf) else leaf,
        Chain([one, turn]),
    )
    return Scan(eqx.tree_at(_networks, stacked, [jnp.asarray(array, jnp.float32) for array in _starts(shape, stacked)]))


def _networks(chain: Any) -> list[Array]:
    return [array for layer in chain.bijections[0].conditioner.layers for array in (layer.weight, layer.bias)]


def _starts(shape: FlowShape, chain: Any) -> list[np.ndarray]:
    """First weights of the conditioners: random ones, always the same, before the hidden layer, zeros after it."""
    hidden, *others = _networks(chain)
    reach = 1.0 / np.sqrt(hidden.shape[-1])
    return [np.random.RandomState(0).uniform(-reach, reach, hidden.shape), *(np.zeros(a.shape) for a in others)]


def _weights(shape: FlowShape) -> list[Array]:
    return jax.tree.leaves(eqx.filter(_untrained(shape), eqx.is_inexact_array))


@functools.cache
def _nodes(size: int) -> np.ndarray:
    """Standard normal quasi-random points `(MARGINAL_DRAWS, size)`, the same for every pixel."""
    return ndtri(qmc.Sobol(size, rng=np.random.default_rng(0)).random(MARGINAL_DRAWS))


class SplineFlow(eqx.Module):
    """Multivariate normal on the real line after conditional splines: z = location + L T(u; context), u normal.

    Marginals have no closed form: their means, deviations and quantiles come from `MARGINAL_DRAWS` = 512 quasi-random
    points, the same for every pixel.

    Attributes:
        sites: in the order of the vector.
        shape: of the networks.
        weights: of the networks, the same for all pixels.
        context: what the networks see of each pixel `(*batch, feature)`.
        location: `(*batch, size)`.
        rows: lower-triangular factor L, row after row, `(*batch, size (size + 1) / 2)`.

    References:
        Durkan, Bekasov, Murray & Papamakarios 2019, NeurIPS 32 (neural spline flows).
    """

    sites: tuple[Site, ...] = eqx.field(static=True)
    shape: FlowShape = eqx.field(static=True)
    weights: list[Array]
    context: Array
    location: Array
    rows: Array

    def _flow(self) -> Any:
        untrained = _untrained(self.shape)
        trained, rest = eqx.partition(untrained, eqx.is_inexact_array)
        return eqx.combine(jax.tree.unflatten(jax.tree.structure(trained), self.weights), rest)

    def _each(self, bend: Callable[[Array, Array], tuple[Array, Array]], vectors: Array) -> tuple[Array, Array]:
        batch = vectors.shape[:-1]
        contexts = jnp.broadcast_to(self.context, (*batch, self.shape.context)).reshape(-1, self.shape.context)
        bent, change = jax.vmap(bend)(vectors.reshape(-1, self.shape.size), contexts)
        return bent.reshape(vectors.shape), change.reshape(batch)

    def bend(self, noise: Array) -> tuple[Array, Array]:
        """Real vectors and their log density from standard normal vectors `(*shape, *batch, size)`."""
        bent, stretch = self._each(self._flow().inverse_and_log_det, noise)
        vector = self.location + colour(self.rows, bent)
        return vector, normal_density(noise, log_volume(self.rows, self.shape.size)) - stretch

    def straighten(self, vector: Array) -> tuple[Array, Array]:
        """Standard normal vectors and the log density of the real ones `(*shape, *batch, size)`: undoes `bend`."""
        noise, squeeze = self._each(self._flow().transform_and_log_det, whiten(self.rows, vector - self.location))
        return noise, normal_density(noise, log_volume(self.rows, self.shape.size)) + squeeze

    def _push(self, noise: Array) -> tuple[dict[str, Array], Array]:
        vector, density = self.bend(noise)
        values, volume = from_vector(self.sites, vector)
        return values, density - volume

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> tuple[dict[str, Array], Array]:
        """Values and their log density."""
        return self._push(jax.random.normal(key, shape + self.location.shape, self.location.dtype))

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        """Log density of values of all sites."""
        vector = to_vector(self.sites, values)
        return self.straighten(vector)[1] - from_vector(self.sites, vector)[1]

    def marginal(self, site: str) -> DrawsMarginal:
        """One site, known by draws."""
        return self.marginals([site])[site]

    def marginals(self, sites: Sequence[str]) -> dict[str, DrawsMarginal]:
        """Several sites, known by the same draws."""

        def push(node: Array) -> dict[str, Array]:
            values = self._push(jnp.broadcast_to(node, self.location.shape))[0]
            return {site: values[site] for site in sites}

        nodes = jnp.asarray(_nodes(self.shape.size), self.location.dtype)
        draws = jax.lax.map(push, nodes, batch_size=_TOGETHER)
        return {site: DrawsMarginal(find(self.sites, site), draws[site]) for site in sites}


class Flow(nnx.Module):
    """Multivariate normal on the unconstrained line, bent by splines that see the context.

    Starts without bends, at the prior's moments. The first weights of the hidden layers are always the same.

    Args:
        sites: local latent sites.
        features: of the context.
        location, scale: of the sites under the prior, unconstrained `(size,)`; fixed, they centre and scale the head.
        layers: coupling layers.
        width: of the hidden layer of each conditioner.
        knots: of each spline.
    """

    def __init__(
        self,
        sites: tuple[Site, ...],
        features: int,
        *,
        location: Array,
        scale: Array,
        layers: int = 4,
        width: int = 64,
        knots: int = 8,
    ) -> None:
        size = total_size(sites)
        self.sites, self.shape = nnx.static(sites), nnx.static(FlowShape(size, _CONTEXT, layers, width, knots))
        self.location, self.scale = Constant(location), Constant(scale)
        self.head = Head(features, size + size * (size + 1) // 2)
        self.summary = nnx.Linear(features, _CONTEXT, rngs=nnx.Rngs(0))
        self.weights = nnx.List([nnx.Param(leaf) for leaf in _weights(self.shape)])

    def __call__(self, context: Array) -> SplineFlow:
        """Joint law."""
        size, raw = self.shape.size, self.head(context)
        location = self.location[...] + self.scale[...] * raw[..., :size]
        rows = factor_rows(raw[..., size:], self.scale[...], range(size))
        weights = [weight[...] for weight in self.weights]
        return SplineFlow(self.sites, self.shape, weights, jnp.tanh(self.summary(context)), location, rows)

    def marginal(self, context: Array, site: str) -> DrawsMarginal:
        """One site, known by draws."""
        return self(context).marginal(site)

    def marginals(self, context: Array, sites: Sequence[str]) -> dict[str, DrawsMarginal]:
        """Several sites, known by the same draws."""
        return self(context).marginals(sites)
