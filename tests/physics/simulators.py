"""What is asked of every entry of the simulator benchmark: single precision, right slopes, no dead input."""

import jax.numpy as jnp
import numpy as np

from releo_jax.benchmarking.accuracy import accuracy_of_gradients, accuracy_of_values
from releo_jax.benchmarking.space import box_of, points


def check_values_and_slopes(simulator, *, rounding):
    """Single precision beside double over the box, its faces and corners; slopes beside differences."""
    at = points(box_of(simulator.prior), seed=0, inside=16, on_face=2, corners=16)
    # what is not a number is not below a bound either
    assert accuracy_of_values(simulator, at).rounding["all"].relative < rounding
    found = accuracy_of_gradients(simulator, at)
    assert found.reverse["all"].relative < 1e-3, found.reverse["all"]
    assert found.undecided < 0.01


def with_one_changed(simulator):
    """Eight rows of the box, and the same with each parameter drawn anew: `(1 + parameter, 8, parameter)` float32."""
    box = box_of(simulator.prior)
    rng = np.random.default_rng(1)
    start = rng.uniform(box.low, box.high, (8, len(box.names)))
    moved = np.tile(start, (len(box.names) + 1, 1, 1))
    for column in range(len(box.names)):
        moved[column + 1, :, column] = rng.uniform(box.low[column], box.high[column], 8)
    return jnp.asarray(moved, jnp.float32)


def check_that_all_matter(simulator, reach):
    """Every parameter changes the outputs: `reach` of each `(parameter,)`, as a share of their size."""
    names = box_of(simulator.prior).names
    assert dict(zip(names, reach > 1e-3, strict=True)) == dict.fromkeys(names, True)
