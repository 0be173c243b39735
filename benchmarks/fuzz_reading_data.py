"""Readings of datasets and tables by netCDF4, zarr, csv and pyarrow; see `benchmarks.fuzz_reading`."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cftime
import netCDF4
import numpy as np
import pyarrow.parquet
import rasterio
import zarr
from rasterio.crs import CRS

from benchmarks.fuzz_reading import ANGLES, BANDS, CLEAR, Plane, Reading, Refused, angles_from, band_of, customary, grid

_ALIASES = {"t": "time", "date": "time", "bands": "band", "lat": "y", "lon": "x", "latitude": "y", "longitude": "x"}


def raw_dataset(path: Path) -> tuple[dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]], dict[str, Any]]:
    """Dimensions, stored numbers and attributes of every variable, and the attributes of the dataset."""
    found = {}
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="r")
        for name, array in group.arrays():
            attrs: dict[str, Any] = dict(array.attrs)
            dims = attrs.pop("_ARRAY_DIMENSIONS", None) or (getattr(array.metadata, "dimension_names", None) or ())
            if array.fill_value is not None and "_FillValue" not in attrs and array.dtype.kind in "iuf":
                attrs["_zarr_fill"] = array.fill_value
            found[name] = (tuple(dims), np.asarray(array[...]), attrs)
        return found, dict(group.attrs)
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(True)
        for name, variable in file.variables.items():
            attrs = {key: variable.getncattr(key) for key in variable.ncattrs()}
            found[name] = (variable.dimensions, np.asarray(variable[...]), attrs)
        return found, {key: file.getncattr(key) for key in file.ncattrs()}


def dataset(path: Path, options: Mapping[str, float]) -> Reading:
    """A NetCDF file or Zarr store of ours or of others."""
    held, attrs = raw_dataset(path)
    arrays = {
        name: (tuple(_ALIASES.get(dim, dim) for dim in dims), values, own) for name, (dims, values, own) in held.items()
    }
    arrays |= {_ALIASES[name]: arrays[name] for name in held if name in _ALIASES and _ALIASES[name] not in arrays}
    number = len(np.ravel(arrays["time"][1])) if "time" in arrays else 1
    bands: dict[str, tuple[str, int | None]] = {}
    if "reflectance" in arrays and "band" in arrays["reflectance"][0]:
        labels = np.asarray(arrays["band"][1])
        texts = [
            b"".join(row).decode() if labels.dtype.kind == "S" and labels.ndim > 1 else _text(row) for row in labels
        ]
        if labels.dtype.kind in "iu" and "long_name" in arrays["reflectance"][2]:
            texts = list(arrays["reflectance"][2]["long_name"])
        named: list[tuple[str, int | None, str | None]] = [
            ("reflectance", index, band_of(text)) for index, text in enumerate(texts)
        ]
    else:
        named = [(name, None, band_of(name)) for name, (dims, *_) in arrays.items() if {"x", "y"} <= set(dims)]
    for name, index, band in named:
        if band is None:
            continue
        if band in bands:
            raise Refused(f"{band} twice")
        bands[band] = (name, index)
    missing = [band for band in BANDS if band not in bands]
    if missing:
        raise Refused(f"no {missing}")
    x, y = (np.asarray(arrays[name][1], np.float64) for name in ("x", "y"))

    def where(px: np.ndarray, py: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _nearest(y, py), _nearest(x, px)

    def plane(name: str, date: int, index: int | None = None, decode: bool = True) -> Plane:
        dims, values, own = arrays[name]
        if values.dtype.kind not in "iuf":
            raise Refused(f"{name} of {values.dtype}")
        for dim, chosen in (("time", date), ("band", index)):
            if dim in dims:
                if chosen is None:
                    raise Refused(f"{name} over {dims}")
                values = values.take(chosen, dims.index(dim))
                dims = tuple(d for d in dims if d != dim)
        if dims not in (("y", "x"), ("x", "y"), ()):
            raise Refused(f"{name} over {dims}")
        values = values.T if dims == ("x", "y") else values
        numbers, decoded = values, values.astype(np.float64)
        if decode and "scale" in options and name not in ANGLES:
            decoded = (decoded + options.get("offset", 0.0)) / options["scale"]
        elif decode:
            if name not in ANGLES and numbers.dtype.kind in "iu" and "scale_factor" not in own:
                raise Refused("integers without a scale")
            decoded = decoded * float(own.get("scale_factor", 1.0)) + float(own.get("add_offset", 0.0))
        fill = own.get("_FillValue", own.get("missing_value"))
        unsure = customary(numbers, None if fill is None else float(np.ravel(fill)[0]))
        if "_zarr_fill" in own:
            unsure |= numbers == own["_zarr_fill"]
        if fill is not None and decode:
            decoded = np.where(numbers == float(np.ravel(fill)[0]), np.nan, decoded)
        if not dims:
            decoded, unsure = np.full((len(y), len(x)), decoded), np.zeros((len(y), len(x)), bool)
        return Plane(decoded, where, unsure)

    dates = [{band: plane(*bands[band][:1], date, bands[band][1]) for band in BANDS} for date in range(number)]
    masks: list[list[Plane]] = []
    for date in range(number):
        found = []
        if "mask" in arrays and "flag_meanings" in arrays["mask"][2] and "scale" not in options:
            over = "band" in arrays["mask"][0]
            for band in BANDS if over else BANDS[:1]:
                found.append(plane("mask", date, bands[band][1] if over else None, decode=False))
        if "scl" in arrays:
            classes = plane("scl", date, decode=False)
            classes.values = np.where(np.isin(classes.values, CLEAR), 0.0, 1.0)
            found.append(classes)
        masks.append(found)
    angles = []
    for date in range(number):
        known: dict[str, Any] = {name: plane(name, date) for name in ANGLES if name in arrays}
        known |= {n: float(np.ravel(arrays[n][1])[0]) for n in ("sun_azimuth", "view_azimuth") if n in arrays}
        angles.append(angles_from(known, options))
    px, py, crs, sized = _dataset_grid(path, bands, arrays, attrs, x, y)
    return Reading(px, py, crs, dates, masks, angles, times_of(arrays), sized)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _nearest(centres: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Index of the nearest centre, -1 where it is not within half a step."""
    apart = np.abs(places[..., None] - centres)
    step = np.abs(np.diff(centres)).max() if len(centres) > 1 else np.inf
    return np.where(apart.min(-1) <= 0.51 * step, apart.argmin(-1), -1)


