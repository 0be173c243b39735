"""The No-U-Turn sampler on every pixel: the reference that faster engines are compared with."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import NUTS

from releo_jax.inference.checks import checked
from releo_jax.inference.chunks import MEMORY, at_once, over_chunks
from releo_jax.inference.density import Target, log_joint, log_prior, read_target, values_at
from releo_jax.inference.draws import announce, check_number, from_draws
from releo_jax.inference.laplace import draw_starts
from releo_jax.inference.laws import from_vector, to_vector
from releo_jax.inference.newton import best_starts
from releo_jax.inference.posterior import DrawsPosterior
from releo_jax.inference.structure import Model
from releo_jax.observations import Observations, check_observations

_TOGETHER = 64  # pixels whose chains run side by side: all of them wait for the longest trajectory
_LEAPFROGS = 128  # of one draw, for the estimate of time: chains walk together, as far as the longest trajectory
_POOR = 1.05  # R-hat above which chains disagree


def fit_nuts(
    model: Model,
    data: Observations,
    *,
    key: Array,
    plate: str = "pixel",
    shared: Mapping[str, Array] | None = None,
    draws: int = 500,
    warmup: int = 500,
    chains: int = 4,
    target_accept: float = 0.9,
    max_tree_depth: int = 8,
    max_pixels: int = 256,
    reference: int = 64,
    memory: int = MEMORY,
    progress: bool = False,
) -> DrawsPosterior:
    """Draws from the posterior by the No-U-Turn sampler: exact in the limit, and slow.

    Every pixel has chains and an adaptation of its own. Global sites that are not given are sampled jointly with all
    pixels, in chains over the whole plate, which are shared out over the devices of the process.

    Args:
        model: NumPyro model function.
        data: observations.
        key: random key; the same key gives the same result.
        plate: name of the plate of pixels.
        shared: values of the global sites; default: sampled.
        draws: of each chain.
        warmup: steps of each chain that adapt it and are thrown away.
        chains: of each pixel, from different starts; two at least, so that R-hat means something.
        target_accept: of the adaptation of the step; higher means shorter steps and fewer divergences.
        max_tree_depth: a trajectory doubles so many times at most.
        max_pixels: refuses more of them.
        reference: simulated pixels that calibrate the misfit, sampled like the others; 0 saves their time.
        memory: bytes for the pixels that are worked on at once.
        progress: show a bar.

    Returns:
        Posterior with the diagnostics `divergences` (number of draws), `r_hat` (the worst site's) and
        `effective_sample_size` (the worst site's). Prints the estimated time first; warns where chains diverged or
        disagree.

    Raises:
        ValueError: too many pixels, or a number that makes no sense.

    References:
        Hoffman & Gelman 2014, J. Mach. Learn. Res. 15, 1593-1623. Vehtari et al. 2021, Bayesian Anal. 16, 667-718.
    """
    if chains < 2 or draws < 4 or warmup < 1:
        raise ValueError(
            f"fit_nuts: expected chains >= 2, draws >= 4 and warmup >= 1, got {chains}, {draws} and {warmup}"
        )
    check_number("fit_nuts", check_observations(data), max_pixels, "fit_laplace, fit_lut or amortize")
    target = read_target(model, data, plate=plate)
    known = target.given(shared)
    key_chains, key_checks = jax.random.split(key)
    sampler = (warmup, draws, target_accept, max_tree_depth)
    work, steps = f"{chains} chains x {warmup + draws} steps", chains * (warmup + draws)
    announce("fit_nuts", target, data, work, steps * _LEAPFROGS, _slope, _TOGETHER)
    if target.structure.shared and known is None:
        posterior = _jointly(target, data, key_chains, chains, sampler, memory)
        known = {site.name: posterior.mean[site.name] for site in target.structure.shared}
    else:
        posterior = _separately(target, data, key_chains, chains, sampler, known or {}, memory, progress)
    warn(posterior.diagnostics, chains * draws)
    return checked(
        target,
        data,
        posterior,
        lambda data: _separately(target, data, key_chains, chains, sampler, known or {}, memory, progress),
        known or {},
        key=key_checks,
        reference=reference,
        memory=memory,
    )


def warn(diagnostics: Mapping[str, Array], draws: int) -> None:
    """Warns of pixels whose chains, of `draws` draws together, diverged or disagree."""
    diverged = np.asarray(diagnostics["divergences"]) > 0.01 * draws
    apart = np.asarray(diagnostics["r_hat"]) > _POOR
    if diverged.any() or apart.any():
        warnings.warn(
            f"fit_nuts: of {diverged.size} pixels {diverged.sum()} have more than 1 % divergent draws and "
            f"{apart.sum()} chains that disagree (R-hat > {_POOR}), see the posterior's diagnostics; raise "
            "target_accept or warmup, or leave these pixels out",
            stacklevel=3,
        )


def _starts(target: Target, data: Observations, shared: Array, key: Array, chains: int, memory: int) -> np.ndarray:
    """A start for each chain `(pixel, chain, size)`: the best of a few draws from the prior, other ones for each.

    A few only: chains that all begin at the best of many would agree without having looked elsewhere.
    """
    found = []
    for one in jax.random.split(key, chains):
        found.append(
            best_starts(target, data, draw_starts(target, data, one, 10, at_mean=False), shared, memory=memory)
        )
    return np.stack(found, 1)


def _separately(
    target: Target,
    data: Observations,
    key: Array,
    chains: int,
    sampler: tuple[int, int, float, int],
    known: Mapping[str, Array],
    memory: int,
    progress: bool,
) -> DrawsPosterior:
    sites, pixels = target.structure.shared, check_observations(data)
    shared = to_vector(sites, known) if sites else jnp.zeros(0)
    key_starts, key_chains = jax.random.split(key)
    starts = _starts(target, data, shared, key_starts, chains, memory)
    many = (dict(data), starts, jax.random.split(key_chains, pixels))
    drawn, divergent = over_chunks(
        _chains,
        (target, *sampler),
        shared,
        many,
        memory=memory,
        progress=progress,
        description="fit_nuts",
        largest=_TOGETHER,
    )
    vectors = drawn.reshape(pixels, -1, target.size)
    common = np.broadcast_to(np.asarray(shared), (vectors.shape[1], shared.size))
    noticed = diagnose(np.moveaxis(drawn, 0, 2), divergent.sum((1, 2)))
    return from_draws(target, data, vectors, common, diagnostics=noticed, memory=memory)


@functools.partial(jax.jit, static_argnums=0)
def _slope(target: Target, data: Observations, vectors: Array, shared: Array) -> Array:
    return jax.grad(lambda vectors: log_joint(target, data, vectors, shared).sum())(vectors)


def diagnose(drawn: np.ndarray, divergent: np.ndarray) -> dict[str, Array]:
    """Of draws `(chain, draw, pixel, size)`: the worst of each pixel's sites."""
    with np.errstate(invalid="ignore", divide="ignore"):
        r_hat = split_gelman_rubin(drawn).max(-1)
        size = effective_sample_size(drawn).min(-1)
    return {
        "divergences": jnp.asarray(divergent),
        "r_hat": jnp.asarray(r_hat),
        "effective_sample_size": jnp.asarray(size),
    }


def walk(
    potential: Any, start: Array, key: Array, *, warmup: int, draws: int, accept: float, depth: int, dense: bool
) -> tuple[Array, Array]:
    """Draws `(draw, size)` of one chain and whether they diverged `(draw,)`."""
    kernel = NUTS(potential_fn=potential, dense_mass=dense, target_accept_prob=accept, max_tree_depth=depth)
    state = kernel.init(key, warmup, start, (), {})

    def draw(state: Any, steps: Array) -> Any:
        state = jax.lax.fori_loop(0, steps, lambda _, state: kernel.sample(state, (), {}), state)
        return state, (state.z, state.diverging)

    # The warmup goes before the first draw: one step is compiled, not one for each phase.
    return jax.lax.scan(draw, state, jnp.ones(draws, int).at[0].add(warmup))[1]


def _chains(
    target: Target, warmup: int, draws: int, accept: float, depth: int, shared: Array, pixels: Any
) -> tuple[Array, Array]:
    """Draws `(pixel, chain, draw, size)` and whether they diverged."""
    location, scale = jnp.asarray(target.location), jnp.asarray(target.scale)
    how: Any = {"warmup": warmup, "draws": draws, "accept": accept, "depth": depth, "dense": True}

    def of_pixel(data: Observations, starts: Array, key: Array) -> tuple[Array, Array]:
        single = jax.tree.map(lambda leaf: leaf[None], data)

        def potential(unit: Array) -> Array:
            return -log_joint(target, single, (location + scale * unit)[None], shared)[0]

        def of_chain(start: Array, key: Array) -> tuple[Array, Array]:
            units, divergent = walk(potential, (start - location) / scale, key, **how)
            return location + scale * units, divergent

        return jax.vmap(of_chain)(starts, jax.random.split(key, starts.shape[0]))

    return jax.vmap(of_pixel)(*pixels)


def _jointly(
    target: Target, data: Observations, key: Array, chains: int, sampler: tuple[int, int, float, int], memory: int
) -> DrawsPosterior:
    """One long vector: all pixels and the global sites."""
    key_starts, key_shared, key_chains = jax.random.split(key, 3)
    pixels = check_observations(data)
    middle = jnp.asarray(target.shared_location)
    local = _starts(target, data, middle, key_starts, chains, memory)
    spread = 0.5 * jax.random.normal(key_shared, (chains, middle.size))
    unit = (np.moveaxis(local, 0, 1) - target.location) / target.scale
    starts = jnp.concatenate([jnp.asarray(unit).reshape(chains, -1), spread], -1)
    each = (starts, jax.random.split(key_chains, chains))
    drawn, divergent = at_once(_joint_chains, (target, sampler), dict(data), each)
    size = pixels * target.size
    vectors = drawn[..., :size].reshape(*drawn.shape[:2], pixels, target.size)
    common = drawn[..., size:]
    noticed = diagnose(vectors, np.full(pixels, int(divergent.sum())))
    shared_r_hat = float(np.max(split_gelman_rubin(common)))
    noticed["r_hat"] = jnp.maximum(noticed["r_hat"], shared_r_hat)
    local_vectors = np.moveaxis(vectors, 2, 0).reshape(pixels, -1, target.size) * target.scale + target.location
    shared_vectors = common.reshape(-1, middle.size) * target.shared_scale + target.shared_location
    return from_draws(
        target,
        data,
        local_vectors.astype(np.float32),
        shared_vectors.astype(np.float32),
        diagnostics=noticed,
        memory=memory,
    )


def _joint_chains(
    target: Target, sampler: tuple[int, int, float, int], data: Observations, each: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Draws `(chain, draw, size)` and whether they diverged."""
    warmup, draws, accept, depth = sampler
    pixels = check_observations(data)
    location, scale = jnp.asarray(target.location), jnp.asarray(target.scale)
    middle, spread = jnp.asarray(target.shared_location), jnp.asarray(target.shared_scale)

    def potential(unit: Array) -> Array:
        local = location + scale * unit[: pixels * target.size].reshape(pixels, -1)
        shared = middle + spread * unit[pixels * target.size :]
        values, _ = values_at(target, local, shared)
        prior = log_prior(target, data, values)[1] + from_vector(target.structure.shared, shared)[1]
        return -(log_joint(target, data, local, shared).sum() + prior)

    def of_chain(start: Array, key: Array) -> tuple[Array, Array]:
        # A dense mass matrix of many pixels would be too large to learn.
        how: Any = {"warmup": warmup, "draws": draws, "accept": accept, "depth": depth, "dense": start.size <= warmup}
        return walk(potential, start, key, **how)

    return jax.vmap(of_chain)(*each)
