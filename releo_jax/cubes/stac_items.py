"""Items of Sentinel-2 Level-2A in a SpatioTemporal Asset Catalog (STAC): where they are read from, and what they say.

The catalogues differ in what they call a band and where they say how it is stored:

    Earth Search (Element 84)     `blue`      raster:bands[0].offset, earthsearch:boa_offset_applied
    Planetary Computer            `B02`       s2:processing_baseline only
    Copernicus Data Space (CDSE)  `B02_10m`   raster:offset of the asset (STAC 1.1), processing:version
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pystac
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from releo_jax.cubes.convention import band_name, sensor_name
from releo_jax.cubes.rasters import Grid
from releo_jax.cubes.stac import is_item
from releo_jax.cubes.values import Coding, check_numbers, linear_coding, saturated_values
from releo_jax.errors import ReleoError
from releo_jax.urls import url_of

COMMON_NAMES = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge071": "B05",
    "rededge2": "B06",
    "rededge075": "B06",
    "rededge3": "B07",
    "rededge078": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "cirrus": "B10",
    "swir16": "B11",
    "swir22": "B12",
}
"""Bands by the names of Earth Search and of STAC's common names, less `rededge`, which several bands share."""

QUANTIFICATION, OFFSET = 10000.0, -1000.0
"""What a reflectance of 1 is stored as in every Level-2A product of ESA, and BOA_ADD_OFFSET since baseline 04.00."""

_log = logging.getLogger(__name__)
_SCL = re.compile(r"^SCL(?:_\d+m)?$", re.IGNORECASE)
_PRODUCT_BASELINE = re.compile(r"_N(\d\d)(\d\d)_")
_GRANULE = ("granule_metadata", "granule-metadata")


@dataclasses.dataclass(frozen=True)
class Asset:
    """One band in one raster, as its item describes it; nothing of the raster itself has been read.

    `factor` and `summand` are STAC's raster:scale and raster:offset, value = number * factor + summand; None where the
    item does not say.
    """

    href: str
    grid: Grid
    dtype: np.dtype
    nodata: float
    factor: float | None
    summand: float | None


def read_items(source: Any) -> list[pystac.Item]:
    """Items from wherever they are.

    Args:
        source: an item or item collection of pystac, the path or URL (`https://`, `s3://`) of the JSON of one, a folder
            of such files, or several of these.

    Raises:
        ReleoError: there is no item, or what is there is something else.
    """
    if isinstance(source, pystac.Item):
        return [source]
    if not isinstance(source, str | os.PathLike):
        if not isinstance(source, Iterable):
            raise ReleoError(f"expected items of STAC, paths or URLs of them, got {type(source).__name__}")
        return [item for part in source for item in read_items(part)]
    url = url_of(source)
    if url is not None:
        return _parsed(_loaded(_fetched(url), url), url)
    path = Path(source)
    if path.is_dir():
        contents = {file: _loaded(file.read_bytes(), str(file)) for file in sorted(path.glob("*.json"))}
        return [item for file, content in contents.items() if is_item(content) for item in _parsed(content, str(file))]
    if not path.is_file():
        raise ReleoError(f"{path}: no such file or folder")
    return _parsed(_loaded(path.read_bytes(), str(path)), str(path.absolute()))


def read_bytes(href: str) -> bytes:
    """The content of a local file, or of what a URL names."""
    url = url_of(href)
    return Path(href).read_bytes() if url is None else _fetched(url)


def _fetched(url: str) -> bytes:
    try:
        if url.startswith("s3://"):
            import fsspec  # comes with dask; what it needs for S3 does not

            with fsspec.open(url, "rb") as file:
                return bytes(file.read())
        return pystac.StacIO.default().read_text(url).encode()
    except ImportError as error:
        raise ReleoError(f"{url}: {error}; pip install s3fs, or download it and give the file") from error
    except Exception as error:  # whatever the libraries of the protocol raise, pystac a bare Exception among it
        cause = " ".join(str(error.__cause__ or error).split())[:160]
        raise ReleoError(f"{url}: cannot be fetched ({cause}); check the URL and the network") from error


