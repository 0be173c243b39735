"""Cubes in NetCDF files and Zarr stores: our own, and the commonest layouts of others."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import xarray as xr
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from releo_jax.cubes.checks import check_cube, check_samples
from releo_jax.cubes.convention import (
    ANGLES,
    HIGHEST_REFLECTANCE,
    LANDSAT_SENSORS,
    PRODUCT_ATTRS,
    SENSORS,
    Flag,
    assemble,
    band_name,
    bands_known,
    choose_angles,
    choose_bands,
    grid_of,
    sensor_name,
)
from releo_jax.cubes.rasters import CHUNK
from releo_jax.cubes.safe import CLEAR, scene_flags
from releo_jax.cubes.stored import open_stored
from releo_jax.cubes.values import (
    Coding,
    check_integers,
    check_numbers,
    decode,
    fill_values,
    linear_coding,
    saturated_values,
)
from releo_jax.errors import ReleoError

_RENAMED = {"t": "time", "date": "time", "bands": "band", "lat": "y", "lon": "x", "latitude": "y", "longitude": "x"}
_REFLECTANCE = ("reflectance", "band_data", "rrs", "boa", "data")
_DIMS = ("time", "band", "y", "x")
SMALLEST = 0.1
"""Pixels smaller than this, in metres, are taken for a mistake of units."""


def is_dataset(path: Path) -> bool:
    """Whether a path is a NetCDF file or a Zarr store."""
    if path.is_dir():
        return path.suffix == ".zarr" or (path / "zarr.json").exists() or (path / ".zgroup").exists()
    return path.suffix.lower() in (".nc", ".nc4", ".cdf", ".h5")


def open_dataset(
    path: str | os.PathLike[str],
    *,
    sensor: str | None = None,
    scale: float | None = None,
    offset: float | None = None,
    bands: Sequence[str] | None = None,
    angles: Mapping[str, float | None] | None = None,
    clear: Sequence[int] = CLEAR,
) -> xr.Dataset:
    """Opens a NetCDF file or Zarr store as a cube.

    Our own cubes come back as they were written. Of others, reflectance is a variable `reflectance` or `band_data`
    with a dimension of bands, or one variable a band (`B02`, `S2-L2A-B02`); the scene classification is `scl`; angles
    are variables over nothing, `time`, or `(time, y, x)`, in degrees.

    Args:
        path: file or store.
        sensor: the sensor; None to take it from the file (attribute `sensor`, or names of products, `S2A_MSIL2A_...`).
        scale: reflectance = (number + offset) / scale; None to take both from the file's own attributes.
        offset: see `scale`.
        bands: bands to read, None for all.
        angles: angles in degrees, which win over those found.
        clear: classes of the scene classification that are clear.

    Raises:
        ReleoError: something is missing, damaged, or does not fit.
    """
    path = Path(path)
    stored = _open(path)
    try:
        return cube_of(stored, path, sensor, scale, offset, bands, angles or {}, clear)
    except (OSError, RuntimeError) as error:  # of the few numbers that are read at once
        stored.close()
        detail = " ".join(str(error).split())[:120]
        raise ReleoError(
            f"{path}: cannot be read ({detail}); the file is truncated or damaged: copy or download it again"
        ) from error
    except BaseException:
        # Left to the garbage collector, the file would be closed while another thread reads: netCDF takes no lock then.
        stored.close()
        raise


def cube_of(
    stored: xr.Dataset,
    path: Path,
    sensor: str | None,
    scale: float | None,
    offset: float | None,
    bands: Sequence[str] | None,
    angles: Mapping[str, float | None],
    clear: Sequence[int],
) -> xr.Dataset:
    """The cube that a dataset holds whose variables are named as `open_dataset` expects them; options as there."""
    raw = _bands(stored, path)
    # What lies beside reflectance has its bands by the same names, whatever the file calls them.
    alike = stored.sizes.get("band") == raw.sizes["band"]
    beside = stored.assign_coords(band=raw["band"].values) if alike else stored
    chosen = choose_bands([str(name) for name in raw["band"].values], bands, str(path), _known(stored))
    raw = raw.sel(band=list(chosen))
    raw = _chunked(raw) if raw.chunks is None else raw
    packed = scale is not None or raw.dtype != np.float32 or {"scale_factor", "add_offset"} & set(raw.attrs)
    if "mask" in stored and "flag_meanings" in stored["mask"].attrs and not packed:
        reflectance, mask, coding = raw, _pick(beside["mask"], chosen, raw), Coding()
        if "time" not in mask.dims:
            mask = mask.expand_dims(time=raw.sizes["time"])
        outside = (raw < 0) | (raw > HIGHEST_REFLECTANCE)
        mask = mask | xr.where(outside, np.uint8(Flag.INVALID_VALUE), np.uint8(0))
        fill = _declared_fill(raw)
        if fill is not None and np.isfinite(fill):  # where it is NaN, as in our own files, the mask says why
            gone = raw == raw.dtype.type(fill)
            reflectance, mask = raw.where(~gone), mask | xr.where(gone, np.uint8(Flag.NODATA), np.uint8(0))
    else:
        coding = _coding(raw, scale, offset, str(path))
        reflectance, mask = decode(raw, coding)
        classes = next((beside[name] for name in ("scl", "SCL") if name in stored), None)
        if classes is not None:
            mask = mask | scene_flags(_pick(classes, chosen, raw), clear)
    found = {
        name: _angle(_pick(beside[name], chosen, raw), f"{path}: {name}")
        for name in (*ANGLES, "sun_azimuth", "view_azimuth")
        if name in stored
    }
    attrs = {
        name: stored.attrs[name]
        for name in ("sensor", *PRODUCT_ATTRS, "resampling", "sun_azimuth")
        if name in stored.attrs
    }
    cube = assemble(
        reflectance.transpose(*_DIMS),
        mask.transpose(*_DIMS, missing_dims="ignore"),
        choose_angles(found, angles, str(path)),
        crs=_crs(stored, str(path)),
        transform=_transform(stored, str(path)),
        attrs={**attrs, "source": path.name},
    )
    cube = _with_sensor(cube, stored, sensor, path)
    cube.set_close(stored.close)
    check_cube(cube)
    crs, transform = grid_of(cube, str(path))
    if crs is not None and crs.is_projected and min(abs(transform.a), abs(transform.e)) < SMALLEST:
        raise ReleoError(
            f"{path}: pixels of {abs(transform.a):g} x {abs(transform.e):g} m; the coordinates may be kilometres, "
            "write them in the unit of the CRS"
        )
    check_samples(cube, coding.scale, str(path))
    return cube


def _open(path: Path) -> xr.Dataset:
    """The stored dataset with the convention's names of dimensions; numbers as they are stored."""
    if path.is_file() and not path.stat().st_size:
        raise ReleoError(f"{path}: the file is empty; copy or download it again")
    options = {"consolidated": (path / ".zmetadata").exists()} if path.is_dir() else {}
    stored = open_stored(path, mask_and_scale=False, **options)
    return conventional_names(stored)


