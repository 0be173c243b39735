"""An image as blocks of pixels: windows, and the arrays that a retrieval takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import dask
import numpy as np
import xarray as xr
from rasterio.errors import RasterioError

from releo_jax.cubes.convention import ANGLES, Flag
from releo_jax.cubes.radar import RadarPixels, near, padded
from releo_jax.errors import ReleoError, UnreadableError


@dataclasses.dataclass(frozen=True)
class Window:
    """A rectangle of pixels of one date: index of the date, first row and column, and size."""

    time: int
    row: int
    column: int
    height: int
    width: int

    @property
    def y(self) -> slice:
        """Rows."""
        return slice(self.row, self.row + self.height)

    @property
    def x(self) -> slice:
        """Columns."""
        return slice(self.column, self.column + self.width)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(row, column), to bring an array `(pixel,)` back to."""
        return (self.height, self.width)


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Pixels of one date, as arrays.

    Attributes:
        bands: names of the bands.
        reflectance: (pixel, band) float32; finite everywhere, of no meaning where `mask` is False.
        mask: (pixel, band) bool, True = usable.
        flags: (pixel, band) uint8, the cube's `mask`; 1 (no data) for a band that the cube does not hold.
        sun_zenith: (pixel,) float32 degrees; finite, of no meaning where no band is usable.
        view_zenith: likewise.
        relative_azimuth: likewise.
        radar: what a radar saw of the pixels on dates nearby, None without.
    """

    bands: tuple[str, ...]
    reflectance: np.ndarray
    mask: np.ndarray
    flags: np.ndarray
    sun_zenith: np.ndarray
    view_zenith: np.ndarray
    relative_azimuth: np.ndarray
    radar: RadarPixels | None = None

    @property
    def usable(self) -> np.ndarray:
        """(pixel,) bool: whether there is any measurement of a pixel."""
        seen = np.asarray(self.mask.any(axis=1))
        return seen if self.radar is None else np.asarray(seen | self.radar.mask.any(axis=(1, 2)))

    def __len__(self) -> int:
        return len(self.reflectance)

    def __getitem__(self, rows: Any) -> Block:
        """The block of some of the pixels: a slice or an index array."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "bands"}
        chosen: dict[str, Any] = {name: part if part is None else part[rows] for name, part in arrays.items()}
        return Block(bands=self.bands, **chosen)


def blocks(cube: xr.Dataset, size: int | None = None) -> Iterator[Window]:
    """Windows that cover a cube, date by date and row by row.

    Args:
        cube: the cube.
        size: largest side of a window in pixels; None to follow the chunks that the cube is read in.
    """
    reflectance = cube["reflectance"]
    sizes = dict(zip(reflectance.dims, reflectance.chunks or (), strict=False))
    height, width = cube.sizes["y"], cube.sizes["x"]
    step_y = size or max(sizes.get("y", (min(height, 512),)))
    step_x = size or max(sizes.get("x", (min(width, 512),)))
    for time in range(cube.sizes["time"]):
        for row in range(0, height, step_y):
            for column in range(0, width, step_x):
                yield Window(time, row, column, min(step_y, height - row), min(step_x, width - column))


def load_block(
    cube: xr.Dataset,
    window: Window,
    bands: Sequence[str] | None = None,
    *,
    radar: tuple[float, int] | None = None,
    failures: list[str] | None = None,
) -> Block:
    """Reads the pixels of a window.

    Args:
        cube: the cube.
        window: which pixels.
        bands: names and order of the bands of the result, None for the cube's. A band that the cube does not hold
            comes out masked, so that a method which can do without it may go on.
        radar: days around the date and number of dates within which radar dates are read too; None for no radar.
        failures: where messages of what cannot be read are put; the bands that they are of come out masked, or all
            where it is the mask or the angles. None raises.

    Raises:
        UnreadableError: a file cannot be read.
    """
    names = [str(name) for name in cube["band"].values]
    wanted = tuple(names if bands is None else bands)
    held = [name for name in wanted if name in names]
    part = cube.isel(time=window.time, y=window.y, x=window.x)
    part = part.isel(band=[names.index(name) for name in held])
    try:
        arrays = _compute(part, ("reflectance", "mask", *ANGLES))
    except UnreadableError:
        if failures is None:
            raise
        arrays = _what_can_be_read(part, failures) or _nothing(part)
    mask = arrays["mask"]
    if "band" not in part["mask"].dims:
        mask = np.broadcast_to(mask, (len(held), *mask.shape))
    flags = np.full((window.pixels, len(wanted)), Flag.NODATA, dtype=np.uint8)
    values = np.zeros((window.pixels, len(wanted)), dtype=np.float32)
    columns = [wanted.index(name) for name in held]
    flags[:, columns] = mask.reshape(len(held), -1).T
    values[:, columns] = arrays["reflectance"].reshape(len(held), -1).T
    angles = {name: np.broadcast_to(arrays[name], window.shape).reshape(-1) for name in ANGLES}
    block = block_of(wanted, values, flags, angles)
    if radar is None:
        return block
    try:
        return dataclasses.replace(block, radar=_load_radar(cube, window, *radar))
    except UnreadableError as error:
        if failures is None:
            raise
        failures.append(str(error))
        return dataclasses.replace(block, radar=padded([], np.zeros(0), radar[1], window.pixels))


