"""Laws of a process that no sites tell of: divergences and marginals by dense formulas, masked dates, slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from releo_jax.gp import Coregionalized, Exact, Matern12, Matern32, Matern52, banded, mean_field
from tests.releo_jax.gp.cases import covariance, in_double, make_sites

KERNEL = Matern52(0.7, 25.0)
WANTED = np.array([640.0, -80.0, 3.0, 100.5, 350.0, 900.0])


def _given(*, dates=30, pixels=3, closest=5.0, seed=0):
    """Days, means, diagonals and couplings of B, and mask, float32; the second pixel has no usable dates."""
    rng = np.random.default_rng(seed)
    shape = (pixels, dates)
    time = np.cumsum(rng.uniform(closest, 50.0 - closest, shape), -1)
    diagonal = rng.uniform(1.0, 4.0, shape)
    coupling = -diagonal * rng.uniform(-0.3, 0.9, shape)
    mask = rng.random(shape) < 0.7
    mask[1] = False
    return [*(x.astype(np.float32) for x in (time, rng.normal(0.0, 0.8, shape), diagonal, coupling)), mask]


def _law(given, coupled=True):
    time, mean, diagonal, coupling, mask = given
    return banded(KERNEL, *given) if coupled else mean_field(KERNEL, time, mean, 1.0 / diagonal**2, mask)


def _dense(given, coupled, pixel):
    """Usable days, their mean and covariance, and the prior's covariance, in NumPy."""
    time, mean, diagonal, coupling, mask = (np.asarray(x[pixel], np.float64) for x in given)
    used = mask > 0.0
    days, mean, diagonal, coupling = time[used], mean[used], diagonal[used], coupling[used]
    b = np.diag(diagonal) + (np.diag(coupling[:-1], 1) if coupled else 0.0)
    return days, mean, np.linalg.inv(b.T @ b), np.asarray(covariance(in_double(KERNEL), days, days))


@pytest.mark.parametrize("coupled", [True, False], ids=["banded", "mean field"])
def test_divergence_and_marginals_are_those_of_dense_formulas(coupled):
    with jax.enable_x64(True):
        given = [x if x.dtype == bool else x.astype(np.float64) for x in _given(closest=0.5)]
        law = in_double(_law(given, coupled))
        kernel = in_double(KERNEL)
        wanted = np.resize(WANTED, law.dates.time.shape)  # as many as dates: the same programs
        divergence, at, own, elsewhere = law.kl(), law.at(wanted), law.at(), law.at(given[0])
        for pixel in (0, 2):
            days, mean, spread, prior = _dense(given, coupled, pixel)
            inverse = np.linalg.inv(prior)
            expected = 0.5 * (
                np.trace(inverse @ spread)
                + mean @ inverse @ mean
                - len(days)
                + np.linalg.slogdet(prior)[1]
                - np.linalg.slogdet(spread)[1]
            )
            np.testing.assert_allclose(divergence[pixel], expected, rtol=1e-8)
            towards = np.asarray(covariance(kernel, wanted[pixel], days)) @ inverse
            np.testing.assert_allclose(at.mean[pixel], towards @ mean, atol=1e-8)
            variance = 0.7 - np.einsum("ij,jk,ik->i", towards, prior - spread, towards)
            np.testing.assert_allclose(at.variance[pixel], variance, atol=1e-8)
            used = given[-1][pixel]
            np.testing.assert_allclose(own.mean[pixel][used], mean, atol=1e-12)
            np.testing.assert_allclose(own.variance[pixel][used], np.diag(spread), rtol=1e-10)
            for ours, theirs in zip(own, elsewhere, strict=True):
                np.testing.assert_allclose(ours[pixel][~used], theirs[pixel][~used], atol=1e-12)


def test_divergence_of_the_posterior_itself_is_that_of_the_sites():
    """Matérn 1/2 and sites give a posterior whose precision has three diagonals: one of these laws."""
    with jax.enable_x64(True):
        kernel = in_double(Matern12(0.7, 20.0))
        sites = in_double(make_sites(Matern12(0.7, 20.0)))
        posterior = Exact(kernel).condition(sites)
        used = np.asarray(sites.mask[0])
        days = np.unique(np.asarray(sites.time[0])[used])
        value, certain = np.zeros(len(days)), np.zeros(len(days))
        for day, y, v in zip(*(np.asarray(x[0])[used] for x in (sites.time, sites.value, sites.variance)), strict=True):
            here = days == day
            value[here] += y / v
            certain[here] += 1.0 / v
        precision = np.linalg.inv(np.asarray(covariance(kernel, days, days))) + np.diag(certain)
        b = np.linalg.cholesky(precision).T
        law = banded(kernel, days, np.linalg.solve(precision, value), np.diag(b), np.append(np.diag(b, 1), 0.0))
        np.testing.assert_allclose(np.triu(b, 2), 0.0, atol=1e-9)
        np.testing.assert_allclose(law.kl(), posterior.kl()[0], rtol=1e-8)
        for ours, theirs in zip(law.at(WANTED), posterior.at(WANTED), strict=True):
            np.testing.assert_allclose(ours, theirs[0], atol=1e-8)
        # Without couplings the nearest law in this direction of the divergence is too narrow.
        apart = mean_field(kernel, days, np.linalg.solve(precision, value), 1.0 / np.diag(precision))
        assert (np.asarray(apart.at(days).variance) < np.asarray(law.at(days).variance)).all()


