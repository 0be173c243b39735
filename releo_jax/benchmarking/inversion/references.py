"""Reference draws of the fixed observations: made by long chains, checked by tempering, stored with their origin.

    python -m benchmarks inversion --references --tasks double_logistic

One file a task, `data/<task>.npz`: the observations, so that a change of the random generator is noticed, the draws in
steps of 1/65535 of their range, diagnostics of the chains, and how they were made.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from releo_jax.benchmarking.inversion.machine import versions
from releo_jax.benchmarking.inversion.tasks import FIXED, Task
from releo_jax.inference import fit_nuts, fit_smc
from releo_jax.metrics import c2st
from releo_jax.observations import Observations

FOLDER = Path(__file__).parent / "data"
DRAWS = 1000
"""Draws of each observation that are stored."""

_STEPS = 65535


@dataclasses.dataclass(frozen=True)
class References:
    """Reference draws of a task.

    Attributes:
        draws: `(observation, draw, dimension)`, in the order of `Task.sites`.
        r_hat: worst unknown's, of the chains behind them `(observation,)`.
        effective_sample_size: worst unknown's `(observation,)`.
        divergences: number of divergent draws `(observation,)`.
        smc: accuracy of a classifier between these draws and those of tempering `(observation,)`; NaN if not run.
        origin: command, seed, lengths of the chains, versions.
    """

    draws: np.ndarray
    r_hat: np.ndarray
    effective_sample_size: np.ndarray
    divergences: np.ndarray
    smc: np.ndarray
    origin: dict[str, Any]


def make_references(
    task: Task,
    *,
    key: Array,
    warmup: int = 1000,
    draws: int = 1000,
    chains: int = 4,
    particles: int = DRAWS,
    moves: int = 20,
    origin: dict[str, Any] | None = None,
) -> References:
    """Long chains of the No-U-Turn sampler on the ten fixed observations, thinned, and draws by tempering beside them.

    Args:
        task: with its fixed observations.
        key: random key.
        warmup, draws, chains: of `fit_nuts`.
        particles, moves: of `fit_smc`; 0 particles leave the comparison out.
        origin: what to note beside the lengths of the chains and the versions.
    """
    _, data = task.fixed
    key_chains, key_choice, key_smc = jax.random.split(key, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the diagnostics are stored
        posterior = fit_nuts(
            task.model,
            data,
            key=key_chains,
            warmup=warmup,
            draws=draws,
            chains=chains,
            target_accept=0.9,
            reference=0,
        )
    every = task.stack(posterior.draws).swapaxes(0, 1)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key_choice)))
    kept = every[:, rng.choice(every.shape[1], min(DRAWS, every.shape[1]), replace=False)]
    found = np.full(len(every), np.nan)
    if particles:
        other = fit_smc(task.model, data, key=key_smc, particles=particles, moves=moves, reference=0)
        tempered = task.stack(other.draws).swapaxes(0, 1)
        found = np.array([c2st(a, b).accuracy for a, b in zip(kept, tempered, strict=True)])
    noticed = {name: np.asarray(value) for name, value in posterior.diagnostics.items()}
    made = {"warmup": warmup, "draws": draws, "chains": chains, "particles": particles, "moves": moves}
    return References(
        draws=kept,
        r_hat=noticed["r_hat"],
        effective_sample_size=noticed["effective_sample_size"],
        divergences=noticed["divergences"],
        smc=found,
        origin={**(origin or {}), **made, "versions": versions()},
    )


def save_references(task: Task, references: References, folder: Path | None = None) -> Path:
    """Writes `<task>.npz` and returns its path; default folder that of this package."""
    low, high = references.draws.min((0, 1)), references.draws.max((0, 1))
    steps = np.rint((references.draws - low) / (high - low) * _STEPS).astype(np.uint16)
    rest = {field: getattr(references, field) for field in ("r_hat", "effective_sample_size", "divergences", "smc")}
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
    rest = {field: parts[field] for field in ("r_hat", "effective_sample_size", "divergences", "smc")}
    return References(draws=draws, origin=json.loads(str(parts["origin"])), **rest)


def _flat(data: Observations) -> np.ndarray:
    """Values of all records `(observation, value)`, masked ones NaN."""
    parts = [np.where(record.mask, record.values, np.nan).reshape(FIXED, -1) for record in data.values()]
    return np.nan_to_num(np.concatenate(parts, 1), nan=-1.0).astype(np.float32)


__all__ = ["DRAWS", "FOLDER", "References", "load_references", "make_references", "save_references"]
