"""Sentinel-2 Level-2A from a SpatioTemporal Asset Catalog (STAC), by odc-stac: pixels are fetched when asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from releo_jax.cubes.safe import CLEAR
from releo_jax.errors import ReleoError
from releo_jax.urls import url_of

if TYPE_CHECKING:
    import pystac


def is_stac(source: Any) -> bool:
    """Whether something is an item of a catalogue or several: an object of pystac, a URL, a JSON file, a folder."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if url_of(source) is not None or path.suffix.lower() in (".json", ".geojson"):
            return True
        return path.is_dir() and any(map(_holds_item, sorted(path.glob("*.json"))))
    if type(source).__module__.split(".")[0] == "pystac":
        return True
    return isinstance(source, Sequence) and len(source) > 0 and all(map(is_stac, source))


def open_stac(
    items: str | os.PathLike[str] | pystac.Item | Iterable[Any],
    *,
    resolution: int = 10,
    bands: Sequence[str] | None = None,
    clear: Sequence[int] | None = CLEAR,
    bbox: tuple[float, float, float, float] | None = None,
    sensor: str | None = None,
    scale: float | None = None,
    offset: float | None = None,
    angles: Mapping[str, float | None] | None = None,
) -> xr.Dataset:
    """Opens items of Sentinel-2 Level-2A as a cube; no pixel is read before it is asked for.

    Needs the extra `stac` (`pip install 'releo-jax[stac]'`). The network is used where an item, its granule's metadata
    or its rasters are at a URL, and not otherwise.

    Every item is loaded by itself (odc-stac's `groupby="id"`), since each has its own offset and angles. Items of one
    overpass, adjacent tiles or parts of one, become one date: where they overlap, the first by time and name is taken.
    All have to be in one CRS and on one grid of pixels; nothing is resampled but bands of other pixel sizes, as
    `open_safe` does it.

    Args:
        items: an item or item collection of pystac; the path or URL (`https://`, `s3://`) of the JSON of one; a folder
            of such files; or several of these.
        resolution: pixel size of the cube in metres, 10, 20 or 60.
        bands: names of the bands, None for all in the items.
        clear: classes of the scene classification (SCL) that are clear, None to leave it unread.
        bbox: west, south, east, north in degrees: the part to open; None for all that the items cover.
        sensor: `sentinel2a`, ..., where the items do not say.
        scale: reflectance = (number + offset) / scale, for items that do not say, or say wrongly.
        offset: see `scale`; both or none.
        angles: `sun_zenith`, `view_zenith`, `relative_azimuth` in degrees, which win over those found.

    Returns:
        cube `(time, band, y, x)`. Angles are of every pixel, from the granule's metadata, where these are a local file,
        or a URL and the item states no angles; else those of the whole item, `(time,)`.

    Raises:
        ReleoError: odc-stac is not installed; something is missing, damaged or does not fit together; or nothing says
            how reflectance is stored.

    References:
        https://github.com/radiantearth/stac-spec; extensions eo, projection, raster, view;
        https://github.com/opendatacube/odc-stac.
    """
    try:
        from releo_jax.cubes.stac_cubes import open_items
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in ("odc", "pystac"):
            raise
        raise ReleoError(
            f"items of STAC need odc-stac ({error.name} is not installed): pip install 'releo-jax[stac]'"
        ) from error
    return open_items(
        items, resolution=resolution, bands=bands, clear=clear, bbox=bbox, sensor=sensor, scale=scale, offset=offset,
        angles=angles or {},
    )  # fmt: skip


def _holds_item(path: Path) -> bool:
    try:
        return is_item(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return False


def is_item(content: Any) -> bool:
    """Whether the content of a JSON file is an item or a collection of items."""
    if not isinstance(content, dict) or content.get("type") not in ("Feature", "FeatureCollection"):
        return False
    features = content.get("features", [content])
    return isinstance(features, list) and any(isinstance(item, dict) and "stac_version" in item for item in features)
