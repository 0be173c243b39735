"""Seasons of MOD13A1 series at flux sites: dates with intervals, and clear dates that the fit has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physics.phenology import day_of_year
from releo_jax.inference import fit_laplace
from releo_jax.metrics import coverage, mean_width, rmse
from releo_jax.observations import Series
from releo_jax.systems.phenology import RECORD, season_prior, season_series

LEVEL = 0.9
SITES: Mapping[str, float] = {"AU-How": 182.0, "CH-Oe2": 0.0, "CN-Cha": 0.0, "IT-Col": 0.0}
"""Sites, and the day of the year on which the axis of their seasons begins: half a year later in the south."""

NOISE = 0.04  # of a clear value around a curve: chosen before any fit
_RISE = 0.0, 200.0  # days of the axis within which the middle of the rise lies
_AROUND = -45.0, 410.0  # days of a season that its fit sees
_DATES = 32
_EVERY = 5


class SiteSeries(NamedTuple):
    """Index of one site over the years.

    Attributes:
        day: of the measurement, days since the start of the year 2000, increasing `(date,)`.
        ndvi: `(date,)`.
        clear: without clouds, snow or doubt `(date,)`.
    """

    day: np.ndarray
    ndvi: np.ndarray
    clear: np.ndarray


def read_series(data: Path) -> dict[str, SiteSeries]:
    """Series of the sites by name."""
    table = pd.read_parquet(data / "phenology" / "mod13a1_fluxsites.parquet")
    table = table[table["NDVI"].notna()]
    found = {}
    for name in SITES:
        rows = table[table["site"] == name].sort_values("date")
        begin = (rows["date"] - pd.Timestamp("2000-01-01")).dt.days.to_numpy(float)
        # A composite of sixteen days states the day of the year, the next year's in the last one.
        after = (rows["DayOfYear"].to_numpy(float) - rows["date"].dt.day_of_year.to_numpy(float)) % 365.0
        # A stated day that lies before its composite would be a year late.
        day = begin + np.where(after > 40.0, 0.0, after)
        order = np.argsort(day)
        clear = rows["SummaryQA"].to_numpy() == 0
        found[name] = SiteSeries(day[order], rows["NDVI"].to_numpy(float)[order] / 1e4, clear[order])
    return found


def hold_out(clear: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every fifth clear date `(date,)`, from a random one on."""
    held = np.zeros_like(clear)
    held[np.flatnonzero(clear)[rng.integers(_EVERY) :: _EVERY]] = True
    return held


class Seasons(NamedTuple):
    """One season a row, on an axis that begins with it.

    Attributes:
        record: what the fit sees `(season, date, 1)`; what is held out is masked.
        held, ndvi: held-out dates of the season itself, and the index `(season, date)`.
        line: straight lines between the dates that are left, of the whole series `(season, date)`.
    """

    record: Series
    held: np.ndarray
    ndvi: np.ndarray
    line: np.ndarray


def split_seasons(series: SiteSeries, held: np.ndarray, first: float) -> Seasons:
    """Cuts the series of a site into seasons of a year."""
    known = series.clear & ~held
    line = np.interp(series.day, series.day[known], series.ndvi[known])
    starts = np.arange(first, series.day[-1] - 365.0, 365.25)
    shape = (starts.size, _DATES)
    columns = {name: np.zeros(shape, np.float32) for name in ("time", "index", "line")}
    columns["time"][:] = _AROUND[1]
    known_rows, held_rows = np.zeros(shape, bool), np.zeros(shape, bool)
    for row, start in enumerate(starts):
        near = np.flatnonzero((series.day >= start + _AROUND[0]) & (series.day < start + _AROUND[1]))[:_DATES]
        at = slice(0, near.size)
        time = series.day[near] - start
        columns["time"][row, at] = time
        columns["index"][row, at], columns["line"][row, at] = series.ndvi[near], line[near]
        known_rows[row, at] = known[near]
        held_rows[row, at] = held[near] & (time >= 0.0) & (time < 365.25)
    record = Series(columns["index"][..., None], known_rows[..., None], columns["time"])
    return Seasons(record, held_rows, columns["index"], columns["line"])


class Fitted(NamedTuple):
    """Seasons of all sites with draws of their curves and dates `(draw, season, ...)`.

    Attributes:
        site: name of each season's site `(season,)`.
        seasons: of all sites.
        draws: `curve`, `start_of_season`, `end_of_season`.
        converged: share of the seasons.
    """

    site: np.ndarray
    seasons: Seasons
    draws: dict[str, np.ndarray]
    converged: float


