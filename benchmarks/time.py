"""Runs every benchmark of Gaussian processes over time, one after the other, and prints all of it.

    python -m benchmarks time [--parts PART ...] [--output FOLDER]

Each part is a command of its own (`python -m benchmarks time_costs`, ...) in a process of its own; what one prints
comes through as it is printed. A part that fails is named at the end, and the others run all the same. All of it takes
some hours on two cores; what is measured on real series needs RELEO_DATA_DIR.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

Commands = Sequence[Sequence[str]]

PARTS: dict[str, Commands] = {
    "costs": [["time_costs"]],
    "gaps": [["time_gaps"]],
    "autoencoders": [["time_autoencoders", "--case", case] for case in ("simulated", "measured")],
    "images": [["time_images"]],
    "classes": [["time_classes"]],
    "leaf_area": [["time_leaf_area"]],
    "seasons": [["time_seasons"]],
}


def run(parts: Mapping[str, Commands], output: Path | None = None) -> list[str]:
    """Runs the commands of parts.

    Args:
        parts: benchmarks with their arguments, by the name of the part.
        output: folder for their figures, `<benchmark>.json` each; none are kept by default.

    Returns:
        Names of the parts of which a command failed.
    """
    failed = []
    for part, commands in parts.items():
        start = time.perf_counter()
        codes = []
        for command in commands:
            print(f"\n== {' '.join(command)}\n", flush=True)
            kept = [] if output is None else ["--output", str(output / f"{command[0]}.json")]
            codes.append(subprocess.run([sys.executable, "-m", "benchmarks", *command, *kept]).returncode)
        print(f"\n{part}: {time.perf_counter() - start:.0f} s", flush=True)
        if any(codes):
            failed.append(part)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--output", type=Path, help="folder for the figures of each")
    given = parser.parse_args(arguments)
    if given.output is not None:
        given.output.mkdir(parents=True, exist_ok=True)
    failed = run({part: PARTS[part] for part in given.parts}, given.output)
    if failed:
        print(f"failed: {', '.join(failed)}; what they printed says why", file=sys.stderr)
    return int(bool(failed))
