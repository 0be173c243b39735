"""From an approximate posterior to a better one, pixel by pixel."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.inference.chunks import MEMORY, over_chunks
from releo_jax.inference.density import Target, log_joint, read_target
from releo_jax.inference.draws import from_draws, systematic
from releo_jax.inference.laws import FullNormal, from_vector, of_pixels, to_rows, to_vector
from releo_jax.inference.newton import search
from releo_jax.inference.posterior import DrawsPosterior, GuidePosterior
from releo_jax.inference.svi import ascend
from releo_jax.observations import Observations, check_observations, take

_METHODS = ("importance", "laplace", "svi")
_BLOCK = 4096  # pixels whose draws are in memory at once


def refine(
    posterior: GuidePosterior,
    *,
    key: Array,
    method: str = "importance",
    draws: int = 1000,
    keep: int = 200,
    steps: int = 50,
    memory: int = MEMORY,
    progress: bool = False,
) -> DrawsPosterior | GuidePosterior:
    """Brings an amortised, Laplace or variational posterior closer to the model's own.

    "importance" draws from the posterior, weighs by how the model's density differs, and resamples: exact for many
    draws where the posterior is wide enough. "laplace" searches the mode from the posterior's mean; "svi" starts at its
    mean and covariance and climbs the evidence bound. All report the effective sample size of the importance weights of
    `draws` draws: of the posterior given for "importance", of the new one for the others.

    Args:
        posterior: as `fit_laplace`, `fit_svi` or an amortised posterior return it. Global sites stay at its law.
        key: random key; the same key gives the same result.
        method: "importance", "laplace" or "svi".
        draws: for the weights.
        keep: draws that remain of each pixel ("importance").
        steps: of "laplace" and "svi".
        memory: bytes for the pixels that are worked on at once.
        progress: show a bar.

    Returns:
        Posterior with the diagnostics `effective_sample_size` (of `draws`; below a tenth the result is doubtful) and
        `log_evidence` (given the global sites), beside those it had.

    Raises:
        ValueError: an unknown method, or numbers of draws that make no sense.

    References:
        Ionides 2008, J. Comput. Graph. Stat. 17, 295-311 (truncated weights). Zhang, Carpenter, Gelman & Vehtari 2022,
        J. Mach. Learn. Res. 23 (306) (Pathfinder, which ends in the same step).
    """
    if method not in _METHODS:
        raise ValueError(f"method: expected one of {_METHODS}, got {method!r}")
    if not isinstance(posterior, GuidePosterior):
        raise ValueError(
            f"refine: expected a posterior with a density (fit_laplace, fit_svi, amortize), got "
            f"{type(posterior).__name__}"
        )
    if draws < 2 or not 1 <= keep <= draws:
        raise ValueError(f"expected draws >= 2 and 1 <= keep <= draws, got {draws} and {keep}")
    data = dict(posterior.observations)
    target = read_target(posterior.model, data, plate=posterior.structure.plate)
    key_moments, key_search, key_weights = jax.random.split(key, 3)
    if method != "importance":
        posterior = _searched(target, data, posterior, method, key_moments, key_search, steps, memory, progress)
    return _weighted(target, data, posterior, method, key_weights, draws, keep, memory)


def _searched(
    target: Target,
    data: Observations,
    posterior: GuidePosterior,
    method: str,
    key: Array,
    key_search: Array,
    steps: int,
    memory: int,
    progress: bool,
) -> GuidePosterior:
    location, rows = _moments(target, posterior, key)
    how: Any = {"steps": steps, "memory": memory, "progress": progress, "description": f"refine, {method}"}
    if method == "svi":
        options: Any = {"particles": 8, "learning_rate": 0.05}
        found = ascend(target, data, location, rows, posterior.shared, key=key_search, **how, **options)
    else:
        shared = jnp.zeros(0)
        if posterior.shared is not None:
            middle = {name: posterior.mean[name] for name in (site.name for site in target.structure.shared)}
            shared = to_vector(target.structure.shared, middle)
        modes = search(target, data, location, shared, volume=True, **how)
        found = GuidePosterior(
            model=target.model,
            structure=target.structure,
            observations=data,
            law=FullNormal(target.structure.local, jnp.asarray(modes.vector), jnp.asarray(modes.rows)),
            shared=posterior.shared,
            diagnostics={"converged": jnp.asarray(modes.converged)},
        )
    found.diagnostics = {**posterior.diagnostics, **found.diagnostics}
    return found


def _blocks(posterior: GuidePosterior) -> list[slice]:
    pixels = check_observations(posterior.observations)
    return [slice(start, min(start + _BLOCK, pixels)) for start in range(0, pixels, _BLOCK)]


def _moments(target: Target, posterior: GuidePosterior, key: Array) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(pixel, size)` and rows of the covariance's factor on the real line, from draws."""
    found = []
    for where in _blocks(posterior):
        vectors, _ = _drawn(of_pixels(posterior.law, where), key, max(256, 8 * target.size))
        found.append(jax.device_get(_mean_and_rows(vectors)))
    location, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return location, rows


