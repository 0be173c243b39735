"""A guide that starts where a few Newton steps arrive: the network learns what is left."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from scipy.special import ndtri
from scipy.stats import qmc

from releo_jax.encoders import PixelEncoder
from releo_jax.inference.density import Target
from releo_jax.inference.flows import Flow, SplineFlow
from releo_jax.inference.laws import to_rows, to_square
from releo_jax.inference.newton import few_steps
from releo_jax.inference.structure import Site
from releo_jax.observations import Observations, SingleDate

STARTS = 32
"""Points of the prior from which the best begins."""


class NewtonEncoder(nnx.Module):
    """Normal law that a few Newton steps arrive at from the best of a few points, and what a network says of it.

    The context holds the law's mean, then its factor row after row, then the features of a `PixelEncoder` that sees
    the observations and the law.

    Args:
        target: the model, without global sites.
        example: observations from which the inputs' means and deviations are taken.
        steps: of Newton's method with the Fisher information as curvature, damped until they climb.
        **options: of the network, see `PixelEncoder`.
    """

    def __init__(self, target: Target, example: Observations, *, steps: int, **options: Any) -> None:
        self.target, self.steps = nnx.static(target), steps
        self.network = PixelEncoder(self._with_law(example)[0], **options)

    def _with_law(self, data: Observations) -> tuple[Observations, Array, Array]:
        target = self.target
        starts = jnp.asarray(target.location + target.scale * _points(target.size), target.location.dtype)
        mean, rows = few_steps(target, data, starts, jnp.zeros(0), self.steps)
        spread = jnp.concatenate([np.full(i + 1, s) for i, s in enumerate(target.scale)])
        ends = np.cumsum(np.arange(1, target.size + 1)) - 1
        relative = rows / spread
        features = [(mean - target.location) / target.scale, relative.at[:, ends].set(jnp.log(relative[:, ends]))]
        law = jnp.clip(jnp.concatenate(features, -1), -10.0, 10.0)
        return {**data, "newton": SingleDate(law, jnp.ones(law.shape, bool))}, mean, rows

    def __call__(self, observations: Observations) -> Array:
        """Returns the context `(pixel, feature)`."""
        data, mean, rows = self._with_law(observations)
        return jnp.concatenate([mean, rows, self.network(data)], -1)


@functools.cache
def _points(size: int) -> np.ndarray:
    """The origin and standard normal quasi-random points `(point, size)`."""
    drawn = ndtri(qmc.Sobol(size, rng=np.random.default_rng(0)).random(STARTS))
    return np.concatenate([np.zeros((1, size)), drawn[1:]])


class FlowAround(nnx.Module):
    """Flow in the coordinates of the normal law that stands first in the context.

    Args:
        sites: local latent sites.
        features: of the context.
        location, scale: of the prior, not used: the law says where to start.
        **options: of `Flow`.
    """

    def __init__(
        self, sites: tuple[Site, ...], features: int, *, location: Array, scale: Array, layers: int = 4, width: int = 64
    ) -> None:
        size = location.size
        self.known = size + size * (size + 1) // 2
        how: Any = {"location": jnp.zeros(size), "scale": jnp.ones(size), "layers": layers, "width": width}
        self.flow = Flow(sites, features - self.known, **how)

    def __call__(self, context: Array) -> SplineFlow:
        """Joint law."""
        law = self.flow(context[..., self.known :])
        size = law.shape.size
        middle, outer = context[..., :size], to_square(context[..., size : self.known], size)
        exact = jax.lax.Precision.HIGHEST
        location = middle + jnp.einsum("...ij,...j->...i", outer, law.location, precision=exact)
        rows = jnp.einsum("...ij,...jk->...ik", outer, to_square(law.rows, size), precision=exact)
        return SplineFlow(law.sites, law.shape, law.weights, law.context, location, to_rows(rows))

    def marginal(self, context: Array, site: str) -> Any:
        """One site, known by draws."""
        return self(context).marginal(site)

    def marginals(self, context: Array, sites: Any) -> Any:
        """Several sites, known by the same draws."""
        return self(context).marginals(sites)
