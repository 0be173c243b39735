"""The classifier reaches the accuracy that the densities allow, and no more than chance where they are the same."""

import numpy as np
import pytest
from scipy import stats

from releo_jax.metrics import c2st

pytestmark = pytest.mark.usefixtures("optimised")

N = 2000


def best(shift, width):
    """Accuracy of the classifier that knows the densities N(shift, width) and N(0, 1) of one dimension."""
    x = np.linspace(-12, 12, 100_001)
    overlap = np.minimum(stats.norm.pdf(x, shift, width), stats.norm.pdf(x)).sum() * (x[1] - x[0])
    return 1.0 - 0.5 * overlap


def normal(seed, shift=0.0, width=1.0, dimensions=2):
    """Only the first dimension differs, so that `best` holds."""
    draws = np.random.default_rng(seed).normal(size=(N, dimensions))
    draws[:, 0] = shift + width * draws[:, 0]
    return draws


@pytest.mark.parametrize(("shift", "width"), [(0.0, 0.5), (0.0, 2.0), (1.0, 1.0)], ids=["narrow", "wide", "shifted"])
def test_accuracy_is_that_of_the_densities(shift, width):
    test = c2st(normal(0, shift, width), normal(1))
    assert not test.within
    assert test.accuracy == pytest.approx(best(shift, width), abs=0.025)  # 4000 rows: standard error 0.007


def test_draws_of_one_law_cannot_be_told_apart():
    tests = [c2st(normal(2 * seed), normal(2 * seed + 1), seed=seed) for seed in (1, 2)]
    assert all(0.5 <= test.accuracy < 0.53 for test in tests)
    assert any(test.within for test in tests)
    assert tests[0].limit == pytest.approx(0.5 + 1.645 * 0.5 / np.sqrt(2 * N), abs=1e-4)


def test_units_do_not_matter_and_constant_dimensions_do_no_harm():
    factor = np.array([1e4, 1e-6, 0.0])
    a, b = (normal(seed, shift, dimensions=3) * factor + 3.0 for seed, shift in ((0, 1.0), (1, 0.0)))
    assert c2st(a, b).accuracy == pytest.approx(best(1.0, 1.0), abs=0.025)


def test_separate_laws_are_always_told_apart_and_the_seed_repeats():
    a, b = normal(0, 20.0), normal(1, width=5.0)
    first, again, other = (c2st(a, b, seed=seed) for seed in (0, 0, 1))
    assert first.accuracy > 0.99 and len(first.folds) == 5
    np.testing.assert_array_equal(first.folds, again.folds)
    assert (first.folds != other.folds).any()


def test_the_structure_of_dependence_is_seen():
    rng = np.random.default_rng(5)
    factor = np.linalg.cholesky([[1.0, 0.8], [0.8, 1.0]])
    assert c2st(rng.normal(size=(N, 2)) @ factor.T, rng.normal(size=(N, 2))).accuracy > 0.65


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: c2st(np.zeros((100, 2)), np.zeros((100, 3))), "same parameters in both"),
        (lambda: c2st(np.zeros((40, 2)), np.zeros((100, 2))), "draw more"),
        (lambda: c2st(np.full((100, 2), np.nan), np.zeros((100, 2))), "not finite"),
        (lambda: c2st(np.zeros((100, 2)), np.zeros((100, 2)), seed=-1), "whole number"),
    ],
)
def test_bad_requests_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
