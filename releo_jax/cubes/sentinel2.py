"""Sentinel-2 Level-2A products, whoever made them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from releo_jax.cubes.safe import is_safe, open_safe
from releo_jax.cubes.theia import is_theia, open_theia


def is_sentinel2(path: Path) -> bool:
    """Whether a folder is a Sentinel-2 product in a layout that is read."""
    return is_safe(path) or is_theia(path)


def open_sentinel2(
    product: str | os.PathLike[str], *, resolution: int = 10, bands: Sequence[str] | None = None, **options: Any
) -> xr.Dataset:
    """Opens a Sentinel-2 Level-2A product as a cube; nothing but the metadata is read before it is asked for.

    Args:
        product: a `.SAFE` folder, or a folder of MAJA as Theia distributes it.
        resolution: pixel size of the cube in metres, 10 or 20.
        bands: names of the bands, None for all in the product.
        **options: which pixels are clear, in the terms of the product: those of `open_safe` (`clear`) or of
            `open_theia` (`cloud_bits`, `geophysical_bits`, `correction`).

    Returns:
        cube with one date, `(time, band, y, x)`.

    Raises:
        ReleoError: something is missing or damaged, or a band is asked for that the product does not hold.
    """
    path = Path(product)
    open_product = open_theia if is_theia(path) else open_safe
    return open_product(path, resolution=resolution, bands=bands, **options)
