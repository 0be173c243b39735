"""A cube as a Sentinel-2 Level-2A product in the SAFE folder layout: what a simulated scene is delivered as."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow

from releo_jax.cubes.angles import STEP, directions, zenith_azimuth
from releo_jax.cubes.convention import ANGLES, BANDS, Flag, grid_of
from releo_jax.errors import ReleoError

OFFSET, QUANTIFICATION, SATURATED = -1000.0, 10000.0, 65535
BASELINE = "04.00"
NODES = 23
"""Nodes along the side of an angle grid: 110 km."""

_FILES = {10: ("B02", "B03", "B04", "B08"), 20: ("B05", "B06", "B07", "B8A", "B11", "B12"), 60: ("B01", "B09")}
# Products repeat the finer bands in the folders of the coarser ones.
_REPEATED = {20: ("B02", "B03", "B04")}


def write_safe(cube: xr.Dataset, classes: np.ndarray, folder: Path) -> None:
    """Writes a cube of one date and 10 m into an existing place.

    Bands of 20 and 60 m are averaged from the cube's pixels; saturated and missing values get the product's special
    numbers; angles become 5 km grids, by fitting a plane to each component of the directions.

    Args:
        cube: cube with one date and a sensor.
        classes: scene classification (row, column).
        folder: where to create the product's content.
    """
    crs, transform = grid_of(cube)
    sensor = cube.attrs.get("sensor")
    if cube.sizes["time"] != 1 or transform.a != 10 or crs is None or sensor is None:
        raise ReleoError("a SAFE product holds one date on a 10 m grid with a CRS, of a known sensor; select one date")
    letter = sensor[-1].upper()
    time = cube["time"].values[0].astype("datetime64[s]")
    stamp = str(time).replace("-", "").replace(":", "")
    tile = "T00AAA"
    name = f"S2{letter}_MSIL2A_{stamp}_N{BASELINE.replace('.', '')}_R000_{tile}_{stamp}.SAFE"
    granule = folder / "GRANULE" / f"L2A_{tile}_A000000_{stamp}"
    prefix = f"{tile}_{stamp}"
    held = [str(band) for band in cube["band"].values]
    for size, bands in _FILES.items():
        for band in (*bands, *_REPEATED.get(size, ())):
            if band in held:
                numbers = stored_numbers(cube.sel(band=band).isel(time=0), size // 10)
                _write_jp2(granule / f"IMG_DATA/R{size}m/{prefix}_{band}_{size}m.jp2", numbers, crs, transform, size)
    scene = classes[::2, ::2].astype(np.uint8)
    _write_jp2(granule / f"IMG_DATA/R20m/{prefix}_SCL_20m.jp2", scene, crs, transform, 20)
    _write_xml(folder / "MTD_MSIL2A.xml", _product(name, f"Sentinel-2{letter}", f"{time}.000Z"))
    _write_xml(granule / "MTD_TL.xml", _tile(cube, crs, transform, f"{time}.000Z"))


def stored_numbers(band: xr.Dataset, side: int) -> np.ndarray:
    """Stored numbers (row, column) of one band, averaged over blocks of `side` x `side` pixels."""
    reflectance, mask = band["reflectance"].values, band["mask"].values
    blank = (mask & Flag.NODATA) != 0
    saturated = ((mask & Flag.SATURATED) != 0) & ~blank
    mean = block_mean(np.where(blank | saturated, 0.0, np.nan_to_num(reflectance)), side)
    numbers = np.clip(np.rint(mean * QUANTIFICATION) - OFFSET, 1, SATURATED - 1).astype(np.uint16)
    numbers[block_mean(saturated, side) > 0] = SATURATED
    numbers[block_mean(blank, side) > 0] = 0
    return numbers


def block_mean(values: np.ndarray, side: int) -> np.ndarray:
    """Means over blocks of `side` x `side` pixels; the blocks at the far edges may be smaller."""
    if side == 1:
        return values
    rows, columns = (np.arange(0, size, side) for size in values.shape)
    total = np.add.reduceat(np.add.reduceat(values.astype(np.float64), rows, axis=0), columns, axis=1)
    counts = [np.diff(np.append(starts, size)) for starts, size in zip((rows, columns), values.shape, strict=True)]
    return total / (counts[0][:, None] * counts[1][None, :])


def _write_jp2(path: Path, numbers: np.ndarray, crs: CRS, transform: Affine, size: int) -> None:
    """A lossless JPEG 2000 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        height=numbers.shape[0],
        width=numbers.shape[1],
        count=1,
        dtype=numbers.dtype,
        crs=crs,
        transform=Affine(float(size), 0.0, transform.c, 0.0, -float(size), transform.f),
        reversible="YES",
        quality="100",
        blockxsize=1024,
        blockysize=1024,
    ) as file:
        file.write(numbers, 1)
    # GDAL is silent about what fails on closing; the last pixel is in the last tile of the file.
    with rasterio.open(path) as file:
        file.read(1, window=RasterWindow(file.width - 1, file.height - 1, 1, 1))


def _tree(tag: str, content: Any, attributes: Mapping[str, str] | None = None) -> ElementTree.Element:
    """An element with text, or with children `(tag, content)` or `(tag, content, attributes)`."""
    element = ElementTree.Element(tag, dict(attributes or {}))
    if isinstance(content, list):
        element.extend([_tree(*child) for child in content])
    else:
        element.text = str(content)
    return element


