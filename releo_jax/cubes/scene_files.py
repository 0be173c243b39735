"""Simulated scenes in the formats that real images come in, with their truth beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import xarray as xr

from releo_jax.cubes.atomic import MARKER, replacing, writing
from releo_jax.cubes.checks import check_cube
from releo_jax.cubes.convention import ANGLES, Flag, grid_of
from releo_jax.cubes.safe_writing import OFFSET, QUANTIFICATION, SATURATED, write_safe
from releo_jax.cubes.scene import TRUTH
from releo_jax.cubes.stored import open_stored
from releo_jax.cubes.streaming import check_tiles
from releo_jax.cubes.writing import write_cube, write_table
from releo_jax.errors import ReleoError

FORMATS = ("safe", "geotiff", "netcdf", "zarr", "table")
TRUTH_FILE = "truth.nc"
_SUFFIXES = {".safe": "safe", ".nc": "netcdf", ".zarr": "zarr", ".csv": "table", ".parquet": "table", "": "geotiff"}
_SCENE = (*TRUTH, "land_cover", "purity", "parcel", "scl")
_ALIASES = {
    "leaf_area_index": "lai",
    "canopy_chlorophyll": "ccc",
    "canopy_water": "cwc",
    "fapar": "fapar",
    "fcover": "fcover",
}


def write_scene(scene: xr.Dataset, path: str | os.PathLike[str], format: str | None = None) -> None:
    """Writes a simulated scene, or another cube of one date, in a format that `open_cube` or `read_table` reads.

    Args:
        scene: as `simulate_scene` returns it.
        path: target.
        format: None to go by the suffix; or
            `safe`: a Sentinel-2 Level-2A product (`.SAFE`; JPEG 2000, angle grids, offset), with `truth.nc` in it;
            `geotiff`: a folder of `B02.tif`, ..., `SCL.tif`, the angles, `angles.json` and `truth.nc` (no suffix);
            `netcdf`, `zarr`: one cube, the truth among its variables (`.nc`, `.zarr`);
            `table`: one row a pixel, with the truth as `lai_true`, `ccc_true`, ... (`.csv`, `.parquet`).

    Raises:
        ReleoError: unknown format, or the target cannot be written.
    """
    path = Path(path)
    if format is None:
        format = _SUFFIXES.get(path.suffix.lower())
    if format not in FORMATS:
        raise ReleoError(
            f"{path}: unknown format of a scene; expected a name in .SAFE, .nc, .zarr, .csv, .parquet or without suffix"
        )
    check_cube(scene)
    if scene.sizes["time"] != 1:
        raise ReleoError(f"{path}: expected one date, got {scene.sizes['time']}; select one")
    if format in ("netcdf", "zarr"):
        write_cube(scene, path)
    elif format == "table":
        write_table(to_table(scene), path)
    else:
        with replacing(path) as temporary, writing(path):
            temporary.mkdir()
            if format == "safe":
                write_safe(scene, _classes(scene), temporary)
            else:
                _write_geotiffs(scene, temporary)
            truth = scene[[name for name in _SCENE if name in scene]]
            if truth.data_vars:
                write_cube(truth, temporary / TRUTH_FILE)
            (temporary / MARKER).write_text(json.dumps({"product": scene.attrs.get("product", "")}) + "\n")


def open_truth(path: str | os.PathLike[str]) -> xr.Dataset:
    """The truth of a scene written by `write_scene` in any image format: `leaf_area_index`, ..., `land_cover`, `scl`.

    Raises:
        ReleoError: there is no truth with this image.
    """
    path = Path(path)
    file = path if path.is_file() or path.suffix == ".zarr" else path / TRUTH_FILE
    if not file.exists():
        raise ReleoError(f"{path}: no truth here; expected {file.name}, as `releo simulate` writes it")
    stored = open_stored(file, chunks={}, decode_coords="all")
    found = [name for name in _SCENE if name in stored]
    if "leaf_area_index" not in found:
        stored.close()
        raise ReleoError(f"{path}: no truth in it; expected leaf_area_index, as `releo simulate` writes it")
    truth = stored[found]
    truth.set_close(stored.close)
    return truth


def to_table(scene: xr.Dataset) -> pd.DataFrame:
    """A scene of one date as a table: x, y, bands, angles, SCL, land cover and truth, one row a pixel.

    Missing and saturated values become empty cells.
    """
    scene = scene.isel(time=0).load()
    shape = (scene.sizes["y"], scene.sizes["x"])
    y, x = np.meshgrid(scene["y"].values, scene["x"].values, indexing="ij")
    columns: dict[str, Any] = {"x": x.ravel(), "y": y.ravel()}
    for band in scene["band"].values:
        columns[str(band)] = scene["reflectance"].sel(band=band).values.ravel().astype(np.float64).round(6)
    for name in ANGLES:
        columns[name] = np.broadcast_to(scene[name].values, shape).ravel().astype(np.float64).round(5)
    columns["SCL"] = _classes(scene.expand_dims("time")).ravel()
    for name, alias in _ALIASES.items():
        if name in scene:
            columns[f"{alias}_true"] = scene[name].values.ravel()
    for name in ("land_cover", "purity", "parcel"):
        if name in scene:
            columns[name] = scene[name].values.ravel()
    return pd.DataFrame(columns)


def _classes(scene: xr.Dataset) -> np.ndarray:
    """The scene classification (row, column): the scene's own, or what its mask can tell."""
    if "scl" in scene:
        return scene["scl"].values[0]
    mask = scene["mask"].values[0]
    flags = np.bitwise_and.reduce(mask, axis=0) if mask.ndim == 3 else mask
    classes = np.full(flags.shape, 4, dtype=np.uint8)
    classes[(flags & Flag.CLOUD_OR_SHADOW_OR_SNOW) != 0] = 9
    classes[(flags & Flag.NODATA) != 0] = 0
    return classes


