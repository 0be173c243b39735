"""Quantities that only rise: their rates are a warped process, dates may be irregular."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import biject_to

from releo_jax.gp import Markov, Matern32, WarpedGP, rising

PROCESS = Markov(Matern32(1.0, 20.0))
DAYS = np.array([[70.0, 80.0, 81.0, 120.0], [61.0, 62.0, 62.0, 64.0]], np.float32)
RATE = dist.Exponential(50.0)


@pytest.fixture(scope="module")
def law():
    return rising(PROCESS, DAYS, RATE, origin=60.0)


def test_rates_between_dates_are_the_warped_process(law):
    drawn = np.asarray(jax.jit(lambda key: law.sample(key, (2000,)))(jax.random.key(0)))
    assert drawn.shape == (2000, 2, 4) and (drawn > 0.0).all() and (np.diff(drawn) >= 0.0).all()
    rates = drawn[:, 0] / np.array([10.0, 20.0, 21.0, 60.0])
    np.testing.assert_allclose(rates.mean(0), 0.02, rtol=0.15)  # each date's rate has its law
    one, other = np.diff(drawn[:, 0, :3]).T / np.array([[10.0], [1.0]])
    assert np.corrcoef(one, other)[0, 1] > 0.95  # and close ones are alike


def test_density_is_that_of_the_rates_and_of_the_step_to_them(law):
    values = jax.jit(law.sample)(jax.random.key(1))
    between = np.maximum(np.diff(DAYS, prepend=60.0), 1e-3)
    rates = np.diff(values, prepend=0.0) / between
    line = biject_to(law.support)

    @jax.jit
    def known(values, rates):
        own, back = jax.vjp(law.log_prob, values)
        (slope,) = back(jnp.ones_like(own))
        return own, slope, WarpedGP(PROCESS, DAYS, RATE).log_prob(rates), line(line._inverse(values))

    found, slope, of_rates, again = known(values, rates.astype(np.float32))
    np.testing.assert_allclose(found, of_rates - np.log(between).sum(-1), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(again, values, rtol=1e-4)
    assert np.isfinite(slope).all()


def test_rates_that_may_fall_are_refused():
    with pytest.raises(ValueError, match="expected a law of positive rates, got one on Real"):
        rising(PROCESS, DAYS, dist.Normal(0.0, 1.0))