def fit_seasons(series: Mapping[str, SiteSeries], *, seed: int, n: int = 300) -> Fitted:
    """Fits every season of every site by itself, all at once."""
    rng = np.random.default_rng(seed)
    parts = {name: split_seasons(one, hold_out(one.clear, rng), SITES[name]) for name, one in series.items()}
    seasons: Seasons = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts.values())
    site = np.repeat(list(parts), [len(part.held) for part in parts.values()])
    key, key_draw = jax.random.split(jax.random.key(seed))
    model = season_series(season_prior(*_RISE), noise=NOISE)
    posterior = fit_laplace(model, {RECORD: seasons.record}, key=key, starts=128, reference=0)
    draws = posterior.sample(key_draw, n, sites=["curve", "start_of_season", "end_of_season"])
    converged = float(np.mean(posterior.diagnostics["converged"]))
    return Fitted(site, seasons, jax.device_get(draws), converged)


def score_seasons(fitted: Fitted, *, seed: int) -> dict[str, dict[str, float]]:
    """Errors on held-out dates, and dates of the seasons, by site."""
    tails = 0.5 - LEVEL / 2, 0.5 + LEVEL / 2
    curve = fitted.draws["curve"]
    noisy = curve + NOISE * np.random.default_rng(seed).normal(size=curve.shape)
    lower, upper = np.quantile(noisy, tails, axis=0)
    report = {}
    for name in dict.fromkeys(fitted.site):
        mine = fitted.site == name
        held = fitted.seasons.held & mine[:, None]
        truth = fitted.seasons.ndvi[held]
        score = {
            "seasons": int(mine.sum()),
            "held_out": int(held.sum()),
            "rmse": rmse(truth, curve.mean(0)[held]),
            "line": rmse(truth, fitted.seasons.line[held]),
            "coverage": coverage(truth, lower[held], upper[held]),
        }
        for date in ("start_of_season", "end_of_season"):
            draws = fitted.draws[date][:, mine]
            score[date] = float(day_of_year(np.median(draws) + SITES[name]))
            score[f"{date}_spread"] = float(np.median(draws, 0).std())
            score[f"{date}_width"] = mean_width(*np.quantile(draws, tails, axis=0))
        report[name] = score
    return report


def series_table(report: Mapping[str, Mapping[str, float]]) -> str:
    """Sites in rows, as markdown."""
    lines = [
        f"| site | seasons | held-out dates | RMSE | RMSE of straight lines | covered by {LEVEL:.0%} | start (width) | "
        "end (width) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, s in report.items():
        dates = " | ".join(f"{s[d]:.0f} ({s[f'{d}_width']:.0f} d)" for d in ("start_of_season", "end_of_season"))
        lines.append(
            f"| {name} | {s['seasons']} | {s['held_out']} | {s['rmse']:.3f} | {s['line']:.3f} | "
            f"{s['coverage']:.0%} | {dates} |"
        )
    return "\n".join(lines)


def plot_seasons(fitted: Fitted, name: str, *, number: int = 4) -> Figure:
    """Posterior bands and dates of the last seasons of a site, over its clear dates."""
    rows = np.flatnonzero(fitted.site == name)[-number:]
    tails = 0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2
    with mpl.rc_context({"font.size": 9, "axes.linewidth": 0.7, "figure.dpi": 160}):
        figure = Figure(figsize=(8.0, 3.0), layout="constrained")
        axis = figure.subplots()
        for place, row in enumerate(rows):
            begin = SITES[name] + 365.25 * place
            time, mask = fitted.seasons.record.time[row], fitted.seasons.record.mask[row, :, 0]
            own = (time >= 0.0) & (time < 365.25)
            order = np.flatnonzero(own)[np.argsort(time[own])]
            low, middle, high = np.quantile(fitted.draws["curve"][:, row], tails, axis=0)
            days = begin + time
            axis.fill_between(days[order], low[order], high[order], color="#0072B2", alpha=0.25, linewidth=0)
            axis.plot(days[order], middle[order], color="#0072B2", linewidth=1.0)
            index, held = fitted.seasons.ndvi[row], fitted.seasons.held[row]
            axis.plot(days[mask & own], index[mask & own], "o", color="#333333", markersize=2.5)
            axis.plot(days[held], index[held], "s", color="#D55E00", markersize=3.5, fillstyle="none")
            for date, colour in (("start_of_season", "#009E73"), ("end_of_season", "#CC79A7")):
                ends = begin + np.quantile(fitted.draws[date][:, row], tails)
                axis.axvspan(ends[0], ends[2], color=colour, alpha=0.25, linewidth=0)
                axis.axvline(ends[1], color=colour, linewidth=0.8)
        axis.set(xlabel="days since 1 January of the first year", ylabel="NDVI", title=f"{name}: {LEVEL:.0%} intervals")
        axis.spines[["top", "right"]].set_visible(False)
        return figure
