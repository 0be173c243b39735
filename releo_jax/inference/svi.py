"""Variational inference without an encoder: every pixel has a normal law of its own, trained to the evidence bound."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from releo_jax.inference.checks import checked
from releo_jax.inference.chunks import MEMORY, SMALLEST_CHUNK, chunk, fitted, pixel_bar
from releo_jax.inference.density import Target, log_joint
from releo_jax.inference.laplace import begin
from releo_jax.inference.laws import FullNormal, from_vector, to_rows, to_square, to_vector
from releo_jax.inference.posterior import GuidePosterior
from releo_jax.inference.structure import Model
from releo_jax.observations import Observations

_LAST = 64  # draws that measure the bound at the end
_OPTIMISER = optax.scale_by_adam(b2=0.99)  # one for all: programs are known by it, and compile once


def fit_svi(
    model: Model,
    data: Observations,
    *,
    key: Array,
    plate: str = "pixel",
    shared: Mapping[str, Array] | None = None,
    steps: int = 200,
    particles: int = 8,
    learning_rate: float = 0.05,
    starts: int = 32,
    reference: int = 512,
    memory: int = MEMORY,
    progress: bool = False,
) -> GuidePosterior:
    """The normal law on the real line that is closest to every pixel's posterior, KL(q || p).

    It starts at `fit_laplace` and is moved by the gradient of the evidence bound, in the units of that start: better
    than Laplace where the posterior leans on a bound or is skewed, and as blind as it to a second mode.

    Args:
        model: NumPyro model function.
        data: observations.
        key: random key; the same key gives the same result.
        plate: name of the plate of pixels.
        shared: values of the global sites; default: learned as in `fit_laplace`, whose law of them is drawn from.
        steps: of the optimiser; its rate falls to zero over them.
        particles: draws for each gradient.
        learning_rate: of Adam, in deviations of the starting law.
        starts: draws from the prior; the search for the mode begins at the best of them.
        reference: simulated pixels that calibrate the misfit, see `releo_jax.inference.checks`.
        memory: bytes for the pixels that are worked on at once.
        progress: show a bar.

    Returns:
        Posterior with the diagnostic `evidence_bound`.

    References:
        Roeder, Wu & Duvenaud 2017, NeurIPS 30 (the gradient without the score of q).
    """
    if steps < 1 or particles < 1:
        raise ValueError(f"expected steps and particles of at least one, got {steps} and {particles}")
    start = begin(model, data, key=key, plate=plate, shared=shared, starts=starts, memory=memory)
    target = start.target
    key_ascent, key_checks = start.keys
    how: Any = {"steps": steps, "particles": particles, "learning_rate": learning_rate, "memory": memory}

    def invert(data: Observations, progress: bool = False) -> GuidePosterior:
        modes = start.modes(data, volume=True, memory=memory, steps=50)
        here = (modes.vector, modes.rows, start.law)
        return ascend(target, data, *here, key=key_ascent, progress=progress, description="fit_svi", **how)

    return checked(
        target, data, invert(data, progress), invert, start.known, key=key_checks, reference=reference, memory=memory
    )


class _State(NamedTuple):
    """Of one law, in units of its start: location `(pixel, size)`, rows of its factor, and the optimiser's state."""

    location: Any
    rows: Any
    moments: Any


def ascend(
    target: Target,
    data: Observations,
    location: np.ndarray,
    rows: np.ndarray,
    shared: Any,
    *,
    key: Array,
    steps: int,
    particles: int,
    learning_rate: float,
    memory: int,
    progress: bool,
    description: str,
) -> GuidePosterior:
    """Moves normal laws of the pixels `(pixel, size)`, `(pixel, size (size + 1) / 2)` up the evidence bound."""
    pixels, size = location.shape
    here = (np.zeros_like(location), np.zeros_like(rows))
    state = jax.device_get(_State(*here, jax.vmap(_OPTIMISER.init)(here)))
    data = jax.device_get(dict(data))
    static = (target, particles)
    constants = (shared, key, jnp.zeros(()))
    indices = np.arange(pixels, dtype=np.uint32)
    whole = (data, location, rows, indices, state)
    how: Any = {"memory": memory, "description": description}
    # Hundreds of steps: pixels that only fill up would cost more than another program.
    step, width = fitted(_step, static, constants, whole, least=SMALLEST_CHUNK, **how)
    found = []
    with pixel_bar(pixels, description, progress) as advance:
        for begin in range(0, pixels, width):
            chosen = np.arange(begin, min(begin + width, pixels))
            *given, moving = chunk(whole, chosen, width)
            for i in range(steps):
                # The step's number goes into the key, so that a pixel's draws do not depend on the chunk.
                rate = learning_rate * 0.5 * (1.0 + np.cos(np.pi * i / steps))
                moving = step((shared, jax.random.fold_in(key, i), jnp.float32(rate)), (*given, moving))
            last = _conclude(target, (shared, jax.random.fold_in(key, steps)), (*given, moving))
            found.append(jax.tree.map(lambda leaf: leaf[: chosen.size], jax.device_get(last)))  # noqa: B023
            advance(chosen.size)
    at, factor, bound = (np.concatenate(parts) for parts in zip(*found, strict=True))
    law = FullNormal(target.structure.local, jnp.asarray(at), jnp.asarray(factor))
    return GuidePosterior(
        model=target.model,
        structure=target.structure,
        observations=data,
        law=law,
        shared=shared,
        diagnostics={"evidence_bound": jnp.asarray(bound)},
    )


