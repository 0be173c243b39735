"""What a result consists of: its variables, their attributes and flags, where it comes from, what it took."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

from releo_jax import __version__
from releo_jax.cubes import rasters
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.convention import set_grid
from releo_jax.cubes.stored import open_stored
from releo_jax.cubes.streaming import Layer
from releo_jax.errors import ReleoError, UnreadableError
from releo_jax.systems import Method
from releo_jax.variables import FLAGS, VARIABLES

STATISTICS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("posterior mean", {}),
    "std": ("posterior standard deviation", {}),
    "q05": ("posterior quantile 5 %", {"quantile": 0.05}),
    "q50": ("posterior median", {"quantile": 0.5}),
    "q95": ("posterior quantile 95 %", {"quantile": 0.95}),
    "lower": ("lower end of the central interval", {}),
    "upper": ("upper end of the central interval", {}),
}
"""Figures of a variable by the suffix of their names; the flag word, suffix `flag`, comes beside them."""

INPUT_MASKED = FLAGS["input_masked"]

_log = logging.getLogger(__name__)


class Progress(Protocol):
    """Is told how far a map is."""

    def __call__(self, done: int, total: int) -> None:
        """Takes the number of pixels that are done, and of all pixels."""


@dataclasses.dataclass
class Report:
    """What was retrieved, and where the time went.

    Attributes:
        pixels: all pixels, every date counted.
        retrieved: those that had usable input.
        flagged: pixels with each flag, by the flag's name, whatever the variable.
        missing_bands: bands that the method uses and the input does not hold.
        unread: blocks of which something could not be read, which is masked in the result, with what is wrong.
        starting: seconds of the first batch, compilation included; `computing` counts the others.
        reading: seconds; the stages overlap.
        computing: seconds.
        writing: seconds.
        elapsed: seconds on the clock.
    """

    pixels: int = 0
    retrieved: int = 0
    flagged: dict[str, int] = dataclasses.field(default_factory=dict)
    missing_bands: tuple[str, ...] = ()
    unread: dict[Window, list[str]] = dataclasses.field(default_factory=dict)
    starting: float = 0.0
    reading: float = 0.0
    computing: float = 0.0
    writing: float = 0.0
    elapsed: float = 0.0

    @contextlib.contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Adds the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - start)

    def check(self) -> None:
        """Warns of what could not be read, a line for each file.

        Raises:
            UnreadableError: nothing could.
        """
        places: dict[str, list[Window]] = {}
        for window, messages in self.unread.items():
            for message in dict.fromkeys(messages):
                places.setdefault(message, []).append(window)
        if places and not self.retrieved:
            raise UnreadableError(next(iter(places)))
        for message, windows in places.items():
            first = windows[0]
            _log.warning(
                "%s; masked in %d blocks, the first at rows %d to %d, columns %d to %d of date %d",
                *(message, len(windows), first.row, first.row + first.height - 1),
                *(first.column, first.column + first.width - 1, first.time + 1),
            )

    def count(self, values: Mapping[str, np.ndarray]) -> None:
        """Counts the pixels of a block and their flags; takes the arrays `(pixel,)` of a retrieval."""
        words = [array for key, array in values.items() if key.endswith("_flag")]
        any_of, all_of = np.bitwise_or.reduce(words), np.bitwise_and.reduce(words)
        self.pixels += any_of.size
        self.retrieved += int(np.count_nonzero((all_of & INPUT_MASKED) == 0))
        for name, bit in FLAGS.items():
            self.flagged[name] = self.flagged.get(name, 0) + int(np.count_nonzero(any_of & bit))


def check_request(retrieval: Method, variables: Sequence[str] | None, level: float) -> tuple[str, ...]:
    """The variables to retrieve: those asked for, or all that the method has.

    Raises:
        ReleoError: a variable that the method does not have, or a level that is not a probability.
    """
    if not 0.0 < level < 1.0:
        hint = f"; {level:g} % is {level / 100:g}" if 1.0 < level < 100.0 else ""
        raise ReleoError(f"expected a level between 0 and 1 such as 0.9, got {level:g}{hint}")
    if variables is None:
        return tuple(retrieval.variables)
    unknown = [name for name in variables if name not in retrieval.variables]
    if unknown or not variables:
        raise ReleoError(
            f"the method {retrieval.name} retrieves {', '.join(retrieval.variables)}, "
            f"not {', '.join(map(repr, unknown)) or 'nothing'}; choose among these"
        )
    return tuple(dict.fromkeys(variables))


def output_keys(variables: Sequence[str]) -> tuple[str, ...]:
    """What a retrieval returns for some variables: `lai_mean`, ..., `lai_flag`, `ccc_mean`, ..."""
    return tuple(f"{alias}_{suffix}" for alias in variables for suffix in (*STATISTICS, "flag"))


def blank(variables: Sequence[str], pixels: int) -> dict[str, np.ndarray]:
    """Arrays `(pixel,)` of a result in which every pixel is masked."""
    return {
        key: np.full(pixels, INPUT_MASKED, np.uint8) if key.endswith("_flag") else np.full(pixels, np.nan, np.float32)
        for key in output_keys(variables)
    }


def full_name(key: str) -> str:
    """Name of an image's variable from that of a table's column: `leaf_area_index_mean` for `lai_mean`."""
    alias, _, suffix = key.rpartition("_")
    return f"{VARIABLES[alias].name}_{suffix}"


def layers(variables: Sequence[str], level: float) -> dict[str, Layer]:
    """The layers of an image `(time, y, x)` by name, with their CF attributes."""
    result = {}
    for alias in variables:
        variable = VARIABLES[alias]
        beside = " ".join(f"{variable.name}_{suffix}" for suffix in ("std", "lower", "upper", "flag"))
        for suffix, (words, extra) in STATISTICS.items():
            attrs: dict[str, Any] = {"units": variable.units, "long_name": f"{variable.long_name}, {words}", **extra}
            if suffix in ("lower", "upper"):
                attrs["level"] = float(level)
            if suffix == "mean":
                attrs["ancillary_variables"] = beside
                if variable.standard_name:
                    attrs["standard_name"] = variable.standard_name
            result[f"{variable.name}_{suffix}"] = Layer(attrs=attrs)
        result[f"{variable.name}_flag"] = Layer(dtype="uint8", attrs=flag_attrs(variable.long_name))
    return result


def flag_attrs(what: str) -> dict[str, Any]:
    """CF attributes of a flag word."""
    return {
        "long_name": f"{what}, flags; 0 = none",
        "standard_name": "quality_flag",
        "flag_masks": np.array(list(FLAGS.values()), np.uint8),
        "flag_meanings": " ".join(FLAGS),
    }


def provenance(
    method: str, sensor: str, level: float, source: str, bands: Sequence[str], missing_bands: Sequence[str]
) -> dict[str, Any]:
    """Attributes that say where a result comes from. No clock times: the same input gives the same file."""
    attrs = {
        "title": "variables of the land surface, retrieved from surface reflectance",
        "software": f"releo-jax {__version__}",
        "method": method,
        "sensor": sensor or "unknown",
        "level": float(level),
        "input": source,
        "bands": " ".join(bands),
    }
    if missing_bands:
        attrs["missing_bands"] = " ".join(missing_bands)
    return attrs


def result_variables(result: xr.Dataset) -> tuple[str, ...]:
    """Aliases (`lai`, ...) of the variables that a dataset holds as a result; none if it is no result."""
    return tuple(alias for alias, variable in VARIABLES.items() if f"{variable.name}_mean" in result)


def open_result(path: str | os.PathLike[str]) -> xr.Dataset:
    """Opens a result that this package wrote (`.nc`, `.zarr`, `.tif`), lazily: variables `(time, y, x)`.

    Also a simulated scene, whose truth has the same names without a suffix (`leaf_area_index`).

    Raises:
        ReleoError: the file is not there, damaged, or holds no such variable.
    """
    path = Path(path)
    if not path.exists():
        raise ReleoError(f"{path}: no such file or folder")
    kind = path.suffix.lower()
    if kind in (".tif", ".tiff"):
        return _from_geotiff(path)
    if kind in (".nc", ".zarr"):
        return open_stored(path, chunks={}, decode_coords="all")
    raise ReleoError(f"{path}: not a result; expected a name that ends in .nc, .zarr, .tif, .csv or .parquet")


def _from_geotiff(path: Path) -> xr.Dataset:
    """Layers of a GeoTIFF by the names and dates in the tags of its bands."""
    header = rasters.inspect(path)
    with rasters.opened(path) as file:
        tags = [file.tags(index) for index in file.indexes]
    sources = [rasters.source(header, header.grid, path, index) for index in range(1, len(tags) + 1)]
    stack = rasters.lazy(sources, header.grid, header.dtype)
    names = [str(text or "").split(" ")[0] for text in header.descriptions]
    try:
        dates = [np.datetime64(said.get("time") or "NaT", "ns") for said in tags]
    except ValueError as error:
        raise ReleoError(f"{path}: expected a date in the tags of its bands ({error}); make it again") from error
    result = xr.Dataset(coords=header.grid.coordinates(), attrs=header.tags)
    for name in dict.fromkeys(names):
        indices = [index for index, other in enumerate(names) if other == name]
        times = [dates[index] for index in indices]
        layer = stack.isel(band=indices).rename(band="time").assign_coords(time=times)
        kept = ("units", "long_name", "standard_name")
        attrs = {key: tags[indices[0]][key] for key in kept if key in tags[indices[0]]}
        result[name] = (layer.astype(np.uint8) if name.endswith("_flag") else layer).assign_attrs(attrs)
    return set_grid(result, header.grid.crs, header.grid.transform)
