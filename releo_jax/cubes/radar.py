"""Radar images beside an optical one: how they are opened and checked, and their pixels near a date.

    radar = open_radar("sentinel1.nc")                # backscatter (radar_time, polarisation, y, x), dB; incidence
    cube = with_radar(open_cube("sentinel2.nc"), radar)

Dates of the radar stay as they are: nothing is interpolated in time. Both images have the same grid.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from physics.microwave import check_decibels, check_power
from releo_jax.errors import ReleoError

POLARISATIONS = ("VV", "VH")
"""What Sentinel-1 measures over land, in the order of the last axis of the values."""

UNITS = ("linear", "dB")
"""What backscatter may be given in."""

INCIDENCES = (15.0, 60.0)
"""Degrees within which an angle of incidence is believed; Sentinel-1 has 29 to 46."""

_DECIBELS = ("db", "decibel", "decibels")
_LINEAR = ("1", "linear", "power", "m2/m2", "m2 m-2")
_POLARISATION = re.compile(r"(?:^|[^A-Za-z])(V[VH])(?=$|[^A-Za-z])", re.IGNORECASE)
_SAMPLE = 128  # pixels along a side that are looked at before anything is computed


@dataclasses.dataclass(frozen=True, eq=False)
class RadarPixels:
    """Radar dates of pixels, the one nearest to the optical date first.

    Attributes:
        decibels: backscatter (pixel, date, polarisation) float32, dB; finite, of no meaning where `mask` is False.
        mask: (pixel, date, polarisation) bool, True = usable.
        incidence: (pixel, date) float32 degrees.
        days: (pixel, date) float32, after the optical date.
    """

    decibels: np.ndarray
    mask: np.ndarray
    incidence: np.ndarray
    days: np.ndarray

    def __len__(self) -> int:
        return len(self.decibels)

    def __getitem__(self, rows: Any) -> RadarPixels:
        """Those of some of the pixels: a slice or an index array."""
        return RadarPixels(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


def radar_pixels(decibels: np.ndarray, incidence: np.ndarray, days: np.ndarray) -> RadarPixels:
    """Pixels from arrays (pixel, date, polarisation) and (pixel, date) with gaps: what is not finite is masked."""
    known = np.isfinite(incidence) & np.isfinite(days)
    mask = np.isfinite(decibels) & known[..., None]
    return RadarPixels(
        np.where(mask, decibels, 0.0).astype(np.float32),
        mask,
        np.where(known, incidence, 38.0).astype(np.float32),
        np.where(known, days, 0.0).astype(np.float32),
    )


def open_radar(path: str | os.PathLike[str], *, unit: str | None = None, incidence: float | None = None) -> xr.Dataset:
    """Opens backscatter from a NetCDF file or Zarr store, lazily.

    Variables named after their polarisation (`VV`, `vh`, `sigma0_VV`, `VH_db`, ...) over `(time, y, x)` or `(y, x)`,
    and the angle of incidence in degrees (`incidence`, `incidence_angle`, ...).

    Args:
        path: file or store.
        unit: "linear" or "dB", where neither the attribute `units` nor the name says it.
        incidence: degrees, for all pixels; wins over what the file holds.

    Returns:
        `backscatter` (radar_time, polarisation, y, x) in dB, NaN where there is none or where noise was subtracted
        below zero; `incidence` (radar_time, y, x) in degrees.

    Raises:
        ReleoError: something is missing, or the numbers are not what the unit says.
    """
    path = Path(path)
    stored = _open(path)
    names = {name: _polarisation(name) for name in map(str, stored.data_vars)}
    bands: dict[str, xr.DataArray] = {}
    for name, polarisation in names.items():
        if polarisation is None:
            continue
        if polarisation in bands:
            raise ReleoError(f"{path}: more than one variable holds {polarisation}; remove one")
        bands[polarisation] = _decibels(stored[name], _unit(stored[name], unit, str(path)), str(path))
    if "VV" not in bands:
        found = ", ".join(map(str, stored.data_vars)) or "nothing"
        raise ReleoError(f"{path}: expected a variable named after the polarisation VV (and VH), found {found}")
    first = bands["VV"]
    planes = [bands.get(name, xr.full_like(first, np.nan)) for name in POLARISATIONS]
    data = xr.concat(planes, dim="polarisation", coords="minimal", compat="override", join="override")
    radar = xr.Dataset(
        {
            "backscatter": data.transpose("radar_time", "polarisation", "y", "x"),
            "incidence": _incidence(stored, first, incidence, str(path)),
        },
        attrs={"source": path.name},
    ).assign_coords(polarisation=list(POLARISATIONS))
    radar["backscatter"].attrs.update(units="dB", long_name="backscattering coefficient sigma-0")
    radar["incidence"].attrs.update(units="degree", standard_name="angle_of_incidence")
    radar.set_close(stored.close)
    return radar


def _open(path: Path) -> xr.Dataset:
    if not path.exists():
        raise ReleoError(f"{path}: no such file or folder")
    try:
        if path.is_dir() or path.suffix == ".zarr":
            stored = xr.open_zarr(path, chunks={}, decode_coords="all")
        else:
            stored = xr.open_dataset(path, engine="netcdf4", chunks={}, decode_coords="all")
    except (OSError, ValueError, KeyError) as error:
        detail = " ".join(str(error).split())[:120]
        raise ReleoError(
            f"{path}: cannot be read as NetCDF or Zarr ({detail}); copy it again, or write backscatter as NetCDF"
        ) from error
    missing = [name for name in ("y", "x") if name not in stored.coords]
    if missing:
        raise ReleoError(f"{path}: no coordinate {', '.join(missing)}; add the coordinates of the pixels")
    if "time" not in stored.coords:
        raise ReleoError(f"{path}: no coordinate time; add the dates, which tell how far the optical image is")
    if stored["time"].dtype.kind != "M":
        raise ReleoError(f"{path}: expected dates in time, got {stored['time'].dtype}; write it as CF time")
    if "time" not in stored.dims:
        stored = stored.expand_dims("time")
    return stored.rename(time="radar_time").sortby("radar_time")


def _polarisation(name: str) -> str | None:
    found = _POLARISATION.search(name)
    return None if found is None else found.group(1).upper()


def _unit(variable: xr.DataArray, given: str | None, where: str) -> str:
    if given is not None:
        known = {unit.lower(): unit for unit in UNITS}
        if given.lower() not in known:
            raise ReleoError(f"expected a unit of backscatter among {', '.join(UNITS)}, got {given!r}")
        return known[given.lower()]
    stated = str(variable.attrs.get("units", "")).strip().lower()
    if stated in _DECIBELS or re.search(r"_?db$", str(variable.name).lower()):
        return "dB"
    if stated in _LINEAR:
        return "linear"
    raise ReleoError(
        f"{where}: {variable.name} does not say whether it is linear power or dB; give --radar-unit linear or "
        "--radar-unit dB (radar_unit=...)"
    )


def _decibels(variable: xr.DataArray, unit: str, where: str) -> xr.DataArray:
    if variable.dtype.kind != "f":
        raise ReleoError(
            f"{where}: {variable.name}: expected calibrated sigma-0, got {variable.dtype} numbers; calibrate"
        )
    check_backscatter(_sample(variable), unit, f"{where}: {variable.name}")
    if unit == "linear":
        variable = xr.apply_ufunc(to_decibels, variable, dask="parallelized", output_dtypes=[np.float32])
    kept = [name for name in variable.coords if name not in ("radar_time", "y", "x", "spatial_ref")]
    return variable.drop_vars(kept).drop_attrs().astype(np.float32)


def to_decibels(power: np.ndarray) -> np.ndarray:
    """Decibels float32 of linear powers; NaN where noise was subtracted below zero."""
    positive = np.asarray(power, np.float32) > 0.0
    return np.where(positive, 10.0 * np.log10(np.where(positive, power, 1.0)), np.nan).astype(np.float32)


def check_backscatter(numbers: np.ndarray, unit: str, what: str) -> None:
    """Raises if numbers cannot be in the unit that they are said to be in.

    Args:
        numbers: some of them; NaN for none.
        unit: "linear" or "dB".
        what: their name, for the message.

    Raises:
        ReleoError: most of them look like the other unit or like digital numbers; says what to do.
    """
    check, other = (check_power, "dB") if unit == "linear" else (check_decibels, "linear")
    try:
        check(numbers, name=what, remedy=f"give --radar-unit {other} (radar_unit=...), or correct its name or units")
    except ValueError as error:
        raise ReleoError(str(error)) from error


def check_incidence(numbers: np.ndarray, what: str) -> None:
    """Raises unless angles of incidence are plausible degrees.

    Raises:
        ReleoError: says whether they look like radians.
    """
    finite = numbers[np.isfinite(numbers)]
    if finite.size and not (INCIDENCES[0] <= finite.min() and finite.max() <= INCIDENCES[1]):
        span = f"{float(finite.min()):.3g} to {float(finite.max()):.3g}"
        hint = "they look like radians: convert them" if finite.max() < 1.6 else "correct them, or mask with NaN"
        raise ReleoError(
            f"{what}: expected an angle of incidence of {INCIDENCES[0]:g} to {INCIDENCES[1]:g} degrees, got {span}; "
            f"{hint}"
        )


def _incidence(stored: xr.Dataset, like: xr.DataArray, given: float | None, where: str) -> xr.DataArray:
    if given is not None:
        check_incidence(np.asarray([given]), "--incidence")
        return xr.full_like(like, given)
    for name in map(str, stored.data_vars):
        if "incidence" in name.lower() or name.lower() in ("angle", "theta"):
            found = stored[name]
            check_incidence(_sample(found), f"{where}: {name}")
            kept = [coordinate for coordinate in found.coords if coordinate not in ("radar_time", "y", "x")]
            plain = found.drop_vars(kept).drop_attrs().astype(np.float32)
            return xr.broadcast(plain, like)[0].transpose("radar_time", "y", "x")
    raise ReleoError(f"{where}: no angle of incidence in the file; give --incidence DEGREES (incidence=...)")


def _sample(variable: xr.DataArray) -> np.ndarray:
    """Some numbers of a variable in memory."""
    step = {
        name: slice(None, None, max(1, variable.sizes[name] // _SAMPLE)) for name in ("y", "x") if name in variable.dims
    }
    return np.asarray(variable.isel(step).values, np.float64)


def with_radar(cube: xr.Dataset, radar: xr.Dataset) -> xr.Dataset:
    """An optical cube with the dates of a radar on the same grid.

    Args:
        cube: image `(time, band, y, x)` with known dates.
        radar: as `open_radar` returns it.

    Returns:
        the cube with `backscatter` and `incidence`.

    Raises:
        ReleoError: the grids differ, or the optical image has no date.
    """
    one, other = (
        str(dataset.attrs.get("source", what)) for dataset, what in ((cube, "the image"), (radar, "the radar"))
    )
    if np.isnat(cube["time"].values).any():
        raise ReleoError(f"{one}: has no date, which must be known beside radar dates; add the coordinate time")
    for name in ("y", "x"):
        mine, its = cube[name].values.astype(float), radar[name].values.astype(float)
        step = abs(mine[1] - mine[0]) if mine.size > 1 else 1.0
        if mine.shape != its.shape or np.abs(mine - its).max() > 1e-2 * step:
            raise ReleoError(
                f"grids do not match: {one} has {mine.size} coordinates {name} from {mine[0]:.10g}, {other} has "
                f"{its.size} from {its[0]:.10g}; warp the radar to the grid of the image first (gdalwarp)"
            )
    aligned = radar.drop_vars("spatial_ref", errors="ignore").assign_coords(y=cube["y"], x=cube["x"])
    chunks = dict(zip(cube["reflectance"].dims, cube["reflectance"].chunks or (), strict=False))
    aligned = aligned.chunk({"radar_time": 1, **{name: chunks[name] for name in ("y", "x") if name in chunks}})
    return cube.assign(backscatter=aligned["backscatter"], incidence=aligned["incidence"])


def near(cube: xr.Dataset, time: int, *, days: float, dates: int) -> tuple[np.ndarray, np.ndarray]:
    """Radar dates near an optical one: indices, the nearest first, and days after it.

    Args:
        cube: with radar.
        time: index of the optical date.
        days: farthest.
        dates: most.
    """
    apart = (cube["radar_time"].values - cube["time"].values[time]) / np.timedelta64(1, "D")
    order = np.argsort(np.abs(apart), kind="stable")
    order = order[np.abs(apart[order]) <= days][:dates]
    return order, apart[order]


def padded(values: Sequence[np.ndarray], days: np.ndarray, dates: int, pixels: int) -> RadarPixels:
    """Pixels of a window from backscatter (date, polarisation, pixel) and incidence (date, pixel), with empty dates."""
    decibels = np.full((pixels, dates, len(POLARISATIONS)), np.nan, np.float32)
    incidence = np.full((pixels, dates), np.nan, np.float32)
    number = len(days)
    if number:
        decibels[:, :number] = np.moveaxis(values[0], -1, 0)
        incidence[:, :number] = values[1].T
    when = np.full((pixels, dates), np.nan)
    when[:, :number] = days
    return radar_pixels(decibels, incidence, when)
