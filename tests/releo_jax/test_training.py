"""The training loop: where it arrives, and what it does where a loss has no slope."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from releo_jax.training.loop import adam, train


def _distance(parameters, key, data):
    """Squared distance to (1, -2), of noise."""
    return jnp.sum((parameters - data + 0.1 * jax.random.normal(key, (2,))) ** 2)


def _broken(share):
    """The same, for a share of the keys with an infinite slope."""

    def loss(parameters, key, data):
        breaks = jax.random.uniform(jax.random.fold_in(key, 1)) < share
        return _distance(parameters, key, data) + jnp.where(breaks, 1e30, 0.0) * parameters[0] * 1e30

    return loss


TARGET = np.array([1.0, -2.0], np.float32)


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_step_without_a_finite_gradient_is_left_out(average):
    arguments = {"data": TARGET, "key": jax.random.key(0), "steps": 400, "average": average}
    found = train(_broken(0.05), jnp.ones(2), optimiser=adam(400, learning_rate=0.1), **arguments)
    left_out = np.isnan(found.history)
    assert 5 < left_out.sum() < 60 and np.isfinite(found.history[~left_out]).all()
    np.testing.assert_allclose(found.parameters, TARGET, atol=0.05)
    # Nothing else is changed by it: where no step is left out, the loss is followed as ever.
    whole = train(_distance, jnp.ones(2), optimiser=adam(400, learning_rate=0.1), **arguments)
    assert np.isfinite(whole.history).all()
    np.testing.assert_allclose(whole.parameters, TARGET, atol=0.05)


@pytest.mark.parametrize(
    ("start", "steps", "block", "named"),
    [
        (29.5, 50, 20, "5 steps from step 30 on"),
        (29.5, 50, 3, "5 steps from step 30 on"),
        (-1.0, 2, 20, "2 steps from step 0"),
    ],
)
def test_many_in_a_row_end_it_and_name_the_first(start, steps, block, named):
    def loss(parameters, key, data):
        return jnp.where(parameters > 0.0, parameters, jnp.nan)  # falls by 1 a step

    with pytest.raises(FloatingPointError, match=named):
        train(loss, jnp.float32(start), key=jax.random.key(0), steps=steps, block=block, optimiser=optax.sgd(1.0))


def test_a_loss_is_traced_once():
    traced = []

    def loss(parameters, key, data):
        traced.append(parameters)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(parameters))

    # Python numbers and `jnp.full` of them have weak types, which the first update makes strong.
    train(loss, {"one": jnp.full(3, -1.5), "other": 2.0}, key=jax.random.key(0), steps=3)
    assert len(traced) == 1
