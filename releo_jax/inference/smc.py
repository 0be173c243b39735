"""Tempered sequential Monte Carlo on every pixel: particles led from the prior to the posterior."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc import random_walk
from blackjax.smc import extend_params, resampling
from blackjax.smc.tempered import TemperedSMCState
from jax import Array

from releo_jax.inference.checks import checked
from releo_jax.inference.chunks import MEMORY, chunk, fitted, pixel_bar
from releo_jax.inference.density import Target, log_joint, log_likelihood, log_prior, read_target, values_at
from releo_jax.inference.draws import announce, check_number, from_draws
from releo_jax.inference.laws import from_vector, to_vector
from releo_jax.inference.posterior import DrawsPosterior
from releo_jax.inference.structure import Model, draw_prior
from releo_jax.observations import Observations, check_observations

_STAGES = 60  # at most; each halves the effective sample size at worst
_USUAL = 12  # for the estimate of time
_TOGETHER = 64


def fit_smc(
    model: Model,
    data: Observations,
    *,
    key: Array,
    plate: str = "pixel",
    shared: Mapping[str, Array] | None = None,
    particles: int = 1024,
    moves: int = 10,
    max_pixels: int = 1024,
    reference: int = 64,
    memory: int = MEMORY,
    progress: bool = False,
) -> DrawsPosterior:
    """Draws from the posterior by tempering: p(z) p(x | z)^t with t from 0 to 1.

    The steps of t keep half of the particles effective; between two of them every particle takes random-walk
    Metropolis moves whose shape is the particles' covariance. Finds several modes, needs no gradient, and gives the
    evidence. Global sites that are not given are integrated out, pixel by pixel.

    Args:
        model: NumPyro model function.
        data: observations.
        key: random key; the same key gives the same result.
        plate: name of the plate of pixels.
        shared: values of the global sites; default: drawn from their prior and weighted like the others.
        particles: of each pixel, which are its draws at the end.
        moves: of each particle at each temperature.
        max_pixels: refuses more of them.
        reference: simulated pixels that calibrate the misfit, sampled like the others; 0 saves their time.
        memory: bytes for the pixels that are worked on at once.
        progress: show a bar.

    Returns:
        Posterior with the diagnostics `log_evidence`, `temperatures` (their number), `acceptance` (of the last moves)
        and `converged` (whether t reached 1). Prints the estimated time first.

    Raises:
        ValueError: too many pixels, or a number that makes no sense.

    References:
        Del Moral, Doucet & Jasra 2006, J. R. Stat. Soc. B 68, 411-436. Chopin & Papaspiliopoulos 2020, An Introduction
        to Sequential Monte Carlo, chapter 17.
    """
    if particles < 16 or moves < 1:
        raise ValueError(f"fit_smc: expected particles >= 16 and moves >= 1, got {particles} and {moves}")
    check_number("fit_smc", check_observations(data), max_pixels, "fit_laplace, fit_lut or amortize")
    target = read_target(model, data, plate=plate)
    known = target.given(shared)
    fixed = to_vector(target.structure.shared, known) if known else None
    key_particles, key_checks = jax.random.split(key)

    def invert(data: Observations, progress: bool = False) -> DrawsPosterior:
        return _temper(target, data, fixed, key_particles, particles, moves, memory, progress)

    evaluations = particles * (moves + 2) * _USUAL
    announce("fit_smc", target, data, f"{particles} particles", evaluations, _density, _TOGETHER)
    return checked(
        target, data, invert(data, progress), invert, known or {}, key=key_checks, reference=reference, memory=memory
    )


_density = jax.jit(log_joint, static_argnums=0)


class _State(NamedTuple):
    """Of one pixel."""

    particles: Any  # (particle, size)
    weights: Any  # (particle,)
    temperature: Any
    factor: Any  # of the moves' covariance (size, size)
    evidence: Any
    acceptance: Any
    stages: Any
    done: Any


def _temper(
    target: Target,
    data: Observations,
    fixed: Array | None,
    key: Array,
    particles: int,
    moves: int,
    memory: int,
    progress: bool,
) -> DrawsPosterior:
    pixels = check_observations(data)
    key_prior, key_moves = jax.random.split(key)
    data = jax.device_get(dict(data))
    index = np.arange(pixels, dtype=np.uint32)
    begin = (fixed, key_prior)
    shapes = jax.eval_shape(lambda: _prior_particles(target, particles, begin, (data, index)))
    plan = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), shapes)
    constants = (fixed, key_moves)
    step, width = fitted(
        _stage,
        (target, moves),
        constants,
        (data, index, plan),
        memory=memory,
        description="fit_smc",
        largest=_TOGETHER,
    )
    found = []
    with pixel_bar(pixels, "fit_smc", progress) as advance:
        for first in range(0, pixels, width):
            chosen = np.arange(first, min(first + width, pixels))
            given = chunk((data, index), chosen, width)
            state = _prior_particles(target, particles, begin, given)
            for _ in range(_STAGES):
                state = step(constants, (*given, state))
                if np.asarray(state.done).all():
                    break
            found.append(jax.tree.map(lambda leaf: np.asarray(leaf)[: chosen.size], state))  # noqa: B023
            advance(chosen.size)
    state = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    noticed = {
        "log_evidence": jnp.asarray(state.evidence),
        "temperatures": jnp.asarray(state.stages),
        "acceptance": jnp.asarray(state.acceptance),
        "converged": jnp.asarray(state.done),
    }
    local, shared = state.particles[..., : target.size], state.particles[..., target.size :]
    if fixed is not None or not target.structure.shared:
        vector = np.zeros(0, np.float32) if fixed is None else np.asarray(fixed)
        shared = np.broadcast_to(vector, (particles, vector.size))
    return from_draws(target, data, local, shared, diagnostics=noticed, memory=memory)


def _keys(key: Array, index: Array) -> Array:
    """A key for each pixel that does not depend on the chunk it is in."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _prior_particles(target: Target, particles: int, constants: Any, given: tuple[Observations, Array]) -> _State:
    fixed, key = constants
    data, index = given
    structure = target.structure

    def of_pixel(data: Observations, key: Array) -> _State:
        single = jax.tree.map(lambda leaf: leaf[None], data)

        def draw(key: Array) -> Array:
            values = draw_prior(structure, target.model, single, key)
            local = to_vector(structure.local, {site.name: values[site.name][0] for site in structure.local})
            integrated = fixed is None and structure.shared
            return jnp.concatenate([local, to_vector(structure.shared, values)]) if integrated else local

        drawn = jax.vmap(draw)(jax.random.split(key, particles))
        zero = jnp.zeros(())
        weights = jnp.full(particles, 1.0 / particles)
        return _State(drawn, weights, zero, _factor(drawn), zero, zero, jnp.zeros((), int), jnp.zeros((), bool))

    return jax.vmap(of_pixel)(data, _keys(key, index))


