"""What the benchmark of leaf area between dates is made of."""

import numpy as np

from benchmarks.time_leaf_area import figures, nearest_clear
from benchmarks.time_leaf_area_methods import Law, straight_lines
from physics import SunView
from releo_jax.observations import Series


def _record():
    mask = np.array([[True, False, True], [False, False, False]])[..., None]
    days = np.array([[0.0, 5.0, 10.0]] * 2, np.float32)
    return Series(np.zeros((2, 3, 1), np.float32), mask, days, SunView.from_degrees(*np.zeros((3, 2, 3), np.float32)))


def test_straight_lines_pass_over_masked_dates_and_stay_level_beyond():
    quantiles = np.array([[[1.0], [99.0], [3.0]]] * 2)
    found = straight_lines(_record(), quantiles, np.array([[-4.0, 5.0, 30.0]] * 2))
    np.testing.assert_allclose(found.draws[0, :, 0], [1.0, 2.0, 3.0])
    assert np.isnan(found.draws[1]).all()


def test_distance_to_the_nearest_clear_date():
    found = nearest_clear(_record(), np.array([[0.0, 4.0, 25.0]] * 2))
    np.testing.assert_allclose(found[0], [0.0, 4.0, 15.0])
    assert np.isinf(found[1]).all()


def test_scores_of_known_laws():
    truth = np.array([1.0, 2.0, 3.0, 10.0])
    law = Law(truth[:, None] + np.linspace(-1.0, 1.0, 41) - np.array([[0.0], [0.0], [0.0], [4.0]]))
    found = figures(truth, law)
    assert (found["rows"], found["coverage"]) == (4, 0.75)
    np.testing.assert_allclose((found["rmse"], found["bias"], found["width"]), (2.0, -1.0, 1.8))
    assert figures(truth, Law(truth[:, None] + 0.5))["crps"] == 0.5
