"""Seasons of simulated series: least squares find known ones, ranks and tables, and calibration in small."""

import json

import numpy as np
import pytest

from benchmarks.time_seasons import calibration, calibration_table, main, run
from benchmarks.time_seasons_fits import LEVEL, SITES, Told, agreement, by_draws, curves, scores, squares
from benchmarks.time_seasons_series import joined, read_plots
from benchmarks.time_seasons_trained import DATES, SIMULATED, trained
from releo_jax.inference.calibration import CalibrationReport
from releo_jax.observations import Series
from releo_jax.systems.phenology import RECORD


def test_least_squares_find_seasons_and_say_what_dates_do_not_tell():
    truth = np.array([[0.2, 120.0, 0.5, 30.0, 80.0, 40.0], [0.1, 100.0, 0.6, 50.0, 60.0, 60.0]])
    days = np.broadcast_to(np.arange(2.0, 360.0, 7.0), (2, 52))
    values = np.array(curves(truth[:, None][:, 0], days))
    clear = np.ones(days.shape, bool)
    clear[1, days[1] > 170.0] = False  # the second pixel's fall is not seen
    values = np.where(clear, values, 9.0)
    data = {RECORD: Series(values[..., None].astype(np.float32), clear[..., None], days.astype(np.float32))}
    found = squares(SIMULATED, data, seed=0, draws=200, starts=4)
    for number, name in enumerate(SITES):
        assert found.estimate[name][0] == pytest.approx(truth[0, number], rel=1e-2), name
    assert found.estimate["start_of_season"] == pytest.approx([120.0, 100.0], abs=1.0)
    assert found.estimate["end_of_season"][0] == pytest.approx(120.0 + 15.0 + 80.0 + 20.0, abs=1.0)
    spread = found.draws["end_of_season"].std(0)
    assert spread[0] < 5.0 and spread[1] > 20.0
    dates = np.stack([found.draws[name] for name in DATES[:4]], -1)
    assert (np.diff(dates, axis=-1) > 0.0).all()


def test_a_law_agrees_with_itself_and_not_with_one_that_is_shifted():
    rng = np.random.default_rng(0)
    draws = {name: rng.normal(size=(400, 3)) for name in (*SITES, *DATES)}
    again = {name: rng.normal(size=(400, 3)) + (name == "greenup") for name in draws}
    usable = np.array([True, False, True])
    found = agreement(by_draws(again, 1.0), by_draws(draws, 1.0), usable, tests=0, seed=0)
    assert found["greenup"]["shift"] == pytest.approx(1.0, abs=0.2) and found["maturity"]["shift"] < 0.2
    assert found["maturity"]["spread"] == pytest.approx(1.0, abs=0.1) and "accuracy" not in found
    truth = {name: np.zeros(3) for name in draws}
    told = Told({name: np.full(3, 2.0) for name in draws}, draws, 0.03)
    scored = scores(told, truth)
    assert scored["rise"]["rmse"] == 2.0 and scored["rise"]["coverage"] == 1.0 and scored["seconds_per_1000"] == 10.0


def test_ranks_outside_the_bands_are_told():
    rng = np.random.default_rng(0)
    ranks = {name: rng.integers(0, 100, 1000) for name in (*SITES, *DATES)}
    ranks["maturity"] = rng.integers(20, 80, 1000)
    found = calibration(CalibrationReport(99, ranks))
    assert [name for name, one in found.items() if not one["within"]] == ["maturity"]
    assert found["maturity"]["coverage"] == 1.0 and found["maturity"]["spread"] < -0.3
    shown = calibration_table({"flow": {"ranks": found}})
    assert shown.count("**") == 2 and f"({1.0:.0%})" in shown and LEVEL == 0.9


@pytest.mark.thorough
def test_calibration_in_small(tmp_path, optimised):
    output = tmp_path / "o.json"
    output.write_text('{"comparison": {"scores": {}, "agreement": {}}}')
    how = {"families": ["full_covariance"], "parts": ["calibration"], "data": None, "weights": tmp_path}
    report = run(**how, output=output, steps=20, truths=40, width=8)
    stored = json.loads(output.read_text())
    assert set(stored["calibration"]["full_covariance"]["ranks"]) == {*SITES, *DATES}
    assert stored["comparison"] == {"scores": {}, "agreement": {}}  # what another run wrote
    assert "| end of season |" in (tmp_path / "o.md").read_text()
    # What was trained is read, and not trained again.
    read = trained(SIMULATED, "full_covariance", name="simulated", weights=tmp_path, seed=0, steps=10**9, width=8)
    assert read.minutes == report["calibration"]["full_covariance"]["minutes"]


def test_the_folder_of_measurements_must_be_there(tmp_path):
    with pytest.raises(SystemExit, match="folder of the measurements"):
        main(["--data", str(tmp_path / "none")])


@pytest.mark.realdata
def test_plots_have_their_seasons_and_hidden_dates(data_dir):
    parts = read_plots(data_dir, seed=0)
    country, together = joined(parts)
    assert [len(part.held) for part in parts.values()] == [66, 179] and len(together.held) == country.size == 245
    for part in parts.values():
        known = part.record.mask[..., 0]
        assert not (part.held & known).any() and 0.15 < part.held.sum() / known.sum() < 0.25
        assert (part.record.time[known] < 365.0).all()
        # From bare soil to closed canopies.
        low, high = np.quantile(part.ndvi[known], (0.05, 0.95))
        assert 0.05 < low < 0.2 and 0.75 < high < 0.95
        # Straight lines do not see what is held out.
        assert not np.isclose(part.line[part.held], part.ndvi[part.held]).all()
