"""Spring dates on real sites: what belongs together, folds that keep a site out, baselines, and a whole table."""

import numpy as np
import pytest

from benchmarks.phenology import table
from benchmarks.phenology_series import SiteSeries, hold_out, read_series, split_seasons
from benchmarks.phenology_spring import CANDIDATES, baselines, compare_spring, folds, read_spring
from releo_jax.metrics import rmse


def test_folds_leave_one_group_out():
    found = folds(np.array([3, 3, 5, 9]))
    np.testing.assert_array_equal(found, [[0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]])


def test_every_fifth_clear_date_is_held_out_and_straight_lines_do_not_see_it():
    day = np.arange(0.0, 800.0, 10.0)
    series = SiteSeries(day, 0.5 + 0.3 * np.sin(day / 58.0), np.arange(day.size) % 4 != 1)
    held = hold_out(series.clear, np.random.default_rng(0))
    assert (series.clear[held]).all() and held.sum() == 12
    found = split_seasons(series, held, first=10.0)
    known = found.record.mask[..., 0]
    assert found.held.shape[0] == 2 and not (found.held & known).any()
    # the second season begins a year later
    np.testing.assert_allclose(found.record.time[1][known[1]][0], 340.0 - 375.25)
    changed = series._replace(ndvi=np.where(held, 9.0, series.ndvi))
    again = split_seasons(changed, held, first=10.0)
    np.testing.assert_array_equal(again.line, found.line)
    assert (again.ndvi[found.held] == 9.0).all()
    np.testing.assert_array_equal(again.record.values, found.record.values)


@pytest.mark.realdata
def test_series_are_in_the_order_of_time(data_dir):
    for series in read_series(data_dir).values():
        assert (np.diff(series.day) > 0.0).mean() > 0.97 and (np.diff(series.day) >= 0.0).all()
        assert series.clear.sum() > 150 and 0.0 < series.ndvi[series.clear].min() < series.ndvi.max() < 1.0


@pytest.mark.realdata
def test_grass_and_trees_have_their_rows(data_dir):
    rows = read_spring(data_dir)
    deciduous = rows["DB"]
    assert deciduous.date.size == 232 and np.unique(deciduous.site).size == 43 and np.unique(deciduous.place).size < 43
    assert np.unique(rows["GR"].site).size == 10
    plain = baselines(deciduous, deciduous.site)
    assert rmse(deciduous.date, plain["mean"]) == pytest.approx(14.6, abs=0.1)
    assert rmse(deciduous.date, plain["least squares"]) == pytest.approx(10.5, abs=0.1)


@pytest.mark.long
@pytest.mark.realdata
def test_trees_leaf_within_ten_days_at_sites_that_were_not_seen(data_dir, optimised):
    """A third of the sites at a time is left out: fewer are learned from than where one is."""
    rows = read_spring(data_dir)["DB"]
    name = "day length"
    report = compare_spring(rows, rows.site % 3, {name: CANDIDATES[name]}, seed=0, n=60)
    assert set(report) == {"mean", "least squares", "chosen by evidence", name}
    assert report[name]["rmse"] < 10.0 < report["least squares"]["rmse"]
    assert report["chosen by evidence"]["rmse"] == report[name]["rmse"]
    assert report["chosen by evidence"]["folds"] == {name: 3}
    assert 0.75 < report[name]["coverage"] < 0.97
    assert abs(report[name]["bias"]) < 3.0
    assert table(report).count("\n") == len(report) + 1
