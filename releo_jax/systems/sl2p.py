"""SL2P, the biophysical processor of the Sentinel-2 toolbox: small neural networks, one for each variable.

    lai = sl2p(reflectance, sun_view, variable="lai")          # reflectance (*batch, 8) in the order of BANDS
    trusted = in_domain(reflectance) & within_limits(lai, variable="lai")

The networks were trained on PROSAIL simulations whose priors are `releo_jax.priors.atbd`. They state no uncertainty;
`sl2p_retrieval` says which one stands for it.

References:
    Weiss & Baret 2016, S2ToolBox level 2 products: LAI, FAPAR, FCOVER, version 1.1 (ATBD).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from importlib import resources
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from physics.optics.geometry import SunView
from releo_jax.variables import FLAGS, VARIABLES

BANDS = ("B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
"""Inputs of the networks, at 20 m; followed by the cosines of view zenith, sun zenith and relative azimuth."""

PRODUCTS = ("lai", "ccc", "cwc", "fapar", "fcover")
"""Variables, in the order of the tables."""

SENSORS = ("sentinel2a", "sentinel2b", "sentinel2c")

# Chlorophyll: ug cm-2 to g m-2; water: g cm-2 to g m-2.
_UNIT = {"lai": 1.0, "ccc": 0.01, "cwc": 1e4, "fapar": 1.0, "fcover": 1.0}

# Measured on canopies simulated with the prior of the ATBD, those within the domain (tests/releo_jax/systems).
RMSE = {"lai": 1.34, "ccc": 0.86, "cwc": 298.0, "fapar": 0.055, "fcover": 0.067}
"""Root mean square error of each product on simulations, in the units of `releo_jax.variables`."""

_CLASSES = 10  # of reflectance between the ends of the domain, for each band
_CHUNK = 1 << 15
_SUFFIXES = ("mean", "std", "q05", "q50", "q95", "lower", "upper")


@functools.cache
def _tables() -> dict[str, np.ndarray]:
    """Figures of the networks; see `releo_jax/data/PROVENANCE.md`."""
    path = resources.files("releo_jax.data").joinpath("sl2p.npz")
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        tables = {name: archive[name] for name in archive.files}
    # One number for each cell of the grid, ascending. Below 10^8, so that it fits in 32 bits.
    tables["codes"] = np.unique((tables.pop("domain_cells").astype(np.int64) - 1) @ _PLACES).astype(np.int32)
    return tables


_PLACES = _CLASSES ** np.arange(len(BANDS))


def _index(variable: str) -> int:
    if variable not in PRODUCTS:
        raise ValueError(f"sl2p: expected a variable among {', '.join(PRODUCTS)}, got {variable!r}; take one of these")
    return PRODUCTS.index(variable)


def _checked(reflectance: ArrayLike) -> Array:
    values = jnp.asarray(reflectance)
    if values.ndim == 0 or values.shape[-1] != len(BANDS):
        raise ValueError(
            f"sl2p: expected reflectance (..., {len(BANDS)}), got shape {values.shape}; "
            f"give the bands {', '.join(BANDS)} in this order"
        )
    return values.astype(jnp.result_type(float, values))


@functools.partial(jax.jit, static_argnames="variable")
def sl2p(reflectance: ArrayLike, sun_view: SunView, *, variable: str) -> Array:
    """One product of the toolbox, version 2.1.

    Args:
        reflectance: top-of-canopy reflectance `(*batch, 8)`, bands as in `BANDS`.
        sun_view: angles in radians, each `(*batch)` or one number.
        variable: `lai` (m2 m-2), `ccc` (g m-2), `cwc` (g m-2), `fapar` or `fcover`.

    Returns:
        value `(*batch)`. Within a tolerance outside the limits of the product it is set to the limit; further outside
        it is left as it is (`within_limits` tells).

    Equation:
        x* = 2 (x - min) / (max - min) - 1;  y* = b2 + w2 tanh(W1 x* + b1);  y = (y* + 1) (max - min) / 2 + min

    Raises:
        ValueError: unknown variable, or not eight bands.

    References:
        Weiss & Baret 2016 (ATBD).
    """
    tables, i, bands = _tables(), _index(variable), _checked(reflectance)
    angles = (sun_view.view_zenith, sun_view.sun_zenith, sun_view.relative_azimuth)
    cosines = [jnp.broadcast_to(jnp.cos(angle).astype(bands.dtype), bands.shape[:-1])[..., None] for angle in angles]
    low, high = (jnp.asarray(row, bands.dtype) for row in tables["input_range"])
    x = 2.0 * (jnp.concatenate([bands, *cosines], -1) - low) / (high - low) - 1.0
    weight, bias, out = (
        jnp.asarray(tables[name][i], bands.dtype) for name in ("hidden_weight", "hidden_bias", "output_weight")
    )
    hidden = jnp.tanh(jnp.einsum("ij,...j->...i", weight, x, precision="highest") + bias)
    y = jnp.einsum("i,...i->...", out, hidden, precision="highest") + float(tables["output_bias"][i])
    y_low, y_high = tables["output_range"][i].tolist()
    value = 0.5 * (y + 1.0) * (y_high - y_low) + y_low
    (smallest, largest), tolerance = tables["limits"][i].tolist(), float(tables["tolerance"][i])
    value = jnp.where((value < smallest) & (value > smallest - tolerance), smallest, value)
    value = jnp.where((value > largest) & (value < largest + tolerance), largest, value)
    return value * _UNIT[variable]


def limits(variable: str) -> tuple[float, float]:
    """Smallest and largest value of a product, in its units."""
    low, high = _tables()["limits"][_index(variable)].tolist()
    return low * _UNIT[variable], high * _UNIT[variable]


def within_limits(value: ArrayLike, *, variable: str) -> Array:
    """Whether values `(*batch)` of a product lie between its limits, both included."""
    low, high = limits(variable)
    value = jnp.asarray(value)
    # The limits in the precision of the values, to which `sl2p` has set them.
    return (value >= jnp.asarray(low, value.dtype)) & (value <= jnp.asarray(high, value.dtype))


@jax.jit
def in_domain(reflectance: ArrayLike) -> Array:
    """Whether spectra `(*batch, 8)` are like those that the networks were trained on.

    Each band must lie between the ends of the domain, and the cell of the eight-dimensional grid of ten classes a band
    must hold training spectra.

    Raises:
        ValueError: not eight bands.

    References:
        Weiss & Baret 2016 (ATBD).
    """
    tables, bands = _tables(), _checked(reflectance)
    low, high = (jnp.asarray(row, bands.dtype) for row in tables["domain_range"])
    inside = jnp.all((bands >= low) & (bands <= high), -1)
    share = jnp.where(inside[..., None], (bands - low) / (high - low), 0.0)
    cell = jnp.minimum((_CLASSES * share).astype(jnp.int32), _CLASSES - 1)
    code = jnp.sum(cell * jnp.asarray(_PLACES, jnp.int32), -1)
    codes = jnp.asarray(tables["codes"])
    place = jnp.minimum(jnp.searchsorted(codes, code), codes.size - 1)
    return inside & (codes[place] == code)


@dataclasses.dataclass(frozen=True)
class Sl2pRetrieval:
    """SL2P as a retrieval (`releo_jax.systems.Retrieval`); made by `sl2p_retrieval`."""

    name: str = "sl2p"
    bands: tuple[str, ...] = BANDS
    required: tuple[str, ...] = BANDS
    variables: tuple[str, ...] = PRODUCTS

    def __call__(
        self, reflectance: np.ndarray, mask: np.ndarray, sun_view: SunView, *, variables: Sequence[str], level: float
    ) -> dict[str, np.ndarray]:
        """Retrieves variables of pixels; arguments and result as in `releo_jax.systems.Retrieval`."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"sl2p: expected a level between 0 and 1, got {level}; give 0.9 for 90 % intervals")
        for alias in variables:
            _index(alias)
        reflectance, mask = np.asarray(reflectance, np.float32), np.asarray(mask, bool)
        size = len(reflectance)
        if reflectance.shape != mask.shape:
            raise ValueError(f"sl2p: expected a mask of shape {reflectance.shape}, got {mask.shape}; give one per band")
        angles = [
            np.broadcast_to(np.asarray(angle, np.float32), size)
            for angle in (sun_view.sun_zenith, sun_view.view_zenith, sun_view.relative_azimuth)
        ]
        inputs = (np.where(mask, reflectance, 0.0), *angles)
        parts = []
        for start in range(0, size, _CHUNK):
            # Chunks of one size, that the program is compiled once; the last pixel fills up the last one.
            rows = np.minimum(np.arange(start, start + _CHUNK), size - 1) if size > _CHUNK else slice(None)
            parts.append(_program(*(array[rows] for array in inputs), tuple(variables)))
        values = np.concatenate([np.asarray(part[0]) for part in parts], 1)[:, :size] if parts else np.empty((0, 0))
        inside = np.concatenate([np.asarray(part[1]) for part in parts])[:size] if parts else np.empty(0, bool)
        complete = np.asarray(mask.all(1))
        found: dict[str, np.ndarray] = {}
        for row, alias in enumerate(variables):
            value = values[row] if parts else np.empty(0, np.float32)
            found |= {f"{alias}_{key}": figure for key, figure in _figures(value, complete, alias, level).items()}
            low, high = limits(alias)
            at_bound = (value <= np.float32(low)) | (value >= np.float32(high))
            flag = np.where(inside, 0, FLAGS["out_of_domain"]) | np.where(at_bound, FLAGS["at_prior_bound"], 0)
            found[f"{alias}_flag"] = np.where(complete, flag, FLAGS["input_masked"]).astype(np.uint8)
        return found


