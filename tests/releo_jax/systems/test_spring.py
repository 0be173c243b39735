"""Calibration of spring dates: a known posterior, sites that were not seen, and rows that do not count."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import multivariate_normal, norm

from releo_jax.metrics import coverage, rmse
from releo_jax.systems.spring import calibrate, predict

SITES, YEARS = 60, 6
SITE = np.repeat(np.arange(SITES), YEARS)
RNG = np.random.default_rng(0)
WARMTH = RNG.normal(0.0, 3.0, SITE.size).astype(np.float32)
TRUTH = 120.0 - 3.0 * WARMTH + (8.0 * RNG.normal(size=SITES))[SITE] + 4.0 * RNG.normal(size=SITE.size)
PRIOR = {"level": dist.Normal(120.0, 40.0), "slope": dist.Normal(0.0, 5.0)}


def line(parameters):
    return parameters["level"] + parameters["slope"] * WARMTH


@pytest.fixture(scope="module")
def fitted():
    """Fifty sites, and forty of them; of the last ten no date is known, nor a number."""
    usable = np.stack([SITE < 50, SITE < 40])
    return calibrate(line, PRIOR, np.where(SITE < 50, TRUTH, np.nan), usable, SITE, key=jax.random.key(0))


@pytest.mark.parametrize("case", [0, 1])
def test_parameters_errors_and_evidence_are_those_of_generalised_least_squares(fitted, case):
    assert np.asarray(fitted.converged).all()
    noise, spread = (float(fitted.median[name][case]) for name in ("noise", "site_spread"))
    assert noise == pytest.approx(4.0, rel=0.12) and spread == pytest.approx(8.0, rel=0.3)
    learn = np.asarray(fitted.usable[case])
    site, observed = SITE[learn], TRUTH[learn]
    covariance = noise**2 * np.eye(site.size) + spread**2 * (site[:, None] == site)
    x = np.stack([np.ones(site.size), WARMTH[learn]], 1)
    inverse = np.linalg.inv(covariance)
    information = x.T @ inverse @ x + np.diag([40.0**-2, 5.0**-2])
    expected = np.linalg.solve(information, x.T @ inverse @ observed + np.array([120.0 / 40.0**2, 0.0]))
    names = list(fitted.prior)
    places = [names.index("level"), names.index("slope")]
    np.testing.assert_allclose(fitted.location[case, places], expected, rtol=2e-3)
    whole = np.asarray(fitted.factor[case] @ fitted.factor[case].T, float)
    np.testing.assert_allclose(whole[np.ix_(places, places)], np.linalg.inv(information), rtol=0.05, atol=1e-3)
    height = multivariate_normal.logpdf(observed, x @ expected, covariance)
    # of the deviations the logarithms are searched
    at = [*expected, np.log(spread), np.log(noise)]
    height += norm.logpdf(at, [120.0, 0.0, np.log(6.0), np.log(5.0)], [40.0, 5.0, 0.7, 0.5]).sum()
    evidence = height + 0.5 * np.linalg.slogdet(2.0 * np.pi * whole)[1]
    assert fitted.log_evidence[case] == pytest.approx(evidence, abs=0.1)


def test_sites_that_were_not_seen_lie_within_their_intervals_and_seen_ones_within_narrower(fitted):
    draws = predict(fitted, key=jax.random.key(1), n=400)
    assert draws.shape == (2, 400, SITE.size)
    lower, upper = np.quantile(draws, (0.05, 0.95), axis=1)
    new = SITE >= 40
    assert coverage(TRUTH[new], lower[1, new], upper[1, new]) > 0.75
    # expected: 2 x 1.645 sqrt(8^2 + 4^2), and little more than 2 x 1.645 x 4 where five or six years are known
    assert np.mean(upper[1, new] - lower[1, new]) == pytest.approx(29.4, rel=0.25)
    seen = SITE < 50
    assert np.mean((upper - lower)[0, seen]) == pytest.approx(14.1, rel=0.15)
    means = draws.mean(1)
    assert rmse(TRUTH[new], means[1, new]) < 12.0 and rmse(TRUTH[new & seen], means[0, new & seen]) < 4.5
    quiet = predict(fitted, key=jax.random.key(1), n=400, observation=False)
    assert np.mean(quiet[0].std(0)[seen]) < 0.6 * np.mean(draws[0].std(0)[seen])


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="calibrate: expected observed"):
        calibrate(line, PRIOR, TRUTH, np.ones(3, bool), SITE, key=jax.random.key(0))
