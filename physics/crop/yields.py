"""Yield of a crop from what it has grown, and the setting of maize."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.crop.safy import Growth, SafyCrop
from physics.parameters import as_float

_TONNES = 0.01  # t ha⁻¹ per g m⁻²


def harvest_index_yield(biomass: ArrayLike, *, harvest_index: ArrayLike, moisture: ArrayLike = 0.0) -> Array:
    """Yield as a share of the biomass at harvest.

    Args:
        biomass: above the ground, dry, g m⁻², `(*batch)`: the largest of a season, `growth.biomass.max(-1)`.
        harvest_index: dry grain per dry biomass, 0 to 1, `(*batch)`.
        moisture: share of water in the grain that is weighed, e.g. 0.15; 0 for dry grain.

    Returns:
        t ha⁻¹, `(*batch)`.

    Equation:
        HI DAM / (1 - moisture).
    """
    grown = as_float(biomass)
    share = jnp.asarray(harvest_index, grown.dtype)
    return _TONNES * share * grown / (1.0 - jnp.asarray(moisture, grown.dtype))


def grain_yield(growth: Growth, *, moisture: ArrayLike = 0.0) -> Array:
    """Yield by partition: the grain that `safy` has filled by the end of a season.

    Args:
        growth: of `safy`, `(*batch, day)`.
        moisture: as in `harvest_index_yield`.

    Returns:
        t ha⁻¹, `(*batch)`: of the day with most grain, as the whole-day steps end in zeros.
    """
    grain = growth.grain.max(-1)
    return _TONNES * grain / (1.0 - jnp.asarray(moisture, grain.dtype))


def maize(
    *,
    emergence: ArrayLike,
    light_use_efficiency: ArrayLike,
    specific_leaf_area: ArrayLike,
    partition_a: ArrayLike,
    partition_b: ArrayLike,
    senescence_start: ArrayLike,
    senescence_rate: ArrayLike,
    initial_biomass: ArrayLike,
    minimum_temperature: ArrayLike,
    optimum_temperature: ArrayLike,
    maximum_temperature: ArrayLike,
    grain_rate: ArrayLike = 0.0,
    climatic_efficiency: ArrayLike = 0.48,
    light_extinction: ArrayLike = 0.5,
    temperature_exponent: ArrayLike = 2.0,
) -> SafyCrop:
    """Maize for `safy`, in the manner of Battude et al. 2016: yield by harvest index, efficiency that may vary.

    No public text that could be read gives the table of that paper, so all that differs between wheat and maize is an
    argument without default here: a crop with the temperatures or leaves of wheat would grow silently wrong. What
    `safy` has for all crops keeps its value. Their light use efficiency varies over the season: give its largest value
    here, and its course as `stress` of `safy`, a series by day.

    Args:
        emergence: day of the weather.
        light_use_efficiency: g MJ⁻¹.
        specific_leaf_area: m² g⁻¹.
        partition_a: share of the first biomass that is not leaves.
        partition_b: °C⁻¹ day⁻¹.
        senescence_start: °C day.
        senescence_rate: °C day².
        initial_biomass: g m⁻².
        minimum_temperature: °C.
        optimum_temperature: °C.
        maximum_temperature: °C.
        grain_rate: day⁻¹; none by default, as the yield is that of `harvest_index_yield`.
        climatic_efficiency: as in `SafyCrop`.
        light_extinction: as in `SafyCrop`.
        temperature_exponent: as in `SafyCrop`.

    Returns:
        SafyCrop.

    References:
        Battude, Al Bitar, Morin, Cros, Huc, Marais Sicre, Le Dantec & Demarez 2016, Remote Sens. Environ. 184, 668.
    """
    return SafyCrop(
        emergence=emergence,  # type: ignore[arg-type]
        light_use_efficiency=light_use_efficiency,  # type: ignore[arg-type]
        specific_leaf_area=specific_leaf_area,  # type: ignore[arg-type]
        partition_a=partition_a,  # type: ignore[arg-type]
        partition_b=partition_b,  # type: ignore[arg-type]
        senescence_start=senescence_start,  # type: ignore[arg-type]
        senescence_rate=senescence_rate,  # type: ignore[arg-type]
        initial_biomass=initial_biomass,  # type: ignore[arg-type]
        minimum_temperature=minimum_temperature,  # type: ignore[arg-type]
        optimum_temperature=optimum_temperature,  # type: ignore[arg-type]
        maximum_temperature=maximum_temperature,  # type: ignore[arg-type]
        grain_rate=grain_rate,  # type: ignore[arg-type]
        climatic_efficiency=climatic_efficiency,  # type: ignore[arg-type]
        light_extinction=light_extinction,  # type: ignore[arg-type]
        temperature_exponent=temperature_exponent,  # type: ignore[arg-type]
    )
