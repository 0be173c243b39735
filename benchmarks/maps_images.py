"""Images of any size to make maps of: a simulated scene side by side with itself, in the formats of deliveries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import rasterio
import xarray as xr

from releo_jax.cubes.atomic import replacing
from releo_jax.cubes.convention import ANGLES, grid_of, set_grid
from releo_jax.cubes.safe_writing import OFFSET, QUANTIFICATION, stored_numbers, write_safe
from releo_jax.cubes.scene import simulate_scene
from releo_jax.cubes.writing import write_cube

SCENE = 183
UNIT = 6 * SCENE
"""Side of what is repeated lazily in larger images, pixels."""

NAMES = {"jp2": "image_{size}.SAFE", "cog": "image_{size}", "nc": "image_{size}.nc"}
"""Name of an image by its format: a Level-2A product, a folder of Cloud-Optimised GeoTIFFs, a cube."""


def image(folder: Path, size: int, kind: str) -> Path:
    """The image of a format and of `size` by `size` pixels in a folder, written unless it is there."""
    path = folder / NAMES[kind].format(size=size)
    if not path.exists():
        make_image(path, size)
    return path


def make_image(path: Path, size: int) -> None:
    """Writes an image of ten bands: `.nc`, `.SAFE` (JPEG 2000), or a folder of Cloud-Optimised GeoTIFFs."""
    scene = _repeated(size)
    if path.suffix == ".nc":
        write_cube(scene.drop_vars("scl"), path)
        return
    with replacing(path) as temporary:
        temporary.mkdir()
        if path.suffix == ".SAFE":
            write_safe(scene, scene["scl"].values[0], temporary)
        else:
            _write_cogs(scene, temporary)


def _repeated(size: int) -> xr.Dataset:
    scene = simulate_scene(seed=1, shape=(SCENE, SCENE))[["reflectance", "mask", *ANGLES, "scl"]]
    unit = min(size, UNIT)
    rows = np.arange(unit) % SCENE
    part, times = scene.isel(y=rows, x=rows), -(-size // unit)
    if times > 1:
        arrays = {}
        for name, variable in part.data_vars.items():
            chunks = (*((1,) * (variable.ndim - 2)), unit, unit)
            lazy = da.tile(da.from_array(variable.values, chunks=chunks), (times, times))
            arrays[name] = (variable.dims, lazy[..., :size, :size], variable.attrs)
        part = xr.Dataset(arrays, part.drop_dims(("y", "x")).coords, part.attrs)
    first, left, step = float(scene["y"][0]), float(scene["x"][0]), 10.0
    part = part.assign_coords(y=first - step * np.arange(size), x=left + step * np.arange(size))
    return set_grid(part, *grid_of(scene))


def _write_cogs(scene: xr.Dataset, folder: Path) -> None:
    """One file a band, the scene classification, and the angles of the middle of the image."""
    grid = grid_of(scene)
    coding: dict[str, Any] = {"nodata": 0, "scales": (1.0 / QUANTIFICATION,), "offsets": (OFFSET / QUANTIFICATION,)}
    for band in scene["band"].values:
        _write_cog(folder / f"{band}.tif", stored_numbers(scene.sel(band=band).isel(time=0), 1), grid, **coding)
    _write_cog(folder / "SCL.tif", scene["scl"].values[0], grid)
    row, column = (scene.sizes[name] // 2 for name in ("y", "x"))
    middle = {name: float(scene[name].isel(time=0)[row, column]) for name in ANGLES}
    time = str(scene["time"].values[0].astype("datetime64[s]"))
    (folder / "angles.json").write_text(json.dumps({**middle, "time": time, "sensor": scene.attrs["sensor"]}))


def _write_cog(path: Path, numbers: np.ndarray, grid: Any, nodata: int | None = None, **attributes: Any) -> None:
    options = {"compress": "DEFLATE", "blocksize": 512, "num_threads": "ALL_CPUS", "bigtiff": "IF_SAFER"}
    height, width = numbers.shape
    shape = {"height": height, "width": width, "count": 1, "dtype": numbers.dtype}
    crs, transform = grid
    with rasterio.open(
        path, "w", driver="COG", crs=crs, transform=transform, nodata=nodata, **shape, **options
    ) as file:
        for name, value in attributes.items():
            setattr(file, name, value)
        file.write(numbers, 1)
