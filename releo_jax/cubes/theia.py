"""Sentinel-2 Level-2A products of the processor MAJA, in the folder layout in which Theia distributes them.

SENTINEL2B_20190515-105911-123_L2A_T31TCJ_C_V2-2/
    SENTINEL2B_..._FRE_B2.tif, ...       reflectance, corrected for slopes (int16, 10 and 20 m)
    SENTINEL2B_..._SRE_B2.tif, ...       likewise, not corrected for slopes
    MASKS/SENTINEL2B_..._CLM_R1.tif      cloud mask, bits; R1 on the grid of 10 m, R2 on that of 20 m
    MASKS/SENTINEL2B_..._MG2_R1.tif      geophysical mask, bits
    MASKS/SENTINEL2B_..._SAT_R1.tif      saturation, one bit a band
    MASKS/SENTINEL2B_..._EDG_R1.tif      not 0 outside the image
    SENTINEL2B_..._MTD_ALL.xml           metadata, with the grids of angles
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from releo_jax.cubes import rasters
from releo_jax.cubes.convention import ANGLES, Flag, band_name, choose_bands
from releo_jax.cubes.metadata import read_theia
from releo_jax.cubes.safe import RESAMPLING, check_pixels, check_resolution
from releo_jax.cubes.values import Coding, bit_flags, decode
from releo_jax.errors import ReleoError

CLOUD_BITS = (0, 1, 2, 3, 4, 5, 6, 7)
"""Bits of the cloud mask (CLM) taken for not clear. Bit 0: clouds, but not the thinnest, or shadows; bit 1: clouds, but
not the thinnest; bits 2 to 6: what was found by which test, the thinnest clouds and both kinds of shadows, in an order
that differs between versions; bit 7: cirrus."""

GEOPHYSICAL_MASK = (
    "water",
    "cloud",
    "snow",
    "cloud_shadow",
    "topographic_shadow",
    "hidden_surface",
    "sun_too_low",
    "tangent_sun",
)
"""Meaning of the bits of the geophysical mask (MG2), from bit 0."""

GEOPHYSICAL_BITS = (1, 2, 3, 4, 5, 6, 7)
"""Bits of the geophysical mask taken for not clear: all but water, as in `releo_jax.cubes.CLEAR`."""

CORRECTIONS = {"FRE": "surface reflectance, corrected for slopes", "SRE": "surface reflectance"}
"""Kinds of reflectance in a product, the one preferred first."""

# Band and bit (from 0) of the saturation masks of both grids.
_SATURATION = {
    "R1": ("B02", "B03", "B04", "B08"),
    "R2": ("B05", "B06", "B07", "B8A", "B11", "B12"),
}
_BANDS = tuple(band for bands in _SATURATION.values() for band in bands)
_NAME = re.compile(r"SENTINEL2[A-Z]_\d{8}-\d{6}-\d{3}_L\d[A-Z]_T\w{5}_")
_FILE = re.compile(r"_(FRE|SRE)_(B\d+A?)\.tif$", re.IGNORECASE)


def is_theia(path: Path) -> bool:
    """Whether a folder is a Sentinel-2 product of MAJA."""
    return path.is_dir() and (_NAME.match(path.name) is not None or any(path.glob("SENTINEL2*_MTD_ALL.xml")))


def open_theia(
    folder: str | os.PathLike[str],
    *,
    resolution: int = 10,
    bands: Sequence[str] | None = None,
    cloud_bits: Sequence[int] = CLOUD_BITS,
    geophysical_bits: Sequence[int] = GEOPHYSICAL_BITS,
    correction: str | None = None,
) -> xr.Dataset:
    """Opens a Sentinel-2 Level-2A folder of MAJA or Theia as a cube; nothing but the metadata is read before.

    Reflectance is number / REFLECTANCE_QUANTIFICATION_VALUE as the metadata say. Finer bands are
    averaged over the pixel, which has the mask bits of all its parts; coarser ones are repeated. The bands of 60 m are
    not in these products.

    Args:
        folder: the product, unpacked.
        resolution: pixel size of the cube in metres, 10, 20 or 60.
        bands: names of the bands, None for all in the product.
        cloud_bits: bits of the cloud mask (CLM) that set `cloud_or_shadow_or_snow`; none to leave it unread.
        geophysical_bits: bits of the geophysical mask (MG2, `GEOPHYSICAL_MASK`) that set it too.
        correction: `FRE`, reflectance corrected for slopes, or `SRE`, not corrected; None for the first that is there.

    Returns:
        cube with one date, `(time, band, y, x)`; angles `(time, y, x)` interpolated from the 5 km grids.

    Raises:
        ReleoError: something is missing or damaged, or a band is asked for that the product does not hold.

    References:
        CESBIO, Sentinel-2 output format of MAJA (https://www.cesbio.cnrs.fr/maja/sentinel-2-output-format/); template
        of the metadata in https://github.com/CNES/MAJA.
    """
    folder = Path(folder)
    check_resolution(resolution)
    product = read_theia(_metadata(folder))
    kind, files = _files(folder, correction)
    chosen = choose_bands(list(files), bands, str(folder))
    headers = {name: rasters.inspect(files[name]) for name in chosen}
    finest = min(headers.values(), key=lambda header: header.grid.transform.a)
    check_pixels(finest)
    grid = finest.grid.at_resolution(resolution)
    if grid.crs is None:
        raise ReleoError(f"{finest.path}: no CRS in the file; download the product again")
    side = rasters.chunk_side([header.tile for header in headers.values()])

    def on_grid(named: Sequence[rasters.Raster], special: Sequence[float] | str) -> xr.DataArray:
        sources = [rasters.source(header, grid, finest.path) for header in named]
        return rasters.lazy(sources, grid, named[0].dtype, special=special, tile=side)

    def bits(name: str, group: str) -> xr.DataArray:
        return on_grid([rasters.inspect_bits(_mask(folder, name, group))], rasters.BITS).isel(band=0)

    coding = Coding(product.quantification, nodata=(product.nodata,))
    reflectance, mask = decode(on_grid(list(headers.values()), coding.nodata), coding)
    mask = mask | _saturated(folder, chosen, on_grid)
    group = "R1" if resolution == 10 else "R2"
    mask = mask | bit_flags(bits("EDG", group), range(8), Flag.NODATA, "EDG")
    for name, wanted in (("CLM", cloud_bits), ("MG2", geophysical_bits)):
        if wanted:
            mask = mask | bit_flags(bits(name, group), wanted, Flag.CLOUD_OR_SHADOW_OR_SNOW, name)
    return rasters.one_date(
        reflectance,
        mask,
        {name: product.angles.lazy(name, grid, side) for name in ANGLES},
        time=product.start,
        bands=chosen,
        grid=grid,
        attrs={
            "sensor": product.sensor,
            "product": product.name,
            "product_version": product.version,
            "correction": f"{kind}: {CORRECTIONS[kind]}",
            "resampling": RESAMPLING,
            "cloud_bits": " ".join(map(str, cloud_bits)) or "not read",
            "geophysical_bits": " ".join(map(str, geophysical_bits)) or "not read",
        },
    )


def _metadata(folder: Path) -> Path:
    if not folder.is_dir():
        raise ReleoError(f"{folder}: no such folder; give the product of Theia unpacked")
    found = sorted(folder.glob("SENTINEL2*_MTD_ALL.xml"))
    if len(found) != 1:
        raise ReleoError(
            f"{folder}: expected one SENTINEL2*_MTD_ALL.xml, found {len(found)}; give the folder of one product"
        )
    return found[0]


def _files(folder: Path, correction: str | None) -> tuple[str, dict[str, Path]]:
    """The kind of reflectance, and its files by band."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.tif")):
        match = _FILE.search(path.name)
        name = None if match is None else band_name(match.group(2))
        if match is not None and name in _BANDS:
            found.setdefault(match.group(1).upper(), {})[name] = path
    if not found:
        raise ReleoError(f"{folder}: no files *_FRE_B2.tif or *_SRE_B2.tif, ...; download the product again")
    if correction is not None and correction not in found:
        raise ReleoError(
            f"{folder}: no files of correction {correction!r}; expected one of {', '.join(CORRECTIONS)}, "
            f"found {', '.join(found)}"
        )
    kind = correction or next(name for name in CORRECTIONS if name in found)
    return kind, found[kind]


def _mask(folder: Path, name: str, group: str) -> Path:
    found = sorted((folder / "MASKS").glob(f"*_{name}_{group}.tif"))
    if len(found) != 1:
        raise ReleoError(
            f"{folder}: expected one file MASKS/*_{name}_{group}.tif, found {len(found)}; download the product again"
        )
    return found[0]


def _saturated(folder: Path, bands: Sequence[str], on_grid: Callable[..., xr.DataArray]) -> xr.DataArray:
    """Flags (band, y, x) of what is saturated."""
    groups = {band: group for group, held in _SATURATION.items() for band in held}
    headers = {group: rasters.inspect_bits(_mask(folder, "SAT", group)) for group in {groups[band] for band in bands}}
    words = xr.DataArray(
        np.array([1 << _SATURATION[groups[band]].index(band) for band in bands], np.uint8), dims="band"
    )
    numbers = on_grid([headers[groups[band]] for band in bands], rasters.BITS)
    return xr.where(numbers & words != 0, np.uint8(Flag.SATURATED), np.uint8(0))
