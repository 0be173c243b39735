"""One entry for every kind of image: `open_cube`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from releo_jax.cubes.convention import sensor_name
from releo_jax.cubes.datasets import is_dataset, open_dataset
from releo_jax.cubes.geotiff import is_geotiff, open_geotiff
from releo_jax.cubes.landsat import is_landsat, open_landsat
from releo_jax.cubes.safe import CLEAR, is_safe, open_safe
from releo_jax.cubes.sentinel2 import is_sentinel2
from releo_jax.cubes.series import join_dates
from releo_jax.cubes.stac import is_stac, open_stac
from releo_jax.cubes.theia import open_theia
from releo_jax.errors import ReleoError
from releo_jax.urls import url_of


def open_cube(
    path: str | os.PathLike[str],
    *,
    sensor: str | None = None,
    scale: float | None = None,
    offset: float | None = None,
    bands: Sequence[str] | None = None,
    sun_zenith: float | None = None,
    view_zenith: float | None = None,
    relative_azimuth: float | None = None,
    resolution: int = 10,
    clear: Sequence[int] = CLEAR,
) -> xr.Dataset:
    """Opens an image as a cube `(time, band, y, x)`, lazily: pixels are read when they are asked for.

    Args:
        path: a Sentinel-2 Level-2A product (a `.SAFE` folder, or a folder of MAJA as Theia distributes it); a NetCDF
            file or Zarr store; a Landsat-8 or 9 Collection 2 Level-2 folder; a folder of band GeoTIFFs or one GeoTIFF
            with named bands; a folder of products of one tile, which become one cube along time; an item of a STAC
            catalogue, or several: a JSON file, a folder of them, or a URL (`https://`, `s3://`).
        sensor: `sentinel2a`, `sentinel2b` or `sentinel2c` (also `S2A`, ...), where the file does not say.
        scale: what a reflectance of 1 is stored as (10000), where the file does not say.
        offset: number to add before dividing by `scale` (-1000 for unharmonised Sentinel-2 from 2022 on).
        bands: bands to read, None for all; a cube holds them in this order.
        sun_zenith: degrees, for all pixels; wins over what the file holds.
        view_zenith: likewise.
        relative_azimuth: likewise.
        resolution: pixel size in metres, 10, 20 or 60, for a Sentinel-2 product.
        clear: classes of the scene classification that are clear; a product of MAJA has bits in its place
            (`releo_jax.cubes.open_theia`).

    Raises:
        ReleoError: says what is wrong, where, and what to do.
    """
    url = url_of(path)
    path = Path(path)
    if url is None and not path.exists():
        raise ReleoError(f"{path}: no such file or folder")
    if sensor is not None:
        sensor = sensor_name(sensor)
    angles = {"sun_zenith": sun_zenith, "view_zenith": view_zenith, "relative_azimuth": relative_azimuth}
    products = [] if url is not None else [path] if _is_product(path) else _products(path)
    if products:
        if scale is not None or offset is not None:
            raise ReleoError(f"{path}: scale and offset of a product come from its metadata; leave them out")
        cubes = [_open_product(product, sensor, bands, angles, resolution, clear) for product in products]
        return cubes[0] if products == [path] else join_dates(cubes, str(path))
    if is_stac(url or path):
        return open_stac(
            url or path, resolution=resolution, bands=bands, clear=clear, sensor=sensor, scale=scale, offset=offset,
            angles=angles,
        )  # fmt: skip
    if is_dataset(path):
        return open_dataset(path, sensor=sensor, scale=scale, offset=offset, bands=bands, angles=angles, clear=clear)
    if path.suffix.lower() in (".csv", ".parquet", ".txt"):
        raise ReleoError(f"{path}: a table, not an image; read it with read_table")
    if is_geotiff(path):
        return open_geotiff(path, sensor=sensor, scale=scale, offset=offset, bands=bands, angles=angles, clear=clear)
    raise ReleoError(
        f"{path}: not an image that can be read; expected a .SAFE folder, an unpacked product of "
        "Theia or Landsat, NetCDF (.nc), Zarr (.zarr), an item of STAC (.json), a GeoTIFF or a folder of GeoTIFFs "
        "named after their bands (B02.tif, ...)"
    )


def _is_product(path: Path) -> bool:
    return is_sentinel2(path) or is_landsat(path)


def _products(path: Path) -> list[Path]:
    """The products that a folder holds, none if it is something else."""
    return [] if path.is_file() or is_dataset(path) else sorted(filter(_is_product, path.iterdir()))


def _open_product(
    path: Path,
    sensor: str | None,
    bands: Sequence[str] | None,
    angles: Mapping[str, float | None],
    resolution: int,
    clear: Sequence[int],
) -> xr.Dataset:
    if is_safe(path):
        cube = open_safe(path, resolution=resolution, bands=bands, clear=clear)
    elif tuple(clear) != CLEAR:
        function = "open_landsat" if is_landsat(path) else "open_theia"
        raise ReleoError(f"{path}: this product has no scene classes; leave clear out, or choose bits by {function}")
    elif is_landsat(path):
        cube = open_landsat(path, bands=bands, angles=angles)
    else:
        cube = open_theia(path, resolution=resolution, bands=bands)
    if sensor is not None and sensor != cube.attrs["sensor"]:
        raise ReleoError(f"{path}: {cube.attrs['sensor']} by its metadata, not {sensor}; leave the sensor out")
    given = {name: xr.full_like(cube[name], value) for name, value in angles.items() if value is not None}
    return cube.assign(given)
