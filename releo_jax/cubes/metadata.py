"""The metadata of Sentinel-2 Level-2A products.

Those of ESA: `MTD_MSIL2A.xml` and the granule's `MTD_TL.xml`; those of MAJA and Theia: `*_MTD_ALL.xml`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from releo_jax.cubes.angles import STEP, AngleGrids, directions, fill_nearest, mean_direction
from releo_jax.cubes.convention import BANDS, sensor_name
from releo_jax.cubes.values import Coding
from releo_jax.errors import ReleoError


@dataclasses.dataclass(frozen=True)
class Product:
    """What the product's metadata tell.

    `offsets` are in stored units by band: reflectance = (number + offset) / quantification.
    """

    name: str
    sensor: str
    baseline: str
    start: np.datetime64
    quantification: float
    offsets: dict[str, float]
    nodata: tuple[float, ...]
    saturated: tuple[float, ...]

    def coding(self, bands: tuple[str, ...]) -> Coding:
        """How the bands store reflectance."""
        return Coding(
            scale=self.quantification,
            offset=tuple(self.offsets.get(band, 0.0) for band in bands),
            nodata=self.nodata,
            saturated=self.saturated,
        )


def read_product(path: Path) -> Product:
    """Reads `MTD_MSIL2A.xml`.

    Raises:
        ReleoError: the file is damaged, or an element that is needed is not in it.
    """
    root = _parse(path)
    baseline = _text(root, "PROCESSING_BASELINE", path)
    offsets = {}
    for node in root.iter("BOA_ADD_OFFSET"):
        number = node.get("band_id", "")
        if number not in map(str, range(len(BANDS))):
            raise ReleoError(f"{path}: BOA_ADD_OFFSET of an unknown band {number!r}; download the product again")
        offsets[BANDS[int(number)]] = _as_number(node.text, "BOA_ADD_OFFSET", path)
    if not offsets and _version(baseline) >= (4, 0):
        raise ReleoError(
            f"{path}: processing baseline {baseline} without BOA_ADD_OFFSET, which came with 04.00; "
            "the metadata are incomplete: download the product again"
        )
    special = {
        _text(node, "SPECIAL_VALUE_TEXT", path).upper(): _number(node, "SPECIAL_VALUE_INDEX", path)
        for node in root.iter("Special_Values")
    }
    return Product(
        name=_optional(root, "PRODUCT_URI") or path.parent.name,
        sensor=sensor_name(_text(root, "SPACECRAFT_NAME", path), where=path),
        baseline=baseline,
        start=_time(root, "PRODUCT_START_TIME", path),
        quantification=_scale(root, "BOA_QUANTIFICATION_VALUE", path),
        offsets=offsets,
        nodata=(special.get("NODATA", 0.0),),
        saturated=(special.get("SATURATED", 65535.0),),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """What the granule's metadata tell; `start` is None where they do not give the time of sensing."""

    crs: str
    start: np.datetime64 | None
    angles: AngleGrids


