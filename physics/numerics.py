"""Functions whose value *and* slope stay right at every limit, in float32 and float64.

Each names the singularity it removes. Coefficients not derived in place were computed with 40-digit arithmetic.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

_EULER_GAMMA = 0.5772156649015328606


def horner(coefficients: tuple[float, ...], x: Array) -> Array:
    """Polynomial `c[0] + c[1] x + c[2] x² + ...` by Horner's rule."""
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


@jax.custom_jvp
def stored(*arrays: Array) -> tuple[Array, ...]:
    """The same arrays, broadcast against each other and kept in memory: a hint for speed.

    XLA's CPU compiler fuses an elementwise result into every loop that uses it, sine and tangent included, so that what
    has the shape of the batch is computed again for each leaf angle or wavelength. It drops `optimization_barrier`
    before that, but does not look through a matrix product: this one multiplies by the identity, which is exact.
    Derivatives pass unchanged; a product for each of them would cost more than it saves.
    """
    stack = jnp.stack(jnp.broadcast_arrays(*arrays))
    identity = jnp.eye(len(arrays), dtype=stack.dtype)
    return tuple(jnp.tensordot(identity, stack, axes=1, precision=jax.lax.Precision.HIGHEST))


@jax.custom_jvp
def stored_spectra(*arrays: Array) -> tuple[Array, ...]:
    """As `stored`, for arrays of one shape with many elements, finite, each of which several results need.

    A quotient is too dear for XLA to compute twice, and cheaper than a matrix product where elements are many (in
    float64 above all). The divisor is one, in a way that the compiler does not see through.
    """
    one = 1.0 + 0.0 * arrays[0]
    return tuple(array / one for array in arrays)


@stored_spectra.defjvp
def _stored_spectra_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    one = 1.0 + 0.0 * primals[0]
    return stored_spectra(*primals), tuple(tangent / one for tangent in tangents)


@jax.custom_jvp
def reciprocal(x: Array) -> Array:
    """`1 / x`, whose slope is taken from the value: a division costs as much as ten multiplications."""
    return 1.0 / x


@reciprocal.defjvp
def _reciprocal_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    inverse = reciprocal(*primals)
    return inverse, -(inverse * inverse) * tangents[0]


@jax.custom_jvp
def root(x: Array) -> tuple[Array, Array]:
    """Square root of `x > 0` and its reciprocal, with slopes taken from the values."""
    value = jnp.sqrt(x)
    return value, 1.0 / value


@root.defjvp
def _root_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    value, inverse = root(*primals)
    slope = 0.5 * inverse * tangents[0]
    return (value, inverse), (slope, -inverse * inverse * slope)


def pointwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, differentiated through its partial derivatives: for speed.

    Args:
        function: of arrays, or trees of arrays, whose shapes broadcast. Each element of its results depends on nothing
            but the elements of the arguments in the same place.

    Returns:
        A function with the same values, broadcast to the shape of all arguments. Its derivative in any direction is the
        sum of partial derivatives times the components of the direction. They are computed once, by forward mode next
        to the values, whose intermediate results they share, and serve all columns of a Jacobian and the backward pass
        alike: of a backward pass through as many operations as `sail` has, XLA's CPU compiler makes hundreds of loops.
        An argument with one element along the last axis, of many, costs one partial derivative like any other, so
        what the function derives from such arguments belongs inside of it.
    """

    @functools.wraps(function)
    def differentiable(*arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        shape = jnp.broadcast_shapes(*map(jnp.shape, leaves))

        @jax.custom_jvp
        def evaluate(*leaves: Array) -> Any:
            values = function(*jax.tree.unflatten(structure, leaves))
            return jax.tree.map(lambda value: jnp.broadcast_to(value, shape), values)

        @functools.partial(evaluate.defjvp, symbolic_zeros=True)
        def derivative(leaves, tangents):  # type: ignore[no-untyped-def]
            values = evaluate(*leaves)
            changes = jax.tree.map(jnp.zeros_like, values)
            for place, tangent in enumerate(tangents):
                if isinstance(tangent, SymbolicZero):
                    continue

                def along(leaf: Array, place: int = place) -> Any:
                    everything = (*leaves[:place], leaf, *leaves[place + 1 :])
                    return function(*jax.tree.unflatten(structure, everything))

                partials = jax.jvp(along, (leaves[place],), (jnp.ones_like(leaves[place]),))[1]
                if tangent.shape[-1:] == (1,) != shape[-1:]:
                    # A broadcast by product: its transpose is a product too, which is faster than a sum.
                    row = jnp.ones((1, shape[-1]), tangent.dtype)
                    tangent = jnp.matmul(tangent, row, precision=jax.lax.Precision.HIGHEST)

                def advance(change: Array, partial: Array, tangent: Array = tangent) -> Array:
                    return change + stored_spectra(jnp.broadcast_to(partial, shape))[0] * tangent

                changes = jax.tree.map(advance, changes, partials)
            return values, changes

        return evaluate(*leaves)

    return differentiable


@stored.defjvp
def _stored_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    kept = stored(*primals)
    return kept, tuple(jnp.broadcast_to(tangent, kept[0].shape) for tangent in tangents)


def _is_double(x: Array) -> bool:
    return x.dtype == jnp.float64


def safe_sqrt(x: Array) -> Array:
    """Square root whose slope at (and below) zero is 0 instead of infinite.

    For distances `sqrt(d²)`: they have a cusp at zero, where the symmetric choice of slope is 0.
    """
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def safe_power(x: Array, exponent: Array | float) -> Array:
    """`x ** exponent` for `x >= 0` and any exponent above zero, with value and slopes 0 at `x = 0`.

    There the slope is infinite for exponents below one, and automatic differentiation makes 0 · inf of it, and of the
    slope with respect to the exponent.
    """
    positive = x > 0
    return jnp.where(positive, jnp.exp(exponent * jnp.log(jnp.where(positive, x, 1.0))), 0.0)


def one_minus_exp_over(x: Array) -> Array:
    """`(1 - exp(-x)) / x`, also at `x = 0` (value 1, slope -1/2) and for negative `x`.

    Below |x| = 1/2 the quotient loses digits in its slope, so the power series sum (-x)^n / (n+1)! takes over.
    """
    terms = 14 if _is_double(x) else 8
    series = tuple((-1.0) ** n / math.factorial(n + 1) for n in range(terms))
    small = jnp.abs(x) < 0.5
    away = jnp.where(small, 1.0, x)
    return jnp.where(small, horner(series, jnp.where(small, x, 0.0)), (1.0 - jnp.exp(-away)) / away)


@jax.custom_jvp
def saturating(x: Array, scale: Array) -> Array:
    """`scale (1 - exp(-x / scale))` for `x >= 0`, `scale >= 0`: 0 at scale 0, `x` at infinite scale.

    The slope with respect to `scale` is 1 - (1 + v) exp(-v) with v = x / scale, which automatic differentiation
    would turn into 0 · inf at scale 0 and into a difference of equal numbers at large scale.
    """
    tiny = jnp.finfo(x.dtype).tiny
    positive = scale > tiny
    v = x / jnp.where(positive, scale, 1.0)
    return jnp.where(positive, -scale * jnp.expm1(-v), 0.0)


@saturating.defjvp
def _saturating_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    x, scale = primals
    x_dot, scale_dot = tangents
    positive = scale > jnp.finfo(x.dtype).tiny
    v = x / jnp.where(positive, scale, 1.0)
    decay = jnp.where(positive, jnp.exp(-v), 0.0)
    # 1 - (1 + v) exp(-v) = sum over n >= 2 of (-1)^n (n - 1) v^n / n!
    series = (0.0, 0.0) + tuple((-1.0) ** n * (n - 1) / math.factorial(n) for n in range(2, 16))
    small = v < 0.5
    slope = jnp.where(small, horner(series, jnp.where(small, v, 0.0)), 1.0 - (1.0 + v) * decay)
    slope = jnp.where(positive, slope, 1.0)
    return saturating(x, scale), decay * x_dot + slope * scale_dot


# -- exponential integrals -------------------------------------------------------------------------------------------
# exp(k) (k + 3) E3(k) for k >= 1 as a polynomial in s = (k - 5) / (k + 3), s in [-1, 1): Chebyshev interpolation with
# 40-digit arithmetic, largest error 5e-15 (24 terms) and 2e-7 (10 terms).
_E3_POLYNOMIAL = (
    1.0422176284732168,
    -0.08494493262670282,
    0.04770503522325165,
    -0.00955931814351377,
    0.005372289447579204,
    -0.0014898165813694044,
    0.0008470780838137452,
    -0.0002778110056168167,
    0.0001605538877532942,
    -5.8094842212934664e-05,
    3.4264875942795276e-05,
    -1.3174684604636869e-05,
    7.76583905219666e-06,
    -3.0999852215687534e-06,
    2.2828983005043645e-06,
    -9.116127892201629e-07,
    2.622177864510528e-09,
    -3.8260122611402284e-08,
    6.059186515168321e-07,
    -2.059058232800377e-07,
    -2.2899215469125696e-07,
    6.831126187512302e-08,
    8.404560505422845e-08,
    -2.698647839040878e-08,
)
_E3_POLYNOMIAL_SINGLE = (
    1.0422177669790398,
    -0.08494525004702294,
    0.047698305809660724,
    -0.009553165954100691,
    0.005423899268213459,
    -0.0015227133155789779,
    0.0007122002638807663,
    -0.0002080879312292474,
    0.00029503054288858386,
    -0.0001181113198840154,
)


def _layer_absorptance_series(terms: int) -> tuple[float, ...]:
    """Power-series coefficients of 1 - 2 E3(k) + k² (3/2 - gamma - ln k), from k^3 on (DLMF 6.6.2 and 8.19.8)."""
    return tuple(2.0 * (-1.0) ** m / ((m - 2) * math.factorial(m)) for m in range(3, 3 + terms))


def elementary_layer(absorption: Array) -> tuple[Array, Array]:
    """Transmissivity `2 E3(k)` and absorptance `1 - 2 E3(k)` of an absorbing layer under isotropic light, `k >= 0`.

    With E3 the third exponential integral: 2 E3(k) = (1 - k) exp(-k) + k² E1(k) (Allen et al. 1969). Each of the two is
    formed without subtracting from one where it is small, so neither a weak nor a strong absorber loses digits, in
    value or slope: a power series with k² ln k below k = 1 (DLMF 8.19.8), a polynomial for exp(k) E3(k) (k + 3) above.

    Args:
        absorption: absorption coefficient times thickness `k`, any shape.

    Returns:
        `(transmissivity, absorptance)`, same shape.
    """
    k = absorption
    double = _is_double(k)
    small = k < 1.0
    below = jnp.where(small, k, 0.5)
    positive = below > 0
    log = jnp.log(jnp.where(positive, below, 1.0))
    square = below * below
    tail = horner(_layer_absorptance_series(15 if double else 7), below)
    absorptance = 2.0 * below - square * (1.5 - _EULER_GAMMA - log) + square * below * tail
    absorptance = stored_spectra(absorptance)[0]
    above = jnp.where(small, 1.0, k)
    inverse = 1.0 / (above + 3.0)
    s = 1.0 - 8.0 * inverse
    polynomial = horner(_E3_POLYNOMIAL if double else _E3_POLYNOMIAL_SINGLE, s)
    transmissivity = 2.0 * jnp.exp(-above) * polynomial / (above + 3.0)
    return (
        jnp.where(small, 1.0 - absorptance, transmissivity),
        jnp.where(small, absorptance, 1.0 - transmissivity),
    )
