"""A set encoder does not see order, padding or neighbours, and does without any sensor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physics.microwave import RadarView
from releo_jax.encoders import SetEncoder
from releo_jax.observations import Series, SingleDate, take

PIXELS, DATES = 6, 4


def series(bands, *, seed):
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(PIXELS, DATES, bands)) < 0.8
    mask[0] = False
    time, angle = rng.uniform(-10, 10, (PIXELS, DATES)), rng.uniform(0.5, 0.8, (PIXELS, DATES))
    view = RadarView(incidence=angle.astype(np.float32))
    return Series(rng.normal(size=mask.shape).astype(np.float32), mask, time, view)


@pytest.fixture(scope="module")
def data():
    single = SingleDate(np.random.default_rng(3).normal(size=(PIXELS, 2)).astype(np.float32))
    return {"s1": series(2, seed=1), "s2": series(5, seed=2), "weather": single}


@pytest.fixture(scope="module")
def encoder(data):
    chosen = SetEncoder(data, width=16, depth=1, by_date=("s1",), transforms={"s2": jnp.tanh}, rngs=nnx.Rngs(0))
    return jax.jit(chosen)


def reordered(record, order):
    return jax.tree.map(lambda leaf: leaf[:, order] if leaf.ndim > 1 else leaf, record)


def test_the_context_is_that_of_the_set(encoder, data):
    found = np.asarray(encoder(data))
    assert found.shape == (PIXELS, 16 + DATES * 4) and np.isfinite(found).all()
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(encoder(data | {"s2": reordered(data["s2"], order)}), found, atol=1e-6)
    turned = np.asarray(encoder(data | {"s1": reordered(data["s1"], order)}))
    np.testing.assert_allclose(turned[:, :16], found[:, :16], atol=1e-6)
    # What follows stands date by date, in their order.
    np.testing.assert_allclose(
        turned[:, 16:].reshape(PIXELS, DATES, 4), found[:, 16:].reshape(PIXELS, DATES, 4)[:, order], atol=1e-6
    )
    assert np.abs(found[1] - found[2]).max() > 1e-3


def test_padded_dates_and_masked_bands_leave_no_trace(encoder, data):
    record = data["s2"]
    hidden = np.asarray(record.mask).copy()
    hidden[:, -1] = False
    time = np.full((2, PIXELS, DATES), 3.0, np.float32)
    time[1, :, -1] = 9.0
    values = (np.where(hidden, record.values, np.float32(far)) for far in (1e6, -7.0))
    changed, same_time = (Series(*given, record.geometry) for given in zip(values, [hidden] * 2, time, strict=True))
    np.testing.assert_array_equal(encoder(data | {"s2": changed}), encoder(data | {"s2": same_time}))


def test_a_sensor_may_be_missing_and_pixels_stand_alone(encoder, data):
    record = data["s2"]
    nothing = Series(record.values, np.zeros(record.mask.shape, bool), record.time, record.geometry)
    found = np.asarray(encoder(data | {"s2": nothing}))
    assert np.isfinite(found).all() and np.abs(found[1:] - np.asarray(encoder(data))[1:]).max() > 1e-3
    np.testing.assert_array_equal(found[0], encoder(data)[0])  # it had none to begin with
    np.testing.assert_allclose(encoder(take(data, np.array([3, 3, 3, 3, 3, 3])))[0], encoder(data)[3], atol=1e-6)

    def total(values):
        seen = data | {"s2": Series(values, nothing.mask, record.time, record.geometry)}
        return encoder(seen).sum()

    assert np.all(np.asarray(jax.jit(jax.grad(total))(record.values)) == 0.0)


def test_the_order_of_the_sensors_does_not_matter(data):
    turned = dict(reversed(data.items()))
    one, other = (jax.jit(SetEncoder(seen, width=16, depth=1, rngs=nnx.Rngs(0))) for seen in (data, turned))
    np.testing.assert_array_equal(one(data), other(turned))


def test_what_does_not_fit_is_named(data, encoder):
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match=r"by_date.*'s3'"):
        SetEncoder(data, by_date=("s3",), rngs=rngs)
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        SetEncoder(data, width=6, rngs=rngs)
    with pytest.raises(ValueError, match="'s2': expected 5 bands, got 2"):
        encoder(data | {"s2": data["s1"]})