def read_tile(path: Path, content: bytes | None = None) -> Tile:
    """Reads `MTD_TL.xml`: CRS, time, and the angle grids; `content` is what is in it, where it is not a file.

    The viewing directions of all bands and detectors are averaged as vectors, node by node; nodes outside the swath
    take the nearest one inside.

    Raises:
        ReleoError: the file is damaged, or an element that is needed is not in it.
    """
    root = _parse(path, content)
    return Tile(
        crs=_text(root, "HORIZONTAL_CS_CODE", path),
        start=None if _optional(root, "SENSING_TIME") is None else _time(root, "SENSING_TIME", path),
        angles=_angles(root, path, sun_grid="Sun_Angles_Grid", sun_mean="Mean_Sun_Angle"),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class TheiaProduct:
    """What `*_MTD_ALL.xml` tells; reflectance = number / quantification."""

    name: str
    sensor: str
    version: str
    start: np.datetime64
    quantification: float
    nodata: float
    angles: AngleGrids


def read_theia(path: Path) -> TheiaProduct:
    """Reads `*_MTD_ALL.xml` (format MUSCATE). The angles are averaged as `read_tile` does.

    Raises:
        ReleoError: the file is damaged, or an element that is needed is not in it.
    """
    root = _parse(path)
    level = _text(root, "PRODUCT_LEVEL", path)
    if level != "L2A":
        raise ReleoError(f"{path}: a product of level {level}; download Level-2A, one date each")
    special = {node.get("name"): node.text for node in root.iter("SPECIAL_VALUE")}
    return TheiaProduct(
        name=_text(root, "PRODUCT_ID", path),
        sensor=sensor_name(_text(root, "PLATFORM", path), where=path),
        version=_text(root, "PRODUCT_VERSION", path),
        start=_time(root, "ACQUISITION_DATE", path),
        quantification=_scale(root, "REFLECTANCE_QUANTIFICATION_VALUE", path),
        nodata=_as_number(special.get("nodata"), "SPECIAL_VALUE nodata", path),
        angles=_angles(root, path, sun_grid="Sun_Angles_Grids", sun_mean="Sun_Angles"),
    )


def _angles(root: Element, path: Path, *, sun_grid: str, sun_mean: str) -> AngleGrids:
    """Grids of directions, or their means as grids of one node; the tags of the sun differ between formats."""
    node = next(root.iter(sun_grid), None)
    sun, step = (_mean(root, sun_mean, path), (STEP, STEP)) if node is None else _directions(node, path)
    views = [_directions(node, path) for node in root.iter("Viewing_Incidence_Angles_Grids")]
    known = [(grid, step) for grid, step in views if np.isfinite(grid).any()]
    if len({grid.shape for grid, _ in known}) > 1:
        raise ReleoError(f"{path}: the viewing angle grids differ in size; download the product again")
    if known:
        view = mean_direction([grid for grid, _ in known])
        step = known[0][1]
    else:
        view = _mean(root, "Mean_Viewing_Incidence_Angle", path)
    return AngleGrids(sun=fill_nearest(sun), view=fill_nearest(view), step=step)


def _directions(node: Element, path: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """Directions `(3, row, column)` of one grid of zeniths and azimuths, and the distance of its nodes."""
    zenith, azimuth = _find(node, "Zenith", path), _find(node, "Azimuth", path)
    step = _number(zenith, "ROW_STEP", path), _number(zenith, "COL_STEP", path)
    values = _values(zenith, path), _values(azimuth, path)
    if values[0].shape != values[1].shape:
        raise ReleoError(f"{path}: angle grids of zenith and azimuth differ in size; download the product again")
    if min(step) <= 0:
        raise ReleoError(f"{path}: expected positive steps of the angle grids, got {step}; download the product again")
    return directions(*values), step


def _values(node: Element, path: Path) -> np.ndarray:
    rows = [
        np.array([_as_number_or_nan(text, "VALUES", path) for text in (row.text or "").split()])
        for row in node.iter("VALUES")
    ]
    if not rows or len({row.size for row in rows}) != 1 or not rows[0].size:
        raise ReleoError(f"{path}: the angle grid under {node.tag} is not rectangular; download the product again")
    return np.stack(rows)


def _mean(root: Element, tag: str, path: Path) -> np.ndarray:
    """Mean of the directions under a tag, as a grid of one node."""
    found = [
        directions(
            np.array([[_number(node, "ZENITH_ANGLE", path)]]), np.array([[_number(node, "AZIMUTH_ANGLE", path)]])
        )
        for node in root.iter(tag)
    ]
    if not found:
        raise ReleoError(f"{path}: neither angle grids nor {tag}; the metadata are incomplete: download them again")
    return mean_direction(found)


def _parse(path: Path, content: bytes | None = None) -> Element:
    try:
        return ElementTree.parse(path).getroot() if content is None else ElementTree.fromstring(content)
    except FileNotFoundError:
        raise ReleoError(f"{path}: no such file; the product is incomplete: download it again") from None
    except OSError as error:
        raise ReleoError(f"{path}: cannot be read ({error.strerror})") from error
    except (ParseError, DefusedXmlException, UnicodeDecodeError) as error:
        raise ReleoError(f"{path}: damaged metadata ({error}); download the product again") from error


def _find(node: Element, tag: str, path: Path) -> Element:
    found = next(node.iter(tag), None)
    if found is None:
        raise ReleoError(f"{path}: no element {tag}; the metadata are incomplete: download the product again")
    return found


def _optional(node: Element, tag: str) -> str | None:
    found = next(node.iter(tag), None)
    return None if found is None or not (found.text or "").strip() else str(found.text).strip()


def _text(node: Element, tag: str, path: Path) -> str:
    text = _optional(node, tag)
    if text is None:
        raise ReleoError(f"{path}: no element {tag}; the metadata are incomplete: download the product again")
    return text


def _number(node: Element, tag: str, path: Path) -> float:
    return _as_number(_text(node, tag, path), tag, path)


def _scale(node: Element, tag: str, path: Path) -> float:
    number = _number(node, tag, path)
    if number <= 0:
        raise ReleoError(f"{path}: expected a positive number in {tag}, got {number:g}; download the product again")
    return number


def _as_number(text: str | None, tag: str, path: Path) -> float:
    number = _as_number_or_nan(text, tag, path)
    if not np.isfinite(number):
        raise ReleoError(f"{path}: expected a finite number in {tag}, got {text!r}; download the product again")
    return number


def _as_number_or_nan(text: str | None, tag: str, path: Path) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ReleoError(f"{path}: expected a number in {tag}, got {text!r}; download the product again") from None


def _version(baseline: str) -> tuple[int, ...]:
    return tuple(int(part) for part in baseline.split(".") if part.isdigit())


def _time(root: Element, tag: str, path: Path) -> Any:
    text = _text(root, tag, path)
    try:
        return np.datetime64(text.rstrip("Z")).astype("datetime64[ns]")
    except ValueError:
        raise ReleoError(f"{path}: expected a time in {tag}, got {text!r}; download the product again") from None
