"""What a radar would see of a simulated scene: plants over soils whose moisture changes from date to date."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from physics.microwave import RadarView, from_decibels
from releo_jax.cubes.convention import grid_of, set_grid
from releo_jax.cubes.layout import COVERS
from releo_jax.cubes.moisture import moisture_around
from releo_jax.cubes.radar import POLARISATIONS
from releo_jax.errors import ReleoError
from releo_jax.systems.optical_radar import RadarScene, RadarState, backscatter

_WATER = (-22.0, -30.0)  # VV and VH of a lake without wind, dB
_BATCH = 8192
_MOIST = "surface_soil_moisture"


def simulate_radar(
    scene: xr.Dataset,
    *,
    seed: int,
    days: Sequence[float] = (-5.0, 1.0, 7.0),
    looks: float = 40.0,
) -> xr.Dataset:
    """Simulates Sentinel-1 images around the date of a simulated optical scene.

    Every field has its own roughness, plants and moisture, which falls and rises from that of the scene. The leaf area
    is that of the scene on all dates. Backscatter is that of `releo_jax.systems.optical_radar.backscatter`, with an
    error of each field and speckle.

    Args:
        scene: as `simulate_scene` with `moist=True` returns it.
        seed: the same seed gives the same images.
        days: dates, days after that of the scene.
        looks: equivalent number of looks of a pixel.

    Returns:
        `VV` and `VH` (time, y, x), linear; `incidence` (time, y, x) in degrees; the truth `soil_moisture`
        (time, y, x) in m3 m-3 and `vegetation_water` (y, x) in kg m-2.

    Raises:
        ReleoError: not a simulated scene of one date.
    """
    missing = [
        name for name in ("leaf_area_index", "canopy_water", "land_cover", "parcel", _MOIST) if name not in scene
    ]
    if missing or scene.sizes.get("time") != 1:
        raise ReleoError(
            f"expected a simulated scene of one date with its truth and moist=True, got none of {', '.join(missing)}"
        )
    rng = np.random.default_rng([seed, 1])
    known = RadarScene(looks=looks)
    parcel = scene["parcel"].values[0]
    shape, count, dates = parcel.shape, int(parcel.max()) + 1, len(days)

    def of_fields(median: float, spread: float) -> np.ndarray:
        drawn: np.ndarray = median * np.exp(spread * rng.standard_normal(count))
        return drawn[parcel]

    lake = np.array([cover.name == "water" for cover in COVERS])[scene["land_cover"].values[0]]
    today = np.where(lake, 0.2, scene[_MOIST].values[0])  # any number: what the radar sees of water is set below
    moisture = moisture_around(rng, parcel, today, days)
    water = of_fields(known.plant_water, known.plant_water_spread) * scene["canopy_water"].values[0] / 1000.0
    height = of_fields(1.0, 0.4)
    scattering = [of_fields(middle, known.scattering_spread) for middle in (known.scattering_vv, known.scattering_vh)]
    incidence = np.broadcast_to(38.0 + 1.5 * np.linspace(-1.0, 1.0, shape[1]), shape)
    tilt = rng.choice([-5.0, 0.0, 5.0], dates)  # orbits look at the scene from different sides
    degrees = incidence + tilt[:, None, None]
    decibels = np.stack([_decibels(height, m, water, *scattering, i) for m, i in zip(moisture, degrees, strict=True)])
    decibels += known.error * rng.standard_normal((dates, count, 2))[:, parcel]
    decibels[:, lake] = _WATER
    power = np.asarray(from_decibels(decibels.astype(np.float32))) * rng.gamma(looks, 1.0 / looks, decibels.shape)
    stamps = scene["time"].values[0] + (np.asarray(days) * 86400e9).astype("timedelta64[ns]")
    plane = ("time", "y", "x")
    radar = xr.Dataset(
        coords={"time": stamps, "y": scene["y"], "x": scene["x"]},
        attrs={"Conventions": "CF-1.11", "product": f"simulated radar of {scene.attrs.get('product', 'a scene')}"},
    )
    for index, name in enumerate(POLARISATIONS):
        radar[name] = (plane, power[..., index].astype(np.float32), {"units": "1", "long_name": f"sigma-0, {name}"})
    radar["incidence"] = (plane, degrees.astype(np.float32), {"units": "degree", "long_name": "angle of incidence"})
    wet = np.where(lake, np.nan, moisture).astype(np.float32)
    radar["soil_moisture"] = (plane, wet, {"units": "m3 m-3", "long_name": "soil moisture"})
    radar["vegetation_water"] = (("y", "x"), water.astype(np.float32), {"units": "kg m-2", "long_name": "plant water"})
    crs, transform = grid_of(scene)
    return set_grid(radar, crs, transform)


def _decibels(*fields: np.ndarray) -> np.ndarray:
    """VV and VH (row, column, 2), dB, from roughness, moisture, water, both scatterings and incidence."""
    flat = np.stack([np.ravel(field) for field in fields]).astype(np.float32)
    found = [
        np.asarray(_backscatter(np.pad(part, ((0, 0), (0, _BATCH - part.shape[1])), mode="edge")))[: part.shape[1]]
        for part in np.split(flat, range(_BATCH, flat.shape[1], _BATCH), axis=1)
    ]
    return np.concatenate(found).reshape(*fields[0].shape, 2)


@jax.jit
def _backscatter(fields: jnp.ndarray) -> jax.Array:
    *state, degrees = fields
    return backscatter(RadarState(*state), RadarView.from_degrees(degrees))
