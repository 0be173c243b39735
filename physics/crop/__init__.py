"""Crops: growth, water, yield and biomass.

    weather = daily_weather(dates, temperature=mean_temperature, radiation=global_radiation)
    wheat = SafyCrop(emergence=20.0, light_use_efficiency=2.4)
    growth = safy(wheat, weather)                                  # leaf area, biomass, grain by day
    growth, water = safy_water(wheat, soil, use, weather, daily_water(dates, ...))
    harvest_index_yield(growth.biomass.max(-1), harvest_index=0.45)

One field at a time: `jax.vmap` over fields. Weights are g m⁻² in the models and t ha⁻¹ as yields, water is mm.
"""

from physics.crop.balance import (
    RootZone,
    WaterBalance,
    WaterUse,
    available_water,
    basal_coefficient,
    climate_correction,
    evaporable_water,
    moisture_stress,
    safy_water,
    sound_root_zone,
    water_balance,
)
from physics.crop.biomass import (
    CombinedVolume,
    Forest,
    Volume,
    canopy_backscatter,
    combine_volumes,
    contrast,
    forest_backscatter,
    forest_volume,
    komiyama05_above_ground,
    komiyama05_roots,
    telling,
    volume_biomass,
)
from physics.crop.safy import Growth, SafyCrop, leaf_share, ordered_temperatures, safy, temperature_response
from physics.crop.water import (
    DailyClimate,
    Site,
    extraterrestrial_radiation,
    reference_evapotranspiration,
    saturation_pressure,
)
from physics.crop.weather import DailyWater, DailyWeather, check_days, daily_water, daily_weather
from physics.crop.yields import grain_yield, harvest_index_yield, maize

__all__ = [
    "CombinedVolume",
    "DailyClimate",
    "DailyWater",
    "DailyWeather",
    "Forest",
    "Growth",
    "RootZone",
    "SafyCrop",
    "Site",
    "Volume",
    "WaterBalance",
    "WaterUse",
    "available_water",
    "basal_coefficient",
    "canopy_backscatter",
    "check_days",
    "climate_correction",
    "combine_volumes",
    "contrast",
    "daily_water",
    "daily_weather",
    "evaporable_water",
    "extraterrestrial_radiation",
    "forest_backscatter",
    "forest_volume",
    "grain_yield",
    "harvest_index_yield",
    "komiyama05_above_ground",
    "komiyama05_roots",
    "leaf_share",
    "maize",
    "moisture_stress",
    "ordered_temperatures",
    "reference_evapotranspiration",
    "safy",
    "safy_water",
    "saturation_pressure",
    "sound_root_zone",
    "telling",
    "temperature_response",
    "volume_biomass",
    "water_balance",
]
