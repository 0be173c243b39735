"""NetCDF files and Zarr stores, opened such that nothing in them runs or leads to other files or the network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import xarray as xr

from releo_jax.errors import ReleoError

_CRS = re.compile(r"\s*(\w+\s*\[|\+proj=|\{|(\+init=)?\w+:\w+\s*$|urn:ogc:def:crs:|[\w ]*$)")
"""Coordinate reference systems as WKT, for PROJ, as JSON, by code or name. GDAL also takes addresses and files."""


def open_stored(path: Path, **options: Any) -> xr.Dataset:
    """Opens a NetCDF file, or a Zarr store where the path is a folder.

    Args:
        path: the file or folder.
        **options: those of `xarray.open_dataset`.

    Raises:
        ReleoError: the file is damaged, of another kind, or holds what is not read: pickles, numbers that lie in
            other files, a coordinate reference system that lies elsewhere.
    """
    try:
        if path.is_dir():
            _check_codecs(path)
            stored = xr.open_dataset(path, engine="zarr", **options)
        else:
            _check_places(path)
            stored = xr.open_dataset(path, engine="netcdf4", **options)
    except ReleoError:
        raise
    except Exception as error:  # there is hardly an error that the libraries do not raise for damaged metadata
        detail = " ".join(str(error).split())[:120]
        raise ReleoError(
            f"{path}: cannot be read ({detail}); the file is truncated, damaged or of another kind: copy or make it "
            "again"
        ) from error
    try:
        _check_systems(stored, path)
    except ReleoError:
        stored.close()
        raise
    return stored


def _check_codecs(store: Path) -> None:
    """Raises where a Zarr store is packed by `pickle`: unpacking runs what whoever made it wants.

    Version 3 has no such codec. Zarr itself refuses names of variables that lead out of the store.
    """
    for file in (store / ".zmetadata", *store.glob("*/.zarray")):
        if file.is_file() and "pickle" in _codecs(_parsed(file)):
            raise ReleoError(f"{store}: packed as Python objects (pickle), which run code when they are read; refused")


def _parsed(file: Path) -> Any:
    """The content of a JSON file; None if it is damaged: the library cannot read it either, and may not need to."""
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        return None


def _codecs(metadata: Any) -> Iterator[str]:
    """Names of the codecs anywhere in the metadata of a store."""
    if isinstance(metadata, Mapping):
        if isinstance(metadata.get("id"), str):
            yield metadata["id"]
        metadata = list(metadata.values())
    if isinstance(metadata, list):
        for part in metadata:
            yield from _codecs(part)


def _check_places(path: Path) -> None:
    """Raises where variables of an HDF5 file are links to other files, or have their numbers there."""
    if not h5py.is_hdf5(path):  # NetCDF 3 knows nothing of the kind
        return
    elsewhere: list[str] = []

    def see_link(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            elsewhere.append(name)

    def see(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
            elsewhere.append(name)

    with h5py.File(path, "r", locking=False) as file:
        file.visititems_links(see_link)
        file.visititems(see)
    if elsewhere:
        raise ReleoError(
            f"{path}: {', '.join(elsewhere)} lies in another file, which is refused; copy it into this one"
        )


def _check_systems(stored: xr.Dataset, path: Path) -> None:
    """Raises where what a file says of its coordinate reference system is an address or the name of a file."""
    for attrs in (stored.attrs, *(variable.attrs for variable in stored.variables.values())):
        for name in ("crs_wkt", "spatial_ref", "crs"):
            text = attrs.get(name)
            if isinstance(text, str) and text and not _CRS.match(text):
                raise ReleoError(
                    f"{path}: a CRS that cannot be read ({text[:80]!r} in {name}); write it as WKT or as EPSG:number"
                )
