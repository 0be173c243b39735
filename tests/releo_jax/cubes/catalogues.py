"""Items of STAC as three catalogues write them, over rasters of one scene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from rasterio.warp import transform_bounds

from releo_jax.cubes import open_stac
from releo_jax.cubes.checks import check_cube
from releo_jax.cubes.convention import grid_of
from releo_jax.errors import ReleoError

COMMON = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge1",
    "B06": "rededge2",
    "B07": "rededge3",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B11": "swir16",
    "B12": "swir22",
}
EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("eo/v1.1.0", "raster/v1.1.0", "projection/v1.1.0", "view/v1.0.0")
]


def safe_rasters(safe: Path) -> dict[str, Path]:
    """The files of a product by band and pixel size, such as `B02_10m`."""
    return {"_".join(path.stem.split("_")[-2:]): path for path in sorted(safe.glob("GRANULE/*/IMG_DATA/R*/*.jp2"))}


def write_cogs(safe: Path, folder: Path, add: int = 0) -> dict[str, Path]:
    """The finest file of every band as tiled GeoTIFF; `add` to all numbers but no data (0) and saturated (65535)."""
    folder.mkdir(parents=True)
    files: dict[str, Path] = {}
    for key, path in sorted(safe_rasters(safe).items(), reverse=True):
        name = key.split("_")[0]
        files[name] = folder / f"{name}.tif"
        with rasterio.open(path) as source:
            numbers, profile = source.read(1), source.profile
        if name != "SCL":
            kept = (numbers == 0) | (numbers == 65535)
            numbers = np.where(kept, numbers, np.clip(numbers.astype(int) + add, 1, 65534)).astype(np.uint16)
        options = {"crs": profile["crs"], "transform": profile["transform"], "dtype": numbers.dtype, "nodata": 0}
        height, width = numbers.shape
        with rasterio.open(
            files[name], "w", driver="GTiff", tiled=True, blockxsize=16, blockysize=16, count=1,
            height=height, width=width, **options,
        ) as file:  # fmt: skip
            file.write(numbers, 1)
    return files


def projected(path: Path, code: str | None = None) -> dict:
    """Fields of the projection extension of a raster."""
    with rasterio.open(path) as file:
        fields = {"proj:shape": list(file.shape), "proj:transform": list(file.transform)[:6]}
        return fields if code is None else {**fields, code: file.crs.to_string()}


def _item(name: str, path: Path, properties: dict, assets: dict, *, time: str, platform: str, version: str) -> dict:
    with rasterio.open(path) as file:
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": version,
        "stac_extensions": EXTENSIONS,
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": time, "platform": platform, **properties},
        "links": [],
        "assets": assets,
    }


VIEW = {"view:incidence_angle": 6.0, "view:azimuth": 279.0}
SUN = {"view:sun_elevation": 59.0, "view:sun_azimuth": 151.0}
TIME = {"time": "2022-06-05T10:36:00Z", "platform": "sentinel-2b"}


def earth_search(
    files: dict[str, Path], *, applied: bool | None = True, offset: float = -0.1, name="E", **told
) -> dict:
    """As Earth Search v1: assets by common names, JPEG 2000 beside GeoTIFF, offset in raster:bands in any case."""
    assets: dict = {}
    for band, path in files.items():
        key = COMMON.get(band, band.lower())
        stored = {"nodata": 0, "data_type": "uint8" if band == "SCL" else "uint16"}
        if band != "SCL":
            stored |= {"scale": 0.0001, "offset": offset}
        fields = {"raster:bands": [stored], **projected(path)}
        if band != "SCL":
            fields["eo:bands"] = [{"name": key, "common_name": "rededge" if "rededge" in key else key}]
        # Listed first, and not there: the originals are in another place, and not free.
        assets[f"{key}-jp2"] = {"href": "s3://sentinel-s2-l2a/B.jp2", "type": "image/jp2", "roles": ["data"], **fields}
        assets[key] = {
            "href": str(path),
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            **fields,
        }
    any_band = next(iter(files.values()))
    assets["visual"] = {
        "href": "TCI.tif",
        "type": "image/tiff",
        "roles": ["visual"],
        "eo:bands": [{"name": n, "common_name": n} for n in ("red", "green", "blue")],
    }
    assets["thumbnail"] = {"href": "thumbnail.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    properties = {"proj:epsg": 32632, "s2:processing_baseline": "05.09", **SUN, **VIEW, **told.pop("properties", {})}
    if applied is not None:
        properties["earthsearch:boa_offset_applied"] = applied
    return _item(name, any_band, properties, assets, **{**TIME, "version": "1.0.0", **told})


def planetary_computer(files: dict[str, Path], *, baseline: str | None = "05.09", name="P", **told) -> dict:
    """As the Planetary Computer: assets by band, nothing of the raster extension, no direction of view."""
    assets: dict = {}
    for band, path in files.items():
        fields = projected(path)
        if band != "SCL":
            common = "rededge" if band in ("B05", "B06", "B07", "B8A") else COMMON[band]
            fields["eo:bands"] = [{"name": band, "common_name": common}]
        assets[band] = {
            "href": str(path),
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            **fields,
        }
    assets["visual"] = {
        "href": "TCI.tif",
        "type": "image/tiff",
        "roles": ["data"],
        "eo:bands": [{"name": n} for n in ("B04", "B03", "B02")],
    }
    properties = {
        "proj:epsg": 32632,
        "s2:mean_solar_zenith": 31.0,
        "s2:mean_solar_azimuth": 151.0,
        **told.pop("properties", {}),
    }
    if baseline is not None:
        properties["s2:processing_baseline"] = baseline
    arguments = {**TIME, "platform": "Sentinel-2B", "version": "1.0.0", **told}
    return _item(name, next(iter(files.values())), properties, assets, **arguments)


def copernicus(safe: Path, *, name="C", granule: bool = False, **told) -> dict:
    """As the Copernicus Data Space: STAC 1.1, the files of the product itself at all their pixel sizes."""
    assets: dict = {}
    for key, path in safe_rasters(safe).items():
        fields = {"nodata": 0, "data_type": "uint8" if "SCL" in key else "uint16", **projected(path, "proj:code")}
        if "SCL" not in key:
            band = key.split("_")[0]
            fields |= {"raster:scale": 0.0001, "raster:offset": -0.1, **VIEW}
            fields["bands"] = [{"name": band, "eo:common_name": COMMON[band]}]
        assets[key] = {"href": str(path), "type": "image/jp2", "roles": ["data", "reflectance"], **fields}
    if granule:
        href = str(next(safe.glob("GRANULE/*/MTD_TL.xml")))
        assets["granule_metadata"] = {"href": href, "type": "application/xml", "roles": ["metadata"]}
    properties = {
        "product:type": "S2MSI2A",
        "processing:level": "L2",
        "processing:version": "04.00",
        **SUN,
        **VIEW,
        **told.pop("properties", {}),
    }
    path = next(iter(safe_rasters(safe).values()))
    return _item(name, path, properties, assets, **{**TIME, "version": "1.1.0", **told})


def save(item: dict, path: Path) -> Path:
    path.write_text(json.dumps(item))
    return path


def files(scene: Path, kind: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((scene / kind).glob("*.tif"))}


def item_of(catalogue: str, scene: Path, **told) -> dict:
    """An item over the scene."""
    if catalogue == "copernicus":
        return copernicus(scene / "image.SAFE", **told)
    if catalogue == "earth-search":
        return earth_search(files(scene, "harmonised"), **told)
    if catalogue == "earth-search-c1":
        return earth_search(files(scene, "original"), **({"applied": None} | told))
    return planetary_computer(files(scene, "original"), **told)


def refused(message: str, items, **options) -> None:
    with pytest.raises(ReleoError, match=message) as caught:
        open_stac([pystac.Item.from_dict(i, migrate=False) if isinstance(i, dict) else i for i in items], **options)
    assert "\n" not in str(caught.value)


def same_pixels(read: xr.Dataset, expected: xr.Dataset, tolerance: float = 0.0) -> None:
    check_cube(read)
    assert read["band"].values.tolist() == expected["band"].values.tolist()
    for name in ("mask", "y", "x"):
        np.testing.assert_array_equal(read[name].values, expected[name].values)
    np.testing.assert_allclose(read["reflectance"].values, expected["reflectance"].values, rtol=0, atol=tolerance)
    assert grid_of(read) == grid_of(expected)
