"""Cubes of items of a SpatioTemporal Asset Catalog: `releo_jax.cubes.open_stac` where what it needs is installed."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import xarray as xr
from rasterio.warp import transform_bounds

from releo_jax.cubes import rasters
from releo_jax.cubes.convention import ANGLES, Flag, choose_angles, choose_bands, set_grid
from releo_jax.cubes.metadata import read_tile
from releo_jax.cubes.rasters import Affine, Grid
from releo_jax.cubes.safe import RESAMPLING, check_resolution, choose_size, scene_flags
from releo_jax.cubes.series import join_dates
from releo_jax.cubes.stac_items import (
    Asset,
    angles_of,
    assets_of,
    baseline_of,
    coding_of,
    granule_of,
    read_bytes,
    read_items,
    sensor_of,
    time_of,
)
from releo_jax.cubes.stac_rasters import load
from releo_jax.cubes.values import Coding, decode
from releo_jax.errors import ReleoError
from releo_jax.urls import url_of

OVERPASS = np.timedelta64(10, "m")
"""Items of one satellite that follow each other more closely are of one overpass; the next comes 100 minutes later."""


@dataclasses.dataclass(frozen=True)
class _Scene:
    """An item and those of its rasters that are read; `classes` are those of the scene, None to leave them unread."""

    item: pystac.Item
    sensor: str
    time: np.datetime64
    bands: dict[str, Asset]
    classes: Asset | None

    @property
    def grid(self) -> Grid:
        """That of the first band."""
        return next(iter(self.bands.values())).grid


def open_items(
    source: Any,
    *,
    resolution: int,
    bands: Sequence[str] | None,
    clear: Sequence[int] | None,
    bbox: tuple[float, float, float, float] | None,
    sensor: str | None,
    scale: float | None,
    offset: float | None,
    angles: Mapping[str, float | None],
) -> xr.Dataset:
    """As `releo_jax.cubes.open_stac` describes it."""
    check_resolution(resolution)
    items = read_items(source)
    where = str(source) if isinstance(source, str | os.PathLike) else f"{len(items)} items"
    if not items:
        raise ReleoError(f"{where}: no items of STAC; search the catalogue again, or give other files")
    scenes = [_scene(item, bands, resolution, sensor, clear is not None) for item in items]
    scenes.sort(key=lambda scene: (scene.time, scene.item.id))
    grid = _grid(scenes, resolution, bbox)
    dates = [
        _mosaic([_opened(scene, grid, clear or (), scale, offset, angles) for scene in overpass])
        for overpass in _overpasses([scene for scene in scenes if _touch(scene.grid, grid)])
    ]
    return join_dates(dates, where)


def _scene(
    item: pystac.Item, bands: Sequence[str] | None, resolution: int, sensor: str | None, classified: bool
) -> _Scene:
    assets = assets_of(item)
    named = sensor_of(item, sensor)
    names = choose_bands([name for name in assets if name != "SCL"], bands, item.id)
    chosen = {name: choose_size(assets[name], resolution) for name in names}
    first = chosen[names[0]]
    for name, asset in chosen.items():
        if asset.dtype != first.dtype or asset.nodata != first.nodata:
            raise ReleoError(
                f"{item.id}: {name} is {asset.dtype} with nodata {asset.nodata:g}, {names[0]} {first.dtype} with "
                f"nodata {first.nodata:g}; ask for bands that are stored alike"
            )
    if classified and "SCL" not in assets:
        raise ReleoError(
            f"{item.id}: no scene classification (SCL) among its assets; take another item, or pass clear=None to "
            "open_stac to go without a cloud mask"
        )
    classes = choose_size(assets["SCL"], 20) if classified else None
    for name, asset in {**chosen, **({} if classes is None else {"SCL": classes})}.items():
        apart = np.abs(np.subtract(_bounds(asset.grid), _bounds(first.grid)))
        # The last pixels of coarser rasters may reach beyond the finer ones.
        if asset.grid.crs != first.grid.crs or apart[:2].any() or (apart[2:] >= 60).any():
            raise ReleoError(
                f"{item.id}: grids do not match: {names[0]} has {first.grid}, {name} {asset.grid}; correct the item"
            )
    return _Scene(item, named, time_of(item), chosen, classes)


def _grid(scenes: Sequence[_Scene], resolution: int, bbox: tuple[float, float, float, float] | None) -> Grid:
    """The grid of the cube: what all items cover together, or the part of it that a bbox in degrees touches."""
    first = scenes[0].grid
    left, top, right, bottom = _bounds(first)
    for scene in scenes:
        its = _bounds(scene.grid)
        apart = (its[0] - left) / resolution, (its[1] - top) / resolution
        if scene.grid.crs != first.crs or any(abs(steps - round(steps)) > 1e-6 for steps in apart):
            raise ReleoError(
                f"grids do not match: {scenes[0].item.id} has {first}; {scene.item.id} has {scene.grid}; "
                "open the items of one UTM zone at a time"
            )
        left, top, right, bottom = min(left, its[0]), max(top, its[1]), max(right, its[2]), min(bottom, its[3])
    rows, columns = (0, math.ceil((top - bottom) / resolution)), (0, math.ceil((right - left) / resolution))
    if bbox is not None:
        west, south, east, north = transform_bounds("EPSG:4326", first.crs, *bbox)
        rows = _within(rows, (top - north) / resolution, (top - south) / resolution)
        columns = _within(columns, (west - left) / resolution, (east - left) / resolution)
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            raise ReleoError(f"no item reaches into the bbox {bbox}; expected west, south, east, north in degrees")
    left, top, size = left + columns[0] * resolution, top - rows[0] * resolution, float(resolution)
    return Grid(first.crs, Affine(size, 0.0, left, 0.0, -size, top), rows[1] - rows[0], columns[1] - columns[0])


def _within(whole: tuple[int, int], start: float, stop: float) -> tuple[int, int]:
    return max(whole[0], math.floor(start)), min(whole[1], math.ceil(stop))


def _bounds(grid: Grid) -> tuple[float, float, float, float]:
    """Left, top, right, bottom."""
    t = grid.transform
    return t.c, t.f, t.c + grid.width * t.a, t.f + grid.height * t.e


def _touch(one: Grid, other: Grid) -> bool:
    left, top, right, bottom = _bounds(one)
    its = _bounds(other)
    return left < its[2] and its[0] < right and bottom < its[1] and its[3] < top


def _overpasses(scenes: Sequence[_Scene]) -> list[list[_Scene]]:
    """The scenes, in the order of their times, by overpass."""
    found: list[list[_Scene]] = []
    for sensor in dict.fromkeys(scene.sensor for scene in scenes):
        for scene in (scene for scene in scenes if scene.sensor == sensor):
            before = found[-1][-1] if found else None
            if before is None or before.sensor != sensor or scene.time - before.time > OVERPASS:
                found.append([])
            for other in found[-1]:
                versions = baseline_of(other.item), baseline_of(scene.item)
                if other.grid == scene.grid and versions[0] != versions[1]:
                    raise ReleoError(
                        f"{other.item.id} and {scene.item.id} are two versions of one image (baselines {versions[0]} "
                        f"and {versions[1]}); keep one of them"
                    )
            found[-1].append(scene)
    return found


def _opened(
    scene: _Scene,
    grid: Grid,
    clear: Sequence[int],
    scale: float | None,
    offset: float | None,
    angles: Mapping[str, float | None],
) -> xr.Dataset:
    """A cube of one item."""
    item, side = scene.item, rasters.CHUNK
    coding = coding_of(item, scene.bands, scale, offset)
    reflectance, mask = decode(
        load(item, scene.bands, grid, special=coding.nodata + coding.saturated, side=side), coding
    )
    if scene.classes is not None:
        classes = load(item, {"SCL": scene.classes}, grid, special=None, side=side).isel(band=0)
        mask = mask | scene_flags(classes, clear)
    attrs = {
        "sensor": scene.sensor,
        "product": item.id,
        "reflectance_coding": _told(coding),
        "resampling": RESAMPLING,
        "clear_scene_classes": "not read" if scene.classes is None else " ".join(str(int(c)) for c in clear),
    }
    baseline = baseline_of(item)
    if baseline is not None:
        attrs["processing_baseline"] = baseline
    return rasters.one_date(
        reflectance,
        mask,
        _angles(scene, grid, angles, side),
        time=scene.time,
        bands=list(scene.bands),
        grid=grid,
        attrs=attrs,
    )


def _told(coding: Coding) -> str:
    offsets = np.unique(np.asarray(coding.offset))
    return f"(number {' or '.join(f'{offset:+g}' for offset in offsets)}) / {coding.scale:g}"


def _angles(scene: _Scene, grid: Grid, given: Mapping[str, float | None], side: int) -> dict[str, Any]:
    """The angles of an item: given, of every pixel, or of the whole item."""
    stated: dict[str, Any] = dict(angles_of(scene.item))
    granule = granule_of(scene.item)
    if granule is not None:
        known = {*stated, *(name for name, value in given.items() if value is not None)}
        azimuth = "relative_azimuth" in known or {"sun_azimuth", "view_azimuth"} <= known
        remote = url_of(granule) is not None or not Path(granule).is_file()
        # Half a megabyte each: fetched only where nothing else tells.
        if not (remote and azimuth and {"sun_zenith", "view_zenith"} <= known):
            tile = scene.grid.transform
            grids = dataclasses.replace(
                read_tile(Path(granule), read_bytes(granule)).angles,
                south=tile.f - grid.transform.f,
                east=grid.transform.c - tile.c,
            )
            stated = {name: grids.lazy(name, grid, side) for name in ANGLES}
    return choose_angles(stated, given, scene.item.id)


def _mosaic(cubes: Sequence[xr.Dataset]) -> xr.Dataset:
    """One date from cubes of one overpass, the first uppermost."""
    first = cubes[0]
    layers = {name: first[name] for name in ("reflectance", "mask", *ANGLES)}
    for cube in cubes[1:]:
        cube = cube.assign_coords(time=first["time"])
        empty = (layers["mask"] & np.uint8(Flag.NODATA)) != 0
        for name, layer in layers.items():
            where = empty.all("band") if name in ANGLES else empty
            dims = [dim for dim in empty.dims if dim in where.dims]
            layers[name] = xr.where(where, cube[name], layer).transpose(*dims).assign_attrs(first[name].attrs)
    attrs = dict(first.attrs)
    for name in ("product", "processing_baseline", "reflectance_coding"):
        told = dict.fromkeys(str(cube.attrs[name]) for cube in cubes if name in cube.attrs)
        if told:
            attrs[name] = ", ".join(told)
    return set_grid(first.assign(layers).assign_attrs(attrs), None, None)
