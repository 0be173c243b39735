"""Sentinel-1 backscatter from GeoTIFF files, one for each date and polarisation.

    S1A_IW_20200108T054411_DVP_RTC10_G_gpuned_1A2B_VV.tif     gamma-0 ("g"), power ("p"), as HyP3 of the ASF names it
    S1A_IW_20200108T054411_DVP_RTC10_G_gpuned_1A2B_inc_map_ell.tif         angle of incidence of its date, radians
    s1a_31TCJ_vv_DES_110_20200108t054411_sigma0.tif           sigma-0; without _dB, the unit has to be given
    incidence.tif                                             angle of incidence of all dates, degrees

Dates stay as they are: every date and polarisation that is not there is empty, nothing is interpolated or resampled.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from releo_jax.cubes import rasters
from releo_jax.cubes.checks import sample_windows
from releo_jax.cubes.convention import set_grid
from releo_jax.cubes.radar import (
    POLARISATIONS,
    check_backscatter,
    check_floats,
    check_incidence,
    polarisation_of,
    quantity_of,
    radar_dataset,
    sigma_nought,
    unit_of,
)
from releo_jax.cubes.rasters import Raster
from releo_jax.cubes.values import equals_any, fill_values
from releo_jax.errors import ReleoError

_DATE = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?:[Tt](\d\d)(\d\d)(\d\d))?(?!\d)")
_HYP3 = re.compile(r"_RTC\d+_G_([gs])([pad])")
_INCIDENCE = re.compile(r"incidence|inc_map|inc_angle", re.IGNORECASE)


def open_sentinel1(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    unit: str | None = None,
    quantity: str | None = None,
    incidence: float | None = None,
) -> xr.Dataset:
    """Opens terrain-corrected backscatter in GeoTIFF files as dates beside an optical image, lazily.

    The name of a file says its polarisation (`VV`, `vh`) and its date (`20200108T054411`; a day without the hour is
    taken for noon, UTC). Files whose names hold `incidence`, `inc_map` or `inc_angle` hold the angle of incidence in
    degrees (those of HyP3, `inc_map`, radians), for the date in the name, or for all dates without one. Where there is
    the angle to the ellipsoid (`_ell`) beside the local one, it is taken: after the correction for terrain, every pixel
    scatters like flat ground. All files have one grid.

    Args:
        source: folder, or list of files.
        unit: "linear" or "dB", where the names do not say it (`..._dB.tif`).
        quantity: "sigma0" or "gamma0", where the names do not say it (`sigma0`, `gamma0`, or as HyP3 names files).
            sigma-0 = gamma-0 cos(angle of incidence).
        incidence: degrees, for all pixels; wins over what the files hold.

    Returns:
        `backscatter` (radar_time, polarisation, y, x), sigma-0 in dB, NaN where there is none or where noise was
        subtracted below zero; `incidence` (radar_time, y, x) in degrees. `spatial_ref` holds CRS and transform.

    Raises:
        ReleoError: something is missing, grids differ, or the numbers are not what the unit says.

    References:
        Small 2011, IEEE Trans. Geosci. Remote Sens. 49, 3081 (flattening of terrain).
    """
    files, where = _listed(source)
    bands, angles = _sorted(files, where)
    headers = {key: rasters.inspect(path) for key, path in bands.items()}
    reference = next(iter(headers.values()))
    if reference.grid.crs is None:
        raise ReleoError(f"{reference.path}: no CRS in the file; write it as GeoTIFF with its CRS")
    kinds = {_kind(header.path, unit, quantity) for header in headers.values()}
    if len(kinds) > 1:
        found = ", ".join(sorted(" ".join(kind) for kind in kinds))
        raise ReleoError(f"{where}: files of several kinds ({found}); open those of one kind at a time")
    stored, measured = kinds.pop()
    for header in headers.values():
        check_floats(header.dtype, str(header.path))
    times = sorted({time for time, _ in headers})
    empty = _empty(reference)
    theta = _incidence(times, angles, incidence, reference, where)
    planes = []
    for name in POLARISATIONS:
        files_of = [header for (_, held), header in headers.items() if held == name]
        for header in _three(files_of):
            check_backscatter(_sample(header), stored, str(header.path))
        dates = [_plane(headers[time, name], reference) if (time, name) in headers else empty for time in times]
        planes.append(sigma_nought(xr.concat(dates, dim="radar_time"), theta, unit=stored, quantity=measured))
    data = xr.concat(planes, dim="polarisation").transpose("radar_time", "polarisation", "y", "x")
    said = f"{measured} times the cosine of the angle of incidence" if measured == "gamma0" else "as in the files"
    radar = radar_dataset(data, theta, {"source": where, "sigma0": said})
    radar = radar.assign_coords({"radar_time": np.array(times), **reference.grid.coordinates()})
    return set_grid(radar, reference.grid.crs, reference.grid.transform)


def _listed(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[list[Path], str]:
    """Files, and a name for them all."""
    if isinstance(source, str | os.PathLike):
        folder = Path(source)
        if not folder.is_dir():
            raise ReleoError(f"{folder}: no such folder; give a folder or a list of GeoTIFF files")
        # HyP3 gives every date a folder of its own.
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".tif", ".tiff"))
        return found, str(folder)
    files = [Path(path) for path in source]
    return files, f"{files[0].parent if files else 'no files'}"


def _sorted(
    files: Sequence[Path], where: str
) -> tuple[dict[tuple[np.datetime64, str], Path], dict[np.datetime64 | None, Path]]:
    """Files of backscatter by time and polarisation, and of incidence by time, or None where it holds for all times."""
    bands: dict[tuple[np.datetime64, str], Path] = {}
    angles: dict[np.datetime64 | None, Path] = {}
    for path in files:
        time = _time(path.stem)
        if _INCIDENCE.search(path.stem):
            if time not in angles or path.stem.endswith("_ell"):
                angles[time] = path
            continue
        polarisation = polarisation_of(path.stem)
        if polarisation is None:
            continue
        if time is None:
            raise ReleoError(
                f"{path}: expected a date such as 20200108 or 20200108T054411 in the name; rename the file"
            )
        if (time, polarisation) in bands:
            raise ReleoError(
                f"{where}: {bands[time, polarisation].name} and {path.name} both hold {polarisation} of {time}; "
                "merge them, or keep one"
            )
        bands[time, polarisation] = path
    if not any(polarisation == "VV" for _, polarisation in bands):
        raise ReleoError(f"{where}: expected GeoTIFF files named after date and polarisation VV (and VH), found none")
    return dict(sorted(bands.items())), angles


def _time(stem: str) -> np.datetime64 | None:
    found = _DATE.search(stem)
    if found is None:
        return None
    year, month, day, hour, minute, second = found.groups()
    try:
        return np.datetime64(f"{year}-{month}-{day}T{hour or 12}:{minute or '00'}:{second or '00'}", "ns")
    except ValueError:
        return None


def _kind(path: Path, unit: str | None, quantity: str | None) -> tuple[str, str]:
    """Unit and quantity of a file."""
    stated, text = "", path.stem
    coded = _HYP3.search(path.stem)
    if coded is not None:
        stated = {"p": "linear", "a": "amplitude", "d": "dB"}[coded.group(2)]
        text = {"g": "gamma0", "s": "sigma0"}[coded.group(1)]
    if stated == "amplitude" and unit is None:
        raise ReleoError(f"{path}: holds amplitude; order the product as power or dB")
    measured = quantity_of(text, quantity)
    if measured is None:
        raise ReleoError(
            f"{path}: the name does not say whether it is sigma0 or gamma0; give --radar-quantity sigma0 or "
            "--radar-quantity gamma0 (quantity=...)"
        )
    return unit_of(path.stem, stated, unit, str(path.parent)), measured


def _plane(header: Raster, reference: Raster) -> xr.DataArray:
    """Numbers (y, x) of a file, NaN where it declares that there are none."""
    item = rasters.source(header, reference.grid, reference.path)
    if (item.repeat, item.shrink) != (1, 1):
        raise ReleoError(
            f"grids do not match: {header.path} has {header.grid}; {reference.path} has {reference.grid}; "
            "warp the files to one grid first (gdalwarp)"
        )
    tile = rasters.chunk_side([reference.tile])
    numbers = rasters.lazy([item], reference.grid, header.dtype, special=None, tile=tile).isel(band=0)
    blank = xr.apply_ufunc(
        equals_any, numbers, kwargs={"numbers": fill_values(header.dtype, header.nodata)},
        dask="parallelized", output_dtypes=[bool],
    )  # fmt: skip
    return numbers.where(~blank) * header.scales[0] + header.offsets[0]


def _three(files: Sequence[Raster]) -> list[Raster]:
    """The first, the middle and the last of some files: those whose numbers are looked at."""
    return [files[index] for index in sorted({0, len(files) // 2, len(files) - 1})] if files else []


def _sample(header: Raster) -> np.ndarray:
    """Numbers of small windows of a file."""
    found = np.zeros(0)
    for number in (3, 9):  # more windows where the first ones lie outside the swath
        windows = sample_windows(header.grid.height, header.grid.width, number)
        numbers = [rasters.read(rasters.Source(header.path), y, x, None).ravel() for y, x in windows]
        found = np.concatenate(numbers).astype(np.float64)
        found = found[~equals_any(found, (*fill_values(header.dtype, header.nodata), 0.0))]
        found = found * header.scales[0] + header.offsets[0]
        if np.isfinite(found).any():
            break
    return found


def _empty(reference: Raster) -> xr.DataArray:
    """A plane (y, x) without a number."""
    side = rasters.chunk_side([reference.tile])
    shape = reference.grid.height, reference.grid.width
    return xr.DataArray(da.full(shape, np.nan, np.float32, chunks=side), dims=("y", "x"))


def _incidence(
    times: Sequence[np.datetime64],
    files: dict[np.datetime64 | None, Path],
    given: float | None,
    reference: Raster,
    where: str,
) -> xr.DataArray:
    """Angles (radar_time, y, x) in degrees."""
    if given is not None:
        check_incidence(np.asarray([given]), "--incidence")
        plane = xr.full_like(_empty(reference), given)
        return xr.concat([plane] * len(times), dim="radar_time")
    planes, headers = [], {}
    for time in times:
        path = _angle_of(time, files)
        if path is None:
            raise ReleoError(
                f"{where}: no angle of incidence for {_day(time)}; add a file such as incidence.tif, "
                "or give --incidence DEGREES (incidence=...)"
            )
        headers[path] = rasters.inspect(path)
        degrees = (_plane(headers[path], reference) * _to_degrees(path)).astype(np.float32)
        planes.append(degrees.where(degrees != 0.0))  # 0 stands outside the swath, whether or not the file says so
    for header in _three(list(headers.values())):
        check_incidence(_sample(header) * _to_degrees(header.path), str(header.path))
    return xr.concat(planes, dim="radar_time")


def _angle_of(time: np.datetime64, files: dict[np.datetime64 | None, Path]) -> Path | None:
    """The file of a time; or the only one of its day, on which satellites may pass twice; or that of all times."""
    if time in files:
        return files[time]
    today = [path for other, path in files.items() if other is not None and _day(other) == _day(time)]
    return today[0] if len(today) == 1 else files.get(None)


def _day(time: np.datetime64) -> np.datetime64:
    return time.astype("datetime64[D]")


def _to_degrees(path: Path) -> float:
    """What an angle in a file is multiplied by."""
    return float(np.degrees(1.0)) if re.search(r"_RTC\d+_.*inc_map", path.stem) else 1.0
