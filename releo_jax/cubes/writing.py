"""Whole datasets and tables to files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from releo_jax.cubes.atomic import replacing, writing
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.streaming import ZARR_FORMAT, BlockWriter, Layer
from releo_jax.errors import ReleoError

_SIDE = 1024


def write_cog(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Writes the gridded variables of a dataset as one Cloud-Optimised GeoTIFF.

    One file with one float32 band a variable, spectral band and date, in this order; nodata NaN, scale 1, offset 0;
    the description of a band is the variable's name (`reflectance_B02` for spectral bands), with the date where there
    are several. Block by block, for lazy datasets too.

    Args:
        dataset: variables `(y, x)`, `(time, y, x)` or `(time, band, y, x)`; others are left out.
        path: target, `.tif`.
    """
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        raise ReleoError(f"{path}: expected a name that ends in .tif")
    planes = _planes(dataset)
    if not planes:
        raise ReleoError(f"{path}: nothing to write, no variable has the dimensions y and x")
    with BlockWriter(path, dataset, {name: Layer(attrs=plane.attrs) for name, plane in planes.items()}) as writer:
        height, width = dataset.sizes["y"], dataset.sizes["x"]
        for time in range(dataset.sizes.get("time", 1)):
            for row in range(0, height, _SIDE):
                for column in range(0, width, _SIDE):
                    window = Window(time, row, column, min(_SIDE, height - row), min(_SIDE, width - column))
                    part = xr.Dataset(planes).isel(y=window.y, x=window.x)
                    part = (part.isel(time=time) if "time" in part.dims else part).compute()
                    writer.write(window, {name: part[name].values for name in planes})


def _planes(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    planes: dict[str, xr.DataArray] = {}
    for name, variable in dataset.data_vars.items():
        if not {"y", "x"} <= set(variable.dims):
            continue
        if "band" in variable.dims:
            for band in variable["band"].values:
                planes[f"{name}_{band}"] = variable.sel(band=band, drop=True)
        else:
            planes[str(name)] = variable
    return planes


def write_cube(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Writes a dataset as CF NetCDF (`.nc`) or Zarr (`.zarr`), chunk by chunk where it is lazy."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".nc", ".zarr"):
        raise ReleoError(f"{path}: expected a name that ends in .nc or .zarr")
    # What the source said about storage holds for the source.
    dataset = dataset.drop_encoding().assign_attrs(Conventions="CF-1.11")
    encoding: dict[Any, dict[str, Any]] = {name: {} for name in dataset.data_vars}
    for name, variable in dataset.data_vars.items():
        if variable.dtype.kind == "f":
            encoding[name]["_FillValue"] = np.array(np.nan, variable.dtype)[()]
        if not {"y", "x"} <= set(variable.dims):
            continue
        if "spatial_ref" in dataset.coords:
            encoding[name]["grid_mapping"] = "spatial_ref"
        if kind == ".nc":
            sizes = {"y": min(256, variable.sizes["y"]), "x": min(256, variable.sizes["x"])}
            chunks = tuple(sizes.get(str(dim), 1) for dim in variable.dims)
            encoding[name].update(zlib=True, complevel=1, shuffle=True, chunksizes=chunks)
    if kind == ".nc":
        # As characters: where a file with strings of variable length is opened twice in one process, HDF5 crashes
        # (netcdf4-python issue 1444).
        encoding |= {name: {"dtype": "S1"} for name, v in dataset.variables.items() if v.dtype.kind in "OUT"}
    with replacing(path) as temporary, writing(path):
        if kind == ".nc":
            dataset.to_netcdf(temporary, engine="netcdf4", encoding=encoding)
        else:
            even = dataset.chunk(_even_chunks(dataset))
            even.to_zarr(temporary, mode="w", zarr_format=ZARR_FORMAT, consolidated=True, encoding=encoding)


def _even_chunks(dataset: xr.Dataset) -> dict[str, int]:
    """Chunks that a Zarr store can take: of one size but for the last."""
    wanted = {"time": 1, "band": 1, "y": 512, "x": 512}
    return {name: min(size, dataset.sizes[name]) for name, size in wanted.items() if name in dataset.dims}


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Writes a table as CSV (`.csv`) or Parquet (`.parquet`), without its index."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ReleoError(f"{path}: expected a name that ends in .csv or .parquet")
    with replacing(path) as temporary, writing(path):
        if kind == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False)
