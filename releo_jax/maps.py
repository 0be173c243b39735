"""From images and tables of pixels to maps and tables of retrieved variables.

    retrieval = load_method("prosail-vae", "sentinel2a")                                # of releo_jax.methods
    result = predict(open_cube("scene.nc"), retrieval, variables=("lai",))              # in memory
    invert_cube(open_cube("scene.nc"), "lai.tif", retrieval, variables=("lai",))        # block by block to a file
    invert_file("scene.nc", "lai.tif", variables=("lai",))                              # the same in one line

An image passes through in blocks: while one block is retrieved, the next one is read and the last one written, so that
memory does not grow with the image (`releo_jax.blockwise`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from releo_jax import methods
from releo_jax.blockwise import AHEAD, Runner, check_bands, with_bands, worker
from releo_jax.cluster import ClusterStream, Planned, Recipe, cluster
from releo_jax.configuration import configuration
from releo_jax.cubes.block_store import BlockStore, stamps
from releo_jax.cubes.blocks import Block, Window
from releo_jax.cubes.convention import set_grid
from releo_jax.cubes.streaming import BlockWriter, frame_of
from releo_jax.cubes.tables import read_table, with_radar_columns
from releo_jax.cubes.writing import write_table
from releo_jax.errors import ReleoError
from releo_jax.methods import DEFAULT_SENSOR, RADAR_METHOD, adapted, assumed
from releo_jax.planning import (
    TABLES,
    check_output,
    check_temporal,
    map_of_cube,
    map_of_file,
    method_for,
    warn_missing,
)
from releo_jax.results import Progress, Report, check_request, output_keys, provenance
from releo_jax.resuming import made, resumed
from releo_jax.seasons import step_of
from releo_jax.surroundings import halo_of
from releo_jax.systems import Retrieval
from releo_jax.systems.temporal import TemporalRetrieval
from releo_jax.urls import url_of

if TYPE_CHECKING:
    from distributed import Client


def predict(
    cube: xr.Dataset,
    retrieval: Retrieval | Mapping[str, Retrieval] | TemporalRetrieval,
    *,
    temporal: str | int | None = None,
    variables: Sequence[str] | None = None,
    level: float = 0.9,
    block_size: int | None = None,
    client: Client | str | int | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Retrieves every pixel of a cube, the result in memory.

    Args:
        cube: image `(time, band, y, x)` (`releo_jax.cubes`).
        retrieval: the method, or one for each sensor that the cube names; with `temporal` a `TemporalRetrieval`.
        temporal: `weekly`, or days between the dates of the result, for which all dates of the cube are used together
            (`releo_jax.seasons`); None retrieves every date by itself.
        variables: `lai`, `ccc`, ...; None for all that the method retrieves.
        level: probability that the intervals `_lower` to `_upper` stand for.
        block_size: largest side of a block in pixels; None to follow the chunks of the cube.
        client: shares the blocks out to the workers of a Dask client, of a scheduler by its address, or to so many
            processes of this machine; None for this process alone. Cube and retrieval travel there once: of a cube
            opened from files no more than their names.
        progress: is told the numbers of pixels done and of all pixels.

    Returns:
        variables `(time, y, x)` on the grid of the cube: `leaf_area_index_mean`, `_std`, `_q05`, `_q50`, `_q95`,
        `_lower`, `_upper` (float32, NaN where masked) and `_flag` (uint8).

    Raises:
        ReleoError: a band that the method cannot do without is missing; a variable or level is not possible; no pixel
            can be read. Where some cannot, they are masked, and a warning is logged.
    """
    with _shared_out(cube, retrieval, temporal, variables, level, block_size, progress, client=client) as stream:
        result = frame_of(stream.template())
        shape = tuple(result.sizes[name] for name in ("time", "y", "x"))
        arrays = {name: np.empty(shape, layer.dtype) for name, layer in stream.layers.items()}
        with contextlib.closing(stream.results()) as results:
            for window, values in results:
                for name, array in arrays.items():
                    array[window.time, window.y, window.x] = values[name].reshape(window.shape)
    stream.report.check()
    for name, layer in stream.layers.items():
        result[name] = (("time", "y", "x"), arrays[name], dict(layer.attrs))
    return set_grid(result, None, None)


def invert_cube(
    cube: xr.Dataset,
    output: str | os.PathLike[str],
    retrieval: Retrieval | Mapping[str, Retrieval] | TemporalRetrieval,
    *,
    temporal: str | int | None = None,
    variables: Sequence[str] | None = None,
    level: float = 0.9,
    block_size: int | None = None,
    client: Client | str | int | None = None,
    progress: Progress | None = None,
    resume: Mapping[str, Any] | None = None,
) -> Report:
    """Retrieves every pixel of a cube and writes the result block by block.

    The result appears under the name of the output when it is complete, or not at all.

    Args:
        cube: image `(time, band, y, x)`.
        output: `.nc`, `.zarr` or `.tif`.
        retrieval: see `predict`.
        temporal: see `predict`.
        variables: see `predict`.
        level: see `predict`.
        block_size: see `predict`.
        client: see `predict`.
        progress: see `predict`.
        resume: None, or what the cube and the retrieval come from, as JSON (files with their `stamps`, options):
            finished blocks are kept beside the output until it is there, and a later call with the same takes them.

    Returns:
        what was done, and the seconds that reading, computing and writing took. What could not be read is masked in
        the result, named in `unread`, and logged as a warning.
    """
    with _shared_out(cube, retrieval, temporal, variables, level, block_size, progress, client=client) as stream:
        return _written(stream, output, resume)


