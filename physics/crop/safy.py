"""SAFY: daily growth of a crop from light, temperature and a handful of parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.numerics import safe_power
from physics.parameters import Record, param

_DAWN = 0.5  # days over which the smooth model emerges
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


class DailyWeather(Record):
    """Weather of one field, `(day,)` each."""

    temperature: Array = param(
        unit="degC",
        bounds=(-40.0, 50.0),
        symbol="Ta",
        description="mean air temperature",
        standard_name="air_temperature",
    )
    radiation: Array = param(
        unit="MJ m-2 day-1",
        bounds=(0.0, 45.0),
        symbol="Rg",
        description="global radiation",
        standard_name="surface_downwelling_shortwave_flux_in_air",
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
    cold = (crop.optimum_temperature - t) / (crop.optimum_temperature - crop.minimum_temperature)
    hot = (t - crop.optimum_temperature) / (crop.maximum_temperature - crop.optimum_temperature)
    away = jnp.where(t < crop.optimum_temperature, cold, hot)
    inside = away < 1.0
    return jnp.where(inside, 1.0 - safe_power(jnp.where(inside, away, 0.5), crop.temperature_exponent), 0.0)


def safy(crop: SafyCrop, weather: DailyWeather, *, stress: ArrayLike = 1.0, legacy: bool = False) -> Growth:
    """Growth of one field, day by day; `jax.vmap` over fields.

    Args:
        crop: scalars.
        weather: `(day,)`.
        stress: share of growth left by lack of water, 0 to 1, `(day,)`.
        legacy: the published steps with whole days and conditions: emergence on day floor(D0), leaves until their share
            is zero, ageing from its threshold on, and an end where leaves are as few as at emergence (all is zero from
            the following day on). Else the same with soft steps, so that every parameter has a slope, without an end,
            and with leaves that age by the exact share of a day.

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
    response = temperature_response(crop, temperature) * jnp.asarray(stress, dtype)
    warmth = jnp.maximum(temperature - crop.minimum_temperature, 0.0)
    step = _legacy_step if legacy else _smooth_step
    zero = jnp.zeros((), dtype)
    few = crop.initial_biomass * crop.specific_leaf_area
    start: tuple[Array, ...] = (few, crop.initial_biomass + zero, zero, zero, zero)

    def day(state: tuple[Array, ...], given: tuple[Array, ...]) -> tuple[tuple[Array, ...], Growth]:
        return step(crop, few, state, given)

    return jax.lax.scan(day, start, (days, response, warmth, light))[1]


def _absorbed(crop: SafyCrop, light: Array, leaves: Array) -> Array:
    return -crop.climatic_efficiency * light * jnp.expm1(-crop.light_extinction * leaves)


def _smooth_step(crop: SafyCrop, few: Array, state: tuple[Array, ...], given: tuple[Array, ...]) -> Any:
    leaves, biomass, grain, sum_, _ = state
    day, response, warmth, light = given
    emerged = jax.nn.sigmoid((day + 0.5 - crop.emergence) / (0.25 * _DAWN))
    sum_ = sum_ + emerged * warmth
    absorbed = emerged * _absorbed(crop, light, leaves)
    more = crop.light_use_efficiency * absorbed * response
    biomass = biomass + more
    share = 1.0 - crop.partition_a * jnp.exp(crop.partition_b * sum_)
    leafy = _PARTITION * jax.nn.softplus(share / _PARTITION)
    ageing = _SENESCENCE * jax.nn.softplus((sum_ - crop.senescence_start) / _SENESCENCE) / crop.senescence_rate
    leaves = leaves * jnp.exp(-ageing) + more * leafy * crop.specific_leaf_area
    grain = grain + crop.grain_rate * biomass * jax.nn.sigmoid(-share / _PARTITION)
    found = Growth(emerged * leaves, emerged * biomass, grain, sum_, absorbed)
    return (leaves, biomass, grain, sum_, sum_), found


def _legacy_step(crop: SafyCrop, few: Array, state: tuple[Array, ...], given: tuple[Array, ...]) -> Any:
    leaves, biomass, grain, sum_, phase = state  # phase: 0 growing, 1 leaves complete, 2 ended
    day, response, warmth, light = given
    first = jnp.floor(crop.emergence)
    alive = (day >= first) & (phase < 2.0)
    grows = alive & (day > first)
    sum_ = jnp.where(alive, sum_ + warmth, sum_)
    absorbed = jnp.where(grows, _absorbed(crop, light, leaves), 0.0)
    more = crop.light_use_efficiency * absorbed * response
    biomass = biomass + more
    share = jnp.maximum(1.0 - crop.partition_a * jnp.exp(crop.partition_b * sum_), 0.0)
    lost = jnp.maximum(sum_ - crop.senescence_start, 0.0) / crop.senescence_rate * leaves
    leaves = jnp.where(grows, leaves + more * share * crop.specific_leaf_area - lost, leaves)
    complete = grows & (share == 0.0)
    grain = grain + jnp.where(complete & (phase == 1.0), crop.grain_rate * biomass, 0.0)
    phase = jnp.where(complete, 1.0, phase)
    shown = [jnp.where(alive, value, 0.0) for value in (leaves, biomass, grain, sum_, absorbed)]
    phase = jnp.where(grows & (leaves < few), 2.0, phase)
    return (leaves, biomass, grain, sum_, phase), Growth(*shown)
