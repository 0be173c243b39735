"""A season, a field and a soil that several tests share."""

import jax.numpy as jnp
import numpy as np

from physics.crop import DailyWater, DailyWeather, RootZone, SafyCrop, WaterUse

CROP = {"emergence": 20.3, "light_use_efficiency": 2.5}
SOIL = {
    "field_capacity": 0.31,
    "wilting_point": 0.14,
    "root_depth": 0.9,
    "depletion_fraction": 0.55,
    "readily_evaporable": 8.0,
    "surface_depth": 0.11,
    "initial_depletion": 12.0,
    "initial_surface_depletion": 9.0,
}
USE = {"full_coefficient": 1.1, "height": 0.9, "minimum_coefficient": 0.15, "closing": 0.7}


def season(days=240, seed=0):
    """Columns of weather and water, float64."""
    rng = np.random.default_rng(seed)
    day = np.arange(days)
    return {
        "temperature": 12 - 8 * np.cos(2 * np.pi * day / 300) + rng.normal(0, 2, days),
        "radiation": np.clip(14 - 9 * np.cos(2 * np.pi * day / 330) + rng.normal(0, 2, days), 0.5, None),
        "reference_evapotranspiration": np.clip(
            3.2 - 2 * np.cos(2 * np.pi * day / 330) + rng.normal(0, 1, days), 0.2, None
        ),
        "rain": np.where(rng.random(days) < 0.13, rng.gamma(1.0, 8.0, days), 0.0),
        "irrigation": np.where(day % 37 == 30, 20.0, 0.0),
        "wetted_fraction": np.where((day >= 100) & (day < 140), 0.6, 1.0),
        "wind": rng.uniform(1.0, 5.0, days),
        "minimum_humidity": rng.uniform(25.0, 75.0, days),
    }


def records(columns, dtype):
    """Weather and water of `season`."""
    arrays = {name: jnp.asarray(value, dtype) for name, value in columns.items()}
    weather = DailyWeather(**{name: arrays.pop(name) for name in ("temperature", "radiation")})
    return weather, DailyWater(**arrays)


def field(values, dtype):
    """Crop, soil and use of water from values by name."""
    given = {name: jnp.asarray(value, dtype) for name, value in values.items()}
    soil = RootZone(**{name: given.pop(name) for name in SOIL})
    use = WaterUse(**{name: given.pop(name) for name in USE})
    return SafyCrop(**given), soil, use
