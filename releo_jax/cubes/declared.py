"""Any xarray dataset as a cube, by what its owner declares: which variable is which band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from releo_jax.cubes.convention import (
    ANGLES,
    LANDSAT_SENSORS,
    SENSORS,
    Flag,
    band_name,
    bands_known,
    mask_attrs,
    sensor_name,
    set_grid,
)
from releo_jax.cubes.datasets import check_alike, conventional_names, cube_of
from releo_jax.cubes.safe import CLEAR
from releo_jax.errors import ReleoError

_ANGLES = (*ANGLES, "sun_azimuth", "view_azimuth")


def from_dataset(
    dataset: xr.Dataset,
    bands: Mapping[str, str],
    *,
    sensor: str | None = None,
    scale: float | None = None,
    offset: float | None = None,
    angles: Mapping[str, str | float] | None = None,
    classes: str | None = None,
    clear: Sequence[int] | None = None,
    crs: Any = None,
) -> xr.Dataset:
    """A cube from any dataset, lazily if it is lazy; small windows of it are read to check the unit.

        cube = from_dataset(ds, {"red": "B04", "nir": "B8A"}, scale=10000, angles={"sun_zenith": "sza", ...})

    Args:
        dataset: variables over (time, y, x) or (y, x) (also `lat`, `lon`, `t`, ...), or one variable with a dimension
            of bands.
        bands: name of a band of the convention, by name of a variable, or label along the dimension of bands.
        sensor: `sentinel2a`, ..., `landsat9`; None where the dataset's attribute `sensor` says it, or nothing does.
        scale: reflectance = (number + offset) / scale; None to take both from the attributes `scale_factor`,
            `add_offset` of numbers that are not decoded yet.
        offset: see `scale`.
        angles: `sun_zenith`, `view_zenith` and `relative_azimuth`, or in place of the last `sun_azimuth` and
            `view_azimuth`: names of variables, or degrees for all pixels. Variables of these names need not be named.
        classes: name of a variable with numbers of classes, or of a mask.
        clear: those of its numbers that are clear; all others set the flag `cloud_or_shadow_or_snow`.
        crs: whatever rasterio takes for a CRS, where the dataset has none.

    Returns:
        cube `(time, band, y, x)`, bands in the order of `bands`.

    Raises:
        ReleoError: something that is declared is not there, numbers are not reflectance, or a name is not known.
    """
    where = str(dataset.encoding.get("source") or dataset.attrs.get("source") or "the dataset")
    if sensor is None and "sensor" in dataset.attrs:
        sensor = str(dataset.attrs["sensor"])
    if sensor is not None:
        sensor = sensor_name(sensor, (*SENSORS, *LANDSAT_SENSORS))
    given = conventional_names(dataset)
    stored = given[[]]
    names = _names(bands, bands_known(sensor))
    stored = stored.assign({names[label]: _plane(given, label, where) for label in bands})
    check_alike([stored[name] for name in names.values()], where)
    numbers: dict[str, float | None] = {}
    declared: dict[str, str | float] = {name: name for name in _ANGLES if name in given}
    declared.update(angles or {})
    for name, angle in declared.items():
        if name not in _ANGLES:
            raise ReleoError(f"unknown angle {name!r}; expected names among {', '.join(_ANGLES)}")
        if isinstance(angle, str):
            stored[name] = _variable(given, angle, where)
        else:
            numbers[name] = float(angle)
    projection = crs if crs is not None else given.rio.crs
    if projection is not None:
        stored.attrs["crs"] = projection
    if sensor is not None:
        stored.attrs["sensor"] = sensor
    cube = cube_of(stored, Path(where), sensor, scale, offset, list(names.values()), numbers, CLEAR)
    if (classes is None) != (clear is None):
        raise ReleoError(f"{where}: give classes, the variable, and clear, its numbers that are clear, together")
    if classes is not None and clear is not None:
        found = _variable(given, classes, where)
        if not {"y", "x"} <= set(found.dims) <= {"time", "y", "x"}:
            raise ReleoError(f"{where}: expected {classes} over (time, y, x), got {found.dims}; select or rename")
        flags = xr.where(found.isin(list(clear)), np.uint8(0), np.uint8(Flag.CLOUD_OR_SHADOW_OR_SNOW))
        flags = flags.drop_vars([name for name in flags.coords if name not in flags.dims])
        mask = (cube["mask"] | flags).transpose(*cube["mask"].dims).assign_attrs(mask_attrs())
        cube = set_grid(cube.assign(mask=mask), None, None)
    return cube


def _names(bands: Mapping[str, str], known: Sequence[str]) -> dict[str, str]:
    """Bands of the convention by what the dataset calls them."""
    if not bands:
        raise ReleoError('expected bands such as {"red": "B04"}, got none')
    names = {label: band_name(band, known) for label, band in bands.items()}
    wrong = [band for label, band in bands.items() if names[label] is None]
    if wrong or len(set(names.values())) != len(names):
        raise ReleoError(f"expected bands among {', '.join(known)}, each once, got {', '.join(bands.values())}")
    return {label: name for label, name in names.items() if name is not None}


def _variable(dataset: xr.Dataset, name: str, where: str) -> xr.DataArray:
    if name not in dataset:
        found = ", ".join(map(str, dataset.data_vars)) or "nothing"
        raise ReleoError(f"{where}: no variable {name!r}; found {found}")
    variable = dataset[name]
    # What xarray decoded is remembered as encoding, and would be decoded again.
    kept = {key: value for key, value in variable.encoding.items() if key == "preferred_chunks"}
    variable = variable.drop_encoding()
    variable.encoding.update(kept)
    return variable


def _plane(dataset: xr.Dataset, label: str, where: str) -> xr.DataArray:
    """The variable of a band, or the one labelled so along the dimension of bands."""
    stacks = [str(name) for name, variable in dataset.data_vars.items() if "band" in variable.dims]
    if label not in dataset and len(stacks) == 1 and "band" in dataset.coords:
        labels = [str(value) for value in dataset["band"].values]
        if label in labels:
            return _variable(dataset, stacks[0], where).isel(band=labels.index(label), drop=True)
        raise ReleoError(f"{where}: no band {label!r} in {stacks[0]}; found {', '.join(labels)}")
    return _variable(dataset, label, where)