def _factor(particles: Array) -> Array:
    """Factor of the covariance of the moves: that of the particles, as is best for normal laws."""
    size = particles.shape[-1]
    covariance = jnp.cov(particles, rowvar=False).reshape(size, size)
    covariance = covariance + jnp.diag(1e-4 * jnp.diagonal(covariance) + 1e-10)
    return 2.38 / size**0.5 * jnp.linalg.cholesky(covariance)


def _stage(target: Target, moves: int, constants: Any, pixels: Any) -> _State:
    """Resampling, moves and the step to the next temperature for every pixel that is not done."""
    fixed, key = constants
    data, index, states = pixels
    structure = target.structure
    walk = random_walk.build_additive_step()

    def move(key: Array, state: Any, log_density: Any, factor: Array) -> Any:
        return walk(key, state, log_density, random_walk.normal(factor))

    def of_pixel(data: Observations, key: Array, state: _State) -> _State:
        single = jax.tree.map(lambda leaf: leaf[None], data)

        def read(vector: Array) -> tuple[dict[str, Array], Array]:
            local, shared = vector[: target.size], vector[target.size :]
            values, volume = values_at(target, local[None], shared if fixed is None else fixed)
            if fixed is None:
                volume = volume + from_vector(structure.shared, shared)[1]
            return values, volume[0]

        def prior(vector: Array) -> Array:
            values, volume = read(vector)
            inside, outside = log_prior(target, single, values)
            return inside[0] + (outside if fixed is None else 0.0) + volume

        def likelihood(vector: Array) -> Array:
            density = log_likelihood(target, single, read(vector)[0])[0][0]
            return jnp.where(jnp.isfinite(density), density, -1e30)

        sampler = blackjax.adaptive_tempered_smc(
            prior,
            likelihood,
            move,
            random_walk.init,
            extend_params({"factor": state.factor}),
            resampling.systematic,
            target_ess=0.5,
            num_mcmc_steps=moves,
        )
        here = TemperedSMCState(state.particles, state.weights, state.temperature)
        there, info = sampler.step(jax.random.fold_in(key, state.stages), here)
        # Particles move at the temperature before the step: after the step to 1 they have to move once more.
        new = _State(
            there.particles,
            there.weights,
            there.tempering_param,
            _factor(there.particles),
            state.evidence + info.log_likelihood_increment,
            info.update_info.is_accepted.mean(),
            state.stages + 1,
            state.temperature >= 1.0,
        )
        return jax.tree.map(lambda new, old: jnp.where(state.done, old, new), new, state)

    return jax.vmap(of_pixel)(data, _keys(key, index), states)
