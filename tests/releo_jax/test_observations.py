"""Records, masks, and scoring inside a model."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy import stats

from physics.optics.geometry import SunView
from releo_jax.observations import Series, SingleDate, check_observations, observe, take

ANGLES = SunView.from_degrees(30.0, 5.0, 120.0)
VALUES = np.array([[0.1, 0.2, 0.3], [0.4, np.nan, 0.6], [np.nan, np.nan, np.nan]], np.float32)
COVARIANCE = np.array([[1.0, 0.5, 0.2], [0.5, 2.0, 0.3], [0.2, 0.3, 0.5]], np.float32)


def _scored(make, record, location):
    """Log density per pixel, and its gradient with respect to the location."""

    def log_density(location):
        def model(data):
            with numpyro.plate("pixel", record.values.shape[0]):
                observe("s2", make(location), data["s2"])

        site = handlers.trace(model).get_trace({"s2": record})["s2"]
        return site["fn"].log_prob(site["value"])

    return jax.jit(lambda x: (log_density(x), jax.grad(lambda x: log_density(x).sum())(x)))(location)


def test_record_masks_what_is_not_finite_and_broadcasts_angles():
    zenith = np.radians(np.array([30.0, np.nan, 30.0], np.float32))
    record = SingleDate(np.ones((3, 2)), None, SunView(sun_zenith=zenith, view_zenith=0.1, relative_azimuth=0.0))
    np.testing.assert_array_equal(record.mask, [[True, True], [False, False], [True, True]])
    assert record.geometry.view_zenith.shape == (3,)
    assert np.isfinite(record.geometry.sun_zenith).all()
    np.testing.assert_array_equal(SingleDate(VALUES).mask, np.isfinite(VALUES))
    assert np.isfinite(SingleDate(VALUES).values).all()


def test_series_masks_dates_without_a_time():
    time = np.array([[0.0, np.nan], [3.0, 4.0]], np.float32)
    record = Series(np.ones((2, 2, 3), np.float32), None, time, ANGLES)
    np.testing.assert_array_equal(record.mask.any(-1), [[True, False], [True, True]])
    assert record.geometry.sun_zenith.shape == (2, 2)
    assert np.isfinite(record.time).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 2), int),), "divided by their scale"),
        ((np.ones(3, np.float32),), r"shape \(pixel, band\), got \(3,\)"),
        ((np.ones((3, 2), np.float32), np.ones((3, 2))), "boolean mask"),
        ((np.ones((3, 2), np.float32), np.ones(3, bool)), "broadcast_to"),
        (
            (np.ones((3, 2), np.float32), None, SunView.from_degrees(np.ones(2, np.float32), 0.0, 0.0)),
            "one value per pixel",
        ),
    ],
)
def test_wrong_structure_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SingleDate(*arguments)


def test_observations_must_agree_on_the_pixels():
    one, two = SingleDate(np.ones((3, 2), np.float32)), SingleDate(np.ones((4, 2), np.float32))
    assert check_observations({"a": one}) == 3
    with pytest.raises(ValueError, match=r"'a': 3, 'b': 4"):
        check_observations({"a": one, "b": two})
    with pytest.raises(ValueError, match="mapping from sensor names"):
        check_observations(one)
    assert take({"a": two}, np.array([1, 3]))["a"].values.shape == (2, 2)


def test_independent_bands_count_where_usable():
    record = SingleDate(VALUES)
    location = jnp.full((3, 3), 0.2)
    density, gradient = _scored(lambda m: dist.Normal(m, 0.5), record, location)
    usable = np.isfinite(VALUES)
    each = stats.norm.logpdf(np.nan_to_num(VALUES), 0.2, 0.5)
    np.testing.assert_allclose(density, np.where(usable, each, 0.0).sum(-1), rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient)[~usable], 0.0)
    assert np.all(np.asarray(gradient)[0, [0, 2]] != 0.0)


def test_bands_may_be_declared_joint_by_to_event():
    record = SingleDate(VALUES)
    location = jnp.full((3, 3), 0.2)
    expected, _ = _scored(lambda m: dist.Normal(m, 0.5), record, location)
    density, _ = _scored(lambda m: dist.Normal(m, 0.5).to_event(1), record, location)
    np.testing.assert_allclose(density, expected, rtol=1e-6)


def test_support_that_excludes_zero_is_safe_where_masked():
    density, gradient = _scored(lambda m: dist.LogNormal(m, 0.5), SingleDate(VALUES), jnp.zeros((3, 3)))
    assert np.isfinite(density).all() and np.isfinite(gradient).all()
    assert density[2] == 0.0


@pytest.mark.parametrize("low_rank", [False, True])
def test_joint_normal_is_marginalised_over_masked_bands(low_rank):
    factor = np.array([[0.5], [1.0], [0.3]], np.float32)
    diagonal = np.array([0.3, 0.4, 0.5], np.float32)
    covariance = factor @ factor.T + np.diag(diagonal) if low_rank else COVARIANCE

    def make(location):
        if low_rank:
            return dist.LowRankMultivariateNormal(location, factor, diagonal)
        return dist.MultivariateNormal(location, COVARIANCE)

    density, gradient = _scored(make, SingleDate(VALUES), jnp.full((3, 3), 0.1))
    # Marginal of a normal law: rows and columns of its usable bands.
    used = np.array([0, 2])
    part = stats.multivariate_normal(np.full(2, 0.1), covariance[np.ix_(used, used)])
    np.testing.assert_allclose(density[1], part.logpdf(VALUES[1, used]), rtol=1e-5)
    whole = stats.multivariate_normal(np.full(3, 0.1), covariance)
    np.testing.assert_allclose(density[0], whole.logpdf(VALUES[0]), rtol=1e-5)
    np.testing.assert_allclose(density[2], 0.0, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient)[~np.isfinite(VALUES)], 0.0)


def test_joint_law_without_marginals_wants_whole_pixels():
    def make(location):
        return dist.MultivariateStudentT(4.0, location, jnp.eye(3))

    with pytest.raises(ValueError, match="1 of 3 pixels"):
        _scored(make, SingleDate(VALUES), jnp.zeros((3, 3)))
    whole = SingleDate(VALUES[[0, 2]])
    density, gradient = _scored(make, whole, jnp.zeros((2, 3)))
    np.testing.assert_allclose(
        density[0], stats.multivariate_t(np.zeros(3), np.eye(3), 4.0).logpdf(VALUES[0]), rtol=1e-6
    )
    assert density[1] == 0.0
    assert np.isfinite(gradient).all()


def test_joint_law_without_marginals_has_no_density_under_jit():
    def make(location):
        return dist.MultivariateStudentT(4.0, location, jnp.eye(3))

    density = jax.jit(lambda record: _scored(make, record, jnp.zeros((3, 3)))[0])(SingleDate(VALUES))
    np.testing.assert_array_equal(np.isnan(density), [False, True, False])


def test_joint_law_may_offer_its_own_marginal():
    class Own(dist.MultivariateStudentT):
        def marginal(self, mask):
            return dist.Normal(self.loc, 1.0).expand(mask.shape).mask(mask).to_event(1)

    density, _ = _scored(lambda m: Own(4.0, m, jnp.eye(3)), SingleDate(VALUES), jnp.zeros((3, 3)))
    np.testing.assert_allclose(density[1], stats.norm.logpdf(VALUES[1, [0, 2]]).sum(), rtol=1e-6)


def test_series_is_scored_per_pixel():
    record = Series(np.ones((2, 4, 3), np.float32), None, np.zeros((2, 4), np.float32))
    density, _ = _scored(lambda m: dist.Normal(m, 1.0), record, jnp.zeros((2, 4, 3)))
    np.testing.assert_allclose(density, np.full(2, 12 * stats.norm.logpdf(1.0)), rtol=1e-6)


def test_wrong_distribution_is_named():
    with pytest.raises(ValueError, match="shape broadcasts to the record"):
        _scored(lambda m: dist.Normal(m, 1.0), SingleDate(VALUES), jnp.zeros((3, 5)))
    with pytest.raises(ValueError, match="event_dim 2"):
        _scored(lambda m: dist.Normal(m, 1.0).to_event(2), SingleDate(VALUES), jnp.zeros((3, 3)))
