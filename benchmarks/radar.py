"""Rows of real radar measurements: crops with known soil moisture, and one station's dates.

The measurements are no part of the project: the environment variable RELEO_DATA_DIR names their folder.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd

INCIDENCE = 35.0
"""Of the sets that give none, degrees, as the programs published with them; it only scales the coefficients."""


@dataclass(frozen=True)
class CropRows:
    """Fields of one crop at C band.

    Attributes:
        name: of the crop.
        bands: polarisations.
        decibels: backscatter `(row, band)`, dB.
        area: plant area index `(row,)`, m² m⁻².
        moisture: of the soil `(row,)`, m³ m⁻³.
        incidence: degrees `(row,)`.
        quoted: root mean square error of the free fit that the data come with, dB, by band.
        simulated: whether the backscatter of a row was simulated, not measured `(row,)`: these teach nothing here.
    """

    name: str
    bands: tuple[str, ...]
    decibels: np.ndarray
    area: np.ndarray
    moisture: np.ndarray
    incidence: np.ndarray
    quoted: dict[str, float]
    simulated: np.ndarray


def crops(data: Path) -> list[CropRows]:
    """Wheat (vv), corn (vv, vh) and a quad-polarised crop; corn with the rows whose backscatter was simulated."""
    folder = data / "wcm_crops"
    wheat, quad = folder / "wheat_C33_Sec5221", folder / "fullpol_Sec43"
    corn = folder / "corn_VVVH_Sec543"
    state, power = _table(wheat / "calibrationcrop.csv"), _table(wheat / "calibrationC33.csv")
    n = len(state)
    found = [_crop("wheat", ("vv",), power, state[:, 0], state[:, 2], np.full(n, INCIDENCE), {"vv": 1.22})]
    measured = _spreadsheet(corn / "ValidationPoints.xlsx")  # incidence, plant area, moisture, vv, vh
    made = _table(corn / "calibrationcrop.csv")  # plant area, biomass, moisture, incidence in radian
    made_power = np.hstack([_table(corn / f"{band}simulatedCorn.csv") for band in ("VV", "VH")])
    whole = np.vstack([measured, np.column_stack([np.degrees(made[:, 3]), made[:, 0], made[:, 2], made_power])])
    rows = np.arange(len(whole)) >= len(measured)
    quoted = {"vv": 0.81, "vh": 2.32}
    found.append(_crop("corn", ("vv", "vh"), whole[:, 3:], whole[:, 1], whole[:, 2], whole[:, 0], quoted, rows))
    state = _table(quad / "calibrationcrop.csv")
    power = np.hstack([_table(quad / f"calibration{band}.csv") for band in ("VV", "HH", "HV")])
    bands = ("vv", "hh", "hv")
    found.append(_crop("quad-pol crop", bands, power, state[:, 0], state[:, 1], np.full(len(state), INCIDENCE), {}))
    return found


def _crop(
    name: str,
    bands: tuple[str, ...],
    power: np.ndarray,
    area: np.ndarray,
    moisture: np.ndarray,
    incidence: np.ndarray,
    quoted: dict[str, float],
    simulated: np.ndarray | None = None,
) -> CropRows:
    rows = np.zeros(len(power), bool) if simulated is None else simulated
    return CropRows(name, bands, 10.0 * np.log10(power), area, moisture, incidence, quoted, rows)


def _table(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", ndmin=2)


def _spreadsheet(path: Path) -> np.ndarray:
    """Numbers of the first sheet of a workbook below its head, from the file itself: one table needs no reader."""
    with zipfile.ZipFile(path) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    name = re.match(r"{.*}", sheet.tag)
    space = name.group() if name else ""
    rows = [
        [float(cell.findtext(f"{space}v") or "nan") for cell in row.iter(f"{space}c")]
        for row in sheet.iter(f"{space}row")
    ]
    return np.array(rows[1:])


@dataclass(frozen=True)
class StationRows:
    """Dates of one station with Sentinel-1.

    Attributes:
        date: `(row,)`.
        moisture: m³ m⁻³ `(row,)`, NaN where the record has a gap.
        decibels: vv and vh `(row, 2)`, dB.
        orbit: which of the two orbits `(row,)`: whole cycles of 12 days between satellites 6 days apart.
        frozen: whether the air was below 0 °C on average that day, or usually is where it was not measured.
    """

    date: np.ndarray
    moisture: np.ndarray
    decibels: np.ndarray
    orbit: np.ndarray
    frozen: np.ndarray


def station(data: Path) -> StationRows:
    """Dates of the Manitoba station; a moisture of zero is a gap."""
    folder = data / "s1_soil_moisture"
    rows = pd.read_csv(folder / "s1_risma_match.csv", parse_dates=["date"])
    daily = pd.read_parquet(folder / "risma_daily.parquet").groupby("date")["Ambient Air Temp (deg C)"].mean()
    known = daily.dropna()
    usual = known.groupby(known.index.day_of_year).mean().reindex(range(1, 367)).interpolate(limit_direction="both")
    smooth = pd.concat([usual, usual, usual]).rolling(15, center=True).mean().to_numpy()[366:732]
    air = known.reindex(rows["date"]).to_numpy()
    air = np.where(np.isfinite(air), air, smooth[rows["date"].dt.day_of_year.to_numpy() - 1])
    moisture = rows["sm_pct"].to_numpy(float) / 100.0
    days = (rows["date"] - rows["date"].iloc[0]).dt.days.to_numpy()
    return StationRows(
        rows["date"].to_numpy(),
        np.where(moisture > 0.0, moisture, np.nan),
        10.0 * np.log10(rows[["vv_lin", "vh_lin"]].to_numpy(float)),
        days % 6,
        air < 0.0,
    )
