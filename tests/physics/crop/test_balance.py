"""Water balance: a public code, conservation to the last digit, slopes of every parameter, and SAFY that thirsts."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import crop as crop_benchmark
from physics import parameters
from physics.crop import (
    DailyWater,
    RootZone,
    SafyCrop,
    WaterUse,
    available_water,
    basal_coefficient,
    evaporable_water,
    moisture_stress,
    safy,
    safy_water,
    sound_root_zone,
    water_balance,
)
from tests.physics.crop.cases import CROP, SOIL, USE, field, records, season

with np.load(pathlib.Path(__file__).parents[2] / "references" / "water_balance.npz") as _table:
    REFERENCE = dict(_table)
NAMES = {
    "few": "exposed",
    "E": "evaporation",
    "DPe": "surface_percolation",
    "De": "surface_depletion",
    "Ks": "stress",
    "T": "transpiration",
    "DP": "percolation",
    "Dr": "depletion",
}


def reference_fields(dtype):
    """Soil, use and water of the reference seasons, and their basal coefficients."""
    value = dict(zip(REFERENCE["soil_names"], REFERENCE["soil"].T, strict=True))
    full, dry = value["thetaFC"], value["thetaWP"]
    soil = RootZone(
        field_capacity=full,
        wilting_point=dry,
        root_depth=value["Zr"],
        depletion_fraction=value["p"],
        readily_evaporable=value["REW"],
        surface_depth=np.full(4, 0.1),
        initial_depletion=1000 * (full - value["theta0"]) * value["Zr"],
        initial_surface_depletion=100 * (full - 0.5 * dry),
    )
    four = np.ones(4)
    use = WaterUse(full_coefficient=1.1 * four, height=value["h"], minimum_coefficient=0.15 * four, closing=0.7 * four)
    day = dict(zip(REFERENCE["day_names"], np.moveaxis(REFERENCE["days"], -1, 0), strict=True))
    water = DailyWater(
        reference_evapotranspiration=day["ETref"],
        rain=day["Rain"],
        irrigation=day["Irrig"],
        wetted_fraction=day["fw"],
        wind=day["u2"],
        minimum_humidity=day["RHmin"],
    )
    return jax.tree.map(lambda leaf: leaf.astype(dtype), (soil, use, water, jnp.asarray(day["Kcb"])))


@functools.cache
def balances(legacy):
    with jax.enable_x64(True):
        soil, use, water, basal = reference_fields(jnp.float64)
        run = jax.jit(jax.vmap(lambda s, u, w, k: water_balance(s, u, w, coefficient=k, legacy=legacy)))
        return jax.device_get((soil, water, run(soil, use, water, basal)))


def test_published_steps_equal_the_reference_code():
    """It brings wind to 2 m by a formula that is 1.0001 there, hence 1e-3 mm in a depletion of 100 mm."""
    _, _, found = balances(True)
    for column, name in enumerate(REFERENCE["output_names"]):
        np.testing.assert_allclose(
            getattr(found, NAMES[name]), REFERENCE["outputs"][..., column], atol=2e-3, err_msg=str(name)
        )


def test_soft_steps_stay_near_the_published_ones():
    soft, hard = balances(False)[2], balances(True)[2]
    for name in ("transpiration", "evaporation"):
        np.testing.assert_allclose(getattr(soft, name).sum(1), getattr(hard, name).sum(1), rtol=0.01)
    assert np.abs(soft.depletion - hard.depletion).max() < 2.0


@pytest.mark.parametrize("legacy", [False, True])
def test_water_is_neither_made_nor_lost(legacy):
    soil, water, found = balances(legacy)
    gained = water.rain + water.irrigation
    before = np.concatenate([soil.initial_depletion[:, None], found.depletion[:, :-1]], 1)
    lost = found.transpiration + found.evaporation + found.percolation
    np.testing.assert_allclose(found.depletion - before, lost - gained, atol=1e-12)
    wet = water.rain + water.irrigation / water.wetted_fraction
    before = np.concatenate([soil.initial_surface_depletion[:, None], found.surface_depletion[:, :-1]], 1)
    dried = found.evaporation / found.exposed + found.surface_percolation
    np.testing.assert_allclose(found.surface_depletion - before, dried - wet, atol=1e-12)


@pytest.mark.parametrize("legacy", [False, True])
def test_stores_stay_within_their_size_on_extreme_fields(legacy):
    """Thin and sandy to deep and clayey, without water or with floods, in single precision."""
    rng = np.random.default_rng(3)
    fields, days = 64, 200
    dry = rng.uniform(0.02, 0.2, fields)
    full = dry + rng.uniform(0.06, 0.2, fields)
    depth = rng.uniform(0.1, 2.0, fields)
    one = np.ones(fields)
    soil = RootZone(
        field_capacity=full,
        wilting_point=dry,
        root_depth=depth,
        depletion_fraction=rng.uniform(0.1, 0.8, fields),
        readily_evaporable=rng.uniform(1.0, 4.0, fields),
        surface_depth=0.1 * one,
        initial_depletion=1000 * (full - dry) * depth * rng.integers(0, 2, fields),
        initial_surface_depletion=0.0 * one,
    )
    use = WaterUse(
        full_coefficient=1.2 * one,
        height=rng.uniform(0.01, 3, fields),
        minimum_coefficient=0.15 * one,
        closing=0.7 * one,
    )
    storms = rng.gamma(0.5, 30, (fields, days)) * (
        rng.random((fields, days)) < rng.choice([0.0, 0.1, 0.6], fields)[:, None]
    )
    water = DailyWater(
        reference_evapotranspiration=rng.uniform(0, 14, (fields, days)),
        rain=storms,
        irrigation=rng.choice([0.0, 15.0], (fields, days), p=[0.95, 0.05]),
        wetted_fraction=rng.choice([0.05, 0.4, 1.0], (fields, days)),
        wind=np.full((fields, days), 3.0),
        minimum_humidity=np.full((fields, days), 30.0),
    )
    soil, use, water, basal = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float32), (soil, use, water, rng.uniform(0.1, 1.2, (fields, days)))
    )
    assert jax.jit(sound_root_zone)(soil).all()
    run = jax.jit(jax.vmap(lambda s, u, w, k: water_balance(s, u, w, coefficient=k, legacy=legacy)))
    found = jax.device_get(run(soil, use, water, basal))
    total, evaporable = jax.device_get(jax.jit(lambda soil: (available_water(soil), evaporable_water(soil)))(soil))
    total, evaporable = total[:, None], evaporable[:, None]
    assert all(np.isfinite(leaf).all() for leaf in found)
    assert (found.depletion >= -1e-3).all() and (found.depletion <= total + 2e-2).all()
    assert (found.surface_depletion >= -1e-3).all() and (found.surface_depletion <= evaporable + 2e-2).all()
    for flow in (found.transpiration, found.evaporation, found.percolation, found.surface_percolation):
        assert (flow >= -1e-5).all()
    assert (found.stress >= 0).all() and (found.stress <= 1 + 1e-6).all()


def test_every_parameter_of_crop_and_water_has_the_slope_of_differences_at_corners():
    box = crop_benchmark.CROP | crop_benchmark.SOIL | crop_benchmark.USE
    names, (low, high) = list(box), np.array(list(box.values())).T
    columns = crop_benchmark.season(100)
    rng = np.random.default_rng(0)
    corners = np.where(rng.random((6, len(names))) < 0.5, low, high)
    at = np.concatenate([rng.uniform(low, high, (2, len(names))), corners]).astype(np.float32).astype(np.float64)
    step = 1e-5 * (high - low)

    def outputs(values, dtype):
        weather, water = records(columns, dtype)
        growth, flows = safy_water(*field(dict(zip(names, values, strict=True)), dtype), weather, water)
        flow = flows.evaporation.sum(), flows.percolation.sum(), flows.depletion[70]
        return jnp.stack([growth.leaf_area_index[60], growth.grain[-1], *flow])

    slopes = jax.jit(jax.vmap(jax.jacrev(lambda v: outputs(v, jnp.float32))))(jnp.asarray(at, jnp.float32))
    with jax.enable_x64(True):
        moved = at[:, None] + np.concatenate([np.diag(step), -np.diag(step)])
        moved = jnp.asarray(moved.reshape(-1, len(names)))
        found = np.asarray(jax.jit(jax.vmap(lambda v: outputs(v, jnp.float64)))(moved))
    found = found.reshape(len(at), 2, len(names), -1)
    differences = np.moveaxis(found[:, 0] - found[:, 1], 1, 2) / (2 * step)
    # an output that a parameter hardly moves is compared at a ten thousandth of its size
    least = 1e-4 * np.abs(found).max((0, 1, 2))[:, None] / (high - low)
    size = np.maximum(np.abs(differences).max(0), least)
    wrong = (np.abs(slopes - differences) / size).max((0, 1))
    assert dict(zip(names, wrong < 1e-3, strict=True)) == dict.fromkeys(names, True)
    reach = (size * (high - low) / np.abs(found).max((0, 1, 2))[:, None]).max(0)
    assert dict(zip(names, reach > 1e-3, strict=True)) == dict.fromkeys(names, True)


def _defaults():
    crop = SafyCrop(**CROP)
    return {name: float(getattr(crop, name)) for name in parameters(SafyCrop)} | SOIL | USE


@pytest.mark.parametrize("legacy", [False, True])
def test_a_crop_with_water_grows_as_without_balance_and_a_thirsty_one_less(legacy):
    weather, water = records(season(), jnp.float32)
    crop, soil, use = field(_defaults(), jnp.float32)
    wet = DailyWater(reference_evapotranspiration=water.reference_evapotranspiration, rain=30.0)
    none = DailyWater(reference_evapotranspiration=water.reference_evapotranspiration)
    run = jax.jit(lambda water: safy_water(crop, soil, use, weather, water, legacy=legacy))
    free = jax.device_get(jax.jit(lambda weather: safy(crop, weather, legacy=legacy))(weather))
    filled = [
        DailyWater(**{n: np.broadcast_to(getattr(w, n), 240) for n in parameters(DailyWater)}) for w in (wet, none)
    ]
    (watered, flows), (thirsty, dry) = (jax.device_get(run(w)) for w in filled)
    np.testing.assert_allclose(watered.biomass, free.biomass, rtol=1e-4)
    assert (flows.stress > 0.999).all()
    assert thirsty.biomass.max() < 0.5 * free.biomass.max() and dry.stress[-1] < 0.2
    total = float(available_water(soil))
    assert dry.transpiration.sum() + dry.evaporation.sum() <= total - SOIL["initial_depletion"] + 0.1
    # no leaves stand before emergence, so only the soil loses water
    assert (dry.transpiration[:18] <= 0.16 * filled[1].reference_evapotranspiration[:18]).all()


def test_coefficients_and_stress_have_their_ends():
    use = WaterUse(full_coefficient=1.1, height=1.0)
    np.testing.assert_allclose(basal_coefficient(use, jnp.array([0.0, 50.0])), [0.15, 1.1], rtol=1e-6)
    found = moisture_stress(
        jnp.array([0.1, 0.14, 0.2, 0.3, 0.4]),
        field_capacity=0.3,
        wilting_point=0.12,
        depletion_fraction=0.55,
        least=0.1,
    )
    np.testing.assert_allclose(found, [0.1, 0.02 / 0.081, 0.08 / 0.081, 1.0, 1.0], rtol=1e-5)


def test_a_soil_that_holds_no_water_is_not_sound():
    good = RootZone(**SOIL)
    assert bool(sound_root_zone(good))
    for change in (
        {"wilting_point": 0.32},
        {"readily_evaporable": 14.9, "surface_depth": 0.05},
        {"initial_depletion": 200.0},
    ):
        assert not bool(sound_root_zone(RootZone(**SOIL | change)))


def test_days_that_do_not_fit_are_named():
    weather, water = records(season(), jnp.float32)
    crop, soil, use = field(_defaults(), jnp.float32)
    short = jax.tree.map(lambda leaf: leaf[:-1], water)
    with pytest.raises(ValueError, match="same days in DailyWater .* got shapes .*239.*240.*; cut both"):
        safy_water(crop, soil, use, weather, short)
    with pytest.raises(ValueError, match="use jax.vmap over fields"):
        water_balance(soil, use, water, coefficient=jnp.zeros((2, 240)))
