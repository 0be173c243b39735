"""From images of many dates to maps of any dates: the blocks of a cube with all their dates at once.

invert_cube(open_cube("season.nc"), "weekly.nc", load_temporal(), temporal="weekly")
releo invert season.nc -o weekly.nc --temporal weekly
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import xarray as xr

from physics import SunView
from releo_jax.blockwise import AHEAD, check_bands, sensors_of, worker
from releo_jax.cubes.blocks import Block, Window, blocks, load_block
from releo_jax.cubes.convention import grid_of, set_grid
from releo_jax.errors import ReleoError
from releo_jax.results import Progress, Report, blank, check_request, full_name, layers, provenance
from releo_jax.systems.temporal import TemporalRetrieval

STEPS = {"daily": 1, "weekly": 7, "monthly": 30}
"""Days between the dates of a result, by name."""

BATCH = 1 << 9
"""Pixels that are retrieved at a time, all dates of each."""

LONGEST = 400.0
"""Days; a longer series is more than a season."""

_DAY = np.timedelta64(1, "D")


def step_of(text: str | int) -> int:
    """Days between the dates of a result: `weekly`, or a number of days.

    Raises:
        ReleoError: neither.
    """
    word = str(text).strip().lower()
    if word in STEPS:
        return STEPS[word]
    if not word.isdecimal() or int(word) < 1:
        raise ReleoError(f"expected {', '.join(STEPS)} or a number of days for --temporal, got {text!r}")
    return int(word)


def season_dates(time: Any, where: str) -> np.ndarray:
    """Dates of a season as `datetime64[ns]` `(date,)`, UTC.

    Args:
        time: of the images; the zone of those that have one is taken into account.
        where: name of the cube, for messages.

    Raises:
        ReleoError: dates are missing, fall, are there twice, partly have a time zone, or span more than a season.
    """
    given = np.atleast_1d(np.asarray(time))
    if given.dtype.kind == "O":
        zoned = [getattr(date, "tzinfo", None) is not None for date in given]
        if any(zoned) and not all(zoned):
            raise ReleoError(
                f"{where}: {sum(zoned)} of {given.size} dates have a time zone and the others none; give all in UTC"
            )
        given = np.array([np.datetime64(_utc(date), "ns") for date in given])
    if given.dtype.kind != "M":
        raise ReleoError(f"{where}: expected dates, got {given.dtype}; give the coordinate time as dates")
    dates = given.astype("datetime64[ns]")
    if np.isnat(dates).any():
        raise ReleoError(
            f"{where}: image {int(np.flatnonzero(np.isnat(dates))[0])} has no date; set the coordinate time"
        )
    for kind, bad in (("after a later one", np.diff(dates) < 0 * _DAY), ("twice", np.diff(dates) == 0 * _DAY)):
        if bad.any():
            image = int(np.flatnonzero(bad)[0]) + 1
            remedy = 'sort them: cube.sortby("time")' if "later" in kind else "merge or drop one of the images"
            raise ReleoError(f"{where}: image {image} of {_text(dates[image])} comes {kind}; {remedy}")
    if dates.size < 2:
        raise ReleoError(f"{where}: expected images of two dates at least for --temporal, got {dates.size}")
    if dates[-1] - dates[0] > LONGEST * _DAY:
        raise ReleoError(
            f"{where}: the dates from {_text(dates[0])} to {_text(dates[-1])} are more than {LONGEST:.0f} days; soil "
            "and leaf structure are held constant over a season: give one season at a time"
        )
    return dates


def _utc(date: Any) -> Any:
    zone = getattr(date, "tzinfo", None)
    return date if zone is None else (date - date.utcoffset()).replace(tzinfo=None)


def _text(date: np.datetime64) -> str:
    return str(date.astype("datetime64[s]"))


class SeasonStream:
    """The retrieval of a season from a cube, block by block; the same face as `releo_jax.blockwise.Stream`.

    Args:
        cube: images `(time, band, y, x)` of one season.
        retrieval: the method.
        step: days between the dates of the result, from the day of the first image on.
        variables: what to retrieve, None for all that the method has.
        level: probability of the intervals.
        block_size: largest side of a block in pixels, None to follow the chunks of the cube.
        progress: is told the numbers of pixels done and of all.

    Raises:
        ReleoError: the dates are not those of a season, the cube lacks all bands, or the method a variable.
    """

    def __init__(
        self,
        cube: xr.Dataset,
        retrieval: TemporalRetrieval,
        step: int,
        variables: Sequence[str] | None,
        level: float,
        block_size: int | None,
        progress: Progress | None,
    ) -> None:
        if block_size is not None and block_size < 1:
            raise ReleoError(f"expected a block size of at least 1 pixel, got {block_size}")
        where = str(cube.attrs.get("source", "the cube"))
        self.cube, self.report, self._method = cube, Report(), retrieval
        dates = season_dates(cube["time"].values, where)
        first = dates[0].astype("datetime64[D]")
        self._dates = (dates - first) / _DAY
        self._wanted = np.arange(0.0, self._dates[-1] + 1e-6, step)
        self._time = first.astype("datetime64[ns]") + self._wanted.astype(int) * _DAY
        self._chosen = check_request(retrieval, variables, level)
        self._level, self._progress = level, progress
        held = tuple(str(name) for name in cube["band"].values)
        self.report.missing_bands = check_bands(held, retrieval, where)
        self.layers = layers(self._chosen, level)
        self.attrs = provenance(
            retrieval.name, " ".join(sensors_of(cube)), level, where, held, self.report.missing_bands
        ) | {"image_dates": " ".join(map(_text, dates))}
        places = [window for window in blocks(cube, block_size) if window.time == 0]
        self.windows = [dataclasses.replace(place, time=day) for place in places for day in range(self._wanted.size)]
        self._batch = min(BATCH, 1 << (max(place.pixels for place in places) - 1).bit_length())
        self._total = sum(window.pixels for window in self.windows)

    def template(self) -> xr.Dataset:
        """The grid of the cube and the dates of the result, with its attributes."""
        kept = {name: value for name, value in self.cube.attrs.items() if name not in ("source", "Conventions")}
        grid = self.cube[["y", "x"]].drop_vars("time", errors="ignore").drop_attrs(deep=False)
        return set_grid(grid.assign_coords(time=self._time).assign_attrs({**kept, **self.attrs}), *grid_of(self.cube))

    def results(
        self, windows: Sequence[Window] | None = None
    ) -> Generator[tuple[Window, dict[str, np.ndarray]], None, None]:
        """Dates of blocks with the values of every layer, while the next ones are read. Close it to stop early.

        Args:
            windows: some of `windows`, in their order; None for all.
        """
        wanted = dict.fromkeys(self.windows if windows is None else windows)
        places = list(dict.fromkeys(dataclasses.replace(window, time=0) for window in wanted))
        with worker("releo-read") as pool:
            ahead = iter(places)
            pending: deque[Future[list[Block]]] = deque()
            for window in places:
                for following in itertools.islice(ahead, AHEAD - len(pending)):
                    pending.append(pool.submit(self._read, following))
                values = self._retrieve(pending.popleft().result())
                for index in range(self._wanted.size):
                    place = dataclasses.replace(window, time=index)
                    if place not in wanted:
                        continue
                    now = {key: array[:, index] for key, array in values.items()}
                    self.report.count(now)
                    yield place, {full_name(key): array for key, array in now.items()}

    def together(self, window: Window) -> Window:
        """A block that is read once for this one and others: all dates of a place are."""
        return dataclasses.replace(window, time=0)

    def take(self, values: Mapping[str, np.ndarray]) -> None:
        """Counts a block that was retrieved before."""
        self.report.count(values)
        self._tell(self.report.pixels)

    def _read(self, window: Window) -> list[Block]:
        with self.report.clock("reading"):
            found = []
            for date in range(self._dates.size):
                place, failures = dataclasses.replace(window, time=date), list[str]()
                found.append(load_block(self.cube, place, self._method.bands, failures=failures))
                if failures:
                    self.report.unread[place] = failures
            return found

    def _retrieve(self, dates: list[Block]) -> dict[str, np.ndarray]:
        """Results `(pixel, day)` of a block."""
        values, mask = (np.stack([getattr(b, name) for b in dates], 1) for name in ("reflectance", "mask"))
        degrees = [np.stack([getattr(block, name) for block in dates], 1) for name in _ANGLES]
        pixels = len(values)
        whole = {
            key: np.repeat(array[:, None], self._wanted.size, 1) for key, array in blank(self._chosen, pixels).items()
        }
        rows = np.flatnonzero(mask.any((1, 2)))
        done = self.report.pixels
        for start in range(0, rows.size, self._batch):
            part = rows[start : start + self._batch]
            padded = np.pad(part, (0, self._batch - part.size), mode="edge")
            with self.report.clock("computing" if self.report.starting else "starting"):
                found = self._method.figures(
                    values[padded],
                    mask[padded],
                    SunView.from_degrees(*(angle[padded] for angle in degrees)),
                    self._dates,
                    self._wanted,
                    variables=self._chosen,
                    level=self._level,
                )
            for key, array in whole.items():
                array[part] = found[key][: part.size]
            self._tell(done + (int(part[-1]) + 1) * self._wanted.size)
        self._tell(done + pixels * self._wanted.size)
        return whole

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._total)


_ANGLES = ("sun_zenith", "view_zenith", "relative_azimuth")
