"""Radar: permittivity, rough surfaces, vegetation above them, speckle, and soil moisture from change.

    soil = mironov09(MoistSoil(soil_moisture=0.2, clay=0.25, sand=0.3), frequency=5.405)
    view = RadarView.from_degrees(38.0)
    bare = oh92(soil, Roughness(rms_height=1.0, correlation_length=6.0), view, frequency=5.405)
    crop = water_cloud(bare.vv, leaf_area_index, WaterCloud(scattering=0.1, attenuation=0.1, exponent=1.0), view)

Frequencies are GHz, lengths of the surface cm, backscatter linear.
"""

from physics.microwave.change import (
    alpha_approximation,
    alpha_horizontal,
    alpha_vertical,
    gao17,
    largest_change,
    relative_moisture,
)
from physics.microwave.first_order import (
    CanopyLayer,
    henyey_greenstein,
    isotropic,
    rayleigh,
    rayleigh_henyey_greenstein,
    rt1,
)
from physics.microwave.fresnel import fresnel, nadir_reflectivity
from physics.microwave.geometry import Backscatter, RadarView, Roughness, wave_number, wavelength
from physics.microwave.iem import calibrated_iem, calibrated_length, exponential, gaussian, iem, iem_fung92
from physics.microwave.permittivity import (
    MoistSoil,
    Permittivity,
    dobson85,
    elrayes87,
    hallikainen85,
    mironov09,
    peplinski95,
    topp80,
    topp80_inverse,
    water,
)
from physics.microwave.power import (
    SENTINEL1_LOOKS,
    check_decibels,
    check_power,
    decibel_bias,
    decibel_std,
    from_decibels,
    gamma_nought,
    normalised_by_cosine,
    normalised_by_slope,
    sample_speckle,
    speckle_log_density,
    to_decibels,
    usable_power,
)
from physics.microwave.surface import baghdadi16, dubois95, oh04, oh92, ranges, within_ranges
from physics.microwave.vegetation import (
    BINDLISH_01_WHEAT,
    EL_HAJJ_17_VV,
    PREVOT_93_C_HH,
    PREVOT_93_X,
    PublishedCloud,
    ScatteringLayer,
    WaterCloud,
    linear_soil,
    single_scattering,
    water_cloud,
)

__all__ = [
    "BINDLISH_01_WHEAT",
    "EL_HAJJ_17_VV",
    "PREVOT_93_C_HH",
    "PREVOT_93_X",
    "SENTINEL1_LOOKS",
    "Backscatter",
    "CanopyLayer",
    "MoistSoil",
    "Permittivity",
    "PublishedCloud",
    "RadarView",
    "Roughness",
    "ScatteringLayer",
    "WaterCloud",
    "alpha_approximation",
    "alpha_horizontal",
    "alpha_vertical",
    "baghdadi16",
    "calibrated_iem",
    "calibrated_length",
    "check_decibels",
    "check_power",
    "decibel_bias",
    "decibel_std",
    "dobson85",
    "dubois95",
    "elrayes87",
    "exponential",
    "fresnel",
    "from_decibels",
    "gamma_nought",
    "gao17",
    "gaussian",
    "hallikainen85",
    "henyey_greenstein",
    "iem",
    "iem_fung92",
    "isotropic",
    "largest_change",
    "linear_soil",
    "mironov09",
    "nadir_reflectivity",
    "normalised_by_cosine",
    "normalised_by_slope",
    "oh04",
    "oh92",
    "peplinski95",
    "ranges",
    "rayleigh",
    "rayleigh_henyey_greenstein",
    "relative_moisture",
    "rt1",
    "sample_speckle",
    "single_scattering",
    "speckle_log_density",
    "to_decibels",
    "topp80",
    "topp80_inverse",
    "usable_power",
    "water",
    "water_cloud",
    "wave_number",
    "wavelength",
    "within_ranges",
]
