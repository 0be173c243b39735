"""What the ground of a simulated scene reflects, and the truth behind it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import physics
from physics.data import resolve, table
from releo_jax.cubes.layout import COVERS, Layout, smooth_field

_BATCH = 256
_PAR = np.arange(405.0, 700.0, 10.0)
"""Wavelengths at which absorbed photosynthetically active radiation is computed, nm."""

_SOIL_COMPONENTS = 4


def water_reflectance(wavelength: np.ndarray) -> np.ndarray:
    """Surface reflectance of inland water: a hump of scattering in the green, absorption beyond the red.

    Equation:
        0.006 + 0.045 exp(-((w - 560) / 75)^2) + 0.015 exp(-((w - 440) / 160)^2), w in nm: some 0.05 in the green and
        0.006 (sky glint) beyond 800 nm, as over moderately turbid lakes; no constituent is meant by it.
    """
    w = np.asarray(wavelength)
    return 0.006 + 0.045 * np.exp(-(((w - 560) / 75) ** 2)) + 0.015 * np.exp(-(((w - 440) / 160) ** 2))


def surface(
    rng: np.random.Generator, layout: Layout, s2: physics.Sensor, angles: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Reflectance `(row, column, band)` and truth `(row, column)` of the ground, mixed pixels mixed."""
    shape = layout.first.shape
    objects = _objects(rng, layout.cover)
    length = max(3.0, 0.02 * max(shape))
    vigour = 0.8 * smooth_field(rng, shape, length) + 0.6 * rng.standard_normal(shape)
    greenness, moisture = smooth_field(rng, shape, length), smooth_field(rng, shape, 2 * length)
    soils = _soils(rng, len(layout.cover), s2.wavelengths, _PAR)
    simulate = _simulator(s2)
    water = np.array([COVERS[c].name == "water" for c in layout.cover])
    flat = {name: value.reshape(-1) for name, value in angles.items()}
    variability = np.stack([vigour, greenness, moisture], axis=-1).reshape(-1, 3)

    def render(which: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        v = variability[pixels]
        p = {name: value[which].astype(np.float32) for name, value in objects.items()}
        p["leaf_area_index"] = np.clip(p["leaf_area_index"] * np.exp(0.15 * v[:, 0] - 0.011), 0.0, 10.0)
        p["chlorophyll"] = np.clip(p["chlorophyll"] * np.exp(0.06 * v[:, 1]), 15.0, 90.0)
        p["carotenoids"] = 0.25 * p["chlorophyll"]
        wet = np.exp(0.08 * v[:, 2]).astype(np.float32)
        directions = {name: value[pixels] for name, value in flat.items()}
        values, fapar, fcover = _in_batches(functools.partial(simulate, soils), p, which, wet, directions)
        lai = p["leaf_area_index"]
        found = {
            "leaf_area_index": lai,
            "canopy_chlorophyll": lai * p["chlorophyll"] * 1e-2,  # ug cm-2 -> g m-2
            "canopy_water": lai * p["water"] * 1e4,  # cm = g cm-2 -> g m-2
            "fapar": fapar,
            "fcover": fcover,
        }
        is_water = water[which]
        values[is_water] = water_reflectance(s2.centres) * np.exp(0.05 * v[is_water, :1])
        for array in found.values():
            array[is_water] = 0.0
        return values, found

    pixels = np.arange(layout.first.size)
    reflectance, truth = render(layout.first.reshape(-1), pixels)
    share = layout.fraction.reshape(-1)
    mixed = np.flatnonzero(share < 1)
    if not mixed.size:
        return reflectance.reshape(*shape, -1), {name: array.reshape(shape) for name, array in truth.items()}
    others, other_truth = render(layout.second.reshape(-1)[mixed], mixed)
    weight = share[mixed]
    reflectance[mixed] = weight[:, None] * reflectance[mixed] + (1 - weight[:, None]) * others
    for name, array in truth.items():
        array[mixed] = weight * array[mixed] + (1 - weight) * other_truth[name]
    return reflectance.reshape(*shape, -1), {name: array.reshape(shape) for name, array in truth.items()}


def _objects(rng: np.random.Generator, cover: np.ndarray) -> dict[str, np.ndarray]:
    """Mean parameters of every object `(object,)`, drawn from the ranges of its cover."""
    stages = [COVERS[index] for index in cover]
    drawn = {
        name: rng.uniform(*np.array([getattr(stage, name) for stage in stages]).T)
        for name in ("leaf_area_index", "chlorophyll", "mean_leaf_angle", "brown_pigment")
    }
    count = len(cover)
    dry_matter, relative_water = rng.uniform(0.004, 0.009, count), rng.uniform(0.68, 0.84, count)
    return drawn | {
        "hot_spot": rng.uniform(0.1, 0.5, count),
        "layers": rng.uniform(1.3, 1.7, count),
        "dry_matter": dry_matter,
        # relative water = water / (water + dry matter)
        "water": dry_matter * relative_water / (1.0 - relative_water),
    }


def _soils(rng: np.random.Generator, count: int, *grids: np.ndarray) -> list[np.ndarray]:
    """Reflectance `(object, wavelength)` of soils like those of the library, on each of the grids of wavelengths."""
    library = table("soil_library")
    brightness = rng.uniform(0.14, 0.38, (count, 1))
    scores = 0.8 * rng.standard_normal((count, _SOIL_COMPONENTS))
    root = library["mean"] + scores @ library["components"][:_SOIL_COMPONENTS]
    spectra = np.clip(brightness * root**2, 0.0, 0.9)
    tables = [np.stack([resolve(spectrum, grid) for spectrum in spectra]).astype(np.float32) for grid in grids]
    # A whole multiple of rows, so that scenes with other numbers of fields run the same compiled program.
    return [np.pad(array, ((0, -count % 256), (0, 0)), mode="edge") for array in tables]


@functools.lru_cache(maxsize=4)
def _simulator(s2: physics.Sensor) -> Callable[..., tuple[jax.Array, jax.Array, jax.Array]]:
    """Compiled: soils (object, wavelength), then for every pixel parameters, object, a factor on its soil, angles."""

    @jax.jit
    def simulate(
        soils: list[jax.Array], p: dict[str, jax.Array], which: jax.Array, wet: jax.Array, angles: dict[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        band_soil, par_soil = (soil[which] * wet[:, None] for soil in soils)
        names = ("layers", "chlorophyll", "carotenoids", "brown_pigment", "water", "dry_matter")
        leaf = physics.Leaf(**{name: p[name] for name in names}, anthocyanins=jnp.zeros_like(p["layers"]))
        canopy = physics.Canopy(**{name: p[name] for name in ("leaf_area_index", "mean_leaf_angle", "hot_spot")})
        sun_view = physics.SunView.from_degrees(**angles)
        bands = physics.prosail(leaf, canopy, band_soil, sun_view, sensor=s2)
        visible = physics.sail(canopy, physics.prospect_d(leaf, wavelengths=_PAR), par_soil, sun_view)
        return bands, physics.fapar(visible, wavelengths=_PAR), physics.fcover(canopy)

    return simulate


def _in_batches(function: Callable[..., tuple[jax.Array, ...]], *arguments: object) -> list[np.ndarray]:
    """A function of arrays `(pixel, ...)` applied to batches of one size, which it is compiled for once."""
    count = len(jax.tree.leaves(arguments)[0])
    parts = []
    for start in range(0, count, _BATCH):
        chosen = np.minimum(np.arange(start, start + _BATCH), count - 1)
        results = function(*jax.tree.map(lambda array, chosen=chosen: array[chosen], arguments))
        parts.append([np.asarray(result)[: count - start] for result in results])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