def conventional_names(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with the convention's names of dimensions, `lat` as `y`."""
    return dataset.rename(
        {old: new for old, new in _RENAMED.items() if old in dataset.dims and new not in dataset.dims}
    )


def check_alike(variables: Sequence[xr.DataArray], where: str) -> None:
    """Raises where bands are stored in different ways, which one scale cannot undo."""
    first = variables[0]
    for variable in variables:
        if (variable.dtype, variable.dims, variable.shape) != (first.dtype, first.dims, first.shape):
            raise ReleoError(
                f"{where}: one band is {first.dtype} {dict(first.sizes)}, another {variable.dtype} "
                f"{dict(variable.sizes)}; bring them to one grid, dates and type first"
            )
        for name in ("scale_factor", "add_offset", "_FillValue", "missing_value"):
            one, other = (str(array.attrs.get(name)) for array in (first, variable))
            if one != other:
                raise ReleoError(f"{where}: {name} is {one} of one band and {other} of another; decode them first")


def _bands(stored: xr.Dataset, path: Path) -> xr.DataArray:
    """The variable or variables that hold reflectance, as one array with named bands."""
    known = _known(stored)
    for name in _REFLECTANCE:
        if name in stored and "band" in stored[name].dims:
            raw = stored[name]
            try:
                labels = raw["band"].values if "band" in raw.coords else raw.attrs.get("long_name", ())
            except Exception as error:  # damaged texts: whatever pandas' own storage of them raises
                raise ReleoError(f"{path}: the names of the bands cannot be read; copy the file again") from error
            labels = [labels] if isinstance(labels, str) else list(labels)
            names = [band_name(label, known) for label in labels]
            unknown = [str(label) for label, band in zip(labels, names, strict=True) if band is None]
            if unknown or len(names) != raw.sizes["band"] or len(set(names)) != len(names):
                raise ReleoError(
                    f"{path}: bands of {name} are named {labels}; expected B02, B8A, ..., each once: rename them"
                )
            raw = raw.assign_coords(band=names)
            break
    else:
        planes = [str(name) for name in stored.data_vars if {"y", "x"} <= set(stored[name].dims)]
        single: dict[str, str] = {}
        for plane in planes:
            band = band_name(plane, known)
            if band in single:
                raise ReleoError(f"{path}: the variables {single[band]} and {plane} are both {band}; remove one")
            if band is not None:
                single[band] = plane
        if not single:
            raise ReleoError(
                f"{path}: no variable holds reflectance; expected reflectance(time, band, y, x), or one variable a "
                f"band (B02, ...); found {', '.join(map(str, stored.data_vars)) or 'nothing'}"
            )
        arrays = [
            _chunked(stored[name].drop_vars("band", errors="ignore").transpose(*_DIMS, ..., missing_dims="ignore"))
            for name in single.values()
        ]
        check_alike(arrays, str(path))
        stacked = xr.Variable.concat([array.variable for array in arrays], dim="band")
        raw = xr.DataArray(stacked, coords={**arrays[0].coords, "band": list(single)})
    missing = {"y", "x"} - set(raw.dims)
    if missing or set(raw.dims) - set(_DIMS):
        raise ReleoError(f"{path}: expected dimensions (time, band, y, x), got {raw.dims}; rename or select")
    if "time" not in raw.dims:
        when = raw.coords["time"].values if "time" in raw.coords else np.datetime64("NaT", "ns")
        raw = raw.drop_vars("time", errors="ignore").expand_dims(time=[when])
    for name in ("y", "x", "time"):
        if name not in raw.coords:
            raise ReleoError(f"{path}: no coordinate {name}; add the coordinates of the pixels and dates")
        if str(raw[name].attrs.get("units")).lower().startswith(("km", "kilomet")):
            raise ReleoError(f"{path}: coordinates {name} in kilometres; write them in the unit of the CRS, metres")
    if not raw.size:
        raise ReleoError(f"{path}: the image is empty ({dict(raw.sizes)}); check how it was made")
    if raw["time"].dtype.kind != "M":
        raise ReleoError(f"{path}: expected dates in time, got {raw['time'].dtype}; write it as CF time")
    return raw.transpose(*_DIMS)


def _known(stored: xr.Dataset) -> tuple[str, ...]:
    """The bands of the sensor that a file names."""
    return bands_known(stored.attrs.get("sensor"))


def _chunked(array: xr.DataArray) -> xr.DataArray:
    """The array in chunks of one date, at most `CHUNK` squared numbers, in multiples of the chunks it is stored in."""
    stored = array.encoding.get("preferred_chunks", {})
    sides = {}
    for name in ("y", "x"):
        own = min(stored.get(name, CHUNK), CHUNK)
        sides[name] = min(CHUNK // own * own, array.sizes[name])
    sides |= {"time": 1, "band": max(1, CHUNK**2 // max(1, sides["y"] * sides["x"]))}
    return array.chunk({name: min(side, array.sizes[name]) for name, side in sides.items() if name in array.dims})


def _pick(variable: xr.DataArray, bands: Sequence[str], raw: xr.DataArray) -> xr.DataArray:
    """A variable beside reflectance: its bands chosen, its chunks those of reflectance, its fill values NaN."""
    if "band" in variable.dims:
        variable = variable.sel(band=list(bands))
    chunks = dict(zip(raw.dims, raw.chunks or (), strict=False))
    variable = variable.chunk({name: chunks[name] for name in variable.dims if name in chunks})
    fill = variable.attrs.get("_FillValue")
    if variable.dtype.kind == "f" and fill is not None and np.isfinite(fill):
        variable = variable.where(variable != fill)
    kept = [name for name in variable.coords if name not in _DIMS]
    return variable.drop_vars(kept)


def _angle(stored: xr.DataArray, where: str) -> xr.DataArray:
    """An angle, decoded by its own attributes, over nothing, the dates, or their pixels."""
    check_numbers(stored.dtype, where)
    if not set(stored.dims) <= {"time", "y", "x"} or ("y" in stored.dims) != ("x" in stored.dims):
        raise ReleoError(f"{where}: expected dimensions (time) or (time, y, x), got {stored.dims}; select or rename")
    factor, summand = (_attribute(stored.attrs, *name, where) for name in (("scale_factor", 1.0), ("add_offset", 0.0)))
    return stored.transpose("time", "y", "x", missing_dims="ignore") * factor + summand


def _coding(raw: xr.DataArray, scale: float | None, offset: float | None, where: str) -> Coding:
    check_numbers(raw.dtype, where)
    attrs = {**raw.encoding, **raw.attrs}
    nodata = fill_values(raw.dtype, _declared_fill(raw))
    saturated = saturated_values(raw.dtype)
    if scale is None and ("scale_factor" in attrs or attrs.get("add_offset", 0.0)):
        factor, summand = (_attribute(attrs, *name, where) for name in (("scale_factor", 1.0), ("add_offset", 0.0)))
        coding = linear_coding(factor, (summand,), nodata, saturated, where)
        return coding if offset is None else dataclasses.replace(coding, offset=offset)
    check_integers(raw.dtype, scale, where)
    return Coding(1.0 if scale is None else scale, offset or 0.0, nodata, saturated)


def _declared_fill(raw: xr.DataArray) -> float | None:
    """The number that a variable says it has where it has none."""
    attrs = {**raw.encoding, **raw.attrs}
    declared = attrs.get("_FillValue", attrs.get("missing_value"))
    return None if declared is None else float(np.ravel(declared)[0])


def _attribute(attrs: Mapping[str, Any], name: str, otherwise: float, where: str) -> float:
    """An attribute that is one number."""
    try:
        (number,) = np.ravel(attrs.get(name, otherwise))
        return float(number)
    except ValueError:
        raise ReleoError(f"{where}: expected one number in {name}, got {attrs[name]!r}; correct the file") from None


def _crs(stored: xr.Dataset, where: str) -> CRS | None:
    """The CRS that the grid mapping of a variable tells, as text or by its CF parameters, or an attribute `crs`."""
    named = [str(variable.attrs["grid_mapping"]) for variable in stored.values() if "grid_mapping" in variable.attrs]
    told: Any = stored.attrs.get("crs")
    for name in dict.fromkeys((*named, "spatial_ref", "crs")):
        attrs = stored[name].attrs if name in stored.variables else {}
        text = attrs.get("crs_wkt") or attrs.get("spatial_ref")
        if text or "grid_mapping_name" in attrs:
            told = text or attrs
            break
    if told is None or told == "":
        return None
    try:
        with rasterio.Env():  # its errors go to the log, not to the screen
            return CRS.from_user_input(pyproj.CRS.from_cf(told).to_wkt() if isinstance(told, dict) else told)
    except (RasterioError, pyproj.exceptions.ProjError, KeyError, ValueError, TypeError) as error:
        detail = " ".join(str(error).split())[:80]
        raise ReleoError(f"{where}: a CRS that cannot be read ({detail}); correct or remove it") from error


def _transform(stored: xr.Dataset, where: str) -> Affine | None:
    """The transform that rioxarray or GDAL wrote, which holds the pixel size of an image of one pixel too."""
    text = stored["spatial_ref"].attrs.get("GeoTransform") if "spatial_ref" in stored.variables else None
    if not text:
        return None
    try:
        return Affine.from_gdal(*(float(part) for part in str(text).split()))
    except (ValueError, TypeError):
        raise ReleoError(f"{where}: expected six numbers in GeoTransform, got {text!r}; correct or remove it") from None


def _with_sensor(cube: xr.Dataset, stored: xr.Dataset, sensor: str | None, where: Path) -> xr.Dataset:
    """The cube with its sensor: as given, as an attribute says, or from the names of products, date by date."""
    if sensor is None and "sensor" in cube.attrs:
        sensor = cube.attrs["sensor"]
    if sensor is not None:
        return cube.assign_attrs(sensor=sensor_name(sensor, (*SENSORS, *LANDSAT_SENSORS), where))
    for name in ("sensor", "scene_id", "product_id", "productid", "product"):
        if name in stored and stored[name].dims == ("time",):
            found = [re.match(r"(?:sentinel-?2|S2)([ABC])", str(text), re.IGNORECASE) for text in stored[name].values]
            names = [f"sentinel2{match.group(1).lower()}" for match in found if match]
            if len(names) != len(found):
                continue
            if len(set(names)) == 1:
                return cube.assign_attrs(sensor=names[0])
            return cube.assign_coords(sensor=("time", names))
    return cube
