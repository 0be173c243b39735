"""Radar images from files: NetCDF and Zarr here, GeoTIFF in `releo_jax.cubes.sentinel1`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xarray as xr

from releo_jax.cubes.datasets import is_dataset
from releo_jax.cubes.radar import (
    POLARISATIONS,
    check_backscatter,
    check_floats,
    check_incidence,
    polarisation_of,
    quantity_of,
    radar_dataset,
    sigma_nought,
    unit_of,
)
from releo_jax.cubes.sentinel1 import open_sentinel1
from releo_jax.cubes.stored import open_stored
from releo_jax.errors import ReleoError

_SAMPLE = 128  # pixels along a side that are looked at before anything is computed


def open_radar(
    path: str | os.PathLike[str],
    *,
    unit: str | None = None,
    incidence: float | None = None,
    quantity: str | None = None,
) -> xr.Dataset:
    """Opens backscatter from a NetCDF file or Zarr store, or a folder of GeoTIFFs (`open_sentinel1`), lazily.

    Variables named after their polarisation (`VV`, `vh`, `sigma0_VV`, `VH_db`, ...) over `(time, y, x)` or `(y, x)`,
    and the angle of incidence in degrees (`incidence`, `incidence_angle`, ...).

    Args:
        path: file, store or folder.
        unit: "linear" or "dB", where neither the attribute `units` nor the name says it.
        incidence: degrees, for all pixels; wins over what the file holds.
        quantity: "sigma0" or "gamma0"; None to go by the names of the variables, sigma-0 where they say nothing.

    Returns:
        `backscatter` (radar_time, polarisation, y, x) in dB, NaN where there is none or where noise was subtracted
        below zero; `incidence` (radar_time, y, x) in degrees.

    Raises:
        ReleoError: something is missing, or the numbers are not what the unit says.
    """
    path = Path(path)
    if path.is_dir() and not is_dataset(path):
        return open_sentinel1(path, unit=unit, incidence=incidence, quantity=quantity)
    stored = _open(path)
    held: dict[str, xr.DataArray] = {}
    for name in map(str, stored.data_vars):
        polarisation = polarisation_of(name)
        if polarisation in held:
            raise ReleoError(f"{path}: more than one variable holds {polarisation}; remove one")
        if polarisation is not None:
            held[polarisation] = stored[name]
    if "VV" not in held:
        found = ", ".join(map(str, stored.data_vars)) or "nothing"
        raise ReleoError(f"{path}: expected a variable named after the polarisation VV (and VH), found {found}")
    units = {
        name: unit_of(str(variable.name), str(variable.attrs.get("units", "")), unit, str(path))
        for name, variable in held.items()
    }
    angles = _incidence(stored, held["VV"], incidence, str(path))
    bands = {}
    for name, variable in held.items():
        check_floats(variable.dtype, f"{path}: {variable.name}")
        check_backscatter(_sample(variable), units[name], f"{path}: {variable.name}")
        kept = [coordinate for coordinate in variable.coords if coordinate not in ("radar_time", "y", "x")]
        text = f"{variable.name} {variable.attrs.get('long_name', '')} {variable.attrs.get('standard_name', '')}"
        bands[name] = sigma_nought(
            variable.drop_vars(kept).drop_attrs(),
            angles,
            unit=units[name],
            quantity=quantity_of(text, quantity) or "sigma0",
        )
    first = bands["VV"]
    planes = [bands.get(name, xr.full_like(first, np.nan)) for name in POLARISATIONS]
    data = xr.concat(planes, dim="polarisation", coords="minimal", compat="override", join="override")
    radar = radar_dataset(data.transpose("radar_time", "polarisation", "y", "x"), angles, {"source": path.name})
    if "spatial_ref" in stored.coords:
        radar = radar.assign_coords(spatial_ref=stored["spatial_ref"])
    radar.set_close(stored.close)
    return radar


def _sample(variable: xr.DataArray) -> np.ndarray:
    """Some numbers of a variable in memory."""
    step = {
        name: slice(None, None, max(1, variable.sizes[name] // _SAMPLE)) for name in ("y", "x") if name in variable.dims
    }
    return np.asarray(variable.isel(step).values, np.float64)


def _open(path: Path) -> xr.Dataset:
    if not path.exists():
        raise ReleoError(f"{path}: no such file or folder")
    stored = open_stored(path, chunks={}, decode_coords="all")
    missing = [name for name in ("y", "x") if name not in stored.coords]
    if missing:
        raise ReleoError(f"{path}: no coordinate {', '.join(missing)}; add the coordinates of the pixels")
    if "time" not in stored.coords:
        raise ReleoError(f"{path}: no coordinate time; add the dates, which tell how far the optical image is")
    if stored["time"].dtype.kind != "M":
        raise ReleoError(f"{path}: expected dates in time, got {stored['time'].dtype}; write it as CF time")
    if "time" not in stored.dims:
        stored = stored.expand_dims("time")
    return stored.rename(time="radar_time").sortby("radar_time")


def _incidence(stored: xr.Dataset, like: xr.DataArray, given: float | None, where: str) -> xr.DataArray:
    if given is not None:
        check_incidence(np.asarray([given]), "--incidence")
        return xr.full_like(like, given)
    for name in map(str, stored.data_vars):
        if "incidence" in name.lower() or name.lower() in ("angle", "theta"):
            found = stored[name]
            check_incidence(_sample(found), f"{where}: {name}")
            kept = [coordinate for coordinate in found.coords if coordinate not in ("radar_time", "y", "x")]
            plain = found.drop_vars(kept).drop_attrs().astype(np.float32)
            return xr.broadcast(plain, like)[0].transpose("radar_time", "y", "x")
    raise ReleoError(f"{where}: no angle of incidence in the file; give --incidence DEGREES (incidence=...)")
