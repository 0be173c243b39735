"""Water of the root zone and of the soil's surface, day by day (FAO-56, dual crop coefficient), and SAFY with it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.crop.safy import Growth, Plant, SafyCrop, emerged, grow, seedling
from physics.crop.soft import capped, ramp
from physics.crop.weather import DailyWater, DailyWeather
from physics.numerics import safe_power
from physics.parameters import Record, param, validity

_SHARE = 0.02  # over which the smooth balance rounds the corners of coefficients and shares
_WATER = 0.5  # mm, over which it rounds the onset of percolation


class RootZone(Record):
    """Soil of one field as a store of water; every field a scalar (`jax.vmap` over fields)."""

    field_capacity: Array = param(
        unit="m3 m-3", bounds=(0.05, 0.55), symbol="theta_FC", description="water that soil holds against gravity"
    )
    wilting_point: Array = param(
        unit="m3 m-3", bounds=(0.01, 0.35), symbol="theta_WP", description="water that plants cannot take"
    )
    root_depth: Array = param(unit="m", bounds=(0.1, 3.0), symbol="Zr", description="depth of the root zone")
    depletion_fraction: Array = param(
        unit="1",
        bounds=(0.1, 0.8),
        symbol="p",
        description="share of the available water that is taken without stress at 5 mm a day (FAO-56, table 22)",
    )
    readily_evaporable: Array = param(
        unit="mm",
        bounds=(1.0, 15.0),
        symbol="REW",
        description="water that evaporates unhindered from wet soil (FAO-56, table 19)",
    )
    surface_depth: Array = param(
        unit="m", bounds=(0.05, 0.2), symbol="Ze", description="depth of soil that dries by evaporation", default=0.1
    )
    initial_depletion: Array = param(
        unit="mm", bounds=(0.0, 500.0), symbol="Dr,0", description="water that the root zone lacks", default=0.0
    )
    initial_surface_depletion: Array = param(
        unit="mm", bounds=(0.0, 80.0), symbol="De,0", description="water that the surface lacks", default=0.0
    )


class WaterUse(Record):
    """How a crop uses water; every field a scalar."""

    full_coefficient: Array = param(
        unit="1",
        bounds=(0.7, 1.3),
        symbol="Kcb,full",
        description="basal coefficient of a closed canopy at 2 m s-1 and 45 % (FAO-56, table 17)",
    )
    height: Array = param(unit="m", bounds=(0.01, 5.0), symbol="h", description="height of the crop")
    minimum_coefficient: Array = param(
        unit="1", bounds=(0.0, 0.3), symbol="Kc,min", description="basal coefficient of dry bare soil", default=0.15
    )
    closing: Array = param(
        unit="1",
        bounds=(0.3, 1.2),
        symbol="k",
        description="rate at which the basal coefficient closes up with leaf area index",
        default=0.7,
    )


class WaterBalance(NamedTuple):
    """Water of a field, by day, `(day,)` each.

    Attributes:
        transpiration: mm day⁻¹.
        evaporation: from the soil, mm day⁻¹.
        percolation: below the root zone, mm day⁻¹.
        depletion: of the root zone in the evening, below field capacity, mm.
        surface_depletion: of the wetted and bare part of the surface, mm.
        surface_percolation: below the surface, mm day⁻¹.
        exposed: share of the soil that is wetted and bare.
        stress: share of the transpiration that lack of water leaves, K_s.
    """

    transpiration: Array
    evaporation: Array
    percolation: Array
    depletion: Array
    surface_depletion: Array
    surface_percolation: Array
    exposed: Array
    stress: Array


def available_water(soil: RootZone) -> Array:
    """Water between field capacity and wilting point in the root zone, TAW, mm, `(*batch)`."""
    return 1000.0 * (soil.field_capacity - soil.wilting_point) * soil.root_depth


def evaporable_water(soil: RootZone) -> Array:
    """Water that can evaporate from the surface, TEW, mm, `(*batch)`: down to half the wilting point."""
    return 1000.0 * (soil.field_capacity - 0.5 * soil.wilting_point) * soil.surface_depth


def sound_root_zone(soil: RootZone) -> Array:
    """Whether a soil lies within its bounds, holds water, and lacks no more than it can hold at first, `(*batch)`."""
    holds = (soil.field_capacity > soil.wilting_point) & (evaporable_water(soil) > soil.readily_evaporable)
    room = 1.0 + 8.0 * jnp.finfo(soil.field_capacity.dtype).eps  # differences of rounded values
    starts = (soil.initial_depletion <= room * available_water(soil)) & (
        soil.initial_surface_depletion <= room * evaporable_water(soil)
    )
    return validity(soil) & holds & starts


def climate_correction(water: DailyWater, height: ArrayLike) -> Array:
    """What a dry or windy day adds to a coefficient of a crop of some height (m), `(*batch)`; FAO-56, eq. 70 and 72."""
    tall = jnp.asarray(height, water.wind.dtype)
    return (0.04 * (water.wind - 2.0) - 0.004 * (water.minimum_humidity - 45.0)) * safe_power(tall / 3.0, 0.3)


def basal_coefficient(use: WaterUse, leaf_area_index: ArrayLike, *, correction: ArrayLike = 0.0) -> Array:
    """Basal crop coefficient of a canopy.

    Args:
        use: fields `(*batch)`.
        leaf_area_index: m² m⁻², `(*batch)`.
        correction: by `climate_correction`.

    Returns:
        K_cb, `(*batch)`.

    Equation:
        K_c,min + (K_cb,full + correction - K_c,min) (1 - exp(-0.7 LAI)).

    References:
        Allen, Pereira, Raes & Smith 1998, FAO Irrigation and drainage paper 56, eq. 97 and 99.
    """
    dtype = use.full_coefficient.dtype
    closed = -jnp.expm1(-use.closing * jnp.asarray(leaf_area_index, dtype))
    least = use.minimum_coefficient
    return least + (use.full_coefficient + jnp.asarray(correction, dtype) - least) * closed


def moisture_stress(
    soil_moisture: ArrayLike,
    *,
    field_capacity: ArrayLike,
    wilting_point: ArrayLike,
    depletion_fraction: ArrayLike,
    least: ArrayLike,
) -> Array:
    """Share of growth that lack of water leaves, from soil moisture itself, as `safy` takes it.

    Args:
        soil_moisture: of the root zone, m³ m⁻³, `(*batch)`.
        field_capacity: m³ m⁻³.
        wilting_point: m³ m⁻³.
        depletion_fraction: p, share of the available water that is taken without stress.
        least: share that remains at the wilting point.

    Returns:
        `least` to 1, `(*batch)`.

    Equation:
        (SM - WP) / ((1 - p) (FC - WP)), within `least` and 1: K_s of FAO-56, eq. 84, written in soil moisture. A public
        code that couples SAFY to an energy and water balance takes p = 0.55 and least = 0.1.
    """
    moisture = jnp.asarray(soil_moisture)
    full, dry = jnp.asarray(field_capacity), jnp.asarray(wilting_point)
    share = (moisture - dry) / ((1.0 - jnp.asarray(depletion_fraction)) * (full - dry))
    return jnp.clip(share, jnp.asarray(least), 1.0)


def water_balance(
    soil: RootZone,
    use: WaterUse,
    water: DailyWater,
    *,
    coefficient: ArrayLike,
    legacy: bool = False,
) -> WaterBalance:
    """Water of one field with a given course of its basal coefficient, day by day; `jax.vmap` over fields.

    Args:
        soil: scalars.
        use: scalars; of these the height and the smallest coefficient count here.
        water: `(day,)`, or numbers.
        coefficient: basal coefficient K_cb, a number or `(day,)`; `basal_coefficient` makes it from leaf area index.
        legacy: the published equations with their corners. Else the corners are rounded over 2 % of a coefficient or
            share and 0.5 mm of water, so that each parameter has a slope on both sides.

    Returns:
        WaterBalance `(day,)`. Either way water is neither made nor lost: the depletion changes by transpiration and
        evaporation and percolation, less rain and irrigation, as that of the surface does on the share `exposed`.

    Equation:
        K_c,max = max(1.2 + correction, K_cb + 0.05) (72); f_c = ((K_cb - K_c,min) / (K_c,max - K_c,min))^(1 + h / 2)
        (76); f_ew = min(1 - f_c, f_w) (75); K_r = (TEW - D_e) / (TEW - REW), at most 1 (74);
        K_e = min(K_r (K_c,max - K_cb), f_ew K_c,max) (71); p = p_5 + 0.04 (5 - ET_c), 0.1 to 0.8;
        K_s = (TAW - D_r) / ((1 - p) TAW), at most 1 (84); ET = (K_s K_cb + K_e) ET_0 (80);
        D_e += E / f_ew - P - I / f_w + DP_e, DP_e = max(P + I / f_w - D_e, 0) (77, 79);
        D_r += ET - P - I + DP, DP = max(P + I - ET - D_r, 0) (85, 88).
        Where the paper cuts D_e at TEW and D_r at TAW, evaporation ends there instead, which keeps the balance.

    Validity:
        Level fields with deep ground water; roots that reach their depth from the first day on.

    References:
        Allen, Pereira, Raes & Smith 1998, FAO Irrigation and drainage paper 56, chapters 7 and 8.
    """
    dtype = soil.field_capacity.dtype
    days = _days(water, coefficient)
    columns = _columns(use, water, days, dtype)
    basal = jnp.broadcast_to(jnp.asarray(coefficient, dtype), (days,))

    def day(state: tuple[Array, Array], given: tuple[_Day, Array]) -> tuple[tuple[Array, Array], WaterBalance]:
        return _water_day(soil, use, state, *given, legacy=legacy)

    start = (soil.initial_depletion, soil.initial_surface_depletion)
    return jax.lax.scan(day, start, (columns, basal))[1]


def safy_water(
    crop: SafyCrop,
    soil: RootZone,
    use: WaterUse,
    weather: DailyWeather,
    water: DailyWater,
    *,
    legacy: bool = False,
) -> tuple[Growth, WaterBalance]:
    """Growth of one field and its water together, day by day; `jax.vmap` over fields.

    The leaves of the morning set the basal coefficient, by which the water of the day goes; its stress takes its share
    of the day's growth.

    Args:
        crop: scalars.
        soil: scalars.
        use: scalars.
        weather: `(day,)`.
        water: `(day,)`, or numbers.
        legacy: of both `safy` and `water_balance`.

    Returns:
        Growth and WaterBalance, `(day,)`.

    Equation:
        f_W of `safy` = K_s of `water_balance`, with K_cb by `basal_coefficient`.

    Validity:
        As both; ELUE is then that of a crop with enough water.

    References:
        Duchemin, Maisongrande, Boulet & Benhadj 2008, Environ. Model. Softw. 23, 876; Allen, Pereira, Raes & Smith
        1998, FAO Irrigation and drainage paper 56.
    """
    dtype = crop.light_use_efficiency.dtype
    length = weather.temperature.shape[-1]
    _days(water, jnp.zeros(length))
    columns = _columns(use, water, length, dtype)
    temperature, light = weather.temperature.astype(dtype), weather.radiation.astype(dtype)

    def day(
        state: tuple[Plant, tuple[Array, Array]], given: tuple[Array, Array, Array, _Day]
    ) -> tuple[tuple[Plant, tuple[Array, Array]], tuple[Growth, WaterBalance]]:
        plant, store = state
        when, warmth, sun, moist = given
        leaves = emerged(crop, plant, when, legacy=legacy) * plant.leaves
        basal = basal_coefficient(use, leaves, correction=moist.correction)
        store, flows = _water_day(soil, use, store, moist, basal, legacy=legacy)
        plant, growth = grow(crop, plant, when, warmth, sun, flows.stress, legacy=legacy)
        return (plant, store), (growth, flows)

    start = (seedling(crop), (soil.initial_depletion, soil.initial_surface_depletion))
    return jax.lax.scan(day, start, (jnp.arange(length, dtype=dtype), temperature, light, columns))[1]


class _Day(NamedTuple):
    """Water of a day: reference evapotranspiration, rain, irrigation, share wetted, correction of coefficients."""

    reference: Array
    rain: Array
    irrigation: Array
    wetted: Array
    correction: Array


def _days(water: DailyWater, series: ArrayLike) -> int:
    """Number of days that the weather of the water and a series agree on."""
    lengths = {jnp.shape(leaf) for leaf in [*jax.tree.leaves(water), jnp.asarray(series)]} - {()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1:
        raise ValueError(
            f"expected one axis of the same days in DailyWater and beside it, got shapes {sorted(lengths)}; cut both "
            "to the same season, and use jax.vmap over fields"
        )
    return int(next(iter(lengths))[0])


def _columns(use: WaterUse, water: DailyWater, days: int, dtype: jnp.dtype) -> _Day:
    def column(value: Array) -> Array:
        return jnp.broadcast_to(value.astype(dtype), (days,))

    return _Day(
        column(water.reference_evapotranspiration),
        column(water.rain),
        column(water.irrigation),
        column(water.wetted_fraction),
        column(climate_correction(water, use.height)),
    )


def _water_day(
    soil: RootZone, use: WaterUse, state: tuple[Array, Array], day: _Day, basal: Array, *, legacy: bool
) -> tuple[tuple[Array, Array], WaterBalance]:
    depletion, surface = state
    above = _hard_ramp if legacy else ramp
    below = _hard_cap if legacy else capped
    total, evaporable, least = available_water(soil), evaporable_water(soil), use.minimum_coefficient

    largest = basal + 0.05 + above(1.15 + day.correction - basal, _SHARE)  # eq. 72
    closed = jnp.maximum(basal - least, 0.0) / (largest - least)
    cover = safe_power(closed, 1.0 + 0.5 * use.height)  # eq. 76
    exposed = below(jnp.maximum(1.0 - cover, 0.01), day.wetted, _SHARE)  # eq. 75; cover is 0.99 at most

    wet = day.rain + day.irrigation / day.wetted
    drained = above(wet - surface, _WATER)  # eq. 79
    room = jnp.maximum(evaporable - (surface - wet + drained), 0.0)
    reduction = below(jnp.maximum(evaporable - surface, 0.0) / (evaporable - soil.readily_evaporable), 1.0, _SHARE)
    evaporation_coefficient = below(reduction * (largest - basal), exposed * largest, _SHARE)  # eq. 71

    demand = (basal + evaporation_coefficient) * day.reference
    shifted = soil.depletion_fraction + 0.04 * (5.0 - demand)
    fraction = 0.1 + below(above(shifted - 0.1, _SHARE), 0.7, _SHARE)
    held = jnp.maximum(total - depletion, 0.0)
    stress = below(held / ((1.0 - fraction) * total), 1.0, _SHARE)  # eq. 84

    gained = day.rain + day.irrigation
    transpiration = jnp.minimum(stress * basal * day.reference, held + gained)
    evaporation = jnp.minimum(evaporation_coefficient * day.reference, exposed * room)
    evaporation = jnp.minimum(evaporation, held + gained - transpiration)
    spare = gained - transpiration - evaporation - depletion
    percolation = above(spare, _WATER)  # eq. 88
    evening = percolation - spare  # eq. 85
    dried = surface - wet + evaporation / exposed + drained  # eq. 77
    flows = WaterBalance(transpiration, evaporation, percolation, evening, dried, drained, exposed, stress)
    return (evening, dried), flows


def _hard_ramp(x: Array, width: float) -> Array:
    return jnp.maximum(x, 0.0)


def _hard_cap(x: Array, cap: ArrayLike, width: float) -> Array:
    return jnp.minimum(x, jnp.asarray(cap, x.dtype))
