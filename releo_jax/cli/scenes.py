"""`releo simulate` and `releo info`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from releo_jax.blockwise import sensors_of
from releo_jax.cubes.atomic import replacing, writing
from releo_jax.cubes.convention import ANGLES, PRODUCT_ATTRS, grid_of
from releo_jax.cubes.opening import open_cube
from releo_jax.cubes.rasters import CHUNK
from releo_jax.cubes.scene import DEFAULT_BANDS, simulate_scene
from releo_jax.cubes.scene_files import write_scene
from releo_jax.cubes.tables import read_table
from releo_jax.errors import ReleoError
from releo_jax.planning import TABLES
from releo_jax.results import open_result, result_variables


def run_simulate(
    output: Path,
    *,
    seed: int,
    size: str,
    sensor: str,
    bands: Sequence[str] | None,
    time: str,
    latitude: float,
    clouds: float,
    radar: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Simulates a scene and writes it."""
    for path in (output, radar):
        if path is None:
            continue
        if path.exists() and not overwrite:
            raise ReleoError(f"{path}: exists already; choose another name, or give --overwrite")
        if not path.parent.is_dir():
            raise ReleoError(f"{path}: cannot write, there is no folder {path.parent}; create it")
    if radar is not None and radar.suffix.lower() != ".nc":
        raise ReleoError(f"{radar}: expected a name that ends in .nc for the radar images")
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", size)
    if found is None:
        raise ReleoError(f"expected a size such as 240 or 200x300, got {size!r}")
    shape = (int(found.group(1)), int(found.group(2) or found.group(1)))
    try:
        np.datetime64(time)
    except ValueError:
        raise ReleoError(f"expected a time such as 2022-06-05T10:36:00, got {time!r}") from None
    scene = simulate_scene(
        seed=seed,
        shape=shape,
        sensor=sensor,
        bands=bands or DEFAULT_BANDS,
        time=time,
        latitude=latitude,
        cloud_cover=clouds,
        moist=radar is not None,
    )
    write_scene(scene, output)
    if radar is not None:
        from releo_jax.cubes.radar_scene import simulate_radar

        with replacing(radar) as temporary, writing(radar):
            simulate_radar(scene, seed=seed).to_netcdf(temporary, engine="netcdf4")
    if not quiet:
        usable = float((scene["mask"] == 0).mean())
        print(
            f"{output}: {shape[0]} x {shape[1]} pixels of {sensors_of(scene)[0]}, {100 * usable:.0f} % usable, "
            f"leaf area index up to {float(scene['leaf_area_index'].max()):.1f}"
        )


def run_info(source: Path, *, reading: Mapping[str, Any]) -> None:
    """Prints what an input or a result is."""
    given = {name: value for name, value in reading.items() if value is not None}
    if source.suffix.lower() in TABLES:
        rows = _table(source, given)
    else:
        rows = _maps(source) or _cube(source, given)
    print(f"{source}")
    print(aligned_left(rows))


def aligned_left(rows: Sequence[tuple[str, str]]) -> str:
    """Names and what they are, indented."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name.ljust(width)}  {text}" for name, text in rows)


def _table(source: Path, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    frame, block = read_table(source, **given)
    others = [str(name) for name in frame.columns if str(name).strip().upper() not in block.bands]
    usable = block.mask.any(axis=1).mean()
    return [
        ("kind", "table of pixels"),
        ("rows", f"{len(frame)}, {100 * usable:.3g} % usable"),
        ("bands", " ".join(block.bands)),
        ("other columns", " ".join(others) or "none"),
        *[(name.replace("_", " "), _range(getattr(block, name), "°")) for name in ANGLES],
    ]


def _maps(source: Path) -> list[tuple[str, str]]:
    """What a result is; nothing if the file holds something else."""
    if source.suffix.lower() not in (".nc", ".zarr", ".tif", ".tiff") or not source.exists():
        return []
    keys = ("method", "sensor", "level", "input", "bands", "missing_bands", "software")
    with contextlib.closing(open_result(source)) as result:
        found = result_variables(result)
        rows = [("kind", "maps"), ("variables", " ".join(found)), *_grid(result)] if found else []
        return rows + [(key.replace("_", " "), str(result.attrs[key])) for key in keys if found and key in result.attrs]


def _cube(source: Path, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    with contextlib.closing(open_cube(source, **given)) as cube:
        return _described(cube)


def _described(cube: xr.Dataset) -> list[tuple[str, str]]:
    rows = [
        ("kind", "image"),
        ("sensor", ", ".join(sensors_of(cube)) or "not stated"),
        ("bands", " ".join(map(str, cube["band"].values))),
        *_grid(cube),
    ]
    # Of a large image nine pixels, not to interpolate the angles of all its blocks: they change steadily across it.
    places = {
        dim: np.unique(np.linspace(0, cube.sizes[dim] - 1, 64 if cube.sizes[dim] <= 2 * CHUNK else 3).astype(int))
        for dim in ("y", "x")
    }
    for name in ANGLES:
        values = cube[name]
        if "y" in values.dims:
            values = values.isel(places)
        rows.append((name.replace("_", " "), _range(values.values, "°")))
    for key in (*PRODUCT_ATTRS, "resampling"):
        if key in cube.attrs:
            rows.append((key.replace("_", " "), str(cube.attrs[key])))
    return rows


def _grid(dataset: xr.Dataset) -> list[tuple[str, str]]:
    crs, transform = grid_of(dataset)
    height, width = dataset.sizes["y"], dataset.sizes["x"]
    left, right = transform.c, transform.c + width * transform.a
    bottom, top = sorted((transform.f, transform.f + height * transform.e))
    dates = [str(value.astype("datetime64[s]")) for value in dataset["time"].values if not np.isnat(value)]
    times = "not stated" if not dates else dates[0] if len(dates) == 1 else f"{len(dates)}, {dates[0]} to {dates[-1]}"
    return [
        ("dates" if len(dates) > 1 else "date", times),
        ("size", f"{height} rows x {width} columns, pixels of {abs(transform.a):g} x {abs(transform.e):g}"),
        ("CRS", "none" if crs is None else (f"EPSG:{crs.to_epsg()}" if crs.to_epsg() else crs.to_string()[:60])),
        ("extent", f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"),
    ]


def _range(values: np.ndarray, unit: str) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "none"
    low, high = float(finite.min()), float(finite.max())
    return f"{low:.1f}{unit}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f}{unit}"
