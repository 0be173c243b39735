"""SAFY: daily growth of a crop from light, temperature and a handful of parameters."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.crop.soft import hyperbola
from physics.crop.weather import DailyWeather
from physics.numerics import safe_power
from physics.parameters import Record, param, validity

_DAWN = 0.125  # days: four of them on either side hold the emergence of the smooth model
_PARTITION = 0.01  # share of biomass to leaves over which the smooth model stops making leaves
_SENESCENCE = 10.0  # degree days over which its leaves begin to age


class SafyCrop(Record):
    """Parameters of a crop of one field; every field a scalar (`jax.vmap` over fields).

    Defaults are those of winter wheat, Duchemin et al. 2008, as four public codes agree; what has no default depends on
    the field.
    """

    emergence: Array = param(
        unit="day", bounds=(0.0, 366.0), symbol="D0", description="day of the weather on which plants emerge"
    )
    light_use_efficiency: Array = param(
        unit="g MJ-1", bounds=(0.5, 6.0), symbol="ELUE", description="effective: dry biomass made from absorbed light"
    )
    partition_a: Array = param(
        unit="1",
        bounds=(0.01, 0.9),
        symbol="Pl_a",
        description="share of the first biomass that is not leaves",
        default=0.1573,
    )
    partition_b: Array = param(
        unit="degC-1 day-1",
        bounds=(1e-5, 1e-2),
        symbol="Pl_b",
        description="rate at which that share grows with degree days",
        default=0.00196,
    )
    senescence_start: Array = param(
        unit="degC day",
        bounds=(200.0, 3000.0),
        symbol="STT",
        description="degree days at which leaves begin to age",
        default=1008.0,
    )
    senescence_rate: Array = param(
        unit="degC day2", bounds=(1000.0, 100000.0), symbol="Rs", description="slowness of their ageing", default=6875.0
    )
    grain_rate: Array = param(
        unit="day-1",
        bounds=(0.0, 0.05),
        symbol="Py",
        description="share of the biomass that goes to grains each day",
        default=0.0052,
    )
    climatic_efficiency: Array = param(
        unit="1", bounds=(0.4, 0.55), symbol="eps_C", description="share of light that plants can use", default=0.48
    )
    light_extinction: Array = param(
        unit="1", bounds=(0.2, 1.0), symbol="K", description="light extinction per leaf area index", default=0.5
    )
    initial_biomass: Array = param(
        unit="g m-2", bounds=(0.1, 50.0), symbol="DAM0", description="dry biomass at emergence", default=4.5
    )
    specific_leaf_area: Array = param(
        unit="m2 g-1", bounds=(0.005, 0.05), symbol="SLA", description="leaf area per dry leaf biomass", default=0.022
    )
    minimum_temperature: Array = param(
        unit="degC",
        bounds=(-5.0, 15.0),
        symbol="Tmin",
        description="temperature below which nothing grows",
        default=0.0,
    )
    optimum_temperature: Array = param(
        unit="degC",
        bounds=(10.0, 35.0),
        symbol="Topt",
        description="temperature at which growth is fastest",
        default=20.0,
    )
    maximum_temperature: Array = param(
        unit="degC",
        bounds=(25.0, 50.0),
        symbol="Tmax",
        description="temperature above which nothing grows",
        default=37.0,
    )
    temperature_exponent: Array = param(
        unit="1", bounds=(1.0, 4.0), symbol="beta", description="flatness of the optimum", default=2.0
    )


class Growth(NamedTuple):
    """What grows, by day, `(day,)` each.

    Attributes:
        leaf_area_index: green, m² m⁻².
        biomass: above the ground, dry, g m⁻².
        grain: dry, g m⁻².
        degree_days: since emergence, °C day.
        absorbed_light: that plants can use, MJ m⁻² day⁻¹.
    """

    leaf_area_index: Array
    biomass: Array
    grain: Array
    degree_days: Array
    absorbed_light: Array


def temperature_response(crop: SafyCrop, temperature: ArrayLike) -> Array:
    """Share of its best growth that a crop keeps at a temperature.

    Args:
        crop: its temperatures.
        temperature: °C, `(*batch)`.

    Returns:
        0 to 1, `(*batch)`.

    Equation:
        1 - |(T - Topt) / (Tmin - Topt)|^beta below the optimum, Tmax in place of Tmin above it; 0 outside of both.
    """
    t = jnp.asarray(temperature, crop.optimum_temperature.dtype)
    best = crop.optimum_temperature
    width = jnp.where(t < best, best - crop.minimum_temperature, crop.maximum_temperature - best)
    away = jnp.abs(t - best) / width
    inside = away < 1.0
    return jnp.where(inside, 1.0 - safe_power(jnp.where(inside, away, 0.5), crop.temperature_exponent), 0.0)


def ordered_temperatures(crop: SafyCrop) -> Array:
    """Whether a crop lies within the bounds of its parameters, and its three temperatures rise, `(*batch)`."""
    rising = (crop.minimum_temperature < crop.optimum_temperature) & (
        crop.optimum_temperature < crop.maximum_temperature
    )
    return validity(crop) & rising


def leaf_share(crop: SafyCrop, degree_days: ArrayLike) -> Array:
    """Share of a day's new biomass that becomes leaves, `(*batch)`.

    Args:
        crop: its partition.
        degree_days: since emergence, °C day, `(*batch)`.

    Returns:
        1 - Pl_a exp(Pl_b SMT), below zero once leaves are complete: then none of it does.
    """
    return 1.0 - crop.partition_a * jnp.exp(crop.partition_b * jnp.asarray(degree_days, crop.partition_b.dtype))


def safy(crop: SafyCrop, weather: DailyWeather, *, stress: ArrayLike = 1.0, legacy: bool = False) -> Growth:
    """Growth of one field, day by day; `jax.vmap` over fields.

    Thousands of fields take half the time with the days first: `jax.vmap(safy, in_axes=(0, 1), out_axes=1)`.

    Args:
        crop: scalars.
        weather: `(day,)`.
        stress: share of growth left by lack of water, 0 to 1, a number or `(day,)`. A light use efficiency that varies
            over the season is such a series, too.
        legacy: the published steps with whole days and conditions: emergence on day floor(D0), leaves until their share
            is zero, ageing from its threshold on, and an end where leaves are as few as at emergence (all is zero from
            the following day on). Else the same with soft steps, so that every parameter has a slope, with leaves that
            age by the exact share of a day, and without an end: grain filling fades where leaves are as few as at
            emergence, and what has grown stays.

    Returns:
        Growth `(day,)`.

    Equation:
        dDAM = ELUE fT fW eps_C Rg (1 - exp(-K GLA)); leaves gain dDAM max(1 - Pl_a exp(Pl_b SMT), 0) SLA, and lose
        GLA (SMT - STT) / Rs a day from SMT = STT on; grains gain Py DAM a day from the day after leaves gain nothing;
        SMT the sum of temperatures above Tmin since emergence.

    Validity:
        Cereals; ELUE is effective and holds what water and nutrients take, unless `stress` is given.

    References:
        Duchemin, Maisongrande, Boulet & Benhadj 2008, Environ. Model. Softw. 23, 876.
    """
    dtype = crop.light_use_efficiency.dtype
    temperature, light = weather.temperature.astype(dtype), weather.radiation.astype(dtype)
    days = jnp.arange(temperature.shape[-1], dtype=dtype)
    left = jnp.broadcast_to(jnp.asarray(stress, dtype), temperature.shape)

    def day(state: Plant, given: tuple[Array, ...]) -> tuple[Plant, Growth]:
        return grow(crop, state, *given, legacy=legacy)

    return jax.lax.scan(day, seedling(crop), (days, temperature, light, left))[1]


class Plant(NamedTuple):
    """What a day hands to the next; scalars.

    Attributes:
        leaves: leaf area index.
        biomass: above the ground, g m⁻².
        grain: g m⁻².
        degree_days: since emergence, °C day.
        phase: of the whole-day steps: 0 growing, 1 leaves complete, 2 ended.
    """

    leaves: Array
    biomass: Array
    grain: Array
    degree_days: Array
    phase: Array


def seedling(crop: SafyCrop) -> Plant:
    """The state before the first day."""
    zero = jnp.zeros((), crop.light_use_efficiency.dtype)
    return Plant(crop.initial_biomass * crop.specific_leaf_area, crop.initial_biomass + zero, zero, zero, zero)


def emerged(crop: SafyCrop, plant: Plant, day: Array, *, legacy: bool) -> Array:
    """Share of the plants that stand on a day: 0 or 1 for whole days, in between on the day of emergence else."""
    if legacy:
        return jnp.where((day >= jnp.floor(crop.emergence)) & (plant.phase < 2.0), 1.0, 0.0).astype(day.dtype)
    return jax.nn.sigmoid((day + 0.5 - crop.emergence) / _DAWN)


def grow(
    crop: SafyCrop, plant: Plant, day: Array, temperature: Array, light: Array, stress: Array, *, legacy: bool
) -> tuple[Plant, Growth]:
    """One day of `safy`: its state in the evening, and what it shows."""
    warmth = jnp.maximum(temperature - crop.minimum_temperature, 0.0)
    response = temperature_response(crop, temperature) * stress
    stands = emerged(crop, plant, day, legacy=legacy)
    # Digits that this loses where leaves are few are those of a day's growth, not of its slope; expm1 takes longer.
    absorbed = crop.climatic_efficiency * light * (1.0 - jnp.exp(-crop.light_extinction * plant.leaves))
    step = _whole_step if legacy else _soft_step
    return step(crop, plant, day, stands, warmth, response, absorbed)


def _soft_step(
    crop: SafyCrop, plant: Plant, day: Array, stands: Array, warmth: Array, response: Array, absorbed: Array
) -> tuple[Plant, Growth]:
    sum_ = plant.degree_days + stands * warmth
    seen = stands * absorbed
    more = crop.light_use_efficiency * seen * response
    biomass = plant.biomass + more
    leafy, leafing = hyperbola(leaf_share(crop, sum_), _PARTITION)
    ageing = hyperbola(sum_ - crop.senescence_start, _SENESCENCE)[0] / crop.senescence_rate
    leaves = plant.leaves * jnp.exp(-ageing) + more * leafy * crop.specific_leaf_area
    few = (crop.initial_biomass * crop.specific_leaf_area) ** 4
    filling = (1.0 - leafing) * leaves**4 / (leaves**4 + few)
    grain = plant.grain + crop.grain_rate * biomass * filling
    evening = Plant(leaves, biomass, grain, sum_, plant.phase)
    return evening, Growth(stands * leaves, stands * biomass, grain, sum_, seen)


def _whole_step(
    crop: SafyCrop, plant: Plant, day: Array, stands: Array, warmth: Array, response: Array, absorbed: Array
) -> tuple[Plant, Growth]:
    alive = stands > 0.0
    grows = alive & (day > jnp.floor(crop.emergence))
    sum_ = plant.degree_days + stands * warmth
    seen = jnp.where(grows, absorbed, 0.0)
    more = crop.light_use_efficiency * seen * response
    biomass = plant.biomass + more
    share = jnp.maximum(leaf_share(crop, sum_), 0.0)
    lost = jnp.maximum(sum_ - crop.senescence_start, 0.0) / crop.senescence_rate * plant.leaves
    leaves = jnp.where(grows, plant.leaves + more * share * crop.specific_leaf_area - lost, plant.leaves)
    complete = grows & (share == 0.0)
    grain = plant.grain + jnp.where(complete & (plant.phase == 1.0), crop.grain_rate * biomass, 0.0)
    phase = jnp.where(complete, 1.0, plant.phase)
    phase = jnp.where(grows & (leaves < crop.initial_biomass * crop.specific_leaf_area), 2.0, phase)
    shown = [stands * value for value in (leaves, biomass, grain, sum_, seen)]
    return Plant(leaves, biomass, grain, sum_, phase), Growth(*shown)
