"""Scores the retrievals on real measurements, beside SL2P on the same rows, and on simulated scenes.

    python -m benchmarks validation [--output FILE.json] [--data DIR] [--methods prosail-vae sl2p]

The measurements are looked for in the folder that the environment variable RELEO_DATA_DIR names. Which output is scored
where is fixed: France measured the effective plant area by hemispherical photographs, Spain and Switzerland the leaf
area index. The French and Spanish rows served to choose between priors (development), the Swiss rows to choose nothing.
SL2P has one output for both, and its error on simulations stands for a posterior.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurements import Rows, pixels, plots, swiss_wheat
from releo_jax.cubes.scene import simulate_scene
from releo_jax.maps import predict
from releo_jax.methods import load_method
from releo_jax.metrics import bias, bootstrap, coverage, mean_width, r2, rmse
from releo_jax.variables import VARIABLES

LEVEL = 0.9
_PARTS = ("mean", "lower", "upper")


def retrieve(method: str, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and interval `(row,)` of a method."""
    retrieval = load_method(method, "sentinel2a")
    reflectance, mask, sun_view = pixels(rows, retrieval.bands)
    alias = rows.sl2p_alias if method == "sl2p" else rows.alias
    found = retrieval(reflectance, mask, sun_view, variables=(alias,), level=LEVEL)
    return tuple(np.asarray(found[f"{alias}_{part}"], float) for part in ("mean", "lower", "upper"))  # type: ignore[return-value]


def score(method: str, rows: Rows) -> dict[str, Any]:
    """Figures of one method on one set."""
    mean, lower, upper = retrieve(method, rows)
    low, high = bootstrap(rmse, rows.truth, mean, groups=rows.field, level=LEVEL)
    return {
        "set": rows.name,
        "role": rows.role,
        "method": method,
        "variable": rows.sl2p_alias if method == "sl2p" else rows.alias,
        "rows": int(rows.truth.size),
        "rmse": rmse(rows.truth, mean),
        "rmse_interval": [low, high],
        "bias": bias(rows.truth, mean),
        "r2": r2(rows.truth, mean),
        "coverage": coverage(rows.truth, lower, upper),
        "width": mean_width(lower, upper),
        "target": rows.target,
        "peer": rows.peer,
    }


def simulated(method: str, seeds: range, size: int) -> dict[str, Any]:
    """Coverage, mean width and RMSE by variable over simulated scenes, pixels without flags; the mean of the scenes."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    retrieval = load_method(method, "sentinel2a")
    for seed in seeds:
        scene = simulate_scene(seed=seed, shape=(size, size))
        maps = predict(scene, retrieval, level=LEVEL)
        for alias in retrieval.variables:
            name = VARIABLES[alias].name
            truth, mean, low, high = (np.ravel(part) for part in (scene[name], *(maps[f"{name}_{k}"] for k in _PARTS)))
            used = np.ravel(maps[f"{name}_flag"]) == 0
            figures = (coverage(truth[used], low[used], high[used]), mean_width(low[used], high[used]))
            found.setdefault(alias, []).append((*figures, rmse(truth[used], mean[used])))
    return {
        alias: dict(zip(("coverage", "width", "rmse"), np.mean(rows, axis=0), strict=True))
        for alias, rows in found.items()
    }


def table(scores: Sequence[dict[str, Any]]) -> str:
    """The scores as a markdown table."""
    head = (
        "| set | role | method | scored | rows | RMSE (90 % over fields) | aim | bias | R² | coverage of 90 % | width |"
    )
    lines = [head, "|" + "---|" * 11]
    for s in scores:
        low, high = s["rmse_interval"]
        lines.append(
            f"| {s['set']} | {s['role']} | {s['method']} | {s['variable']} | {s['rows']} | {s['rmse']:.2f} "
            f"({low:.2f} to {high:.2f}) | {s['target']:.2f} | {s['bias']:+.2f} | {s['r2']:.2f} | "
            f"{100 * s['coverage']:.0f} % | {s['width']:.2f} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    parser.add_argument("--methods", nargs="+", default=["prosail-vae", "sl2p"])
    parser.add_argument("--scenes", type=int, default=20, help="number of simulated scenes")
    parser.add_argument("--size", type=int, default=160, help="their rows and columns")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    given = parser.parse_args(arguments)
    if given.data is None or not given.data.is_dir():
        raise SystemExit("expected the folder of the measurements; set RELEO_DATA_DIR or give --data")
    sets = [*plots(given.data), *swiss_wheat(given.data)]
    scores = [score(method, rows) for rows in sets for method in given.methods]
    print(table(scores))
    for rows in sets:
        if rows.peer:
            print(f"{rows.name}: {rows.peer}")
    scenes = simulated(given.methods[0], range(1, given.scenes + 1), given.size) if given.scenes else {}
    if scenes:
        print(f"\n{given.methods[0]} on {given.scenes} simulated scenes, pixels without flags:")
        print("| variable | unit | RMSE | covered by 90 % | width |\n" + "|---" * 5 + "|")
        for alias, figures in scenes.items():
            line = f"{figures['rmse']:.3g} | {100 * figures['coverage']:.1f} % | {figures['width']:.3g}"
            print(f"| {alias} | {VARIABLES[alias].units} | {line} |")
    if given.output:
        given.output.write_text(json.dumps({"measured": scores, "simulated": scenes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
