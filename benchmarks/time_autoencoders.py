"""Scores GP-prior autoencoders on dates and months of Sentinel-2 series that they have not seen, beside other methods.

    python -m benchmarks time_autoencoders [--case simulated|measured] [--methods N N ...] [--output FILE.json]

Simulated series are of PROSAIL, with canopies that change as warped Gaussian processes. Measured ones are looked for in
the folder that the environment variable RELEO_DATA_DIR names; what is chosen was chosen on simulations.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.time_autoencoders_data import Case, measured, simulated
from benchmarks.time_autoencoders_methods import DEFAULT, LEVEL, METHODS, Method, Settings, Told
from releo_jax.benchmarking.machine import machine


def scores(case: Case, told: Told) -> dict[str, dict[str, float]]:
    """Of the hidden dates, by kind.

    Returns:
        `rmse` (reflectance), `nll` (mean negative log density of a band in units of its deviation), `coverage` and
        `width` (reflectance) of the central 90 %, each over all bands.
    """
    unit = np.log(case.values[case.seen].std(0))
    found = {}
    for kind, hidden in case.hidden.items():
        truth, lower, upper = (x[hidden] for x in (case.values, told.lower, told.upper))
        found[kind] = {
            "values": int(truth.size),
            "rmse": float(np.sqrt(((told.mean[hidden] - truth) ** 2).mean())),
            "nll": float(-(told.log_density[hidden] + unit).mean()),
            "coverage": float(((truth >= lower) & (truth <= upper)).mean()),
            "width": float((upper - lower).mean()),
        }
    return found


def compare(
    case: Case, methods: Mapping[str, Method] = METHODS, *, settings: Settings = DEFAULT, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Scores and seconds (of the processor, compilation included) of each method."""
    found: dict[str, dict[str, Any]] = {}
    for name, method in methods.items():
        start = time.process_time()  # other work on the machine counts little
        told = method(case, settings, seed)
        found[name] = {"seconds": time.process_time() - start, **scores(case, told)}
        print(table({name: found[name]}).splitlines()[-1], file=sys.stderr, flush=True)
    return found


def table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Methods in rows, scores of each kind of hidden dates in columns, as markdown."""
    kinds = [kind for kind, value in next(iter(records.values())).items() if isinstance(value, dict)]
    head = " | ".join(f"{kind}: NLL | RMSE | covered by {LEVEL:.0%} | width" for kind in kinds)
    lines = [f"| method | {head} | s |", "|---|" + "---:|" * (4 * len(kinds) + 1)]
    for name, record in records.items():
        parts = [
            f"{one['nll']:.3f} | {one['rmse']:.4f} | {one['coverage']:.1%} | {one['width']:.3f}"
            for one in (record[kind] for kind in kinds)
        ]
        lines.append(f"| {name} | {' | '.join(parts)} | {record['seconds']:.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("simulated", "measured"), default="simulated")
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    parser.add_argument("--methods", type=int, nargs="+", help="numbers of those to run; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the autoencoders")
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    if given.case == "measured" and (given.data is None or not Path(given.data).is_dir()):
        raise SystemExit("expected the folder of the measurements; set RELEO_DATA_DIR or give --data")
    case = simulated(seed=given.seed) if given.case == "simulated" else measured(Path(given.data), seed=given.seed)
    names = list(METHODS) if given.methods is None else [list(METHODS)[number] for number in given.methods]
    settings = Settings()._replace(**{k: json.loads(v) for k, v in (one.split("=") for one in given.set)})
    about = {"machine": machine(("flax", "optax")), "seed": given.seed, "settings": settings._asdict()}
    about |= {"pixels": len(case.days), "seen": float(case.seen.sum(1).mean())}
    # Methods are kept as they finish: all of them take long.
    kept = json.loads(given.output.read_text()) if given.output and given.output.exists() else {}
    records = kept.get(given.case, {}).get("methods", {})
    for name in names:
        records |= compare(case, {name: METHODS[name]}, settings=settings, seed=given.seed)
        if given.output:
            report = kept | {given.case: about | {"methods": records}}
            rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
            given.output.write_text(json.dumps(rounded, indent=1, ensure_ascii=False) + "\n")
    print(table(records))


if __name__ == "__main__":
    main()
