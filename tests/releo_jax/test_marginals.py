"""Joint laws by arithmetic: the density, its slopes and its curvature are those of NumPyro's factors."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from releo_jax.marginals import LowRankNormal, marginal

BANDS, RANK = 7, 3


def _parameters(batch, shared=False):
    rng = np.random.default_rng(0)
    parameters = {
        "loc": rng.normal(size=(*batch, BANDS)),
        "factor": rng.normal(size=(BANDS, RANK) if shared else (*batch, BANDS, RANK)),
        "scale": rng.uniform(0.5, 2.0, (*batch, BANDS)),
        "diagonal": rng.uniform(0.1, 1.0, (*batch, BANDS)),
    }
    return parameters, rng.normal(size=(*batch, BANDS))


def _textbook(loc, factor, scale, diagonal):
    return dist.LowRankMultivariateNormal(loc, scale[..., None] * factor, diagonal)


@pytest.mark.parametrize(("batch", "shared"), [((), True), ((2, 3), True), ((2, 3), False)])
def test_low_rank_density_and_its_derivatives_are_those_of_numpyro(batch, shared):
    with jax.enable_x64(True):
        parameters, value = _parameters(batch, shared)

        def density(make):
            return lambda parameters, value: make(**parameters).log_prob(value)

        along = jax.tree.map(np.cos, (parameters, value))

        def of(make):
            def slopes(*given):
                return jax.grad(lambda *given: density(make)(*given).sum(), (0, 1))(*given)

            return jax.jit(lambda *given: (density(make)(*given), *jax.jvp(slopes, given, along)))(parameters, value)

        found, expected = of(LowRankNormal), of(_textbook)
        assert found[0].shape == batch
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


def test_products_of_whitened_residuals_are_those_with_the_inverse():
    """Of several residuals under one law."""
    with jax.enable_x64(True):
        parameters, _ = _parameters(())
        residuals = np.random.default_rng(1).normal(size=(4, BANDS))
        run = jax.jit(lambda parameters, residuals: LowRankNormal(**parameters).whiten(residuals))
        whitened = np.asarray(run(parameters, residuals))
        factor = parameters["scale"][:, None] * parameters["factor"]
        covariance = factor @ factor.T + np.diag(parameters["diagonal"])
        np.testing.assert_allclose(whitened @ whitened.T, residuals @ np.linalg.solve(covariance, residuals.T))


def test_strong_factors_lose_nothing_in_single_precision():
    """Residuals of the size of the noise beside factors a thousand times larger: the difference of Woodbury's two
    terms is a millionth of each."""
    rng = np.random.default_rng(2)
    smooth = np.stack([np.ones(40), np.linspace(-1.0, 1.0, 40)], -1)
    value = smooth @ np.array([900.0, -400.0]) + rng.normal(size=40)
    given = [array.astype(np.float32) for array in (np.zeros(40), smooth, np.full(40, 1e3), np.ones(40), value)]
    found = jax.jit(lambda *given: LowRankNormal(*given[:4]).log_prob(given[4]))(*given)
    covariance = 1e6 * given[1].astype(float) @ given[1].T + np.eye(40)
    squared = given[4].astype(float) @ np.linalg.solve(covariance, given[4].astype(float))
    expected = -0.5 * (40 * np.log(2.0 * np.pi) + np.linalg.slogdet(covariance)[1] + squared)
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.long
@pytest.mark.parametrize("low_rank", [True, False])
def test_second_derivatives_of_many_pixels_end(low_rank):
    """Batches of factors by LAPACK wait here for each other for ever (two cores)."""
    pixels = 2000
    parameters, _ = _parameters((pixels,))
    values = np.random.default_rng(3).normal(size=(pixels, BANDS)).astype(np.float32)
    usable = jnp.asarray(np.random.default_rng(4).random((pixels, BANDS)) < 0.8)
    factor, diagonal = (jnp.asarray(parameters[name], jnp.float32) for name in ("factor", "diagonal"))

    def density(scale):
        scaled = scale[:, None, None] * factor
        if low_rank:
            law = dist.LowRankMultivariateNormal(jnp.zeros_like(values), scaled, diagonal)
        else:
            full = jnp.einsum("pbi,pci->pbc", scaled, scaled) + diagonal[..., None] * jnp.eye(BANDS)
            law = dist.MultivariateNormal(jnp.zeros_like(values), full)
        return marginal(law, usable, name="reflectance").log_prob(values)

    scale = jnp.ones(pixels)
    slope = jax.grad(lambda scale: density(scale).sum())
    found = jax.jit(lambda scale: jax.jvp(slope, (scale,), (jnp.ones_like(scale),))[1])(scale)
    i = 5
    used = np.asarray(usable[i])
    few, noise, residual = parameters["factor"][i][used], np.diag(parameters["diagonal"][i][used]), values[i][used]

    def exact(scale):
        covariance = scale**2 * few @ few.T + noise
        return -0.5 * (residual @ np.linalg.solve(covariance, residual) + np.linalg.slogdet(covariance)[1])

    step = 1e-3
    second = (exact(1.0 + step) - 2.0 * exact(1.0) + exact(1.0 - step)) / step**2
    assert float(found[i]) == pytest.approx(second, rel=1e-3)
    assert np.isfinite(np.asarray(found)).all()


def test_draws_have_the_moments_of_the_law():
    parameters, _ = _parameters((2,), shared=True)
    law = LowRankNormal(**{name: part.astype(np.float32) for name, part in parameters.items()})
    draws = np.asarray(jax.jit(lambda key: law.sample(key, (40000,)))(jax.random.key(0)), np.float64)
    assert draws.shape == (40000, 2, BANDS)
    factor = parameters["scale"][..., None] * parameters["factor"]
    expected = factor @ np.swapaxes(factor, -1, -2) + parameters["diagonal"][..., None] * np.eye(BANDS)
    for i in range(2):
        deviation = np.sqrt(np.diag(expected[i]))
        np.testing.assert_allclose(draws[:, i].mean(0), parameters["loc"][i], atol=0.02 * deviation.max())
        found = np.cov(draws[:, i].T) / deviation / deviation[:, None]
        np.testing.assert_allclose(found, expected[i] / deviation / deviation[:, None], atol=0.03)
