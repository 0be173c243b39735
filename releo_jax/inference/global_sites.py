"""Global sites learned from many pixels at once: expectation maximisation over the pixels' normal approximations."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jax import Array

from releo_jax.inference import curvature
from releo_jax.inference.density import Target, log_likelihood, log_prior
from releo_jax.inference.laws import DiagonalNormal, FullNormal, from_vector, to_vector
from releo_jax.inference.newton import best_starts, search
from releo_jax.observations import Observations, check_observations, take

_LEARN_FROM = 2048  # pixels that teach the global sites
_POINTS = 8  # at most that stand for the posterior of each of them
_DRAWS = 16  # of each of them, for the uncertainty of the global sites
_ROUNDS = 30
_SETTLED = 2e-3  # deviations of the prior by which a round may still move the global sites
_REMEMBERED = 6  # rounds that the extrapolation looks back


def learn_global_sites(
    target: Target, data: Observations, starts: Array, *, key: Array, shared: Mapping[str, Array] | None, memory: int
) -> tuple[Array, DiagonalNormal | FullNormal | None]:
    """The global vector `(size,)` and its law, from given values or learned from up to 2048 of the pixels.

    Expectation maximisation: points around the pixels' modes stand for their posteriors, the global sites move to the
    maximum of the expected log density, and so on until they stay. The rounds alone would take long where the pixels
    leave much unsaid, so their sequence is extrapolated (Walker & Ni 2011, SIAM J. Numer. Anal. 49, 1715-1735). The law
    is normal around the end, with the curvature of the density of the observations: what the local sites take away by
    following is subtracted (Louis 1982, J. R. Stat. Soc. B 44, 226-233).
    """
    sites = target.structure.shared
    given = target.given(shared)
    if not sites:
        return jnp.zeros(0), None
    if given is not None:
        vector = to_vector(sites, given)
        return vector, DiagonalNormal(sites, vector, jnp.zeros_like(vector))
    key_choice, key_points, key_draws = jax.random.split(key, 3)
    pixels = check_observations(data)
    chosen = jax.random.permutation(key_choice, pixels)[:_LEARN_FROM]
    few = take(data, chosen)
    scale = pixels / chosen.size
    points = _standard_points(key_points, chosen.size, target.size)
    vector, unit = jnp.asarray(target.shared_location), target.shared_scale
    where = best_starts(target, few, starts, vector, memory=memory)
    path: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(_ROUNDS):
        found = search(target, few, where, vector, steps=20, volume=True, memory=memory)
        where = found.vector
        law = FullNormal(target.structure.local, jnp.asarray(where), jnp.asarray(found.rows))
        improved = _maximise(target, few, law, vector, points, scale)
        change = np.asarray((improved - vector) / unit)
        if np.abs(change).max() < _SETTLED:
            vector = improved
            break
        path = _shortened([*path, (np.asarray(vector) / unit, change)])
        vector = jnp.asarray(unit * _extrapolated(path), vector.dtype)
    return vector, FullNormal(sites, vector, _spread(target, few, law, vector, points, key_draws, scale))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _standard_points(key: Array, pixels: int, size: int) -> Array:
    """Points `(point, pixel, size)` with mean 0 that stand for a standard normal law.

    Both ends of up to half of `_POINTS` directions, orthonormal, turned at random for each pixel. Where there are no
    more local sites than directions, the expectation of what is quadratic in them is exact.
    """
    turned, _ = jnp.linalg.qr(jax.random.normal(key, (pixels, size, size)))
    ends = np.sqrt(size) * jnp.moveaxis(turned[..., : _POINTS // 2], -1, 0)
    return jnp.concatenate([ends, -ends])


def _shortened(path: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The end of the path on which the changes became smaller: the map is not linear on the rest."""
    if len(path) > 1 and np.linalg.norm(path[-1][1]) > np.linalg.norm(path[-2][1]):
        return path[-1:]
    return path[-_REMEMBERED:]