@contextlib.contextmanager
def _shared_out(
    cube: xr.Dataset,
    retrieval: Retrieval | Mapping[str, Retrieval] | TemporalRetrieval,
    temporal: str | int | None,
    *options: Any,
    client: Client | str | int | None,
) -> Iterator[Planned]:
    """The map of a cube, on workers where there are some."""
    stream = map_of_cube(cube, retrieval, temporal, *options)
    if client is None:
        yield stream
        return
    told = (*options[:-1], None)  # progress is counted here
    with cluster(client) as workers:
        yield ClusterStream(stream, Recipe(_of_cube, {"arguments": (cube, retrieval, temporal, *told)}), workers)


@contextlib.contextmanager
def _of_cube(arguments: tuple[Any, ...]) -> Iterator[Planned]:
    yield map_of_cube(*arguments)


def _written(stream: Planned, output: str | os.PathLike[str], resume: Mapping[str, Any] | None) -> Report:
    """Writes a map, block by block as they come."""
    report = stream.report
    # The NetCDF library may be in one thread at a time, and xarray may be reading while we write.
    lock = NETCDF4_PYTHON_LOCK if Path(output).suffix.lower() == ".nc" else contextlib.nullcontext()

    def write(writer: BlockWriter, window: Window, values: Mapping[str, np.ndarray]) -> None:
        with lock, report.clock("writing"):
            writer.write(window, values)

    start = time.perf_counter()
    template = stream.template()
    with contextlib.ExitStack() as stack:
        store = None
        if resume is not None:
            store = stack.enter_context(BlockStore(output, {**resume, **made(stream, template)}))
        writer = stack.enter_context(BlockWriter(output, template, stream.layers))
        with contextlib.closing(resumed(stream, store)) as results, worker("releo-write") as pool:
            pending: deque[Future[None]] = deque()
            for window, values in results:
                pending.append(pool.submit(write, writer, window, values))
                while len(pending) > AHEAD:
                    pending.popleft().result()
            for future in pending:
                future.result()
        report.check()
        streamed = time.perf_counter()
    end = time.perf_counter()
    report.writing += end - streamed
    report.elapsed = end - start
    return report


def predict_table(
    frame: pd.DataFrame,
    block: Block,
    retrieval: Retrieval,
    *,
    variables: Sequence[str] | None = None,
    level: float = 0.9,
    progress: Progress | None = None,
    where: str = "the table",
    report: Report | None = None,
) -> pd.DataFrame:
    """Retrieves every row of a table.

    Args:
        frame: the table, whose columns the result keeps.
        block: its pixels (`releo_jax.cubes.tables.read_table` gives both).
        retrieval: the method.
        variables: see `predict`.
        level: see `predict`.
        progress: see `predict`.
        where: name of the table, for messages.
        report: counts what is done.

    Returns:
        the table with the columns `lai_mean`, `lai_std`, `lai_q05`, `lai_q50`, `lai_q95`, `lai_lower`, `lai_upper`,
        `lai_flag`, ... after its own.

    Raises:
        ReleoError: as `predict`; or the table has such columns already.
    """
    report = Report() if report is None else report
    if halo_of(retrieval) is not None:
        raise ReleoError(f"the method {retrieval.name} looks at the pixels around each one; give an image, not a table")
    chosen = check_request(retrieval, variables, level)
    report.missing_bands = check_bands(block.bands, retrieval, where)
    taken = [key for key in output_keys(chosen) if key in frame.columns]
    if taken:
        raise ReleoError(f"{where}: the columns {', '.join(taken)} are there already; rename or remove them")
    runner = Runner(chosen, level, total=len(block), largest=len(block), report=report, progress=progress)
    values = runner.retrieve(retrieval, with_bands(block, retrieval.bands))
    return pd.concat([frame, pd.DataFrame(values, index=frame.index)], axis=1)


