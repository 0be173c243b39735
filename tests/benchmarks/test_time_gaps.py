"""Gaps of series: nothing of the hidden date is used, known scores, simulated patches, and a few real dates."""

import numpy as np
import pytest

from benchmarks.time_gaps import hidden, leave_one_date_out, read_patch, scores, table
from benchmarks.time_gaps_methods import Normal, Patch, gaussian_process, linear, roughness, whittaker


def _simulated(seed, *, dates=40, pixels=30):
    """A season, what pixels have more, hazy dates with clouds, and clouds that the mask has missed."""
    rng = np.random.default_rng(seed)
    day = np.cumsum(rng.choice([10.0, 20.0, 30.0], dates))
    phase = 2.0 * np.pi * day[:, None] / 365.25
    cloudy = np.where(rng.uniform(size=dates) < 0.3, rng.uniform(0.1, 0.6, dates), 0.0)
    clear = rng.uniform(size=(dates, pixels)) >= cloudy[:, None]
    season = 0.5 - 0.2 * np.cos(phase)
    own = rng.normal(0.0, 0.07, pixels) * np.cos(phase) + rng.normal(0.0, 0.05, pixels)
    whole_date = rng.normal(0.0, 0.03, (dates, 1)) - 0.25 * cloudy[:, None] * rng.uniform(0.5, 1.5, (dates, 1))
    index = season + own + whole_date + rng.normal(0.0, 0.04, clear.shape)
    index -= np.where(rng.uniform(size=clear.shape) < 0.01, 0.2, 0.0)
    return Patch(day, index, clear, 1.0 - clear.mean(1))


def test_the_hidden_date_is_not_seen():
    patch = _simulated(0, dates=12, pixels=20)
    changed = patch._replace(ndvi=np.where(np.arange(12)[:, None] == 5, 9.0, patch.ndvi))
    for method in (linear, whittaker):
        for name, law in method(hidden(patch, 5), 5).items():
            np.testing.assert_array_equal(law.mean, method(hidden(changed, 5), 5)[name].mean)
    seen = hidden(changed, 5)
    assert np.isnan(seen.ndvi[5]).all() and not seen.clear[5].any() and changed.clear[5].any()


def test_straight_lines_are_level_beyond_the_ends():
    day = np.array([0.0, 10.0, 40.0, 50.0])
    index = np.array([[0.1, 0.2], [0.3, 0.4], [0.9, 0.1], [0.5, 0.7]])
    clear = np.array([[True, True], [True, True], [True, False], [True, True]])
    patch = Patch(day, index, clear, 1.0 - clear.mean(1))
    np.testing.assert_allclose(linear(hidden(patch, 1), 1)["straight lines"].mean, [0.3, 0.2 + 0.5 * 10.0 / 50.0])
    np.testing.assert_allclose(linear(hidden(patch, 0), 0)["straight lines"].mean, [0.3, 0.4])


def test_roughness_of_a_parabola():
    # second derivative 2, over the days from half-way after the first to half-way before the last
    day = np.array([0.0, 1.0, 4.0, 6.0, 11.0])
    np.testing.assert_allclose(roughness(day) @ (3.0 * day - 2.0), 0.0, atol=1e-12)
    assert day**2 @ roughness(day) @ day**2 == pytest.approx(4.0 * (8.5 - 0.5))


def test_whittaker_wants_days_that_differ():
    patch = _simulated(0, dates=12, pixels=20)
    with pytest.raises(ValueError, match="days that differ"):
        whittaker(patch._replace(day=np.zeros(12)), 3)


def test_scores_by_hand():
    patch = Patch(
        np.arange(3.0), np.zeros((3, 2)), np.array([[True, True], [True, False], [True, True]]), np.array([0, 0.5, 0])
    )
    laws = [Normal(np.array([0.1, 0.3]), np.full(2, 0.1)), Normal(np.array([0.5, 9.0]), np.full(2, 0.1))]
    found = scores(patch, [0, 1], laws)
    assert found["rmse"] == pytest.approx(np.sqrt((0.01 + 0.09 + 0.25) / 3.0))
    assert found["rmse_inside"] == pytest.approx(0.5) and found["rmse_clear"] == pytest.approx(np.sqrt(0.05))
    assert found["rmse_within"] == pytest.approx(np.sqrt(0.02 / 3.0))
    assert found["coverage"] == pytest.approx(1.0 / 3.0) and found["width"] == pytest.approx(0.329, abs=1e-3)
    assert table({"one": found}).count("\n") == 2


@pytest.mark.thorough
def test_gaussian_process_beats_straight_lines_and_covers():
    """Three patches, for errors of a whole date are few: 15 dates."""
    records = [
        leave_one_date_out(_simulated(seed), (linear, gaussian_process), dates=range(1, 40, 8)) for seed in range(3)
    ]

    def pooled(method, score):
        return np.mean([record[method][score] for record in records])

    for method in ("Gaussian process", "Gaussian process, clouds of the date known"):
        assert all(record[method]["rmse_within"] < record["straight lines"]["rmse_within"] for record in records)
        assert pooled(method, "rmse") < 0.9 * pooled("straight lines", "rmse")
        assert pooled(method, "crps") < 0.7 * pooled("straight lines", "crps")
        assert 0.85 < pooled(method, "coverage") < 0.95


@pytest.mark.realdata
def test_straight_lines_score_as_published_on_the_real_patch(data_dir):
    patch = read_patch(data_dir, every=4)
    assert patch.ndvi.shape == (48, 25 * 25) and (np.diff(patch.day) > 0.0).all()
    found = leave_one_date_out(patch, (linear,))
    assert found["straight lines"]["rmse"] == pytest.approx(0.099, abs=0.001)


@pytest.mark.long
@pytest.mark.realdata
def test_hazy_neighbours_mislead_straight_lines_only(data_dir):
    """Three clear dates of a summer whose other dates have clouds."""
    patch = read_patch(data_dir, every=14)
    dates = np.flatnonzero(np.isin(patch.day, (730.0, 740.0, 755.0)))
    found = leave_one_date_out(patch, (linear, gaussian_process), dates=dates)
    assert len(dates) == 3
    assert found["Gaussian process"]["rmse"] < 0.7 * found["straight lines"]["rmse"]
    assert found["Gaussian process"]["width"] < 0.4
