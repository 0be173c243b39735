"""Thermal emission: Planck's law, emissivity, the temperature of the surface, and the canopy as an emitter.

    emissivity = skokovic14(ndvi, red)
    surface = du15(SplitWindow(t10, t11, emissivity.band10, emissivity.band11, water_vapour))
    optics = ThermalOptics(leaf_reflectance=0.02, soil_emissivity=0.95)
    radiance = thermal_sail(canopy, optics, temperatures, sky_radiance, sun_view, bands=[LANDSAT8_B10])

Temperatures are K, wavelengths µm, radiances W m⁻² sr⁻¹ µm⁻¹, water vapour g cm⁻².
"""

from physics.thermal.canopy import (
    CanopyTemperatures,
    EmissionWeights,
    ThermalOptics,
    canopy_emissivity,
    canopy_radiance,
    emission_weights,
    thermal_sail,
)
from physics.thermal.emissivity import BandEmissivity, skokovic14, sobrino08, vegetation_share
from physics.thermal.planck import (
    LANDSAT8_B10,
    LANDSAT8_B11,
    LANDSAT9_B10,
    LANDSAT9_B11,
    ThermalBand,
    band_radiance,
    band_temperature,
    brightness_temperature,
    monochromatic,
    planck,
)
from physics.thermal.ranges import ranges, within_ranges
from physics.thermal.surface_temperature import (
    Atmosphere,
    SplitWindow,
    Uncertain,
    at_sensor,
    du15,
    du15_error,
    jimenez_munoz14,
    propagated,
    single_channel,
    slstr,
)

__all__ = [
    "LANDSAT8_B10",
    "LANDSAT8_B11",
    "LANDSAT9_B10",
    "LANDSAT9_B11",
    "Atmosphere",
    "BandEmissivity",
    "CanopyTemperatures",
    "EmissionWeights",
    "SplitWindow",
    "ThermalBand",
    "ThermalOptics",
    "Uncertain",
    "at_sensor",
    "band_radiance",
    "band_temperature",
    "brightness_temperature",
    "canopy_emissivity",
    "canopy_radiance",
    "du15",
    "du15_error",
    "emission_weights",
    "jimenez_munoz14",
    "monochromatic",
    "planck",
    "propagated",
    "ranges",
    "single_channel",
    "skokovic14",
    "slstr",
    "sobrino08",
    "thermal_sail",
    "vegetation_share",
    "within_ranges",
]
