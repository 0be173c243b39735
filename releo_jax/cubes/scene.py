"""Simulated scenes with known truth: what a satellite would see of farmland whose state we chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from rasterio.transform import Affine

import physics
from releo_jax.cubes.angles import zenith_azimuth
from releo_jax.cubes.convention import Flag, assemble, choose_bands, fold_degrees, sensor_name
from releo_jax.cubes.ground import surface
from releo_jax.cubes.layout import COVERS, Layout, clouds, farmland
from releo_jax.cubes.moisture import moisture_today
from releo_jax.cubes.rasters import Grid
from releo_jax.cubes.safe import CLEAR, SCENE_CLASSES, scene_flags
from releo_jax.cubes.safe_writing import block_mean
from releo_jax.cubes.sun import solar_position, towards_satellite
from releo_jax.errors import ReleoError

DEFAULT_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
NATIVE = dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20) | {"B01": 60, "B09": 60}
"""Pixel size of the bands that are coarser than 10 m."""

TRUTH = {
    "leaf_area_index": {"units": "m2 m-2", "long_name": "leaf area index", "standard_name": "leaf_area_index"},
    "canopy_chlorophyll": {"units": "g m-2", "long_name": "chlorophyll a + b of the canopy per ground area"},
    "canopy_water": {"units": "g m-2", "long_name": "water in the leaves of the canopy per ground area"},
    "plant_area_effective": {"units": "m2 m-2", "long_name": "effective plant area index"},
    "fapar": {"units": "1", "long_name": "fraction of absorbed photosynthetically active radiation, black sky"},
    "fcover": {"units": "1", "long_name": "fraction of ground covered by leaves seen from above"},
}
_CLOUD_HEIGHT = 900.0


def simulate_scene(
    *,
    seed: int,
    shape: tuple[int, int] = (240, 240),
    sensor: str = "sentinel2a",
    bands: Sequence[str] = DEFAULT_BANDS,
    time: str = "2022-06-05T10:36:00",
    latitude: float = 47.8,
    view_zenith: float | None = None,
    cloud_cover: float = 0.06,
    noise: tuple[float, float] = (0.003, 0.01),
    moist: bool = False,
) -> xr.Dataset:
    """Simulates a Sentinel-2 image of farmland, and what it is an image of.

    Fields with crops at several growth stages, grassland, bare soil, tracks, woods, a pond and a river; leaf area and
    chlorophyll vary smoothly within a field; pixels on edges mix two covers by area. Canopies are PROSAIL over soils
    of the library, clumped, with gaps on many fields; the reflectance of each field has errors that its bands share.
    Water and clouds have simple spectra (`ground.water_reflectance`, `cloud_reflectance`). Bands of 20 and 60 m are
    averaged to their pixel size before noise is added, and repeated onto the 10 m grid. Reflectance is rounded to
    1e-4, as products are.

    Args:
        seed: the same seed gives the same scene.
        shape: rows and columns of 10 m.
        sensor: `sentinel2a`, `sentinel2b` or `sentinel2c`.
        bands: names of the bands.
        time: UTC, which with `latitude` (9 degrees east) places the sun.
        latitude: degrees north.
        view_zenith: degrees at the upper left corner; None to draw 2 to 10.
        cloud_cover: share of the image under clouds.
        noise: standard deviation of independent noise in every pixel and band: absolute, and relative to reflectance.
        moist: whether soils are drawn dry and rain has darkened them, by amounts that radar images of the same days
            see too (`simulate_radar`); the truth then holds `surface_soil_moisture`, not a number over water.

    Returns:
        cube with one date; beside the variables of the convention the truth `(time, y, x)`: the variables of `TRUTH`
        (area-weighted means in mixed pixels), `land_cover`, `purity` (share of the largest cover in the pixel), `scl`
        (scene classification) and `parcel` (number of the field).
    """
    if min(shape) < 12:
        raise ReleoError(f"expected a scene of at least 12 x 12 pixels, got {shape[0]} x {shape[1]}")
    rng = np.random.default_rng(seed)
    name = sensor_name(sensor)
    s2 = physics.sensor(name, bands=choose_bands(physics.sensor(name).bands, bands, "simulated scene"))
    when = np.datetime64(time).astype("datetime64[ns]")
    grid = Grid(None, Affine(10.0, 0.0, 600_000.0, 0.0, -10.0, 5_300_040.0), *shape)
    angles, azimuth = _angles(rng, grid, when, latitude, view_zenith)
    layout = farmland(rng, shape, 10.0)
    moisture = moisture_today(np.random.default_rng([seed, 2]), layout.first) if moist else None
    reflectance, truth = surface(rng, layout, s2, angles, moisture)
    down = _CLOUD_HEIGHT * np.tan(np.radians(float(angles["sun_zenith"].mean()))) / 10.0
    away = np.radians(azimuth + 180.0)
    opacity, shadow = clouds(rng, shape, cloud_cover, (-down * np.cos(away), down * np.sin(away)))
    reflectance *= 1.0 - shadow[..., None] * _shade(s2.centres)
    reflectance += opacity[..., None] * (cloud_reflectance(s2.centres) - reflectance)
    measured = np.stack([_measure(rng, reflectance[..., i], b, noise) for i, b in enumerate(s2.bands)])
    scl = _classify(layout, opacity, shadow)
    coordinates = {"time": [when], "band": list(s2.bands), **grid.coordinates()}
    plane = ("time", "y", "x")
    values = xr.DataArray(measured[None], coords=coordinates, dims=("time", "band", "y", "x"))
    classes = xr.DataArray(scl[None], dims=plane)
    invalid = np.where((measured >= 0) & (measured <= 1.5), np.uint8(0), np.uint8(Flag.INVALID_VALUE))
    mask = values.copy(data=invalid[None]) | scene_flags(classes, CLEAR)
    cube = assemble(
        values,
        mask.transpose("time", "band", "y", "x"),
        {key: xr.DataArray(value[None], dims=plane) for key, value in angles.items()},
        crs="EPSG:32632",
        transform=grid.transform,
        attrs={
            "sensor": name,
            "product": f"simulated scene, seed {seed}",
            "sun_azimuth": round(azimuth, 4),
            "clear_scene_classes": " ".join(map(str, CLEAR)),
        },
    )
    for key, attrs in TRUTH.items():
        cube[key] = (plane, truth[key][None].astype(np.float32), attrs)
    if moisture is not None:
        lake = np.array([cover.name == "water" for cover in COVERS])[layout.cover[layout.first]]
        attrs = {"units": "m3 m-3", "long_name": "soil moisture of the surface"}
        cube["surface_soil_moisture"] = (plane, np.where(lake, np.nan, moisture)[None].astype(np.float32), attrs)
    names = {"flag_values": np.arange(len(COVERS), dtype=np.uint8), "flag_meanings": " ".join(c.name for c in COVERS)}
    cube["land_cover"] = (
        plane,
        layout.cover[layout.first][None].astype(np.uint8),
        {"long_name": "land cover", **names},
    )
    cube["purity"] = (plane, layout.fraction[None].astype(np.float32), {"units": "1", "long_name": "largest share"})
    cube["parcel"] = (plane, layout.first[None].astype(np.int32), {"long_name": "number of the field"})
    cube["scl"] = (plane, scl[None], scene_class_attrs())
    return cube


def scene_class_attrs() -> dict[str, Any]:
    """CF attributes of the scene classification."""
    return {
        "long_name": "scene classification",
        "flag_values": np.arange(len(SCENE_CLASSES), dtype=np.uint8),
        "flag_meanings": " ".join(SCENE_CLASSES),
    }


def cloud_reflectance(wavelength: np.ndarray) -> np.ndarray:
    """Reflectance of an opaque cloud: white to 1300 nm, darker where droplets and ice absorb.

    Equation:
        0.8 (1 - 0.45 / (1 + exp(-(w - 1500) / 100))), w in nm.
    """
    w = np.asarray(wavelength)
    return 0.8 * (1.0 - 0.45 / (1.0 + np.exp(-(w - 1500.0) / 100.0)))


def _shade(wavelength: np.ndarray) -> np.ndarray:
    """Share of the light that a cloud's shadow takes away: the blue sky still lights what the sun does not."""
    return 0.55 + 0.3 * np.clip((wavelength - 450.0) / 1200.0, 0.0, 1.0)


