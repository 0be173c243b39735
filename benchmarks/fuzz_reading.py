"""What `benchmarks.fuzz` compares with: inputs read by GDAL, without `releo_jax`.

Numbers are looked up at places on the ground, so that a shifted, turned or mirrored map is seen whatever made it so.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.crs import CRS

BANDS = ("B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
"""Bands that SL2P takes."""

ANGLES = ("sun_zenith", "view_zenith", "relative_azimuth")
CLEAR = (4, 5, 6, 7)


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


def band_of(text: str) -> str | None:
    """The band that a name speaks of, such as `B04`."""
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
        band = band_of(file.stem)
        if band in files:
            raise Refused(f"{band} twice")
        if band is not None:
            files[band] = (file, 1)
    if not path.is_dir():
        with rasterio.open(path) as source:
            for index, text in enumerate(source.descriptions, 1):
                band = band_of(text or "")
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
            band = band_of(file.stem)
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
        band = band_of(file.stem)
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
