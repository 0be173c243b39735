"""Hidden dates and months: nothing of them is used, scores by hand, and methods on seasons drawn here."""

import numpy as np
import pytest

from benchmarks.time_autoencoders import compare, scores, table
from benchmarks.time_autoencoders_data import hide, measured, simulated
from benchmarks.time_autoencoders_methods import (
    DEFAULT,
    METHODS,
    Settings,
    Told,
    gaussian_processes,
    lines,
    straight,
    whittaker,
)


def _seasons(pixels=20, dates=40, seed=0):
    """Three bands of fields that grow once a year, a third of the dates under clouds."""
    rng = np.random.default_rng(seed)
    days = np.cumsum(rng.uniform(4.0, 14.0, (pixels, dates)), 1)
    start, end = rng.uniform(80.0, 140.0, (pixels, 1)), rng.uniform(230.0, 290.0, (pixels, 1))
    cover = 0.6 / (1.0 + np.exp(-(days - start) / 12.0)) - 0.6 / (1.0 + np.exp(-(days - end) / 15.0))
    truth = np.stack([0.25 - 0.2 * cover, 0.2 + 0.4 * cover, 0.15 + 0.1 * cover**2], -1)
    return hide(days, truth + rng.normal(0.0, 0.01, truth.shape), rng.random(days.shape) < 0.67, seed)


def _changed(case):
    """The case with other values where they are hidden."""
    hidden = np.any(list(case.hidden.values()), 0)
    return case._replace(values=np.where(hidden[..., None], 9.0, case.values))


def test_dates_and_whole_months_are_hidden():
    case = _seasons(200)
    dates, months = case.hidden["single dates"], case.hidden["whole months"]
    assert not (case.seen & (dates | months)).any() and not (dates & months).any()
    assert dates.sum() / (case.seen | dates).sum() == pytest.approx(0.3, abs=0.02)
    for pixel in np.flatnonzero(months.any(1)):
        first, last = case.days[pixel, months[pixel]][[0, -1]]
        assert last - first < 30.0
        inside = (case.days[pixel] >= first) & (case.days[pixel] <= last) & case.there()[pixel]
        np.testing.assert_array_equal(inside, months[pixel])


def test_hidden_dates_are_not_seen():
    case = _seasons()
    changed = _changed(case)
    for ours, theirs in zip(case.series().values, changed.series().values, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert int(case.series().mask.any(-1).sum()) == case.seen.sum()
    for method in (lines, whittaker):
        np.testing.assert_array_equal(method(case, DEFAULT, 0).mean, method(changed, DEFAULT, 0).mean)


def test_lines_by_hand():
    days, values = np.array([[0.0, 10.0, 30.0, 40.0]]), np.array([[[1.0], [9.0], [4.0], [0.0]]])
    told, without = straight(days, np.array([[True, False, True, True]]), values)
    np.testing.assert_allclose(told[0, :, 0], [1.0, 2.0, 4.0, 0.0])
    np.testing.assert_allclose(without[0, :, 0], [4.0, 2.0, 0.25, 4.0])


def test_scores_by_hand():
    case = _seasons()
    mean = case.values + 0.02
    density = np.full(case.values.shape, 1.5)
    found = scores(case, Told(mean, density, mean - 0.03, mean - 0.01))
    for one in found.values():
        assert one["rmse"] == pytest.approx(0.02) and one["coverage"] == 1.0
        assert one["width"] == pytest.approx(0.02)
        assert one["nll"] == pytest.approx(-1.5 - np.log(case.values[case.seen].std(0)).mean())
    assert table({"one": {"seconds": 1.0, **found}}).count("\n") == 2


def test_the_smoother_keeps_lines_as_they_are():
    case = _seasons()
    line = case._replace(values=0.1 + 1e-3 * case.days[..., None] * np.array([1.0, -0.5]))
    told, there = whittaker(line, DEFAULT, 0), case.there()
    np.testing.assert_allclose(told.mean[there], line.values[there], atol=1e-6)


@pytest.mark.thorough
def test_processes_beat_lines_and_the_smoother_on_seasons(optimised):
    case = _seasons(60)
    told = gaussian_processes(case, DEFAULT, 0)
    found = compare(case, {"lines": lines, "smoother": whittaker, "processes": lambda *asked: told})
    first, second, third = (one["single dates"] for one in found.values())
    assert third["rmse"] < min(first["rmse"], second["rmse"])
    assert third["nll"] < min(first["nll"], second["nll"]) - 0.1
    assert all(0.85 < one["coverage"] < 0.97 for one in (first, second, third))
    changed = gaussian_processes(_changed(case), DEFAULT, 0)
    np.testing.assert_array_equal(changed.mean, told.mean)


@pytest.mark.thorough
def test_autoencoders_beat_lines_on_seasons(optimised):
    settings = Settings(steps=300, latents=2, width=32)
    names = ("straight lines", "GP-VAE", "GP-VAE, banded guide")
    found = compare(_seasons(100), {name: METHODS[name] for name in names}, settings=settings)
    told = {name: one["single dates"]["nll"] for name, one in found.items()}
    assert told["GP-VAE"] < told["straight lines"] - 0.1
    assert np.isfinite(told["GP-VAE, banded guide"])


@pytest.mark.long
def test_simulated_canopies_change_over_time(optimised):
    case = simulated(8, dates=20)
    assert case.values.shape[0] == 8 and case.values.shape[2] == 10
    assert np.isfinite(case.values).all() and -0.05 < case.values.min() < case.values.max() < 1.0
    assert (case.values[case.seen].std(0) > 0.015).all()


@pytest.mark.realdata
def test_clear_dates_of_the_plots(data_dir):
    case = measured(data_dir, every=10)
    assert case.values.shape == (25, case.days.shape[1], 10)
    assert (np.diff(case.days) >= 0.0).all() and 0.0 < case.values[case.there()].min()
