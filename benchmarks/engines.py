"""Inverts an image of pixels by every engine that is meant for images: rates, memory and errors.

    python -m benchmarks engines [--task prosail_sentinel2] [--pixels 1000000] [--engines ...] [--output FILE.json]

Pixels are fresh simulations of a task of `python -m benchmarks inversion`. What is timed ends with the means and the
90 % intervals of all unknowns (modes have none), flags of misfit and domain included; compilation and what is done once
(tables, training) are included too, but for the training of the amortised guide, which stands apart. Every engine has a
process of its own, so that its memory is known.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from releo_jax.benchmarking.inversion import BUDGETS, TASKS, Task, get_task, train
from releo_jax.benchmarking.inversion.references import PACKAGES
from releo_jax.benchmarking.inversion.report import LEVEL
from releo_jax.benchmarking.machine import machine
from releo_jax.benchmarking.markdown import measured_on, table
from releo_jax.inference import Posterior, fit_laplace, fit_lut, fit_map
from releo_jax.observations import Observations

_AT_ONCE = 1 << 14  # pixels that are simulated in one program

Engine = Callable[[Task, jax.Array], Callable[[Observations], Posterior]]


def _amortized(task: Task, key: jax.Array) -> Callable[[Observations], Posterior]:
    guide, _ = train(task, BUDGETS["short"], key, "mixture", components=8)
    return guide


ENGINES: dict[str, Engine] = {
    "map": lambda task, key: lambda data: fit_map(task.model, data, key=key, progress=True),
    "laplace": lambda task, key: lambda data: fit_laplace(task.model, data, key=key, progress=True),
    "lut": lambda task, key: lambda data: fit_lut(task.model, data, key=key, entries=20_000, progress=True),
    "amortized": _amortized,
}
"""By name, what makes ready and returns the inversion."""


def simulate(task: Task, key: jax.Array, pixels: int) -> tuple[np.ndarray, Observations]:
    """True values `(pixel, dimension)` and observations, on the host."""
    parts, size = [], min(pixels, _AT_ONCE)
    for one in jax.random.split(key, -(-pixels // size)):
        parts.append(jax.device_get(task.simulate(one, size)))
    truth, data = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:pixels], *parts)
    return truth, data


def measure(name: str, task_name: str, pixels: int, seed: int) -> dict[str, Any]:
    """One row of the table.

    Args:
        name: of the engine.
        task_name: of the task whose model is inverted.
        pixels: fresh simulations.
        seed: of simulations and engine.

    Returns:
        Seconds to make ready and to invert, microseconds a pixel, the most memory of this process in GiB, the root mean
        square error of the first unknown in its unit, the share of all true values inside their 90 % intervals, the
        share of pixels that converged, and how many have no finite means; None for what the engine does not state.
    """
    task = get_task(task_name)
    key_data, key_engine = jax.random.split(jax.random.key(seed))
    truth, data = simulate(task, key_data, pixels)
    begin = time.perf_counter()
    invert = ENGINES[name](task, key_engine)
    ready = time.perf_counter()
    posterior = invert(data)
    means = task.stack(posterior.mean)
    low = high = means
    if name != "map":  # a point has no interval
        low, high = (task.stack(posterior.quantile(q)) for q in (0.5 - LEVEL / 2, 0.5 + LEVEL / 2))
    seconds = time.perf_counter() - ready
    inside = (low <= truth) & (truth <= high)
    sure = posterior.diagnostics.get("converged")
    return {
        "engine": name,
        "pixels": pixels,
        "ready_s": ready - begin,
        "seconds": seconds,
        "microseconds": 1e6 * seconds / pixels,
        "memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "rmse": float(np.sqrt(np.mean((means - truth) ** 2, 0))[0]),
        "coverage": None if name == "map" else float(inside.mean()),
        "converged": None if sure is None else float(np.mean(np.asarray(sure))),
        "not_finite": int((~np.isfinite(means).all(1)).sum()),
    }


_HEAD = ("engine", "pixels", "made ready s", "s", "µs per pixel", "most memory GiB", "RMSE of {}", "coverage 90 %",
         "converged", "not finite")  # fmt: skip


def _cells(row: dict[str, Any]) -> list[str]:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f} %"

    return [
        row["engine"],
        f"{row['pixels']:,}",
        f"{row['ready_s']:.0f}",
        f"{row['seconds']:.0f}",
        f"{row['microseconds']:.0f}",
        f"{row['memory_gib']:.1f}",
        f"{row['rmse']:.3f}",
        share(row["coverage"]),
        share(row["converged"]),
        str(row["not_finite"]),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="prosail_sentinel2", choices=list(TASKS), metavar="TASK")
    parser.add_argument("--pixels", type=int, default=1_000_000)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(argv)
    rows = []
    for name in options.engines:
        # Spawned, not forked: JAX has threads.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (name, options.task, options.pixels, options.seed)))
        if options.output:
            found = {"task": options.task, "seed": options.seed, "machine": machine(PACKAGES), "rows": rows}
            options.output.write_text(json.dumps(found, indent=1) + "\n")
    head = tuple(text.format(get_task(options.task).sites[0].replace("_", " ")) for text in _HEAD)
    print(f"{measured_on(machine(PACKAGES), options.seed)}\n")
    print(table(head, [_cells(row) for row in rows]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
