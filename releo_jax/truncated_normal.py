"""Arithmetic of the normal law on an interval, right in the tails and at every width, in the caller's precision.

The textbook formulas subtract two values of the normal distribution function. In float32 nothing is left of that
difference when the location lies a few deviations outside the interval, when the deviation is much larger than the
interval, or in the derivatives of both. Here every integral is taken over the density itself, scaled to one at its
largest point m in the interval,

    f(t) = exp(-d (d / 2 + p)),     d = (t - m) / scale,  p = (m - loc) / scale,  m = clip(loc, low, high),

by one Gauss-Legendre rule over the part of the interval where f is not negligible. All summands are positive, nothing
cancels, and the uniform law (scale -> infinity) and the exponential one (loc far outside) are ordinary points. The
integrals do not depend on where m lies, so m carries no derivative.

The inverse of the distribution function is found by Halley steps on the log odds, and differentiated implicitly
(Figurnov, Mohamed & Mnih 2018, Implicit reparameterization gradients, NeurIPS).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr, ndtri
from scipy import special

# Nodes, the reach T of the integrals in deviations, and Halley steps. Beyond the point where f has fallen to
# exp(-T^2 / 2) (2e-9 and 3e-18) nothing is added. Largest relative error of a mass in exact arithmetic: 5e-8 with 20
# nodes, 6e-14 with 40 (against scaled complementary error functions, loc inside and up to 100 deviations outside).
_RULES = {np.dtype(np.float32): (20, 6.3, 2), np.dtype(np.float64): (40, 9.0, 3)}


# The sums over nodes are written out: too many operations to send one by one.
_jit = functools.partial(jax.jit, inline=True)


class Piece(NamedTuple):
    """Integrals over a part of the interval; every field `(*batch)`.

    Attributes:
        mass: integral of the density, scaled to one at the reference.
        log_mass: its logarithm.
        first: mean of `t - reference` over the part.
        second: mean of `(t - reference)^2` over the part.
    """

    mass: Array
    log_mass: Array
    first: Array
    second: Array


@functools.cache
def _rule(dtype: np.dtype) -> tuple[list[tuple[float, float]], float]:
    """Nodes on (0, 1) with their weights, and the reach."""
    nodes, reach, _ = _RULES[dtype]
    t, weight = np.polynomial.legendre.leggauss(nodes)
    return list(zip(((t + 1.0) / 2.0).tolist(), (weight / 2.0).tolist(), strict=True)), reach


def typed(*values: Any) -> tuple[Array, ...]:
    """Arrays of one floating dtype, float32 or float64."""
    dtype = jnp.result_type(float, *values)
    if dtype not in (jnp.float32, jnp.float64):
        dtype = jnp.float32
    # Numbers stay on the host: that a device has them takes a program for every shape.
    return tuple((jnp if isinstance(value, Array) else np).asarray(value, dtype) for value in values)


def promote(*values: Any) -> tuple[Array, ...]:
    """As `typed`, of one shape."""
    return tuple(jnp.broadcast_arrays(*typed(*values)))


class _Nodes(NamedTuple):
    """Where a law is integrated: the mode m, lists of t - m, log f and weight by node, and the length."""

    mode: Array
    offsets: list[Array]
    exponents: list[Array]
    weights: list[float]
    length: Array


def _nodes(loc: Array, scale: Array, low: Array, high: Array) -> _Nodes:
    # Lists, whose sums are written out: the compiler makes one vector loop of them, 10 to 200 times faster than a
    # reduction over an axis of nodes.
    rule, reach = _rule(np.dtype(loc.dtype))
    mode = _mode(loc, low, high)
    p = (mode - loc) / scale
    # Where the exponent has fallen to -reach^2 / 2; no derivative, for nothing lies beyond.
    far = jax.lax.stop_gradient(scale * (reach**2 / (jnp.hypot(p, reach) + jnp.abs(p))))
    start = jnp.maximum(low - mode, -far)
    length = jnp.minimum(high - mode, far) - start
    offsets = [start + length * position for position, _ in rule]
    inverse = 1.0 / scale
    ratios = [offset * inverse for offset in offsets]
    return _Nodes(mode, offsets, [-d * (0.5 * d + p) for d in ratios], [weight for _, weight in rule], length)


def _mode(loc: Array, low: Array, high: Array) -> Array:
    """Where the density is largest, as a constant."""
    return jax.lax.stop_gradient(jnp.clip(loc, low, high))


def _sum(terms: Iterable[Array]) -> Array:
    return functools.reduce(jnp.add, terms)


# Without a barrier XLA computes the sums again in every expression that uses their result: minutes of compilation.
_alone = jax.lax.optimization_barrier


def _log_ratio(value: Array, reference: Array, loc: Array, scale: Array) -> Array:
    """Log of the normal density at `value` relative to that at `reference`."""
    d = (value - reference) / scale
    return -d * (0.5 * d + (reference - loc) / scale)


def piece(loc: Array, scale: Array, low: Array, high: Array, reference: Array) -> Piece:
    """Integrals of the normal density over `low` to `high`, scaled to one at `reference`.

    Args:
        loc: location; like all arguments `(*batch)`, of one dtype.
        scale: deviation, positive.
        low: lower end of the part.
        high: upper end, not below `low`.
        reference: where the density counts as one.
    """
    mode, offsets, exponents, weights, length = _nodes(loc, scale, low, high)
    density = [weight * jnp.exp(exponent) for weight, exponent in zip(weights, exponents, strict=True)]
    density = list(_alone(tuple(density)))
    total = _sum(density)
    shift = mode - reference
    offsets = [offset + shift for offset in offsets]
    log_ratio = _log_ratio(mode, reference, loc, scale)
    # A part of length zero is left out of the logarithm, whose slope there would spoil every derivative.
    log_length = jnp.log(jnp.where(length > 0, length, 1.0))
    return Piece(
        mass=total * length * jnp.exp(log_ratio),
        log_mass=jnp.where(length > 0, jnp.log(total) + log_length + log_ratio, -jnp.inf),
        first=_sum(f * y for f, y in zip(density, offsets, strict=True)) / total,
        second=_sum(f * y * y for f, y in zip(density, offsets, strict=True)) / total,
    )


def _sides(loc: Array, scale: Array, low: Array, high: Array, value: Array) -> tuple[Piece, Piece]:
    """The pieces below and above a value, scaled to one there."""
    return piece(loc, scale, low, value, value), piece(loc, scale, value, high, value)


@_jit
def log_density(value: Array, loc: Array, scale: Array, low: Array, high: Array) -> Array:
    """log p(value); -inf outside the interval.

    Args:
        value: `(*batch)`.
        loc, scale, low, high: of any shape that broadcasts to it; the mass is integrated in theirs.
    """
    mode = _mode(loc, low, high)
    outside = (value < low) | (value > high)
    value = jnp.where(outside, mode, value)  # no overflow, whose derivative would be NaN
    inside = _log_ratio(value, mode, loc, scale) - piece(loc, scale, low, high, mode).log_mass
    return jnp.where(outside, -jnp.inf, inside)


@_jit
def moments(loc: Array, scale: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Mean and variance."""
    mode, offsets, exponents, weights, _ = _nodes(loc, scale, low, high)
    density = [weight * jnp.exp(exponent) for weight, exponent in zip(weights, exponents, strict=True)]
    total = _sum(density)
    mean = _sum(f * y for f, y in zip(density, offsets, strict=True)) / total
    # Far outside, the mean of the square less the square of the mean would lose digits.
    return mode + mean, _sum(f * (y - mean) ** 2 for f, y in zip(density, offsets, strict=True)) / total


