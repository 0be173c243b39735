"""Curves and dates over their box, faces and corners: single precision, slopes, no dead input, batches."""

import numpy as np
import pytest

from benchmarks.phenology_models import phenology
from releo_jax.benchmarking.simulator import evaluate
from releo_jax.benchmarking.space import box_of, points
from tests.physics.simulators import check_that_all_matter, check_values_and_slopes

# One of each kind; `python -m benchmarks simulators --only NAME ...` examines the others in the same way.
KINDS = ("ordered_logistic", "threshold_dates", "alternating_chill")
MODELS = {one.name: one for one in phenology() if one.name in KINDS}


@pytest.mark.parametrize("simulator", MODELS.values(), ids=MODELS)
def test_values_and_slopes_are_right_in_single_precision(simulator):
    check_values_and_slopes(simulator, rounding=2e-6)


@pytest.mark.parametrize("simulator", MODELS.values(), ids=MODELS)
def test_every_parameter_matters_and_batches_are_rows(simulator):
    box = box_of(simulator.prior)
    rng = np.random.default_rng(1)
    # as many rows as in the test above: one program
    number = len(points(box, seed=0, inside=16, on_face=2, corners=16).values)
    each, count = number // (len(box.names) + 1), len(box.names)
    start = rng.uniform(box.low, box.high, (each, count))
    moved = np.tile(start, (count + 1, 1, 1))
    for column in range(count):
        moved[column + 1, :, column] = rng.uniform(box.low[column], box.high[column], each)
    rows = np.resize(moved.reshape(-1, count), (number, count))
    flat = evaluate(simulator, rows, "float32")
    found = flat[: each * (count + 1)].reshape(*moved.shape[:2], -1)
    reach = np.abs(found[1:] - found[0]).max(axis=(1, 2)) / np.abs(found[0]).max()
    check_that_all_matter(simulator, reach)
    # each row is what it is beside any others
    mixed = rng.permutation(number)
    np.testing.assert_allclose(evaluate(simulator, rows[mixed], "float32"), flat[mixed], rtol=1e-6)
