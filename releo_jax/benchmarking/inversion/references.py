"""Reference draws of the fixed observations: made by long chains, checked by another sampler, stored with their origin.

    python -m benchmarks inversion --references --tasks double_logistic

One file a task, `data/<task>.npz`: the observations, so that a change of the random generator is noticed, the draws in
steps of 1/65535 of their range, diagnostics of the chains, and how they were made.
"""

from __future__ import annotations

import dataclasses
import json
import time
import warnings
from pathlib import Path
from typing import Any, Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.benchmarking.inversion.tasks import FIXED, Task
from releo_jax.benchmarking.machine import machine
from releo_jax.inference import AmortizedPosterior, fit_nuts, fit_smc, refine
from releo_jax.inference.density import draw_vectors, log_joint
from releo_jax.inference.flows import SplineFlow
from releo_jax.inference.laws import from_vector, of_pixels
from releo_jax.inference.nuts import diagnose, walk
from releo_jax.inference.posterior import DrawsPosterior
from releo_jax.metrics import c2st
from releo_jax.observations import Observations, check_observations, take

FOLDER = Path(__file__).parent / "data"
DRAWS = 1000
"""Draws of each observation that are stored."""

PACKAGES = ("numpyro", "blackjax", "flax", "flowjax", "optax")
"""What draws and trains, besides JAX."""

R_HAT, LEAST, DIVERGENT, CONFIRMED = 1.01, 400, 0.005, 0.6
"""Chains that agree have no larger R-hat, as many effective draws, no larger share of divergent ones, and no larger
accuracy of a classifier that tells them from another sampler."""

ACCEPT = 0.95  # of proposals: shorter steps than an inversion takes, and fewer divergences

STARTS = 32
"""Draws from the prior, the best of which a chain through a flow begins at."""

Check = Literal["tempering", "weighing", "chains"]
CHECKS = get_args(Check)

_STEPS = 65535


@dataclasses.dataclass(frozen=True)
class References:
    """Reference draws of a task.

    Attributes:
        draws: `(observation, draw, dimension)`, in the order of `Task.sites`.
        r_hat: worst unknown's, of the chains behind them `(observation,)`.
        effective_sample_size: worst unknown's `(observation,)`.
        divergences: number of divergent draws `(observation,)`.
        check: accuracy of a classifier between these draws and those of another sampler, `(observation,)`; which one
            stands in `origin`.
        origin: command, seed, lengths of the chains, the other sampler, versions; the same under "again" for
            observations whose chains were walked again.
    """

    draws: np.ndarray
    r_hat: np.ndarray
    effective_sample_size: np.ndarray
    divergences: np.ndarray
    check: np.ndarray
    origin: dict[str, Any]

    @property
    def poor(self) -> np.ndarray:
        """Numbers of the observations whose chains disagree, say too little, diverged too often, or stand alone."""
        walked = np.full(len(self.r_hat), self.origin["chains"] * self.origin["draws"])
        for again in self.origin.get("again", []):
            walked[again["observations"]] = again["chains"] * again["draws"]
        agree = (self.r_hat <= R_HAT) & (self.effective_sample_size >= LEAST) & (self.check <= CONFIRMED)
        return np.flatnonzero(~(agree & (self.divergences <= DIVERGENT * walked)))

    def renewed(self, observations: np.ndarray, others: References) -> References:
        """These references, with those of some observations in their place."""
        arrays = {}
        for name in ("draws", "r_hat", "effective_sample_size", "divergences", "check"):
            arrays[name] = getattr(self, name).copy()
            arrays[name][observations] = getattr(others, name)
        again = [*self.origin.get("again", []), others.origin | {"observations": observations.tolist()}]
        return References(origin=self.origin | {"again": again}, **arrays)


