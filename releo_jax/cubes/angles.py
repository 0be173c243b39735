"""Directions of sun and sensor from the 5 km grids of a Sentinel-2 tile.

Angles are averaged and interpolated as unit vectors, not as numbers: azimuths jump at north, and a sensor that
passes through the zenith has no azimuth there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from releo_jax.cubes.rasters import CHUNK, Grid

STEP = 5000.0
"""Distance of the nodes in metres."""


def directions(zenith: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Unit vectors `(3, ...)` (east, north, up) from angles in degrees."""
    theta, phi = np.radians(zenith), np.radians(azimuth)
    return np.stack([np.sin(theta) * np.sin(phi), np.sin(theta) * np.cos(phi), np.cos(theta)])


def zenith_azimuth(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zenith and azimuth (0 to 360) in degrees of vectors `(3, ...)` of any length."""
    east, north, up = vector
    return np.degrees(np.arctan2(np.hypot(east, north), up)), np.degrees(np.arctan2(east, north)) % 360.0


def mean_direction(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over grids of directions `(3, row, column)`, each ignored where it is NaN; NaN where all are."""
    stack = np.stack(vectors)
    known = np.isfinite(stack).all(axis=1, keepdims=True)
    count = known.sum(axis=0)
    total = np.where(known, stack, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def fill_nearest(vector: np.ndarray) -> np.ndarray:
    """Directions `(3, row, column)` with unknown nodes taking the nearest known one (swath edges)."""
    known = np.isfinite(vector).all(axis=0)
    if known.all() or not known.any():
        return vector
    rows, columns = np.nonzero(known)
    filled = vector.copy()
    for row, column in np.argwhere(~known):
        nearest = np.argmin((rows - row) ** 2 + (columns - column) ** 2)
        filled[:, row, column] = vector[:, rows[nearest], columns[nearest]]
    return filled


def bilinear(nodes: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of `(3, row, column)` nodes at fractional rows and columns, held constant outside.

    Returns:
        array `(3, len(row), len(column))`.
    """
    partial = _linear(nodes, row, axis=1)
    return _linear(partial, column, axis=2)


def _linear(nodes: np.ndarray, position: np.ndarray, axis: int) -> np.ndarray:
    last = nodes.shape[axis] - 1
    position = np.clip(position, 0, last)
    low = np.minimum(position.astype(int), max(last - 1, 0))
    high = np.minimum(low + 1, last)
    shape = [1] * nodes.ndim
    shape[axis] = -1
    weight = (position - low).reshape(shape)
    return nodes.take(low, axis=axis) * (1 - weight) + nodes.take(high, axis=axis) * weight


@dataclasses.dataclass(frozen=True, eq=False)
class AngleGrids:
    """Directions at the nodes of a tile, `(3, row, column)` each; the first node lies on the upper left corner.

    `south` and `east` are how far, in metres, the corner of the grids that are asked for lies from the tile's.
    """

    sun: np.ndarray
    view: np.ndarray
    step: tuple[float, float] = (STEP, STEP)
    south: float = 0.0
    east: float = 0.0

    def at(self, name: str, grid: Grid, y: slice, x: slice) -> np.ndarray:
        """One of the cube's angles in degrees on a window `(row, column)` of a grid."""
        row = ((np.arange(y.start, y.stop) + 0.5) * abs(grid.transform.e) + self.south) / self.step[0]
        column = ((np.arange(x.start, x.stop) + 0.5) * grid.transform.a + self.east) / self.step[1]
        if name == "relative_azimuth":
            sun, view = bilinear(self.sun, row, column), bilinear(self.view, row, column)
            # The angle between the horizontal parts, by components: no branch at north.
            cross = view[0] * sun[1] - view[1] * sun[0]
            dot = view[0] * sun[0] + view[1] * sun[1]
            return np.degrees(np.abs(np.arctan2(cross, dot))).astype(np.float32)
        nodes = self.sun if name == "sun_zenith" else self.view
        return zenith_azimuth(bilinear(nodes, row, column))[0].astype(np.float32)

    def lazy(self, name: str, grid: Grid, chunk: int = CHUNK) -> xr.DataArray:
        """One of the cube's angles as a lazy array (y, x)."""

        def block(block_info: Any = None) -> np.ndarray:
            (rows, columns) = block_info[None]["array-location"]
            return self.at(name, grid, slice(*rows), slice(*columns))

        side = da.core.normalize_chunks((min(chunk, grid.height), min(chunk, grid.width)), (grid.height, grid.width))
        array = da.map_blocks(block, chunks=side, dtype=np.float32, meta=np.empty((0, 0), np.float32))
        return xr.DataArray(array, dims=("y", "x"))