def _angles(
    rng: np.random.Generator, grid: Grid, time: np.datetime64, latitude: float, view_zenith: float | None
) -> tuple[dict[str, np.ndarray], float]:
    """Angles `(row, column)` in degrees, and the azimuth of the sun at the corner."""
    rows, columns = (np.arange(size) * 10.0 + 5.0 for size in (grid.height, grid.width))
    latitudes = latitude - rows[:, None] / 111_000.0
    longitudes = 9.0 + columns[None, :] / (111_000.0 * np.cos(np.radians(latitude)))
    zenith, azimuth = solar_position(time, latitudes, longitudes)
    if zenith.max() >= 85:
        raise ReleoError(
            f"the sun stands {zenith.max():.0f} degrees from the zenith at {time} UTC; choose a time of day"
        )
    tilt = rng.uniform(2.0, 10.0) if view_zenith is None else view_zenith
    # Descending node: the sensor looks from the east-south-east or from the west-north-west.
    side = rng.choice([106.0, 286.0])
    view, view_azimuth = zenith_azimuth(towards_satellite(tilt, side, rows, columns))
    angles = {"sun_zenith": zenith, "view_zenith": view, "relative_azimuth": fold_degrees(view_azimuth - azimuth)}
    return {name: value.astype(np.float32) for name, value in angles.items()}, float(azimuth[0, 0])


