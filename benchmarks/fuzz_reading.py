"""What `benchmarks.fuzz` compares with: inputs read by GDAL, netCDF4, zarr, csv and pyarrow, without `releo_jax`.

Numbers are looked up at places on the ground, so that a shifted, turned or mirrored map is seen whatever made it so.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cftime
import netCDF4
import numpy as np
import pyarrow.parquet
import rasterio
import zarr
from rasterio.crs import CRS

BANDS = ("B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
"""Bands that SL2P takes."""

ANGLES = ("sun_zenith", "view_zenith", "relative_azimuth")
CLEAR = (4, 5, 6, 7)
_ALIASES = {"t": "time", "date": "time", "bands": "band", "lat": "y", "lon": "x", "latitude": "y", "longitude": "x"}


class Refused(Exception):
    """There is no right result: the input is contradictory, or not what it says."""


@dataclasses.dataclass
class Plane:
    """Numbers (row, column) with their places.

    Attributes:
        values: decoded; NaN where nothing is.
        where: row and column of places (x, y), -1 outside.
        unsure: whether a number may be taken for missing, by custom and not by what the file says.
    """

    values: np.ndarray
    where: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    unsure: np.ndarray

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and whether they are unsure; NaN outside."""
        row, column = self.where(x, y)
        inside = (row >= 0) & (row < self.values.shape[0]) & (column >= 0) & (column < self.values.shape[1])
        row, column = np.where(inside, row, 0), np.where(inside, column, 0)
        return np.where(inside, self.values[row, column], np.nan), self.unsure[row, column] & inside


@dataclasses.dataclass
class Reading:
    """An input as it is read without this package.

    Attributes:
        x: (row, column) places of the pixel centres of the finest band; None for a table.
        y: likewise.
        crs: None for none.
        dates: for each date the planes of reflectance by band.
        masks: planes that mask where they are not 0, for each date.
        angles: planes or numbers by name, for each date; None where this module cannot tell them.
        times: ISO dates to the second, "" for none; None where nothing is to be compared.
        sized: whether the input says how large a pixel is.
    """

    x: np.ndarray
    y: np.ndarray
    crs: CRS | None
    dates: list[dict[str, Plane]]
    masks: list[list[Plane]]
    angles: Sequence[Mapping[str, Plane | float]] | None
    times: list[str] | None = None
    sized: bool = True


