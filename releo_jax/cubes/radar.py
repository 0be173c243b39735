"""Radar images beside an optical one: how they are checked, joined to it, and their pixels near a date.

    radar = open_radar("sentinel1.nc")                # backscatter (radar_time, polarisation, y, x), dB; incidence
    cube = with_radar(open_cube("sentinel2.nc"), radar)

Dates of the radar stay as they are: nothing is interpolated in time. Both images have the same grid.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from physics.microwave import check_decibels, check_power
from releo_jax.cubes.convention import grid_of
from releo_jax.errors import ReleoError

POLARISATIONS = ("VV", "VH")
"""What Sentinel-1 measures over land, in the order of the last axis of the values."""

UNITS = ("linear", "dB")
"""What backscatter may be given in."""

QUANTITIES = ("sigma0", "gamma0")
"""What backscatter may be normalised by: area on the ground, or area across the line of sight."""

INCIDENCES = (15.0, 60.0)
"""Degrees within which an angle of incidence is believed; Sentinel-1 has 29 to 46."""

_DECIBELS = ("db", "decibel", "decibels")
_LINEAR = ("1", "linear", "power", "m2/m2", "m2 m-2")
_POLARISATION = re.compile(r"(?:^|[^A-Za-z])(V[VH])(?=$|[^A-Za-z])", re.IGNORECASE)
_QUANTITY = re.compile(r"(sigma|gamma)", re.IGNORECASE)


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


def polarisation_of(name: str) -> str | None:
    """The polarisation that a name speaks of, None if it names none."""
    found = _POLARISATION.search(name)
    return None if found is None else found.group(1).upper()


def unit_of(name: str, stated: str, given: str | None, where: str) -> str:
    """The unit of backscatter, "linear" or "dB": as given, as stated beside the numbers, or as the name ends.

    Raises:
        ReleoError: the given unit is not known, or nothing says which it is.
    """
    if given is not None:
        known = {unit.lower(): unit for unit in UNITS}
        if given.lower() not in known:
            raise ReleoError(f"expected a unit of backscatter among {', '.join(UNITS)}, got {given!r}")
        return known[given.lower()]
    if stated.strip().lower() in _DECIBELS or re.search(r"_?db$", name.lower()):
        return "dB"
    if stated.strip().lower() in _LINEAR:
        return "linear"
    raise ReleoError(
        f"{where}: {name} does not say whether it is linear power or dB; give --radar-unit linear or "
        "--radar-unit dB (radar_unit=...)"
    )


def quantity_of(text: str, given: str | None) -> str | None:
    """What was measured, "sigma0" or "gamma0": as given, or as a text speaks of it; None where neither says.

    Raises:
        ReleoError: the given quantity is not known.
    """
    if given is not None and given not in QUANTITIES:
        raise ReleoError(f"expected backscatter as one of {', '.join(QUANTITIES)}, got {given!r}")
    found = _QUANTITY.search(text)
    return given or (None if found is None else f"{found.group(1).lower()}0")


def sigma_nought(numbers: xr.DataArray, incidence: xr.DataArray, *, unit: str, quantity: str) -> xr.DataArray:
    """Backscattering coefficient sigma-0 in dB, float32, lazily if the numbers are lazy.

    Args:
        numbers: backscatter over (..., y, x), NaN where there is none.
        incidence: degrees, of a shape that goes with it.
        unit: "linear" or "dB".
        quantity: "sigma0"; or "gamma0", from which sigma-0 = gamma-0 cos(incidence).
    """
    if unit == "linear":
        numbers = xr.apply_ufunc(to_decibels, numbers, dask="parallelized", output_dtypes=[np.float32])
    if quantity == "gamma0":
        numbers = numbers + 10.0 * np.log10(np.cos(np.radians(incidence)))
    return numbers.astype(np.float32)


def to_decibels(power: np.ndarray) -> np.ndarray:
    """Decibels float32 of linear powers; NaN where noise was subtracted below zero."""
    positive = np.asarray(power, np.float32) > 0.0
    return np.where(positive, 10.0 * np.log10(np.where(positive, power, 1.0)), np.nan).astype(np.float32)


def check_floats(dtype: np.dtype, what: str) -> None:
    """Raises unless numbers are of a kind that calibrated backscatter has."""
    if dtype.kind != "f":
        raise ReleoError(f"{what}: expected calibrated backscatter, got {dtype} numbers; calibrate")


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


def radar_dataset(backscatter: xr.DataArray, incidence: xr.DataArray, attrs: Mapping[str, str]) -> xr.Dataset:
    """Backscatter (radar_time, polarisation, y, x) in dB and incidence (radar_time, y, x) in degrees as one dataset."""
    radar = xr.Dataset({"backscatter": backscatter, "incidence": incidence}, attrs=dict(attrs))
    radar = radar.assign_coords(polarisation=list(POLARISATIONS))
    radar["backscatter"].attrs.update(units="dB", long_name="backscattering coefficient sigma-0")
    radar["incidence"].attrs.update(units="degree", standard_name="angle_of_incidence")
    return radar


def with_radar(cube: xr.Dataset, radar: xr.Dataset) -> xr.Dataset:
    """An optical cube with the dates of a radar on the same grid.

    Args:
        cube: image `(time, band, y, x)` with known dates.
        radar: as `releo_jax.cubes.radar_files.open_radar` returns it.

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
    crs, other_crs = grid_of(cube)[0], grid_of(radar)[0]
    if crs is not None and other_crs is not None and crs != other_crs:
        raise ReleoError(
            f"grids do not match: {one} has {crs.to_string()[:40]}, {other} has {other_crs.to_string()[:40]}; warp the "
            "radar to the grid of the image first (gdalwarp)"
        )
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
