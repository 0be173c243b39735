"""Inverts real measurements and simulated scenes with one model and every engine, and scores them beside SL2P.

    python -m benchmarks field [--data DIR] [--output FILE.json] [--methods NAME ...] [--short]

The measurements are looked for in the folder that the environment variable RELEO_DATA_DIR names. Engines get the noise
of the prior; the self-supervised trainings see the clear pixels of the French and Spanish series, never a measured
value and never a Swiss pixel. The slowest engines invert a subset of the rows, on which all others are scored too. With
--output the figures are written after each method; those of other methods that the file holds already are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from benchmarks.field_figure import plot_methods
from benchmarks.field_methods import METHODS, SHORT, Budget, Found, Task
from benchmarks.measurements import PLOT_BANDS, RELATIVE_AZIMUTH, VIEW_ZENITH, Rows, pixels, plots, swiss_wheat
from physics import SunView
from physics import sensor as read_sensor
from releo_jax.cubes.scene import simulate_scene
from releo_jax.metrics import (
    bias,
    bootstrap,
    coverage,
    crps,
    interval_score,
    mean_width,
    r2,
    rmse,
)
from releo_jax.observations import Observations, SingleDate
from releo_jax.systems.land_surface import RECORD
from releo_jax.systems.prosail_vae import SENTINEL2_BANDS
from releo_jax.variables import VARIABLES

LEVEL = 0.9
SUBSET = 20
_POOR = 0.01


def simulated(seeds: Sequence[int], n: int) -> list[Rows]:
    """Vegetated pixels of simulated scenes as rows."""
    scenes = [simulate_scene(seed=seed, shape=(96, 96), view_zenith=VIEW_ZENITH) for seed in seeds]
    parts: dict[str, list[np.ndarray]] = {}
    for number, scene in enumerate(scenes):
        area = np.ravel(scene[VARIABLES["lai"].name])
        used = np.flatnonzero((np.isin(np.ravel(scene["scl"]), (4, 5))) & (area > 0.05))
        chosen = np.random.default_rng(number).choice(used, n // len(scenes), replace=False)
        parts.setdefault("truth", []).append(area[chosen])
        parts.setdefault("sun_zenith", []).append(np.ravel(scene["sun_zenith"])[chosen])
        parts.setdefault("field", []).append(np.ravel(scene["parcel"])[chosen] + 10_000 * number)
        for band in SENTINEL2_BANDS:
            parts.setdefault(band, []).append(np.ravel(scene["reflectance"].sel(band=band))[chosen])
    whole = {name: np.concatenate(part).astype(float) for name, part in parts.items()}
    bands = {name: whole[name] for name in SENTINEL2_BANDS}
    columns = (whole["truth"], bands, whole["sun_zenith"], whole["field"])
    return [Rows("Simulated scenes", "development", "lai", "lai", *columns, target=np.nan)]


def development_series(data: Path) -> Observations:
    """Clear pixels of the French and Spanish series, without any measured value."""
    series = pd.read_parquet(data / "s2_lai_plots" / "s2_timeseries.parquet")
    masks = series[["cloud_mask", "sat_mask", "geophysical_mask"]].to_numpy()
    values = series[list(PLOT_BANDS)].to_numpy(float) * 1e-4
    clear = (masks == 0).all(1) & (values > 0.0).all(1)
    zenith = series["sun_zen"].to_numpy(np.float32)[clear]
    return {RECORD: _record(values[clear], np.ones_like(values[clear], bool), zenith)}


def _record(values: np.ndarray, mask: np.ndarray, sun_zenith: np.ndarray) -> SingleDate:
    others = (np.full_like(sun_zenith, angle) for angle in (VIEW_ZENITH, RELATIVE_AZIMUTH))
    return SingleDate(values.astype(np.float32), mask, SunView.from_degrees(sun_zenith, *others))


def task_of(sets: Sequence[Rows], series: Observations, budget: Budget, seed: int) -> Task:
    """All rows in one set of observations; every set gives as many rows to the subset."""
    parts = [pixels(rows, SENTINEL2_BANDS)[:2] for rows in sets]
    values, mask = (np.concatenate(part) for part in zip(*parts, strict=True))
    sun_zenith = np.concatenate([rows.sun_zenith for rows in sets]).astype(np.float32)
    starts = np.cumsum([0, *(rows.truth.size for rows in sets)])
    subset = [
        start + np.unique(np.linspace(0, rows.truth.size - 1, SUBSET).astype(int))
        for start, rows in zip(starts, sets, strict=False)
    ]
    bands = read_sensor("sentinel2a", bands=SENTINEL2_BANDS)
    data: Observations = {RECORD: _record(values, mask, sun_zenith)}
    return Task(bands, data, series, np.concatenate(subset), budget, seed)


def figures(truth: np.ndarray, draws: np.ndarray, field: np.ndarray) -> dict[str, Any]:
    """Scores of draws `(row, draw)`; without an uncertainty (one draw) those of the estimate alone."""
    mean = draws.mean(1)
    interval = bootstrap(rmse, truth, mean, groups=field, level=LEVEL) if len(set(field)) > 1 else (np.nan, np.nan)
    found: dict[str, Any] = {
        "rows": int(truth.size),
        "rmse": rmse(truth, mean),
        "rmse_interval": list(interval),
        "bias": bias(truth, mean),
        "r2": r2(truth, mean),
    }
    if draws.shape[1] == 1:
        return found | {"crps": float(np.mean(np.abs(mean - truth)))}  # the score of a law without width
    # No quantity here is negative; the normal law that stands for SL2P's uncertainty does not know.
    lower, upper = np.maximum(np.quantile(draws, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2), axis=1), 0.0)
    return found | {
        "coverage": coverage(truth, lower, upper),
        "width": mean_width(lower, upper),
        "interval_score": interval_score(truth, lower, upper, level=LEVEL),
        "crps": crps(truth, draws),
    }


def scores_of(found: Found, sets: Sequence[Rows], subset: np.ndarray) -> list[dict[str, Any]]:
    """Scores by set, on all rows that were inverted and on the subset."""
    starts = np.cumsum([0, *(rows.truth.size for rows in sets)])
    scores = []
    for start, rows in zip(starts, sets, strict=False):
        one: dict[str, Any] = {"set": rows.name, "role": rows.role, "variable": rows.alias}
        for name, wanted in (("all", found.rows), ("subset", subset)):
            mine = np.isin(found.rows, wanted) & (found.rows >= start) & (found.rows < start + rows.truth.size)
            local = found.rows[mine] - start
            one[name] = figures(rows.truth[local], found.draws[rows.alias][mine], rows.field[local])
            one[name] |= {p: float(np.mean(value[mine] < _POOR)) for p, value in found.p_values.items()}
        scores.append(one)
    return scores


def keep_rows(path: Path, found: Found) -> None:
    """Writes mean and interval of each row `(3, row)`, and its p-values: to look into, not to be published."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)
    kept = {name: np.stack([v.mean(1), *np.quantile(v, levels, axis=1)]) for name, v in found.draws.items()}
    np.savez(path, **{"index": found.rows} | kept | found.p_values)  # type: ignore[arg-type]


