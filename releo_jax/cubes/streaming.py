"""Results written block by block, so that memory does not grow with the image."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import h5py
import netCDF4
import numpy as np
import rasterio
import rasterio.shutil
import xarray as xr
import zarr
from isal import isal_zlib
from rasterio.enums import Interleaving
from rasterio.windows import Window as RasterWindow

from releo_jax.cubes.atomic import replacing, writing
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.convention import grid_of
from releo_jax.errors import ReleoError

TILE = 512
"""Side of the tiles of a Cloud-Optimised GeoTIFF, pixels."""

ZARR_FORMAT: Literal[2] = 2
"""Version 3 has neither fixed-length strings nor consolidated metadata in its specification yet."""

_CHUNK = 256
_CACHE = 256 << 20
"""Bytes of chunks that HDF5 keeps, of all layers together, until all of their pixels have come."""

_PACKING = 1
"""Level of ISA-L, 0 to 3: maps get as small as by level 1 of zlib, 71 % of their size, in a quarter of the time."""

_COG = {
    "driver": "COG",
    "blocksize": str(TILE),
    "compress": "DEFLATE",
    "level": "6",
    "predictor": "YES",
    "overviews": "AUTO",
    # Means of flags, or across the edge of a field, would be values that nobody retrieved.
    "overview_resampling": "NEAREST",
    "bigtiff": "IF_SAFER",
    "num_threads": "ALL_CPUS",
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One variable `(time, y, x)` of a result.

    Attributes:
        dtype: `float32`, whose gaps are NaN, or an integer type, which has no gaps.
        attrs: CF attributes: `units`, `long_name`, `standard_name`, `flag_masks`, `flag_meanings`, ...
    """

    dtype: str = "float32"
    attrs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class _Backend(Protocol):
    def write(self, name: str, window: Window, values: np.ndarray) -> None: ...

    def close(self) -> None: ...

    def finish(self) -> None: ...


