"""Times the production of a map: reading, computing and writing apart and together.

    python -m benchmarks maps [--size 1098] [--method prosail-vae] [--output FILE.json] [--folder DIR]

The image is a simulated scene of ten bands, repeated to the size asked and written once as NetCDF. Rates are pixels a
second in the steady state, the stages one after the other and then together as `releo invert` runs them: import,
compilation and the first batch stand apart. Set XLA_FLAGS and the affinity of the
process (`taskset -c 0`) for rates of one core; the number of cores that it may use is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from releo_jax.blockwise import BATCH, Runner
from releo_jax.cubes import open_cube
from releo_jax.cubes.blocks import blocks, load_block
from releo_jax.cubes.convention import set_grid
from releo_jax.cubes.scene import simulate_scene
from releo_jax.cubes.streaming import BlockWriter
from releo_jax.cubes.writing import write_cube
from releo_jax.maps import invert_file
from releo_jax.methods import load_method
from releo_jax.results import Report, check_request, full_name, layers

SCENE = 183
LEVEL = 0.9


def make_image(path: Path, size: int) -> None:
    """Writes an image of `size` by `size` pixels, a simulated scene side by side with itself."""
    scene = simulate_scene(seed=1, shape=(SCENE, SCENE))[
        ["reflectance", "mask", "sun_zenith", "view_zenith", "relative_azimuth"]
    ]
    repeat = -(-size // SCENE)
    rows = np.tile(np.arange(SCENE), repeat)[:size]
    image = scene.isel(y=rows, x=rows)
    first, step = float(scene["y"][0]), 10.0
    left = float(scene["x"][0])
    image = image.assign_coords(y=first - step * np.arange(size), x=left + step * np.arange(size))
    write_cube(set_grid(image, scene.rio.crs, scene.rio.transform()), path)


def apart(image: Path, output: Path, *, method: str, variables: Sequence[str] | None, misfit: bool) -> dict[str, float]:
    """Rates of the stages, one after the other, in million pixels a second, and the seconds of the first batch."""
    cube = open_cube(image)
    retrieval = load_method(method, str(cube.attrs["sensor"]), misfit=misfit)
    chosen = check_request(retrieval, variables, LEVEL)
    windows = list(blocks(cube))
    report = Report()
    runner = Runner(
        chosen, LEVEL, total=0, largest=max(window.pixels for window in windows), report=report, progress=None
    )
    with contextlib.closing(cube), report.clock("reading"):
        loaded = [load_block(cube, window, retrieval.bands) for window in windows]
    runner.retrieve(retrieval, loaded[0])
    report.retrieved = 0
    with report.clock("elapsed"):
        found = [runner.retrieve(retrieval, block) for block in loaded]
    with report.clock("writing"), BlockWriter(output, cube, layers(chosen, LEVEL)) as writer:
        for window, values in zip(windows, found, strict=True):
            writer.write(window, {full_name(key): array for key, array in values.items()})
    pixels = cube.sizes["y"] * cube.sizes["x"]
    rates = {
        "reading": pixels / report.reading,
        "computing": report.retrieved / report.elapsed,
        "writing": pixels / report.writing,
    }
    return {name: rate / 1e6 for name, rate in rates.items()} | {"starting_s": report.starting}


def together(image: Path, output: Path, **options: Any) -> dict[str, float]:
    """Rate of the whole in the steady state, in million pixels a second, and the seconds of everything."""
    report = invert_file(image, output, overwrite=True, **options)
    rate = (report.retrieved - min(report.retrieved, BATCH)) / (report.elapsed - report.starting)
    return {"together": rate / 1e6, "elapsed_s": report.elapsed}


CASES: dict[str, dict[str, Any]] = {
    "leaf area, flags of mask, domain, bound": {"variables": ("lai",), "misfit": False},
    "leaf area, all flags": {"variables": ("lai",), "misfit": True},
    "all variables, all flags": {"variables": None, "misfit": True},
}


COLUMNS = {
    "reading": "reading",
    "computing": "computing",
    "writing": "writing",
    "together": "together",
    "first batch (s)": "starting_s",
    "in all (s)": "elapsed_s",
}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1098)
    parser.add_argument("--method", default="prosail-vae")
    parser.add_argument("--folder", type=Path, help="where the image and the maps are written; a temporary folder")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        image = folder / f"image_{given.size}.nc"
        if not image.exists():
            make_image(image, given.size)
        cases = CASES if given.method == "prosail-vae" else {"all variables": {"variables": None, "misfit": True}}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        print(f"{given.size} x {given.size} pixels, ten bands, {given.method}, {cores} cores; million pixels a second")
        print("| retrieved | " + " | ".join(COLUMNS) + " |\n" + "|---" * (1 + len(COLUMNS)) + "|")
        found = {}
        for name, options in cases.items():
            one = apart(image, folder / "apart.nc", method=given.method, **options)
            found[name] = one | together(image, folder / "maps.nc", method=given.method, **options)
            row = (found[name][key] for key in COLUMNS.values())
            print(f"| {name} | " + " | ".join(f"{value:.3g}" for value in row) + " |", flush=True)
    if given.output:
        given.output.write_text(json.dumps({"cores": cores, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
