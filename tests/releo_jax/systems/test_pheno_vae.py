"""Pheno-VAE: the dates it is trained with, seasons in order, and calibration after a short training."""

import jax
import numpy as np
import pytest

from releo_jax.observations import Series
from releo_jax.systems.pheno_vae import acquisition, pheno_vae
from releo_jax.systems.phenology import RECORD, season_prior

NOISE = 0.03


@pytest.fixture
def key():
    return jax.random.key(0)


def test_dates_that_are_drawn(key):
    record = acquisition(first=100.0, last=300.0, dates=40)(key, 500)[RECORD]
    time, clear = np.asarray(record.time), np.asarray(record.mask[..., 0])
    assert ((time >= 100.0) & (time <= 305.0)).all()
    assert (np.diff(time, axis=1) > 0.0).all()
    assert 0.3 < clear.mean() < 0.7
    seen = np.where(clear, time, np.nan)
    longest = [np.diff(days[np.isfinite(days)]).max(initial=0.0) for days in seen]
    assert np.mean(np.array(longest) > 60.0) > 0.1
    with pytest.raises(ValueError, match="first < last and one date at least"):
        acquisition(first=3.0, last=3.0)


def test_is_an_amortised_posterior_of_seasons(key):
    vae = pheno_vae(season_prior(60.0, 180.0), width=8, depth=1)
    data = dict(acquisition(dates=30)(key, 3))
    posterior = vae(data)
    order = ["greenup", "maturity", "senescence", "dormancy"]
    sites = [*order, "start_of_season", "first_rise"]
    drawn = posterior.sample(key, 20, sites=sites)
    dates = np.stack([np.asarray(drawn[name]) for name in order], -1)
    assert (np.diff(dates, axis=-1) > 0.0).all()
    assert np.isfinite(drawn["start_of_season"]).all()
    # Neither padding nor the order of dates matters.
    other = data[RECORD]
    turned = Series(other.values[:, ::-1], other.mask[:, ::-1], other.time[:, ::-1])
    again = vae({RECORD: turned}).sample(key, 20, sites=sites)["first_rise"]
    np.testing.assert_allclose(again, drawn["first_rise"], rtol=1e-4)


@pytest.mark.thorough
def test_trained_on_simulations_it_is_calibrated(key, optimised):
    prior = season_prior(60.0, 180.0)
    sampler = acquisition(dates=40)
    vae = pheno_vae(prior, example=sampler, noise=NOISE, family="full_covariance", width=64, depth=2)
    vae = vae.fit(sampler, key=key, steps=1600, batch=512)
    report = vae.sbc(key=jax.random.key(1), n=1000, draws=99)
    spread = {site: np.asarray(ranks).ravel() / 99.0 for site, ranks in report.ranks.items()}
    for site in ("first_rise", "rise", "plateau", "fall", "amplitude", "baseline"):
        inside = np.mean((spread[site] > 0.05) & (spread[site] < 0.95))
        assert 0.84 < inside < 0.96, site
