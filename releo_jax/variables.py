"""The variables of the products: their names, short aliases, units, and the flags that go with them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable of the land surface.

    Attributes:
        name: full name, that of sites and of variables in images.
        units: CF units.
        long_name: what it is, in words.
        standard_name: CF standard name, None where there is none.
        bounds: smallest and largest physical value.
        maximum: largest value that occurs in practice; the end of colour scales.
    """

    name: str
    units: str
    long_name: str
    standard_name: str | None
    bounds: tuple[float, float]
    maximum: float


VARIABLES: dict[str, Variable] = {
    "lai": Variable("leaf_area_index", "m2 m-2", "leaf area index", "leaf_area_index", (0.0, 12.0), 7.0),
    "pai": Variable(
        "plant_area_effective",
        "m2 m-2",
        "effective plant area index: of the randomly placed plants with the same gap fraction",
        None,
        (0.0, 12.0),
        6.0,
    ),
    "ccc": Variable(
        "canopy_chlorophyll", "g m-2", "chlorophyll a+b of the canopy per ground area", None, (0.0, 10.0), 4.0
    ),
    "cwc": Variable(
        "canopy_water", "g m-2", "water in the leaves of the canopy per ground area", None, (0.0, 5000.0), 1500.0
    ),
    "fapar": Variable(
        "fapar",
        "1",
        "fraction of photosynthetically active radiation absorbed by green vegetation",
        "fraction_of_surface_downwelling_photosynthetic_radiative_flux_absorbed_by_vegetation",
        (0.0, 1.0),
        1.0,
    ),
    "fcover": Variable(
        "fcover", "1", "fraction of ground covered by green vegetation", "vegetation_area_fraction", (0.0, 1.0), 1.0
    ),
    "sm": Variable(
        "soil_moisture",
        "m3 m-3",
        "moisture of the top few centimetres of the soil",
        "volume_fraction_of_condensed_water_in_soil",
        (0.0, 0.6),
        0.5,
    ),
    "vwc": Variable("vegetation_water", "kg m-2", "water in the plants per ground area", None, (0.0, 30.0), 6.0),
}
"""By the alias that the command line and tables use; images use the full names."""

FLAGS: dict[str, int] = {
    "input_masked": 1,  # no band that the method needs was usable: there is no estimate
    "out_of_domain": 2,  # unlike anything that the method was trained on
    "predictive_misfit": 4,  # no state of the model explains the bands within their errors
    "at_prior_bound": 8,  # the estimate lies at the edge of what the method can return
}
"""Bits of the flag words."""
