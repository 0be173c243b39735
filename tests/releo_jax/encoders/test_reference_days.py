"""Reference days: the equation, and that neither order, padding nor neighbours are seen, but days are."""

import jax
import numpy as np
import pytest
from flax import nnx

from physics.microwave import RadarView
from releo_jax.encoders import ReferenceDays
from releo_jax.observations import Series, SingleDate, take

PIXELS, DATES = 6, 5


def series(bands, *, seed):
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(PIXELS, DATES, bands)) < 0.8
    mask[0] = False
    time, angle = rng.uniform(0.0, 60.0, (PIXELS, DATES)), rng.uniform(0.5, 0.8, (PIXELS, DATES))
    view = RadarView(incidence=angle.astype(np.float32))
    return Series(rng.normal(size=mask.shape).astype(np.float32), mask, time, view)


@pytest.fixture(scope="module")
def data():
    return {"s1": series(2, seed=1), "s2": series(3, seed=2)}


@pytest.fixture(scope="module")
def chosen(data):
    return ReferenceDays(data, width=16, depth=2, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def encoder(chosen):
    return jax.jit(chosen)


def test_what_is_seen_around_a_day_is_that_of_the_equation(chosen, data):
    record = data["s1"]
    found = np.asarray(jax.jit(chosen.sensors["s1"])(record))
    time, mask = np.asarray(record.time, float), np.asarray(record.mask)
    days = time[mask.any(-1)].min() + 7.0 * np.arange(len(chosen.sensors["s1"].days[...]))
    assert days[-1] >= time[mask.any(-1)].max() > days[-2]
    mean = np.array([np.asarray(record.values)[..., b][mask[..., b]].mean() for b in range(2)])
    scale = np.array([np.asarray(record.values)[..., b][mask[..., b]].std() for b in range(2)])
    pixel, day, band, spread = 2, 3, 1, 5.25
    near = np.exp(-0.5 * ((time[pixel] - days[day]) / spread) ** 2) * mask[pixel, :, band]
    density = near.sum()
    values = (np.asarray(record.values)[pixel, :, band] - mean[band]) / scale[band]
    grid = found.reshape(PIXELS, 2, len(days), 6)  # of each: two bands, an angle
    np.testing.assert_allclose(grid[pixel, 0, day, 3 + band], density, rtol=1e-4)
    np.testing.assert_allclose(grid[pixel, 0, day, band], (near * values).sum() / (density + 0.1), rtol=1e-3)


def test_the_context_is_that_of_the_set(encoder, data):
    found = np.asarray(encoder(data))
    assert found.shape == (PIXELS, 16) and np.isfinite(found).all()
    order = np.array([2, 0, 4, 3, 1])
    turned = jax.tree.map(lambda leaf: leaf[:, order], data["s1"])
    np.testing.assert_allclose(encoder(data | {"s1": turned}), found, atol=1e-5)
    assert np.abs(found[1] - found[2]).max() > 1e-3
    # The same values some days later are something else.
    record = data["s1"]
    later = Series(record.values, record.mask, record.time + 4.0, record.geometry)
    assert np.abs(np.asarray(encoder(data | {"s1": later})) - found)[1:].max() > 1e-3


def test_padded_and_masked_dates_leave_no_trace(encoder, data):
    record = data["s1"]
    padded = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf[:, :2]], 1), record)
    late = np.arange(DATES + 2) >= DATES
    hidden = padded.mask & ~late[:, None]
    for value, day in ((1e6, 3.0), (np.nan, np.nan)):
        values, time = np.where(hidden, padded.values, np.float32(value)), np.where(late, np.float32(day), padded.time)
        longer = Series(values, hidden, time, padded.geometry)
        np.testing.assert_allclose(encoder(data | {"s1": longer}), encoder(data), atol=1e-6)


def test_a_sensor_may_be_missing_and_pixels_stand_alone(encoder, data):
    record = data["s1"]
    nothing = Series(record.values, np.zeros(record.mask.shape, bool), record.time, record.geometry)
    found = np.asarray(encoder(data | {"s1": nothing}))
    whole = np.asarray(encoder(data))
    assert np.isfinite(found).all() and np.abs(found[1:] - whole[1:]).max() > 1e-3
    np.testing.assert_allclose(np.asarray(encoder(take(data, np.full(PIXELS, 3))))[0], whole[3], atol=1e-6)


def test_gradients_are_finite_and_nothing_comes_from_masked_values(chosen, data):
    graph, weights, rest = nnx.split(chosen, nnx.Param, ...)
    record = data["s1"]

    def total(weights, values, time):
        return nnx.merge(graph, weights, rest)(data | {"s1": Series(values, record.mask, time, record.geometry)}).sum()

    of_weights, of_values, of_time = jax.jit(jax.grad(total, (0, 1, 2)))(weights, record.values, record.time)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((of_weights, of_values, of_time)))
    assert len(jax.tree.leaves(of_weights)) == 4  # two layers; days, kernels and statistics are not trained
    np.testing.assert_array_equal(np.asarray(of_values) != 0.0, np.asarray(record.mask))
    assert np.all(np.asarray(of_time)[0] == 0.0)  # the pixel without dates


def test_the_order_of_the_sensors_does_not_matter(data):
    turned = dict(reversed(data.items()))
    one, other = (jax.jit(ReferenceDays(seen, width=16, depth=1, rngs=nnx.Rngs(0))) for seen in (data, turned))
    np.testing.assert_array_equal(one(data), other(turned))


def test_what_does_not_fit_is_named(data, chosen):
    rngs = nnx.Rngs(0)
    single = SingleDate(np.ones((PIXELS, 2), np.float32))
    with pytest.raises(ValueError, match="'weather': expected a Series, got SingleDate"):
        ReferenceDays({"weather": single}, rngs=rngs)
    record = data["s1"]
    nothing = Series(record.values, np.zeros(record.mask.shape, bool), record.time, record.geometry)
    with pytest.raises(ValueError, match="'s1': expected an example with usable dates"):
        ReferenceDays({"s1": nothing}, rngs=rngs)
    with pytest.raises(ValueError, match="'s2': expected 3 bands, got 2"):
        chosen(data | {"s2": data["s1"]})
