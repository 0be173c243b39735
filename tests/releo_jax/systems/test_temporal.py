"""The temporal retrieval: its likelihood against draws, and simulated seasons that it has not seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from physics import SunView, sensor
from releo_jax.observations import Series
from releo_jax.systems.prosail_vae import SENTINEL2_BANDS
from releo_jax.systems.season_training import simulated_seasons, spoil, thin
from releo_jax.systems.temporal import (
    TEMPORAL,
    Scores,
    SeasonNetwork,
    figures,
    load_temporal,
    log_density,
    prior_scores,
)


@pytest.fixture(scope="module")
def network():
    quantiles = jnp.tile(jnp.linspace(0.0, 5.0, 141), (len(TEMPORAL), 1))
    return SeasonNetwork(jnp.zeros(3), jnp.ones(3), quantiles, width=8, rngs=nnx.Rngs(0))


def _record(pixels=2, dates=5, seed=0):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(1.0, 20.0, (pixels, dates)), 1).astype(np.float32)
    values = rng.uniform(0.05, 0.4, (pixels, dates, 3)).astype(np.float32)
    mask = np.broadcast_to(rng.random((pixels, dates, 1)) < 0.7, values.shape)
    return Series(values, mask, time, SunView.from_degrees(*np.full((3, pixels, dates), 30.0, np.float32)))


@pytest.mark.thorough
def test_density_of_days_is_that_of_the_posterior_written_out(network):
    record = _record()
    course = np.random.default_rng(1).normal(size=(2, len(TEMPORAL), 5)).astype(np.float32)
    found = log_density(network, record, course)
    sites, loading = network(record)
    kernel = network.process().kernel
    for pixel in range(2):
        seen = np.asarray(sites.mask[pixel, 0])
        for row in range(len(TEMPORAL)):
            own = jax.tree.map(lambda leaf, row=row: leaf[row] if leaf.ndim else leaf, kernel)
            time = sites.time[pixel, row]
            k = np.asarray(own(time, time), float)
            load = np.asarray(loading[pixel, row], float)[seen]
            noise = np.diag(np.asarray(sites.variance[pixel, row], float)[seen]) + np.outer(load, load)
            gain = k[:, seen] @ np.linalg.inv(k[np.ix_(seen, seen)] + noise)
            mean = gain @ np.asarray(sites.value[pixel, row], float)[seen]
            deviation = np.sqrt(np.diag(k - gain @ k[seen]) + 1e-3)
            expected = stats.norm(mean, deviation).logpdf(course[pixel, row]).sum()
            np.testing.assert_allclose(found[pixel, row], expected, rtol=1e-3)


def test_masked_dates_leave_no_trace(network):
    record = _record()
    other = Series(np.where(record.mask, record.values, np.float32(0.9)), record.mask, record.time, record.geometry)
    run = jax.jit(network)
    for one, two in zip(jax.tree.leaves(run(record)), jax.tree.leaves(run(other)), strict=True):
        np.testing.assert_array_equal(one, two)


def test_scores_of_draws_are_standard_and_come_back():
    draws = np.random.default_rng(0).gamma(2.0, size=(2, 40_000)).astype(np.float32)

    @jax.jit
    def run(draws):
        scores = prior_scores(draws)
        standard = scores.of(draws)
        return standard, scores.values(1, standard[1])

    standard, back = map(np.asarray, run(draws))
    np.testing.assert_allclose(standard.mean(1), 0.0, atol=0.01)
    np.testing.assert_allclose(standard.std(1), 1.0, atol=0.01)
    inner = np.abs(standard[1]) < 3.4
    np.testing.assert_allclose(back[inner], draws[1][inner], rtol=1e-3, atol=1e-3)


def test_figures_of_a_normal_score_are_those_of_the_variable():
    grid = np.linspace(-3.5, 3.5, 141)
    scores = Scores(jnp.asarray(np.exp(0.5 * grid)[None], jnp.float32))  # log-normal
    law = figures(scores, 0, jnp.asarray([[0.2]]), jnp.asarray([[0.16]]), (0.05, 0.95))
    expected = stats.lognorm(0.2, scale=np.exp(0.1))
    np.testing.assert_allclose(law.mean, expected.mean(), rtol=2e-3)
    np.testing.assert_allclose(law.std, expected.std(), rtol=0.01)
    np.testing.assert_allclose(law.quantiles[:, 0, 0], expected.ppf([0.05, 0.95]), rtol=1e-3)


def test_clouds_take_dates_away_and_change_some_that_they_leave():
    record = _record(400, 20)
    fewer = np.asarray(jax.jit(thin)(jax.random.key(0), record).mask)
    mask = np.asarray(record.mask)
    assert (fewer <= mask).all() and 0.6 < fewer.sum() / mask.sum() < 0.9
    run = jax.jit(lambda key, record: spoil(key, record, np.array([490.0, 665.0, 842.0]), 0.1))
    changed = (np.asarray(run(jax.random.key(1), record).values) != np.asarray(record.values)).any(-1)
    assert not changed[~mask.any(-1)].any()
    assert 0.07 < changed.sum() / mask.any(-1).sum() < 0.13


@pytest.mark.thorough
def test_intervals_hold_simulated_courses_on_clear_days_and_between():
    seasons = simulated_seasons(sensor("sentinel2a", bands=SENTINEL2_BANDS), 400, key=jax.random.key(77))
    record = seasons.record
    season = load_temporal()(record.values, record.mask, record.geometry, record.time)
    seen = np.asarray(record.mask.any(-1))
    for row, alias in enumerate(TEMPORAL):
        truth, law = np.asarray(seasons.truth[row]), season.at(alias)
        inside = (law.quantiles[0] <= truth) & (truth <= law.quantiles[2])
        for days in (seen, ~seen):
            # some 400 seasons are independent, not their dates: three standard errors
            np.testing.assert_allclose(inside[days].mean(), 0.9, atol=0.04, err_msg=alias)
        width = law.quantiles[2] - law.quantiles[0]
        if alias == "lai":
            assert np.mean((law.mean - truth)[seen] ** 2) < np.mean((law.mean - truth)[~seen] ** 2)
            assert width[seen].mean() < width[~seen].mean()
