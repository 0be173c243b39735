"""Microwave models over their box, faces and corners: single precision, slopes, no dead input, batches."""

import jax
import numpy as np
import pytest

from benchmarks.microwave import microwave
from tests.physics.simulators import check_that_all_matter, check_values_and_slopes, with_one_changed

# One of each kind; `python -m benchmarks simulators --only NAME ...` examines the others in the same way.
KINDS = ("mironov09", "oh04", "iem, exponential", "water_cloud", "single_scattering")
MODELS = {one.name: one for one in microwave() if one.name in KINDS}


@pytest.mark.parametrize("simulator", MODELS.values(), ids=MODELS)
def test_values_and_slopes_are_right_in_single_precision(simulator):
    check_values_and_slopes(simulator, rounding=2e-5)


@pytest.mark.parametrize("simulator", MODELS.values(), ids=MODELS)
def test_every_parameter_matters_and_batches_are_rows(simulator):
    moved = with_one_changed(simulator)
    found = np.asarray(jax.jit(simulator.function)(moved.reshape(-1, moved.shape[-1]))).reshape(*moved.shape[:2], -1)
    check_that_all_matter(simulator, np.abs(found[1:] - found[0]).max(axis=(1, 2)) / np.abs(found[0]).max())
    one = jax.jit(jax.vmap(lambda row: simulator.function(row[None])[0]))(moved[0])
    np.testing.assert_allclose(one, found[0], rtol=1e-5, atol=1e-6 * np.abs(found[0]).max())
