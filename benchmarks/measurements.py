"""Rows of real measurements, and which output of a retrieval they are compared with.

The measurements are no part of the project: the environment variable RELEO_DATA_DIR names their folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from physics import SunView
from releo_jax.cubes.sun import solar_position
from releo_jax.metrics import rmse

VIEW_ZENITH = 5.0
RELATIVE_AZIMUTH = 90.0
PLOT_BANDS = {"B2": "B02", "B3": "B03", "B4": "B04", "B5": "B05", "B6": "B06", "B7": "B07", "B8": "B08", "B8A": "B8A"}
PLOT_BANDS |= {"B11": "B11", "B12": "B12"}
_FARMS = {
    "SwissFutureFarm": (47.48, 8.91),
    "Strickhof": (47.45, 8.68),
    "Witzwil": (46.98, 7.06),
    "Arenenberg": (47.67, 9.06),
}
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
        bands = {ours: part[theirs].to_numpy(float) for theirs, ours in PLOT_BANDS.items()}
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
        names = [name for name in PLOT_BANDS.values() if name in rows]
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


def pixels(rows: Rows, bands: Sequence[str]) -> tuple[np.ndarray, np.ndarray, SunView]:
    """Reflectance and mask `(row, band)`, 0 where a band is missing, and angles `(row,)`."""
    size = rows.truth.size
    reflectance = np.full((size, len(bands)), np.nan)
    for band, name in enumerate(bands):
        if name in rows.reflectance:
            reflectance[:, band] = rows.reflectance[name]
    mask = np.isfinite(reflectance)
    sun_view = SunView.from_degrees(
        rows.sun_zenith.astype(np.float32),
        np.full(size, VIEW_ZENITH, np.float32),
        np.full(size, RELATIVE_AZIMUTH, np.float32),
    )
    return np.where(mask, reflectance, 0.0), mask, sun_view
