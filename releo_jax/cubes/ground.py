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
_AS_SEEN, _DRY = (0.08, 0.45), (0.15, 0.48)
"""Ranges of the mean reflectance of soils in any state, and of dry ones."""


def water_reflectance(wavelength: np.ndarray) -> np.ndarray:
    """Surface reflectance of inland water: a hump of scattering in the green, absorption beyond the red.

    Equation:
        0.006 + 0.045 exp(-((w - 560) / 75)^2) + 0.015 exp(-((w - 440) / 160)^2), w in nm: some 0.05 in the green and
        0.006 (sky glint) beyond 800 nm, as over moderately turbid lakes; no constituent is meant by it.
    """
    w = np.asarray(wavelength)
    return 0.006 + 0.045 * np.exp(-(((w - 560) / 75) ** 2)) + 0.015 * np.exp(-(((w - 440) / 160) ** 2))


def surface(
    rng: np.random.Generator,
    layout: Layout,
    s2: physics.Sensor,
    angles: dict[str, np.ndarray],
    soil_moisture: np.ndarray | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Reflectance `(row, column, band)` and truth `(row, column)` of the ground, mixed pixels mixed.

    With `soil_moisture` `(row, column)`, m³ m⁻³, soils are drawn dry and darkened by it.
    """
    shape = layout.first.shape
    objects = _objects(rng, layout.cover)
    length = max(3.0, 0.02 * max(shape))
    vigour = 0.8 * smooth_field(rng, shape, length) + 0.6 * rng.standard_normal(shape)
    greenness, moisture = smooth_field(rng, shape, length), smooth_field(rng, shape, 2 * length)
    dry = soil_moisture is not None
    soils = _soils(rng, len(layout.cover), _DRY if dry else _AS_SEEN, s2.wavelengths, _PAR)
    simulate = _simulator(s2, dry)
    factors, offsets = _errors(rng, len(layout.cover), s2.centres)
    water = np.array([COVERS[c].name == "water" for c in layout.cover])
    flat = {name: value.reshape(-1) for name, value in angles.items()}
    variability = np.stack([vigour, greenness, moisture], axis=-1).reshape(-1, 3)
    films = np.zeros(shape) if soil_moisture is None else soil_moisture
    capacity = 0.25 * np.exp(0.3 * rng.standard_normal(len(layout.cover))) if dry else np.ones(len(layout.cover))

    def render(which: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        v = variability[pixels]
        p = {name: value[which].astype(np.float32) for name, value in objects.items()}
        p["leaf_area_index"] = np.clip(p["leaf_area_index"] * np.exp(0.15 * v[:, 0] - 0.011), 0.0, 10.0)
        p["chlorophyll"] = np.clip(p["chlorophyll"] * np.exp(0.06 * v[:, 1]), 1.0, 90.0)
        p["carotenoids"] = 0.25 * p["chlorophyll"]
        wet = np.exp(0.08 * v[:, 2]).astype(np.float32)
        directions = {name: value[pixels] for name, value in flat.items()}
        water_in_soil = films.reshape(-1)[pixels].astype(np.float32), capacity[which].astype(np.float32)
        values, *derived = _in_batches(functools.partial(simulate, soils), p, which, wet, water_in_soil, directions)
        lai = p["leaf_area_index"]
        found = {
            "leaf_area_index": lai,
            "canopy_chlorophyll": lai * p["chlorophyll"] * 1e-2,  # ug cm-2 -> g m-2
            "canopy_water": lai * p["water"] * 1e4,  # cm = g cm-2 -> g m-2
            **dict(zip(("plant_area_effective", "fapar", "fcover"), derived, strict=True)),
        }
        values = np.maximum(values * factors[which] + offsets[which], 1e-3)
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
    # Gaps between the plants on six fields in ten, fewer where leaves abound; leaves in clumps.
    least = 0.2 + 0.8 * drawn["leaf_area_index"] / 12.0
    open_ground = np.maximum(rng.uniform(-2.0 / 3.0, 1.0, count), 0.0)
    drawn |= {"vegetated_fraction": 1.0 - open_ground * (1.0 - least), "clumping": rng.uniform(0.5, 1.0, count)}
    dry_matter, relative_water = rng.uniform(0.003, 0.010, count), rng.uniform(0.65, 0.84, count)
    # Brown leaves have dried.
    relative_water -= 0.4 * rng.uniform(size=count) * np.minimum(drawn["brown_pigment"] / 2.0, 1.0)
    return drawn | {
        "hot_spot": rng.uniform(0.1, 0.5, count),
        "layers": rng.uniform(1.3, 1.7, count),
        "dry_matter": dry_matter,
        # relative water = water / (water + dry matter)
        "water": dry_matter * relative_water / (1.0 - relative_water),
    }


def _errors(rng: np.random.Generator, count: int, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors and offsets `(object, band)` of reflectance: what atmospheric correction and a flat canopy get wrong.

    Like `releo_jax.systems.land_surface.ReflectanceError`: a factor common to all bands, one that grows with the
    logarithm of wavelength, one of each band; an offset common to all bands, and one of each.
    """
    position = np.log(centres / centres.min()) / np.log(centres.max() / centres.min())
    common, tilt, offset = (rng.standard_normal((count, 1)) for _ in range(3))
    each, alone = rng.standard_normal((2, count, centres.size))
    factors = 1.0 + 0.10 * common + 0.08 * tilt * (position - position.mean()) + 0.04 * each
    return factors.astype(np.float32), (0.008 * offset + 0.014 * alone).astype(np.float32)


def _soils(
    rng: np.random.Generator, count: int, range_of_brightness: tuple[float, float], *grids: np.ndarray
) -> list[np.ndarray]:
    """Reflectance `(object, wavelength)` of soils like those of the library, on each of the grids of wavelengths."""
    library = table("soil_library")
    brightness = rng.uniform(*range_of_brightness, (count, 1))
    scores = rng.standard_normal((count, _SOIL_COMPONENTS))
    root = library["mean"] + scores @ library["components"][:_SOIL_COMPONENTS]
    spectra = np.clip(brightness * root**2, 0.0, 0.9)
    tables = [np.stack([resolve(spectrum, grid) for spectrum in spectra]).astype(np.float32) for grid in grids]
    # A whole multiple of rows, so that scenes with other numbers of fields run the same compiled program.
    return [np.pad(array, ((0, -count % 256), (0, 0)), mode="edge") for array in tables]


@functools.lru_cache(maxsize=4)
def _simulator(s2: physics.Sensor, moist: bool) -> Callable[..., tuple[jax.Array, ...]]:
    """Compiled: soils (object, wavelength), then for every pixel parameters, object, a factor on its soil, angles.

    Before the angles come soil moisture and capacity (`physics.moist_soil`), which count if `moist`.
    """

    @jax.jit
    def simulate(
        soils: list[jax.Array],
        p: dict[str, jax.Array],
        which: jax.Array,
        wet: jax.Array,
        water: tuple[jax.Array, jax.Array],
        angles: dict[str, jax.Array],
    ) -> tuple[jax.Array, ...]:
        band_soil, par_soil = (soil[which] * wet[:, None] for soil in soils)
        if moist:
            band_soil, par_soil = (
                physics.moist_soil(soil, water[0], capacity=water[1], wavelengths=grid)
                for soil, grid in ((band_soil, s2.wavelengths), (par_soil, _PAR))
            )
        names = ("layers", "chlorophyll", "carotenoids", "brown_pigment", "water", "dry_matter")
        leaf = physics.Leaf(**{name: p[name] for name in names}, anthocyanins=jnp.zeros_like(p["layers"]))
        covered = p["vegetated_fraction"]
        canopy = physics.Canopy(
            leaf_area_index=p["clumping"] * p["leaf_area_index"] / covered,
            mean_leaf_angle=p["mean_leaf_angle"],
            hot_spot=p["hot_spot"],
        )
        sun_view = physics.SunView.from_degrees(**angles)
        plants = physics.prosail(leaf, canopy, band_soil, sun_view, sensor=s2)
        share = covered[:, None]
        bands = share * plants + (1.0 - share) * physics.to_bands(band_soil, s2)
        visible = physics.sail(canopy, physics.prospect_d(leaf, wavelengths=_PAR), par_soil, sun_view)
        return (
            bands,
            physics.plant_area_effective(canopy, covered),
            covered * physics.fapar(visible, wavelengths=_PAR),
            covered * physics.fcover(canopy),
        )

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
