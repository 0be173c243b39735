"""GP-prior autoencoders of series: what they owe to the prior, and held-out dates of simulated fields."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from releo_jax.gp import Exact, Matern32
from releo_jax.observations import Series
from releo_jax.systems.gp_vae import PARTS, _hidden, gp_vae, independent, smooth, two_speeds
from releo_jax.systems.gp_vae_network import components

WEEKLY = np.arange(-20.0, 400.0, 7.0, dtype=np.float32)


@pytest.fixture
def key():
    return jax.random.key(0)


def _fields(pixels, dates=40, seed=0):
    """Three bands of fields that grow once a year: days, measurements, truth without noise, and clear dates."""
    rng = np.random.default_rng(seed)
    days = np.sort(rng.uniform(0.0, 365.0, (pixels, dates)), 1).astype(np.float32)
    start, end = rng.uniform(80.0, 140.0, (pixels, 1)), rng.uniform(230.0, 290.0, (pixels, 1))
    cover = 1.0 / (1.0 + np.exp(-(days - start) / 12.0)) - 1.0 / (1.0 + np.exp(-(days - end) / 15.0))
    cover = rng.uniform(0.4, 0.8, (pixels, 1)) * cover
    wet = rng.normal(0.0, 0.05, (pixels, 1)) * np.sin(days / 25.0)
    truth = np.stack([0.25 - 0.2 * cover + wet, 0.2 + 0.4 * cover - wet, 0.15 + 0.1 * cover**2], -1)
    values = (truth + rng.normal(0.0, 0.02, truth.shape)).astype(np.float32)
    return days, values, truth, rng.random(days.shape) < 0.7


def _data(days, values, seen):
    return {"s2": Series(values, np.repeat(seen[..., None], values.shape[-1], -1), days)}


def _exact(scales):
    return Exact(Matern32(jnp.ones_like(scales), scales))


def test_the_bound_does_not_depend_on_how_the_process_is_computed(key):
    days, values, _, seen = _fields(5, dates=12)
    data = _data(days, values, seen)
    vae = gp_vae(data, latents=2, width=8, process=smooth)
    found = vae.elbo(data, key=key)
    expected = gp_vae(data, latents=2, width=8, process=_exact).elbo(data, key=key)
    assert found.shape == (5,)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_empty_pixels_return_the_prior_and_pixels_do_not_touch(key):
    days, values, _, seen = _fields(4, dates=12)
    seen[2] = False
    data = _data(days, values, seen)
    vae = gp_vae(data, latents=2, width=8)
    latents = vae(data).latents.at()
    np.testing.assert_allclose(latents.mean[2], 0.0, atol=1e-6)
    np.testing.assert_allclose(latents.variance[2], 1.0, rtol=1e-5)
    other = values.copy()
    other[1] = 0.9
    changed = vae(_data(days, other, seen)).latents.at()
    np.testing.assert_array_equal(changed.mean[0], latents.mean[0])
    assert np.abs(changed.mean[1] - latents.mean[1]).max() > 1e-3
    weekly = vae(data).predict(np.arange(-20.0, 400.0, 30.0), key=key, draws=7)
    assert weekly.mean.shape == (4, 14, 3)
    assert weekly.draws.shape == (7, 4, 14, 3)
    assert (np.asarray(weekly.deviation) >= np.asarray(weekly.noise)).all()
    assert np.isfinite(weekly.log_density(jnp.zeros((4, 14, 3)))).all()


@pytest.mark.parametrize(
    "guide", [pytest.param(name, marks=[pytest.mark.thorough] * (name == "mean_field")) for name in PARTS]
)
def test_padded_and_masked_dates_leave_no_trace(guide, key):
    days, values, _, seen = _fields(3, dates=10)
    data = _data(days, values, seen)
    vae = gp_vae(data, latents=2, width=8, guide=guide)
    padded = _data(
        np.pad(days, ((0, 0), (0, 4))), np.pad(values, ((0, 0), (0, 4), (0, 0))), np.pad(seen, ((0, 0), (0, 4)))
    )
    expected, found = vae(data).latents.at(), vae(padded).latents.at()
    np.testing.assert_allclose(found.mean[..., :10], expected.mean, atol=1e-5)
    np.testing.assert_allclose(found.variance[..., :10], expected.variance, atol=1e-5)
    # Dates that nobody saw are not asked for either: without them it is the same posterior.
    alone = {"s2": Series(values[:1, seen[0]], time=days[:1, seen[0]])}
    for ours, theirs in zip(vae(alone).latents.at(WEEKLY), vae(data).latents.at(WEEKLY), strict=True):
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(vae(alone).latents.kl()[0], vae(data).latents.kl()[0], rtol=1e-3)
    assert np.isfinite(vae.elbo(padded, key=key)).all()


@pytest.mark.parametrize("guide", ["mean_field", "banded"])
def test_guides_without_sites_see_the_dates_around_and_no_others(guide):
    days, values, _, seen = _fields(2, dates=12)
    seen[:] = True
    vae = gp_vae(_data(days, values, seen), latents=2, width=8, guide=guide)
    changed = values.copy()
    changed[0, 5] += 1.0
    before, after = (vae(_data(days, v, seen)).latents.at().mean for v in (values, changed))
    moved = np.abs(np.asarray(after - before))[0].max(0) > 1e-6
    np.testing.assert_array_equal(np.flatnonzero(moved), [3, 4, 5, 6, 7])


def test_an_untrained_autoencoder_is_close_to_principal_components():
    days, values, _, seen = _fields(50)
    data = _data(days, values, seen)
    network = gp_vae(data, latents=2).network()
    latents, variance = network.encode(data["s2"])
    bands, noise = network.decode(jnp.moveaxis(latents, 1, -1))
    centred = values[seen].astype(float) - values[seen].mean(0)
    deviation = centred.std(0)
    _, _, directions = np.linalg.svd(centred / deviation, full_matrices=False)
    expected = (centred / deviation) @ directions[:2].T @ directions[:2]
    # The networks beside the linear maps start at a tenth of their size.
    error = (np.asarray(bands)[seen] - values[seen].mean(0)) / deviation - expected
    assert np.sqrt((error**2).mean()) < 0.25 and np.sqrt((expected**2).mean()) > 0.9
    found = np.moveaxis(np.asarray(latents), 1, -1)[seen]
    np.testing.assert_allclose(found.std(0), 1.0, atol=0.25)
    assert (np.asarray(variance) > 0.0).all() and (np.asarray(noise) > 0.0).all()


def test_components_by_hand_and_more_of_them_than_bands():
    values = np.array([[[1.0, 1.0], [-1.0, -1.0], [0.5, -0.5], [-0.5, 0.5], [9.0, 9.0]]])
    record = Series(values, np.array([True] * 4 + [False])[None, :, None].repeat(2, -1), np.arange(5.0)[None])
    directions, variances = components(record, jnp.zeros(2), jnp.ones(2), 3)
    np.testing.assert_allclose(np.abs(directions[:, :2]), np.sqrt(0.5), atol=1e-6)
    np.testing.assert_allclose(variances[:2], [1.0, 0.25], rtol=1e-6)
    assert not directions[:, 2].any() and variances[2] > 0.0
    network = gp_vae({"s2": record}, latents=3, width=8).network()
    latents = jnp.moveaxis(network.encode(record)[0], 1, -1)
    assert latents.shape == (1, 5, 3)
    assert all(np.isfinite(x).all() for x in network.decode(latents))


def test_the_default_prior_has_variance_one_and_two_speeds():
    kernel = two_speeds(jnp.array([100.0])).kernel
    day = jnp.array([0.0, 8.0, 1000.0])
    one = jax.tree.map(lambda leaf: leaf[0], kernel)
    x = np.sqrt(3.0) * 0.08
    expected = 0.25 * np.exp(-1.0) + 0.75 * (1.0 + x) * np.exp(-x)
    np.testing.assert_allclose(one(day[:1], day)[0], [1.0, expected, 0.0], atol=1e-5)


def test_training_hides_dates_and_months():
    days = np.tile(np.arange(0.0, 360.0, 10.0, dtype=np.float32), (2000, 1))
    seen = np.random.default_rng(0).random(days.shape) < 0.7
    data = _data(days, np.zeros((*days.shape, 2), np.float32), seen)
    gone = np.asarray(_hidden(data["s2"], 0.3, jax.random.key(0)))
    assert not gone[~seen].any()
    # Of a date, 0.3 of its own and, in 0.3 of the pixels, 0.7 of the 30 days in some 350 beside them.
    assert gone.sum() / seen.sum() == pytest.approx(0.3 + 0.3 * 0.7 * 30.0 / 350.0, abs=0.01)
    runs = [(gone | ~seen)[:, i : i + 3].all(1) for i in range(0, 34, 3)]
    alone = (1.0 - 0.7 * 0.7) ** 3
    assert np.mean(runs) > alone + 0.005


def test_bad_input_is_named():
    days, values, _, seen = _fields(3, dates=6)
    data = _data(days, values, seen)
    vae = gp_vae(data, latents=1, width=8)
    seen[:] = True
    with pytest.raises(ValueError, match="dates that rise, got day .* pixel 0; sort"):
        vae(_data(days[:, ::-1], values, seen))
    with pytest.raises(ValueError, match="expected the record 's2' as a Series, got NoneType"):
        gp_vae({"s1": data["s2"]})
    with pytest.raises(ValueError, match="share of hidden dates of 0 or more and below 1, got 1.0"):
        vae.fit(data, key=jax.random.key(0), hidden=1.0)
    with pytest.raises(ValueError, match="rising scales above 0"):
        gp_vae(data, scales=(0.0, 10.0))
    with pytest.raises(ValueError, match=r"guide of \['banded', 'mean_field', 'sites'\], got 'full'"):
        gp_vae(data, guide="full")


@pytest.mark.long
@pytest.mark.parametrize("hidden", [0.0, 0.3])
def test_training_lowers_its_loss(hidden, key, optimised):
    days, values, _, seen = _fields(20, dates=15)
    data = _data(days, values, seen)
    vae = gp_vae(data, latents=2, width=8).fit(data, key=key, steps=60, batch=20, hidden=hidden, learning_rate=1e-2)
    history = vae.history[-1]
    assert history.shape == (60,) and history[-15:].mean() < history[:15].mean() - 0.1


@pytest.mark.thorough
def test_held_out_dates_are_predicted_better_than_without_the_prior_and_by_lines(key, optimised):
    days, values, _, clear = _fields(300)
    held = clear & (np.random.default_rng(1).random(clear.shape) < 0.3)
    seen = clear & ~held
    data = _data(days, values, seen)
    errors, densities = {}, {}
    for name, process in (("smooth", smooth), ("independent", independent)):
        vae = gp_vae(data, latents=3, width=32, process=process).fit(data, key=key, steps=400, batch=64)
        assert np.nanmean(vae.history[-1][-50:]) < np.nanmean(vae.history[-1][:50])
        found = vae(data).predict(key=key)
        errors[name] = float(np.sqrt((np.asarray(found.mean - values)[held] ** 2).mean()))
        densities[name] = float(np.asarray(found.log_density(values))[held].mean())
        low, high = found.interval(0.9, key=key)
        assert 0.8 < float(((values >= low) & (values <= high))[held].mean()) < 0.97
    lines = np.stack(
        [
            np.stack([np.interp(t, t[s], x[s, band]) for band in range(3)], -1)
            for t, x, s in zip(days, values, seen, strict=True)
        ]
    )
    assert errors["smooth"] < np.sqrt(((lines - values)[held] ** 2).mean())
    assert errors["smooth"] < 0.5 * errors["independent"]
    assert densities["smooth"] > densities["independent"] + 0.3
