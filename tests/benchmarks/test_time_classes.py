"""Classes from latents: scores by hand, rows of the folds, and a small training on series drawn here."""

import numpy as np
import pytest

from benchmarks.time_classes import RAW, Labelled, Settings, calibration_error, compare, formosat, scores, table, ucr


def _seasons(number=90, dates=12, seed=0):
    """Two bands of three classes that peak on other dates."""
    rng = np.random.default_rng(seed)
    labels, days = rng.integers(0, 3, number), np.arange(float(dates))
    peak = 3.0 + 2.5 * labels[:, None] + rng.normal(0.0, 0.3, (number, 1))
    course = np.exp(-0.5 * ((days - peak) / 2.0) ** 2)
    values = np.stack([course, 0.5 - 0.3 * course], -1) + rng.normal(0.0, 0.05, (number, dates, 2))
    rows = rng.permutation(number)
    train, test = rows[: number // 2], rows[number // 2 :]
    return Labelled(values.astype(np.float32), days, labels + 4, [(train, test)], train)


def test_calibration_error_by_hand():
    # Nine told with 0.95, of which eight are right, and one told with 0.55, wrong.
    probabilities, right = np.array([0.95] * 9 + [0.55]), np.array([True] * 8 + [False] * 2)
    assert calibration_error(probabilities, right) == pytest.approx(0.9 * abs(8 / 9 - 0.95) + 0.1 * 0.55)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0.0


def test_scores_by_hand():
    told = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    found = scores(told, np.array([0, 1, 1]))
    assert found["accuracy"] == pytest.approx(2.0 / 3.0)
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.9]).mean())
    lines = table({"a": found}, {"forest": 0.7}).splitlines()
    assert lines[2].startswith("| a | 66.7% | ") and lines[3] == "| forest | 70.0% | – | – | – | – | – |"


def test_the_series_tell_the_classes():
    pytest.importorskip("sklearn")
    given = _seasons()
    found = compare(RAW, given)
    assert found["accuracy"] > 0.9 and found["log_loss"] < 0.4 and "training" not in found
    # Nothing of the test rows is used: with their labels turned around, the same classes are told.
    test = given.folds[0][1]
    labels = given.labels.copy()
    labels[test] = 10 - labels[test]
    wrong = compare(RAW, given._replace(labels=labels))
    assert wrong["accuracy"] == pytest.approx((labels[test] == 5).mean(), abs=0.1)


@pytest.mark.thorough
def test_latents_tell_the_classes(optimised):
    pytest.importorskip("sklearn")
    found = compare("state space", _seasons(), settings=Settings(steps=200, latents=2, width=32))
    assert found["accuracy"] > 0.8
    assert min(found["training"], found["encoding"], found["classifier"]) > 0.0


@pytest.mark.realdata
def test_splits_of_the_measured_series(data_dir):
    pytest.importorskip("sklearn")
    polygons = formosat(data_dir)
    (train, test), *others = polygons.folds
    assert not others and len(train) == len(test) == 260 and not set(train) & set(test)
    assert polygons.values.shape == (520, 50, 3) and set(polygons.unlabelled) <= set(train)
    series = ucr(data_dir)
    assert series.values.shape == (7200, 46, 1) and len(series.unlabelled) == 1500
    assert sorted(np.concatenate([test for _, test in series.folds])) == list(range(7200))
    assert set(series.unlabelled) <= set(series.folds[0][0])
