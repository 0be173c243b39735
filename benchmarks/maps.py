"""Times maps of whole images by `releo invert`: their stages apart and together, memory, and the gain of two workers.

    python -m benchmarks maps [--size 1098 5490 10980] [--input jp2 cog] [--format nc] [--variables lai]
    python -m benchmarks maps --workers [--size 3660]

An image is a simulated scene of ten bands, repeated to the size asked: a Level-2A product in JPEG 2000, a folder of
Cloud-Optimised GeoTIFFs, or a cube. It is written once to the folder. Reading and writing are timed on the whole image,
each alone; computing on at most twelve blocks of it, in memory; all three before and after the rest, in the mean, since
machines drift. Together is the command in a process of its own, less what it takes on an image of 64 x 64 pixels
(imports, compilation). Memory is the most that the process had in use.

With `--workers`, blocks go to one and to two processes, each held to one core, which have their programs compiled; what
an image of 256 x 256 pixels takes is left out.
Figures are added to those in the file of `--output` that were taken on the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.maps_images import NAMES, image
from releo_jax.benchmarking.machine import machine
from releo_jax.blockwise import Runner
from releo_jax.cluster import cluster
from releo_jax.cubes import open_cube
from releo_jax.cubes.blocks import blocks, load_block
from releo_jax.cubes.streaming import BlockWriter
from releo_jax.methods import load_method
from releo_jax.results import Report, check_request, full_name, layers

LEVEL = 0.9
SAMPLE = 12
"""Blocks that computing is timed on."""

SMALL = 64
"""Side of the image that tells what a run takes before its pixels."""

COMMAND = """
import sys
from releo_jax.cli import main
status = main(sys.argv[1:])
with open("/proc/self/status") as file:
    print(next(line for line in file if line.startswith("VmHWM")).split()[1])
sys.exit(status)
"""


def seconds(function: Callable[[], Any]) -> float:
    """Of a call, on the clock."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def apart(source: Path, output: Path, variables: Sequence[str] | None) -> dict[str, float]:
    """Seconds of reading, computing and writing all pixels, each alone."""
    cube = open_cube(source)
    retrieval = load_method("prosail-vae", str(cube.attrs["sensor"]))
    chosen = check_request(retrieval, variables, LEVEL)
    windows = list(blocks(cube))
    largest = max(windows, key=lambda window: window.pixels)
    runner = Runner(chosen, LEVEL, total=0, largest=largest.pixels, report=Report(), progress=None)
    pixels = sum(window.pixels for window in windows)
    with contextlib.closing(cube):
        reading = seconds(lambda: [load_block(cube, window, retrieval.bands) and None for window in windows])
        whole = [window for window in windows if window.pixels == largest.pixels]
        loaded = [load_block(cube, window, retrieval.bands) for window in whole[:: -(-len(whole) // SAMPLE)]]
        runner.retrieve(retrieval, loaded[0])
        found: list[dict[str, Any]] = []
        computing = seconds(lambda: found.extend(runner.retrieve(retrieval, block) for block in loaded))
        results = [{full_name(key): array for key, array in values.items()} for values in found]

        def write() -> None:
            with BlockWriter(output, cube, layers(chosen, LEVEL)) as writer:
                for number, window in enumerate(windows):
                    values = results[number % len(results)]
                    writer.write(window, {name: array[: window.pixels] for name, array in values.items()})

        writing = seconds(write)
    share = pixels / (len(loaded) * largest.pixels)
    return {"reading_s": reading, "computing_s": computing * share, "writing_s": writing}


def together(source: Path, output: Path, variables: Sequence[str] | None, *more: str) -> tuple[float, float]:
    """Seconds of the command, and the most memory that it had in use, in GiB."""
    chosen = [] if variables is None else ["--variables", ",".join(variables)]
    words = ["invert", str(source), "-o", str(output), "--overwrite", "--quiet", *chosen, *more]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - start, int(done.stdout) / 2**20


def row(folder: Path, size: int, kind: str, suffix: str, variables: Sequence[str] | None) -> dict[str, Any]:
    """Figures of one image."""
    source, output = image(folder, size, kind), folder / f"map.{suffix}"
    before = apart(source, output, variables)
    start = together(image(folder, SMALL, kind), output, variables)[0]
    elapsed, memory = together(source, output, variables)
    after = apart(source, output, variables)
    alone = {name: (took + after[name]) / 2 for name, took in before.items()}
    slowest = max(alone.values())
    figures = alone | {"together_s": elapsed - start, "start_s": start, "memory_gib": memory}
    return {
        "input": kind,
        "output": suffix,
        "variables": "all" if variables is None else ",".join(variables),
        "side": size,
        "megapixels": round(size**2 / 1e6, 2),
        **{name: round(value, 2) for name, value in figures.items()},
        "microseconds_per_pixel": round((elapsed - start) / size**2 * 1e6, 2),
        "together_over_slowest": round((elapsed - start) / slowest, 3),
    }


def shared(folder: Path, size: int, kind: str, suffix: str, variables: Sequence[str] | None) -> dict[str, Any]:
    """Seconds of one worker and of two, each held to a core of its own."""
    source, output = image(folder, size, kind), folder / f"map.{suffix}"
    cores = sorted(os.sched_getaffinity(0))[:2]
    took = {}
    for number in (1, 2):
        with cluster(number) as client:
            for core, worker in zip(cores, client.scheduler_info(n_workers=-1)["workers"], strict=False):
                client.run(os.sched_setaffinity, 0, [core], workers=[worker])
            there = ("--workers", str(client.scheduler_info()["address"]))
            small, parts = image(folder, 4 * SMALL, kind), ("--block-size", str(SMALL), *there)
            together(small, output, variables, *parts)  # all workers compile
            start = together(small, output, variables, *parts)[0]
            took[number] = together(source, output, variables, *there)[0] - start
    return {
        "input": kind,
        "output": suffix,
        "variables": "all" if variables is None else ",".join(variables),
        "side": size,
        "one_worker_s": round(took[1], 2),
        "two_workers_s": round(took[2], 2),
        "gain": round(took[1] / took[2], 3),
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=[1098], help="sides of the images, pixels")
    parser.add_argument("--input", nargs="+", choices=sorted(NAMES), default=["jp2"])
    parser.add_argument("--format", nargs="+", choices=("nc", "zarr", "tif"), default=["nc"], help="of the maps")
    parser.add_argument("--variables", nargs="+", default=["all"], help="such as lai; all for all that there are")
    parser.add_argument("--workers", action="store_true", help="compare one worker with two")
    parser.add_argument("--folder", type=Path, help="where images and maps are written; a temporary folder")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    given = parser.parse_args(arguments)
    measure, part = (shared, "workers") if given.workers else (row, "maps")
    found: dict[str, Any] = {"machine": machine(), "maps": [], "workers": []}
    if given.output is not None and given.output.exists():
        earlier = json.loads(given.output.read_text())
        same = all(earlier["machine"].get(name) == value for name, value in found["machine"].items() if name != "load")
        found = earlier if same else found
    variables = None if given.variables == ["all"] else given.variables
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for size in given.size:
            for kind in given.input:
                for suffix in given.format:
                    figures = measure(folder, size, kind, suffix, variables)
                    print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()), flush=True)
                    named = ("input", "output", "variables", "side")
                    others = [old for old in found[part] if any(old[name] != figures[name] for name in named)]
                    found[part] = [*others, figures]
                    if given.output is not None:
                        given.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
