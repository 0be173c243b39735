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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from physics import SunView
from releo_jax.cubes.scene import simulate_scene
from releo_jax.cubes.sun import solar_position
from releo_jax.maps import load_method, predict
from releo_jax.metrics import bias, bootstrap, coverage, mean_width, r2, rmse
from releo_jax.variables import VARIABLES

LEVEL = 0.9
VIEW_ZENITH = 5.0
RELATIVE_AZIMUTH = 90.0
_PLOT_BANDS = {"B2": "B02", "B3": "B03", "B4": "B04", "B5": "B05", "B6": "B06", "B7": "B07", "B8": "B08", "B8A": "B8A"}
_PLOT_BANDS |= {"B11": "B11", "B12": "B12"}
_FARMS = {
    "SwissFutureFarm": (47.48, 8.91),
    "Strickhof": (47.45, 8.68),
    "Witzwil": (46.98, 7.06),
    "Arenenberg": (47.67, 9.06),
}
_PARTS = ("mean", "lower", "upper")
_OVERPASS = np.timedelta64(10 * 60 + 20, "m")


@dataclass(frozen=True)
class Rows:
    """Measured rows of one data set.

    Attributes:
        name: of the set.
        role: "development" or "held out".
        alias: variable that was measured, as the products name it.
        sl2p_alias: the variable of SL2P that stands for it.
        truth: measured values `(row,)`.
        reflectance: bands by name, each `(row,)`.
        sun_zenith: degrees `(row,)`.
        field: which field a row belongs to `(row,)`.
        target: largest RMSE aimed at.
        peer: RMSE of a published retrieval on the same rows, with its name.
    """

    name: str
    role: str
    alias: str
    sl2p_alias: str
    truth: np.ndarray
    reflectance: dict[str, np.ndarray]
    sun_zenith: np.ndarray
    field: np.ndarray
    target: float
    peer: str = ""


def plots(data: Path) -> list[Rows]:
    """Plots in France and Spain with an image within five days."""
    folder = data / "s2_lai_plots"
    rows = pd.read_csv(folder / "matchup_interp.csv", parse_dates=["date"])
    rows = rows[rows["absdt"] <= 5]
    series = pd.read_parquet(folder / "s2_timeseries.parquet")
    series["date"] = pd.to_datetime(series["date"])
    suns = series.groupby(["site", "date"])["sun_zen"].mean().reset_index()
    sun = []
    for site, date in zip(rows["site"], rows["date"], strict=True):
        of_site = suns[suns["site"] == site]
        sun.append(of_site["sun_zen"].iloc[int((of_site["date"] - date).abs().argmin())])
    rows = rows.assign(sun_zenith=sun)
    sets = [
        ("France", "france_T31TCJ", "pai", 0.70),
        ("Spain 2017", "spain_T30TUM_2017", "lai", 0.85),
        ("Spain 2018", "spain_T30TUM_2018", "lai", 1.15),
    ]
    result = []
    for name, site, alias, target in sets:
        part = rows[rows["site"] == site]
        bands = {ours: part[theirs].to_numpy(float) for theirs, ours in _PLOT_BANDS.items()}
        truth, sun_zenith = part["lai"].to_numpy(float), part["sun_zenith"].to_numpy(float)
        field = part["i"].to_numpy()
        result.append(Rows(name, "development", alias, "lai", truth, bands, sun_zenith, field, target))
    return result


def swiss_wheat(data: Path) -> list[Rows]:
    """Wheat of three Swiss farms with the published look-up-table retrieval on the same rows."""
    result = []
    for alias, target in (("lai", 0.80), ("ccc", 0.60)):
        rows = pd.read_csv(data / "swiss_s2_wheat" / f"s2_points_{alias}.csv")
        rows = rows[rows[alias].notna() & rows[f"{alias}_all"].notna()]
        names = [name for name in _PLOT_BANDS.values() if name in rows]
        sun = [
            solar_position(np.datetime64(date) + _OVERPASS, *map(np.asarray, _FARMS[farm]))[0]
            for date, farm in zip(rows["date_model"], rows["location"], strict=True)
        ]
        truth = rows[alias].to_numpy(float)
        published = rmse(truth, rows[f"{alias}_all"].to_numpy(float))
        bands = {name: rows[name].to_numpy(float) for name in names}
        field = (rows["location"] + rows["parcel"].astype(str)).to_numpy()
        peer = f"published look-up table {published:.2f}"
        name = f"Swiss wheat, {alias.upper()}"
        result.append(Rows(name, "held out", alias, alias, truth, bands, np.array(sun, float), field, target, peer))
    return result


def retrieve(method: str, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and interval `(row,)` of a method."""
    retrieval = load_method(method, "sentinel2a")
    size = rows.truth.size
    reflectance = np.full((size, len(retrieval.bands)), np.nan)
    for band, name in enumerate(retrieval.bands):
        if name in rows.reflectance:
            reflectance[:, band] = rows.reflectance[name]
    mask = np.isfinite(reflectance)
    sun_view = SunView.from_degrees(
        rows.sun_zenith.astype(np.float32),
        np.full(size, VIEW_ZENITH, np.float32),
        np.full(size, RELATIVE_AZIMUTH, np.float32),
    )
    alias = rows.sl2p_alias if method == "sl2p" else rows.alias
    found = retrieval(np.where(mask, reflectance, 0.0), mask, sun_view, variables=(alias,), level=LEVEL)
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
