"""Tables of published figures, and how they are brought to the wavelengths a model asks for.

One compressed NumPy file a table; `PROVENANCE.md` says where every figure comes from and `build_tables.py` rebuilds
the files. All of it is NumPy: tables are resolved while a program is traced and never sliced inside it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

_FOLDER = Path(__file__).parent


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


DEFAULT_WAVELENGTHS: np.ndarray = _read_only(np.arange(400.0, 2501.0))
"""Wavelengths of all tables, nm, shape (2101,)."""


def table_names() -> tuple[str, ...]:
    """Names of the tables that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.npz")))


@functools.cache
def table(name: str) -> dict[str, np.ndarray]:
    """Reads a table of published figures.

    Args:
        name: name of the table, e.g. `"prospect_d"`; `table_names()` lists them.

    Returns:
        The table's columns by name. The arrays are read-only and shared between callers. Spectral columns have shape
        (2101,) on `DEFAULT_WAVELENGTHS`; their units stand in `PROVENANCE.md`.

    Raises:
        ValueError: no table has that name.
    """
    path = _FOLDER / f"{name}.npz"
    if name not in table_names():
        raise ValueError(f"expected the name of a table, got {name!r}; use one of {', '.join(table_names())}")
    with np.load(path, allow_pickle=False) as archive:
        return {key: _read_only(archive[key]) for key in archive.files}


def concrete_wavelengths(wavelengths: Any = None) -> np.ndarray:
    """Checks wavelengths and returns them as a float64 NumPy array.

    Args:
        wavelengths: nm, shape (wavelength,), within 400-2500 nm; None means `DEFAULT_WAVELENGTHS`.

    Raises:
        ValueError: the wavelengths are traced, not one-dimensional, not numbers, or outside the tables.
    """
    if wavelengths is None:
        return DEFAULT_WAVELENGTHS
    if isinstance(wavelengths, jax.core.Tracer):
        raise ValueError(
            "expected concrete wavelengths, got a traced array; tables are resolved while the program is traced, so "
            "pass `wavelengths` as a NumPy array made outside `jit`, `grad` and `vmap` (or close over it)"
        )
    grid = np.asarray(wavelengths, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0:
        raise ValueError(f"expected wavelengths of shape (wavelength,), got shape {grid.shape}; pass a 1-D array in nm")
    low, high = DEFAULT_WAVELENGTHS[0], DEFAULT_WAVELENGTHS[-1]
    # Written so that NaN fails too.
    if not bool(np.all((grid >= low) & (grid <= high))):
        hint = "; these look like micrometres, multiply by 1000" if np.nanmax(grid) < 20.0 else ""
        raise ValueError(
            f"expected wavelengths within {low:g}-{high:g} nm, got {np.nanmin(grid):g}-{np.nanmax(grid):g}"
            f"{' with NaN' if np.isnan(grid).any() else ''}; the tables end there, so leave the others out{hint}"
        )
    return grid


def resolve(values: np.ndarray, wavelengths: Any = None) -> np.ndarray:
    """Brings a column of a table to the wavelengths asked for.

    Args:
        values: on `DEFAULT_WAVELENGTHS`, shape (*any, 2101).
        wavelengths: concrete wavelengths in nm, shape (wavelength,), in any order; None means `DEFAULT_WAVELENGTHS`.

    Returns:
        float64 array (*any, wavelength): linear interpolation between the 1 nm steps, exact on them.

    Raises:
        ValueError: `values` is not on the default grid, or the wavelengths are traced or outside 400-2500 nm.
    """
    columns = np.asarray(values, dtype=np.float64)
    if columns.ndim == 0 or columns.shape[-1] != DEFAULT_WAVELENGTHS.size:
        raise ValueError(
            f"expected values on the 400-2500 nm grid in 1 nm steps, shape (..., 2101), got "
            f"shape {columns.shape}; interpolate them to `physics.data.DEFAULT_WAVELENGTHS` first"
        )
    grid = concrete_wavelengths(wavelengths)
    if grid is DEFAULT_WAVELENGTHS:
        return columns
    position = grid - DEFAULT_WAVELENGTHS[0]
    left = np.minimum(np.floor(position).astype(np.intp), DEFAULT_WAVELENGTHS.size - 2)
    fraction = position - left
    # `a (1 - f) + b f` rather than `a + (b - a) f`: the first gives the table's own figure at f = 0 and at f = 1.
    return columns[..., left] * (1.0 - fraction) + columns[..., left + 1] * fraction
