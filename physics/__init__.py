"""Forward models of Earth observation as pure, differentiable JAX functions, from leaf to sensor.

`import physics` loads jax, equinox and numpy, nothing else.
"""

from physics.optics.geometry import SunView
from physics.optics.products import (
    albedo,
    fapar,
    fcover,
    gap_fraction,
    plant_area_effective,
    surface_reflectance,
)
from physics.optics.prosail import prosail
from physics.optics.prospect import Leaf, LeafOptics, LeafPro, prospect_5, prospect_d, prospect_pro
from physics.optics.sail import BimodalCanopy, Canopy, CanopyReflectance, CanopyTerms, sail
from physics.optics.sensor import Sensor, gaussian_bands, sensor, to_bands
from physics.optics.soil import LibrarySoil, Soil, library_soil, moist_soil, soil_mixture
from physics.parameters import Parameter, broadcast_fields, check_ranges, parameters, validity

__all__ = [
    "BimodalCanopy",
    "Canopy",
    "CanopyReflectance",
    "CanopyTerms",
    "Leaf",
    "LeafOptics",
    "LeafPro",
    "LibrarySoil",
    "Parameter",
    "Sensor",
    "Soil",
    "SunView",
    "albedo",
    "broadcast_fields",
    "check_ranges",
    "fapar",
    "fcover",
    "gap_fraction",
    "gaussian_bands",
    "library_soil",
    "moist_soil",
    "parameters",
    "plant_area_effective",
    "prosail",
    "prospect_5",
    "prospect_d",
    "prospect_pro",
    "sail",
    "sensor",
    "soil_mixture",
    "surface_reflectance",
    "to_bands",
    "validity",
]