class BlockWriter:
    """Writes results window by window; the target appears, whole, when the block ends well.

        with BlockWriter("lai.tif", cube, {"leaf_area_index_mean": Layer(attrs={"units": "1"})}) as writer:
            for window in blocks(cube):
                writer.write(window, {"leaf_area_index_mean": values})

    The suffix of the path says what is written:

    * `.tif`: one Cloud-Optimised GeoTIFF with all layers, float32 (flags as whole numbers), nodata NaN, one band a
      layer and date in the order of the layers, with description, unit and tags;
    * `.nc`: CF NetCDF-4;
    * `.zarr`: a Zarr store.

    Args:
        path: target.
        template: dataset whose `time`, `y`, `x` and `spatial_ref` the result takes; its attributes too.
        layers: variables to write, by name.

    Raises:
        ReleoError: on entry, if the target cannot be written; on exit, if not every pixel of every date was written.
    """

    def __init__(self, path: str | os.PathLike[str], template: xr.Dataset, layers: Mapping[str, Layer]) -> None:
        self.path = Path(path)
        self.layers = dict(layers)
        self._frame = frame_of(template)
        self._left = self._frame.sizes["time"] * self._frame.sizes["y"] * self._frame.sizes["x"]
        self._stack = contextlib.ExitStack()
        self._backend: _Backend | None = None
        if self.path.suffix.lower() not in _BACKENDS:
            raise ReleoError(f"{self.path}: unknown kind of image; expected a name in {', '.join(_BACKENDS)}")

    def __enter__(self) -> BlockWriter:
        """Creates the temporary file."""
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            with writing(self.path):
                self._backend = _BACKENDS[self.path.suffix.lower()](temporary, self._frame, self.layers)
            stack.callback(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Puts the finished file in its place, or removes what was written."""
        if error is None:
            try:
                self._finish()
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        return self._stack.__exit__(kind, error, trace)

    def write(self, window: Window, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the pixels of one window; windows do not overlap.

        Args:
            window: where.
            arrays: values of every layer, `(pixel,)` or `(row, column)`.
        """
        if self._backend is None:
            raise ReleoError(f"{self.path}: write inside the `with` block of the writer")
        if set(arrays) != set(self.layers):
            raise ReleoError(f"{self.path}: expected the layers {sorted(self.layers)}, got {sorted(arrays)}")
        for name, layer in self.layers.items():
            values = np.asarray(arrays[name])
            if values.size != window.pixels:
                raise ReleoError(f"{self.path}: expected {window.pixels} values of {name}, got shape {values.shape}")
            with writing(self.path):
                self._backend.write(name, window, values.reshape(window.shape).astype(layer.dtype, copy=False))
        self._left -= window.pixels

    def _finish(self) -> None:
        if self._left:
            raise ReleoError(f"{self.path}: {self._left} pixels were not written; nothing was kept: run it again")
        if self._backend is not None:
            with writing(self.path):
                self._backend.close()
                self._backend.finish()

    def _close(self) -> None:
        """Closes what is open, where nothing is kept: a failure here would hide the one that led here."""
        with contextlib.suppress(Exception):
            if self._backend is not None:
                self._backend.close()


def frame_of(template: xr.Dataset) -> xr.Dataset:
    """The coordinates `time`, `y`, `x`, `spatial_ref` of a dataset, with its attributes and no variables."""
    kept = template.drop_vars([name for name in template.variables if name not in ("time", "y", "x", "spatial_ref")])
    for name in ("y", "x"):
        if name not in kept.coords:
            raise ReleoError(
                f"expected a dataset with the coordinate {name}, got {', '.join(map(str, template.coords))}"
            )
    if "time" not in kept.dims:
        when = kept["time"].values if "time" in kept.coords else np.datetime64("NaT", "ns")
        kept = kept.drop_vars("time", errors="ignore").expand_dims(time=[when])
    if "spatial_ref" in kept.coords:
        # Of the pixels that are left: the image that they were cut from had another corner.
        kept = kept.rio.write_transform(grid_of(kept)[1])
    return kept.assign_attrs({"Conventions": "CF-1.11"})


class _Cog:
    """All layers in one tiled GeoTIFF while blocks come in, then copied to the layout of a COG."""

    def __init__(self, temporary: Path, frame: xr.Dataset, layers: Mapping[str, Layer]) -> None:
        self.temporary = temporary
        self.scratch = temporary.with_name(f"{temporary.name}.stream")
        self.dates = frame.sizes["time"]
        self.names = list(layers)
        crs, transform = grid_of(frame)
        self.file = rasterio.open(
            self.scratch,
            "w",
            driver="GTiff",
            height=frame.sizes["y"],
            width=frame.sizes["x"],
            count=len(layers) * self.dates,
            dtype="float32",
            nodata=float("nan"),
            crs=crs,
            transform=transform,
            tiled=True,
            blockxsize=TILE,
            blockysize=TILE,
            interleave="band",
            compress="ZSTD",  # read once, by the copy below
            zstd_level=1,
            num_threads="ALL_CPUS",
            bigtiff="IF_SAFER",
        )
        self._describe(frame, layers)

    def _describe(self, frame: xr.Dataset, layers: Mapping[str, Layer]) -> None:
        tags = {str(name): _plain(value) for name, value in frame.attrs.items()}
        times = [_iso(value) for value in frame["time"].values]
        if self.dates == 1 and times[0]:
            day, hour = times[0].split("T")
            tags["TIFFTAG_DATETIME"] = f"{day.replace('-', ':')} {hour[:8]}"
        self.file.update_tags(**tags)
        for index, (name, layer) in enumerate(layers.items()):
            for date, time in enumerate(times):
                band = index * self.dates + date + 1
                self.file.set_band_description(band, name if self.dates == 1 else f"{name} {time}".strip())
                self.file.set_band_unit(band, str(layer.attrs.get("units", "")))
                self.file.update_tags(band, **{str(k): _plain(v) for k, v in layer.attrs.items()}, time=time)

    def write(self, name: str, window: Window, values: np.ndarray) -> None:
        band = self.names.index(name) * self.dates + window.time + 1
        where = RasterWindow(window.column, window.row, window.width, window.height)
        self.file.write(values.astype(np.float32), band, window=where)

    def close(self) -> None:
        with rasterio.Env():  # its errors go to the log, not to the screen
            self.file.close()

    def finish(self) -> None:
        options = dict(_COG)
        with rasterio.Env():
            check_tiles(self.scratch)
            rasterio.shutil.copy(self.scratch, self.temporary, options.pop("driver"), **options)
            check_tiles(self.temporary)


def check_tiles(path: Path) -> None:
    """Raises unless every tile of a GeoTIFF lies within the file: GDAL is silent about what fails on closing."""
    end = path.stat().st_size
    with rasterio.open(path) as file:
        bands = range(1, 2 if file.interleaving is Interleaving.pixel else file.count + 1)
        rows, columns = (-(-size // side) for size, side in zip(file.shape, file.block_shapes[0], strict=True))
        for band in bands:
            for row in range(rows):
                for column in range(columns):
                    place = [
                        int(file.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=band) or 0)
                        for what in ("OFFSET", "SIZE")
                    ]
                    if not place[0] or sum(place) > end:
                        raise OSError(f"tile {row}, {column} of band {band} is not in the file")


class _NetCDF:
    """A NetCDF-4 file whose header xarray writes.

    Whole chunks are packed here and handed to HDF5 as they are: its own zlib takes as long as a retrieval.
    """

    def __init__(self, temporary: Path, frame: xr.Dataset, layers: Mapping[str, Layer]) -> None:
        frame.to_netcdf(temporary, engine="netcdf4")
        sizes = (1, min(_CHUNK, frame.sizes["y"]), min(_CHUNK, frame.sizes["x"]))
        with netCDF4.Dataset(temporary, "a") as file:
            for name, layer in layers.items():
                variable = file.createVariable(
                    name,
                    np.dtype(layer.dtype),
                    ("time", "y", "x"),
                    compression="zlib",
                    complevel=1,
                    shuffle=True,
                    chunksizes=sizes,
                    fill_value=np.nan if np.dtype(layer.dtype).kind == "f" else False,
                )
                variable.setncatts(dict(layer.attrs))
                if "spatial_ref" in frame.coords:
                    variable.grid_mapping = "spatial_ref"
        self.file = h5py.File(temporary, "r+", rdcc_nbytes=min(_CACHE // len(layers), 16 << 20))

    def write(self, name: str, window: Window, values: np.ndarray) -> None:
        dataset = self.file[name]
        assert isinstance(dataset, h5py.Dataset)
        (_, rows, columns), (_, height, width) = dataset.shape, dataset.chunks
        for y, full_height in _pieces(window.y, height, rows):
            for x, full_width in _pieces(window.x, width, columns):
                part = values[
                    y.start - window.row : y.stop - window.row, x.start - window.column : x.stop - window.column
                ]
                if full_height and full_width:
                    chunk = np.zeros((height, width), dataset.dtype)
                    chunk[: part.shape[0], : part.shape[1]] = part
                    dataset.id.write_direct_chunk((window.time, y.start, x.start), _packed(chunk))
                else:
                    dataset[window.time, y, x] = part

    def close(self) -> None:
        self.file.close()

    def finish(self) -> None: ...


def _pieces(whole: slice, size: int, limit: int) -> Iterator[tuple[slice, bool]]:
    """What a slice holds of each chunk of a size along an axis, and whether that is all of the chunk."""
    start = whole.start
    while start < whole.stop:
        first = start - start % size
        stop = min(first + size, whole.stop)
        yield slice(start, stop), start == first and stop == min(first + size, limit)
        start = stop


def _packed(chunk: np.ndarray) -> bytes:
    """A chunk as the filters of HDF5 leave it: the first bytes of all numbers, the second ones, ..., by deflate."""
    shuffled = np.ascontiguousarray(chunk.view(np.uint8).reshape(-1, chunk.itemsize).T)
    return isal_zlib.compress(shuffled, _PACKING)


class _Zarr:
    """A Zarr store whose header xarray writes."""

    def __init__(self, temporary: Path, frame: xr.Dataset, layers: Mapping[str, Layer]) -> None:
        frame.to_zarr(temporary, mode="w", zarr_format=ZARR_FORMAT, consolidated=False)
        self.temporary = temporary
        self.group = zarr.open_group(temporary, mode="a")
        shape = tuple(frame.sizes[name] for name in ("time", "y", "x"))
        for name, layer in layers.items():
            attributes = {str(key): _json(value) for key, value in layer.attrs.items()}
            attributes["_ARRAY_DIMENSIONS"] = ["time", "y", "x"]
            if "spatial_ref" in frame.coords:
                attributes["grid_mapping"] = "spatial_ref"
            self.group.create_array(
                name,
                shape=shape,
                chunks=(1, min(TILE, shape[1]), min(TILE, shape[2])),
                dtype=layer.dtype,
                # Readers take the fill value for missing, and 0 is a flag word like any other.
                fill_value=np.nan if np.dtype(layer.dtype).kind == "f" else None,
                attributes=attributes,
            )

    def write(self, name: str, window: Window, values: np.ndarray) -> None:
        array = self.group[name]
        assert isinstance(array, zarr.Array)
        array[window.time, window.y, window.x] = values

    def close(self) -> None: ...

    def finish(self) -> None:
        zarr.consolidate_metadata(self.temporary)


_BACKENDS: dict[str, Any] = {".tif": _Cog, ".tiff": _Cog, ".nc": _NetCDF, ".zarr": _Zarr}


def _iso(time: np.datetime64) -> str:
    return "" if np.isnat(time) else str(time.astype("datetime64[s]"))


def _plain(value: Any) -> str:
    return " ".join(map(str, np.ravel(value))) if isinstance(value, (list, tuple, np.ndarray)) else str(value)


def _json(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
