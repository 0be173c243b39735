"""Checks that a cube is a cube, that its numbers are reflectance, and its angles degrees."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import dask
import numpy as np
import xarray as xr
from rasterio.errors import RasterioError

from releo_jax.cubes.convention import ANGLES, HIGHEST_REFLECTANCE, Flag, bands_known
from releo_jax.errors import ReleoError

_SAMPLE = 32
"""Side in pixels of the windows that the check of the unit reads."""


def check_cube(cube: xr.Dataset) -> None:
    """Raises unless a dataset follows the convention.

    Raises:
        ReleoError: says which variable or dimension is missing or out of place.
    """
    for name in ("reflectance", "mask", *ANGLES):
        if name not in cube:
            raise ReleoError(f"not a cube: no variable {name!r} among {', '.join(map(str, cube.data_vars))}")
    allowed: dict[str, list[tuple[str, ...]]] = {
        "reflectance": [("time", "band", "y", "x")],
        "mask": [("time", "band", "y", "x"), ("time", "y", "x")],
        **{name: [("time",), ("time", "y", "x")] for name in ANGLES},
    }
    for name, dims in allowed.items():
        if cube[name].dims not in dims:
            expected = " or ".join(f"({', '.join(d)})" for d in dims)
            raise ReleoError(f"not a cube: expected {name} with dimensions {expected}, got {cube[name].dims}")
    known = bands_known(cube.attrs.get("sensor"))
    unknown = [str(name) for name in cube["band"].values if str(name) not in known]
    if unknown:
        raise ReleoError(f"not a cube: unknown band {', '.join(unknown)}; expected names among {', '.join(known)}")


def check_samples(cube: xr.Dataset, scale: float, where: str) -> None:
    """Raises if a few small windows of a cube show that it does not hold reflectance, or no angles in degrees.

    Args:
        cube: the cube.
        scale: what its numbers were divided by, for the message.
        where: file, for the message.
    """
    if not all(cube.sizes.values()):
        raise ReleoError(f"{where}: the image is empty ({dict(cube.sizes)}); check how it was made")
    dates = sorted({0, cube.sizes["time"] // 2, cube.sizes["time"] - 1})
    for number in (3, 9):  # more windows where the first ones lie outside the swath
        windows = sample_windows(cube.sizes["y"], cube.sizes["x"], number)
        parts = _readable([cube.isel(time=dates, y=y, x=x) for y, x in windows])
        if any(np.isfinite(part["reflectance"].values).any() for part in parts):
            break
    if not parts:
        return
    flags = [part["mask"].broadcast_like(part["reflectance"]).transpose(*part["reflectance"].dims) for part in parts]
    check_unit(
        np.concatenate([part["reflectance"].values.ravel() for part in parts]),
        np.concatenate([flag.values.ravel() for flag in flags]),
        scale,
        where,
    )
    check_angles({name: np.concatenate([part[name].values.ravel() for part in parts]) for name in ANGLES}, where)


def _readable(parts: list[xr.Dataset]) -> tuple[xr.Dataset, ...]:
    """The parts in memory, without those that cannot be read: what is damaged is told when it is needed."""
    try:
        return tuple(dask.compute(*parts))
    except (ReleoError, OSError, RuntimeError, RasterioError):
        found = []
        for part in parts:
            with contextlib.suppress(ReleoError, OSError, RuntimeError, RasterioError):
                found.append(part.compute())
        return tuple(found)


def sample_windows(height: int, width: int, number: int) -> Iterator[tuple[slice, slice]]:
    """Windows spread evenly over an image, `number` in each direction; the whole of a small one."""
    if max(height, width) <= number * _SAMPLE:
        yield slice(0, height), slice(0, width)
        return
    for row in range(number):
        for column in range(number):
            y = max(0, int((row + 0.5) / number * height) - _SAMPLE // 2)
            x = max(0, int((column + 0.5) / number * width) - _SAMPLE // 2)
            yield slice(y, y + _SAMPLE), slice(x, x + _SAMPLE)


def check_angles(angles: Mapping[str, np.ndarray], where: str) -> None:
    """Raises if angles cannot be degrees: all below pi/2, as radians are, or outside the range of every direction.

    From a sun-synchronous orbit with a morning overpass the sun is never nearer to the zenith than some 15 degrees.
    """
    for name in ("sun_zenith", "view_zenith"):
        value = np.asarray(angles[name], dtype=np.float64)
        finite = value[np.isfinite(value)]
        if not finite.size:
            raise ReleoError(f"{where}: {name} holds no number; give the angle in degrees")
        if name == "sun_zenith" and (finite >= 0).all() and finite.max() <= np.pi / 2:
            raise ReleoError(
                f"{where}: {name} of {finite.min():.3g} to {finite.max():.3g} looks like radians; "
                "give degrees (multiply by 57.29578)"
            )
        if not ((finite >= 0) & (finite < 90)).any():
            raise ReleoError(
                f"{where}: expected {name} from 0 to 90 degrees, got {finite.min():.4g} to {finite.max():.4g}"
            )
    azimuth = np.asarray(angles["relative_azimuth"], dtype=np.float64)
    if not (np.abs(azimuth) <= 360).any():
        raise ReleoError(f"{where}: expected relative_azimuth from -360 to 360 degrees, got {azimuth.ravel()[:1]}")


def check_unit(reflectance: np.ndarray, mask: np.ndarray, scale: float, where: str) -> None:
    """Raises if a sample of values cannot be reflectance.

    Args:
        reflectance: decoded values, any shape.
        mask: flags of the same shape.
        scale: the scale that was used.
        where: file, for the message.

    Raises:
        ReleoError: proposes the scale that makes reflectance of the values.
    """
    present = np.isfinite(reflectance) & ((mask & ~np.uint8(Flag.INVALID_VALUE)) == 0)
    values = reflectance[present]
    if not values.size:
        return
    middle, high = np.median(values), np.quantile(values, 0.99)
    if middle > HIGHEST_REFLECTANCE:
        factor = 100 if middle <= 100 and high <= 150 else 10000
        raise ReleoError(
            f"{where}: reflectance of {middle * scale:.4g} (median){_divided(scale)} is not between 0 and 1; "
            f"give --scale {factor * scale:.6g} (in Python scale={factor * scale:.6g})"
        )
    if scale != 1 and 0 < high < 5.0 / scale:
        raise ReleoError(
            f"{where}: largest reflectance {high * scale:.3g} before, {high:.2g} after the division by scale "
            f"{scale:.6g}; the file already holds reflectance: leave the scale out"
        )


def _divided(scale: float) -> str:
    return "" if scale == 1 else f", divided by {scale:.6g},"