def _measure(rng: np.random.Generator, reflectance: np.ndarray, band: str, noise: tuple[float, float]) -> np.ndarray:
    """One band as it is measured: averaged to its pixel size, noisy, rounded to 1e-4, repeated onto the 10 m grid."""
    side = NATIVE.get(band, 10) // 10
    coarse = block_mean(reflectance, side)
    coarse = coarse + rng.standard_normal(coarse.shape) * np.hypot(noise[0], noise[1] * coarse)
    stored = np.rint(coarse * 1e4).astype(np.float32) / np.float32(1e4)
    rows, columns = reflectance.shape
    return stored.repeat(side, axis=0).repeat(side, axis=1)[:rows, :columns]


def _classify(layout: Layout, opacity: np.ndarray, shadow: np.ndarray) -> np.ndarray:
    """The scene classification (row, column), one number for each 20 m pixel: the cloudiest part decides."""
    bare = np.isin([COVERS[c].name for c in layout.cover], ("bare_soil", "track"))
    water = np.array([COVERS[c].name == "water" for c in layout.cover])
    classes = np.full(layout.first.shape, 4, dtype=np.uint8)
    classes[bare[layout.first]] = 5
    classes[water[layout.first]] = 6
    rows, columns = layout.first.shape

    def spread(values: np.ndarray) -> np.ndarray:
        top = np.maximum.reduceat(np.maximum.reduceat(values, np.arange(0, rows, 2), 0), np.arange(0, columns, 2), 1)
        return np.asarray(top).repeat(2, 0).repeat(2, 1)[:rows, :columns]

    classes = classes[::2, ::2].repeat(2, 0).repeat(2, 1)[:rows, :columns]
    thick, dark = spread(opacity), spread(shadow)
    for bound, number in ((0.02, 10), (0.15, 8), (0.5, 9)):
        classes[thick > bound] = number
    classes[(dark > 0.02) & (thick <= 0.15)] = 3
    return classes
