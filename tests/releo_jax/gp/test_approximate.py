"""What processes by inducing days and by neighbours have in common."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from releo_jax.gp import Exact, Matern32, Nearest, Sites, Sparse
from tests.releo_jax.gp.cases import KERNELS, SEVERAL, in_double, in_single, make_sites

WANTED = np.array([640.0, -80.0, 3.0, 100.5, 350.0, 900.0], np.float32)
PROCESSES = {
    "sparse": lambda kernel: Sparse(kernel, np.linspace(0.0, 700.0, 15, dtype=np.float32)),
    "nearest": lambda kernel: Nearest(kernel, 4),
}


@pytest.fixture(params=PROCESSES)
def make(request):
    return PROCESSES[request.param]


@pytest.mark.parametrize("name", ["matern32", SEVERAL])
def test_masked_dates_leave_no_trace(make, name):
    process, sites = make(KERNELS[name]), make_sites(KERNELS[name])
    usable = np.asarray(sites.mask[0] if sites.mask.ndim == 2 else sites.mask[0].all(-1))
    one = [np.asarray(x)[0] for x in (sites.time, sites.value, sites.variance)]
    masked = process.condition(Sites(*one, usable))
    absent = process.condition(Sites(*(x[usable] for x in one)))
    other = process.condition(
        Sites(one[0], np.where(usable.reshape(-1, *[1] * (one[1].ndim - 1)), one[1], np.float32(1e6)), one[2], usable)
    )
    np.testing.assert_allclose(masked.log_evidence, absent.log_evidence, rtol=1e-5)
    np.testing.assert_array_equal(masked.log_evidence, other.log_evidence)
    for ours, theirs, third in zip(masked.at(WANTED), absent.at(WANTED), other.at(WANTED), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=2e-5)
        np.testing.assert_array_equal(ours, third)


@pytest.mark.parametrize("name", ["matern32", SEVERAL])
def test_a_pixel_without_usable_dates_returns_the_prior(make, name):
    kernel, sites = KERNELS[name], make_sites(KERNELS[name])
    found = make(kernel).condition(sites)
    assert found.log_evidence[1] == 0.0
    assert make(kernel).kl(sites)[1] == 0.0
    for time in (np.resize(WANTED, sites.time.shape), None):  # as many as dates: the same programs
        mean, variance = map(np.asarray, found.at(time))
        np.testing.assert_array_equal(mean[1], 0.0)
        days = np.asarray(sites.time if time is None else time)[1]
        np.testing.assert_allclose(variance[1], _variances(kernel, days), rtol=2e-5)
        assert (variance[0] < variance[1]).any()


@jax.jit
def _variances(kernel, days):
    return kernel.variances(days)


def test_gradients_are_those_of_differences(make):
    with jax.enable_x64(True):
        sites = in_double(make_sites(Matern32()))

        def evidence(logarithm):
            return make(Matern32(jnp.exp(logarithm[0]), jnp.exp(logarithm[1]))).condition(sites).log_evidence.sum()

        at, step, both = np.log([0.7, 25.0]), 1e-5, jax.jit(jax.value_and_grad(evidence))
        found = both(at)[1]
        for index in range(2):
            moved = step * np.eye(2)[index]
            difference = (both(at + moved)[0] - both(at - moved)[0]) / (2.0 * step)
            assert abs(difference) > 0.1
            np.testing.assert_allclose(found[index], difference, rtol=1e-6)
        log_prob = jax.jit(jax.grad(lambda scale: make(Matern32(0.7, scale)).log_prob(sites).sum()))(np.float64(25.0))
        np.testing.assert_allclose(log_prob, found[1] / 25.0, rtol=1e-9)


def test_each_pixel_may_have_its_parameters(make):
    sites = make_sites(Matern32())
    variances, scales = np.array([0.5, 1.0, 2.0], np.float32), np.array([10.0, 30.0, 60.0], np.float32)
    process = make(Matern32(variances, scales))
    together = process.condition(sites)
    drawn = process.sample(jax.random.key(0), sites.time, (2,))
    assert drawn.shape == (2, 3, 30)
    for pixel in range(3):
        one = Sites(sites.time[pixel], sites.value[pixel], sites.variance[pixel], sites.mask[pixel])
        alone = make(Matern32(variances[pixel], scales[pixel])).condition(one)
        np.testing.assert_allclose(together.log_evidence[pixel], alone.log_evidence, rtol=1e-5, atol=1e-6)
        for ours, theirs in zip(together.at(WANTED), alone.at(WANTED), strict=True):
            np.testing.assert_allclose(ours[pixel], theirs, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("name", ["matern32", SEVERAL])
def test_single_precision(make, name, optimised):
    kernel, sites = in_single(KERNELS[name]), make_sites(KERNELS[name])
    found = make(kernel).condition(sites)
    assert found.log_evidence.dtype == found.at().mean.dtype == jnp.float32
    marginals = found.at()
    with jax.enable_x64(True):
        reference = make(in_double(kernel)).condition(in_double(sites))
        np.testing.assert_allclose(found.log_evidence, reference.log_evidence, rtol=3e-5, atol=1e-6)
        for ours, theirs in zip(marginals, reference.at(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=3e-4)


@pytest.mark.parametrize("name", ["matern32", SEVERAL])
def test_draws_have_the_marginals_of_the_posterior(make, name, optimised):
    kernel, sites = KERNELS[name], make_sites(KERNELS[name], dates=12, pixels=2)
    found = make(kernel).condition(sites)
    wanted = np.array([300.0, 310.0, 100.0], np.float32)
    drawn = np.asarray(found.sample(jax.random.key(1), wanted, (8_000,)))
    mean, variance = (np.asarray(x) for x in found.at(wanted))
    assert drawn.shape == (8_000, *mean.shape)
    # Five standard errors.
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5.0 * np.sqrt(variance.max() / 8_000))
    np.testing.assert_allclose(drawn.var(0), variance, atol=5.0 * np.sqrt(2.0 / 8_000) * variance.max())
    # Draws are joint: of days ten apart they go together as the exact ones do.
    exact = np.asarray(Exact(kernel).condition(sites).sample(jax.random.key(2), wanted, (8_000,)))
    for pixel in range(2):
        ours, theirs = (np.corrcoef(x[:, pixel, :2].reshape(8_000, 2, -1)[..., 0].T)[0, 1] for x in (drawn, exact))
        assert ours > 0.3
        np.testing.assert_allclose(ours, theirs, atol=0.1)