def _loaded(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise ReleoError(f"{where}: not JSON ({error}); give the item of a STAC catalogue") from error


def _parsed(content: Any, where: str) -> list[pystac.Item]:
    kind = content.get("type") if isinstance(content, dict) else None
    if kind not in ("Feature", "FeatureCollection"):
        raise ReleoError(
            f"{where}: expected an item of STAC (a GeoJSON Feature) or a FeatureCollection of items, got {kind}; "
            "search the catalogue, and give the items that it finds"
        )
    links = content.get("links") or ()
    if kind == "FeatureCollection" and any(isinstance(link, dict) and link.get("rel") == "next" for link in links):
        raise ReleoError(
            f"{where}: one page of several; narrow the search or raise its limit, so that all items are on one page"
        )
    features = content.get("features", []) if kind == "FeatureCollection" else [content]
    items = []
    for feature in features:
        try:
            item = pystac.Item.from_dict(feature, migrate=False)
        except Exception as error:  # pystac raises what comes: KeyError, ValueError, STACError, ...
            raise ReleoError(f"{where}: not an item of STAC ({error!r}); download it again") from error
        item.remove_links("self")
        item.set_self_href(where)  # relative hrefs are so to the file in hand, wherever it came from
        items.append(item)
    return items


# What an item says


def sensor_of(item: pystac.Item, given: str | None = None) -> str:
    """The convention's name of the satellite; `given` where the item does not say.

    Raises:
        ReleoError: it is not Sentinel-2, or another than the one given, or the product is not Level-2A.
    """
    properties = item.properties
    kind = str(properties.get("s2:product_type", properties.get("product:type", "S2MSI2A")))
    level = str(properties.get("processing:level", "L2"))
    if "1C" in kind or "1" in level or "l1c" in str(item.collection_id).lower():
        raise ReleoError(f"{item.id}: a Level-1C product (top of the atmosphere); search for Level-2A")
    given = None if given is None else sensor_name(given)
    if given is not None and not properties.get("platform"):
        return given
    stated = sensor_name(str(properties.get("platform", "")), where=item.id)
    if given not in (None, stated):
        raise ReleoError(f"{item.id}: {stated} by its metadata, not {given}; leave the sensor out")
    return stated


def time_of(item: pystac.Item) -> np.datetime64:
    """When it was seen, UTC."""
    time = item.datetime or item.common_metadata.start_datetime
    if time is None:
        raise ReleoError(f"{item.id}: no datetime; correct the item")
    return np.datetime64(time.astimezone(datetime.UTC).replace(tzinfo=None), "ns")


def baseline_of(item: pystac.Item) -> str | None:
    """Processing baseline (`05.09`), from the properties or the name of the product."""
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        found = re.fullmatch(r"0?(\d)\.(\d\d)", str(item.properties.get(key, "")))
        if found:
            return f"0{found.group(1)}.{found.group(2)}"
    named = _PRODUCT_BASELINE.search(f"{item.properties.get('s2:product_uri', '')} {item.id}_")
    return None if named is None else ".".join(named.groups())


def assets_of(item: pystac.Item) -> dict[str, dict[int, Asset]]:
    """Rasters by band (or `SCL`) and pixel size in metres."""
    found: dict[str, dict[int, Asset]] = {}
    # Earth Search lists the JPEG 2000 originals, which are not free, beside the cloud-optimised GeoTIFFs.
    for key, asset in sorted(item.assets.items(), key=lambda pair: "jp2" in str(pair[1].media_type)):
        if any(role in str(asset.roles) for role in ("thumbnail", "overview", "visual", "metadata")):
            continue
        name = _band(key, asset)
        if name is not None:
            described = _described(item, key, asset)
            found.setdefault(name, {}).setdefault(round(described.grid.transform.a), described)
    return found


def _band(key: str, asset: pystac.Asset) -> str | None:
    """The band that an asset holds, or `SCL`; None for any other or several."""
    if _SCL.match(key):
        return "SCL"
    bands = _bands(asset, "eo:bands") or _bands(asset, "bands")
    if len(bands) > 1:
        return None
    told = bands[0] if bands else {}
    texts = [key, *(str(told[name]) for name in ("name", "common_name", "eo:common_name") if name in told)]
    return next((name for text in texts if (name := band_name(text) or COMMON_NAMES.get(text))), None)


def _bands(asset: pystac.Asset, field: str) -> list[dict[str, Any]]:
    stated = asset.extra_fields.get(field)
    return [band for band in stated if isinstance(band, dict)] if isinstance(stated, list) else []


def _described(item: pystac.Item, key: str, asset: pystac.Asset) -> Asset:
    where = f"{item.id}: asset {key}"
    fields: dict[str, Any] = {**item.properties, **asset.extra_fields}
    band = next(iter(_bands(asset, "bands")), {})
    old = next(iter(_bands(asset, "raster:bands")), {})  # raster extension 1

    def told(name: str) -> Any:
        values = (band.get(f"raster:{name}"), band.get(name), fields.get(f"raster:{name}"), old.get(name))
        return next((value for value in values if value is not None), None)

    nodata = told("nodata") if told("nodata") is not None else fields.get("nodata", 0)
    href = asset.get_absolute_href()
    if href is None:
        raise ReleoError(f"{where}: the href {asset.href} is relative to an unknown place; make it absolute")
    try:
        dtype = np.dtype(told("data_type") or fields.get("data_type") or ("u1" if _SCL.match(key) else "u2"))
        check_numbers(dtype, where)
        factor, summand = (None if told(name) is None else float(told(name)) for name in ("scale", "offset"))
        return Asset(href, _grid(fields, where), dtype, float(nodata), factor, summand)
    except (TypeError, ValueError) as error:
        if isinstance(error, ReleoError):
            raise
        raise ReleoError(f"{where}: {error}; correct the item") from error


def _grid(fields: Mapping[str, Any], where: str) -> Grid:
    shape, transform = fields.get("proj:shape"), fields.get("proj:transform")
    crs = next((fields[k] for k in ("proj:code", "proj:epsg", "proj:wkt2") if fields.get(k)), None)
    if not (shape and transform and crs):
        raise ReleoError(
            f"{where}: expected proj:shape, proj:transform and proj:code (or proj:epsg); items without them are not "
            "read: download the files and open their folder"
        )
    numbers = tuple(map(float, (*transform[:6], *shape)))
    if len(shape) != 2 or len(transform) not in (6, 9) or not np.isfinite(numbers).all():
        raise ReleoError(f"{where}: expected 2 and 6 numbers, got proj:shape {shape} and proj:transform {transform}")
    if numbers[1] or numbers[3] or numbers[0] not in (10, 20, 60) or numbers[4] != -numbers[0]:
        raise ReleoError(
            f"{where}: expected a grid of 10, 20 or 60 m with north at the top, got proj:transform {transform}"
        )
    try:
        return Grid(CRS.from_user_input(crs), Affine(*numbers[:6]), int(shape[0]), int(shape[1]))
    except CRSError as error:
        raise ReleoError(f"{where}: unknown CRS {crs!r}; correct the item") from error


def coding_of(item: pystac.Item, bands: Mapping[str, Asset], scale: float | None, offset: float | None) -> Coding:
    """How an item's rasters store reflectance, (number + offset) / scale.

    What the caller gives goes first; then `earthsearch:boa_offset_applied`, if true: the offset is in the numbers
    already, whatever else is said; then the offset of the raster extension; then the processing baseline.

    Raises:
        ReleoError: none of them tells, or two contradict each other.
    """
    first = next(iter(bands.values()))
    special = (first.nodata,), saturated_values(first.dtype)
    if scale is not None or offset is not None:
        if scale is None or offset is None:
            raise ReleoError("give scale and offset of reflectance together, such as scale=10000, offset=-1000")
        return Coding(scale, offset, *special)
    if first.dtype.kind == "f" and all(asset.factor is None for asset in bands.values()):
        return Coding(1.0, 0.0, *special)
    factors = {1 / QUANTIFICATION if asset.factor is None else asset.factor for asset in bands.values()}
    if len(factors) > 1:
        raise ReleoError(f"{item.id}: bands with different scales {sorted(factors)}; give scale and offset")
    factor = factors.pop()
    applied = [item.properties.get(f"{who}:boa_offset_applied") for who in ("earthsearch", "sentinel")]
    if True in applied:
        return linear_coding(factor, [0.0], *special, where=item.id)
    summands = [_summand(item, name, asset, factor) for name, asset in bands.items()]
    if False in applied and any(summands) and item.collection_id == "sentinel-2-l2a":
        _log.warning(
            "%s: says that its offset is not applied, which is wrong of some items of Earth Search; if reflectance "
            "comes out below zero, give --scale 10000 --offset 0 (scale=10000, offset=0), or take sentinel-2-c1-l2a",
            item.id,
        )
    return linear_coding(factor, summands, *special, where=item.id)


def _summand(item: pystac.Item, name: str, asset: Asset, factor: float) -> float:
    """What is added to number * factor."""
    baseline = baseline_of(item)
    since = None if baseline is None else float(baseline) >= 4.0
    if asset.summand is not None:
        if asset.summand and since is False:
            raise ReleoError(
                f"{item.id}: {name} has an offset of {asset.summand:g}, but processing baseline {baseline} has none "
                "(it came with 04.00); look at dark pixels, and give scale=10000 with offset=0 or offset=-1000"
            )
        return asset.summand
    if since is None:
        raise ReleoError(
            f"{item.id}: neither an offset (raster:offset) nor a processing baseline says how reflectance is stored; "
            "give --scale 10000 and --offset -1000 (baseline 04.00 and later) or --offset 0 (earlier, or harmonised)"
        )
    return OFFSET * factor if since else 0.0


def angles_of(item: pystac.Item) -> dict[str, float]:
    """The angles of the whole item that it states, degrees: those of sun and sensor that `choose_angles` takes.

    `view:azimuth` is taken for the direction of the sensor: catalogues copy the mean viewing azimuth of the product.
    """
    properties = item.properties

    def number(*keys: str) -> float | None:
        stated = next(((key, properties[key]) for key in keys if properties.get(key) is not None), None)
        try:
            return None if stated is None else float(stated[1])
        except (TypeError, ValueError):
            raise ReleoError(f"{item.id}: expected degrees in {stated}; correct the item") from None

    elevation = number("view:sun_elevation")
    found = {
        "sun_zenith": number("s2:mean_solar_zenith") if elevation is None else 90.0 - elevation,
        "sun_azimuth": number("view:sun_azimuth", "s2:mean_solar_azimuth"),
        "view_zenith": number("view:incidence_angle"),
        "view_azimuth": number("view:azimuth"),
    }
    return {name: angle for name, angle in found.items() if angle is not None}


def granule_of(item: pystac.Item) -> str | None:
    """Where the granule's metadata (`MTD_TL.xml`) are, which hold the angles of every pixel."""
    assets: Sequence[pystac.Asset] = [item.assets[key] for key in _GRANULE if key in item.assets]
    return assets[0].get_absolute_href() if assets else None