def _law(target: Target, location: Array, rows: Array, state: Any) -> FullNormal:
    """The starting law moved by the state: its diagonal on a logarithmic scale."""
    size = location.shape[-1]
    moved = to_square(state[1], size)
    diagonal = jnp.diagonal(moved, axis1=-2, axis2=-1)
    inner = moved + (jnp.exp(diagonal) - diagonal)[..., None] * jnp.eye(size)
    outer = to_square(rows, size)
    exact = jax.lax.Precision.HIGHEST
    factor = jnp.matmul(outer, inner, precision=exact)
    at = location + jnp.matmul(outer, state[0][..., None], precision=exact)[..., 0]
    return FullNormal(target.structure.local, at, to_rows(factor))


def _bounds(
    target: Target, shared: Any, data: Observations, law: FullNormal, key: Array, index: Array, particles: int
) -> Array:
    """Estimates `(pixel,)` of the evidence bound whose gradient leaves out the score of the law."""
    size, sites = law.location.shape[-1], target.structure.local
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(index)
    noise = jax.vmap(lambda key: jax.random.normal(key, (particles, size)), out_axes=1)(keys)
    factor = to_square(law.rows, size)
    exact = jax.lax.Precision.HIGHEST
    vectors = law.location + jnp.einsum("pij,npj->npi", factor, noise, precision=exact)
    fixed = jax.lax.stop_gradient(law)
    if shared is None:
        globals_ = jnp.zeros((particles, 0))
    else:
        globals_ = to_vector(target.structure.shared, shared.sample(key, (particles,))[0])

    def of_draw(vector: Array, shared: Array) -> Array:
        values, volume = from_vector(sites, vector)
        return log_joint(target, data, vector, shared) - (fixed.log_prob(values) + volume)

    return jax.vmap(of_draw)(vectors, globals_).mean(0)


def _step(target: Target, particles: int, constants: tuple[Any, Array, Array], given: Any) -> _State:
    shared, key, rate = constants
    data, location, rows, index, state = given
    where = (state.location, state.rows)

    def loss(where: Any) -> Array:
        bounds = _bounds(target, shared, data, _law(target, location, rows, where), key, index, particles)
        return -jnp.where(jnp.isfinite(bounds), bounds, 0.0).sum()

    slope = jax.grad(loss)(where)
    good = jnp.logical_and(*(jnp.isfinite(leaf).all(-1, keepdims=True) for leaf in slope))
    slope = jax.tree.map(lambda leaf: jnp.where(good, leaf, 0.0), slope)
    # One pixel's outlier must not move it out of reach.
    length = jnp.sqrt(sum((jnp.sum(leaf**2, -1, keepdims=True) for leaf in slope), jnp.zeros(())))
    slope = jax.tree.map(lambda leaf: leaf / jnp.maximum(1.0, length / 10.0), slope)
    moves, moments = jax.vmap(_OPTIMISER.update)(slope, state.moments)
    return _State(state.location - rate * moves[0], state.rows - rate * moves[1], moments)


@functools.partial(jax.jit, static_argnums=0)
def _conclude(target: Target, constants: tuple[Any, Array], given: Any) -> tuple[Array, Array, Array]:
    shared, key = constants
    data, location, rows, index, state = given
    law = _law(target, location, rows, state)
    bound = _bounds(target, shared, data, law, key, index, _LAST)
    return law.location, law.rows, bound
