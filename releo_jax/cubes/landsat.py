"""Landsat-8 and 9 Collection 2 Level-2 products: surface reflectance in GeoTIFF files.

LC08_L2SP_195027_20220605_20220610_02_T1_SR_B2.TIF    uint16; reflectance = number * 2.75e-5 - 0.2, 0 = nothing
LC08_L2SP_..._QA_PIXEL.TIF                            uint16, bits
LC08_L2SP_..._QA_RADSAT.TIF                           uint16, a bit a band
LC08_L2SP_..._MTL.json (or .xml)                      metadata: date, scale, sun at the middle of the scene
LC08_L1TP_..._VZA.TIF, _VAA.TIF, _SZA.TIF, _SAA.TIF   angles of every pixel, 0.01 degrees; of the Level-1 product
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
import xarray as xr
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from releo_jax.cubes import rasters
from releo_jax.cubes.convention import LANDSAT_BANDS, LANDSAT_SENSORS, Flag, choose_angles, choose_bands, sensor_name
from releo_jax.cubes.rasters import Raster
from releo_jax.cubes.values import Coding, bit_flags, decode, linear_coding
from releo_jax.errors import ReleoError

PIXEL_QUALITY = ("fill", "dilated_cloud", "cirrus", "cloud", "cloud_shadow", "snow", "clear", "water")
"""Meaning of the bits of QA_PIXEL from bit 0; those from bit 8 on are degrees of confidence, two bits each."""

CLOUDY_BITS = (1, 2, 3, 4, 5)
"""Bits of QA_PIXEL taken for not clear."""

_OCCLUSION = 11  # bit of QA_RADSAT: relief hides the ground
_ANGLES = {"sun_zenith": "SZA", "sun_azimuth": "SAA", "view_zenith": "VZA", "view_azimuth": "VAA"}
_BAND = re.compile(r"^L[A-Z]\d\d_.*_SR_(B[1-7])$", re.IGNORECASE)


def is_landsat(path: Path) -> bool:
    """Whether a folder is a Landsat product of surface reflectance."""
    return path.is_dir() and any(_BAND.search(file.stem) for file in path.iterdir())


def open_landsat(
    folder: str | os.PathLike[str],
    *,
    bands: Sequence[str] | None = None,
    cloudy_bits: Sequence[int] = CLOUDY_BITS,
    angles: Mapping[str, float | None] | None = None,
) -> xr.Dataset:
    """Opens a Landsat-8 or 9 Collection 2 Level-2 folder as a cube of 30 m; nothing but the metadata is read before.

    Bands keep the names of the product and of `physics.sensor("landsat8")`, `B1` ... `B7`: `B5` is the near infrared,
    not the red edge that `B05` of Sentinel-2 is. The retrievals that come with the package know Sentinel-2 only.

    Angles are those of the Level-1 angle bands (`*_VZA.TIF`, ...) where these lie in the folder, pixel by pixel;
    without them the sun is that of the middle of the scene, and the view has to be given.

    Args:
        folder: the product, unpacked.
        bands: names of the bands, None for all in the product.
        cloudy_bits: bits of QA_PIXEL (`PIXEL_QUALITY`) that set `cloud_or_shadow_or_snow`.
        angles: `sun_zenith`, `view_zenith`, `relative_azimuth` in degrees, which win over those found.

    Returns:
        cube with one date, `(time, band, y, x)`.

    Raises:
        ReleoError: something is missing or damaged, or a band is asked for that the product does not hold.

    References:
        USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide, LSDS-1619.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReleoError(f"{folder}: no such folder; give the product of the USGS unpacked")
    files = {match.group(1).upper(): path for path in sorted(folder.iterdir()) if (match := _BAND.search(path.stem))}
    metadata = _Metadata(folder)
    chosen = choose_bands(list(files), bands, str(folder), LANDSAT_BANDS)
    headers = {name: rasters.inspect(files[name]) for name in chosen}
    first = headers[chosen[0]]
    side = rasters.chunk_side([first.tile])

    def on_grid(named: Sequence[Raster], special: Sequence[float] | str | None) -> xr.DataArray:
        sources = [rasters.source(header, first.grid, first.path) for header in named]
        return rasters.lazy(sources, first.grid, named[0].dtype, special=special, tile=side)

    coding = metadata.coding(chosen)
    reflectance, mask = decode(on_grid(list(headers.values()), coding.nodata), coding)
    pixels, saturation = (_one(folder, name) for name in ("QA_PIXEL", "QA_RADSAT"))
    quality, radiometry = (
        on_grid([rasters.inspect_bits(file)], rasters.BITS).isel(band=0) for file in (pixels, saturation)
    )
    mask = mask | bit_flags(quality, (0,), Flag.NODATA, "QA_PIXEL")
    mask = mask | bit_flags(quality, cloudy_bits, Flag.CLOUD_OR_SHADOW_OR_SNOW, str(pixels))
    where = str(saturation)
    mask = mask | bit_flags(radiometry, (_OCCLUSION,), Flag.CLOUD_OR_SHADOW_OR_SNOW, where)
    bits = [bit_flags(radiometry, (LANDSAT_BANDS.index(name),), Flag.SATURATED, where) for name in chosen]
    mask = mask | xr.concat(bits, dim="band")
    found: dict[str, Any] = {
        "sun_zenith": 90.0 - metadata.number("IMAGE_ATTRIBUTES", "SUN_ELEVATION"),
        "sun_azimuth": metadata.number("IMAGE_ATTRIBUTES", "SUN_AZIMUTH"),
    }
    for name, suffix in _ANGLES.items():
        if any(folder.glob(f"*_{suffix}.[Tt][Ii][Ff]")):
            header = rasters.inspect(_one(folder, suffix))
            numbers = on_grid([header], None).isel(band=0)
            degrees = numbers.astype(np.float32) / np.float32(100.0)
            found[name] = degrees if header.nodata is None else degrees.where(numbers != header.nodata)
    return rasters.one_date(
        reflectance,
        mask,
        choose_angles(found, angles or {}, str(folder)),
        time=metadata.time(),
        bands=chosen,
        grid=first.grid,
        attrs={
            "sensor": sensor_name(metadata.text("IMAGE_ATTRIBUTES", "SPACECRAFT_ID"), LANDSAT_SENSORS, metadata.path),
            "product": metadata.text("PRODUCT_CONTENTS", "LANDSAT_PRODUCT_ID"),
            "cloudy_bits": " ".join(map(str, cloudy_bits)),
        },
    )