def _dataset_grid(
    path: Path, bands: Any, arrays: Any, attrs: Mapping[str, Any], x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, CRS | None, bool]:
    """Grid of a dataset: by GDAL where it knows it, else by the coordinates; whether pixel sizes are told."""
    for centres in (x, y):
        steps = np.diff(centres)
        if centres.ndim != 1 or not np.isfinite(centres).all() or (len(steps) and np.ptp(steps) > 2e-3 * abs(steps[0])):
            raise Refused("coordinates that are not evenly spaced")
    px, py = np.meshgrid(x, y)
    name = bands[BANDS[0]][0]
    crs = None
    said = attrs.get("crs")
    told = arrays.get(arrays[name][2].get("grid_mapping", "spatial_ref"), ((), None, {}))[2].get("crs_wkt")
    if told:
        crs = CRS.from_wkt(told)
    elif isinstance(said, (str, int, np.integer)):
        crs = CRS.from_user_input(int(said) if not isinstance(said, str) else said) if said else None
    sized = min(len(x), len(y)) > 1
    if arrays[name][0][-2:] == ("y", "x"):
        where = f'NETCDF:"{path}":{name}' if path.suffix == ".nc" else f'ZARR:"{path}":/{name}'
        try:
            with rasterio.open(where) as file:
                crs = file.crs or crs
                if path.suffix == ".nc" and file.crs is not None and not file.transform.is_identity and sized:
                    gx, gy, _ = grid(where)
                    if not np.allclose(np.sort(gx, None), np.sort(px, None), atol=1e-3 * np.ptp(gx) / max(len(x), 2)):
                        raise Refused("GDAL has other places than the coordinates")
        except rasterio.errors.RasterioError:
            pass
    return px, py, crs, sized


def times_of(arrays: Any) -> list[str] | None:
    """ISO dates of what `raw_dataset` returns, None where it has none."""
    if "time" not in arrays:
        return None
    _, numbers, own = arrays["time"]
    try:
        found = cftime.num2date(np.ravel(numbers), own["units"], own.get("calendar", "standard"))
        return [f"{moment.isoformat()[:19]}" for moment in np.atleast_1d(found)]
    except (ValueError, KeyError, OverflowError, TypeError):
        return None


def columns(path: Path) -> dict[str, np.ndarray]:
    """Columns of a table as float64 by name in lower case, NaN for empty cells; others are left out.

    Raises:
        Refused: a column that is needed is there twice or holds no numbers.
    """
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = [line for line in csv.reader(file) if line]
        cells = {
            name: [line[index] if index < len(line) else "" for line in lines] for index, name in enumerate(header)
        }
        names = header
        if any(len(line) > len(header) for line in lines):
            raise Refused("rows with too many cells")
    else:
        content = pyarrow.parquet.read_table(path)
        names = content.column_names
        cells = {name: content.column(name).to_pylist() for name in names}
    found: dict[str, np.ndarray] = {}
    for name in names:
        key = name.strip().lower()
        key = re.sub(r"^b(\d)$", r"b0\1", key)
        if not re.fullmatch(r"b\d\d|b8a|scl|(sun|view)_(zenith|azimuth)|relative_azimuth", key):
            continue
        if key in found:
            raise Refused(f"{key} twice")
        numbers = []
        column: list[Any] = list(cells[name])
        for cell in column:
            if isinstance(cell, bool) or cell in ("True", "False"):
                raise Refused(f"{name} of true and false")
            if cell is None or str(cell).strip().lower() in ("", "nan", "null", "na", "n/a", "none", "<na>"):
                numbers.append(np.nan)
                continue
            try:
                numbers.append(float(cell))
            except (TypeError, ValueError):
                raise Refused(f"{name}: {cell!r} is no number") from None
        found[key] = np.array(numbers, np.float64)
    return found
