"""From vectors that a sampler drew to a posterior with names, units and everything the model computes on the way."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.inference.chunks import over_chunks
from releo_jax.inference.density import Target
from releo_jax.inference.laws import from_vector
from releo_jax.inference.posterior import DrawsPosterior
from releo_jax.inference.structure import run
from releo_jax.observations import Observations, check_observations, take


def from_draws(
    target: Target,
    data: Observations,
    local: np.ndarray,
    shared: np.ndarray,
    *,
    diagnostics: Mapping[str, Array],
    memory: int,
) -> DrawsPosterior:
    """Posterior known by draws of vectors.

    Args:
        target: the model.
        data: observations.
        local: vectors of the local sites `(pixel, draw, size)`.
        shared: of the global sites, common to all pixels `(draw, size)` or one for each `(pixel, draw, size)`.
        diagnostics: by name `(pixel,)`.
        memory: bytes for one chunk.
    """
    common = shared.ndim == 2
    constants = jnp.asarray(shared) if common else None
    pixels = (dict(data), local) if common else (dict(data), local, shared)
    values = over_chunks(_follow, (target,), constants, pixels, memory=memory, description="draws")
    structure = target.structure
    inside = {site.name for site in structure.local} | {n for n, each in structure.deterministic.items() if each}
    outside = {site.name for site in structure.shared} | set(structure.deterministic) - inside
    own = dict.fromkeys(inside, True) | dict.fromkeys(outside, not common)
    draws = {name: np.moveaxis(value, 1, 0) if own[name] else value[0] for name, value in values.items()}
    made = {name: jnp.asarray(value) for name, value in draws.items()}
    return DrawsPosterior(made, own, plate=structure.plate, size=check_observations(data), diagnostics=diagnostics)


def _follow(target: Target, common: Array | None, pixels: Any) -> dict[str, Array]:
    """Values `(pixel, draw, ...)` of all latent and deterministic sites."""
    structure = target.structure
    inside = {site.name for site in structure.local} | {n for n, each in structure.deterministic.items() if each}

    def of_pixel(data: Observations, local: Array, shared: Array) -> dict[str, Array]:
        single = jax.tree.map(lambda leaf: leaf[None], data)

        def of_draw(local: Array, shared: Array) -> dict[str, Array]:
            values = from_vector(structure.local, local[None])[0] | from_vector(structure.shared, shared)[0]
            if structure.deterministic:
                trace = run(target.model, single, None, values)
                values = values | {name: jnp.asarray(trace[name]["value"]) for name in structure.deterministic}
            return {name: value[0] if name in inside else value for name, value in values.items()}

        return jax.vmap(of_draw)(local, shared)

    if common is None:
        return jax.vmap(of_pixel)(*pixels)
    data, local = pixels
    return jax.vmap(of_pixel, in_axes=(0, 0, None))(data, local, common)


def systematic(weights: Array, uniform: Array, draws: int) -> Array:
    """Entries `(pixel, draw)` in proportion to weights `(pixel, entry)`, by one comb of equal teeth per pixel.

    Args:
        weights: not negative, of any sum.
        uniform: where the comb begins `(pixel,)`, from 0 to 1.
        draws: number of teeth.

    References:
        Kitagawa 1996, J. Comput. Graph. Stat. 5, 1-25.
    """
    cumulative = jnp.cumsum(weights, -1)
    teeth = (jnp.arange(draws) + uniform[:, None]) / draws * cumulative[:, -1:]
    chosen = jax.vmap(functools.partial(jnp.searchsorted, side="right"))(cumulative, teeth)
    return jnp.minimum(chosen, weights.shape[-1] - 1)


def announce(
    engine: str,
    target: Target,
    data: Observations,
    work: str,
    evaluations: float,
    function: Callable[[Target, Observations, Array, Array], Array],
    largest: int,
) -> None:
    """Prints how long a sampler will take.

    Args:
        engine: its name.
        target: the model.
        data: observations.
        work: what each pixel asks for, in words.
        evaluations: of `function`, for a chunk of pixels.
        function: of the target, observations, local vectors `(pixel, size)` and the global one, as is timed.
        largest: number of pixels of a chunk.
    """
    pixels = check_observations(data)
    few = dict(take(data, slice(0, largest)))
    vectors = jnp.broadcast_to(jnp.asarray(target.location), (min(pixels, largest), target.size))
    shared = jnp.asarray(target.shared_location)
    jax.block_until_ready(function(target, few, vectors, shared))
    start = time.perf_counter()
    for _ in range(3):
        jax.block_until_ready(function(target, few, vectors, shared))
    seconds = evaluations * max(1.0, pixels / largest) * (time.perf_counter() - start) / 3.0
    spoken = f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
    print(f"{engine}: {pixels} pixels x {work}, about {spoken} after compilation", file=sys.stderr, flush=True)


def check_number(engine: str, pixels: int, most: int, instead: str) -> None:
    """Refuses more pixels than the user has said are wanted."""
    if pixels > most:
        raise ValueError(
            f"{engine}: expected at most max_pixels={most}, got {pixels}; take some with releo_jax.observations.take, "
            f"raise max_pixels, or use {instead}, which take a million"
        )
