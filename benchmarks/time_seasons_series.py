"""Real series of NDVI without known dates: clear dates that were held out, by Pheno-VAE and by least squares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from benchmarks.phenology_series import SITES as FLUX_SITES
from benchmarks.phenology_series import Seasons, hold_out, read_series, split_seasons
from benchmarks.time_seasons_fits import LEVEL, SITES, Told, amortised, curves, squares
from benchmarks.time_seasons_trained import REAL
from releo_jax.inference.amortized import AmortizedPosterior
from releo_jax.metrics import bias, coverage, mean_width, rmse
from releo_jax.observations import Series
from releo_jax.systems.phenology import RECORD

PLOTS: Mapping[str, str] = {"france": "France", "spain": "Spain"}
_FIRST = pd.Timestamp("2017-10-01")
"""First day of the axis of the plots: the season of 2018, of winter crops and of summer crops."""

_AROUND = -45.0, 410.0  # days of a season that its fit sees, as of the flux sites
_TAILS = 0.5 - LEVEL / 2, 0.5 + LEVEL / 2
_DATES = "start_of_season", "end_of_season"


def read_plots(data: Path, *, seed: int) -> dict[str, Seasons]:
    """Season of 2018 of the plots of Sentinel-2 by country; every fifth clear date of a plot is held out.

    Dates are clear where no mask says otherwise.
    """
    table = pd.read_parquet(data / "s2_lai_plots" / "s2_timeseries.parquet").sort_values("date")
    table["day"] = (table["date"] - _FIRST).dt.days
    near, red = table["B8"].astype(float), table["B4"].astype(float)
    table["ndvi"] = (near - red) / np.maximum(near + red, 1.0)
    table["clear"] = table[["sat_mask", "cloud_mask", "geophysical_mask"]].eq(0).all(axis=1)
    table = table[table["day"].between(*_AROUND, inclusive="left")]
    rng = np.random.default_rng(seed)
    dates = int(table.groupby(["site", "loc_id"], observed=True).size().max())
    site = table["site"].astype(str)
    return {country: _cut(table[site.str.startswith(begin)], dates, rng) for begin, country in PLOTS.items()}


def _cut(table: pd.DataFrame, dates: int, rng: np.random.Generator) -> Seasons:
    plots = [rows for _, rows in table.groupby(["site", "loc_id"], observed=True)]
    shape = len(plots), dates
    time, index, line = np.full(shape, _AROUND[1], np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    known, held = np.zeros(shape, bool), np.zeros(shape, bool)
    for row, one in enumerate(plots):
        at = slice(0, len(one))
        day, ndvi, clear = (one[name].to_numpy() for name in ("day", "ndvi", "clear"))
        out = hold_out(clear, rng) & (day >= 0) & (day < 365)
        time[row, at], index[row, at], known[row, at], held[row, at] = day, ndvi, clear & ~out, out
        line[row, at] = np.interp(day, day[clear & ~out], ndvi[clear & ~out])
    return Seasons(Series(index[..., None], known[..., None], time), held, index, line)


def read_sites(data: Path, *, seed: int) -> dict[str, Seasons]:
    """Seasons of the flux sites by name, with the dates that `benchmarks.phenology` holds out."""
    rng = np.random.default_rng(seed)
    return {
        name: split_seasons(one, hold_out(one.clear, rng), FLUX_SITES[name]) for name, one in read_series(data).items()
    }


def joined(parts: Mapping[str, Seasons]) -> tuple[np.ndarray, Seasons]:
    """All seasons in one record, and the name of each one's part."""
    whole: Seasons = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts.values())
    return np.repeat(list(parts), [len(part.held) for part in parts.values()]), whole


def score_held_out(part: np.ndarray, seasons: Seasons, told: Told, *, seed: int) -> dict[str, Any]:
    """Errors on held-out dates, and starts and ends of season, by part.

    Args:
        part: name of each season's part `(season,)`.
        seasons: of all parts.
        told: by one method.
        seed: of the noise of new measurements.
    """

    def curve(of: Mapping[str, np.ndarray]) -> np.ndarray:
        sites = jnp.stack([jnp.asarray(of[name], jnp.float32) for name in SITES], -1)
        return np.asarray(curves(sites, jnp.asarray(seasons.record.time)))

    # The posterior's mean of the curve, not the curve of its mean; of least squares the curve itself.
    drawn = curve(told.draws)
    middle = curve(told.estimate) if told.by_estimate else drawn.mean(0)
    noisy = drawn + REAL.noise * np.random.default_rng(seed).normal(size=drawn.shape)
    lower, upper = np.quantile(noisy, _TAILS, axis=0)
    report: dict[str, Any] = {}
    for name in dict.fromkeys(part):
        mine = part == name
        held = seasons.held & mine[:, None]
        truth = seasons.ndvi[held]
        report[name] = {
            "seasons": int(mine.sum()),
            "held_out": int(held.sum()),
            "rmse": rmse(truth, middle[held]),
            "bias": bias(truth, middle[held]),
            "coverage": coverage(truth, lower[held], upper[held]),
            "width": mean_width(lower[held], upper[held]),
            "line": rmse(truth, seasons.line[held]),
        }
        for date in _DATES:
            report[name][date] = float(np.median(told.estimate[date][mine]))
            report[name][f"{date}_width"] = mean_width(*np.quantile(told.draws[date][:, mine], _TAILS, axis=0))
    return report


def compare_real(
    system: AmortizedPosterior, parts: Mapping[str, Seasons], *, seed: int, steps: int, draws: int = 300
) -> dict[str, Any]:
    """Held-out dates of real series, by a system as trained on simulations, adapted without labels, and least squares.

    Args:
        system: trained for `REAL`.
        parts: seasons by site or country.
        seed: of draws and of the training.
        steps: of the training by the evidence lower bound, on what is not held out of all parts.
        draws: of each law.
    """
    part, seasons = joined(parts)
    data = {RECORD: jax.tree.map(jnp.asarray, seasons.record)}
    key, key_fit = jax.random.split(jax.random.key(seed))
    adapted = system.fit(data, key=key_fit, objective="elbo", steps=steps, batch=256, learning_rate=3e-4)
    told = {
        "Pheno-VAE, simulations": amortised(system, data, key=key, draws=draws),
        "Pheno-VAE, then these series": amortised(adapted, data, key=key, draws=draws),
        "least squares": squares(REAL, data, seed=seed, draws=draws),
    }
    return {name: score_held_out(part, seasons, one, seed=seed) for name, one in told.items()}
