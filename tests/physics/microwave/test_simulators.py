"""Microwave models over their box, faces and corners: single precision, slopes, no dead input, batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.microwave import microwave
from releo_jax.benchmarking.accuracy import accuracy_of_gradients, accuracy_of_values
from releo_jax.benchmarking.space import box_of, points

# One of each kind; `python -m benchmarks simulators --only NAME ...` examines the others in the same way.
KINDS = ("mironov09", "oh04", "iem, exponential", "water_cloud", "single_scattering")
MODELS = {one.name: one for one in microwave() if one.name in KINDS}


@pytest.mark.parametrize("simulator", MODELS.values(), ids=MODELS)
def test_values_and_slopes_are_right_in_single_precision(simulator):
    at = points(box_of(simulator.prior), seed=0, inside=16, on_face=2, corners=16)
    # what is not a number is not below a bound either
    assert accuracy_of_values(simulator, at).rounding["all"].relative < 2e-5
    found = accuracy_of_gradients(simulator, at)
    assert found.reverse["all"].relative < 1e-3, found.reverse["all"]
    assert found.undecided < 0.01


@pytest.mark.parametrize("simulator", MODELS.values(), ids=MODELS)
def test_every_parameter_matters_and_batches_are_rows(simulator):
    box = box_of(simulator.prior)
    rng = np.random.default_rng(1)
    start = rng.uniform(box.low, box.high, (8, len(box.names)))
    moved = np.tile(start, (len(box.names) + 1, 1, 1))
    for column in range(len(box.names)):
        moved[column + 1, :, column] = rng.uniform(box.low[column], box.high[column], 8)
    function = jax.jit(simulator.function)
    found = np.asarray(function(jnp.asarray(moved.reshape(-1, len(box.names)), jnp.float32)))
    found = found.reshape(*moved.shape[:2], -1)
    reach = np.abs(found[1:] - found[0]).max(axis=(1, 2)) / np.abs(found[0]).max()
    assert dict(zip(box.names, reach > 1e-3, strict=True)) == dict.fromkeys(box.names, True)
    one = jax.vmap(lambda row: simulator.function(row[None])[0])(jnp.asarray(start, jnp.float32))
    np.testing.assert_allclose(one, found[0], rtol=1e-5, atol=1e-6 * np.abs(found[0]).max())