def test_masked_dates_leave_no_trace():
    given = _given()
    used = given[-1][0]
    one = [x[0] for x in given]
    masked = banded(KERNEL, *one)
    absent = banded(KERNEL, *(x[used] for x in one[:4]))
    changed = banded(KERNEL, one[0], *(np.where(used, x, 0.3).astype(np.float32) for x in one[1:4]), used)
    np.testing.assert_allclose(masked.kl(), absent.kl(), rtol=1e-5)
    np.testing.assert_array_equal(masked.kl(), changed.kl())
    for ours, theirs, third in zip(masked.at(WANTED), absent.at(WANTED), changed.at(WANTED), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-5)
        np.testing.assert_array_equal(ours, third)


def test_a_pixel_without_usable_dates_returns_the_prior():
    law = _law(_given())
    assert law.kl()[1] == pytest.approx(0.0, abs=1e-6)
    for time in (None, np.resize(WANTED, law.dates.time.shape)):
        mean, variance = law.at(time)
        np.testing.assert_array_equal(mean[1], 0.0)
        np.testing.assert_allclose(variance[1], 0.7, rtol=1e-6)


@pytest.mark.parametrize("coupled", [True, False], ids=["banded", "mean field"])
def test_gradients_are_those_of_differences(coupled):
    with jax.enable_x64(True):
        time, mean, diagonal, coupling, mask = _given(dates=12)
        start = [x.astype(np.float64) for x in (mean, diagonal, coupling)]
        scale, wanted = np.float64(25.0), np.resize(WANTED, mean.shape)  # as many as dates: the same program

        def objective(parts, scale):
            mean, diagonal, coupling = parts
            kernel = Matern52(jnp.asarray(0.7, jnp.float64), scale)
            if coupled:
                law = banded(kernel, time.astype(np.float64), mean, diagonal, coupling, mask)
            else:
                law = mean_field(kernel, time.astype(np.float64), mean, 1.0 / diagonal**2, mask)
            own = law.at()
            return law.kl().sum() + (own.mean * own.variance).sum() + law.at(wanted).variance.sum()

        both = jax.jit(jax.value_and_grad(objective, argnums=(0, 1)))
        slopes = both(start, scale)[1]
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))
        rng, step = np.random.default_rng(3), 1e-6
        parts = [rng.normal(size=x.shape) for x in start]
        for change, own in ((parts, 0.0), ([np.zeros(x.shape) for x in start], 1.0)):
            ahead = both([x + step * d for x, d in zip(start, change, strict=True)], scale + step * own)[0]
            behind = both([x - step * d for x, d in zip(start, change, strict=True)], scale - step * own)[0]
            found = sum((s * d).sum() for s, d in zip(slopes[0], change, strict=True)) + slopes[1] * own
            assert abs(found) > 0.1
            np.testing.assert_allclose(found, (ahead - behind) / (2.0 * step), rtol=1e-6)
        for slope in slopes[0]:
            np.testing.assert_array_equal(np.asarray(slope)[~mask], 0.0)


def test_draws_have_the_marginals(optimised):
    law = _law(_given(dates=12, pixels=2))
    days = np.array([300.0, 310.0, 100.0], np.float32)
    drawn = np.asarray(law.sample(jax.random.key(1), days, (8_000,)))
    mean, variance = (np.asarray(x) for x in law.at(days))
    assert drawn.shape == (8_000, 2, 3)
    # Five standard errors.
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5.0 * np.sqrt(variance.max() / 8_000))
    np.testing.assert_allclose(drawn.var(0), variance, atol=5.0 * np.sqrt(2.0 / 8_000) * variance.max())
    assert np.corrcoef(drawn[:, 1, :2].T)[0, 1] > 0.5  # no dates: the prior's, joint


def test_single_precision(optimised):
    law = _law(_given())
    found, at = law.kl(), law.at(WANTED)
    assert found.dtype == at.mean.dtype == jnp.float32
    with jax.enable_x64(True):
        reference = in_double(law)
        np.testing.assert_allclose(found, reference.kl(), rtol=1e-3, atol=1e-5)
        for ours, theirs in zip(at, reference.at(WANTED), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_each_pixel_may_have_its_parameters():
    time, mean, diagonal, coupling, mask = _given()
    variance, scale = np.array([0.5, 1.0, 2.0], np.float32), np.array([10.0, 30.0, 60.0], np.float32)
    together = banded(Matern32(variance, scale), time, mean, diagonal, coupling, mask)
    for pixel in range(3):
        one = [x[pixel] for x in (time, mean, diagonal, coupling, mask)]
        alone = banded(Matern32(variance[pixel], scale[pixel]), *one)
        np.testing.assert_allclose(together.kl()[pixel], alone.kl(), rtol=1e-3, atol=1e-5)


def test_one_output_only():
    kernel = Coregionalized((Matern32(1.0, 20.0),), np.ones((2, 1)))
    with pytest.raises(ValueError, match="one output, got 2"):
        mean_field(kernel, np.arange(3.0), np.zeros(3, np.float32), 1.0)
