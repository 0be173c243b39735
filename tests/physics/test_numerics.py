"""Safe primitives: value and slope at every limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics.numerics import (
    elementary_layer,
    one_minus_exp_over,
    pointwise,
    reciprocal,
    root,
    safe_sqrt,
    saturating,
    stored,
    stored_spectra,
)

U, WEIGHTS = np.polynomial.legendre.leggauss(400)
U, WEIGHTS = 4.0 * (U + 1.0), 4.0 * WEIGHTS
T = np.exp(-(U**2))
WEIGHTS = 2.0 * U * T * WEIGHTS  # dt after t = exp(-u²), which crowds the nodes at t = 0


def layer_by_quadrature(k: float) -> float:
    """1 - 2 E3(k) = 1 - 2 * integral over 0..1 of t exp(-k / t) dt."""
    return float((2.0 * T * -np.expm1(-k / T) * WEIGHTS).sum())


@pytest.mark.parametrize("k", [0.0, 1e-7, 1e-4, 0.03, 0.4, 0.999, 1.0, 1.001, 3.0, 12.0, 60.0])
def test_layer_absorptance_equals_the_integral(k):
    expected = layer_by_quadrature(k)
    single = elementary_layer(jnp.float32(k))[1]
    np.testing.assert_allclose(single, expected, rtol=1e-6, atol=1e-12)
    with jax.enable_x64(True):
        transmissivity, absorptance = elementary_layer(jnp.float64(k))
        np.testing.assert_allclose(absorptance, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(transmissivity, 1.0 - expected, rtol=1e-11 if k < 5 else 1e-3, atol=1e-13)


@pytest.mark.parametrize("k", [0.0, 1e-6, 0.2, 0.9999, 1.0, 5.0])
def test_layer_slope_is_twice_the_second_exponential_integral(k):
    # d(1 - 2 E3)/dk = 2 E2; at 0 it is 2
    slope = jax.grad(lambda x: elementary_layer(x)[1])(jnp.float32(k))
    expected = 2.0 * (np.exp(-k / T) * WEIGHTS).sum()  # 2 E2(k) = 2 * integral over 0..1 of exp(-k / t) dt
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


@pytest.mark.parametrize("x", [-30.0, -0.7, -0.499, -1e-4, 0.0, 1e-6, 0.3, 0.501, 2.0, 80.0])
def test_one_minus_exp_over(x):
    value, slope = jax.value_and_grad(one_minus_exp_over)(jnp.float32(x))
    expected = 1.0 if x == 0 else -np.expm1(-x) / x
    expected_slope = -0.5 + x / 3 - x**2 / 8 if abs(x) < 1e-3 else (np.exp(-x) - expected) / x
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-3, 0.5, 3.0, 1e6])
@pytest.mark.parametrize("x", [0.0, 0.01, 0.7])
def test_saturating(x, scale):
    value = saturating(jnp.float32(x), jnp.float32(scale))
    slope_x, slope_scale = jax.grad(saturating, argnums=(0, 1))(jnp.float32(x), jnp.float32(scale))
    v = x / scale if scale > 1e-35 else np.inf
    expected = 0.0 if scale == 0 else -scale * np.expm1(-v)
    np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-30)
    if not (x == 0 and scale == 0):
        np.testing.assert_allclose(slope_x, np.exp(-v), rtol=2e-6, atol=1e-37)
        expected_slope = 1.0 if np.isinf(v) else (v**2 / 2 - v**3 / 3 if v < 1e-3 else 1 - (1 + v) * np.exp(-v))
        np.testing.assert_allclose(slope_scale, expected_slope, rtol=1e-5, atol=1e-30)


def test_safe_sqrt_has_slope_zero_at_its_cusp():
    assert jax.grad(safe_sqrt)(jnp.float32(0.0)) == 0.0
    np.testing.assert_allclose(jax.grad(safe_sqrt)(jnp.float32(4.0)), 0.25)


def test_stored_changes_nothing():
    """Values to the last bit, also beside numbers of another size; derivatives of both modes."""
    a, b = jnp.float32([1e-30, 3.1, -1e30]), jnp.float32(0.1)
    kept = jax.jit(stored)(a, b)
    np.testing.assert_array_equal(kept[0], a)
    np.testing.assert_array_equal(kept[1], np.full(3, b))
    values, tangents = jax.jvp(stored, (a, b), (2.0 * a, jnp.float32(1.0)))
    np.testing.assert_array_equal(tangents[0], 2.0 * a)
    np.testing.assert_array_equal(tangents[1], np.ones(3))
    slope_a, slope_b = jax.grad(lambda a, b: jnp.sum(stored(a, b)[0] * stored(a, b)[1]), argnums=(0, 1))(a[:2], b)
    np.testing.assert_allclose(slope_a, np.full(2, b))
    np.testing.assert_allclose(slope_b, a[:2].sum(), rtol=1e-6)
    np.testing.assert_array_equal(jax.vmap(stored)(a, a)[1], a)
    np.testing.assert_array_equal(jax.jit(stored_spectra)(a, 2.0 * a)[1], 2.0 * a)
    np.testing.assert_array_equal(jax.grad(lambda a: stored_spectra(a)[0].sum())(a), np.ones(3))


def test_reciprocal_and_root_have_the_slopes_of_their_definitions():
    x = jnp.float32([0.3, 1.0, 40.0])
    np.testing.assert_allclose(jax.vmap(jax.grad(reciprocal))(x), -1.0 / x**2, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(lambda x: root(x)[0]))(x), 0.5 / jnp.sqrt(x), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(lambda x: root(x)[1]))(x), -0.5 / x**1.5, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(reciprocal)))(x), 2.0 / x**3, rtol=1e-6)


def test_pointwise_changes_neither_values_nor_derivatives():
    """Trees of arguments and results, shapes that broadcast, both modes, second derivatives, and a batch of them."""

    def plain(spectrum, numbers):
        wave = jnp.sin(spectrum * numbers["a"]) + numbers["b"] ** 2
        return {"wave": wave, "flat": jnp.exp(numbers["a"])}

    fast = pointwise(plain)
    spectrum = jnp.linspace(0.2, 2.0, 12).reshape(3, 4)
    numbers = {"a": jnp.array([[0.5], [1.0], [2.0]]), "b": jnp.array(0.7)}
    values, known = jax.jit(lambda *arguments: (fast(*arguments), plain(*arguments)))(spectrum, numbers)
    np.testing.assert_array_equal(values["wave"], known["wave"])
    np.testing.assert_array_equal(values["flat"], jnp.broadcast_to(known["flat"], (3, 4)))
    directions = jax.tree.map(lambda leaf: 0.3 + leaf, (spectrum, numbers))

    def derivatives(function):
        def total(spectrum, numbers):
            found = function(spectrum, numbers)
            return jnp.sum(found["wave"] ** 2 + found["flat"] * jnp.arange(4.0))

        @jax.jit
        def all_of_them(spectrum, numbers):
            gradients = [jax.grad(total, arguments)(spectrum, numbers) for arguments in ((0,), (1,), (0, 1))]
            slope = jax.jvp(function, (spectrum, numbers), directions)[1]["wave"]
            batch = jax.vmap(jax.grad(total), (0, None))(jnp.stack([spectrum, 2 * spectrum]), numbers)
            return gradients, slope, batch, jax.hessian(total, argnums=1)(spectrum, numbers)["a"]["a"]

        return all_of_them(spectrum, numbers)

    *found, curvature = derivatives(fast)
    *expected, known_curvature = derivatives(plain)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5), found, expected)
    np.testing.assert_allclose(curvature, known_curvature, rtol=1e-4, atol=1e-4)
