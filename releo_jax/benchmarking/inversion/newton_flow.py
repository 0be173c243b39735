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
from releo_jax.inference.curvature import covariance_rows
from releo_jax.inference.density import Target, log_likelihood, values_at
from releo_jax.inference.flows import Flow, SplineFlow
from releo_jax.inference.laws import to_rows, to_square
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
        unit, relative = newton(target, data, self.steps)
        ends = np.cumsum(np.arange(1, target.size + 1)) - 1
        law = jnp.clip(jnp.concatenate([unit, relative.at[:, ends].set(jnp.log(relative[:, ends]))], -1), -10.0, 10.0)
        spread = jnp.concatenate([np.full(i + 1, s) for i, s in enumerate(target.scale)])
        seen = {**data, "newton": SingleDate(law, jnp.ones(law.shape, bool))}
        return seen, target.location + target.scale * unit, relative * spread

    def __call__(self, observations: Observations) -> Array:
        """Returns the context `(pixel, feature)`."""
        data, mean, rows = self._with_law(observations)
        return jnp.concatenate([mean, rows, self.network(data)], -1)


def newton(target: Target, data: Observations, steps: int) -> tuple[Array, Array]:
    """Normal laws that a few Gauss-Newton steps arrive at, in units of the prior's moments on the real line.

    The prior counts as a normal law, and the spread of the observed laws as known: the network makes up for both.
    Unlike the exact curvature, on which `fit_laplace` climbs, the information is then positive everywhere and training
    never meets a pixel without a law.

    Args:
        target: the model, without global sites; its observed laws have `loc` and `scale`.
        data: observations.
        steps: always so many.

    Returns:
        Means `(pixel, size)` and lower Cholesky factors of the covariance, row after row
        `(pixel, size (size + 1) / 2)`, without units.

    Equation:
        u <- u - (J'J + damping diag(J'J))^-1 J'r, r = (u, (observed - simulated(u)) / spread), J = dr / du; the
        covariance is (J'J)^-1

    References:
        Marquardt 1963, J. Soc. Ind. Appl. Math. 11, 431-441.
    """
    location, scale = jnp.asarray(target.location), jnp.asarray(target.scale)
    pixels = next(iter(data.values())).values.shape[0]

    def misfit(unit: Array) -> Array:
        """Standardised differences to observations and prior `(pixel, n)`."""
        values, _ = values_at(target, location + scale * unit, jnp.zeros(0))
        parts = [unit]
        for name, law in log_likelihood(target, data, values)[1].items():
            spread = jax.lax.stop_gradient(jnp.broadcast_to(law.scale, law.loc.shape))
            parts.append(jnp.where(data[name].mask, (data[name].values - law.loc) / spread, 0.0))
        return jnp.concatenate([part.reshape(pixels, -1) for part in parts], -1)

    def expand(unit: Array) -> tuple[Array, Array, Array]:
        here, push = jax.linearize(misfit, unit)
        along = jax.vmap(lambda one: push(jnp.broadcast_to(one, unit.shape)), out_axes=1)(jnp.eye(target.size))
        exact = jax.lax.Precision.HIGHEST
        slope = jnp.einsum("pin,pn->pi", along, here, precision=exact)
        return 0.5 * jnp.sum(here**2, -1), slope, jnp.einsum("pin,pjn->pij", along, along, precision=exact)

    # Far from the mode a step may lead into another valley: the best of a few points of the prior begins.
    points = jnp.asarray(_points(target.size), scale.dtype)
    heights = jax.lax.map(lambda one: jnp.sum(misfit(jnp.broadcast_to(one, (pixels, one.size))) ** 2, -1), points)
    unit = points[jnp.argmin(heights, 0)]
    at = expand(unit)
    damping = jnp.full(pixels, 1e-2)
    for _ in range(steps):
        value, slope, information = at
        damped = information * (1.0 + damping[:, None, None] * jnp.eye(target.size))
        move = -jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(damped), True), slope[..., None])[..., 0]
        length = jnp.sqrt(jnp.mean(move**2, -1, keepdims=True))
        there = unit + move / jnp.maximum(1.0, length)
        tried = expand(there)
        better = tried[0] <= value
        unit = jnp.where(better[:, None], there, unit)
        at = tuple(  # type: ignore[assignment]
            jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in zip(tried, at, strict=True)
        )
        damping = jnp.where(better, 0.1 * damping, 10.0 * damping)
    return unit, covariance_rows(at[2])


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
