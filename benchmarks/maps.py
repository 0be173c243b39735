"""Times the production of a map: reading, computing and writing apart and together.

    python -m benchmarks maps [--size 1098] [--method prosail-vae] [--output FILE.json] [--folder DIR]

The image is a simulated scene of ten bands, repeated to the size asked and written once as NetCDF. Rates are pixels a
second in the steady state: import, compilation and the first batch stand apart. Set XLA_FLAGS and the affinity of the
process (`taskset -c 0`) for rates of one core; the number of cores that it may use is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from releo_jax.cubes.convention import set_grid
from releo_jax.cubes.scene import simulate_scene
from releo_jax.cubes.writing import write_cube
from releo_jax.maps import invert_file

SCENE = 183


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


def measure(image: Path, output: Path, **options: Any) -> dict[str, float]:
    """Rates of one run in million pixels a second; `starting` and `elapsed` in seconds."""
    report = invert_file(image, output, overwrite=True, **options)
    batches = report.retrieved - min(report.retrieved, 1 << 15)
    rates = {
        "computing": batches / max(report.computing, 1e-9),
        "reading": report.pixels / max(report.reading, 1e-9),
        "writing": report.pixels / max(report.writing, 1e-9),
        "together": batches / max(report.elapsed - report.starting, 1e-9),
    }
    return {name: rate / 1e6 for name, rate in rates.items()} | {
        "starting_s": report.starting,
        "elapsed_s": report.elapsed,
        "pixels": report.pixels,
    }


CASES: dict[str, dict[str, Any]] = {
    "leaf area, flags of mask, domain, bound": {"variables": ("lai",), "misfit": False},
    "leaf area, all flags": {"variables": ("lai",)},
    "all variables, all flags": {"variables": None},
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
        cases = CASES if given.method == "prosail-vae" else {"all variables": {}}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        print(f"{given.size} x {given.size} pixels, ten bands, {given.method}, {cores} cores; million pixels a second")
        print(
            "| retrieved | computing | reading | writing | together | first batch (s) | in all (s) |\n"
            + "|---" * 7
            + "|"
        )
        found = {}
        for name, options in cases.items():
            found[name] = measure(image, folder / "maps.nc", method=given.method, **options)
            row = (
                found[name][key] for key in ("computing", "reading", "writing", "together", "starting_s", "elapsed_s")
            )
            print(f"| {name} | " + " | ".join(f"{value:.3g}" for value in row) + " |", flush=True)
    if given.output:
        given.output.write_text(json.dumps({"cores": cores, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
