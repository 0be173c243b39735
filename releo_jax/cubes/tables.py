"""Tables of pixels: one row a pixel, one column a band."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from releo_jax.cubes.blocks import Block, block_of
from releo_jax.cubes.checks import check_angles, check_unit
from releo_jax.cubes.convention import (
    ANGLES,
    BANDS,
    Flag,
    band_name,
    choose_angles,
    choose_bands,
    usable_angles,
)
from releo_jax.cubes.radar import (
    POLARISATIONS,
    UNITS,
    check_backscatter,
    check_incidence,
    radar_pixels,
    to_decibels,
)
from releo_jax.cubes.safe import CLEAR, scene_flags
from releo_jax.cubes.values import Coding, check_integers, decode
from releo_jax.errors import ReleoError

_ANGLE_COLUMNS = (*ANGLES, "sun_azimuth", "view_azimuth")


def read_table(
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    offset: float | None = None,
    bands: Sequence[str] | None = None,
    sun_zenith: float | None = None,
    view_zenith: float | None = None,
    relative_azimuth: float | None = None,
    clear: Sequence[int] = CLEAR,
) -> tuple[pd.DataFrame, Block]:
    """Reads a CSV or Parquet table of pixels.

    Columns (upper or lower case): bands `B02` (or `B2`) ... `B12`; `sun_zenith`, `view_zenith`, `relative_azimuth` in
    degrees, or `sun_azimuth` and `view_azimuth` in place of the last; `SCL`, the scene classification, if there is one.
    Other columns are kept in the table. An empty cell is a missing value: the pixel's band is masked.

    Args:
        path: `.csv` or `.parquet`.
        scale: what a reflectance of 1 is stored as; None if the table holds reflectance.
        offset: number to add before the division.
        bands: bands to take, None for all there are.
        sun_zenith: degrees, for all pixels; wins over the column.
        view_zenith: likewise.
        relative_azimuth: likewise.
        clear: classes of `SCL` that are clear.

    Returns:
        the table as it is, and its pixels (`block.reflectance` (pixel, band), `block.mask`, angles in degrees).

    Raises:
        ReleoError: says what is wrong, where, and what to do.
    """
    path = Path(path)
    frame = _read(path)
    if frame.empty:
        raise ReleoError(f"{path}: the table has no rows; check how it was made")
    columns = _columns(frame, path)
    chosen = choose_bands([name for name in columns if name in BANDS], bands, str(path))
    raw = np.stack([_numbers(frame, columns[name], path) for name in chosen], axis=1)
    if scale is None and all(frame[columns[name]].dtype.kind in "iu" for name in chosen):
        # Whole columns of zeros and ones are reflectance too, but nobody measures that.
        check_integers(np.dtype(int), scale, str(path))
    coding = Coding(1.0 if scale is None else scale, offset or 0.0, nodata=(-9999.0,), saturated=(65535.0,))
    reflectance, mask = (part.values for part in decode(xr.DataArray(raw, dims=("pixel", "band")), coding))
    check_unit(reflectance, mask, coding.scale, str(path))
    if "SCL" in columns:
        classes = xr.DataArray(np.nan_to_num(_numbers(frame, columns["SCL"], path)), dims="pixel")
        mask = mask | scene_flags(classes, clear).values[:, None]
    given = {"sun_zenith": sun_zenith, "view_zenith": view_zenith, "relative_azimuth": relative_azimuth}
    angles = _angles(frame, columns, given, path)
    undirected = ~usable_angles(*(angles[name] for name in ANGLES))
    mask = mask | np.where(undirected, np.uint8(Flag.INVALID_VALUE), np.uint8(0))[:, None]
    return frame, block_of(chosen, reflectance, mask, angles)


def with_radar_columns(
    frame: pd.DataFrame, block: Block, *, unit: str | None, incidence: float | None, where: str
) -> Block:
    """The pixels of a table with its columns of radar: `VV`, `VH`, `incidence` in degrees, `radar_days`.

    Args:
        frame: the table; the columns may be in lower case, a cell may be empty. `VV_dB` says its unit by its name.
        block: its pixels.
        unit: "linear" or "dB", where the names do not say.
        incidence: degrees, for all pixels; wins over the column.
        where: name of the table, for messages.

    Returns:
        the block with one radar date; `radar_days` (0 without) are its days after the optical date.

    Raises:
        ReleoError: something is missing, or the numbers are not what the unit says.
    """
    path, plain = Path(where), {str(column).strip().lower(): str(column) for column in frame.columns}
    decibels = np.full((len(frame), 1, len(POLARISATIONS)), np.nan, np.float32)
    for index, name in enumerate(POLARISATIONS):
        column = next((plain[key] for key in (name.lower(), f"{name.lower()}_db") if key in plain), None)
        if column is None:
            continue
        stated = "dB" if column.strip().lower().endswith("_db") else unit
        if stated not in UNITS:
            raise ReleoError(f"{where}: column {column}: give --radar-unit linear or --radar-unit dB (radar_unit=...)")
        numbers = _numbers(frame, column, path)
        check_backscatter(numbers, stated, f"{where}: column {column}")
        decibels[:, 0, index] = to_decibels(numbers) if stated == "linear" else numbers
    if np.isnan(decibels).all():
        raise ReleoError(f"{where}: expected a column VV (and VH), found {', '.join(plain)}; add it, or another method")
    if incidence is None and "incidence" not in plain:
        raise ReleoError(f"{where}: no column incidence; add it, or give --incidence DEGREES")
    angles = np.full(len(frame), incidence) if incidence is not None else _numbers(frame, plain["incidence"], path)
    check_incidence(angles, f"{where}: incidence")
    days = _numbers(frame, plain["radar_days"], path) if "radar_days" in plain else np.zeros(len(frame))
    return dataclasses.replace(block, radar=radar_pixels(decibels, angles[:, None], days[:, None]))


def _read(path: Path) -> pd.DataFrame:
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ReleoError(f"{path}: not a table that can be read; expected .csv or .parquet")
    if not path.is_file():
        raise ReleoError(f"{path}: no such file")
    if not path.stat().st_size:
        raise ReleoError(f"{path}: the file is empty; copy or make it again")
    try:
        if kind == ".parquet":
            return pd.read_parquet(path)
        _check_last_line(path)
        with warnings.catch_warnings():
            # Rows with more cells than the header would shift the columns, or lose cells with a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, index_col=False)
    except Exception as error:  # there is hardly one that pandas and pyarrow do not raise for damaged metadata
        detail = " ".join(str(error).split())[:160]
        raise ReleoError(f"{path}: cannot be read as {kind[1:]} ({detail}); correct or copy it again") from error


def _check_last_line(path: Path) -> None:
    """Raises if a CSV ends within a row, as a file does whose copying was cut short: its last number is a wrong one."""
    with path.open("rb") as file:
        header = file.readline()
        file.seek(max(len(header), path.stat().st_size - (1 << 16)))
        last = file.read()
    cells, wanted = last.rpartition(b"\n")[2].count(b",") + 1, header.count(b",") + 1
    if last and not last.endswith(b"\n") and cells < wanted and b'"' not in last:
        raise ReleoError(
            f"{path}: the last line ends after {cells} of {wanted} cells; the file is truncated: copy it again"
        )


def _columns(frame: pd.DataFrame, path: Path) -> dict[str, str]:
    """The table's own names of the columns by the names of the convention."""
    columns: dict[str, str] = {}
    for column in map(str, frame.columns):
        plain = column.strip()
        name = band_name(plain) if len(plain) <= 3 else None
        if plain.lower() in _ANGLE_COLUMNS:
            name = plain.lower()
        elif plain.upper() == "SCL":
            name = "SCL"
        if name is None:
            continue
        if name in columns:
            raise ReleoError(f"{path}: columns {columns[name]!r} and {column!r} both hold {name}; remove one")
        columns[name] = column
    return columns


def _numbers(frame: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    values = frame[column]
    if values.dtype.kind not in "iufO" or values.map(type).eq(bool).any():
        raise ReleoError(f"{path}: column {column}: expected numbers, got {values.dtype}; correct it")
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = numbers.isna() & values.notna()
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        raise ReleoError(
            f"{path}: column {column}, row {row + 1}: expected a number, got {values.iloc[row]!r}; correct it"
        )
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def _angles(
    frame: pd.DataFrame, columns: Mapping[str, str], given: Mapping[str, float | None], path: Path
) -> dict[str, np.ndarray]:
    found: dict[str, Any] = {n: _numbers(frame, columns[n], path) for n in _ANGLE_COLUMNS if n in columns}
    chosen = choose_angles(found, given, str(path))
    angles = {name: np.broadcast_to(np.asarray(value, float), (len(frame),)) for name, value in chosen.items()}
    check_angles(angles, str(path))
    return angles