def table(report: dict[str, Any], part: str, cell: Callable[[dict[str, Any]], str]) -> str:
    """Methods in rows, sets in columns, as markdown; methods that did not invert all rows of `part` are left out."""
    sets = [score["set"] for score in next(iter(report["methods"].values()))["scores"]]
    lines = ["| | " + " | ".join(sets) + " |", "|---|" + "---|" * len(sets)]
    most = max(entry["scores"][0][part]["rows"] for entry in report["methods"].values())
    for method, entry in report["methods"].items():
        if entry["scores"][0][part]["rows"] == most:
            lines.append(f"| {method} | " + " | ".join(cell(score[part]) for score in entry["scores"]) + " |")
    return "\n".join(lines)


def skill(score: dict[str, Any]) -> str:
    """CRPS, share covered, width."""
    if "coverage" not in score:
        return f"{score['crps']:.2f}"
    return f"{score['crps']:.2f} · {score['coverage']:.0%} · {score['width']:.2f}"


def error(score: dict[str, Any]) -> str:
    """Root mean square error with its interval over fields, bias, R²."""
    low, high = score["rmse_interval"]
    return f"{score['rmse']:.2f} ({low:.2f}–{high:.2f}) · {score['bias']:+.2f} · {score['r2']:.2f}"


def tables(report: dict[str, Any]) -> str:
    """All tables, with their headings."""
    text = []
    for part, rows in (("all", "all rows"), ("subset", "the rows that the slow methods inverted")):
        text.append(f"CRPS · covered by {LEVEL:.0%} intervals · their width; {rows}\n\n{table(report, part, skill)}")
        text.append(f"RMSE (with {LEVEL:.0%} over fields) · bias · R²; {rows}\n\n{table(report, part, error)}")
    return "\n\n".join(text) + "\n"


def compare(
    task: Task,
    sets: Sequence[Rows],
    methods: Sequence[str],
    *,
    output: Path | None = None,
    rows: Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Runs methods and scores them."""
    report: dict[str, Any] = {"methods": {}}
    if output is not None and output.exists():
        report = json.loads(output.read_text())
    report |= {
        "seed": task.seed,
        "budget": task.budget._asdict(),
        "series": len(task.series[RECORD].values),
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "cores": os.cpu_count(),
    }
    for method in methods:
        found = METHODS[method](task)
        if rows is not None:
            keep_rows(rows / f"{method.replace(', ', '-')}.npz", found)
        entry: dict[str, Any] = {
            "scores": scores_of(found, sets, task.subset),
            "noise": found.noise,
            "diagnostics": found.diagnostics,
        }
        entries = report["methods"] | {method: entry}
        report["methods"] = {name: entries[name] for name in METHODS if name in entries}
        if output is not None:
            rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
            output.write_text(json.dumps(rounded, indent=1) + "\n")
        if progress:
            figures = ", ".join(f"{s['set']} {s['all']['rmse']:.2f}" for s in entry["scores"] if s["all"]["rows"])
            print(f"{method}: {figures}", file=sys.stderr, flush=True)
    return report


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    known = list(METHODS)
    parser.add_argument("--methods", nargs="+", choices=known, default=known, metavar="NAME", help="; ".join(known))
    parser.add_argument("--scenes", type=int, default=4, help="number of simulated scenes")
    parser.add_argument("--pixels", type=int, default=180, help="rows from them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="small tables and trainings, to see that it runs")
    parser.add_argument("--output", type=Path, help="JSON file; tables (.md) and figure (.png) go beside it")
    parser.add_argument("--rows", type=Path, help="folder for the estimates of each row")
    given = parser.parse_args(arguments)
    if given.data is None or not given.data.is_dir():
        raise SystemExit("expected the folder of the measurements; set RELEO_DATA_DIR or give --data")
    sets = [*simulated(range(1, given.scenes + 1), given.pixels), *plots(given.data), *swiss_wheat(given.data)]
    task = task_of(sets, development_series(given.data), SHORT if given.short else Budget(), given.seed)
    report = compare(task, sets, given.methods, output=given.output, rows=given.rows, progress=True)
    print(tables(report))
    if given.output:
        given.output.with_suffix(".md").write_text(tables(report))
        plot_methods(report).savefig(given.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