@functools.partial(jax.jit, static_argnums=2)
def _drawn(law: Any, key: Array, n: int) -> tuple[Array, Array]:
    """Real vectors `(n, pixel, size)` and their log density on the real line `(n, pixel)`."""
    values, density = law.sample(key, (n,))
    vectors = to_vector(law.sites, values)
    return vectors, density + from_vector(law.sites, vectors)[1]


@jax.jit
def _mean_and_rows(vectors: Array) -> tuple[Array, Array]:
    mean = vectors.mean(0)
    residual = vectors - mean
    exact = jax.lax.Precision.HIGHEST
    covariance = jnp.einsum("npi,npj->pij", residual, residual, precision=exact) / (vectors.shape[0] - 1)
    return mean, to_rows(jnp.linalg.cholesky(covariance + 1e-6 * jnp.eye(vectors.shape[-1])))


def _weighted(
    target: Target,
    data: Observations,
    posterior: GuidePosterior,
    method: str,
    key: Array,
    draws: int,
    keep: int,
    memory: int,
) -> DrawsPosterior | GuidePosterior:
    shared_sites = target.structure.shared
    kept, kept_shared, sizes, evidences = [], [], [], []
    key_draws, key_shared, key_comb = jax.random.split(key, 3)
    given = jnp.zeros((draws, 0))
    if posterior.shared is not None:
        given = to_vector(shared_sites, posterior.shared.sample(key_shared, (draws,))[0])
    for number, where in enumerate(_blocks(posterior)):
        part = take(data, where)
        pixels = check_observations(part)
        vectors, density = _drawn(of_pixels(posterior.law, where), jax.random.fold_in(key_draws, number), draws)
        comb = jax.random.uniform(jax.random.fold_in(key_comb, number), (pixels,))
        many = (part, jnp.moveaxis(vectors, 1, 0), density.T, comb)
        chosen, size, evidence = over_chunks(
            _weigh, (target, keep), given, many, memory=memory, description="importance weights"
        )
        sizes.append(size)
        evidences.append(evidence)
        if method == "importance":
            kept.append(np.take_along_axis(np.asarray(many[1]), chosen[..., None], 1))
            kept_shared.append(np.asarray(given)[chosen])
    diagnostics = {
        **posterior.diagnostics,
        "effective_sample_size": jnp.asarray(np.concatenate(sizes)),
        "log_evidence": jnp.asarray(np.concatenate(evidences)),
    }
    if method == "importance":
        drawn = (np.concatenate(kept), np.concatenate(kept_shared))
        return from_draws(target, data, *drawn, diagnostics=diagnostics, memory=memory)
    posterior.diagnostics = diagnostics
    return posterior


def _weigh(target: Target, keep: int, shared: Array, pixels: Any) -> tuple[Array, Array, Array]:
    """Draws in proportion to their truncated weights, effective sample size of the weights, and log evidence."""
    data, vectors, density, uniform = pixels

    def of_draw(vector: Array, shared: Array) -> Array:
        return log_joint(target, data, vector, shared)

    joint = jax.vmap(of_draw, in_axes=(1, 0), out_axes=1)(vectors, shared)
    log_weights = jnp.where(jnp.isfinite(joint), joint - density, -jnp.inf)
    n = log_weights.shape[1]
    evidence = jax.nn.logsumexp(log_weights, -1) - jnp.log(n)
    # No weight above sqrt(n) times the mean one: a few draws must not stand for all.
    cut = jax.nn.softmax(jnp.minimum(log_weights, evidence[:, None] + 0.5 * jnp.log(n)), -1)
    weights = jax.nn.softmax(log_weights, -1)
    return systematic(cut, uniform, keep), 1.0 / jnp.sum(weights**2, -1), evidence
