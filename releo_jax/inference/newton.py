"""Levenberg-Marquardt over all pixels at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.inference import curvature
from releo_jax.inference.chunks import chunk, fitted, over_chunks, pixel_bar
from releo_jax.inference.density import Target, log_joint
from releo_jax.observations import Observations, check_observations

_EDGE = 12.0  # |logit| beyond which float32 cannot tell a value from the end of its interval
_CLOSE = 3.0  # |logit| of a value that is close to its bound: a twentieth of the interval
_BURST = 4  # steps between two looks at who has arrived
_BLOCK = 1 << 16  # pixels whose curvature is in memory at once
_LEAST = 1e-6  # damping: it keeps a flat curvature positive in float32
_STUCK = 1e8  # damping at which a step no longer changes anything in float32
_WITHIN = 3.0  # deviations of the prior: what lies further away is not a gain that one step could see
_REACHED = 0.01  # log density still to be gained: less than anybody could see


class Modes(NamedTuple):
    """What a search found, on the host.

    Attributes:
        vector: `(pixel, size)`.
        rows: factor of the covariance, row after row `(pixel, size (size + 1) / 2)`.
        log_density: `(pixel,)`.
        log_evidence: Laplace's `(pixel,)`.
        converged: whether less than a hundredth of log density was left to gain within three deviations of the prior,
            and, with `volume`, whether the covariance is that of the curvature `(pixel,)`.
    """

    vector: np.ndarray
    rows: np.ndarray
    log_density: np.ndarray
    log_evidence: np.ndarray
    converged: np.ndarray


class _State(NamedTuple):
    vector: Any  # arrays, of the host between two steps
    at: curvature.Expansion
    damping: Any
    done: Any


def best_starts(target: Target, data: Observations, starts: Array, shared: Array, *, memory: int) -> np.ndarray:
    """For each pixel the most probable of the starts `(start, size)`, as `(pixel, size)`."""
    constants = (starts, shared)
    return over_chunks(_best_start, (target,), constants, dict(data), memory=memory, description="starts")


def _best_start(target: Target, constants: tuple[Array, Array], data: Observations) -> Array:
    starts, shared = constants
    pixels = check_observations(data)

    def height(start: Array) -> Array:
        return log_joint(target, data, jnp.broadcast_to(start, (pixels, start.size)), shared)

    heights = jax.lax.map(height, starts)
    return starts[jnp.argmax(jnp.where(jnp.isfinite(heights), heights, -jnp.inf), 0)]


def search(
    target: Target,
    data: Observations,
    first: np.ndarray,
    shared: Array,
    *,
    steps: int,
    volume: bool,
    memory: int,
    progress: bool = False,
    description: str = "search",
) -> Modes:
    """Searches the mode of every pixel.

    The steps are taken from outside the compiled program: pixels that have arrived drop out, and XLA runs the same
    step inside a loop of its own seven times slower on a CPU.

    Args:
        target: the model.
        data: observations.
        first: where to begin `(pixel, size)`.
        shared: global vector `(size,)`.
        steps: at most.
        volume: whether the density is that of the vector, see `curvature.expand`.
        memory: bytes for one chunk.
        progress: show a bar.
        description: beside the bar.
    """
    if steps < 1:
        raise ValueError(f"steps: expected at least one, got {steps}")
    data = jax.device_get(dict(data))
    parts = []
    with pixel_bar(first.shape[0], description, progress) as advance:
        for start in range(0, first.shape[0], _BLOCK):
            part = slice(start, start + _BLOCK)
            block = jax.tree.map(lambda leaf: leaf[part], data)  # noqa: B023
            state = _climb(target, block, np.asarray(first[part]), shared, steps, volume, memory, description)
            pixels = (state.vector, state.at)
            parts.append(over_chunks(_conclude, (target, volume), (), pixels, memory=memory, description=description))
            advance(state.done.size)
    return Modes(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


def _climb(
    target: Target,
    data: Observations,
    first: np.ndarray,
    shared: Array,
    steps: int,
    volume: bool,
    memory: int,
    description: str,
) -> _State:
    pixels, size = first.shape
    # Nothing is known at the start: the first step has length 0, and where it arrives is taken as it is.
    unknown: Any = (
        np.full(pixels, np.inf, first.dtype),
        np.zeros_like(first),
        np.tile(np.eye(size, dtype=first.dtype), (pixels, 1, 1)),
    )
    state = _State(
        first.copy(), curvature.Expansion(*unknown), np.full(pixels, 1e-2, first.dtype), np.zeros(pixels, bool)
    )
    step, width = fitted(_step, (target, volume), shared, (data, state), memory=memory, description=description)
    for _ in range(0, steps + 1, _BURST):
        active = np.flatnonzero(~state.done)
        for begin in range(0, active.size, width):
            chosen = active[begin : begin + width]
            part = chunk(data, chosen, width)
            moving = chunk(state, chosen, width)
            for _ in range(_BURST):
                moving = step(shared, (part, moving))
            for whole, new in zip(jax.tree.leaves(state), jax.tree.leaves(jax.device_get(moving)), strict=True):
                whole[chosen] = new[: chosen.size]
    return state


def _step(target: Target, volume: bool, shared: Array, given: tuple[Observations, _State]) -> _State:
    """One step for every pixel that is not done."""
    data, state = given
    at, bounded = _free(target, state.vector, state.at), _bounded(target)
    scale = jnp.maximum(jnp.diagonal(at.curvature, axis1=-2, axis2=-1), 0.0) + jnp.asarray(target.scale**-2.0)
    added = scale[..., None] * jnp.eye(target.size)
    factor = jnp.linalg.cholesky(at.curvature + state.damping[:, None, None] * added)
    move = -jax.scipy.linalg.cho_solve((factor, True), at.slope[..., None])[..., 0]
    # No further than two deviations of the prior at once: the expansion holds near by.
    length = jnp.sqrt(jnp.mean((move / target.scale) ** 2, -1, keepdims=True))
    move = move * jnp.minimum(1.0, 2.0 / jnp.maximum(length, 1e-6))
    there = state.vector + move
    there = jnp.where(bounded, jnp.clip(there, -_EDGE, _EDGE), there)
    tried = curvature.expand(target, data, there, shared, volume=volume)
    # What there is to gain, however damped the step is that is tried.
    reached = jnp.isfinite(at.value) & (_gain(target, at.slope, at.curvature) < 0.5 * _REACHED)
    better = jnp.isfinite(tried.value) & jnp.isfinite(tried.slope).all(-1) & (tried.value <= at.value) & ~state.done

    def keep(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    damping = jnp.where(better, jnp.maximum(state.damping * 0.2, _LEAST), state.damping * 4.0)
    done = state.done | reached | (damping > _STUCK)
    return _State(keep(there, state.vector), jax.tree.map(keep, tried, at), damping, done)


def _gain(target: Target, slope: Array, curvature: Array) -> Array:
    """Log density `(pixel,)` that a Newton step would gain; NaN where the curvature is not positive.

    A step of some deviations of the prior: where neither data nor prior know anything, no value is better than others.
    """
    within = jnp.diag(jnp.asarray((_WITHIN * target.scale) ** -2.0, slope.dtype))
    factor = jnp.linalg.cholesky(curvature + within)
    return 0.5 * jnp.sum(jax.scipy.linalg.solve_triangular(factor, slope[..., None], lower=True)[..., 0] ** 2, -1)


def _bounded(target: Target) -> np.ndarray:
    return np.concatenate([np.full(site.size, site.interval is not None) for site in target.structure.local])


def _free(target: Target, vector: Array, at: curvature.Expansion) -> curvature.Expansion:
    """The expansion without what lies at its bound and would leave it: there the mode is, and the others move alone."""
    # Near a bound the distance to it, and what is left to gain, falls as exp(-|vector|): it is the slope itself.
    near = (jnp.abs(vector) > _CLOSE) & (jnp.abs(at.slope) < _REACHED / vector.shape[-1])
    held = jnp.asarray(_bounded(target)) & (near | (jnp.abs(vector) >= _EDGE)) & (at.slope * vector < 0.0)
    alone = held[..., :, None] | held[..., None, :]
    known = jnp.diag(jnp.asarray(target.scale**-2.0, vector.dtype))
    return at._replace(slope=jnp.where(held, 0.0, at.slope), curvature=jnp.where(alone, known, at.curvature))


def _conclude(target: Target, volume: bool, _: tuple[()], given: tuple[Array, curvature.Expansion]) -> Any:
    vector, at = given
    at = _free(target, vector, at)
    # At a saddle of the prior the curvature is not positive: its mean precision helps, or stands alone, and the pixel
    # is marked.
    known = jnp.diag(jnp.asarray(target.scale**-2.0, vector.dtype))
    information, rows = at.curvature, curvature.covariance_rows(at.curvature)
    good = usable = jnp.isfinite(rows).all(-1)
    for other in (at.curvature + known, jnp.broadcast_to(known, at.curvature.shape)):
        information = jnp.where(usable[:, None, None], information, other)
        rows = jnp.where(usable[:, None], rows, curvature.covariance_rows(other))
        usable = jnp.isfinite(rows).all(-1)
    evidence = -at.value + 0.5 * target.size * curvature.LOG_2PI - 0.5 * curvature.log_determinant(information)
    settled = (_gain(target, at.slope, at.curvature) < _REACHED) & jnp.isfinite(at.value)
    # Only an approximation around the mode needs a covariance: a flat prior may leave none.
    found: Any = (vector, rows, -at.value, evidence, settled & good if volume else settled)
    return Modes(*found)
