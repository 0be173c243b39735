"""Scores leaf area between dates: all dates of a season together, and every date by itself with lines between them.

    python -m benchmarks time_leaf_area [--data DIR] [--output FILE.json] [--seasons N] [--short]

Simulated seasons are scored on the dates that were seen and on those under clouds. The measured plots are those of
`benchmarks/field.py` in France and Spain, all of them whatever the distance of the nearest image, from the clear images
within a season around the measurement. The folder of the measurements is the one that RELEO_DATA_DIR names.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from benchmarks.measurements import PLOT_BANDS, RELATIVE_AZIMUTH, VIEW_ZENITH
from benchmarks.time_leaf_area_methods import DateSites, Law, per_date, straight_lines, together, untaught
from physics import SunView
from physics import sensor as read_sensor
from releo_jax.benchmarking.machine import machine
from releo_jax.metrics import bias, bootstrap, coverage, crps, mean_width, rmse
from releo_jax.observations import Series
from releo_jax.systems.prosail_vae import SENTINEL2_BANDS
from releo_jax.systems.season_training import simulated_seasons
from releo_jax.systems.temporal import TEMPORAL, TemporalRetrieval, load_temporal

LEVEL = 0.9
HALF_SEASON = 90.0
"""Days before and after a measurement from which images are taken."""

LEARNING = 1000
"""Simulated seasons that the sites of single dates learn their four numbers from."""

_SITES = {"france_T31TCJ": "pai", "spain_T30TUM_2017": "lai", "spain_T30TUM_2018": "lai"}
_FAR = 10  # days; a gap
_SEED = 1000


class Plots(NamedTuple):
    """Measured plots with their series.

    Attributes:
        record: clear images around each measurement, days from it `(row, date)`.
        alias: variable that was measured `(row,)`.
        truth: measured `(row,)`.
        field: which field a row belongs to `(row,)`.
        site: name `(row,)`.
        nearest: days to the nearest clear image, as the table of the measurements has it `(row,)`.
        published: SL2P interpolated between images `(row,)`.
    """

    record: Series
    alias: np.ndarray
    truth: np.ndarray
    field: np.ndarray
    site: np.ndarray
    nearest: np.ndarray
    published: np.ndarray


def read_plots(data: Path) -> Plots:
    """The plots of France and Spain that have a measured value."""
    folder = data / "s2_lai_plots"
    rows = pd.read_csv(folder / "matchup_interp.csv", parse_dates=["date"])
    places = pd.read_csv(folder / "insitu_lai.csv", parse_dates=["field_date"])
    if not (rows["date"].to_numpy() == places["field_date"].to_numpy()).all():
        raise SystemExit("expected matchup_interp.csv and insitu_lai.csv with the same rows in the same order")
    rows["loc_id"] = places["loc_id"]
    rows = rows[rows["lai"].notna()].reset_index(drop=True)
    series = pd.read_parquet(folder / "s2_timeseries.parquet")
    series["date"] = pd.to_datetime(series["date"])
    clear = (series[["cloud_mask", "sat_mask", "geophysical_mask"]] == 0).all(axis=1)
    clear &= (series[list(PLOT_BANDS)] > 0).all(axis=1)
    groups = dict(iter(series[clear].groupby(["site", "loc_id"], observed=True)))
    found = []
    for site, place, date in zip(rows["site"], rows["loc_id"], rows["date"], strict=True):
        one = groups[site, place].sort_values("date").drop_duplicates("date")
        days = (one["date"] - date) / pd.Timedelta(days=1)
        found.append(one.assign(day=days)[days.abs() <= HALF_SEASON])
    longest = max(map(len, found))
    values = np.zeros((len(found), longest, len(PLOT_BANDS)), np.float32)
    days, sun = np.zeros((2, len(found), longest), np.float32)
    mask = np.zeros(values.shape, bool)
    for row, one in enumerate(found):
        n = len(one)
        values[row, :n] = one[list(PLOT_BANDS)].to_numpy(float) * 1e-4
        days[row, :n], sun[row, :n], mask[row, :n] = one["day"], one["sun_zen"], True
        days[row, n:] = HALF_SEASON  # padded dates come last
    others = (np.full_like(sun, angle) for angle in (VIEW_ZENITH, RELATIVE_AZIMUTH))
    return Plots(
        Series(values, mask, days, SunView.from_degrees(sun, *others)),
        np.array([_SITES[site] for site in rows["site"]]),
        rows["lai"].to_numpy(float),
        (rows["site"] + rows["loc_id"].astype(str)).to_numpy(),
        rows["site"].to_numpy(),
        rows["absdt"].to_numpy(float),
        rows["interp"].to_numpy(float),
    )


def figures(truth: np.ndarray, law: Law, groups: np.ndarray | None = None) -> dict[str, Any]:
    """Scores of rows; an estimate without uncertainty has the CRPS of a law without width."""
    mean = law.mean
    found: dict[str, Any] = {"rows": int(truth.size), "rmse": rmse(truth, mean), "bias": bias(truth, mean)}
    if groups is not None and len(set(groups)) > 1:
        found["rmse_interval"] = list(bootstrap(rmse, truth, mean, groups=groups, level=LEVEL))
    if law.draws.shape[-1] == 1:
        return found | {"crps": float(np.abs(mean - truth).mean())}
    lower, upper = np.quantile(law.draws, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2), axis=-1)
    return found | {
        "crps": crps(truth, law.draws),
        "coverage": coverage(truth, lower, upper),
        "width": mean_width(lower, upper),
    }


def scores(
    truth: np.ndarray, laws: dict[str, Law], strata: dict[str, np.ndarray], groups: Any = None
) -> dict[str, Any]:
    """Scores by method and stratum of rows `(*row,)`."""
    return {
        name: {
            what: figures(truth[chosen], Law(law.draws[chosen]), None if groups is None else groups[chosen])
            for what, chosen in strata.items()
            if chosen.any()
        }
        for name, law in laws.items()
    }


def laws_on(
    record: Series, alias: str, days: np.ndarray, retrieval: TemporalRetrieval, sites: DateSites
) -> dict[str, Law]:
    """All methods on days `(pixel, day)`."""
    used = retrieval.usable(np.asarray(record.values), np.asarray(record.mask))
    record = Series(record.values, used, record.time, record.geometry)
    quantiles = per_date(record, alias)
    return {
        "single dates, straight lines": straight_lines(record, quantiles, days),
        "single dates as sites": sites(record, quantiles, days),
        "temporal": together(retrieval, record, alias, days),
    }


def nearest_clear(record: Series, days: np.ndarray) -> np.ndarray:
    """Days from each day `(pixel, day)` to the nearest date with a usable band; infinite where there is none."""
    apart = np.abs(days[:, :, None] - np.asarray(record.time)[:, None, :])
    return np.where(np.asarray(record.mask.any(-1))[:, None], apart, np.inf).min(-1)


def simulated(retrieval: TemporalRetrieval, sites: DateSites, number: int, seed: int) -> dict[str, Any]:
    """Scores of leaf area on all dates of simulated seasons, under clouds or not."""
    sensor = read_sensor("sentinel2a", bands=SENTINEL2_BANDS)
    seasons = simulated_seasons(sensor, number, key=jax.random.key(seed))
    days = np.asarray(seasons.record.time)
    laws = laws_on(seasons.record, sites.alias, days, retrieval, sites)
    apart = nearest_clear(seasons.record, days)
    inside = np.isfinite(laws["single dates, straight lines"].draws).all(-1)
    strata = {
        "seen": inside & (apart == 0.0),
        "unseen": inside & (apart > 0.0),
        f"unseen, more than {_FAR} days from a clear date": inside & (apart > _FAR),
    }
    return scores(np.asarray(seasons.truth[TEMPORAL.index(sites.alias)]), laws, strata)


def measured(retrieval: TemporalRetrieval, sites: dict[str, DateSites], plots: Plots) -> dict[str, Any]:
    """Scores on the measured plots by site, and of all together."""
    strata = {
        "all": np.ones(plots.truth.size, bool),
        "within 5 days": plots.nearest <= 5,
        f"gaps > {_FAR} days": plots.nearest > _FAR,
    }
    draws: dict[str, list[np.ndarray]] = {}
    rows: list[np.ndarray] = []
    found = {}
    for site, alias in _SITES.items():
        mine = np.flatnonzero(plots.site == site)
        record = jax.tree.map(lambda leaf, mine=mine: leaf[mine], plots.record)
        laws = laws_on(record, alias, np.zeros((mine.size, 1)), retrieval, sites[alias])
        laws = {name: Law(law.draws[:, 0]) for name, law in laws.items()}
        laws = {"SL2P, straight lines": Law(plots.published[mine, None])} | laws
        chosen = {name: stratum[mine] for name, stratum in strata.items()}
        found[site] = scores(plots.truth[mine], laws, chosen, plots.field[mine])
        found[site]["dates"] = {"median": float(np.median(np.asarray(record.mask.any(-1)).sum(1)))}
        rows.append(mine)
        for name, law in laws.items():
            draws.setdefault(name, []).append(law.draws)
    every = np.concatenate(rows)
    pooled = {name: Law(np.concatenate(parts)) for name, parts in draws.items()}
    chosen = {name: stratum[every] for name, stratum in strata.items()}
    found["France and Spain"] = scores(plots.truth[every], pooled, chosen, plots.field[every])
    return found


def table(records: dict[str, Any]) -> str:
    """Methods in rows, strata in columns, as markdown."""
    methods = {name: one for name, one in records.items() if name != "dates"}
    strata = list(next(iter(methods.values())))
    lines = ["| | " + " | ".join(f"{s} ({next(iter(methods.values()))[s]['rows']})" for s in strata) + " |"]
    lines.append("|---|" + "---|" * len(strata))
    for name, one in methods.items():
        cells = []
        for stratum in strata:
            score = one[stratum]
            rest = f" · {score['coverage']:.0%} · {score['width']:.2f}" if "coverage" in score else ""
            cells.append(f"{score['rmse']:.2f} · {score['bias']:+.2f} · {score['crps']:.2f}{rest}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    parser.add_argument("--seasons", type=int, default=1000, help="simulated, to score")
    parser.add_argument("--short", action="store_true", help="few seasons, to see that it runs")
    parser.add_argument("--weights", type=Path, help="of a temporal retrieval, instead of those of the package")
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    retrieval = load_temporal()
    if given.weights:
        retrieval = TemporalRetrieval.load(given.weights, domain=retrieval.domain)
    number, learning = (100, 200) if given.short else (given.seasons, LEARNING)
    sensor = read_sensor("sentinel2a", bands=SENTINEL2_BANDS)
    lessons = simulated_seasons(sensor, learning, key=jax.random.key(_SEED))
    sites = {}
    for alias in ("lai", "pai"):
        truth = lessons.truth[TEMPORAL.index(alias)]
        start = untaught(alias, retrieval.network().scores())
        sites[alias] = start.fit(lessons.record, per_date(lessons.record, alias), truth, key=jax.random.key(0))
    report: dict[str, Any] = {
        "seed": _SEED,
        "machine": machine(),
        "sites of single dates": {a: [float(x) for x in s.parameters] for a, s in sites.items()},
        "simulated": {alias: simulated(retrieval, one, number, _SEED + 1) for alias, one in sites.items()},
    }
    for alias, part in report["simulated"].items():
        print(f"\nsimulated, {alias}\n\n{table(part)}")
    if given.data is not None and Path(given.data).is_dir():
        report["measured"] = measured(retrieval, sites, read_plots(Path(given.data)))
        for site, part in report["measured"].items():
            print(f"\n{site}\n\n{table(part)}")
    if given.output:
        rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
        given.output.write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