@_jit
def distribution(value: Array, loc: Array, scale: Array, low: Array, high: Array) -> Array:
    """P(X <= value), with full relative precision near zero and never above one."""
    value = jnp.clip(value, low, high)
    mode = _mode(loc, low, high)
    below = piece(loc, scale, low, value, mode).mass
    return below / (below + piece(loc, scale, value, high, mode).mass)


# --- Information ------------------------------------------------------------------------------------------------


def _excess(x: Array) -> Array:
    """x exp(x) - exp(x) + 1, which is positive and x^2 / 2 near zero."""
    near = jnp.abs(x) < 0.3
    small = jnp.where(near, x, 0.0)
    series = small**2 * (1 / 2 + small * (1 / 3 + small * (1 / 8 + small * (1 / 30 + small * (1 / 144 + small / 840)))))
    if x.dtype == jnp.float64:
        series = series + small**8 * (1 / 5760 + small * (1 / 45360 + small * (1 / 403200 + small / 3991680)))
    large = jnp.where(near, 0.0, x)
    return jnp.where(near, series, large * jnp.exp(large) - jnp.expm1(large))


@_jit
def uniform_divergence(loc: Array, scale: Array, low: Array, high: Array) -> Array:
    """KL divergence of the truncated normal law from the uniform one on the same interval.

    With q the density relative to its mean over the integrated part, the divergence is the mean of q log q - q + 1
    (all terms positive, so that a divergence near zero keeps its digits) plus what leaving out the rest costs.
    """
    _, _, exponents, weights, length = _nodes(loc, scale, low, high)
    log_mean = jnp.log1p(_sum(weight * jnp.expm1(e) for weight, e in zip(weights, exponents, strict=True)))
    mean = _sum(weight * _excess(e - log_mean) for weight, e in zip(weights, exponents, strict=True))
    return mean + jnp.log((high - low) / length)


