"""The radar benchmark: rows as their read-me files say, folds that do not see what they are asked for, known scores."""

import numpy as np
import pytest

from benchmarks.radar import CropRows, StationRows, crops, station
from benchmarks.soil_moisture import fits_table
from benchmarks.soil_moisture_crops import Campaign, campaigns, free_fit, scores
from benchmarks.soil_moisture_station import folds, on_one_orbit


def _rows(n, bands, simulated=()):
    rng = np.random.default_rng(n)
    column = rng.uniform(0.1, 0.4, n)
    rows = np.isin(np.arange(n), simulated)
    return CropRows("crop", bands, np.full((n, len(bands)), -9.0), 10.0 * column, column, 100.0 * column, {}, rows)


def test_campaigns_leave_one_row_out_and_pad():
    made, series = campaigns([_rows(4, ("vv",)), _rows(6, ("vv", "vh"), simulated=(4, 5))])
    assert series.values.shape == (5 + 2 * 6, 6, 1)
    mask = {campaign: np.asarray(series.mask[i, :, 0]).tolist() for i, campaign in enumerate(made)}
    assert mask[Campaign(0, 0, -1)] == [True] * 4 + [False] * 2
    assert mask[Campaign(0, 0, 2)] == [True, True, False, True, False, False]
    assert mask[Campaign(1, 1, 0)] == [False, True, True, True, False, False]
    assert mask[Campaign(1, 1, -2)] == [False] * 4 + [True] * 2


def test_free_fit_finds_what_made_the_rows():
    rng = np.random.default_rng(0)
    area, moisture, view = rng.uniform(0.1, 5.0, 60), rng.uniform(0.05, 0.4, 60), np.full(60, 0.6)
    _, predict = free_fit(np.zeros(3), area[:3], moisture[:3], view[:3])
    made = predict(np.array([0.1, 0.2, 0.4, -14.0, 25.0]), area, moisture, view)
    found, _ = free_fit(made, area, moisture, view, starts=4)
    np.testing.assert_allclose(predict(found, area, moisture, view), made, atol=0.02)
    # V = 1, theta = 0.6, T² = exp(-0.4 / cos 0.6)
    through = np.exp(-0.4 / np.cos(0.6))
    by_hand = 10 * np.log10(0.1 * np.cos(0.6) * (1 - through) + through * 10 ** (0.1 * (-14 + 25 * 0.2)))
    single = predict(np.array([0.1, 0.2, 0.4, -14.0, 25.0]), np.ones(1), np.full(1, 0.2), np.full(1, 0.6))
    assert single[0] == pytest.approx(by_hand)


def test_folds_follow_time_and_orbits_are_levelled_by_what_teaches():
    date = np.arange("2016-06-01", "2020-06-01", 61, dtype="datetime64[D]")
    moisture = np.where(np.arange(date.size) % 5 == 0, np.nan, 0.2)
    orbit = np.arange(date.size) % 2
    rows = StationRows(date, moisture, np.stack([-10.0 + 2.0 * orbit, -17.0 + orbit], 1), orbit, orbit > 2)
    for scheme, number in (("earlier", 3), ("other", 5)):
        made = folds(rows, scheme)
        assert len(made) == number
        for fold in made:
            assert not (fold.train & fold.test).any()
            assert not np.isnan(moisture[fold.train | fold.test]).any()
            if scheme == "earlier":
                assert date[fold.train].max() < date[fold.test].min()
        assert np.ptp(on_one_orbit(rows, made[0].train), axis=0) == pytest.approx([0.0, 0.0])


def test_scores_of_a_known_law():
    rng = np.random.default_rng(0)
    truth, draws = 0.2 + 0.05 * rng.normal(size=4000), 0.2 + 0.05 * rng.normal(size=(4000, 400))
    found = scores(truth, draws)
    assert found["coverage"] == pytest.approx(0.9, abs=0.015) and found["rmse"] == pytest.approx(0.05, rel=0.03)
    assert found["crps"] == pytest.approx(0.05 * np.pi**-0.5, rel=0.03)
    assert scores(truth, truth[:, None] + 0.01)["crps"] == pytest.approx(0.01)


@pytest.mark.realdata
def test_free_fits_of_the_real_rows_are_those_quoted(data_dir):
    """Numbers of rows and errors (dB) that the data's read-me quotes; gaps of the station are no dry soil."""
    for rows in crops(data_dir):
        use = ~rows.simulated
        state = [column[use] for column in (rows.area, rows.moisture, np.radians(rows.incidence))]
        for name, quoted in rows.quoted.items():
            truth = rows.decibels[use, rows.bands.index(name)]
            found, predict = free_fit(truth, *state, starts=6)
            assert np.sqrt(np.mean((predict(found, *state) - truth) ** 2)) == pytest.approx(quoted, abs=0.01)
        assert use.sum() == {"wheat": 47, "corn": 26, "quad-pol crop": 29}[rows.name]
    made = station(data_dir)
    known = np.isfinite(made.moisture)
    assert (made.date.size, known.sum(), (known & made.frozen).sum()) == (208, 186, 24)
    assert np.nanmin(made.moisture) > 0.05 and fits_table({"crops": {}}).count("|") > 10
