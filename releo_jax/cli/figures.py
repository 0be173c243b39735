"""`releo plot`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from releo_jax.cli.scoring import truth_on_grid
from releo_jax.cubes.atomic import replacing
from releo_jax.cubes.opening import open_cube
from releo_jax.errors import ReleoError
from releo_jax.planning import TABLES
from releo_jax.plots import plot_map, plot_scatter, plot_scene
from releo_jax.results import open_result, result_variables
from releo_jax.variables import VARIABLES


def run_plot(source: Path, output: Path, *, variables: Sequence[str] | None, truth: Path | None, dpi: int) -> None:
    """Draws figures of a result, or of an image, and prints their names."""
    if source.suffix.lower() in TABLES:
        raise ReleoError(f"{source}: a table, which has no map; plot images, or score the table")
    if output.exists() and not output.is_dir():
        raise ReleoError(f"{output}: a file has this name; give a folder for the figures")
    if source.suffix.lower() in (".nc", ".zarr", ".tif", ".tiff"):
        with contextlib.closing(open_result(source)) as maps:
            if result_variables(maps):
                _plot_maps(maps, source, output, variables, truth, dpi)
                return
    with contextlib.closing(open_cube(source)) as cube:
        output.mkdir(parents=True, exist_ok=True)
        for date in range(cube.sizes["time"]):
            _save(plot_scene(cube, date=date), output, f"{source.stem}{_stamp(cube, date)}", dpi)


def _plot_maps(
    maps: xr.Dataset, source: Path, output: Path, variables: Sequence[str] | None, truth: Path | None, dpi: int
) -> None:
    found = result_variables(maps)
    unknown = [name for name in variables or () if name not in found]
    if unknown:
        raise ReleoError(f"{source}: no {', '.join(unknown)} in it; found {', '.join(found)}")
    with contextlib.ExitStack() as opened:
        true = None if truth is None else opened.enter_context(truth_on_grid(truth, maps))
        output.mkdir(parents=True, exist_ok=True)
        for alias in variables or found:
            for date in range(maps.sizes["time"]):
                _save(plot_map(maps, alias, date=date), output, f"{alias}{_stamp(maps, date)}", dpi)
            if true is not None and VARIABLES[alias].name in true:
                _save(_scatter(maps, true, alias), output, f"{alias}_truth", dpi)


def _scatter(maps: xr.Dataset, truth: xr.Dataset, alias: str) -> Figure:
    name = VARIABLES[alias].name
    arrays = [maps[f"{name}_{suffix}"].values.ravel() for suffix in ("mean", "lower", "upper")]
    level = float(maps.attrs.get("level", 0.9))
    return plot_scatter(truth[name].values.ravel(), *arrays, name=alias, level=level)


def _stamp(dataset: xr.Dataset, date: int) -> str:
    """Ending of a file's name that tells the date, where there are several."""
    if dataset.sizes["time"] == 1:
        return ""
    when = dataset["time"].values[date]
    return f"_{date + 1}" if np.isnat(when) else f"_{str(when.astype('datetime64[s]')).replace(':', '')}"


def _save(figure: Figure, folder: Path, name: str, dpi: int) -> None:
    path = folder / f"{name}.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
    print(path)
