"""A retrieval over many pixels: in batches of one size, and from block to block while others are read and written."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import xarray as xr

from physics import SunView
from releo_jax.cubes.blocks import Block, Window, blocks, load_block
from releo_jax.cubes.convention import Flag
from releo_jax.errors import ReleoError
from releo_jax.results import Progress, Report, blank, check_request, full_name, layers, provenance
from releo_jax.surroundings import halo_of, retrieve, surrounded
from releo_jax.systems import Method, Retrieval, SpatialRetrieval

BATCH = 1 << 13
"""Pixels that a retrieval is given at a time."""

AHEAD = 2
"""Blocks that are read before they are needed, and that wait to be written."""


class Runner:
    """Hands the usable pixels of blocks to a retrieval in batches of one size, so that its program compiles once.

    Args:
        variables: what to retrieve.
        level: probability of the intervals.
        total: number of all pixels that will come.
        largest: number of pixels of the largest block.
        report: counts pixels, flags and seconds.
        progress: is told the numbers of pixels done and of all.
    """

    def __init__(
        self,
        variables: Sequence[str],
        level: float,
        *,
        total: int,
        largest: int,
        report: Report,
        progress: Progress | None,
    ) -> None:
        self.variables = tuple(variables)
        self.level = level
        self.total = total
        self.report = report
        self.progress = progress
        # Small blocks are not padded to more than the next power of two.
        self.batch = min(BATCH, 1 << max(largest - 1, 0).bit_length())
        self._started: set[int] = set()

    def retrieve(self, retrieval: Retrieval, block: Block) -> dict[str, np.ndarray]:
        """Results `(pixel,)` of a block whose bands are those of the retrieval, masked where it has no usable input."""
        before = self.report.pixels
        values = blank(self.variables, len(block))
        rows = np.flatnonzero(_answerable(retrieval, block))
        for start in range(0, rows.size, self.batch):
            part = rows[start : start + self.batch]
            found = self._call(retrieval, block[np.pad(part, (0, self.batch - part.size), mode="edge")])
            for key, array in values.items():
                array[part] = found[key][: part.size]
            self.tell(before + int(part[-1]) + 1)
        return self._counted(values)

    def retrieve_surrounded(
        self, retrieval: SpatialRetrieval, block: Block, outer: Window, inner: Window, shape: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        """Results `(pixel,)` of a window, from a block with the pixels around it (`releo_jax.surroundings`)."""
        values = blank(self.variables, inner.pixels)
        inside = np.zeros(outer.shape, bool)
        top, left = inner.row - outer.row, inner.column - outer.column
        inside[top : top + inner.height, left : left + inner.width] = True
        rows = np.flatnonzero(_answerable(retrieval, block)[inside.reshape(-1)])
        if rows.size:
            with self._clock(retrieval):
                found = retrieve(retrieval, block, outer, inner, shape, variables=self.variables, level=self.level)
            for key, array in values.items():
                array[rows] = found[key][rows]
        return self._counted(values)

    def _counted(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.report.count(values)
        self.tell(self.report.pixels)
        return values

    def _clock(self, retrieval: Method) -> contextlib.AbstractContextManager[None]:
        stage = "computing" if id(retrieval) in self._started else "starting"
        self._started.add(id(retrieval))
        return self.report.clock(stage)

    def _call(self, retrieval: Retrieval, block: Block) -> Mapping[str, np.ndarray]:
        with self._clock(retrieval):
            sun_view = SunView.from_degrees(block.sun_zenith, block.view_zenith, block.relative_azimuth)
            beside = {} if block.radar is None else {"radar": block.radar}
            found = retrieval(
                block.reflectance, block.mask, sun_view, variables=self.variables, level=self.level, **beside
            )
            return {key: np.asarray(array) for key, array in found.items()}

    def tell(self, done: int) -> None:
        """Says how many pixels are done."""
        if self.progress is not None:
            self.progress(done, self.total)


class Stream:
    """The retrieval of a cube: what will come out, and the blocks as they are done.

    Args:
        cube: image `(time, band, y, x)`.
        retrieval: the method, or one for each sensor that the cube names.
        variables: what to retrieve, None for all that the method has.
        level: probability of the intervals.
        block_size: largest side of a block in pixels, None to follow the chunks of the cube.
        progress: is told the numbers of pixels done and of all.

    Attributes:
        windows: of the blocks, in the order in which they come.
        layers: of the result.
        attrs: of the result.
        report: what was done so far.

    Raises:
        ReleoError: the cube lacks a band, or the method a variable.
    """

    def __init__(
        self,
        cube: xr.Dataset,
        retrieval: Retrieval | Mapping[str, Retrieval],
        variables: Sequence[str] | None,
        level: float,
        block_size: int | None,
        progress: Progress | None,
    ) -> None:
        if block_size is not None and block_size < 1:
            raise ReleoError(f"expected a block size of at least 1 pixel, got {block_size}")
        self.cube = cube
        self.report = Report()
        where = str(cube.attrs.get("source", "the cube"))
        held = tuple(str(name) for name in cube["band"].values)
        self._methods = _by_date(cube, retrieval, where)
        for method in self._methods:
            chosen = check_request(method, variables, level)
            self.report.missing_bands = check_bands(held, method, where)
        self.layers = layers(chosen, level)
        self.attrs = provenance(
            self._methods[0].name, " ".join(sensors_of(cube)), level, where, held, self.report.missing_bands
        )
        if "backscatter" in cube:
            self.attrs["radar_dates"] = " ".join(str(day.astype("datetime64[s]")) for day in cube["radar_time"].values)
        self.windows = list(blocks(cube, block_size))
        sizes = [window.pixels for window in self.windows]
        self._runner = Runner(
            chosen, level, total=sum(sizes), largest=max(sizes), report=self.report, progress=progress
        )

    def template(self) -> xr.Dataset:
        """The cube with the attributes of the result."""
        kept = {name: value for name, value in self.cube.attrs.items() if name not in ("source", "Conventions")}
        return self.cube.drop_attrs(deep=False).assign_attrs({**kept, **self.attrs})

    def results(
        self, windows: Sequence[Window] | None = None
    ) -> Generator[tuple[Window, dict[str, np.ndarray]], None, None]:
        """Blocks with the values of every layer, while the next ones are read. Close the iterator to stop early.

        Args:
            windows: some of `windows`, in their order; None for all.
        """
        windows = self.windows if windows is None else windows
        with worker("releo-read") as pool:
            ahead = iter(windows)
            pending: deque[Future[Block]] = deque()
            for window in windows:
                for following in itertools.islice(ahead, AHEAD - len(pending)):
                    pending.append(pool.submit(self._read, following))
                values = self._retrieve(window, pending.popleft().result())
                yield window, {full_name(key): array for key, array in values.items()}

    def together(self, window: Window) -> Window:
        """A block that is read once for this one and others: every date is read by itself."""
        return window

    def take(self, values: Mapping[str, np.ndarray]) -> None:
        """Counts a block that was retrieved before."""
        self.report.count(values)
        self._runner.tell(self.report.pixels)

    def _retrieve(self, window: Window, block: Block) -> dict[str, np.ndarray]:
        method = self._methods[window.time]
        if halo_of(method) is None:
            return self._runner.retrieve(method, block)
        outer, shape = self._seen(window), self.windows[0].shape
        return self._runner.retrieve_surrounded(cast(SpatialRetrieval, method), block, outer, window, shape)

    def _seen(self, window: Window) -> Window:
        """What is read for a window: itself, and what its method looks at around it."""
        return surrounded(window, halo_of(self._methods[window.time]) or 0, self.cube.sizes["y"], self.cube.sizes["x"])

    def _read(self, window: Window) -> Block:
        with self.report.clock("reading"):
            method, failures = self._methods[window.time], list[str]()
            radar = getattr(method, "radar_window", None)
            block = load_block(self.cube, self._seen(window), method.bands, radar=radar, failures=failures)
            if failures:
                self.report.unread[window] = failures
            return block


def _answerable(method: Method, block: Block) -> np.ndarray:
    """Whether a method can say something of the pixels `(pixel,)` of a block whose bands are its own."""
    required = [block.bands.index(name) for name in method.required]
    return np.asarray(block.usable & block.mask[:, required].all(axis=1))


@contextlib.contextmanager
def worker(name: str) -> Iterator[ThreadPoolExecutor]:
    """One thread; at the end, work that has not begun is dropped and work that has is waited for."""
    pool = ThreadPoolExecutor(1, name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def check_bands(held: Sequence[str], retrieval: Method, where: str) -> tuple[str, ...]:
    """The bands that a method uses and an input does not hold.

    Raises:
        ReleoError: the method cannot do without one of them.
    """
    missing = tuple(name for name in retrieval.bands if name not in held)
    needed = [name for name in missing if name in retrieval.required]
    if needed:
        raise ReleoError(
            f"{where}: missing band {', '.join(needed)}, which the method {retrieval.name} cannot do without "
            f"(found {', '.join(held)}); add what is missing or choose another method"
        )
    if len(missing) == len(retrieval.bands):
        raise ReleoError(
            f"{where}: none of the bands {', '.join(retrieval.bands)} that the method {retrieval.name} uses "
            f"(found {', '.join(held)}); add them"
        )
    return missing


def sensors_of(cube: xr.Dataset) -> tuple[str, ...]:
    """Names of the sensors that a cube speaks of, each once; none if nothing says which."""
    if "sensor" in cube.coords:
        return tuple(dict.fromkeys(str(name) for name in np.atleast_1d(cube["sensor"].values)))
    return (str(cube.attrs["sensor"]),) if "sensor" in cube.attrs else ()


def _by_date(cube: xr.Dataset, retrieval: Retrieval | Mapping[str, Retrieval], where: str) -> list[Retrieval]:
    """The method for every date of a cube."""
    dates = cube.sizes["time"]
    if not isinstance(retrieval, Mapping):
        return [retrieval] * dates
    names = sensors_of(cube)
    missing = [name for name in names if name not in retrieval]
    if missing or not names:
        raise ReleoError(
            f"{where}: no method for the sensor {', '.join(missing) or '(the image does not name it)'}; "
            f"got methods for {', '.join(retrieval)}"
        )
    if len(names) == 1:
        return [retrieval[names[0]]] * dates
    return [retrieval[str(name)] for name in cube["sensor"].values]


def with_bands(block: Block, bands: Sequence[str]) -> Block:
    """A block with other bands, in their order; those that it does not hold are masked."""
    held = [(column, block.bands.index(name)) for column, name in enumerate(bands) if name in block.bands]
    new, old = [pair[0] for pair in held], [pair[1] for pair in held]
    shape = (len(block), len(bands))
    arrays: dict[str, Any] = {
        "reflectance": np.zeros(shape, np.float32),
        "mask": np.zeros(shape, bool),
        "flags": np.full(shape, Flag.NODATA, np.uint8),
    }
    for name, array in arrays.items():
        array[:, new] = getattr(block, name)[:, old]
    return dataclasses.replace(block, bands=tuple(bands), **arrays)


def sample_block(cube: xr.Dataset, bands: Sequence[str], number: int, *, seed: int, dates: Sequence[int]) -> Block:
    """Usable pixels of a cube, drawn from a few of its blocks.

    Args:
        cube: image `(time, band, y, x)`.
        bands: bands of the result.
        number: pixels wanted; fewer come where the cube holds fewer.
        seed: the same seed draws the same pixels.
        dates: indices of the dates to draw from.

    Raises:
        ReleoError: no pixel is usable.
    """
    rng = np.random.default_rng(seed)
    windows = [window for window in blocks(cube) if window.time in set(dates)]
    share = -(-number // min(len(windows), 16))
    parts: list[Block] = []
    found = 0
    for index in rng.permutation(len(windows)):
        block = load_block(cube, windows[index], bands)
        rows = np.flatnonzero(block.mask.any(axis=1))
        rows = rng.permutation(rows)[: min(share, number - found)]
        parts.append(block[rows])
        found += rows.size
        if found == number:
            break
    if not found:
        raise ReleoError(f"{cube.attrs.get('source', 'the cube')}: no usable pixel; check the mask")
    joined: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Block)
        if field.name not in ("bands", "radar")
    }
    return Block(bands=tuple(bands), **joined)