def invert_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    method: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    radar: str | os.PathLike[str] | None = None,
    radar_unit: str | None = None,
    radar_quantity: str | None = None,
    incidence: float | None = None,
    variables: Sequence[str] | None = None,
    level: float = 0.9,
    temporal: str | int | None = None,
    sensor: str | None = None,
    adapt: bool = False,
    draws: int | None = None,
    misfit: bool = True,
    seed: int = 0,
    block_size: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    workers: int | str | Client | None = None,
    progress: Progress | None = None,
    **reading: Any,
) -> Report:
    """Retrieves a file: an image into an image, a table into a table.

    Args:
        source: an image that `open_cube` opens, or a table (`.csv`, `.parquet`).
        output: `.nc`, `.zarr` or `.tif` for an image, `.csv` or `.parquet` for a table.
        method: one of `METHODS`; None for the default, which with a radar image is `RADAR_METHOD`.
        weights: folder that `releo train` wrote; None for the shipped ones.
        radar: Sentinel-1 images on the same grid, a file or a folder (`releo_jax.cubes.open_radar`); tables have
            columns instead.
        radar_unit: "linear" or "dB", where the file does not say.
        radar_quantity: "sigma0" or "gamma0", where the file does not say.
        incidence: degrees, where the radar image or the table has none.
        variables: see `predict`.
        level: see `predict`.
        temporal: see `predict`; for images of several dates, by the method `prosail-vae`.
        sensor: `sentinel2a`, ..., where the file does not say.
        adapt: continue the method's training on the image itself, without labels.
        draws: posterior draws a pixel for derived variables.
        misfit: see `load_method`.
        seed: of the adaptation.
        block_size: see `predict`.
        overwrite: replace an output that is there.
        resume: keep finished blocks beside the output until it is there, and take those that an earlier call with the
            same input and options has kept. The result is the same, byte for byte.
        workers: processes of this machine to share the blocks out to, the address of a Dask scheduler, or a client of
            one, whose workers see the files under the same names; None for this process alone.
        progress: see `predict`.
        **reading: options of `open_cube` or `read_table`: `scale`, `offset`, `bands`, `sun_zenith`, ...

    Returns:
        what was done, and what it took. Missing bands and an assumed sensor are logged as warnings.

    Raises:
        ReleoError: says what is wrong, where, and what to do.
    """
    source, output = Path(source), Path(output)
    weights, radar = (None if path is None else Path(path) for path in (weights, radar))
    check_output(source, output, overwrite=overwrite)
    method = method_for(method, source, radar)
    if temporal is not None:
        step_of(temporal)
        check_temporal(source, method, {"--adapt": adapt, "--draws": draws is not None})
    if adapt and workers is not None:
        raise ReleoError("--adapt does not go with --workers, each of which would train; leave one of them out")
    if source.suffix.lower() in TABLES:
        if resume:
            raise ReleoError(f"{source}: --resume is for images, not for tables; leave it out")
        if workers is not None:
            raise ReleoError(f"{source}: --workers are for images, not for tables; leave it out")
        report = Report()
        with report.clock("elapsed"):
            with report.clock("reading"):
                frame, block = read_table(source, **reading)
                if method == RADAR_METHOD:
                    block = with_radar_columns(frame, block, unit=radar_unit, incidence=incidence, where=str(source))
            retrieval = methods.load_method(
                method, assumed(sensor, source), draws=draws, misfit=misfit, weights=weights
            )
            warn_missing(check_bands(block.bands, retrieval, str(source)), source)
            if adapt:
                retrieval = adapted(retrieval, with_bands(block, retrieval.bands), seed)
            result = predict_table(
                frame, block, retrieval, variables=variables, level=level, progress=progress, where=str(source),
                report=report,
            )  # fmt: skip
            result.attrs = provenance(method, sensor or DEFAULT_SENSOR, level, source.name, block.bands,
                                      report.missing_bands)  # fmt: skip
            with report.clock("writing"):
                write_table(result, output)
        return report
    options: dict[str, Any] = {
        "method": method, "weights": weights, "radar": radar, "radar_unit": radar_unit,
        "radar_quantity": radar_quantity, "incidence": incidence, "variables": variables, "level": level,
        "temporal": temporal, "sensor": sensor, "adapt": adapt, "draws": draws, "misfit": misfit, "seed": seed,
        "block_size": block_size,
    }  # fmt: skip
    request: dict[str, Any] | None = None
    if resume:
        kept = {name: value for name, value in options.items() if name not in ("variables", "level", "block_size")}
        files = [stamps(path) for path in (source, radar, weights) if path is not None]
        request = {"files": files, "options": kept, "reading": reading}
    # Names without folders: the same image gives the same map wherever it lies.
    names = {name: path.name for name, path in {"radar": radar, "weights": weights}.items() if path is not None}
    asked = {"input": source.name, "output": output.name} | options | names | reading
    attrs = {"configuration": configuration("invert", asked)}
    with contextlib.ExitStack() as stack:
        stream: Planned = stack.enter_context(map_of_file(source, options, reading, attrs, progress))
        if workers is not None:
            told = {name: value.absolute() if isinstance(value, Path) else value for name, value in options.items()}
            place = source if url_of(source) is not None else source.absolute()
            recipe = Recipe(map_of_file, {"source": place, "options": told, "reading": reading, "attrs": attrs})
            stream = ClusterStream(stream, recipe, stack.enter_context(cluster(workers)))
        return _written(stream, output, request)