def _figures(value: np.ndarray, complete: np.ndarray, alias: str, level: float) -> dict[str, np.ndarray]:
    """Figures `(pixel,)` by suffix, NaN where a band is missing."""
    low, high = VARIABLES[alias].bounds
    rows = [value, np.full_like(value, RMSE[alias])]
    for probability in (0.05, 0.5, 0.95, 0.5 - 0.5 * level, 0.5 + 0.5 * level):
        rows.append(np.clip(value + RMSE[alias] * NormalDist().inv_cdf(probability), low, high))
    return {
        suffix: np.where(complete, row, np.nan).astype(np.float32) for suffix, row in zip(_SUFFIXES, rows, strict=True)
    }


@functools.partial(jax.jit, static_argnums=4)
def _program(
    reflectance: Array, sun_zenith: Array, view_zenith: Array, relative_azimuth: Array, variables: tuple[str, ...]
) -> tuple[Array, Array]:
    """Products `(variable, pixel)` and whether the pixels are in the domain `(pixel,)`."""
    sun_view = SunView(sun_zenith=sun_zenith, view_zenith=view_zenith, relative_azimuth=relative_azimuth)
    products = [sl2p(reflectance, sun_view, variable=alias) for alias in variables]
    return jnp.stack(products) if products else jnp.zeros((0, len(reflectance))), in_domain(reflectance)


def sl2p_retrieval(sensor: str) -> Sl2pRetrieval:
    """SL2P as a retrieval, to compare others with.

    SL2P states no posterior. Its uncertainty here is a normal law around the product whose deviation is its error on
    simulations (`RMSE`), the same for every pixel; quantiles are clipped to the physical bounds of the variable. Real
    errors are larger. The mean is the product as the toolbox gives it: beyond its limits by more than
    the tolerance it is kept and may then lie outside its own interval. Flags: `input_masked` (one of the eight bands is
    missing; there is no estimate), `out_of_domain` (input outside the definition domain), `at_prior_bound` (output at
    or beyond a limit of the product).

    Args:
        sensor: `sentinel2a`, `sentinel2b` or `sentinel2c`. Version 2.1 has one set of networks, which serves all.

    Raises:
        ValueError: another sensor.
    """
    if sensor not in SENSORS:
        raise ValueError(f"sl2p: expected a sensor among {', '.join(SENSORS)}, got {sensor!r}; take prosail-vae for it")
    return Sl2pRetrieval()
