"""Global sites learned from many pixels at once: expectation maximisation over the pixels' normal approximations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jax import Array

from releo_jax.inference import curvature
from releo_jax.inference.density import Target, log_likelihood, log_prior
from releo_jax.inference.laws import DiagonalNormal, FullNormal, from_vector, of_pixels, to_vector
from releo_jax.inference.newton import best_starts, search
from releo_jax.observations import Observations, check_observations, take

_LEARN_FROM = 2048  # pixels that teach the global sites
_INFORMED_BY = 512  # of these, say how much is left to learn once the local sites have followed
_POINTS = 8  # at most that stand for the posterior of each of them
_DRAWS = 16  # of each of them, for what is neither linear nor quadratic in the local sites
_MIXED = 20  # local sites up to which products of two of them are looked at
_ROUNDS = 30
_NEAR = 0.1  # deviations of the prior that a plain round moves the global sites at most, once it may be lengthened
_SETTLED = 0.02  # deviations of the posterior by which a round may still move the global sites


def learn_global_sites(
    target: Target, data: Observations, starts: Array, *, key: Array, shared: Mapping[str, Array] | None, memory: int
) -> tuple[Array, DiagonalNormal | FullNormal | None]:
    """The global vector `(size,)` and its law, from given values or learned from up to 2048 of the pixels.

    Expectation maximisation: points around the pixels' modes stand for their posteriors, the global sites move to the
    maximum of the expected log density, and so on until they stay. Each round is lengthened by the share of the
    information that the local sites take away by following, without which it would take hundreds of rounds where
    they take away most (Louis 1982, J. R. Stat. Soc. B 44, 226-233). The law is normal around the end, with the
    information that is left.
    """
    sites = target.structure.shared
    given = target.given(shared)
    if not sites:
        return jnp.zeros(0), None
    if given is not None:
        vector: Any = to_vector(sites, given)
        return vector, DiagonalNormal(sites, vector, jnp.zeros_like(vector))
    key_choice, key_points, key_draws = jax.random.split(key, 3)
    pixels, few = check_observations(data), dict(data)
    if pixels > _LEARN_FROM:
        few = take(data, jax.random.permutation(key_choice, pixels)[:_LEARN_FROM])
    scale = pixels / check_observations(few)
    points = _standard_points(key_points, check_observations(few), target.size)
    unit = target.shared_scale
    vector = target.shared_location  # on the host between two rounds
    where = best_starts(target, few, starts, vector, memory=memory)
    reach, move = 1.0, np.zeros_like(unit)
    for _ in range(_ROUNDS):
        found = search(target, few, where, vector, steps=20, volume=True, memory=memory)
        where = found.vector
        law = FullNormal(target.structure.local, jnp.asarray(where), jnp.asarray(found.rows))
        change = np.asarray(_maximise(target, few, law, vector, points, scale))
        told = _information(target, few, law, vector, points, key_draws, pixels)
        complete, left = (np.asarray(part, np.float64) for part in told)
        further = np.linalg.solve(left, complete @ change)
        settled = np.abs(further / np.sqrt(np.diagonal(np.linalg.inv(left)))).max() < _SETTLED
        # Far from the end the information is another one, and where the slope turns the last step was too long.
        reach = 0.5 * np.abs(move).max() if further @ left @ move < 0.0 else min(1.0, 2.0 * reach)
        move = change if np.abs(change).max() > _NEAR else further * min(1.0, reach / np.abs(further).max())
        vector = np.asarray(vector + unit * move, vector.dtype)
        if settled:
            break
    rows = np.asarray(curvature.covariance_rows(np.asarray(left, vector.dtype)[None]))[0]
    rows = rows * unit[np.repeat(np.arange(unit.size), np.arange(1, unit.size + 1))]
    return jnp.asarray(vector), FullNormal(sites, jnp.asarray(vector), jnp.asarray(rows))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _standard_points(key: Array, pixels: int, size: int) -> Array:
    """Points `(point, pixel, size)` with mean 0 that stand for a standard normal law.

    Both ends of up to half of `_POINTS` directions, orthonormal, turned at random for each pixel. Where there are no
    more local sites than directions, the expectation of what is quadratic in them is exact.
    """
    turned, _ = jnp.linalg.qr(jax.random.normal(key, (pixels, size, size)))
    ends = np.sqrt(size) * jnp.moveaxis(turned[..., : _POINTS // 2], -1, 0)
    return jnp.concatenate([ends, -ends])


def _height(target: Target, data: Observations, scale: Any) -> Any:
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
    """How far from `start` the expected log density is greatest, in deviations of the prior."""
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

    return jax.lax.fori_loop(0, 2, polish, found.value)


@functools.partial(jax.jit, static_argnums=0)
def _information(
    target: Target, data: Observations, law: FullNormal, vector: Array, points: Array, key: Array, number: float
) -> tuple[Array, Array]:
    """Information `(size, size)` of `number` pixels like these about the global vector, in units of its prior.

    The first as if the local sites were known, the second without what they take away by following; prior included.
    """
    few = slice(0, _INFORMED_BY)
    data, law, points = take(data, few), of_pixels(law, few), points[:, few]
    unit, scale = jnp.asarray(target.shared_scale), number / check_observations(data)

    def curved(scale: Array) -> Array:
        height = _height(target, data, scale)
        return -jax.hessian(lambda moved: height(vector + unit * moved, law.at(points)))(jnp.zeros_like(vector))

    def slope(point: Array) -> Array:
        """Of the log density of every pixel at a point `(pixel, local size)`: `(pixel, size)`."""
        local = law.at(point)

        def density(moved: Array) -> Array:
            values = {**local, **from_vector(target.structure.shared, vector + unit * moved)[0]}
            return log_likelihood(target, data, values)[0] + log_prior(target, data, values)[0]

        return jax.jacfwd(density)(jnp.zeros_like(vector))

    complete, prior = jax.vmap(curved)(jnp.stack([jnp.asarray(scale, vector.dtype), jnp.zeros((), vector.dtype)]))
    taken = scale * _covariance(slope, law.location.shape, key)
    # Pixels tell something or nothing: where their density is hollow, as that of a noise near zero is in its
    # logarithm, the prior stays. At a saddle of the prior its deviations stand in, 1 in these units.
    root = jnp.linalg.cholesky(prior)
    root = jnp.where(jnp.isfinite(root).all(), root, jnp.eye(vector.size))
    half = jax.scipy.linalg.solve_triangular(root, complete - prior - taken, lower=True)
    gain, axes = jnp.linalg.eigh(jax.scipy.linalg.solve_triangular(root, half.T, lower=True))
    left = root @ (axes * jnp.sqrt(1.0 + jnp.maximum(gain, 0.0)))
    return complete, left @ left.T


def _covariance(function: Callable[[Array], Array], shape: tuple[int, ...], key: Array) -> Array:
    """Covariance `(i, i)` of `function` at standard normal points `(pixel, size)`, summed over the pixels.

    That of the quadratic through a few points is known; draws add what the function has beyond it.
    """
    size, product = shape[-1], functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    first, second = np.triu_indices(size, 1) if size <= _MIXED else (np.zeros(0, int), np.zeros(0, int))
    one = np.eye(size)
    sigma = np.concatenate([np.zeros((1, size)), one, -one, one[first] + one[second]])
    half = jax.random.normal(key, (_DRAWS // 2, *shape))
    drawn = jnp.concatenate([half, -half])
    everywhere = jnp.concatenate(
        [jnp.broadcast_to(jnp.asarray(sigma, half.dtype)[:, None], (len(sigma), *shape)), drawn]
    )
    values = jax.lax.map(function, everywhere)  # (point, pixel, i)
    middle, up, down, mixed, at_draws = jnp.split(values, np.cumsum([1, size, size, first.size]))
    linear = 0.5 * (up - down)
    quadratic = jnp.zeros((size, *up.shape)).at[np.arange(size), np.arange(size)].set(up + down - 2.0 * middle)
    both = mixed - up[first] - up[second] + middle
    quadratic = quadratic.at[first, second].set(both).at[second, first].set(both)
    known = product("zpi,zpj->ij", linear, linear) + 0.5 * product("yzpi,yzpj->ij", quadratic, quadratic)
    curve = product("dpz,zpi->dpi", drawn, linear) + 0.5 * product("dpy,dpz,yzpi->dpi", drawn, drawn, quadratic)

    def of_draws(values: Array) -> Array:
        values = values - values.mean(0)
        return product("dpi,dpj->ij", values, values) / (_DRAWS - 1)

    return known + of_draws(at_draws) - of_draws(curve)
