"""`releo train`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from releo_jax.systems.train import SENSORS, train_weights
from releo_jax.training.runs import Runs


def run_train(
    output: Path,
    *,
    method: str,
    sensors: Sequence[str] | None,
    steps: int | None,
    seed: int,
    parts: int,
    checkpoints: Path | None,
    distributed: bool,
    quiet: bool,
) -> None:
    """Trains weights, with bars and a line for each file."""
    if distributed:
        jax.distributed.initialize()
    quiet = quiet or jax.process_index() > 0
    for line in train_weights(
        output,
        method=method,
        sensors=SENSORS if sensors is None else sensors,
        steps=steps,
        seed=seed,
        runs=Runs(parts, checkpoints),
        progress=not quiet and sys.stderr.isatty(),
    ):
        if not quiet:
            print(line, flush=True)
