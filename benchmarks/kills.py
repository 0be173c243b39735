"""Kills maps and trainings at random moments, lets them go on, and compares what comes out with undisturbed runs.

    python -m benchmarks kills [--maps 20] [--trainings 10] [--size 732] [--steps 200] [--seed 0] [--output FILE.json]

A map is `releo invert --resume` on a simulated scene of ten bands, as NetCDF, Zarr and GeoTIFF in turn; a training that
of the retrieval which comes with the package, in small, with checkpoints every few steps. Every process gets SIGKILL,
which it cannot notice, at a moment drawn evenly from the time that it takes undisturbed, the time before its first
block or step left out. A run that was killed is given again; one that ends is compared byte by byte (a training weight
by weight), and whatever else lies in its folder counts as left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.maps_images import make_image
from releo_jax.benchmarking.machine import machine

FORMATS = ("nc", "zarr", "tif")

TRAINING = """
import sys
from pathlib import Path
import jax
import numpy as np
from releo_jax.systems.prosail_vae import acquisition, land_surface_posterior
from releo_jax.training import Loop
bands, posterior = land_surface_posterior("sentinel2a")
folder, steps = Path(sys.argv[1]), int(sys.argv[2])
loop = Loop(parts=2, checkpoints=folder / "state", checkpoint_every=20)
trained = posterior.fit(
    acquisition(bands), key=jax.random.key(0), steps=steps, batch=128, average=0.99, loop=loop
)
np.savez(folder / "weights.npz", history=trained.history[-1], *map(np.asarray, jax.tree.leaves(trained.parameters)))
"""


def digest(path: Path) -> str:
    """Of the bytes of a file, or of all files of a folder with their names."""
    found = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        found.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def weights(path: Path) -> str:
    """Of the arrays of an archive, whose own bytes hold the time."""
    with np.load(path) as archive:
        return hashlib.sha256(b"".join(archive[name].tobytes() for name in sorted(archive.files))).hexdigest()


def ended(command: Sequence[str], after: float | None, begun: Callable[[], bool]) -> bool:
    """Runs a command and kills it so many seconds after it has begun to work; whether it ended before that."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while after is not None and process.poll() is None and not begun():
            time.sleep(0.002)
        try:
            _, errors = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            return False
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors.strip()[-500:]}")
    return True


def disturbed(
    command: Sequence[str],
    folder: Path,
    result: Path,
    fingerprint: Callable[[Path], str],
    keeps: set[str],
    *,
    working: Callable[[], bool],
    kills: int,
    moments: random.Random,
) -> dict[str, Any]:
    """Kills a command until it was killed so many times, going on each time, and compares whatever it finishes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before = time.perf_counter()
    begin = [before]

    def first() -> bool:
        begin[0] = time.perf_counter()
        return working()

    ended(command, 3600.0, first)
    took, expected = time.perf_counter() - begin[0], fingerprint(result)
    left = sorted(entry.name for entry in folder.iterdir() if entry.name not in keeps)
    found = {"seconds": round(took, 2), "kills": 0, "finished": 0, "different": 0, "left_behind": len(left)}
    done = True
    while found["kills"] < kills or not done:
        if done:
            shutil.rmtree(folder)
            folder.mkdir()
        after = moments.uniform(0.0, took) if found["kills"] < kills else None
        done = ended(command, after, working)
        if not done:
            found["kills"] += 1
            continue
        found["finished"] += 1
        found["different"] += fingerprint(result) != expected
        found["left_behind"] += sum(entry.name not in keeps for entry in folder.iterdir())
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=20, help="kills of maps")
    parser.add_argument("--trainings", type=int, default=10, help="kills of trainings")
    parser.add_argument("--size", type=int, default=732, help="side of the image in pixels")
    parser.add_argument("--steps", type=int, default=200, help="of the training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    moments = random.Random(given.seed)
    report: dict[str, Any] = {"machine": machine(), "seed": given.seed, "size": given.size, "steps": given.steps}
    with tempfile.TemporaryDirectory() as temporary:
        image = Path(temporary) / "scene.nc"
        make_image(image, given.size)
        for index, suffix in enumerate(FORMATS):
            share = given.maps // 3 + (index < given.maps % 3)
            folder = Path(temporary) / suffix
            result = folder / f"maps.{suffix}"
            command = [sys.executable, "-m", "releo_jax.cli", "invert", str(image), "-o", str(result), "--resume"]
            command += ["--block-size", "128", "--no-misfit"]

            def working(folder: Path = folder) -> bool:
                return any(folder.glob(".*/*.npz")) or any(folder.glob("maps*"))

            how: Any = {"working": working, "kills": share, "moments": moments}
            report[f"map {suffix}"] = disturbed(command, folder, result, digest, {result.name}, **how)
            print(f"map {suffix}: {report[f'map {suffix}']}", flush=True)
        folder = Path(temporary) / "training"
        result = folder / "weights.npz"
        command = [sys.executable, "-c", TRAINING, str(folder), str(given.steps)]
        how = {"working": lambda: any(folder.glob("state/*")), "kills": given.trainings, "moments": moments}
        report["training"] = disturbed(command, folder, result, weights, {result.name, "state"}, **how)
        print(f"training: {report['training']}", flush=True)
    if given.output is not None:
        given.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
