"""Crop models over their box, faces and corners: single precision, slopes, no dead input, batches; loops over days."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.crop import CROP, crop, fields_of, numpy_seasons, python_season
from physics.crop import DailyWeather, SafyCrop, safy
from tests.physics.simulators import check_that_all_matter, check_values_and_slopes, with_one_changed

# One of each kind; SAFY and its water stand in tests of their own, which compile them once.
KINDS = ("reference_evapotranspiration", "temperature_response", "forest_volume")
EVERY = {one.name: one for one in crop()}
MODELS = {name: EVERY[name] for name in KINDS}


@pytest.mark.parametrize("simulator", MODELS.values(), ids=MODELS)
def test_values_and_slopes_are_right_in_single_precision(simulator):
    check_values_and_slopes(simulator, rounding=2e-5)


@pytest.mark.parametrize("simulator", EVERY.values(), ids=EVERY)
def test_every_model_gives_finite_rows_and_every_parameter_matters(simulator):
    moved = with_one_changed(simulator)
    function, rows = jax.jit(simulator.function), moved.reshape(-1, moved.shape[-1])
    found = np.asarray(function(rows)).reshape(*moved.shape[:2], -1)
    assert np.isfinite(found).all()
    check_that_all_matter(simulator, (np.abs(found[1:] - found[0]) / np.abs(found[0]).max(0)).max(axis=(1, 2)))
    # rows know nothing of each other: in another order they give the same
    turned = np.asarray(function(rows[::-1]))[::-1].reshape(found.shape)
    np.testing.assert_allclose(turned, found, rtol=1e-5, atol=1e-6 * np.abs(found).max())


def test_loops_over_days_give_the_numbers_of_safy():
    crops, temperature, radiation = fields_of(6, 300)
    wheat = SafyCrop(emergence=0.0, light_use_efficiency=2.0)
    every = {name: np.full(6, float(getattr(wheat, name))) for name in CROP} | crops
    every = {name: value.astype(np.float64) for name, value in every.items()}
    temperature, radiation = temperature.astype(np.float64), radiation.astype(np.float64)
    with jax.enable_x64(True):
        weather = DailyWeather(temperature=jnp.asarray(temperature), radiation=jnp.asarray(radiation))
        records = SafyCrop(**{name: jnp.asarray(value) for name, value in every.items()})
        run = jax.vmap(lambda crop, seen: safy(crop, seen, legacy=True), in_axes=(0, 1), out_axes=1)
        found = jax.device_get(jax.jit(run)(records, weather))
    loops = numpy_seasons(every, temperature, radiation)
    for column, name in enumerate(found._fields):
        np.testing.assert_allclose(getattr(found, name), loops[column], rtol=1e-10, atol=1e-10)
    for i in range(6):
        one = python_season({name: value[i] for name, value in every.items()}, temperature[:, i], radiation[:, i])
        np.testing.assert_allclose(np.stack(one), np.stack(found)[:, :, i], rtol=1e-10, atol=1e-10)