@_jit
def divergence(
    loc: Array,
    scale: Array,
    low: Array,
    high: Array,
    other_loc: Array,
    other_scale: Array,
    other_low: Array,
    other_high: Array,
) -> Array:
    """KL divergence of a truncated normal law from another one; infinite where that does not contain its interval.

    It is the mean of r = log q / p. Between close laws on one interval it is taken as the mean of r - 1 + exp(-r): the
    last two terms integrate to zero, every summand is positive, and a small divergence keeps its digits.
    """
    mode, offsets, exponents, weights, length = _nodes(loc, scale, low, high)
    density = [weight * jnp.exp(exponent) for weight, exponent in zip(weights, exponents, strict=True)]
    total = _sum(density)
    reference = _mode(other_loc, low, high)
    other_log_mass = piece(other_loc, other_scale, other_low, other_high, reference).log_mass
    slope = (reference - other_loc) / other_scale
    constant = other_log_mass - jnp.log(total) - jnp.log(length)
    direct = positive = jnp.zeros_like(total)
    for f, exponent, offset in zip(density, exponents, offsets, strict=True):
        d = (offset + (mode - reference)) / other_scale
        r = exponent + d * (0.5 * d + slope) + constant
        direct = direct + f * r
        positive = positive + f * _positive_part(r)
    direct, positive = direct / total, positive / total
    # Where the laws are not close, the other one has mass beyond the nodes, and the second form misses it.
    close = (other_low == low) & (other_high == high) & (direct < 0.02)
    return jnp.where((other_low <= low) & (high <= other_high), jnp.where(close, positive, direct), jnp.inf)


def _positive_part(r: Array) -> Array:
    """r - 1 + exp(-r), which is r^2 / 2 near zero."""
    r = jnp.clip(r, -10.0, 10.0)
    near = jnp.abs(r) < 0.1
    small, large = jnp.where(near, r, 0.0), jnp.where(near, 0.0, r)
    series = small**2 * (1 / 2 - small * (1 / 6 - small * (1 / 24 - small * (1 / 120 - small / 720))))
    return jnp.where(near, series, large + jnp.expm1(-large))


# --- Quantiles and draws ----------------------------------------------------------------------------------------


def _mills(x: Array) -> Array:
    """(1 - Phi(x)) / phi(x) for x >= 0 within 13 % at zero, 1 % above 1.5 (Sampford 1953); a first guess only."""
    return 4.0 / (3.0 * x + jnp.sqrt(x**2 + 8.0))


