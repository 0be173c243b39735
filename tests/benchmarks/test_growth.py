"""The comparison on wheat trials: how it reads them, what fills their gaps, and how the mean curves are scored."""

import numpy as np
import pytest

from benchmarks.growth import BANDWIDTHS, mean_curve, scores, series
from benchmarks.growth_trials import filled, hargreaves, read_trials


def test_radiation_from_the_range_of_temperature():
    """FAO-56, example 15: Lyon in July, 26.6 and 14.8 °C; its R_a of 40.6 is the 15th's."""
    found = hargreaves(np.array([14.8]), np.array([26.6]), 45.72, np.array([196.0]))
    assert found == pytest.approx(22.3, abs=0.15)


def test_gaps_hold_the_mean_of_the_others():
    weather = np.array([[1.0, np.nan, 3.0], [5.0, 7.0, 9.0], [6.0, np.nan, 12.0]])
    complete = filled(weather, width=0)
    np.testing.assert_allclose(complete, [[1.0, 7.0, 3.0], [5.0, 7.0, 9.0], [6.0, 7.0, 12.0]])


def test_an_own_date_moves_a_series_and_is_not_scored():
    rng = np.random.default_rng(0)
    level = rng.lognormal(1.0, 0.5, 2000).astype(np.float32)
    sites = {"leaf_area_index": level[:, None, None] * np.ones((1, 1, 40), np.float32)}
    sites |= {name: np.full(2000, 0.05, np.float32) for name in ("relative", "absolute", "misfit")}
    at, values = np.array([5, 20, 33]), np.array([5.0, 5.0, 5.0])
    blind, _, every = series(sites, 0, at, values, 0, 1)
    told, band, effective = series(sites, 0, at, values, 1, 1)
    assert np.isnan(told[0]).all() and np.isfinite(told[1:]).all() and np.isfinite(blind).all()
    assert every == pytest.approx(2000, rel=1e-3) and 50 < effective < 600
    assert told[1].mean() == pytest.approx(5.0, abs=0.2) and told[1].std() < 0.3 * blind[1].std()
    assert band.shape == (3, 40) and (np.diff(band, axis=0) >= 0.0).all()


@pytest.mark.long
@pytest.mark.realdata
def test_mean_curves_of_the_trials(data_dir):
    """Ten trials with weather; the errors of the curve over growth stages, one trial left out after the other."""
    trials = read_trials(data_dir)
    measured = np.isfinite(trials.leaf_area_index)
    assert len(trials.names) == 10 and measured.sum() == 117 and trials.number.sum() == 1031
    assert np.isfinite(filled(trials.radiation)).all()
    assert 4.0 < np.nanmean(trials.radiation[:, :28]) < np.nanmean(trials.radiation[:, 120:]) < 26.0
    trial, day = np.nonzero(measured & np.isfinite(trials.stage))
    names = np.array(trials.names)[trial]
    value, number = trials.leaf_area_index[trial, day], trials.number[trial, day]
    draws = np.empty((value.size, 200))
    for name in np.unique(names):
        out, stage = names == name, trials.stage[trial, day]
        draws[out] = mean_curve(stage[~out], value[~out], names[~out], stage[out], BANDWIDTHS["stage"], 200, 0)
    found = scores(value, draws, names, number)
    assert found["rows"] == 110 and 0.85 < found["coverage"] < 0.97
    assert found["rmse"] == pytest.approx(1.31, abs=0.03)
