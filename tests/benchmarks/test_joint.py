"""Optical and radar together: draws weighed as Bayes says, gains with their error, VH taken away."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.joint import from_scenes, lost, redrawn, scores, without_vh
from benchmarks.joint_information import QUANTITIES, SEEN, Draws, by_leaf_area, draw, gain, squared_errors, weighed
from physics.microwave import RadarView
from releo_jax.metrics import rmse
from releo_jax.observations import Series
from releo_jax.systems.optical_radar import RADAR, RadarScene
from releo_jax.systems.optical_radar_retrieval import load_optical_radar


def _linear(number, key):
    """A normal value of variance 1 that every quantity sees with an error of 1."""
    value = jax.random.normal(key, (number,))
    return Draws(jnp.stack([value] * len(QUANTITIES), -1), value, jnp.abs(value))


def test_weighed_draws_give_the_posterior_of_a_normal_law():
    """Of `n` measurements the mean is sum / (n + 1), its squared error 1 / (n + 1) on average."""
    keys = jax.random.split(jax.random.key(0), 4)
    found, *banks = (_linear(number, key) for number, key in zip((1000, 8000, 8000), keys, strict=False))
    found = found._replace(signals=found.signals + jax.random.normal(keys[3], found.signals.shape))
    usual = jnp.abs(found.signals).max(1) < 2.5  # far out, few draws bear the mean
    mean, number = weighed(found.signals[usual, :2], banks[0].signals[:, :2], banks[0].soil_moisture)
    np.testing.assert_allclose(mean, found.signals[usual, :2].sum(1) / 3.0, atol=0.12)
    assert 40 < number.min() < number.max() < 8000
    one, two = (squared_errors(found, banks, QUANTITIES[:n]).squares for n in (1, 3))
    assert one.mean() == pytest.approx(0.5, abs=0.07) and two.mean() == pytest.approx(0.25, abs=0.04)
    estimate, error = gain(one, two)
    assert estimate == pytest.approx(np.sqrt(2.0) - 1.0, abs=3.0 * error) and 0.02 < error < 0.06


def test_error_of_a_gain_is_that_of_pixels_drawn_anew():
    rng = np.random.default_rng(0)
    alone = rng.normal(size=400) ** 2
    known = 0.8 * alone + 0.1 * rng.normal(size=400) ** 2
    again = [gain(alone[rows], known[rows])[0] for rows in rng.integers(0, 400, (2000, 400))]
    assert gain(alone, known)[1] == pytest.approx(np.std(again), rel=0.1)


def test_radar_tells_soil_moisture():
    """The model's draws: VV and VH leave less than the prior's deviation, VV alone more than both."""
    drawn = draw(21_000, RadarScene(), jax.random.key(0))
    found, *banks = (
        jax.tree.map(lambda leaf, s=s: leaf[s], drawn) for s in np.split(np.arange(21_000), [1000, 11_000])
    )
    found = found._replace(signals=found.signals + jax.random.normal(jax.random.key(1), found.signals.shape))
    both, one = (squared_errors(found, banks, names).squares.mean() ** 0.5 for names in SEEN.values())
    assert 0.07 < both < one < 0.95 * np.std(found.soil_moisture)
    strata = by_leaf_area(np.asarray(found.leaf_area_index))
    assert sum(map(np.sum, strata.values())) == 2000 and min(map(np.sum, strata.values())) > 50
    assert rmse(np.asarray(found.leaf_area_index), np.exp(0.35 * np.asarray(drawn.signals[:1000, 2]))) < 1e-4


def test_vh_is_taken_away():
    view = RadarView.from_degrees(jnp.full((2, 1), 38.0))
    mask = jnp.array([[[True, True]], [[False, True]]])
    found = without_vh({RADAR: Series(jnp.full((2, 1, 2), -9.0), mask, jnp.zeros((2, 1)), view)})[RADAR]
    np.testing.assert_array_equal(found.mask[:, 0], [[True, False], [False, False]])
    np.testing.assert_array_equal(found.values[:, 0], [[-9.0, 0.0], [0.0, 0.0]])


def test_groups_are_drawn_anew_whole():
    """Pixels that share their error tell no more than one of them."""
    again = redrawn(np.array([7, 7, 3, 9]), 0)
    assert again.shape == (400, 4) and (again[:, 0] == again[:, 1]).all() and (again[:, 1:].sum(1) == 3).all()
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 50)).repeat(8, axis=1)
    truth, both = np.zeros(400), one
    alone = one + 0.5 * other
    estimate, low, high = lost(truth, both, alone, redrawn(np.arange(50).repeat(8), 0))
    _, narrow_low, narrow_high = lost(truth, both, alone, redrawn(np.arange(400), 0))
    assert low < estimate < high and high - low > 2.0 * (narrow_high - narrow_low)
    assert estimate == pytest.approx(rmse(truth, alone) / rmse(truth, both) - 1.0)


@pytest.mark.thorough
def test_both_sensors_know_more_than_either_on_fields_of_many_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.joint.DRAWS", 100)
    retrieval = load_optical_radar("sentinel2a")
    pixels = from_scenes(retrieval, 24, 5000, tmp_path)
    assert pixels.group.size > 500 and not list(tmp_path.iterdir())
    rows = {(row["variable"], row["sensors"]): row for row in scores(retrieval, pixels, 0)}
    for (name, sensors), row in rows.items():
        assert rows[name, "both"]["rmse"] <= row["rmse"] and rows[name, "both"]["crps"] <= row["crps"]
        assert abs(row["coverage"] - 0.9) < 0.02 + 2.0 * row["coverage_error"], (name, sensors)
    assert rows["soil_moisture", "optical"]["lost"][1] > 0.2 and rows["leaf_area_index", "radar"]["lost"][1] > 0.1