def _write_geotiffs(scene: xr.Dataset, folder: Path) -> None:
    """Bands as unsigned 16-bit numbers with GDAL's scale and offset; angles as numbers, or as files where they vary."""
    crs, transform = grid_of(scene)
    flat = scene.isel(time=0).load()
    shape = (scene.sizes["y"], scene.sizes["x"])
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": shape[0],
        "width": shape[1],
        "count": 1,
        "crs": crs,
        "transform": transform,
        "compress": "DEFLATE",
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
    }
    for band in [str(name) for name in flat["band"].values]:
        part = flat.sel(band=band)
        values, mask = part["reflectance"].values, part["mask"].values
        numbers = np.clip(np.rint(np.nan_to_num(values) * QUANTIFICATION) - OFFSET, 1, SATURATED - 1)
        numbers[(mask & Flag.SATURATED) != 0] = SATURATED
        numbers[(mask & Flag.NODATA) != 0] = 0
        with rasterio.open(folder / f"{band}.tif", "w", dtype="uint16", nodata=0, **profile) as file:
            file.write(numbers.astype(np.uint16), 1)
            file.scales, file.offsets = (1 / QUANTIFICATION,), (OFFSET / QUANTIFICATION,)
            file.set_band_description(1, band)
    with rasterio.open(folder / "SCL.tif", "w", dtype="uint8", **profile) as file:
        file.write(_classes(scene).astype(np.uint8), 1)
    note: dict[str, Any] = {"time": str(scene["time"].values[0].astype("datetime64[s]"))}
    if "sensor" in scene.attrs:
        note["sensor"] = scene.attrs["sensor"]
    for name in ANGLES:
        if flat[name].ndim:
            with rasterio.open(folder / f"{name}.tif", "w", dtype="float32", predictor=3, **profile) as file:
                file.write(flat[name].values, 1)
        else:
            note[name] = float(flat[name])
    for file_name in folder.glob("*.tif"):
        check_tiles(file_name)
    (folder / "angles.json").write_text(json.dumps(note, indent=2) + "\n")