class _Metadata:
    """What `*_MTL.json` or `*_MTL.xml` holds: texts by group and name."""

    def __init__(self, folder: Path) -> None:
        found = sorted([*folder.glob("*_MTL.json"), *folder.glob("*_MTL.xml")])
        if not found:
            raise ReleoError(
                f"{folder}: no *_MTL.json or *_MTL.xml; download the metadata of the product beside its bands"
            )
        self.path = found[0]
        try:
            if self.path.suffix == ".json":
                self._groups = json.loads(self.path.read_text())["LANDSAT_METADATA_FILE"]
            else:
                root = ElementTree.parse(self.path).getroot()
                self._groups = {group.tag: {item.tag: item.text for item in group} for group in root}
        except (OSError, ValueError, KeyError, TypeError, ParseError, DefusedXmlException) as error:
            raise ReleoError(f"{self.path}: damaged metadata ({error}); download the product again") from error
        level = self.text("PRODUCT_CONTENTS", "PROCESSING_LEVEL")
        if not level.startswith("L2S") or int(self.number("PRODUCT_CONTENTS", "COLLECTION_NUMBER")) != 2:
            raise ReleoError(f"{self.path}: expected a Level-2 product of Collection 2, got {level}; download that")

    def text(self, group: str, name: str) -> str:
        try:
            return str(self._groups[group][name]).strip()
        except (KeyError, TypeError):
            raise ReleoError(f"{self.path}: no {name} in {group}; download the product again") from None

    def number(self, group: str, name: str) -> float:
        text = self.text(group, name)
        try:
            return float(text)
        except ValueError:
            raise ReleoError(f"{self.path}: expected a number in {name}, got {text!r}; download it again") from None

    def time(self) -> Any:
        day, hour = (self.text("IMAGE_ATTRIBUTES", name) for name in ("DATE_ACQUIRED", "SCENE_CENTER_TIME"))
        try:
            return np.datetime64(f"{day}T{hour.rstrip('Z')}", "ns")
        except ValueError:
            raise ReleoError(
                f"{self.path}: expected a date and time, got {day!r}, {hour!r}; download it again"
            ) from None

    def coding(self, bands: Sequence[str]) -> Coding:
        """How the bands store reflectance: number * multiplier + summand, here as (number + offset) / scale."""
        group = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"
        factors = [self.number(group, f"REFLECTANCE_MULT_BAND_{name[1:]}") for name in bands]
        summands = [self.number(group, f"REFLECTANCE_ADD_BAND_{name[1:]}") for name in bands]
        if len(set(factors)) > 1:
            raise ReleoError(f"{self.path}: expected one positive REFLECTANCE_MULT_BAND for all bands, got {factors}")
        return linear_coding(factors[0], summands, (0.0,), (), str(self.path))


def _one(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"*_{name}.[Tt][Ii][Ff]"))
    if len(found) != 1:
        raise ReleoError(f"{folder}: expected one file *_{name}.TIF, found {len(found)}; download the product again")
    return found[0]
