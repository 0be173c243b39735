"""Rasters of STAC items as lazy arrays on the grid of a cube, by odc-stac."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import odc.stac
import pystac
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.loader import RioDriver, RioReader
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from releo_jax.cubes.rasters import Grid, coarsened
from releo_jax.cubes.stac_items import Asset
from releo_jax.errors import ReleoError

# Nothing lies beside a file that is worth a request, and what failed once may answer the next time.
_REMOTE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_HTTP_MAX_RETRY": "4", "GDAL_HTTP_RETRY_DELAY": "1"}


class _Reader(RioReader):
    """odc-stac's reader, whose failures name the file."""

    def read(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read(*args, **options)
        except (RasterioError, OSError) as error:
            cause = " ".join(str(error.__cause__ or error).replace(self._src.uri, "").split()).strip(" :'")
            raise ReleoError(
                f"{self._src.uri}: cannot be read ({cause[:120]}); the file is not there, damaged, or not yours to "
                "read: check the item's href, sign it, or set the credentials"
            ) from error


class _Driver(RioDriver):
    """odc-stac's driver with that reader, and GDAL set up for files at URLs unless the environment says otherwise."""

    def capture_env(self) -> dict[str, Any]:
        return {name: value for name, value in _REMOTE.items() if name not in os.environ} | super().capture_env()

    def open(self, src: Any, ctx: Any) -> RioReader:
        return _Reader(src, ctx)


def load(
    item: pystac.Item, assets: Mapping[str, Asset], grid: Grid, *, special: Sequence[float] | None, side: int
) -> xr.DataArray:
    """Numbers (band, y, x) of an item on a grid, lazily; what it does not cover is its number for no data.

    Args:
        item: where the assets are from.
        assets: rasters by band, of one type.
        grid: where to bring them: coarser rasters are repeated, finer ones averaged.
        special: as in `releo_jax.cubes.rasters.read`.
        side: of a chunk, pixels of the grid.
    """
    planes = {}
    shrinks = {name: max(1, round(grid.transform.a / asset.grid.transform.a)) for name, asset in assets.items()}
    for shrink in sorted(set(shrinks.values())):
        names = [name for name, its in shrinks.items() if its == shrink]
        corner = grid.transform
        transform = Affine(corner.a / shrink, 0.0, corner.c, 0.0, corner.e / shrink, corner.f)
        # Finer rasters are read in their own pixels: what odc-stac averages would take no notice of no data.
        loaded = odc.stac.load(
            [_plain(item, {name: assets[name] for name in names})],
            bands=names,
            geobox=GeoBox((grid.height * shrink, grid.width * shrink), transform, grid.crs),
            chunks={"y": side * shrink, "x": side * shrink},
            resampling="nearest",
            driver=_Driver(),
        )
        for name in names:
            planes[name] = _coarsened(loaded[name].data[0], shrink, special)
    stacked = da.stack([planes[name] for name in assets])
    return xr.DataArray(stacked, dims=("band", "y", "x"))


def _coarsened(numbers: da.Array, shrink: int, special: Sequence[float] | None) -> da.Array:
    if shrink == 1:
        return numbers
    chunks = tuple(tuple(size // shrink for size in sizes) for sizes in numbers.chunks)
    return da.map_blocks(coarsened, numbers, shrink, special, chunks=chunks, meta=np.empty((0, 0), numbers.dtype))


def _plain(item: pystac.Item, assets: Mapping[str, Asset]) -> pystac.Item:
    """The item with these assets only, described in one way whatever its catalogue."""
    plain = pystac.Item(
        item.id,
        None,  # the rasters' own grids say where they are
        None,
        item.datetime,
        {} if item.datetime else {key: item.properties[key] for key in ("start_datetime", "end_datetime")},
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
    )
    for name, asset in assets.items():
        grid = asset.grid
        fields = {
            "proj:wkt2": CRS.from_user_input(grid.crs).to_wkt(),
            "proj:shape": [grid.height, grid.width],
            "proj:transform": list(grid.transform)[:6],
            "raster:bands": [{"data_type": str(asset.dtype), "nodata": asset.nodata}],
        }
        plain.add_asset(name, pystac.Asset(asset.href, media_type="image/tiff", roles=["data"], extra_fields=fields))
    return plain
