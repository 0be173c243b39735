"""Gaussian processes by their state space: against the covariance of all dates, and in single precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from releo_jax.gp import Exact, Markov, Matern12, Matern32, Matern52, Periodic, Sites, SquaredExponential, sorted_sites
from releo_jax.gp.matrices import as_array
from tests.releo_jax.gp.cases import KERNELS, SEVERAL, in_double, in_single, make_sites

WANTED = np.array([640.0, -80.0, 3.0, 100.5, 350.0, 900.0])  # in no order; before, between and after the dates


@pytest.mark.parametrize("name", KERNELS)
def test_state_spaces_have_the_covariance_of_their_kernel(name):
    with jax.enable_x64(True):
        kernel = in_double(KERNELS[name])
        days = np.array([0.0, 1e-4, 0.3, 2.0, 17.0, 400.0])
        stationary, rows, changes, news, covariance = map(np.asarray, _dense(kernel, days))
        covariance = covariance.reshape(len(rows), len(days), -1)
        for place, (change, new) in enumerate(zip(changes, news, strict=True)):
            np.testing.assert_allclose(rows @ (change @ stationary) @ rows.T, covariance[:, place].T, atol=1e-14)
            np.testing.assert_allclose(change @ stationary @ change.T + new, stationary, atol=1e-14)
            assert np.linalg.eigvalsh(new).min() > -1e-16


@jax.jit
def _dense(kernel, days):
    space = kernel.state_space()

    def step(day):
        return [as_array(matrix, days.dtype) for matrix in space.step(day)]

    rows = jnp.stack([as_array(row, days.dtype) for row in space.observations])
    return as_array(space.stationary, days.dtype), rows, *jax.vmap(step)(days), kernel(jnp.zeros(1), days)


@pytest.mark.parametrize("name", KERNELS)
def test_is_exact(name):
    with jax.enable_x64(True):
        kernel, sites = in_double(KERNELS[name]), in_double(make_sites(KERNELS[name]))
        exact, markov = Exact(kernel), Markov(kernel)
        reference, found = exact.condition(sites), markov.condition(sites)
        np.testing.assert_allclose(found.log_evidence, reference.log_evidence, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(markov.log_prob(sites), reference.log_evidence, rtol=1e-12, atol=1e-12)
        for time in (None, np.resize(WANTED, sites.time.shape)):  # as many as dates: the same programs
            for ours, theirs in zip(found.at(time), reference.at(time), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-12)
        np.testing.assert_allclose(markov.kl(sites), exact.kl(sites), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ["matern32", SEVERAL])
def test_all_dates_at_once(name):
    with jax.enable_x64(True):
        kernel, sites = in_double(KERNELS[name]), in_double(make_sites(KERNELS[name]))
        one, all_ = Markov(kernel).condition(sites), Markov(kernel, parallel=True).condition(sites)
        np.testing.assert_allclose(all_.log_evidence, one.log_evidence, rtol=1e-11, atol=1e-11)
        for time in (None, WANTED):
            for ours, theirs in zip(all_.at(time), one.at(time), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("name", ["matern12", "matern52", "periodic"])
def test_single_precision(name, optimised):
    kernel, sites = in_single(KERNELS[name]), make_sites(KERNELS[name])
    found = Markov(kernel).condition(sites)
    marginals, elsewhere = found.at(), found.at(WANTED.astype(np.float32))
    with jax.enable_x64(True):
        reference = Exact(in_double(kernel)).condition(in_double(sites))
        for ours, theirs in ((marginals, reference.at()), (elsewhere, reference.at(WANTED))):
            np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0.0, atol=1e-5)
            np.testing.assert_allclose(ours.variance, theirs.variance, rtol=0.0, atol=5e-6)
        np.testing.assert_allclose(found.log_evidence, reference.log_evidence, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("kernel", [Matern32(0.7, 30.0), Matern52(0.7, 30.0)], ids=["matern32", "matern52"])
def test_thousands_of_close_dates_stay_stable_in_single_precision(kernel, optimised):
    dates = 4096
    rng = np.random.default_rng(1)
    time = np.sort(rng.uniform(0.0, 400.0, dates)).astype(np.float32)
    time[100:200] = time[100]
    sites = Sites(time, np.sin(time / 20.0), np.float32(1e-4), rng.random(dates) < 0.9)
    found = Markov(kernel).condition(sites)
    marginals = found.at()
    assert (np.asarray(marginals.variance) > 0.0).all()
    with jax.enable_x64(True):
        reference = Markov(in_double(kernel)).condition(in_double(sites))
        np.testing.assert_allclose(marginals.mean, reference.at().mean, rtol=0.0, atol=2e-4)
        np.testing.assert_allclose(marginals.variance, reference.at().variance, rtol=0.05)
        np.testing.assert_allclose(found.log_evidence, reference.log_evidence, rtol=1e-4)


@pytest.mark.parametrize("name", ["matern32", "matern52"])
def test_slopes_of_parameters(name):
    def density(kernel, sites):
        posterior = Markov(kernel).condition(sites)
        return posterior.log_evidence.sum() + posterior.at().variance.sum()

    kernel, sites = in_single(KERNELS[name]), make_sites(KERNELS[name], dates=12)
    slopes = jax.jit(jax.grad(density))(kernel, sites)
    with jax.enable_x64(True):
        wide, places, density = in_double(kernel), in_double(sites), jax.jit(density)
        leaves, structure = jax.tree.flatten(wide)
        for place, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(slopes), strict=True)):
            for entry in np.ndindex(leaf.shape):
                step = 1e-5 * float(leaf[entry])
                beside = [leaf.at[entry].add(by) for by in (step, -step)]
                ends = [
                    density(structure.unflatten([*leaves[:place], x, *leaves[place + 1 :]]), places) for x in beside
                ]
                expected = float(ends[0] - ends[1]) / (2.0 * step)
                np.testing.assert_allclose(slope[entry], expected, rtol=2e-3, atol=1e-3)


def test_far_from_dates_and_without_any_it_is_the_prior():
    kernel = Matern32(0.7, 20.0)
    posterior = Markov(kernel).condition(make_sites(kernel))
    far = posterior.at(np.array([-5000.0, 9000.0]))
    np.testing.assert_allclose(far.mean, 0.0, atol=1e-6)
    np.testing.assert_allclose(far.variance, 0.7, rtol=1e-6)
    empty = posterior.at()
    np.testing.assert_allclose(empty.mean[1], 0.0, atol=1e-7)
    np.testing.assert_allclose(empty.variance[1], 0.7, rtol=1e-6)
    assert posterior.log_evidence[1] == 0.0


def test_masked_and_padded_dates_leave_no_trace():
    kernel = Matern32(0.7, 20.0)
    sites = make_sites(kernel)
    usable = np.asarray(sites.mask[0])
    alone = Sites(*(np.asarray(x[0])[usable] for x in (sites.time, sites.value, sites.variance)))
    padding = np.full(30 - usable.sum(), np.nan, np.float32)
    padded = Sites(*(np.concatenate([np.asarray(x), padding]) for x in (alone.time, alone.value, alone.variance)))
    nowhere = np.where(sites.mask, sites.value, np.nan)
    spoiled = Sites(sites.time[0], nowhere[0], sites.variance[0])
    expected = Markov(kernel).condition(alone)
    for found in (Markov(kernel).condition(padded), Markov(kernel).condition(spoiled)):
        np.testing.assert_allclose(found.log_evidence, expected.log_evidence, rtol=1e-5)
        np.testing.assert_allclose(found.at(WANTED).mean, expected.at(WANTED).mean, atol=1e-5)
    slope = jax.jit(jax.grad(lambda value: Markov(kernel).log_prob(Sites(sites.time, value, sites.variance)).sum()))
    assert np.isfinite(slope(nowhere)).all()


def test_parameters_of_each_pixel():
    time = np.linspace(0.0, 100.0, 8, dtype=np.float32)
    value = np.stack([np.sin(time), np.cos(time)])
    scales = np.array([10.0, 40.0], np.float32)
    both = Markov(Matern32(1.0, scales)).condition(Sites(np.stack([time, time]), value, 0.1))
    for pixel, scale in enumerate(scales):
        alone = Markov(Matern32(1.0, scale)).condition(Sites(time, value[pixel], 0.1))
        np.testing.assert_allclose(both.log_evidence[pixel], alone.log_evidence, rtol=1e-5)
        np.testing.assert_allclose(both.at(WANTED).mean[pixel], alone.at(WANTED).mean, atol=1e-5)
    with pytest.raises(ValueError, match=r"scalars or of the pixels' shape \(2,\), got \(3,\)"):
        Markov(Matern32(1.0, np.ones(3))).log_prob(Sites(np.stack([time, time]), value, 0.1))


@pytest.mark.parametrize(
    ("engine", "name"), [(Exact, "coregionalised"), (Markov, "coregionalised"), (Markov, "periodic")]
)
def test_draws_have_the_moments_of_the_process(engine, name):
    kernel = in_single(KERNELS[name])
    process = engine(kernel)
    days = np.array([0.0, 4.0, 4.0, 30.0], np.float32)
    key = jax.random.key(3)
    drawn = np.asarray(process.sample(key, days, (4000,))).reshape(4000, -1)
    covariance = np.asarray(jax.jit(lambda days: kernel(days, days))(days)).reshape(drawn.shape[1], -1)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.08)
    sites = jax.tree.map(lambda x: x[0], make_sites(kernel, dates=8))
    posterior = process.condition(sites)
    wanted = np.asarray(sites.time)[2] + np.array([30.0, 0.5, -1.0], np.float32)
    drawn = np.asarray(posterior.sample(key, wanted, (4000,)))
    marginals = posterior.at(wanted)
    np.testing.assert_allclose(drawn.mean(0), marginals.mean, atol=0.05)
    np.testing.assert_allclose(drawn.var(0), marginals.variance, atol=0.05)


def test_bad_input_is_named():
    time, value = np.arange(3.0), np.zeros(3)
    with pytest.raises(ValueError, match="rising dates, got day 1.0 after a later one at index .1.*sorted_sites"):
        Sites(np.array([2.0, 1.0, 3.0]), value, 1.0)
    with pytest.raises(ValueError, match="one date at least, got none"):
        Sites(np.zeros((2, 0)), np.zeros((2, 0)), 1.0)
    with pytest.raises(ValueError, match="days as numbers, got datetime64"):
        Sites(np.array(["2020-01-01"], "datetime64[D]"), np.zeros(1), 1.0)
    with pytest.raises(ValueError, match="boolean mask"):
        Sites(time, value, 1.0, np.ones(3))
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2,\)"):
        Sites(time, np.zeros(2), 1.0)
    with pytest.raises(ValueError, match="Matern32: expected scale above zero, got 0"):
        Matern32(1.0, 0.0)
    with pytest.raises(ValueError, match="Periodic: expected period above zero"):
        Periodic(1.0, 1.0, -3.0)
    with pytest.raises(ValueError, match="SquaredExponential has no state space; .*Exact"):
        Markov(SquaredExponential(1.0, 3.0)).log_prob(Sites(time, value, 1.0))
    with pytest.raises(ValueError, match="kernels of one output"):
        KERNELS["coregionalised"] + Matern12(1.0, 2.0)


def test_dates_that_a_compiled_function_knows_are_checked_there():
    days = np.array([1.0, 2.0, np.nan], np.float32)

    @jax.jit
    def density(value):
        return Markov(Matern12(1.0, 2.0)).log_prob(Sites(days, value, 0.1))

    value = jnp.asarray([1.0, 2.0, 3.0])
    np.testing.assert_allclose(density(value), Markov(Matern12(1.0, 2.0)).log_prob(Sites(days, value, 0.1)), rtol=1e-6)
    with pytest.raises(ValueError, match="rising dates"):
        jax.jit(lambda value: Sites(days[[1, 0, 2]], value, 0.1).time)(value)


def test_sorting():
    time = np.array([[3.0, np.nan, 1.0]])
    sites, order = sorted_sites(time, np.array([[30.0, 7.0, 10.0]]), 0.1)
    np.testing.assert_array_equal(order, [[2, 0, 1]])
    np.testing.assert_array_equal(sites.value, [[10.0, 30.0, 0.0]])
    np.testing.assert_array_equal(sites.mask, [[True, True, False]])
    np.testing.assert_array_equal(sites.time, [[1.0, 3.0, 3.0]])


def test_long_series_are_exact_pixel_by_pixel():
    rng = np.random.default_rng(5)
    time = np.cumsum(rng.uniform(0.5, 3.0, (3, 120)), -1).astype(np.float32)
    sites = Sites(time, rng.normal(size=time.shape).astype(np.float32), 0.1, rng.random(time.shape) < 0.7)
    kernel = Matern32(jnp.asarray([0.5, 1.0, 2.0]), jnp.asarray([10.0, 20.0, 40.0]))
    exact, fast = Exact(kernel).condition(sites), Markov(kernel).condition(sites)
    np.testing.assert_allclose(exact.log_evidence, fast.log_evidence, rtol=1e-4)
    for one, other in zip(exact.at(), fast.at(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