def _first_guess(q: Array, loc: Array, scale: Array, low: Array, high: Array) -> Array:
    """Quantile within a few per cent of the law's width, from the normal, exponential or uniform limit."""
    width = high - low
    flip = loc > low + 0.5 * width
    q = jnp.where(flip, 1.0 - q, q)
    a = jnp.where(flip, loc - high, low - loc) / scale  # mode at a if a > 0, otherwise inside
    w = width / scale
    # Mode inside, or not far outside.
    near = jnp.clip(a, None, 1.5)
    left = ndtr(near) * (1.0 - q) + ndtr(near + w) * q
    right = ndtr(-near) * (1.0 - q) + ndtr(-near - w) * q
    normal = jnp.where(left < right, 1.0, -1.0) * ndtri(jnp.minimum(left, right)) - near
    # Survival of a law with increasing hazard: quadratic model of the cumulated hazard.
    p = jnp.maximum(a, 1.5)
    rate = 1.0 / _mills(p)
    log_end = -w * (p + 0.5 * w) + jnp.log(_mills(p + w) * rate)
    hazard = -jnp.log1p(q * jnp.expm1(log_end))
    tail = 2.0 * hazard / (rate + jnp.sqrt(rate**2 + 2.0 * rate * (rate - p) * hazard))
    guess = jnp.where(a > 1.5, tail, normal)
    guess = scale * jnp.clip(guess, 0.0, w)
    # Nearly uniform, where the two above have lost their digits.
    flat = w * (jnp.maximum(a, 0.0) + 0.5 * w) < 0.1
    guess = jnp.where(flat | ~jnp.isfinite(guess), q * width, guess)
    return jnp.where(flip, high - guess, low + guess)


def edges(low: Array, high: Array) -> tuple[Array, Array]:
    """Smallest and largest value that a draw may take: inside the interval, where its logit is finite."""
    margin = 1e-30 * (high - low)
    return jnp.maximum(low + margin, jnp.nextafter(low, high)), jnp.minimum(high - margin, jnp.nextafter(high, low))


@_jit
def quantile(q: Array, loc: Array, scale: Array, low: Array, high: Array) -> Array:
    """The value below which the law has probability `q`, strictly inside the interval.

    Args:
        q: probability, 0 to 1; like all arguments `(*batch)`, of one dtype.
        loc: location.
        scale: deviation, positive.
        low: lower end of the interval.
        high: upper end.
    """
    return _quantile(q, loc, scale, low, high)


def is_central(loc: Any, scale: Any, low: Any, high: Any) -> bool:
    """Whether the closed forms below hold: one law of known parameters, as those of most priors, near its interval.

    Many laws at once do not ask, so that what is found for one never depends on the others.
    """
    parameters = (loc, scale, low, high)
    if any(isinstance(value, jax.core.Tracer) or np.size(value) != 1 for value in parameters):
        return False
    a, b = _standardised_ends(*parameters)
    return bool(np.all((a <= 1.5) & (b >= -1.5) & (b - a >= 0.5)))


