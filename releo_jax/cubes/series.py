"""Cubes of one tile, a date each, as one cube along time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from releo_jax.cubes.convention import ANGLES, PRODUCT_ATTRS, grid_of, set_grid
from releo_jax.errors import ReleoError

APART = np.timedelta64(60, "s")
"""Dates nearer than this are the same overpass twice."""


def join_dates(cubes: Sequence[xr.Dataset], where: str) -> xr.Dataset:
    """One cube from cubes of single dates, in the order of their dates; nothing is read, resampled or interpolated.

    Args:
        cubes: of one grid and the same bands, each with a date.
        where: name of them all, for messages and the attribute `source`.

    Returns:
        cube `(time, band, y, x)`. Where the sensors differ, `sensor` is a coordinate along `time`.

    Raises:
        ReleoError: grids or bands differ, a date is missing or there twice; names the two products.
    """
    if not cubes:
        raise ReleoError(f"{where}: expected at least one product, got none")
    undated = [_name(cube) for cube in cubes if np.isnat(cube["time"].values).any()]
    if undated:
        raise ReleoError(f"{where}: {undated[0]} has no date; leave it out, or set its coordinate time")
    cubes = sorted(cubes, key=lambda cube: cube["time"].values[0])
    first = cubes[0]
    for before, cube in zip([first, *cubes], cubes, strict=False):
        if _grid(cube) != _grid(first):
            raise ReleoError(
                f"grids do not match: {_name(first)} has {_told(first)}; {_name(cube)} has {_told(cube)}; "
                "open the products of one tile at a time"
            )
        if cube["band"].values.tolist() != first["band"].values.tolist():
            both = [str(name) for name in first["band"].values if name in cube["band"].values]
            raise ReleoError(
                f"{where}: {_name(first)} holds {' '.join(first['band'].values)}, {_name(cube)} "
                f"{' '.join(cube['band'].values)}; name bands that all hold: {','.join(both) or 'there are none'}"
            )
        if cube is not before and cube["time"].values[0] - before["time"].values[-1] < APART:
            raise ReleoError(f"{where}: {_name(before)} and {_name(cube)} are of the same time; keep one of them")
    for name in ANGLES:
        if len({cube[name].dims for cube in cubes}) > 1:  # of every pixel on some dates, of the scene on others
            cubes = [cube.assign({name: _spread(cube[name], cube)}) for cube in cubes]
    joined = xr.concat(
        cubes,
        dim="time",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    sensors = [str(cube.attrs.get("sensor", "")) for cube in cubes]
    joined.attrs = {"Conventions": first.attrs["Conventions"], "source": where, **_shared(cubes)}
    if len(set(sensors)) > 1:
        joined = joined.assign_coords(sensor=("time", sensors))
    return set_grid(joined, None, None)


def _shared(cubes: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Attributes that all cubes agree on; those that say what they were read from, one after the other."""
    shared: dict[str, Any] = {}
    for name in ("sensor", "resampling", *PRODUCT_ATTRS):
        values = list(dict.fromkeys(str(cube.attrs[name]) for cube in cubes if name in cube.attrs))
        if len(values) == 1 or (values and name in PRODUCT_ATTRS):
            shared[name] = ", ".join(values)
    return shared


def _spread(angle: xr.DataArray, cube: xr.Dataset) -> xr.DataArray:
    """An angle (time, y, x)."""
    return angle.broadcast_like(cube["reflectance"].isel(band=0, drop=True)).transpose("time", "y", "x")


def _name(cube: xr.Dataset) -> str:
    return str(cube.attrs.get("product", cube.attrs.get("source", "a cube")))


def _grid(cube: xr.Dataset) -> tuple[Any, ...]:
    crs, transform = grid_of(cube)
    return crs, transform, cube.sizes["y"], cube.sizes["x"]


def _told(cube: xr.Dataset) -> str:
    crs, transform, height, width = _grid(cube)
    crs = "no CRS" if crs is None else crs.to_string()[:40]
    return f"{width} x {height} pixels of {transform.a:g} from ({transform.c:g}, {transform.f:g}), {crs}"
