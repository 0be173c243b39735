"""Small products on disk in the layouts of their makers, from arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

CRS = "EPSG:32632"
CORNER = (600_000.0, 5_300_040.0)


def write_tif(path: Path, numbers: np.ndarray, size: float, *, nodata=None, corner=CORNER, crs=CRS, **options) -> None:
    """One band on a grid with pixels of `size` metres."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"crs": crs, "transform": Affine(size, 0.0, corner[0], 0.0, -size, corner[1]), **options}
    height, width = numbers.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=numbers.dtype, nodata=nodata, **options
    ) as file:
        file.write(numbers, 1)


GROUPS = {"R1": ("B2", "B3", "B4", "B8"), "R2": ("B5", "B6", "B7", "B8A", "B11", "B12")}
SIZES = {"R1": 10, "R2": 20}


def theia_numbers(shape: tuple[int, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Reflectance times 10000 by band of the product, each on its own grid, -10000 in the first 6 rows of 10 m."""
    rng = np.random.default_rng(seed)
    numbers = {}
    for group, bands in GROUPS.items():
        side = SIZES[group] // 10
        for band in bands:
            plane = rng.integers(100, 6000, (shape[0] // side, shape[1] // side)).astype(np.int16)
            plane[: 6 // side] = -10000
            numbers[band] = plane
    return numbers


def write_theia(
    folder: Path,
    *,
    numbers: dict[str, np.ndarray] | None = None,
    masks: dict[str, dict[str, np.ndarray]] | None = None,
    shape: tuple[int, int] = (36, 48),
    platform: str = "SENTINEL2B",
    time: str = "2019-05-15T10:59:11.123Z",
    kinds: tuple[str, ...] = ("FRE", "SRE"),
    corner: tuple[float, float] = CORNER,
    tile: str = "T31TCJ",
) -> Path:
    """A product of MAJA; SRE holds 1000 more than FRE. `masks` by name and group, 0 where not given.

    The angles: sun 30 degrees from 150 degrees, sensor of detector 1 west of the middle, of detector 2 east of it.
    """
    day, hour = time[:10].replace("-", ""), time[11:19].replace(":", "")
    product = f"{platform}_{day}-{hour}-{time[20:23]}_L2A_{tile}_C_V2-2"
    path = folder / product
    for band, plane in (numbers or theia_numbers(shape)).items():
        size = 10 if band in GROUPS["R1"] else 20
        for kind in kinds:
            values = np.where(plane == -10000, plane, plane + (1000 if kind == "SRE" else 0)).astype(np.int16)
            write_tif(path / f"{product}_{kind}_{band}.tif", values, size, nodata=-10000, corner=corner)
    for group, size in SIZES.items():
        side = size // 10
        for name in ("CLM", "MG2", "SAT", "EDG"):
            plane = np.zeros((shape[0] // side, shape[1] // side), np.uint8)
            plane = (masks or {}).get(name, {}).get(group, plane)
            write_tif(path / f"MASKS/{product}_{name}_{group}.tif", plane, size, corner=corner)
    (path / f"{product}_MTD_ALL.xml").write_text(_theia_metadata(product, platform, time))
    return path


def _theia_metadata(product: str, platform: str, time: str) -> str:
    def grid(zenith: float, azimuth: float, known=slice(None)) -> str:
        text = ""
        for tag, value in (("Zenith", zenith), ("Azimuth", azimuth)):
            row = np.full(23, np.nan)
            row[known] = value
            rows = "".join(f"<VALUES>{' '.join('NaN' if np.isnan(v) else str(v) for v in row)}</VALUES>" for _ in row)
            steps = "<COL_STEP>5000</COL_STEP><ROW_STEP>5000</ROW_STEP>"
            text += f'<{tag} step_unit="m" values_unit="deg">{steps}<Values_List>{rows}</Values_List></{tag}>'
        return text

    views = "".join(
        f'<Band_Viewing_Incidence_Angles_Grids_List band_id="{band}">'
        + "".join(
            f'<Viewing_Incidence_Angles_Grids detector_id="0{detector}">{grid(6.0, azimuth, part)}'
            "</Viewing_Incidence_Angles_Grids>"
            for detector, azimuth, part in ((1, 100.0, slice(0, 12)), (2, 280.0, slice(12, None)))
        )
        + "</Band_Viewing_Incidence_Angles_Grids_List>"
        for bands in GROUPS.values()
        for band in bands
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Muscate_Metadata_Document>
  <Metadata_Identification><METADATA_FORMAT version="1.16">METADATA_MUSCATE</METADATA_FORMAT></Metadata_Identification>
  <Product_Characteristics>
    <PRODUCT_ID>{product}</PRODUCT_ID>
    <ACQUISITION_DATE>{time}</ACQUISITION_DATE>
    <PRODUCT_VERSION>2.2</PRODUCT_VERSION>
    <PRODUCT_LEVEL>L2A</PRODUCT_LEVEL>
    <PLATFORM>{platform}</PLATFORM>
  </Product_Characteristics>
  <Geoposition_Informations><HORIZONTAL_CS_CODE>32632</HORIZONTAL_CS_CODE></Geoposition_Informations>
  <Geometric_Informations>
    <Mean_Value_List>
      <Sun_Angles>
        <ZENITH_ANGLE unit="deg">31.0</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">151.0</AZIMUTH_ANGLE>
      </Sun_Angles>
      <Mean_Viewing_Incidence_Angle_List>
        <Mean_Viewing_Incidence_Angle band_id="B2">
          <ZENITH_ANGLE unit="deg">7.0</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">101.0</AZIMUTH_ANGLE>
        </Mean_Viewing_Incidence_Angle>
      </Mean_Viewing_Incidence_Angle_List>
    </Mean_Value_List>
    <Angles_Grids_List>
      <Sun_Angles_Grids>{grid(30.0, 150.0)}</Sun_Angles_Grids>
      <Viewing_Incidence_Angles_Grids_List>{views}</Viewing_Incidence_Angles_Grids_List>
    </Angles_Grids_List>
  </Geometric_Informations>
  <Radiometric_Informations>
    <REFLECTANCE_QUANTIFICATION_VALUE>10000</REFLECTANCE_QUANTIFICATION_VALUE>
    <Special_Values_List>
      <SPECIAL_VALUE name="nodata">-10000</SPECIAL_VALUE>
      <SPECIAL_VALUE name="water_vapor_content_nodata">0</SPECIAL_VALUE>
    </Special_Values_List>
  </Radiometric_Informations>
</Muscate_Metadata_Document>
"""


LANDSAT = "LC08_L2SP_195027_20220605_20220610_02_T1"


def landsat_metadata() -> dict[str, dict[str, str]]:
    factors = {f"REFLECTANCE_{name}_BAND_{band}": value for band in range(1, 8) for name, value in (
        ("MULT", "2.75e-05"), ("ADD", "-0.2"))}  # fmt: skip
    return {
        "PRODUCT_CONTENTS": {
            "LANDSAT_PRODUCT_ID": LANDSAT,
            "PROCESSING_LEVEL": "L2SP",
            "COLLECTION_NUMBER": "02",
        },
        "IMAGE_ATTRIBUTES": {
            "SPACECRAFT_ID": "LANDSAT_8",
            "DATE_ACQUIRED": "2022-06-05",
            "SCENE_CENTER_TIME": "10:10:38.1234560Z",
            "SUN_AZIMUTH": "143.5",
            "SUN_ELEVATION": "60.25",
        },
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": factors,
        "LEVEL1_RADIOMETRIC_RESCALING": {"REFLECTANCE_MULT_BAND_2": "2.0000E-05"},
    }


def landsat_numbers(shape: tuple[int, int] = (20, 30)) -> dict[str, np.ndarray]:
    """Numbers by band that make reflectance of 0 to 0.9, 0 (nothing) in the first three rows."""
    rng = np.random.default_rng(3)
    numbers = {f"B{band}": rng.integers(7273, 40_000, shape).astype(np.uint16) for band in range(1, 8)}
    for plane in numbers.values():
        plane[:3] = 0
    return numbers


def write_landsat(
    folder: Path,
    *,
    quality: np.ndarray | None = None,
    radiometry: np.ndarray | None = None,
    angles: bool = True,
    metadata: dict[str, dict[str, str]] | None = None,
    kind: str = "json",
) -> Path:
    """A Collection 2 Level-2 product; with `angles` the angle bands of Level 1 beside it."""
    path = folder / LANDSAT
    for name, plane in landsat_numbers().items():
        write_tif(path / f"{LANDSAT}_SR_{name}.TIF", plane, 30, nodata=0)
    shape = plane.shape
    clear = np.full(shape, 21824, np.uint16)  # bit 6, and low confidence of everything
    clear[:3] = 1
    write_tif(path / f"{LANDSAT}_QA_PIXEL.TIF", clear if quality is None else quality, 30, nodata=1)
    saturated = np.zeros(shape, np.uint16) if radiometry is None else radiometry
    write_tif(path / f"{LANDSAT}_QA_RADSAT.TIF", saturated, 30)
    write_tif(path / f"{LANDSAT}_ST_B10.TIF", np.full(shape, 40_000, np.uint16), 30)
    ramp = np.broadcast_to(np.arange(shape[1], dtype=np.int16), shape)
    if angles:
        for name, middle in (("SZA", 3000), ("SAA", 14_350), ("VZA", 400), ("VAA", -8000)):
            write_tif(path / f"LC08_L1TP_195027_20220605_20220610_02_T1_{name}.TIF", middle + ramp, 30)
    content = metadata or landsat_metadata()
    if kind == "json":
        (path / f"{LANDSAT}_MTL.json").write_text(json.dumps({"LANDSAT_METADATA_FILE": content}))
    else:
        groups = "".join(
            f"<{group}>{''.join(f'<{name}>{text}</{name}>' for name, text in items.items())}</{group}>"
            for group, items in content.items()
        )
        (path / f"{LANDSAT}_MTL.xml").write_text(f"<LANDSAT_METADATA_FILE>{groups}</LANDSAT_METADATA_FILE>")
    return path