def _write_xml(path: Path, root: ElementTree.Element) -> None:
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)


def _product(name: str, spacecraft: str, time: str) -> ElementTree.Element:
    offsets = [("BOA_ADD_OFFSET", f"{OFFSET:.0f}", {"band_id": str(i)}) for i in range(len(BANDS))]
    special = [
        ("Special_Values", [("SPECIAL_VALUE_TEXT", text), ("SPECIAL_VALUE_INDEX", value)])
        for text, value in (("NODATA", 0), ("SATURATED", SATURATED))
    ]
    quantification = ("BOA_QUANTIFICATION_VALUE", f"{QUANTIFICATION:.0f}", {"unit": "none"})
    return _tree(
        "Level-2A_User_Product",
        [
            (
                "General_Info",
                [
                    (
                        "Product_Info",
                        [
                            ("PRODUCT_START_TIME", time),
                            ("PRODUCT_STOP_TIME", time),
                            ("PRODUCT_URI", name),
                            ("PROCESSING_LEVEL", "Level-2A"),
                            ("PRODUCT_TYPE", "S2MSI2A"),
                            ("PROCESSING_BASELINE", BASELINE),
                            ("Datatake", [("SPACECRAFT_NAME", spacecraft), ("DATATAKE_SENSING_START", time)]),
                        ],
                    ),
                    (
                        "Product_Image_Characteristics",
                        [
                            *special,
                            ("QUANTIFICATION_VALUES_LIST", [quantification]),
                            ("BOA_ADD_OFFSET_VALUES_LIST", offsets),
                        ],
                    ),
                ],
            )
        ],
    )


def _tile(cube: xr.Dataset, crs: CRS, transform: Affine, time: str) -> ElementTree.Element:
    sun, view = _nodes(cube, transform)
    shape = {name: cube.sizes[name] for name in ("y", "x")}
    geocoding: list[Any] = [("HORIZONTAL_CS_NAME", crs.to_string()), ("HORIZONTAL_CS_CODE", crs.to_string())]
    for size in (10, 20, 60):
        rows, columns = (-(-shape[name] * 10 // size) for name in ("y", "x"))
        geocoding.append(("Size", [("NROWS", rows), ("NCOLS", columns)], {"resolution": str(size)}))
    for size in (10, 20, 60):
        corner = [("ULX", f"{transform.c:.0f}"), ("ULY", f"{transform.f:.0f}"), ("XDIM", size), ("YDIM", -size)]
        geocoding.append(("Geoposition", corner, {"resolution": str(size)}))
    views = [
        ("Viewing_Incidence_Angles_Grids", _grid(*view), {"bandId": str(i), "detectorId": "1"})
        for i, band in enumerate(BANDS)
        if band in cube["band"].values
    ]
    return _tree(
        "Level-2A_Tile_ID",
        [
            ("General_Info", [("SENSING_TIME", time)]),
            (
                "Geometric_Info",
                [("Tile_Geocoding", geocoding), ("Tile_Angles", [("Sun_Angles_Grid", _grid(*sun)), *views])],
            ),
        ],
    )


def _grid(zenith: np.ndarray, azimuth: np.ndarray) -> list[Any]:
    step = [("COL_STEP", f"{STEP:.0f}", {"unit": "m"}), ("ROW_STEP", f"{STEP:.0f}", {"unit": "m"})]
    return [
        (
            name,
            [*step, ("Values_List", [("VALUES", " ".join(f"{v:.6f}" for v in row)) for row in values])],
            {"unit": "deg"},
        )
        for name, values in (("Zenith", zenith), ("Azimuth", azimuth))
    ]


def _nodes(cube: xr.Dataset, transform: Affine) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Zenith and azimuth of sun and sensor at the nodes of the 5 km grids.

    The cube holds the difference of the azimuths only: the sun's comes from its attribute `sun_azimuth`, or is south.
    """
    thin = cube.isel(time=0, y=slice(None, None, 8), x=slice(None, None, 8))
    y, x = xr.broadcast(thin["y"], thin["x"])
    plane = np.stack([np.ones(y.size), y.values.ravel() - transform.f, x.values.ravel() - transform.c], axis=1) / [
        1,
        1e3,
        1e3,
    ]
    angles = [np.broadcast_to(thin[name].values, y.shape).ravel().astype(float) for name in ANGLES]
    azimuth = np.full(y.size, float(cube.attrs.get("sun_azimuth", 180.0)))
    row, column = np.meshgrid(np.arange(NODES) * STEP, np.arange(NODES) * STEP, indexing="ij")
    at = np.stack([np.ones(row.shape), -row / 1e3, column / 1e3])

    def fit(zenith: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, ...]:
        vectors = directions(zenith, direction)
        # Divided by the vertical part, directions to a point far above a plane are linear in the place on it.
        coefficients = np.linalg.lstsq(plane, (vectors / vectors[2]).T, rcond=None)[0]
        return zenith_azimuth(np.einsum("kc,krs->crs", coefficients, at))

    return fit(angles[0], azimuth), fit(angles[1], azimuth + angles[2])
