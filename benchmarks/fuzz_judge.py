"""Whether what `releo` made of an input is right; see `benchmarks.fuzz`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio

from benchmarks.fuzz_reading import (
    ANGLES,
    BANDS,
    CLEAR,
    Plane,
    Reading,
    Refused,
    angles_from,
    geotiff,
    grid,
    landsat,
    raster,
    safe,
    theia,
)
from benchmarks.fuzz_reading_data import columns, dataset, raw_dataset, times_of
from physics import SunView
from releo_jax.cubes import open_cube
from releo_jax.systems.sl2p import sl2p
from releo_jax.variables import FLAGS

HIGHEST = 1.5
"""Reflectance above is no land surface (`releo_jax.cubes.convention.HIGHEST_REFLECTANCE`)."""

_EDGE = 2e-6  # of reflectance about the ends of its range, within which rounding decides


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


class Wrong(Exception):
    """A finding, in words."""


def check_error(status: int, errors: str, names: list[str], left: list[str]) -> None:
    """Raises unless a refusal is one line that names a file, and nothing was left behind."""
    lines = [line for line in errors.splitlines() if line.strip()]
    if left:
        raise Wrong(f"left behind: {', '.join(left)}")
    if status not in (1, 2):
        raise Wrong(f"exit status {status}")
    if "Traceback" in errors or "releo: unexpected" in errors:
        raise Wrong(f"unexpected: {' '.join(errors.split())[-300:]}")
    strange = [line for line in lines if not line.startswith("releo: ")]
    if strange or not lines:
        raise Wrong(f"not one line: {' '.join(errors.split())[:300]!r}")
    if not any(name in lines[-1] for name in names):
        raise Wrong(f"names no file: {lines[-1][:200]}")


def directions_told(source: Path) -> list[str]:
    """The parts of the metadata of a product that hold its angles."""
    parts: list[str] = []
    for file in sorted(source.rglob("*MTD_*.xml")) if source.is_dir() else []:
        text = file.read_text(errors="replace") if file.is_file() else ""
        parts += [match.group(0) for match in re.finditer(r"(?s)<(Tile_Angles|Geometric_Informations)\b.*</\1>", text)]
    return parts


def check_map(
    kind: str,
    source: Path,
    output: Path,
    options: Mapping[str, float],
    status: int,
    *,
    beside: Path,
    directed: bool = True,
) -> None:
    """Raises unless a map has the places, the CRS and the numbers of its input.

    Args:
        kind: of the input.
        source: the input, spoilt.
        output: `.tif` or `.nc`.
        options: `scale`, `offset` and angles that were given.
        status: 0, or 3 where some pixels could not be read.
        beside: the optical image of a radar input.
        directed: whether the angles of a product are those that its maker wrote.
    """
    reading = READERS["NetCDF" if kind == "Sentinel-1" else kind](beside if kind == "Sentinel-1" else source, options)
    if not directed:
        reading.angles = None
    maps, x, y, crs, times = _maps(output)
    _check_grid(reading, x, y, crs, output)
    if len(maps) != len(reading.dates):
        raise Wrong(f"{len(maps)} dates for {len(reading.dates)}")
    if reading.times is not None and times is not None and times != reading.times:
        raise Wrong(f"dates {times} for {reading.times}")
    for date, (mean, flag) in enumerate(maps):
        if kind == "Sentinel-1":
            expected, sure = radar(source, x, y)
            valid = np.isfinite(expected)
        else:
            expected, valid, sure = retrieved(reading, date, x, y)
        _compare(mean, flag, expected, valid, sure, status)


def _maps(output: Path) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray, np.ndarray, Any, list[str] | None]:
    """Mean and flags for each date, places, CRS and dates of a result, by GDAL."""
    if output.suffix == ".nc":
        parts = []
        for what in ("mean", "flag"):
            with rasterio.open(f'NETCDF:"{output}":leaf_area_index_{what}') as file:
                parts.append(file.read())
        x, y, crs = grid(f'NETCDF:"{output}":leaf_area_index_mean')
        held, _ = raw_dataset(output)
        cx, cy = np.meshgrid(held["x"][1], held["y"][1])
        if crs is not None:
            if not (
                np.allclose(np.sort(x, None), np.sort(cx, None)) and np.allclose(np.sort(y, None), np.sort(cy, None))
            ):
                raise Wrong("the places by GDAL are not those of the coordinates of the result")
            if cy[0, 0] < cy[-1, 0] and y[0, 0] > y[-1, 0]:  # GDAL turns what is stored bottom up
                parts = [part[:, ::-1] for part in parts]
        return list(zip(*parts, strict=True)), cx, cy, crs, times_of(held)
    with rasterio.open(output) as file:
        names = [str(text).split(" ")[0] for text in file.descriptions]
        parts = [
            np.stack([file.read(index) for index, name in enumerate(names, 1) if name == f"leaf_area_index_{what}"])
            for what in ("mean", "flag")
        ]
        times = [
            file.tags(index).get("time", "") for index, name in enumerate(names, 1) if name == "leaf_area_index_mean"
        ]
    x, y, crs = grid(output)
    return list(zip(*parts, strict=True)), x, y, crs, times


def _check_grid(reading: Reading, x: np.ndarray, y: np.ndarray, crs: Any, output: Path) -> None:
    if x.shape != reading.x.shape:
        raise Wrong(f"grid of {x.shape} for {reading.x.shape}")
    step = max(np.ptp(reading.x) / max(x.shape[1] - 1, 1), np.ptp(reading.y) / max(x.shape[0] - 1, 1)) or 1.0
    apart = max(np.abs(np.sort(a, None) - np.sort(b, None)).max() for a, b in ((x, reading.x), (y, reading.y)))
    if not apart <= 1e-3 * step:
        raise Wrong(f"pixels are {apart:.6g} away from where they are in the input")
    if (crs is None) != (reading.crs is None) or (crs is not None and not same_crs(crs, reading.crs)):
        raise Wrong(f"CRS {_named(crs)} for {_named(reading.crs)}")


def same_crs(one: Any, other: Any) -> bool:
    """Whether two CRS are the same place by place."""
    import pyproj

    if one == other or (one.to_epsg() is not None and one.to_epsg() == other.to_epsg()):
        return True
    if pyproj.CRS(one.to_wkt()).equals(pyproj.CRS(other.to_wkt()), ignore_axis_order=True):
        return True
    # Names do not move a pixel.
    move = pyproj.Transformer.from_crs(one.to_wkt(), other.to_wkt(), always_xy=True)
    places = (9.0, 47.0) if one.is_geographic else (600_000.0, 5_300_000.0)
    return one.is_geographic == other.is_geographic and bool(np.allclose(move.transform(*places), places, atol=1e-9))


def _named(crs: Any) -> str:
    return "none" if crs is None else crs.to_string()[:60]


def retrieved(reading: Reading, date: int, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any, Any]:
    """Leaf area index by SL2P at places, where there is one, and where that is sure."""
    planes = [reading.dates[date][band].at(x, y) for band in BANDS]
    reflectance = np.stack([values for values, _ in planes], -1)
    sure = ~np.any([unsure for _, unsure in planes], axis=0)
    with np.errstate(invalid="ignore"):
        valid = ((reflectance >= 0) & (reflectance <= HIGHEST)).all(-1)
        edge = (np.abs(reflectance) < _EDGE) | (np.abs(reflectance - HIGHEST) < _EDGE)
    sure &= ~edge.any(-1)
    for mask in reading.masks[date]:
        valid &= mask.at(x, y)[0] == 0
    if reading.angles is None:
        return np.full(valid.shape, np.nan), valid, np.zeros_like(sure)
    angles = {}
    for name in ANGLES:
        held = reading.angles[date][name]
        angles[name] = held.at(x, y)[0] if isinstance(held, Plane) else np.full(x.shape, held)
    sun, view, azimuth = (angles[name] for name in ANGLES)
    with np.errstate(invalid="ignore"):
        valid &= (sun >= 0) & (sun < 90) & (view >= 0) & (view < 90) & (np.abs(azimuth) <= 360)
    return _sl2p(reflectance, angles, valid), valid, sure


def _sl2p(reflectance: np.ndarray, angles: Mapping[str, np.ndarray], valid: np.ndarray) -> np.ndarray:
    """Products of the valid pixels, NaN elsewhere; padded to a power of two that the program is compiled seldom."""
    number = int(valid.sum())
    result = np.full(valid.shape, np.nan)
    if not number:
        return result
    padding = np.arange(max(1024, 1 << (number - 1).bit_length())) % number
    sun_view = SunView.from_degrees(*(angles[name][valid][padding].astype(np.float32) for name in ANGLES))
    found = sl2p(reflectance[valid][padding].astype(np.float32), sun_view, variable="lai")
    result[valid] = np.asarray(found)[:number]
    return result


def radar(folder: Path, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """VV of the date nearest to the optical image in dB, NaN where there is none, and where that is sure."""
    moment = np.datetime64("2022-06-05T10:36:00")
    found: dict[Any, Path] = {}
    for file in sorted(folder.rglob("*.tif")):
        day = re.search(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)", file.stem, re.IGNORECASE)
        if day and re.search(r"(?:^|[^a-z])vv(?=$|[^a-z])", file.stem, re.IGNORECASE):
            year, month, date, hour, minute, second = day.groups()
            when = np.datetime64(f"{year}-{month}-{date}T{hour}:{minute}:{second}")
            if when in found:
                raise Refused("a date twice")
            found[when] = file
    nearest = found[min(found, key=lambda when: abs(when - moment))]
    _, _, crs = grid(nearest)
    if crs is None:
        raise Refused("no CRS")
    values, unsure = raster(nearest).at(x, y)
    theta, _ = raster(min(folder.rglob("*incidence*.tif"))).at(x, y)
    with np.errstate(invalid="ignore"):
        values = np.where(np.isfinite(values) & (theta > 0), values, np.nan)
    # Numbers that no backscatter has may count as none.
    return values, ~unsure & (np.abs(values) < 60)


def _compare(
    mean: np.ndarray, flag: np.ndarray, expected: np.ndarray, valid: np.ndarray, sure: np.ndarray, status: int
) -> None:
    known = (np.rint(flag).astype(int) & FLAGS["input_masked"]) == 0
    if (known & sure & ~valid).any():
        raise Wrong(f"{int((known & sure & ~valid).sum())} pixels retrieved that hold nothing valid")
    if status == 0 and (~known & sure & valid).any():
        raise Wrong(f"{int((~known & sure & valid).sum())} of {valid.sum()} valid pixels masked")
    if np.isfinite(mean[~known]).any():
        raise Wrong("values in masked pixels")
    both = known & valid & np.isfinite(expected)
    wrong = both & ~(np.abs(mean - expected) <= 2e-3 * (1.0 + np.abs(expected)))
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise Wrong(f"{int(wrong.sum())} pixels differ, such as {mean[place]:.5g} for {expected[place]:.5g}")


def check_table(source: Path, output: Path, options: Mapping[str, float]) -> None:
    """Raises unless a table of results has the numbers of its input, row by row."""
    held = columns(source)
    frame = pd.read_csv(output) if output.suffix == ".csv" else pd.read_parquet(output)
    missing = [band for band in BANDS if band.lower() not in held]
    if missing:
        raise Refused(f"no {missing}")
    numbers = np.stack([held[band.lower()] for band in BANDS], -1)
    if len(numbers) != len(frame):
        raise Wrong(f"{len(frame)} rows for {len(numbers)}")
    reflectance = numbers
    if "scale" in options:
        reflectance = (numbers + options.get("offset", 0.0)) / options["scale"]
    with np.errstate(invalid="ignore"):
        valid = ((reflectance >= 0) & (reflectance <= HIGHEST)).all(-1)
    sure = ~((np.abs(reflectance) < _EDGE) | np.isin(numbers, (-9999.0, 65535.0))).any(-1)
    if "scl" in held:
        valid &= np.isin(np.floor(held["scl"]), CLEAR)
    found = angles_from({name: 0.0 for name in ANGLES if name in held}, options)
    angles = {name: held[name] if name in held and name not in options else found[name] for name in ANGLES}
    angles = {name: np.broadcast_to(value, len(frame)) for name, value in angles.items()}
    with np.errstate(invalid="ignore"):
        for name, limit in (("sun_zenith", 90), ("view_zenith", 90)):
            valid &= (angles[name] >= 0) & (angles[name] < limit)
        valid &= np.abs(angles["relative_azimuth"]) <= 360
    expected = _sl2p(reflectance, angles, valid)
    _compare(frame["lai_mean"].to_numpy(float), frame["lai_flag"].to_numpy(), expected, valid, sure, 0)


def check_info(kind: str, source: Path, options: Mapping[str, float], said: str) -> None:
    """Raises unless `releo info` tells the size, the extent and the CRS of an image; for Landsat also its numbers.

    Pixels that cannot be read are of no concern to it: then nothing is compared.
    """
    try:
        reading = READERS[kind](source, options)
    except (RuntimeError, OSError):
        return
    except Refused as refused:
        if str(refused).startswith("no ["):  # of the bands that only the retrieval needs
            return
        raise
    size = re.search(r"size +(\d+) rows x (\d+) columns", said)
    extent = re.search(r"extent +x (\S+) to (\S+), y (\S+) to (\S+)", said)
    crs = re.search(r"CRS +(.+)", said)
    if not (size and extent and crs):
        raise Wrong(f"says nothing of its grid: {said[:200]}")
    if tuple(map(int, size.groups())) != reading.x.shape:
        raise Wrong(f"size {size.group(0)} for {reading.x.shape}")
    west, east, south, north = map(float, extent.groups())
    middle = np.array([0.5 * (west + east), 0.5 * (south + north)])
    step = max(1e-6 * np.abs(middle).max(), 1e-3)
    if np.abs(middle - [reading.x.mean(), reading.y.mean()]).max() > step:
        raise Wrong(f"{extent.group(0)} for a middle at {reading.x.mean():.10g}, {reading.y.mean():.10g}")
    if (crs.group(1).strip() == "none") != (reading.crs is None):
        raise Wrong(f"CRS {crs.group(1)} for {_named(reading.crs)}")
    if reading.crs is not None and reading.crs.to_epsg() and "EPSG" in crs.group(1):
        if crs.group(1).strip() != f"EPSG:{reading.crs.to_epsg()}":
            raise Wrong(f"CRS {crs.group(1)} for {_named(reading.crs)}")
    if kind == "Landsat":
        given: dict[str, Any] = {name: options[name] for name in ANGLES if name in options}
        with open_cube(source, **given) as cube:
            for band, plane in reading.dates[0].items():
                try:
                    expected, _ = plane.at(*np.meshgrid(cube["x"].values, cube["y"].values))
                except rasterio.errors.RasterioError:
                    continue
                values = cube["reflectance"].sel(band=band).values[0]
                if not np.allclose(values, expected, atol=1e-5, rtol=1e-5, equal_nan=True):
                    raise Wrong(f"{band} differs")