def make_references(
    task: Task,
    *,
    key: Array,
    warmup: int = 1000,
    draws: int = 1000,
    chains: int = 4,
    check: Check = "tempering",
    moves: int = 20,
    through: AmortizedPosterior | None = None,
    observations: np.ndarray | None = None,
    origin: dict[str, Any] | None = None,
) -> References:
    """Long chains of the No-U-Turn sampler on the ten fixed observations, thinned, and as many draws another way.

    Where the posterior is curved, chains on the real line take long. `through` a trained flow they see coordinates in
    which it is nearly normal. The flow's change of volume is part of their density: they are exact whatever the flow,
    and how good it is decides only how fast they mix. Their starts come from the prior in both cases.

    Args:
        task: with its fixed observations.
        key: random key.
        warmup, draws, chains: of the sampler.
        check: the other way: "tempering" by `fit_smc`; "weighing" draws of the flow that chains went through, a good
            one where the flow knows such observations; "chains" on the real line from other starts.
        moves: of `fit_smc`.
        through: a trained guide of the family "flow".
        observations: numbers of those to draw for; default all ten.
        origin: what to note beside the lengths of the chains and the versions.

    Raises:
        ValueError: a check that is none of these, or one that needs a flow, without one.
    """
    if check not in CHECKS or (check == "weighing" and through is None):
        raise ValueError(
            f"make_references: expected check among {CHECKS}, 'weighing' with a flow to go through, got {check!r} "
            f"and through={through}"
        )
    begin = time.perf_counter()
    data = task.fixed[1] if observations is None else take(task.fixed[1], observations)
    key_chains, key_choice, key_check = jax.random.split(key, 3)
    sampler = (warmup, draws, chains)
    if through is None:
        every, noticed = _chains(task, data, key_chains, sampler)
    else:
        every, noticed = _chains_through(task, data, through, key_chains, sampler)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key_choice)))
    kept = every[:, rng.choice(every.shape[1], min(DRAWS, every.shape[1]), replace=False)]
    if check == "chains":
        others = _chains(task, data, key_check, sampler)[0]
        others = others[:, rng.choice(others.shape[1], kept.shape[1], replace=False)]
    elif check == "weighing" and through is not None:
        others = _stacked(
            task, cast(DrawsPosterior, refine(through(data), key=key_check, draws=50 * DRAWS, keep=DRAWS))
        )
    else:
        others = _stacked(task, fit_smc(task.model, data, key=key_check, particles=DRAWS, moves=moves, reference=0))
    found = np.array([c2st(a, b).accuracy for a, b in zip(kept, others, strict=True)])
    made = {
        **{"warmup": warmup, "draws": draws, "chains": chains, "accept": ACCEPT, "check": check, "moves": moves},
        **{"seconds": round(time.perf_counter() - begin), "versions": machine(PACKAGES)["versions"]},
    }
    return References(
        draws=kept,
        r_hat=noticed["r_hat"],
        effective_sample_size=noticed["effective_sample_size"],
        divergences=noticed["divergences"],
        check=found,
        origin={**(origin or {}), **made},
    )


