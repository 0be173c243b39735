"""Cubes as arrays of pixels, and back: what a model or an engine is given, and what becomes a map.

    values = stack(cube["reflectance"])                           # (pixel, date, band)
    data = observations(cube.isel(y=slice(0, 64), x=slice(0, 64)))  # {"s2": Series(...)}, with radar {"s1": ...} too
    lai = unstack(mean, cube, dims=("time",))                     # (pixel, date) -> (time, y, x), with its CRS

Where arrays are in memory, nothing is copied: the pixels are another view of the same numbers. Dates stay what they
are; those of a radar beside an optical image stay apart from its dates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from releo_jax.cubes.convention import ANGLES, set_grid
from releo_jax.errors import ReleoError

if TYPE_CHECKING:
    from releo_jax.observations import Record

_LEADING = ("time", "radar_time", "band", "polarisation")
_DAY = np.timedelta64(1, "D")


def stack(variable: xr.DataArray) -> np.ndarray:
    """The pixels of a variable, row by row: `(pixel,)`, `(pixel, date)`, `(pixel, band)` or `(pixel, date, band)`.

    Args:
        variable: over `y` and `x`, and perhaps `time` (or `radar_time`) and `band` (or `polarisation`). A lazy one is
            read; of one in memory that is whole, not cut out, the result is a view.

    Raises:
        ReleoError: other dimensions.
    """
    leading = [name for name in _LEADING if name in variable.dims]
    if set(variable.dims) != {*leading, "y", "x"}:
        raise ReleoError(f"expected a variable over y, x, and perhaps time and band, got {variable.dims}; select")
    values = variable.transpose(*leading, "y", "x").values
    return np.moveaxis(values.reshape(*values.shape[:-2], -1), -1, 0)


def unstack(values: Any, cube: xr.Dataset, dims: Sequence[str] = ()) -> xr.DataArray:
    """Pixels on the grid of a cube: the inverse of `stack`, a view where `values` is a NumPy array.

    Args:
        values: `(pixel, *dims)`, pixels row by row.
        cube: whose grid they are on; its coordinates and CRS are those of the result.
        dims: names of the axes after the pixels, such as `("time", "band")`.

    Returns:
        array `(*dims, y, x)`.

    Raises:
        ReleoError: shapes do not fit.
    """
    array = np.asarray(values)
    shape = cube.sizes["y"], cube.sizes["x"]
    sizes = tuple(cube.sizes.get(name, size) for name, size in zip(dims, array.shape[1:], strict=False))
    if array.ndim != 1 + len(dims) or array.shape != (shape[0] * shape[1], *sizes):
        expected = ", ".join(["pixel", *dims])
        raise ReleoError(
            f"expected values ({expected}) of shape {(shape[0] * shape[1], *sizes)}, got {array.shape}; "
            "name the axes after the pixels by dims"
        )
    planes = np.moveaxis(array, 0, -1).reshape(*array.shape[1:], *shape)
    kept = {name: cube[name].variable for name in (*dims, "y", "x", "spatial_ref") if name in cube.coords}
    result = xr.Dataset({"values": ((*dims, "y", "x"), planes)}, coords=kept)
    return set_grid(result, None, None)["values"].rename(None)


def observations(cube: xr.Dataset, *, origin: Any = None, name: str = "s2") -> dict[str, Record]:
    """The pixels of a cube as observations that the engines of `releo_jax.inference` take; reads the cube.

    Args:
        cube: `(time, band, y, x)`; cut out what fits into memory, `cube.isel(y=..., x=...)`.
        origin: date from which days count, UTC; None for the beginning of the day of the first date.
        name: of the optical record.

    Returns:
        a record `name`: `SingleDate` `(pixel, band)` for a cube of one date, `Series` `(pixel, date, band)` for more;
        masked where the cube's `mask` is not 0, with a `SunView`. Where the cube has radar beside it, also `s1`: a
        `Series` `(pixel, radar date, polarisation)` in dB on the radar's own dates, with a `RadarView`.

    Raises:
        ReleoError: dates are needed and missing.
    """
    from physics import SunView  # these load the engines' libraries, which readers of files do without
    from physics.microwave import RadarView
    from releo_jax.observations import Series, SingleDate

    optical = cube[["reflectance", "mask", *ANGLES]].compute()
    values = stack(optical["reflectance"])
    usable = stack(optical["mask"].broadcast_like(optical["reflectance"])) == 0
    plane = optical["reflectance"].isel(band=0, drop=True)
    degrees = [stack(optical[angle].broadcast_like(plane)) for angle in ANGLES]
    radar = "backscatter" in cube
    if cube.sizes["time"] == 1 and not radar:
        return {name: SingleDate(values[:, 0], usable[:, 0], SunView.from_degrees(*(angle[:, 0] for angle in degrees)))}
    times = cube["time"].values
    if np.isnat(times).any():
        raise ReleoError("the cube has dates that are not known; set its coordinate time")
    start = np.datetime64(times.min(), "D") if origin is None else np.datetime64(origin)

    def days(dates: np.ndarray) -> np.ndarray:
        return np.broadcast_to(((dates - start) / _DAY).astype(np.float32), (len(values), len(dates)))

    found: dict[str, Record] = {name: Series(values, usable, days(times), SunView.from_degrees(*degrees))}
    if radar:
        beside = cube[["backscatter", "incidence"]].compute()
        decibels, incidence = stack(beside["backscatter"]), stack(beside["incidence"])
        found["s1"] = Series(decibels, None, days(cube["radar_time"].values), RadarView.from_degrees(incidence))
    return found