def raster(path: Path, index: int = 1, *, decode: Callable[[Any, np.ndarray], np.ndarray] | None = None) -> Plane:
    """One band of a raster file; by default decoded by GDAL's scale and offset, with GDAL's no data."""
    with rasterio.open(path) as file:
        try:
            numbers = file.read(index)
        except rasterio.errors.RasterioError as error:
            return Plane(np.zeros(file.shape), _raises(error), np.zeros(file.shape, bool))
        if numbers.dtype.kind == "c":
            raise Refused("complex numbers")
        inverse, shape = ~file.transform, file.shape
        values = numbers.astype(np.float64)
        if decode is None:
            values = values * file.scales[index - 1] + file.offsets[index - 1]
        else:
            values = decode(file, values)
        unsure = customary(numbers, file.nodata)
        if decode is None and file.nodata is not None:
            values[np.isnan(numbers) if np.isnan(file.nodata) else numbers == file.nodata] = np.nan

    def where(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        column, row = inverse * (x, y)
        # Centres of the finest pixels lie a half within a pixel of their own and a quarter within one twice as large.
        return np.floor(row + 1e-4).astype(int), np.floor(column + 1e-4).astype(int)

    assert values.shape == shape
    return Plane(values, where, unsure)


def _raises(error: Exception) -> Callable[..., Any]:
    """What tells places in a file whose numbers cannot be read: it raises when it is asked."""

    def where(x: np.ndarray, y: np.ndarray) -> Any:
        raise error

    return where


def customary(numbers: np.ndarray, nodata: float | None) -> np.ndarray:
    """Where numbers are those that stand for nothing by custom."""
    found = np.zeros(numbers.shape, bool)
    if numbers.dtype == np.uint16:
        found |= numbers == 65535
    if nodata is None:
        found |= numbers == (0 if numbers.dtype.kind == "u" else -9999)
        if numbers.dtype.kind == "i":
            found |= numbers == np.iinfo(numbers.dtype).min
    return found


def grid(path: Path | str) -> tuple[np.ndarray, np.ndarray, CRS | None]:
    """Places (row, column) of the pixel centres and CRS, as GDAL tells them."""
    with rasterio.open(path) as file:
        if file.gcps[0] and file.transform.is_identity:
            raise Refused("ground control points and no transform")
        row, column = np.indices(file.shape) + 0.5
        x, y = file.transform * (column, row)
        return x, y, file.crs


def _stacked(files: Mapping[str, tuple[Path, int]], decode: Any, **rest: Any) -> Reading:
    """A reading of one date from files of bands."""
    missing = [band for band in BANDS if band not in files] if rest.pop("required", True) else []
    if missing:
        raise Refused(f"no {missing}")
    planes = {
        band: raster(path, index, decode=None if decode is None else decode(band))
        for band, (path, index) in files.items()
    }
    grids = {band: grid(path) for band, (path, _) in files.items()}
    known = {crs.to_wkt(): crs for *_, crs in grids.values() if crs is not None}
    if len(known) > 1:
        raise Refused("bands of several CRS")
    finest = min(files, key=lambda band: _pixel(files[band][0]))
    x, y, _ = grids[finest]
    return Reading(x, y, next(iter(known.values()), None), [planes], **rest)


def _pixel(path: Path) -> float:
    with rasterio.open(path) as file:
        return abs(file.transform.a)


def _band(text: str) -> str | None:
    found = re.search(r"(?:^|[^A-Za-z0-9])B(8A|0?\d|1[0-2])(?=$|[^A-Za-z0-9])", text, re.IGNORECASE)
    return None if found is None else "B" + found.group(1).upper().zfill(2)


def _given(options: Mapping[str, float]) -> dict[str, float]:
    return {name: options[name] for name in ANGLES if name in options}


def geotiff(path: Path, options: Mapping[str, float]) -> Reading:
    """A folder of GeoTIFFs or one with several bands."""
    folder = path if path.is_dir() else path.parent
    files: dict[str, tuple[Path, int]] = {}
    tifs = sorted(folder.glob("*.tif")) if path.is_dir() else []
    for file in tifs:
        band = _band(file.stem)
        if band in files:
            raise Refused(f"{band} twice")
        if band is not None:
            files[band] = (file, 1)
    if not path.is_dir():
        with rasterio.open(path) as source:
            for index, text in enumerate(source.descriptions, 1):
                band = _band(text or "")
                if band in files:
                    raise Refused(f"{band} twice")
                if band is not None:
                    files[band] = (path, index)
    files = {band: found for band, found in files.items() if re.fullmatch(r"B(0\d|8A|1[0-2])", band)}
    if "scale" in options:

        def decode(band: str) -> Any:
            return lambda file, numbers: _scaled(numbers, options, file.nodata)

    else:
        decode = None  # type: ignore[assignment]
        for file, _ in files.values():
            with rasterio.open(file) as source:
                if source.dtypes[0] not in ("float32", "float64") and set(source.scales) == {1.0}:
                    raise Refused("integers without a scale")
    masks = [raster(file, decode=lambda _, numbers: numbers) for file in tifs if "SCL" in file.stem.upper()]
    for plane in masks:
        plane.values = np.where(np.isin(plane.values, CLEAR), 0.0, 1.0)
    note = json.loads((folder / "angles.json").read_text()) if (folder / "angles.json").is_file() else {}
    angles: dict[str, Any] = {name: note[name] for name in note if "zenith" in name or "azimuth" in name}
    angles |= {file.stem: raster(file) for file in tifs if file.stem in ANGLES}
    return _stacked(files, decode, masks=[masks], angles=[angles_from(angles, options)])


def _scaled(numbers: np.ndarray, options: Mapping[str, float], nodata: float | None) -> np.ndarray:
    values = (numbers + options.get("offset", 0.0)) / options["scale"]
    if nodata is not None:
        values = np.where(numbers == nodata, np.nan, values)
    return values


def angles_from(found: Mapping[str, Any], options: Mapping[str, float]) -> dict[str, Any]:
    """The three angles from those found and those given."""
    angles = {**found, **_given(options)}
    if "relative_azimuth" not in angles and {"sun_azimuth", "view_azimuth"} <= set(angles):
        angles["relative_azimuth"] = abs((angles["view_azimuth"] - angles["sun_azimuth"] + 180.0) % 360.0 - 180.0)
    for name in ANGLES:
        if name not in angles:
            raise Refused(f"no {name}")
        if not isinstance(angles[name], Plane):
            angles[name] = float(np.ravel(angles[name])[0])
    return {name: angles[name] for name in ANGLES}


def _xml(folder: Path, pattern: str) -> ElementTree.Element:
    return ElementTree.parse(next(folder.rglob(pattern))).getroot()


def safe(path: Path, options: Mapping[str, float]) -> Reading:
    """A SAFE folder; no angles where their file was changed."""
    root = _xml(path, "MTD_MSIL2A.xml")
    scale = float(next(root.iter("BOA_QUANTIFICATION_VALUE")).text or "")
    order = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
    offsets = {order[int(node.get("band_id", ""))]: float(node.text or "") for node in root.iter("BOA_ADD_OFFSET")}
    files: dict[str, tuple[Path, int]] = {}
    for size in (20, 10):
        for file in sorted(path.glob(f"GRANULE/*/IMG_DATA/R{size}m/*_{size}m.jp2")):
            band = _band(file.stem)
            if band in (*BANDS, "B02", "B08"):
                files[band] = (file, 1)

    def decode(band: str) -> Any:
        return lambda file, numbers: np.where(
            (numbers == 0) | (numbers == 65535), np.nan, (numbers + offsets.get(band, 0.0)) / scale
        )

    classes = raster(next(path.glob("GRANULE/*/IMG_DATA/R20m/*_SCL_20m.jp2")), decode=lambda file, numbers: numbers)
    classes.values = np.where(np.isin(classes.values, CLEAR), 0.0, 1.0)
    angles = {"sun_zenith": 35.0, "view_zenith": 6.0, "relative_azimuth": 120.0}
    return _stacked(files, decode, masks=[[classes]], angles=[{**angles, **_given(options)}])


def theia(path: Path, options: Mapping[str, float]) -> Reading:
    """A folder of MAJA with the angles that `tests.releo_jax.cubes.products` writes."""
    root = _xml(path, "*_MTD_ALL.xml")
    scale = float(next(root.iter("REFLECTANCE_QUANTIFICATION_VALUE")).text or "")
    nodata = float(next(node.text or "" for node in root.iter("SPECIAL_VALUE") if node.get("name") == "nodata"))
    files = {}
    for file in sorted(path.glob("*.tif")):
        band = _band(file.stem)
        if "_fre_" in file.stem.lower() and band is not None and (band in BANDS or band in ("B02", "B08")):
            files[band] = (file, 1)

    def decode(band: str) -> Any:
        return lambda file, numbers: np.where(numbers == nodata, np.nan, numbers / scale)

    masks = []
    for name, bits in (("EDG", 255), ("CLM", 255), ("MG2", 254)):
        plane = raster(next((path / "MASKS").glob(f"*_{name}_R1.tif")), decode=lambda file, numbers: numbers)
        plane.values = (plane.values.astype(np.int64) & bits).astype(float)
        masks.append(plane)
    for group, bits in (("R1", 6), ("R2", 63)):
        plane = raster(next((path / "MASKS").glob(f"*_SAT_{group}.tif")), decode=lambda file, numbers: numbers)
        plane.values = (plane.values.astype(np.int64) & bits).astype(float)
        masks.append(plane)
    angles = {"sun_zenith": 30.0, "view_zenith": 6.0, "relative_azimuth": 50.0}
    return _stacked(files, decode, masks=[masks], angles=[{**angles, **_given(options)}])


def landsat(path: Path, options: Mapping[str, float]) -> Reading:
    """A folder of the USGS: the planes of reflectance, by the metadata's factors."""
    files = {}
    for file in sorted(path.iterdir()):
        match = re.search(r"_SR_(B[1-7])$", file.stem, re.IGNORECASE)
        if match and file.is_file():
            files[match.group(1).upper()] = (file, 1)
    source = sorted([*path.glob("*_MTL.json"), *path.glob("*_MTL.xml")])[0]
    if source.suffix == ".json":
        group = json.loads(source.read_text())["LANDSAT_METADATA_FILE"]["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]
    else:
        node = next(ElementTree.parse(source).getroot().iter("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"))
        group = {item.tag: item.text for item in node}

    def decode(band: str) -> Any:
        factor, summand = (float(group[f"REFLECTANCE_{name}_BAND_{band[1]}"]) for name in ("MULT", "ADD"))
        return lambda file, numbers: np.where(numbers == 0, np.nan, numbers * factor + summand)

    return _stacked(files, decode, required=False, masks=[[]], angles=None)


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
            ("reflectance", index, _band(text)) for index, text in enumerate(texts)
        ]
    else:
        named = [(name, None, _band(name)) for name, (dims, *_) in arrays.items() if {"x", "y"} <= set(dims)]
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
    return Reading(px, py, crs, dates, masks, angles, _times(arrays), sized)


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


def _times(arrays: Any) -> list[str] | None:
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


READERS: dict[str, Callable[[Path, Mapping[str, float]], Reading]] = {
    "GeoTIFF folder": geotiff,
    "GeoTIFF file": geotiff,
    "NetCDF": dataset,
    "NetCDF of others": dataset,
    "Zarr": dataset,
    "Zarr of others": dataset,
    "SAFE": safe,
    "Theia": theia,
    "Landsat": landsat,
}
"""Readers of images by kind."""