def _what_can_be_read(part: xr.Dataset, failures: list[str]) -> dict[str, np.ndarray] | None:
    """Band by band, those that cannot be read masked; None without angles or a mask of the whole date."""
    try:
        read = _compute(part, ANGLES)
        shared = _compute(part, ("mask",)) if "band" not in part["mask"].dims else None
    except UnreadableError as error:
        failures.append(str(error))
        return None
    shape = tuple(part["reflectance"].sizes[name] for name in ("band", "y", "x"))
    values, mask = np.zeros(shape, np.float32), np.full(shape, Flag.NODATA, np.uint8)
    for band in range(shape[0]):
        try:
            found = _compute(part.isel(band=band), ("reflectance",) if shared else ("reflectance", "mask"))
        except UnreadableError as error:
            failures.append(str(error))
            continue
        values[band] = found["reflectance"]
        mask[band] = (shared or found)["mask"]
    return {"reflectance": values, "mask": mask, **read}


def _nothing(part: xr.Dataset) -> dict[str, np.ndarray]:
    shape = tuple(part["reflectance"].sizes[name] for name in ("band", "y", "x"))
    angles = {name: np.zeros(shape[1:], np.float32) for name in ANGLES}
    return {"reflectance": np.zeros(shape, np.float32), "mask": np.full(shape, Flag.NODATA, np.uint8), **angles}


def _load_radar(cube: xr.Dataset, window: Window, days: float, dates: int) -> RadarPixels:
    found, apart = near(cube, window.time, days=days, dates=dates)
    arrays: list[np.ndarray] = []
    if found.size:
        part = cube[["backscatter", "incidence"]].isel(radar_time=found, y=window.y, x=window.x)
        read = _compute(part, ("backscatter", "incidence"))
        arrays = [array.reshape(*array.shape[:-2], -1) for array in read.values()]
    return padded(arrays, apart, dates, window.pixels)


def block_of(bands: Sequence[str], reflectance: np.ndarray, flags: np.ndarray, angles: dict[str, np.ndarray]) -> Block:
    """A block from values and flags `(pixel, band)` and angles `(pixel,)` in degrees.

    Numbers that are not finite are flagged and replaced by 0, so that nothing downstream meets a NaN.
    """
    known: dict[str, Any] = {n: np.where(np.isfinite(angles[n]), angles[n], 0).astype(np.float32) for n in ANGLES}
    missing = ~np.isfinite(reflectance)
    flags = np.where(missing & (flags == 0), np.uint8(Flag.INVALID_VALUE), flags)
    return Block(
        bands=tuple(bands),
        reflectance=np.where(missing, np.float32(0), reflectance).astype(np.float32, copy=False),
        mask=flags == 0,
        flags=flags,
        **known,
    )


def missing_bands(cube: xr.Dataset, bands: Sequence[str]) -> tuple[str, ...]:
    """Those of the bands that a cube does not hold."""
    held = {str(name) for name in cube["band"].values}
    return tuple(name for name in bands if name not in held)


def _compute(part: xr.Dataset, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The variables in memory, read together so that what they share is read once."""
    try:
        (loaded,) = dask.compute({name: part[name].variable._data for name in names})
        return {name: np.asarray(array) for name, array in loaded.items()}
    except ReleoError as error:
        raise UnreadableError(str(error)) from error
    except (OSError, RuntimeError, RasterioError) as error:
        where = part.encoding.get("source") or part.attrs.get("source") or "the cube"
        detail = " ".join(str(error).split())[:120]
        raise UnreadableError(
            f"{where}: cannot be read ({detail}); the file is truncated or damaged: copy or download it again"
        ) from error
