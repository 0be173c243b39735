"""Seasons from irregular series: coverage of their dates, pixels without data or with nonsense, several seasons."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import truncnorm

from releo_jax.inference import fit_laplace
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.metrics import coverage
from releo_jax.observations import Series, SingleDate
from releo_jax.systems.phenology import RECORD, season_prior, season_series

DATES = ("start_of_season", "end_of_season")
NOISE = 0.03


PIXELS, WINDOW = 64, (60.0, 150.0)


def record_of(pixels, dates, last, rng):
    time = np.sort(rng.uniform(-30.0, last, (pixels, dates)), 1).astype(np.float32)
    return Series(np.zeros((pixels, dates, 1), np.float32), rng.random((pixels, dates, 1)) < 0.8, time)


def drawn(prior, pixels, rng):
    """Draws of the laws of one season, without the code that is examined."""

    def one(law):
        if isinstance(law, dist.Uniform):
            return rng.uniform(law.low, law.high, pixels)
        ends = ((end - law.loc) / law.scale for end in (law.low, law.high))
        return truncnorm.rvs(*ends, law.loc, law.scale, size=pixels, random_state=rng)

    return {name: one(law)[:, None] for name, law in prior.items()}


def index(season, time):
    """Rise and fall, logistic in time."""

    def passed(middle, days):
        return 0.5 + 0.5 * np.tanh(2.0 * (time - middle) / days)

    middle = season["first_rise"] + 0.5 * (season["rise"] + season["fall"]) + season["plateau"]
    bell = passed(season["first_rise"], season["rise"]) - passed(middle, season["fall"])
    return season["baseline"] + season["amplitude"] * bell


def halfway(season):
    """Dates at half of the amplitude on either side, every twentieth of a day."""
    days = np.arange(-150.0, 700.0, 0.05)
    values = index(season, days)
    top = values.argmax(1)[:, None]
    found = {}
    for name, side in (
        ("start_of_season", np.arange(days.size) <= top),
        ("end_of_season", np.arange(days.size) >= top),
    ):
        lowest = np.where(side, values, np.inf).min(1, keepdims=True)
        below = side & (values < 0.5 * (lowest + values.max(1, keepdims=True)))
        place = days.size - 1 - below[:, ::-1].argmax(1) if name == "start_of_season" else below.argmax(1)
        found[name] = days[place]
    return found


@pytest.fixture(scope="module")
def inverted():
    """64 pixels: the first without a usable date, the second of nonsense, the others simulated from the prior."""
    rng = np.random.default_rng(0)
    prior = season_prior(*WINDOW)
    record = record_of(PIXELS, 40, 400.0, rng)
    season = drawn(prior, PIXELS, rng)
    values = index(season, record.time) + NOISE * rng.normal(size=record.time.shape)
    values[0], values[1] = np.nan, 1e4
    data = {RECORD: Series(values[..., None].astype(np.float32), record.mask, record.time)}
    model = season_series(prior, noise=NOISE)
    posterior = fit_laplace(model, data, key=jax.random.key(2), reference=0, starts=16, steps=20)
    truth = halfway(season) | {"amplitude": season["amplitude"][:, 0]}
    draws = posterior.sample(jax.random.key(3), 200, sites=[*DATES, "season_found", "amplitude"])
    return truth, jax.device_get(draws)


@pytest.mark.thorough
def test_intervals_cover_the_dates(inverted):
    truth, draws = inverted
    clear = (truth["amplitude"] > 0.2) & (np.arange(PIXELS) > 1)
    assert draws["season_found"][:, clear].mean() > 0.99
    for name in DATES:
        lower, upper = np.quantile(draws[name][:, clear], (0.05, 0.95), axis=0)
        # about fifty pixels: two standard errors are 9 %; the normal law is a little narrow for the end of a season
        assert coverage(truth[name][clear], lower, upper) > 0.72
        assert np.median(upper - lower) < 25.0


@pytest.mark.long
def test_a_pixel_without_data_returns_the_prior_and_nonsense_harms_no_other(inverted):
    truth, draws = inverted
    assert all(np.isfinite(value[:, 2:]).all() for value in draws.values())
    # the middle of the first rise is anywhere within its 90 days
    lower, upper = np.quantile(draws["start_of_season"][:, 0], (0.05, 0.95))
    assert 60.0 < upper - lower < 110.0
    assert 0.1 < draws["amplitude"][:, 0].std() < 0.3


def test_two_seasons_share_their_baseline_and_keep_their_order():
    rng = np.random.default_rng(1)
    ranges = {"amplitude": (0.1, 0.8), "rise": (10.0, 90.0), "plateau": (10.0, 150.0), "fall": (10.0, 90.0)}
    values = {name: rng.uniform(*ends, (8, 2)) for name, ends in ranges.items()}
    values |= {"baseline": rng.uniform(0.0, 0.5, 8), "first_rise": rng.uniform(60.0, 100.0, 8)}
    values = jax.tree.map(np.float32, values | {"rest": rng.uniform(10.0, 150.0, (8, 1))})
    model = season_series(season_prior(60.0, 100.0, seasons=2), noise=NOISE)
    data = {RECORD: record_of(8, 12, 500.0, rng)}
    structure = read_structure(model, data)
    truth, _ = jax.jit(lambda values: simulate(structure, model, data, jax.random.key(1), values=values))(values)
    assert truth["start_of_season"].shape == (8, 2) and truth["curve"].shape == (8, 12)
    truth = jax.device_get(truth)
    found = (truth["season_found"] > 0).all(1)
    assert found.mean() > 0.5
    start, end = (truth[name][found] for name in DATES)
    assert (start[:, 0] < end[:, 0]).all() and (end[:, 0] < start[:, 1]).all() and (start[:, 1] < end[:, 1]).all()
    assert np.ptp(truth["minimum"], axis=1).max() == 0.0


def test_what_it_cannot_take_is_named():
    with pytest.raises(ValueError, match="season_prior: expected first < last"):
        season_prior(200.0, 100.0)
    model = season_series(season_prior(60.0, 100.0), noise=NOISE)
    with pytest.raises(ValueError, match="to be a Series of one band"):
        model({RECORD: SingleDate(jnp.zeros((2, 1)))})
