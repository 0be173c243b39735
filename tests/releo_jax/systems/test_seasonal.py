"""The model over a season: on one date that of the products, between dates what it says of them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy import stats

from physics import SunView, sensor
from releo_jax import priors
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.observations import Series, SingleDate
from releo_jax.systems.land_surface import ReflectanceError, land_surface
from releo_jax.systems.seasonal import ERROR_SCALE, MOVING, TIME_SCALE, lasting_errors, seasonal_surface

DAYS = np.array([0.0, 20.0, 60.0], np.float32)


@pytest.fixture(scope="module")
def bands():
    return sensor("sentinel2a", bands=("B04", "B08"))


def _series(pixels, days=DAYS, values=0.0):
    shape = (pixels, len(days))
    angles = (np.full(shape, angle, np.float32) for angle in (30.0, 5.0, 90.0))
    time = np.broadcast_to(days, shape)
    return Series(jnp.full((*shape, 2), values), jnp.ones((*shape, 2), bool), time, SunView.from_degrees(*angles))


def _drawn(model, data):
    @jax.jit
    def run(key):
        trace = handlers.trace(handlers.seed(handlers.uncondition(model), key)).get_trace(data)
        return {name: site["value"] for name, site in trace.items() if site["type"] in ("sample", "deterministic")}

    return run(jax.random.key(0))


@pytest.mark.thorough
def test_every_date_has_the_published_prior_and_close_dates_are_alike(bands):
    drawn = _drawn(seasonal_surface(bands), {"s2": _series(4000)})
    laws = {**priors.land_surface.canopy, **priors.land_surface.leaf, **priors.land_surface.soil}
    laws |= {"clumping": dist.Uniform(0.5, 1.0), "ground_mixing": dist.Uniform(0.0, 1.0)}
    moved = {name for name in laws if drawn[name].ndim == 2}
    assert moved == set(MOVING)
    for name in MOVING:
        score = stats.norm.ppf(np.asarray(laws[name].cdf(drawn[name]), float))
        for date in range(DAYS.size):
            assert stats.kstest(score[:, date], "norm").pvalue > 1e-4, name
        x = np.sqrt(3.0) * (DAYS - DAYS[0]) / TIME_SCALE
        expected = (1.0 + x) * np.exp(-x)
        np.testing.assert_allclose(np.corrcoef(score.T)[0], expected, atol=0.05)
    assert drawn["bands"].shape == (4000, 3, 2)
    assert np.isfinite(drawn["bands"]).all()


@pytest.mark.thorough
def test_one_date_has_the_density_of_the_model_of_single_dates(bands):
    series = _series(3, DAYS[:1], 0.2)
    single = SingleDate(series.values[:, 0], series.mask[:, 0], jax.tree.map(lambda leaf: leaf[:, 0], series.geometry))
    model = land_surface(bands)
    structure = read_structure(model, {"s2": single})
    drawn = simulate(structure, model, {"s2": single}, jax.random.key(1))[0]
    sites = {site.name: drawn[site.name] for site in structure.local + structure.shared}
    dated = {name: value[:, None] if name in MOVING else value for name, value in sites.items()}
    expected = log_density(model, ({"s2": single},), {}, sites)[0]
    found = log_density(seasonal_surface(bands, lasting=None), ({"s2": series},), {}, dated)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.thorough
def test_lasting_errors_leave_every_date_its_law_and_tie_dates_together(bands):
    # Variables and share are fixed, so that what varies are errors.
    model, data, share = seasonal_surface(bands), {"s2": _series(6000)}, 0.7
    drawn = _drawn(model, {"s2": _series(1)})
    fixed = {k: v for k, v in drawn.items() if k not in ("s2", "lasting_error", "bands", "vegetated_fraction")}
    fixed = {k: v if k == "noise" else jnp.broadcast_to(v, (6000, *v.shape[1:])) for k, v in fixed.items()}
    drawn = _drawn(handlers.substitute(model, fixed | {"lasting_share": jnp.full(6000, share)}), data)
    errors = np.asarray(drawn["s2"] - drawn["bands"], float)
    law = ReflectanceError().law(drawn["bands"][0], fixed["noise"], bands.centres)
    for date in range(DAYS.size):
        found, expected = np.cov(errors[:, date].T), np.asarray(law.covariance_matrix[date])
        np.testing.assert_allclose(found, expected, atol=0.05 * expected.max())
    for band in range(2):
        correlation = np.corrcoef(errors[:, :, band].T)[0, 1:]
        np.testing.assert_allclose(correlation, share * np.exp(-DAYS[1:] / ERROR_SCALE), atol=0.05)


def test_known_errors_move_the_law_and_narrow_it():
    law = dist.LowRankMultivariateNormal(jnp.zeros(2), jnp.asarray([[1.0], [2.0]]), jnp.asarray([4.0, 9.0]))
    found = lasting_errors(law, jnp.asarray(0.75), jnp.asarray([1.0, -1.0, 1.0]))
    np.testing.assert_allclose(found.loc, np.sqrt(0.75) * np.array([1.0 - 2.0, 2.0 + 3.0]), rtol=1e-6)
    np.testing.assert_allclose(found.covariance_matrix, 0.25 * law.covariance_matrix, rtol=1e-6)


def test_a_single_date_record_is_refused(bands):
    single = SingleDate(jnp.zeros((2, 2)), geometry=SunView.from_degrees(30.0, 5.0, 90.0))
    with pytest.raises(ValueError, match="as a Series, got SingleDate"):
        handlers.trace(handlers.seed(seasonal_surface(bands), jax.random.key(0))).get_trace({"s2": single})
