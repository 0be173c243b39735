"""Trials of winter wheat: leaf area, growth stages, and the weather of each day."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from physics.crop.water import Site, extraterrestrial_radiation

FIRST, LAST = 32, 212  # days of the year, 1 February to 31 July: growth from the end of winter to harvest

# Degrees north, from the names of the regions: the sites Arenenberg and Bramenwies (Lindau, Zurich), Munich-North-Isar
# and the catchment of the Rur. A degree changes the radiation of these months by less than 2 %.
LATITUDES = {"CH_Arenenberg": 47.67, "CH_Bramenwies": 47.45, "DE_MNI": 48.29, "DE_Rur": 50.87}
INLAND = 0.16  # of FAO-56 eq. 50, °C^-0.5


class Trials(NamedTuple):
    """Trials with weather on the days FIRST to LAST.

    Attributes:
        names: of the trials.
        leaf_area_index: mean over the points of a trial, NaN without a measurement `(trial, day)`.
        number: points of each mean `(trial, day)`.
        stage: BBCH, NaN where not observed `(trial, day)`.
        temperature: °C, NaN where there is no weather `(trial, day)`.
        radiation: MJ m⁻² day⁻¹ `(trial, day)`.
        others: leaf area, stage and day of trials without weather, each `(row,)`, and their numbers.
    """

    names: tuple[str, ...]
    leaf_area_index: np.ndarray
    number: np.ndarray
    stage: np.ndarray
    temperature: np.ndarray
    radiation: np.ndarray
    others: Mapping[str, np.ndarray]


def hargreaves(low: np.ndarray, high: np.ndarray, latitude: float, day_of_year: np.ndarray) -> np.ndarray:
    """Global radiation, MJ m⁻² day⁻¹, from the range of temperature: 0.16 sqrt(Tmax - Tmin) R_a (FAO-56 eq. 50)."""
    above = extraterrestrial_radiation(Site.from_degrees(latitude, 0.0, day_of_year.astype(np.float32)))
    return INLAND * np.sqrt(high - low) * np.asarray(above)


def read_trials(data: Path) -> Trials:
    """Reads the trials: rows without leaf area and days with less than 23 hours of weather are left out."""
    folder = data / "wheat_lai_growth"
    rows = pd.read_csv(folder / "insitu_lai_bbch.csv").dropna(subset=["lai"])
    rows["day"] = pd.to_datetime(rows["date"], format="mixed").dt.day_of_year
    grouped = rows.groupby(["region", "trial", "day"])
    means = grouped.agg(lai=("lai", "mean"), bbch=("bbch", "mean"), n=("lai", "size")).reset_index()
    hours = pd.read_parquet(folder / "meteo.parquet")
    hours["date"] = hours["time"].dt.floor("D")
    air = hours.groupby(["trial", "date"])["T_mean"].agg(["mean", "min", "max", "count"]).reset_index()
    air = air[air["count"] >= 23]
    air["day"] = air["date"].dt.day_of_year
    names = tuple(sorted(set(air["trial"]) & set(means["trial"])))
    area, number, stage, temperature, radiation = (np.full((len(names), LAST - FIRST + 1), np.nan) for _ in range(5))
    for i, name in enumerate(names):
        mine, sky = means[means["trial"] == name], air[(air["trial"] == name) & air["day"].between(FIRST, LAST)]
        at, weather_at = mine["day"].to_numpy() - FIRST, sky["day"].to_numpy() - FIRST
        area[i, at], number[i, at], stage[i, at] = mine["lai"], mine["n"], mine["bbch"]
        temperature[i, weather_at] = sky["mean"]
        latitude = LATITUDES[mine["region"].iloc[0]]
        low, high = (sky[end].to_numpy() for end in ("min", "max"))
        radiation[i, weather_at] = hargreaves(low, high, latitude, sky["day"].to_numpy())
    left = means[~means["trial"].isin(names)]
    others = {"trial": left["trial"].to_numpy(), "value": left["lai"].to_numpy(float)}
    others |= {"stage": left["bbch"].to_numpy(float), "day": left["day"].to_numpy(float)}
    return Trials(names, area, np.nan_to_num(number), stage, temperature, radiation, others)


def filled(weather: np.ndarray, width: int = 7) -> np.ndarray:
    """Weather `(trial, day)` whose gaps hold the mean of the other trials over two weeks around the day."""
    complete = weather.copy()
    for trial, day in np.argwhere(np.isnan(weather)):
        around = np.delete(weather, trial, 0)[:, max(0, day - width) : day + width + 1]
        complete[trial, day] = np.nanmean(around)
    return complete
