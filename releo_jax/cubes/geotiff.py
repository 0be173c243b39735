"""Bands in GeoTIFF files: a folder of one-band files, or one file with named bands."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from releo_jax.cubes import rasters
from releo_jax.cubes.checks import check_samples
from releo_jax.cubes.convention import ANGLES, band_name, choose_angles, choose_bands, sensor_name
from releo_jax.cubes.rasters import Raster
from releo_jax.cubes.safe import CLEAR, RESAMPLING, scene_flags
from releo_jax.cubes.values import Coding, check_integers, decode, fill_values, linear_coding, saturated_values
from releo_jax.errors import ReleoError

SUFFIXES = (".tif", ".tiff", ".jp2")
_ANGLE_FILES = (*ANGLES, "sun_azimuth", "view_azimuth")
_TIME = re.compile(r"(?<!\d)(\d{8})T(\d{6})(?!\d)")


def open_geotiff(
    path: str | os.PathLike[str],
    *,
    sensor: str | None = None,
    scale: float | None = None,
    offset: float | None = None,
    bands: Sequence[str] | None = None,
    angles: Mapping[str, float | None] | None = None,
    clear: Sequence[int] = CLEAR,
) -> xr.Dataset:
    """Opens a folder of band GeoTIFFs, or one GeoTIFF whose bands are named, as a cube with one date.

    In a folder, the name of a file says which band it holds (`field_B02.tif`), `*SCL*.tif` is a scene classification,
    and angles are read from `sun_zenith.tif`, `view_zenith.tif`, `relative_azimuth.tif` where these are, else from
    `angles.json`: an object with `sun_zenith, view_zenith, relative_azimuth` (or `sun_azimuth, view_azimuth`) in
    degrees, and perhaps `time`, `sensor`. Files must share one grid; pixel sizes in whole ratios are brought to the
    finest of them by nearest neighbour.

    Args:
        path: folder or file.
        sensor: the sensor; None to take it from `angles.json`.
        scale: reflectance = (number + offset) / scale; None to take both from the files' own scale and offset.
        offset: see `scale`.
        bands: bands to read, None for all.
        angles: angles in degrees, which win over those found.
        clear: classes of the scene classification that are clear.

    Raises:
        ReleoError: something is missing, damaged, or does not fit.
    """
    path = Path(path)
    found = _bands(path)
    chosen = choose_bands(list(found), bands, str(path))
    headers = {name: found[name][0] for name in chosen}
    finest = min(headers.values(), key=lambda header: abs(header.grid.transform.a))
    grid = finest.grid
    sources = [rasters.source(headers[name], grid, finest.path, found[name][1]) for name in chosen]
    for header in headers.values():
        if header.dtype != finest.dtype or str(header.nodata) != str(finest.nodata):  # as text: NaN is not NaN
            raise ReleoError(
                f"{header.path} holds {header.dtype} with nodata {header.nodata}, {finest.path} {finest.dtype} with "
                f"nodata {finest.nodata}; write all bands in one way"
            )
    coding = _coding([(headers[name], found[name][1]) for name in chosen], scale, offset)
    side = rasters.chunk_side([header.tile for header in headers.values()])
    raw = rasters.lazy(sources, grid, finest.dtype, special=coding.nodata + coding.saturated, tile=side)
    reflectance, mask = decode(raw, coding)
    extra = _sidecar(path)
    others = _others(path)
    if "SCL" in others:
        item = rasters.source(others["SCL"], grid, finest.path)
        classes = rasters.lazy([item], grid, others["SCL"].dtype, special=None, tile=side).isel(band=0)
        mask = mask | scene_flags(classes, clear)
    known: dict[str, Any] = {name: extra[name] for name in _ANGLE_FILES if name in extra}
    for name in _ANGLE_FILES:
        if name in others:
            header = others[name]
            item = rasters.source(header, grid, finest.path)
            numbers = rasters.lazy([item], grid, header.dtype, special=None, tile=side).isel(band=0)
            known[name] = numbers * header.scales[0] + header.offsets[0]
            if header.nodata is not None:
                known[name] = known[name].where(numbers != header.nodata)
    chosen_angles = choose_angles(known, angles or {}, str(path))
    named = sensor or extra.get("sensor")
    attrs = {"source": path.name, "resampling": RESAMPLING}
    if named is not None:
        attrs["sensor"] = sensor_name(named, where=None if sensor else _side_car(path))
    time = _time(extra.get("time"), finest, path)
    cube = rasters.one_date(reflectance, mask, chosen_angles, time=time, bands=chosen, grid=grid, attrs=attrs)
    check_samples(cube, coding.scale, str(path))
    return cube


def is_geotiff(path: Path) -> bool:
    """Whether a path is a GeoTIFF, or a folder that holds some."""
    return path.suffix.lower() in SUFFIXES if path.is_file() else bool(_rasters(path))


def _rasters(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _bands(path: Path) -> dict[str, tuple[Raster, int]]:
    """Header and index in the file of every band."""
    if path.is_file():
        header = rasters.inspect(path)
        return {name: (header, index) for name, index in _named(header).items()}
    found: dict[str, tuple[Raster, int]] = {}
    for file in _rasters(path):
        name = band_name(file.stem)
        if name is None:
            continue
        if name in found:
            raise ReleoError(f"{path}: both {found[name][0].path.name} and {file.name} hold {name}; keep one of them")
        found[name] = (rasters.inspect(file), 1)
    return found


def _named(header: Raster) -> dict[str, int]:
    """Index of every band of a file by its description; `reflectance_B02` goes before `mask_B02`."""
    texts = [(index, text or "") for index, text in enumerate(header.descriptions, start=1)]
    spoken = [(index, text) for index, text in texts if "reflectance" in text] or texts
    named: dict[str, int] = {}
    for index, text in spoken:
        name = band_name(text)
        if name in named:
            raise ReleoError(f"{header.path}: bands {named[name]} and {index} are both {name}; give one date a file")
        if name is not None:
            named[name] = index
    return named


def _others(path: Path) -> dict[str, Raster]:
    """Headers of the scene classification and of the angles, by name."""
    if path.is_file():
        return {}
    others: dict[str, Raster] = {}
    for file in _rasters(path):
        if re.search(r"(?:^|[^A-Za-z])SCL(?=$|[^A-Za-z])", file.stem, re.IGNORECASE):
            others["SCL"] = rasters.inspect(file)
        elif file.stem.lower() in _ANGLE_FILES:
            others[file.stem.lower()] = rasters.inspect(file)
    return others


def _coding(files: Sequence[tuple[Raster, int]], scale: float | None, offset: float | None) -> Coding:
    """How the files store reflectance: as the caller says, or as the files say."""
    first, _ = files[0]
    nodata, saturated = fill_values(first.dtype, first.nodata), saturated_values(first.dtype)
    declared = np.unique([header.scales[index - 1] for header, index in files])  # NaN once too
    # GDAL: value = number * scale + offset
    summands = [header.offsets[index - 1] for header, index in files]
    if scale is None and ((declared != 1.0).any() or any(summands)):
        if len(declared) > 1:
            raise ReleoError(f"{first.path.parent}: bands with different scales {declared.tolist()}; give --scale")
        if declared[0] == 1.0:  # offsets alone
            check_integers(first.dtype, scale, str(first.path))
        coding = linear_coding(float(declared[0]), summands, nodata, saturated, str(first.path))
        return coding if offset is None else dataclasses.replace(coding, offset=offset)
    check_integers(first.dtype, scale, str(first.path))
    return Coding(1.0 if scale is None else scale, offset or 0.0, nodata, saturated)


def _side_car(path: Path) -> Path:
    return (path if path.is_dir() else path.parent) / "angles.json"


def _sidecar(path: Path) -> dict[str, Any]:
    """Content of `angles.json` beside the bands."""
    file = _side_car(path)
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ReleoError(f"{file}: cannot be read as JSON ({error}); correct or remove it") from error
    wrong = [
        name
        for name in _ANGLE_FILES
        if isinstance(content, dict) and not isinstance(content.get(name, 0.0), (int, float))
    ]
    if not isinstance(content, dict) or wrong:
        raise ReleoError(f'{file}: expected an object such as {{"sun_zenith": 35.0, ...}} with numbers in degrees')
    return content


def _time(text: Any, header: Raster, path: Path) -> np.datetime64:
    """Date from the side-car file, the TIFF tag, or the file's name; not-a-time if none tells."""
    candidates = [str(text)] if text else []
    tag = header.tags.get("TIFFTAG_DATETIME", "")
    if re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", tag):
        candidates.append(tag[:10].replace(":", "-") + "T" + tag[11:])
    found = _TIME.search(header.path.stem) or _TIME.search(path.name)
    if found:
        day, hour = found.groups()
        candidates.append(f"{day[:4]}-{day[4:6]}-{day[6:]}T{hour[:2]}:{hour[2:4]}:{hour[4:]}")
    for candidate in candidates:
        try:
            return np.datetime64(candidate.rstrip("Z")).astype("datetime64[ns]")
        except ValueError:
            raise ReleoError(f"{path}: expected a time such as 2022-06-15T10:30:00, got {candidate!r}") from None
    return np.datetime64("NaT", "ns")
