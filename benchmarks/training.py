"""Throughput of the training of the shipped retrieval, on one device and on all, beside what the devices can reach.

    python -m benchmarks training [--batch 1024] [--parts 1 2 4] [--strategy jit] [--output FILE.json]

A step simulates its pixels and takes value and gradient of the loss (the update of the weights is small beside it).
The same script runs on processors and on GPUs: `JAX_PLATFORMS` chooses, and
`XLA_FLAGS=--xla_force_host_platform_device_count=4` makes four devices of a processor. The roofline is measured on one
device: the rate of a product of large matrices and that of a sum of long vectors; between them a program of so many
operations a byte can do no better than the smaller of the two allows. Operations and bytes are those that XLA counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from releo_jax.benchmarking.machine import machine
from releo_jax.inference.objectives import Simulation
from releo_jax.systems.prosail_vae import acquisition, land_surface_posterior
from releo_jax.training.devices import layout


def seconds(call: Callable[[], Any], rounds: int = 10) -> float:
    """Median seconds of a call, without compilation."""
    jax.block_until_ready(call())
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(call())
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def roofline(device: jax.Device, size: int = 2048) -> tuple[float, float]:
    """Operations a second of a product of matrices, bytes a second of a sum of vectors, in single precision."""
    square = jax.device_put(jnp.ones((size, size), jnp.float32), device)
    vector = jax.device_put(jnp.ones(1 << 25, jnp.float32), device)
    product = jax.jit(lambda a: a @ a)
    total = jax.jit(lambda a: a + 1.0)
    return 2.0 * size**3 / seconds(lambda: product(square)), 8.0 * vector.size / seconds(lambda: total(vector))


def row(parts: int, batch: int, strategy: Any, peak: tuple[float, float]) -> dict[str, Any]:
    """Figures of a number of parts; `batch` pixels a step together."""
    bands, posterior = land_surface_posterior("sentinel2a")
    loss, _ = Simulation().prepare(posterior, acquisition(bands), key=jax.random.key(0), batch=batch // parts)
    places = layout(parts, None, False, strategy)
    slope = places.slope(loss)
    program = places.program(
        lambda state, number, data: slope(state, jax.random.fold_in(jax.random.key(1), number), data)
    )
    state = places.everywhere(posterior.parameters)
    took = seconds(lambda: program(state, np.int32(0), None))
    lowered = jax.jit(jax.value_and_grad(loss)).lower(posterior.parameters, jax.random.key(0), None)
    cost: Any = lowered.compile().cost_analysis() or {}
    operations, moved = parts * cost.get("flops", np.nan), parts * cost.get("bytes accessed", np.nan)
    attainable = len(places.devices) * min(peak[0], peak[1] * operations / moved)
    return {
        "devices": len(places.devices),
        "parts": parts,
        "milliseconds": round(1e3 * took, 2),
        "pixels_per_second": round(batch / took),
        "gigaflops": round(operations / took / 1e9, 2),
        "roofline_gigaflops": round(attainable / 1e9, 2),
        "fraction_of_roofline": round(operations / took / attainable, 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1024, help="pixels of a step, of all parts together")
    parser.add_argument("--parts", type=int, nargs="+", help="of a step; default one, and one for each device")
    parser.add_argument("--strategy", choices=("jit", "pmap"), default="jit")
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    peak = roofline(jax.devices()[0])
    print(f"{jax.devices()[0].device_kind}: {peak[0] / 1e9:.0f} GFLOP/s of products, {peak[1] / 1e9:.1f} GB/s of sums")
    report: dict[str, Any] = {"machine": machine(), "batch": given.batch, "strategy": given.strategy, "rows": []}
    for parts in given.parts or sorted({1, jax.device_count()}):
        found = row(parts, given.batch, given.strategy, peak)
        report["rows"].append(found)
        print(", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in found.items()), flush=True)
    if given.output is not None:
        given.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