def _chains(
    task: Task, data: Observations, key: Array, sampler: tuple[int, int, int]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws `(observation, draw, dimension)` and diagnostics."""
    warmup, draws, chains = sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the diagnostics are stored
        posterior = fit_nuts(
            task.model, data, key=key, warmup=warmup, draws=draws, chains=chains, target_accept=ACCEPT, reference=0
        )
    noticed = {name: np.asarray(value) for name, value in posterior.diagnostics.items()}
    return _stacked(task, posterior), noticed


def _stacked(task: Task, posterior: DrawsPosterior) -> np.ndarray:
    """Draws `(observation, draw, dimension)`."""
    return task.stack(posterior.draws).swapaxes(0, 1)


def _chains_through(
    task: Task, data: Observations, through: AmortizedPosterior, key: Array, sampler: tuple[int, int, int]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The same, by chains of the standard normal vectors that the flow bends."""
    warmup, draws, chains = sampler
    target, law = task.target, cast(SplineFlow, through(data).law)
    shared = jnp.zeros(0)

    def of_pixel(number: Array, data: Observations, key: Array) -> tuple[Array, Array]:
        here = of_pixels(law, number[None])
        single = jax.tree.map(lambda leaf: leaf[None], data)

        def potential(noise: Array) -> Array:
            vector, density = here.bend(noise[None])
            return (density - log_joint(target, single, vector, shared))[0] + 0.5 * jnp.sum(noise**2)

        def of_chain(key: Array) -> tuple[Array, Array]:
            key_start, key_walk = jax.random.split(key)
            few = jax.vmap(lambda key: draw_vectors(target, single, key)[0])(jax.random.split(key_start, STARTS))
            best = jnp.argmax(jax.vmap(lambda vector: log_joint(target, single, vector, shared)[0])(few))
            start = here.straighten(few[best])[0][0]
            how: Any = {"warmup": warmup, "draws": draws, "accept": ACCEPT, "depth": 7, "dense": True}
            noise, divergent = walk(potential, start, key_walk, **how)
            return jax.lax.map(lambda noise: here.bend(noise[None])[0][0], noise), divergent

        return jax.vmap(of_chain)(jax.random.split(key, chains))

    pixels = check_observations(data)
    some = (jnp.arange(pixels), dict(data), jax.random.split(key, pixels))
    vectors, divergent = jax.device_get(jax.jit(jax.vmap(of_pixel))(*some))
    noticed = diagnose(np.moveaxis(vectors, 0, 2), divergent.sum((1, 2)))
    values, _ = from_vector(target.structure.local, jnp.asarray(vectors.reshape(pixels, -1, target.size)))
    return task.stack(values), {name: np.asarray(value) for name, value in noticed.items()}


def save_references(task: Task, references: References, folder: Path | None = None) -> Path:
    """Writes `<task>.npz` and returns its path; default folder that of this package."""
    low, high = references.draws.min((0, 1)), references.draws.max((0, 1))
    steps = np.rint((references.draws - low) / (high - low) * _STEPS).astype(np.uint16)
    rest = {field: getattr(references, field) for field in ("r_hat", "effective_sample_size", "divergences", "check")}
    path = (folder or FOLDER) / f"{task.name}.npz"
    np.savez_compressed(
        path,
        observed=_flat(task.fixed[1]),
        sites=np.array(task.sites),
        low=low,
        high=high,
        draws=steps,
        origin=json.dumps(references.origin),
        **rest,
    )
    return path


def load_references(task: Task, folder: Path | None = None) -> References | None:
    """The stored references of a task; None where there are none.

    Raises:
        ValueError: they belong to other observations or other unknowns.
    """
    path = (folder or FOLDER) / f"{task.name}.npz"
    if not path.exists():
        return None
    with np.load(path) as stored:
        parts = {name: stored[name] for name in stored.files}
    same = tuple(parts["sites"]) == task.sites and parts["observed"].shape == _flat(task.fixed[1]).shape
    if not same or not np.allclose(parts["observed"], _flat(task.fixed[1]), atol=1e-4):
        raise ValueError(
            f"{path.name}: expected references of the task's {FIXED} observations, got those of others; make them "
            f"anew: python -m benchmarks inversion --references --tasks {task.name}"
        )
    draws = parts["low"] + parts["draws"] / _STEPS * (parts["high"] - parts["low"])
    rest = {field: parts[field] for field in ("r_hat", "effective_sample_size", "divergences", "check")}
    return References(draws=draws, origin=json.loads(str(parts["origin"])), **rest)


def _flat(data: Observations) -> np.ndarray:
    """Values of all records `(observation, value)`, masked ones NaN."""
    parts = [np.where(record.mask, record.values, np.nan).reshape(FIXED, -1) for record in data.values()]
    return np.nan_to_num(np.concatenate(parts, 1), nan=-1.0).astype(np.float32)


__all__ = ["DRAWS", "FOLDER", "PACKAGES", "References", "load_references", "make_references", "save_references"]
