"""Sentinel-2 Level-2A products, whoever made them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from releo_jax.cubes.safe import is_safe, open_safe
from releo_jax.cubes.series import join_dates
from releo_jax.cubes.stac import is_stac, open_stac
from releo_jax.cubes.theia import is_theia, open_theia


def is_sentinel2(path: Path) -> bool:
    """Whether a folder is a Sentinel-2 product in a layout that is read."""
    return is_safe(path) or is_theia(path)


def open_sentinel2(
    products: str | os.PathLike[str] | Sequence[Any],
    *,
    resolution: int = 10,
    bands: Sequence[str] | None = None,
    **options: Any,
) -> xr.Dataset:
    """Opens Sentinel-2 Level-2A products as a cube; nothing but the metadata is read before it is asked for.

    Args:
        products: a `.SAFE` folder, or a folder of MAJA as Theia distributes it; or several of them, of one tile; or
            items of a STAC catalogue, as `open_stac` takes them.
        resolution: pixel size of the cube in metres, 10, 20 or 60.
        bands: names of the bands, None for all in the product.
        **options: which pixels are clear, in the terms of the product: those of `open_safe` (`clear`), of
            `open_theia` (`cloud_bits`, `geophysical_bits`, `correction`), or of `open_stac`.

    Returns:
        cube `(time, band, y, x)`, in the order of the dates (`releo_jax.cubes.join_dates`).

    Raises:
        ReleoError: something is missing or damaged, a band is asked for that a product does not hold, or products do
            not fit together.
    """
    if is_stac(products):
        return open_stac(products, resolution=resolution, bands=bands, **options)
    if not isinstance(products, str | os.PathLike):
        cubes = [open_sentinel2(product, resolution=resolution, bands=bands, **options) for product in products]
        return join_dates(cubes, f"{len(cubes)} products")
    path = Path(products)
    open_product = open_theia if is_theia(path) else open_safe
    return open_product(path, resolution=resolution, bands=bands, **options)
