"""Growth: the published day steps, soft steps beside them, slopes of every parameter, and what stress does."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import check_ranges
from physics.crop.safy import DailyWeather, SafyCrop, safy, temperature_response

with np.load(pathlib.Path(__file__).parents[2] / "references" / "crop.npz") as _table:
    REFERENCE = dict(_table)
NAMES = {
    "Kex": "light_extinction",
    "Lue": "light_use_efficiency",
    "Ms0": "initial_biomass",
    "P2G": "grain_rate",
    "PrtA": "partition_a",
    "PrtB": "partition_b",
    "R2P": "climatic_efficiency",
    "SenA": "senescence_start",
    "SenB": "senescence_rate",
    "Sla": "specific_leaf_area",
    "Tmax": "maximum_temperature",
    "Tmin": "minimum_temperature",
    "Topt": "optimum_temperature",
    "TpSn": "temperature_exponent",
    "d0": "emergence",
}


def crops(dtype):
    columns = REFERENCE["safy/params"].T.astype(dtype)
    return SafyCrop(**{NAMES[n]: jnp.asarray(c) for n, c in zip(REFERENCE["safy/param_names"], columns, strict=True)})


def weather(dtype):
    return DailyWeather(
        temperature=jnp.asarray(REFERENCE["safy/Tair_C"].astype(dtype)),
        radiation=jnp.asarray(REFERENCE["safy/Rg_MJ_m2_d"].astype(dtype)),
    )


def grown(dtype, **options):
    return jax.jit(jax.vmap(lambda crop, days: safy(crop, days, **options)))(crops(dtype), weather(dtype))


def test_whole_days_equal_the_published_logic():
    with jax.enable_x64(True):
        found = grown(np.float64, legacy=True)
    columns = ("GLA", "DAM", "DGM", "SMT", "APAR")
    for name, value in zip(columns, found, strict=True):
        np.testing.assert_allclose(value, REFERENCE[f"safy/{name}"], rtol=1e-9, atol=1e-9)


def test_soft_steps_stay_near_the_published_ones():
    soft, hard = grown(np.float32), grown(np.float32, legacy=True)
    peak, known = soft.leaf_area_index.max(1), hard.leaf_area_index.max(1)
    np.testing.assert_allclose(peak, known, rtol=0.03)
    np.testing.assert_allclose(soft.biomass.max(1), hard.biomass.max(1), rtol=0.03)
    np.testing.assert_allclose(soft.grain.max(1), hard.grain.max(1), rtol=0.06)
    alive = np.asarray(hard.leaf_area_index) > 0.3
    difference = np.asarray(soft.leaf_area_index - hard.leaf_area_index)
    assert np.sqrt(np.mean(difference[alive] ** 2)) < 0.1 * float(known.mean())


def one_field():
    rng = np.random.default_rng(0)
    days = np.arange(240)
    return DailyWeather(
        temperature=jnp.asarray(12 - 8 * np.cos(2 * np.pi * days / 300) + rng.normal(0, 2, 240), jnp.float32),
        radiation=jnp.asarray(14 - 9 * np.cos(2 * np.pi * days / 330) + rng.normal(0, 2, 240), jnp.float32),
    )


def test_every_parameter_has_the_slope_of_differences():
    days = one_field()
    crop = SafyCrop(emergence=20.3, light_use_efficiency=2.5)
    names = list(NAMES.values())

    def outputs(values, days):
        growth = safy(SafyCrop(**dict(zip(names, values, strict=True))), days)
        return jnp.stack([growth.leaf_area_index[120], growth.biomass[-1], growth.grain[-1]])

    at = np.array([float(getattr(crop, name)) for name in names])
    slopes = np.asarray(jax.jit(jax.jacrev(outputs))(jnp.asarray(at, jnp.float32), days))
    assert np.isfinite(slopes).all()
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), days)
        step = 1e-5 * np.maximum(np.abs(at), 1e-2)
        moved = np.concatenate([at + np.diag(step), at - np.diag(step)])
        found = np.asarray(jax.jit(jax.vmap(outputs, (0, None)))(jnp.asarray(moved), double))
    differences = ((found[: at.size] - found[at.size :]) / (2 * step[:, None])).T
    size = np.maximum(np.abs(differences).max(0), 1e-6)
    assert dict(zip(names, (np.abs(slopes - differences).max(0) / size) < 5e-3, strict=True)) == dict.fromkeys(
        names, True
    )
    # each matters
    width = np.maximum(0.1 * np.abs(at), 0.1)
    reach = np.abs(differences * width).max(0) / np.abs(found).max()
    assert dict(zip(names, reach > 1e-5, strict=True)) == dict.fromkeys(names, True)


def test_nothing_grows_before_emergence_and_stress_takes_its_share():
    days, crop = one_field(), SafyCrop(emergence=40.0, light_use_efficiency=2.5)
    free, dry = safy(crop, days), safy(crop, days, stress=0.5)
    assert (free.leaf_area_index[:38] < 1e-3).all() and (free.biomass[:38] < 0.1).all()
    assert dry.biomass[-1] < 0.6 * free.biomass[-1] and (jnp.diff(free.biomass) > -1e-3).all()
    assert (free.leaf_area_index >= 0).all() and free.leaf_area_index[-1] < 0.3 * free.leaf_area_index.max()


def test_temperature_response_is_one_at_the_optimum_and_zero_outside():
    crop = SafyCrop(emergence=0.0, light_use_efficiency=2.5)
    found = temperature_response(crop, jnp.array([-5.0, 0.0, 10.0, 20.0, 28.5, 37.0, 45.0]))
    np.testing.assert_allclose(found, [0.0, 0.0, 0.75, 1.0, 0.75, 0.0, 0.0], atol=1e-6)
    assert np.isfinite(jax.vmap(jax.grad(lambda t: temperature_response(crop, t)))(found)).all()


def test_radiation_in_watts_is_named():
    with pytest.raises(ValueError, match="radiation: expected 0 to 45 MJ m-2 day-1, got 220 to 220"):
        check_ranges(DailyWeather(temperature=jnp.array([10.0]), radiation=jnp.array([220.0])))