def _standardised_ends(loc: Any, scale: Any, low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
    loc, scale, low, high = (np.asarray(value, np.float64) for value in (loc, scale, low, high))
    return (low - loc) / scale, (high - loc) / scale


def central_quantile(q: Any, loc: Any, scale: Any, low: Any, high: Any) -> Array:
    """`quantile` in closed form, for one law that is central; quick to compile and to run.

    The probabilities p below and above both ends are constants, in double precision; the smaller tail is inverted.

    Args:
        q: probability `(*batch)`, 0 to 1.
        loc, scale, low, high: as for `quantile`, known numbers.

    Equation:
        x = loc + scale z, Phi(z) = (1 - q) Phi(a) + q Phi(b), a and b the standardised ends

    Validity:
        Within 1e-6 of the deviation of the law in float32 for `is_central`.
    """
    a, b = _standardised_ends(loc, scale, low, high)  # before they become arrays, which `jit` traces
    # One dtype for all: numbers of double precision would raise that of the others.
    values = typed(q, loc, scale, low, high)
    ends = [special.ndtr(end).astype(values[0].dtype) for end in (a, b, -a, -b)]
    return _central_quantile(*values, *ends)


@_jit
def _central_quantile(q: Array, loc: Array, scale: Array, low: Array, high: Array, *ends: Array) -> Array:
    smallest, largest = edges(low, high)
    safe = _inside(q)
    left, right = ((1.0 - safe) * at_low + safe * at_high for at_low, at_high in (ends[:2], ends[2:]))
    standardised = jnp.where(left < right, 1.0, -1.0) * ndtri(jnp.minimum(left, right))
    return _bounded(loc + scale * standardised, q, smallest, largest)


def central_log_density(value: Any, loc: Any, scale: Any, low: Any, high: Any) -> Array:
    """`log_density` for one law that is central: its mass is a constant, in double precision.

    Args:
        value: `(*batch)`.
        loc, scale, low, high: as for `log_density`, known numbers.

    Returns:
        `(*batch)`, per unit of the value; -inf outside the interval.

    Equation:
        log p(x) = -(x - loc)^2 / (2 scale^2) - log(scale sqrt(2 pi) (Phi(b) - Phi(a))), a and b the standardised ends
    """
    a, b = _standardised_ends(loc, scale, low, high)  # before they become arrays, which `jit` traces
    mass = special.ndtr(b) - special.ndtr(a)
    constant = np.log(np.asarray(scale, np.float64) * math.sqrt(2.0 * math.pi) * mass)
    values = typed(value, loc, scale, low, high)
    return _central_log_density(*values, constant.astype(values[0].dtype))


@_jit
def _central_log_density(value: Array, loc: Array, scale: Array, low: Array, high: Array, constant: Array) -> Array:
    outside = (value < low) | (value > high)
    inside = -0.5 * ((jnp.where(outside, loc, value) - loc) / scale) ** 2 - constant
    return jnp.where(outside, -jnp.inf, inside)


def _inside(q: Array) -> Array:
    """The probability, neither 0 nor 1."""
    return jnp.clip(q, jnp.finfo(q.dtype).tiny, 1.0 - 0.5 * jnp.finfo(q.dtype).eps)


def _bounded(value: Array, q: Array, smallest: Array, largest: Array) -> Array:
    """Values within the edges, and at them for probabilities 0 and 1."""
    value = jnp.where(q <= 0.0, smallest, jnp.where(q >= 1.0, largest, value))
    return jnp.clip(value, smallest, largest)


@jax.custom_jvp
def _quantile(q: Array, loc: Array, scale: Array, low: Array, high: Array) -> Array:
    smallest, largest = edges(low, high)
    safe = _inside(q)
    target = jnp.log(safe) - jnp.log1p(-safe)
    value = jnp.clip(_first_guess(safe, loc, scale, low, high), smallest, largest)

    def step(_: int, value: Array) -> Array:
        below, above = _sides(loc, scale, low, high, value)
        excess = below.log_mass - above.log_mass - target
        down, up = jnp.exp(-below.log_mass), jnp.exp(-above.log_mass)  # slopes of the two logarithms
        newton = excess / (down + up)
        halley = newton / jnp.maximum(1.0 - 0.5 * newton * (up - down - (value - loc) / scale**2), 0.5)
        # Half way to the end at most.
        return jnp.clip(value - halley, 0.5 * (value + smallest), 0.5 * (value + largest))

    # A loop, for what is written out is compiled again for every step of every site.
    value = jax.lax.fori_loop(0, _RULES[np.dtype(q.dtype)][2], step, value)
    return _bounded(value, q, smallest, largest) + 0.0 * (q + loc + scale)  # NaN stays NaN


@_quantile.defjvp
def _quantile_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """Implicit derivatives at x = quantile(q): dx = -dF / f with F = A / (A + B), A and B the masses below and above.

    With y = t - x, dx/dloc = W (E_B[y] - E_A[y]) / scale^2, W = 1 / (1/A + 1/B), and so on: means over the two sides
    of x, which lie apart, so that no digits are lost.
    """
    q, loc, scale, low, high = primals
    value = _quantile(q, loc, scale, low, high)
    below, above = _sides(loc, scale, low, high, value)
    whole = below.mass + above.mass
    weight = below.mass * (above.mass / whole)
    first = above.first - below.first
    second = above.second - below.second
    d_loc = weight * first / scale / scale
    d_scale = weight * ((second + 2.0 * (value - loc) * first) / scale / scale / scale)

    def ratio(end: Array) -> Array:
        """Density at an end of the interval over that at the value."""
        return jnp.exp(_log_ratio(end, value, loc, scale))

    slopes = (
        whole,  # 1 / density
        d_loc,
        d_scale,
        ratio(low) * (above.mass / whole),
        ratio(high) * (below.mass / whole),
    )
    slopes = _alone(slopes)
    return value, sum((slope * tangent for slope, tangent in zip(slopes, tangents, strict=True)), jnp.zeros_like(value))
