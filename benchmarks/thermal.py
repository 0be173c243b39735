"""Our thermal models as entries of the benchmark of simulators, each over the box that it is used in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from benchmarks.columns import Columns, of
from physics import Canopy, SunView
from physics.thermal import (
    LANDSAT9_B10,
    LANDSAT9_B11,
    Atmosphere,
    CanopyTemperatures,
    SplitWindow,
    ThermalOptics,
    at_sensor,
    band_temperature,
    brightness_temperature,
    canopy_emissivity,
    du15,
    jimenez_munoz14,
    planck,
    single_channel,
    skokovic14,
    slstr,
    sobrino08,
    thermal_sail,
)
from releo_jax.benchmarking import Simulator, by_name

BANDS = (LANDSAT9_B10, LANDSAT9_B11)
SPLIT_WINDOW = {
    "temperature10": (260.0, 330.0),
    "temperature11": (258.0, 328.0),
    "emissivity10": (0.92, 1.0),
    "emissivity11": (0.92, 1.0),
    "water_vapour": (0.1, 6.0),
}
AIR = {"transmittance": (0.4, 1.0), "upwelling": (0.0, 4.0), "downwelling": (0.0, 6.0)}
CANOPY = {"leaf_area_index": (0.0, 8.0), "mean_leaf_angle": (10.0, 80.0), "hot_spot": (0.0, 1.0)}
OPTICS = {"leaf_reflectance": (0.0, 0.06), "leaf_transmittance": (0.0, 0.04), "soil_emissivity": (0.85, 1.0)}
TEMPERATURES = dict.fromkeys(("sunlit_leaf", "shaded_leaf", "sunlit_soil", "shaded_soil"), (270.0, 330.0))
# corners never have the sun in the direction of the sensor, where the hot spot is a cusp
ANGLES = {"sun_zenith": (20.0, 80.0), "view_zenith": (0.0, 60.0), "relative_azimuth": (0.0, 180.0)}


def optics_of(fields: Columns) -> ThermalOptics:
    """Leaves and soil, the same in both bands."""
    return ThermalOptics(**{name: fields[name][:, None] for name in OPTICS})


def canopy_temperatures(p: Columns) -> Any:
    """Brightness temperatures (batch, 2) above a canopy."""
    directions = SunView.from_degrees(*(p[name] for name in ANGLES))
    radiance = thermal_sail(
        of(Canopy, p, CANOPY),
        optics_of(p),
        of(CanopyTemperatures, p, TEMPERATURES),
        p["sky_radiance"][:, None],
        directions,
        bands=BANDS,
    )
    return jnp.stack([band_temperature(radiance[:, place], band) for place, band in enumerate(BANDS)], axis=-1)


def emissivity_of_canopy(p: Columns) -> Any:
    """Emissivity (batch, 1) of a canopy."""
    return canopy_emissivity(of(Canopy, p, CANOPY), optics_of(p), jnp.radians(p["view_zenith"]))


def column(model: Callable[..., Any], *names: str, **options: Any) -> Callable[[Columns], Any]:
    """A model of some columns as a function to (batch, 1)."""
    return lambda p: model(*(p[name] for name in names), **options)[:, None]


def split_window(model: Callable[[SplitWindow], Any]) -> Callable[[Columns], Any]:
    """A split-window algorithm as a function to (batch, 1)."""
    return lambda p: model(of(SplitWindow, p, SPLIT_WINDOW))[:, None]


def radiance_at_sensor(p: Columns) -> Any:
    """Radiance (batch, 1) at the sensor."""
    return at_sensor(p["temperature"], p["emissivity"], of(Atmosphere, p, AIR), LANDSAT9_B10)[:, None]


def temperature_of_surface(p: Columns) -> Any:
    """Temperature (batch, 1) from one band."""
    return single_channel(p["radiance"], p["emissivity"], of(Atmosphere, p, AIR), LANDSAT9_B10)[:, None]


def sentinel3(p: Columns) -> Any:
    """Temperature (batch, 1) by the form of Sentinel-3, with coefficients of the size of a split window's."""
    coefficients = {name: p[name] for name in "abc"}
    zenith = jnp.radians(p["view_zenith"])
    return slstr(p["temperature10"], p["temperature11"], zenith, **coefficients, angle_divisor=5.0)[:, None]


def thermal() -> list[Simulator]:
    """All of them."""
    kelvin, micrometres, ndvi = {"temperature": (250.0, 340.0)}, {"wavelength": (8.0, 14.0)}, {"ndvi": (0.0, 1.0)}
    bright = {"radiance": (2.0, 15.0)}
    surface = {"emissivity": (0.9, 1.0)}
    # radiances of which something is left without the air
    seen = {"radiance": (8.0, 15.0)} | surface | AIR
    apart = {"temperature10": (290.0, 330.0), "temperature11": (260.0, 288.0), "view_zenith": (0.0, 60.0)}
    size = {"a": (-2.0, 4.0), "b": (2.0, 4.0), "c": (-3.0, -1.0)}
    view = {"view_zenith": ANGLES["view_zenith"]}
    scene = CANOPY | OPTICS | TEMPERATURES | {"sky_radiance": (0.5, 6.0)} | ANGLES
    emitting = {name: bounds for name, bounds in CANOPY.items() if name != "hot_spot"}

    def emissivity(p: Columns) -> Any:
        return emissivity_of_canopy({**p, "hot_spot": jnp.full_like(p["leaf_area_index"], 0.1)})

    entries: dict[str, tuple[Callable[[Columns], Any], Mapping[str, tuple[float, float]]]] = {
        "planck": (column(planck, "temperature", "wavelength"), kelvin | micrometres),
        "brightness_temperature": (column(brightness_temperature, "radiance", "wavelength"), bright | micrometres),
        "sobrino08": (column(sobrino08, "ndvi"), ndvi),
        "skokovic14": (
            lambda p: jnp.stack(skokovic14(p["ndvi"], p["red"]), axis=-1),
            ndvi | {"red": (0.0, 0.4)},
        ),
        "canopy_emissivity": (emissivity, emitting | OPTICS | view),
        "jimenez_munoz14": (split_window(jimenez_munoz14), SPLIT_WINDOW),
        "du15": (split_window(du15), SPLIT_WINDOW),
        "slstr": (sentinel3, apart | size),
        "at_sensor": (radiance_at_sensor, kelvin | surface | AIR),
        "single_channel": (temperature_of_surface, seen),
        "thermal_sail": (canopy_temperatures, scene),
    }
    return [
        Simulator(name=name, function=by_name(function, prior), prior=prior)
        for name, (function, prior) in entries.items()
    ]
