"""Sentinel-2 Level-2A products in the SAFE folder layout."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import xarray as xr

from releo_jax.cubes import rasters
from releo_jax.cubes.convention import ANGLES, Flag, band_name, choose_bands
from releo_jax.cubes.metadata import read_product, read_tile
from releo_jax.cubes.values import decode
from releo_jax.errors import ReleoError

CLEAR = (4, 5, 6, 7)
"""Classes of the scene classification taken for clear: vegetation, bare, water, unclassified."""

SCENE_CLASSES = (
    "no_data",
    "saturated_or_defective",
    "dark_or_topographic_shadow",
    "cloud_shadow",
    "vegetation",
    "not_vegetated",
    "water",
    "unclassified",
    "cloud_medium_probability",
    "cloud_high_probability",
    "thin_cirrus",
    "snow_or_ice",
)
"""Meaning of the numbers of the scene classification (Level-2A algorithm theoretical basis document)."""

_FILE = re.compile(r"_([A-Z0-9]{3})_(10|20|60)m\.jp2$")
T = TypeVar("T")
RESAMPLING = "coarser bands: nearest neighbour; finer bands: mean over the pixel"


def is_safe(path: Path) -> bool:
    """Whether a folder is a Sentinel-2 product."""
    return path.is_dir() and (path.suffix == ".SAFE" or any(path.glob("MTD_MSIL*.xml")))


def open_safe(
    safe: str | os.PathLike[str],
    *,
    resolution: int = 10,
    bands: Sequence[str] | None = None,
    clear: Sequence[int] | None = CLEAR,
) -> xr.Dataset:
    """Opens a Sentinel-2 Level-2A `.SAFE` folder as a cube; nothing but the metadata is read before it is asked for.

    Reflectance is (number + BOA_ADD_OFFSET) / BOA_QUANTIFICATION_VALUE as the product's metadata say (the offset came
    with processing baseline 04.00). A band is read from its finest file that is not finer than `resolution`; where
    there is none, from the coarsest finer one, averaged over the pixel. Coarser files are brought to the grid by
    nearest neighbour, so that each value is one that was measured.

    Args:
        safe: the folder.
        resolution: pixel size of the cube in metres, 10, 20 or 60.
        bands: names of the bands, None for all in the product.
        clear: classes of the scene classification (SCL) that are clear; every other class but no data (0) and
            saturated (1) sets the bit `cloud_or_shadow_or_snow`. None to leave the classification unread.

    Returns:
        cube with one date, `(time, band, y, x)`; angles `(time, y, x)` interpolated from the 5 km grids.

    Raises:
        ReleoError: something is missing or damaged, or a band is asked for that the product does not hold.
    """
    safe = Path(safe)
    check_resolution(resolution)
    granule = _granule(safe)
    product = read_product(safe / "MTD_MSIL2A.xml")
    tile = read_tile(granule / "MTD_TL.xml")
    files = _files(granule)
    chosen = choose_bands([name for name in files if band_name(name)], bands, str(safe))
    headers = {name: rasters.inspect(choose_size(files[name], resolution)) for name in chosen}
    finest = min(headers.values(), key=lambda header: header.grid.transform.a)
    check_pixels(finest)
    grid = finest.grid.at_resolution(resolution)
    if grid.crs is None:
        raise ReleoError(f"{finest.path}: no CRS in the file; download the product again")
    sources = [rasters.source(headers[name], grid, finest.path) for name in chosen]
    coding = product.coding(chosen)
    side = rasters.chunk_side([header.tile for header in headers.values()])
    raw = rasters.lazy(sources, grid, headers[chosen[0]].dtype, special=coding.nodata + coding.saturated, tile=side)
    reflectance, mask = decode(raw, coding)
    if clear is not None:
        mask = mask | scene_flags(_scene_classes(files, grid, finest.path, side), clear)
    time = product.start if tile.start is None else tile.start
    return rasters.one_date(
        reflectance,
        mask,
        {name: tile.angles.lazy(name, grid, side) for name in ANGLES},
        time=time,
        bands=chosen,
        grid=grid,
        attrs={
            "sensor": product.sensor,
            "product": product.name,
            "processing_baseline": product.baseline,
            "resampling": RESAMPLING,
            "clear_scene_classes": "not read" if clear is None else " ".join(str(int(c)) for c in clear),
        },
    )


def check_resolution(resolution: int) -> None:
    """Raises unless the bands of Sentinel-2 can be brought to a pixel size."""
    if resolution not in (10, 20, 60):
        raise ReleoError(f"expected a resolution of 10, 20 or 60 m, got {resolution}")


def check_pixels(header: rasters.Raster) -> None:
    """Raises unless a file of a product has the pixels of Sentinel-2: a grid of 10 m in others may have no end."""
    width, height = header.grid.transform.a, header.grid.transform.e
    if width not in (10, 20, 60) or height != -width:
        raise ReleoError(
            f"{header.path}: pixels of {width:g} x {height:g}, expected 10, 20 or 60 m; download the product again"
        )


def scene_flags(classes: xr.DataArray, clear: Sequence[int]) -> xr.DataArray:
    """Flags from the numbers of the scene classification, same shape, uint8."""
    wrong = [c for c in clear if c not in range(2, len(SCENE_CLASSES))]
    if wrong:
        raise ReleoError(f"expected scene classes from 2 to {len(SCENE_CLASSES) - 1} as clear, got {wrong}")
    table = np.full(256, Flag.CLOUD_OR_SHADOW_OR_SNOW, dtype=np.uint8)
    table[0], table[1] = Flag.NODATA, Flag.SATURATED
    table[list(clear)] = 0
    return xr.apply_ufunc(_lookup, classes, kwargs={"table": table}, dask="parallelized", output_dtypes=[np.uint8])


def _lookup(classes: np.ndarray, table: np.ndarray) -> np.ndarray:
    known = np.where(np.isfinite(classes), classes, 0)
    return table[np.clip(known, 0, 255).astype(np.uint8)]


def _granule(safe: Path) -> Path:
    if not safe.is_dir():
        raise ReleoError(f"{safe}: no such folder")
    if not (safe / "MTD_MSIL2A.xml").is_file():
        if (safe / "MTD_MSIL1C.xml").is_file():
            raise ReleoError(
                f"{safe}: a Level-1C product (top of the atmosphere); download Level-2A, or run Sen2Cor on it"
            )
        raise ReleoError(f"{safe}: no MTD_MSIL2A.xml; give the .SAFE folder of a Level-2A product, complete")
    granules = sorted(path for path in (safe / "GRANULE").glob("*") if path.is_dir())
    if not granules:
        raise ReleoError(f"{safe}: no granule under GRANULE; the product is incomplete: download it again")
    if len(granules) > 1:
        raise ReleoError(f"{safe}: {len(granules)} granules; products of one granule are read (all since 2016-12)")
    return granules[0]


def _files(granule: Path) -> dict[str, dict[int, Path]]:
    """JPEG 2000 files by band (or `SCL`) and pixel size in metres."""
    files: dict[str, dict[int, Path]] = {}
    for path in sorted((granule / "IMG_DATA").glob("R*m/*.jp2")):
        found = _FILE.search(path.name)
        if found is None:
            continue
        name = band_name(f"_{found.group(1)}_") or found.group(1)
        files.setdefault(name, {})[int(found.group(2))] = path
    if not files:
        raise ReleoError(f"{granule}: no JPEG 2000 files under IMG_DATA/R10m, R20m, R60m; download the product again")
    return files


def choose_size(files: Mapping[int, T], resolution: int) -> T:
    """The finest of some files by pixel size that is not finer than the resolution, or the coarsest of the finer."""
    coarser = [size for size in files if size >= resolution]
    return files[min(coarser)] if coarser else files[max(files)]


def _scene_classes(files: dict[str, dict[int, Path]], grid: rasters.Grid, reference: Path, side: int) -> xr.DataArray:
    if "SCL" not in files:
        raise ReleoError(
            f"{reference.parents[2]}: no scene classification (SCL) in the product; download it again, "
            "or pass clear=None to go without a cloud mask"
        )
    header = rasters.inspect(choose_size(files["SCL"], 20))
    item = rasters.source(header, grid, reference)
    return rasters.lazy([item], grid, header.dtype, special=None, tile=side).isel(band=0)
