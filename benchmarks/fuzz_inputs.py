"""Small valid inputs of every kind that `releo` reads, for `benchmarks.fuzz` to spoil."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from rasterio.transform import Affine

from releo_jax.cubes import write_scene
from releo_jax.cubes.convention import ANGLES, assemble
from tests.releo_jax.cubes.products import GROUPS, write_landsat, write_theia

CORNER = (600_000.0, 5_300_040.0)
"""Upper left corner, metres."""

CRS = "EPSG:32632"
DEGREES = {"sun_zenith": 35.0, "view_zenith": 6.0, "relative_azimuth": 120.0}
"""Angles of every start input but those of Theia and Landsat, whose products have their own."""

TIME = "2022-06-05T10:36:00"
SPECTRUM = {
    "B02": 0.04,
    "B03": 0.07,
    "B04": 0.05,
    "B05": 0.11,
    "B06": 0.26,
    "B07": 0.33,
    "B08": 0.35,
    "B8A": 0.37,
    "B11": 0.19,
    "B12": 0.10,
}
"""Reflectance of a crop; pixels have 0.6 to 1.4 times as much."""


def scene(rng: np.random.Generator) -> xr.Dataset:
    """A cube of one date, 12 or 24 by 18 or 30 pixels, each 2 x 2 of them alike as bands of 20 m are."""
    rows, columns = int(rng.choice([12, 24])), int(rng.choice([18, 30]))
    factors = rng.uniform(0.6, 1.4, (len(SPECTRUM), rows // 2, columns // 2)).repeat(2, 1).repeat(2, 2)
    values = np.rint(np.array(list(SPECTRUM.values()))[:, None, None] * factors * 1e4) / 1e4
    coordinates = {
        "time": np.array([TIME], "datetime64[ns]"),
        "band": list(SPECTRUM),
        "y": CORNER[1] - 10.0 * np.arange(rows) - 5.0,
        "x": CORNER[0] + 10.0 * np.arange(columns) + 5.0,
    }
    reflectance = xr.DataArray(
        values[None].astype(np.float32), coords=coordinates, dims=("time", "band", "y", "x"), name="reflectance"
    )
    return assemble(
        reflectance,
        xr.zeros_like(reflectance, dtype=np.uint8),
        DEGREES,
        crs=CRS,
        transform=Affine(10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1]),
        attrs={"sensor": "sentinel2a", "sun_azimuth": 150.0},
    )


def _written(suffix: str) -> Callable[[Path, np.random.Generator], Path]:
    def make(folder: Path, rng: np.random.Generator) -> Path:
        path = folder / f"scene{suffix}"
        write_scene(scene(rng), path)
        return path

    return make


def _bands_in_files(folder: Path, rng: np.random.Generator) -> Path:
    """Three of four as `releo simulate` writes them, else as others do: a name with date, angles as files."""
    path = folder / "bands"
    write_scene(scene(rng), path)
    if rng.random() < 0.25:
        for file in [*path.glob("B*.tif")]:
            file.rename(path / f"field_20220605T103600_{file.stem}_10m.tif")
        note = json.loads((path / "angles.json").read_text())
        with rasterio.open(path / "SCL.tif") as source:
            profile = {**source.profile, "dtype": "float32"}
        for name in ANGLES:
            with rasterio.open(path / f"{name}.tif", "w", **profile) as file:
                file.write(np.full(source.shape, note.pop(name), np.float32), 1)
        (path / "angles.json").write_text(json.dumps(note))
    return path


def _bands_in_one_file(folder: Path, rng: np.random.Generator) -> Path:
    """All bands in one GeoTIFF, as numbers with scale and offset or as reflectance; angles beside it."""
    cube = scene(rng)
    values = cube["reflectance"].values[0]
    path = folder / "image" / "stack.tif"
    path.parent.mkdir()
    numbers = rng.random() < 0.5
    profile = {"driver": "GTiff", "height": values.shape[1], "width": values.shape[2], "count": len(values), "crs": CRS}
    profile |= {"transform": Affine(10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1])}
    profile |= {"dtype": "uint16", "nodata": 0} if numbers else {"dtype": "float32", "nodata": np.nan}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.rint(values * 1e4 + 1000).astype(np.uint16) if numbers else values)
        file.descriptions = tuple(SPECTRUM)
        if numbers:
            file.scales, file.offsets = [1e-4] * len(values), [-0.1] * len(values)
    (path.parent / "angles.json").write_text(json.dumps({**DEGREES, "time": TIME, "sensor": "S2A"}))
    return path


def _theia(folder: Path, rng: np.random.Generator) -> Path:
    shape = (int(rng.choice([12, 24])), 18)
    numbers = {}
    for group, bands in GROUPS.items():
        side = 1 if group == "R1" else 2
        for band in bands:
            middle = SPECTRUM[band if len(band) == 3 else f"B0{band[1:]}"]
            factors = rng.uniform(0.6, 1.4, (shape[0] // side, shape[1] // side))
            numbers[band] = np.rint(1e4 * middle * factors).astype(np.int16)
    return write_theia(folder, shape=shape, numbers=numbers)


def _landsat(folder: Path, rng: np.random.Generator) -> Path:
    return write_landsat(folder, kind=str(rng.choice(["json", "xml"])))


def _sentinel1(folder: Path, rng: np.random.Generator) -> Path:
    """A folder of one or two dates of backscatter in dB; the optical image is beside it."""
    cube = scene(rng)
    write_scene(cube, folder / "optical.nc")
    path = folder / "radar"
    path.mkdir()
    shape = cube["reflectance"].shape[2:]
    profile = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": 1, "crs": CRS, "dtype": "float32"}
    profile |= {"transform": Affine(10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1]), "nodata": np.nan}
    for day in ("20220604T054411", "20220610T054412")[: int(rng.integers(1, 3))]:
        for name, middle in (("vv", -11.0), ("vh", -17.0)):
            with rasterio.open(path / f"s1a_32TNT_{name}_DES_{day}_sigma0_dB.tif", "w", **profile) as file:
                file.write(rng.normal(middle, 1.5, shape).astype(np.float32), 1)
    with rasterio.open(path / "incidence.tif", "w", **profile) as file:
        file.write(np.full(shape, 38.5, np.float32), 1)
    return path


def _bands_as_variables(suffix: str) -> Callable[[Path, np.random.Generator], Path]:
    """A dataset as others write it: a variable a band, packed in integers, `scl`, no mask of ours."""

    def make(folder: Path, rng: np.random.Generator) -> Path:
        cube = scene(rng)
        stored = cube.drop_vars(["reflectance", "mask", "band"])
        attrs = {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": np.int16(-9999)}
        for band in SPECTRUM:
            numbers = (cube["reflectance"].sel(band=band, drop=True) * 1e4 + 1000).round().astype(np.int16)
            stored[band] = numbers.assign_attrs(attrs, grid_mapping="spatial_ref").drop_encoding()
        stored["scl"] = (("time", "y", "x"), np.full(stored[band].shape, 4, np.uint8))
        save(stored.drop_encoding(), folder / f"others{suffix}")
        return folder / f"others{suffix}"

    return make


def save(dataset: xr.Dataset, path: Path) -> None:
    """Writes a dataset whose attributes hold what xarray would take for encoding, such as `_FillValue`."""
    dataset = dataset.drop_encoding()
    for name in dataset.variables:
        if "_FillValue" in dataset[name].attrs:
            dataset[name].encoding["_FillValue"] = dataset[name].attrs.pop("_FillValue")
        elif dataset[name].dtype.kind == "f":
            dataset[name].encoding["_FillValue"] = None
        elif dataset[name].dtype.kind in "OUT" and path.suffix == ".nc":
            dataset[name].encoding["dtype"] = "S1"  # as `releo_jax.cubes.writing` does, for its reason
    if path.suffix == ".zarr":
        dataset.to_zarr(path, mode="w", zarr_format=2, consolidated=True)
    else:
        dataset.to_netcdf(path, engine="netcdf4")


def load(path: Path) -> xr.Dataset:
    """The dataset of a file as it is stored, in memory, `_FillValue` among the attributes."""
    raw: dict[str, Any] = {"mask_and_scale": False, "decode_times": False, "decode_coords": False}
    if path.suffix == ".zarr":
        with xr.open_zarr(path, chunks=None, consolidated=True, **raw) as stored:
            return stored.load()
    with xr.open_dataset(path, engine="netcdf4", **raw) as stored:
        return stored.load()


def _table(suffix: str) -> Callable[[Path, np.random.Generator], Path]:
    def make(folder: Path, rng: np.random.Generator) -> Path:
        path = folder / f"pixels{suffix}"
        write_scene(scene(rng).isel(y=slice(0, 6), x=slice(0, 8)), path)
        return path

    return make


KINDS: dict[str, Callable[[Path, np.random.Generator], Path]] = {
    "GeoTIFF folder": _bands_in_files,
    "GeoTIFF file": _bands_in_one_file,
    "NetCDF": _written(".nc"),
    "NetCDF of others": _bands_as_variables(".nc"),
    "Zarr": _written(".zarr"),
    "Zarr of others": _bands_as_variables(".zarr"),
    "SAFE": _written(".SAFE"),
    "Theia": _theia,
    "Landsat": _landsat,
    "Sentinel-1": _sentinel1,
    "CSV": _table(".csv"),
    "Parquet": _table(".parquet"),
}
"""Makers by the names of kinds: each writes a valid input into a folder and returns its path."""


def read_frame(path: Path) -> pd.DataFrame:
    """A table as it is."""
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
