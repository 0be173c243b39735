"""What is to be made of an input: whether that is possible, and the map that will come of it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from releo_jax import methods
from releo_jax.blockwise import Stream, check_bands, sample_block, sensors_of
from releo_jax.cubes import rasters
from releo_jax.cubes.convention import sensor_name
from releo_jax.cubes.opening import open_cube
from releo_jax.cubes.radar import with_radar
from releo_jax.cubes.radar_files import open_radar
from releo_jax.errors import ReleoError
from releo_jax.methods import METHODS, RADAR_METHOD, adapted, assumed
from releo_jax.results import Progress
from releo_jax.seasons import SeasonStream, step_of
from releo_jax.systems import Retrieval
from releo_jax.systems.temporal import TemporalRetrieval, load_temporal
from releo_jax.urls import url_of

TABLES = (".csv", ".parquet")
IMAGES = (".nc", ".zarr", ".tif", ".tiff")

ADAPTATION_PIXELS = 20_000
"""Pixels of an image that a method is adapted to."""

_log = logging.getLogger(__name__)


def check_output(source: Path, output: Path, *, overwrite: bool) -> None:
    """Raises unless a result may be written under a name, before any work is done for it.

    Raises:
        ReleoError: the kind of file does not fit the input, its name is taken, or its folder is not there.
    """
    kinds, what = (TABLES, "table") if source.suffix.lower() in TABLES else (IMAGES, "image")
    if output.suffix.lower() not in kinds:
        raise ReleoError(
            f"{output}: expected a name that ends in {', '.join(kinds)} for the result of the {what} {source}"
        )
    if url_of(source) is None and not source.exists():
        raise ReleoError(f"{source}: no such file or folder")
    if output.exists():
        if source.exists() and output.samefile(source):
            raise ReleoError(f"{output}: is the input itself; choose another name for the output")
        if not overwrite:
            raise ReleoError(f"{output}: exists already; choose another name, or give --overwrite (overwrite=True)")
    if not output.parent.is_dir():
        raise ReleoError(f"{output}: cannot write, there is no folder {output.parent}; create it")
    if not os.access(output.parent, os.W_OK):
        raise ReleoError(f"{output}: no permission to write here, nothing was written; choose another folder")


def method_for(method: str | None, source: Path, radar: str | os.PathLike[str] | None) -> str:
    """The method to use; raises where it and the radar do not go together."""
    if method is None:
        return METHODS[0] if radar is None else RADAR_METHOD
    table = source.suffix.lower() in TABLES
    if radar is not None and table:
        raise ReleoError(f"{source}: a table holds its radar in the columns VV, VH and incidence; leave --radar out")
    if radar is not None and method != RADAR_METHOD:
        raise ReleoError(f"the method {method} does not take radar images; leave --radar out or choose {RADAR_METHOD}")
    if radar is None and method == RADAR_METHOD and not table:
        raise ReleoError(f"the method {method} needs radar images; give --radar FILE, or choose {METHODS[0]}")
    return method


def check_temporal(source: Path, method: str, options: Mapping[str, bool]) -> None:
    """Raises where a season is asked for and something else with it that it does not go with."""
    if source.suffix.lower() in TABLES:
        raise ReleoError(f"{source}: --temporal is for images of several dates, not for tables; leave it out")
    if method != METHODS[0]:
        raise ReleoError(f"the method {method} has no temporal form; leave --temporal out or choose {METHODS[0]}")
    taken = [name for name, given in options.items() if given]
    if taken:
        raise ReleoError(f"--temporal does not go with {' and '.join(taken)}; leave one of them out")


def map_of_cube(
    cube: xr.Dataset,
    retrieval: Retrieval | Mapping[str, Retrieval] | TemporalRetrieval,
    temporal: str | int | None,
    *options: Any,
) -> Stream | SeasonStream:
    """The map of a cube `(time, band, y, x)`, every date by itself or a season; options as `Stream` takes them.

    Raises:
        ReleoError: a temporal retrieval without a step in time, or the reverse; or as `Stream`.
    """
    if isinstance(retrieval, TemporalRetrieval) != (temporal is not None):
        raise ReleoError(
            "expected a temporal retrieval and temporal= together; take load_temporal(), or leave both out"
        )
    if isinstance(retrieval, TemporalRetrieval):
        return SeasonStream(cube, retrieval, step_of(temporal or 0), *options)
    return Stream(cube, retrieval, *options)


@contextlib.contextmanager
def map_of_file(
    source: Path,
    options: Mapping[str, Any],
    reading: Mapping[str, Any],
    attrs: Mapping[str, Any],
    progress: Progress | None = None,
) -> Iterator[Stream | SeasonStream]:
    """The map of a file, as `invert_file` describes the options; the files are open inside the block."""
    method, weights, radar, sensor = (options[name] for name in ("method", "weights", "radar", "sensor"))
    how = (options["variables"], options["level"], options["block_size"], progress)
    cube = open_cube(source, sensor=sensor, **reading).assign_attrs(attrs)
    with contextlib.ExitStack() as stack:
        stack.callback(rasters.release)
        stack.enter_context(contextlib.closing(cube))
        if not sensors_of(cube):
            cube = cube.assign_attrs(sensor=assumed(None, source))
        for name in sensors_of(cube):
            sensor_name(name, where=source)  # raises where no retrieval knows it
        if radar is not None:
            images = open_radar(
                radar, unit=options["radar_unit"], quantity=options["radar_quantity"], incidence=options["incidence"]
            )
            cube = with_radar(cube, stack.enter_context(contextlib.closing(images)))
        if options["temporal"] is not None:
            season = load_temporal(weights)
            warn_missing(check_bands(tuple(cube["band"].values), season, str(source)), source)
            yield map_of_cube(cube, season, options["temporal"], *how)
            return
        of_method: Any = {"draws": options["draws"], "misfit": options["misfit"], "weights": weights}
        retrievals = {name: methods.load_method(method, name, **of_method) for name in sensors_of(cube)}
        held = tuple(str(name) for name in cube["band"].values)
        for name, retrieval in retrievals.items():
            missing = check_bands(held, retrieval, str(source))
            if options["adapt"]:
                dates = [i for i, s in enumerate(_sensor_by_date(cube)) if s == name]
                sample = sample_block(cube, retrieval.bands, ADAPTATION_PIXELS, seed=options["seed"], dates=dates)
                retrievals[name] = adapted(retrieval, sample, options["seed"])
        warn_missing(missing, source)
        yield map_of_cube(cube, retrievals, None, *how)


def _sensor_by_date(cube: xr.Dataset) -> list[str]:
    names = sensors_of(cube)
    return [str(s) for s in cube["sensor"].values] if len(names) > 1 else list(names) * cube.sizes["time"]


def warn_missing(missing: Sequence[str], source: Path) -> None:
    """Logs which bands a retrieval does without."""
    if missing:
        _log.warning("%s: no %s; the retrieval does without", source, ", ".join(missing))