def _extrapolated(path: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Where the changes along the path would vanish if they were linear in the vector (Anderson's mixing)."""
    (last, change), earlier = path[-1], path[:-1]
    if not earlier:
        return last + change
    moves = np.stack([last - vector for vector, _ in earlier], -1)
    turns = np.stack([change - other for _, other in earlier], -1)
    weights = np.linalg.lstsq(turns, change, rcond=1e-2)[0]
    shift = (moves + turns) @ weights
    # No further at once than a deviation of the prior beside the plain round.
    return last + change - shift / max(1.0, np.abs(shift).max())


def _height(target: Target, data: Observations, scale: float) -> Any:
    """The expected log density as a function of the global vector and points of the pixels' sites `(point, ...)`."""

    def height(vector: Array, points: Mapping[str, Array]) -> Array:
        shared, volume = from_vector(target.structure.shared, vector)

        def at(values: Mapping[str, Array]) -> tuple[Array, Array]:
            values = {**values, **shared}
            inside, outside = log_prior(target, data, values)
            return (log_likelihood(target, data, values)[0] + inside).sum(), outside

        each, prior = jax.vmap(at)(dict(points))
        return scale * each.mean() + prior[0] + volume

    return height


@functools.partial(jax.jit, static_argnums=0)
def _maximise(target: Target, data: Observations, law: FullNormal, start: Array, points: Array, scale: float) -> Array:
    """The global vector of the greatest expected log density."""
    local, unit = law.at(points), jnp.asarray(target.shared_scale)
    height = _height(target, data, scale)

    def depth(moved: Array, _: Any = None) -> Array:
        return -height(start + unit * moved, local) / scale

    found: Any = optimistix.minimise(
        depth, optimistix.BFGS(rtol=1e-4, atol=1e-4), jnp.zeros_like(start), max_steps=64, throw=False
    )

    def polish(_: int, moved: Array) -> Array:
        # In float32 the sum over the pixels does not show the last steps; its slope does.
        step = jnp.linalg.solve(jax.hessian(depth)(moved), jax.grad(depth)(moved))
        return moved - jnp.where((jnp.abs(step) < 0.1).all(), step, 0.0)

    return start + unit * jax.lax.fori_loop(0, 2, polish, found.value)


@functools.partial(jax.jit, static_argnums=0)
def _spread(
    target: Target, data: Observations, law: FullNormal, vector: Array, points: Array, key: Array, scale: float
) -> Array:
    """Factor of the covariance of the global vector, row after row."""
    unit = jnp.asarray(target.shared_scale)
    height = _height(target, data, scale)
    complete = -jax.hessian(lambda moved: height(vector + unit * moved, law.at(points)))(jnp.zeros_like(vector))

    def slope(draw: Mapping[str, Array]) -> Array:
        def density(moved: Array) -> Array:
            values = {**draw, **from_vector(target.structure.shared, vector + unit * moved)[0]}
            return log_likelihood(target, data, values)[0] + log_prior(target, data, values)[0]

        return jax.jacfwd(density)(jnp.zeros_like(vector))  # (pixel, size)

    slopes = jax.lax.map(slope, law.sample(key, (_DRAWS,))[0])
    slopes = slopes - slopes.mean(0)
    missing = scale / (_DRAWS - 1) * jnp.einsum("dpi,dpj->ij", slopes, slopes, precision=jax.lax.Precision.HIGHEST)
    # In units of the prior's deviations nothing is less certain than the prior: that stands in at a saddle.
    root = jnp.linalg.cholesky(complete)
    root = jnp.where(jnp.isfinite(root).all(), root, jnp.eye(vector.size))
    left = jax.scipy.linalg.solve_triangular(root, missing, lower=True)
    share, axes = jnp.linalg.eigh(jax.scipy.linalg.solve_triangular(root, left.T, lower=True))
    # The draws estimate the share that is lost; more than 99 % is not told from all.
    half = root @ (axes * jnp.sqrt(1.0 - jnp.clip(share, 0.0, 0.99)))
    rows = curvature.covariance_rows((half @ half.T)[None])[0]
    return rows * unit[np.repeat(np.arange(vector.size), np.arange(1, vector.size + 1))]
