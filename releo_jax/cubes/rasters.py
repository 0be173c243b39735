"""Bands in raster files as one lazy array on one grid."""

from __future__ import annotations

import dataclasses
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import rasterio
import xarray as xr
from dask.base import tokenize
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow

from releo_jax.cubes.convention import assemble
from releo_jax.cubes.values import check_bits, check_numbers, equals_any
from releo_jax.errors import ReleoError

BITS = "bits"
"""Said of a file whose numbers are sets of bits: several pixels have the bits of each of them."""

CHUNK = 1024
"""Largest side of a chunk, pixels: the tile of a Sentinel-2 JPEG 2000 file."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Pixels of an image: CRS, affine transform (upper left corner), size."""

    crs: CRS | None
    transform: Affine
    height: int
    width: int

    def coordinates(self) -> dict[str, np.ndarray]:
        """Coordinates of the pixel centres of a grid without rotation."""
        t = self.transform
        return {"y": t.f + (np.arange(self.height) + 0.5) * t.e, "x": t.c + (np.arange(self.width) + 0.5) * t.a}

    def at_resolution(self, size: float) -> Grid:
        """The grid with the same upper left corner and another pixel size."""
        t = self.transform
        factor = size / t.a
        transform = Affine(t.a * factor, t.b, t.c, t.d, t.e * factor, t.f)
        return Grid(self.crs, transform, -int(-self.height // factor), -int(-self.width // factor))

    def __str__(self) -> str:
        t = self.transform
        crs = "no CRS" if self.crs is None else self.crs.to_string()[:40]
        return f"{self.width} x {self.height} pixels of {t.a:g} from ({t.c:g}, {t.f:g}), {crs}"


@dataclasses.dataclass(frozen=True)
class Raster:
    """What the header of a raster file says.

    `scales` and `offsets` are GDAL's: value = number * scale + offset.
    """

    path: Path
    grid: Grid
    dtype: np.dtype
    nodata: float | None
    descriptions: tuple[str | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    tile: tuple[int, int]
    tags: dict[str, str]


KEPT = 32
"""Files that stay open between reads, so that GDAL keeps what it has unpacked of them: the bands of a date or two."""

_JPEG_2000 = (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
"""What a file or a bare stream of JPEG 2000 begins with."""


class _Idle:
    """Open files that nobody reads at the moment, by what tells them apart; the last `KEPT` are kept.

    A file is taken out while it is read, so that no two threads are in one.
    """

    def __init__(self) -> None:
        self._files: list[tuple[tuple[Any, ...], Any]] = []
        self._lock = threading.Lock()

    def take(self, key: tuple[Any, ...]) -> Any | None:
        """The file that was put back last under a key, None where there is none."""
        with self._lock:
            for place in range(len(self._files) - 1, -1, -1):
                if self._files[place][0] == key:
                    return self._files.pop(place)[1]
        return None

    def put(self, key: tuple[Any, ...], file: Any) -> None:
        """Keeps a file, and closes the one that was not read for longest where there are too many."""
        with self._lock:
            self._files.append((key, file))
            surplus = [self._files.pop(0)[1] for _ in range(len(self._files) - KEPT)]
        for old in surplus:
            old.close()

    def close(self) -> None:
        """Closes all of them."""
        with self._lock:
            files, self._files = self._files, []
        with rasterio.Env():
            for _, file in files:
                file.close()


_idle = _Idle()


def release() -> None:
    """Closes the files that are kept open; those that are read again are opened again."""
    _idle.close()


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open raster file; failures to open or read become a `ReleoError` that names it."""
    try:
        status = path.stat()
        if not status.st_size:
            raise ReleoError(f"{path}: the file is empty; copy or download it again")
        # Neither a changed file nor one of a process that this one was forked from is taken again.
        key = (os.getpid(), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with rasterio.Env():  # what GDAL has to say goes to the log, not to the screen
            file = _idle.take(key)
            if file is None:
                file = _open(path)
            try:
                yield file
            except BaseException:
                file.close()
                raise
            _idle.put(key, file)
    except FileNotFoundError:
        raise ReleoError(f"{path}: no such file") from None
    except (RasterioError, OSError) as error:
        cause = error.__cause__ if error.__cause__ is not None else error
        detail = " ".join(str(cause).replace(str(path), "").split()).strip(" :'")
        raise ReleoError(
            f"{path}: cannot be read ({detail[:120]}); the file is truncated or damaged: copy or download it again"
        ) from error


def _open(path: Path) -> Any:
    """Opens a raster file as one of the two formats, by its first bytes."""
    with open(path, "rb") as content:
        # GDAL would take any content by itself: text in a .tif can name other files and servers (VRT, WMS).
        driver = "JP2OpenJPEG" if content.read(12).startswith(_JPEG_2000) else "GTiff"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, driver=driver)


def inspect_bits(path: str | os.PathLike[str]) -> Raster:
    """Reads the header of a raster file whose numbers are sets of bits."""
    header = inspect(path)
    check_bits(header.dtype, str(path))
    return header


def inspect(path: str | os.PathLike[str]) -> Raster:
    """Reads the header of a raster file."""
    path = Path(path)
    with opened(path) as file:
        check_numbers(np.dtype(file.dtypes[0]), str(path))
        turned = bool(file.transform.b or file.transform.d)
        if turned or (file.gcps[0] and file.transform.is_identity):
            told = "its grid is rotated" if turned else "it is placed by ground control points, not by a transform"
            raise ReleoError(f"{path}: {told}; warp it to a grid with north at the top first (gdalwarp)")
        return Raster(
            path=path,
            grid=Grid(file.crs, file.transform, file.height, file.width),
            dtype=np.dtype(file.dtypes[0]),
            nodata=file.nodata,
            descriptions=tuple(file.descriptions),
            scales=tuple(file.scales),
            offsets=tuple(file.offsets),
            tile=file.block_shapes[0],
            tags=file.tags(),
        )


@dataclasses.dataclass(frozen=True)
class Source:
    """One band of a file, brought to a grid: each pixel repeated, or blocks of pixels averaged.

    Attributes:
        path: the file.
        index: number of the band in it, from 1.
        repeat: pixel size of the file over that of the grid.
        shrink: pixel size of the grid over that of the file.
    """

    path: Path
    index: int = 1
    repeat: int = 1
    shrink: int = 1


def source(raster: Raster, grid: Grid, reference: Path, index: int = 1) -> Source:
    """A band of a raster file on a grid with the same corner and a pixel size in a whole ratio.

    Args:
        raster: header of the file.
        grid: grid to bring it to.
        reference: file that the grid comes from, for the message.
        index: number of the band in the file.

    Raises:
        ReleoError: the grids do not fit.
    """
    mine, its = raster.grid.transform, grid.transform
    ratio = mine.a / its.a
    repeat, shrink = (round(ratio), 1) if ratio >= 1 else (1, round(1 / ratio))
    tolerance = 1e-3 * abs(min(mine.a, its.a, key=abs))
    fits = (
        (raster.grid.crs is None or grid.crs is None or raster.grid.crs == grid.crs)
        and abs(mine.a * shrink - its.a * repeat) < tolerance
        and abs(mine.e * shrink - its.e * repeat) < tolerance
        and max(abs(mine.c - its.c), abs(mine.f - its.f), abs(mine.b), abs(mine.d)) < tolerance
        and _covers(raster.grid.height, grid.height, repeat, shrink)
        and _covers(raster.grid.width, grid.width, repeat, shrink)
    )
    if not fits:
        raise ReleoError(
            f"grids do not match: {raster.path} has {raster.grid}; {reference} has {grid}; "
            "warp the files to one grid first (gdalwarp)"
        )
    return Source(raster.path, index, repeat, shrink)


def _covers(mine: int, its: int, repeat: int, shrink: int) -> bool:
    """Whether `mine` pixels of a file make `its` pixels of the grid, the last one perhaps in part."""
    surplus = mine * repeat - its if shrink == 1 else its * shrink - mine
    return 0 <= surplus < max(repeat, shrink)


def read(item: Source, y: slice, x: slice, special: Sequence[float] | str | None) -> np.ndarray:
    """Numbers of a source on a window of the cube's grid.

    Args:
        item: where they are.
        y: rows of the cube's grid.
        x: columns of the cube's grid.
        special: numbers that stand for no measurement: a mean over several pixels takes the first that occurs among
            them. None for class numbers, which have no mean: the central pixel is taken. `BITS` for sets of bits: all
            that are set in any of the pixels.

    Returns:
        array (row, column) in the dtype of the file.
    """
    r, s = item.repeat, item.shrink
    rows = slice(y.start // r * s, -(-y.stop // r) * s)
    columns = slice(x.start // r * s, -(-x.stop // r) * s)
    with opened(item.path) as file:
        window = RasterWindow(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        numbers = file.read(item.index, window=window)
    if r > 1:
        numbers = numbers.repeat(r, axis=0).repeat(r, axis=1)
        top, left = y.start - y.start // r * r, x.start - x.start // r * r
        return numbers[top : top + y.stop - y.start, left : left + x.stop - x.start]
    if s > 1:
        missing = rows.stop - rows.start - numbers.shape[0], columns.stop - columns.start - numbers.shape[1]
        return coarsened(np.pad(numbers, ((0, missing[0]), (0, missing[1])), mode="edge"), s, special)
    return numbers


def coarsened(numbers: np.ndarray, shrink: int, special: Sequence[float] | str | None) -> np.ndarray:
    """Blocks of `shrink` times `shrink` pixels of an array (row, column) as one pixel each; `special` as in `read`."""
    if special is None:
        return numbers[shrink // 2 :: shrink, shrink // 2 :: shrink]
    blocks = numbers.reshape(numbers.shape[0] // shrink, shrink, numbers.shape[1] // shrink, shrink)
    if isinstance(special, str):
        return np.asarray(np.bitwise_or.reduce(blocks, axis=(1, 3)))
    return _block_mean(blocks, tuple(special))


def _block_mean(blocks: np.ndarray, special: tuple[float, ...]) -> np.ndarray:
    """Mean over the axes 1 and 3; a block that holds a special number becomes that number."""
    mean = blocks.mean(axis=(1, 3), dtype=np.float64)
    result = (np.rint(mean) if blocks.dtype.kind in "iu" else mean).astype(blocks.dtype)
    for number in reversed(special):
        result[equals_any(blocks, (number,)).any(axis=(1, 3))] = number
    return result


class _Stack:
    """Bands of files as an array (band, y, x) that reads what is asked of it; what `dask.array.from_array` wants."""

    ndim = 3

    def __init__(
        self, sources: Sequence[Source], grid: Grid, dtype: np.dtype, special: Sequence[float] | str | None
    ) -> None:
        self.sources = tuple(sources)
        self.special = special
        self.dtype = dtype
        self.shape = (len(self.sources), grid.height, grid.width)

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        bands, y, x = (slice(*part.indices(size)) for part, size in zip(key, self.shape, strict=True))
        whole = slice(y.start, max(y.stop, y.start)), slice(x.start, max(x.stop, x.start))
        planes = [read(item, *whole, self.special)[:: y.step, :: x.step] for item in self.sources[bands]]
        return np.stack(planes).astype(self.dtype, copy=False)


def lazy(
    sources: Sequence[Source],
    grid: Grid,
    dtype: np.dtype,
    *,
    special: Sequence[float] | str | None = (),
    tile: int = CHUNK,
) -> xr.DataArray:
    """The sources as one lazy array (band, y, x), one chunk a band and tile."""
    stack = _Stack(sources, grid, dtype, special)
    stamp = [(str(s), s.path.stat().st_mtime_ns) for s in stack.sources]
    array = da.from_array(
        stack,
        chunks=(1, min(tile, grid.height), min(tile, grid.width)),
        name=f"raster-{tokenize(stamp, grid.height, grid.width, str(special))}",
        asarray=False,
        fancy=False,
        inline_array=True,
        meta=np.empty((0, 0, 0), dtype),
    )
    return xr.DataArray(array, dims=("band", "y", "x"))


def chunk_side(tiles: Sequence[tuple[int, int]]) -> int:
    """A chunk side that is a multiple of the files' own tiles where these are square, at most `CHUNK` or one tile."""
    side = max(max(tile) for tile in tiles)
    if any(tile[0] != tile[1] for tile in tiles) or side > CHUNK:
        return CHUNK
    return CHUNK // side * side


def one_date(
    reflectance: xr.DataArray,
    mask: xr.DataArray,
    angles: Mapping[str, Any],
    *,
    time: np.datetime64,
    bands: Sequence[str],
    grid: Grid,
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """A cube of one date from reflectance and mask `(band, y, x)` on a grid."""
    dims = ("time", "band", "y", "x")
    places = {"time": [time], "band": list(bands), **grid.coordinates()}
    return assemble(
        reflectance.expand_dims("time").transpose(*dims).assign_coords(places),
        mask.expand_dims("time").transpose(*dims),
        angles,
        crs=grid.crs,
        transform=grid.transform,
        attrs=attrs,
    )
