"""Kalman filter and smoother of one pixel, over irregular dates with gaps; `jax.vmap` over pixels.

Outputs of a date are taken one after the other, so that nothing is inverted but numbers. The smoother is that of
Bryson and Frazier: it needs no inverse of the predicted covariance, which is singular in single precision where dates
are close, and gives the moments of Rauch, Tung and Striebel.

References:
    Bierman 1973, Fixed interval smoothing with discrete measurements, Int. J. Control 18, 65.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from physics.numerics import stored_spectra
from releo_jax.gp import associative, matrices
from releo_jax.gp.kernels import StateSpace
from releo_jax.gp.matrices import Matrix, Vector


class State(NamedTuple):
    """Mean and packed covariance of the state after each date; leaves `(date,)` or `(date, d, ...)`."""

    mean: Any
    covariance: Any


class Adjoint(NamedTuple):
    """What a date and all later ones say of the state just before it: slope and curvature, as `State` is kept."""

    slope: Any
    curvature: Any


class Filtered(NamedTuple):
    """Attributes:
    state: after each date.
    gains: for each output `(gain, misfit over its variance, reciprocal of that variance)`, by date.
    log_prob: log density of the values, a number.
    """

    state: State
    gains: Any
    log_prob: Array


def written_out(space: StateSpace, dtype: Any, *, parallel: bool = False) -> StateSpace:
    """The space as the filter runs on it: scalars where it is small, arrays else and for all dates at once."""
    if len(space.stationary) <= matrices.MOST_WRITTEN_OUT and not parallel:
        return space

    def step(days: Array) -> tuple[Matrix, Matrix]:
        change, new = space.step(days)
        return matrices.as_array(change, dtype), matrices.as_array(new, dtype)

    rows = tuple(matrices.as_array(row, dtype) for row in space.observations)
    return StateSpace(matrices.as_array(space.stationary, dtype), rows, step)


def predict(space: StateSpace, mean: Vector, covariance: Matrix, days: Array) -> tuple[Vector, Matrix]:
    """Moments of the state some days later."""
    change, new = space.step(days)
    return matrices.apply(change, mean), matrices.add(matrices.congruence(change, covariance), new)


def _packed_mean(mean: Vector, dtype: Any) -> Any:
    return tuple(jnp.asarray(x, dtype) for x in mean) if isinstance(mean, tuple) else mean


def _kept(mean: Vector, covariance: Matrix, dtype: Any) -> tuple[Vector, Matrix]:
    if not isinstance(mean, tuple):
        return mean, covariance
    packed = matrices.upper(covariance, dtype)
    kept = stored_spectra(*_packed_mean(mean, dtype), *packed)
    return kept[: len(mean)], matrices.from_upper(kept[len(mean) :], len(mean))


def forward(
    space: StateSpace, time: Array, value: Array, variance: Array, mask: Array, *, parallel: bool = False
) -> Filtered:
    """Filter.

    Args:
        space: as `written_out` returns it.
        time: days, rising, `(date,)`.
        value, variance, mask: `(date, output)`.
        parallel: over all dates at once, by an associative scan.
    """
    dtype, size = value.dtype, len(space.stationary)

    def day(carry: Any, seen: Any) -> Any:
        before, mean, packed = carry
        now, values, variances, masks = seen
        mean, covariance = predict(space, mean, matrices.from_upper(packed, size), now - before)
        mean, covariance = _kept(mean, covariance, dtype)
        gains, density = [], jnp.zeros((), dtype)
        for o, row in enumerate(space.observations):
            towards = matrices.apply(covariance, row)
            total = matrices.dot(row, towards) + variances[o]
            certain = jnp.where(masks[o], 1.0 / total, 0.0)
            misfit = values[o] - matrices.dot(row, mean)
            gain = matrices.scaled(towards, certain)
            mean = matrices.add(mean, matrices.scaled(gain, misfit))
            # Joseph's form: a sum of squares, whatever single precision leaves of the gain.
            kept = matrices.minus_outer(gain, row)
            spread = matrices.scaled(matrices.outer(gain, gain), variances[o])
            covariance = matrices.add(matrices.congruence(kept, covariance), spread)
            term = jnp.log(2.0 * math.pi * total) + misfit**2 * certain
            density = density - 0.5 * jnp.where(masks[o], term, 0.0)
            gains.append((_packed_mean(gain, dtype), misfit * certain, certain))
        state = State(_packed_mean(mean, dtype), matrices.upper(covariance, dtype))
        return (now, *state), (state, tuple(gains), density)

    outputs = tuple((value[:, o], variance[:, o], mask[:, o]) for o in range(value.shape[1]))
    columns = (time, *zip(*outputs, strict=True))
    if parallel:
        before = associative.states_before(space, time, value, variance, mask)
        _, (state, gains, density) = jax.vmap(day)(before, columns)
    else:
        zero = jnp.zeros((), dtype)
        mean = (zero,) * size if isinstance(space.stationary, tuple) else jnp.zeros(size, dtype)
        start = (time[0], mean, matrices.upper(space.stationary, dtype))
        _, (state, gains, density) = jax.lax.scan(day, start, columns)
    return Filtered(state, gains, density.sum())


def backward(
    space: StateSpace, time: Array, filtered: Filtered, *, parallel: bool = False
) -> tuple[Adjoint, Array, Array]:
    """Smoother.

    Returns:
        The adjoint of each date, and mean and variance of each output given all dates, `(date, output)`.
    """
    dtype, size = time.dtype, len(space.stationary)

    def day(carry: Any, seen: Any) -> Any:
        slope, packed = carry
        (mean, covariance), gains, days = seen
        curvature = matrices.from_upper(packed, size)
        mean, variance = observed(space, State(mean, covariance), Adjoint(slope, packed))
        for (gain, misfit, certain), row in zip(reversed(gains), reversed(space.observations), strict=True):
            kept = matrices.transposed(matrices.minus_outer(gain, row))
            slope = matrices.add(matrices.apply(kept, slope), matrices.scaled(row, -misfit))
            curvature = matrices.add(
                matrices.congruence(kept, curvature), matrices.scaled(matrices.outer(row, row), certain)
            )
        slope, curvature = _kept(slope, curvature, dtype)
        here = Adjoint(_packed_mean(slope, dtype), matrices.upper(curvature, dtype))
        back = matrices.transposed(space.step(days)[0])
        slope, curvature = matrices.apply(back, slope), matrices.congruence(back, curvature)
        return (_packed_mean(slope, dtype), matrices.upper(curvature, dtype)), (here, mean, variance)

    since = jnp.concatenate([jnp.zeros(1, dtype), time[1:] - time[:-1]])
    seen = (filtered.state, filtered.gains, since)
    zero = jnp.zeros((), dtype)
    if parallel:
        after = associative.adjoints_after(space, filtered.gains, since)
        _, (adjoint, mean, variance) = jax.vmap(day)(after, seen)
    elif isinstance(space.stationary, tuple):
        start: Any = ((zero,) * size, (zero,) * (size * (size + 1) // 2))
        _, (adjoint, mean, variance) = jax.lax.scan(day, start, seen, reverse=True)
    else:
        start = (jnp.zeros(size, dtype), jnp.zeros((size, size), dtype))
        _, (adjoint, mean, variance) = jax.lax.scan(day, start, seen, reverse=True)
    return adjoint, jnp.stack(mean, -1), jnp.stack(variance, -1)


def observed(space: StateSpace, state: State, adjoint: Adjoint) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Mean and variance of each output, from the state given the dates before and the adjoint of those after."""
    size = len(space.stationary)
    covariance = matrices.from_upper(state.covariance, size)
    curvature = matrices.from_upper(adjoint.curvature, size)
    means, variances = [], []
    for row in space.observations:
        towards = matrices.apply(covariance, row)
        means.append(matrices.dot(row, state.mean) - matrices.dot(towards, adjoint.slope))
        taken = matrices.dot(towards, matrices.apply(curvature, towards))
        variances.append(matrices.dot(row, towards) - taken)
    return tuple(means), tuple(variances)


def between(
    space: StateSpace, time: Array, filtered: Filtered, adjoint: Adjoint, wanted: Array
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Mean and variance of each output on one day, whether before, between or after the dates."""
    dtype, size = time.dtype, len(space.stationary)
    place = jnp.searchsorted(time, wanted, side="right")
    last = time.shape[0] - 1

    def chosen(tree: Any, index: Array) -> Any:
        return jax.tree.map(lambda leaf: leaf[jnp.clip(index, 0, last)], tree)

    state = chosen(filtered.state, place - 1)
    prior = State(
        jax.tree.map(jnp.zeros_like, state.mean), jax.tree.map(jnp.asarray, matrices.upper(space.stationary, dtype))
    )
    state = jax.tree.map(lambda after, before: jnp.where(place > 0, after, before), state, prior)
    since = jnp.where(place > 0, wanted - time[jnp.clip(place - 1, 0, last)], 0.0)
    mean, covariance = predict(space, state.mean, matrices.from_upper(state.covariance, size), since)
    following = chosen(adjoint, place)
    until = jnp.where(place <= last, time[jnp.clip(place, 0, last)] - wanted, 0.0)
    back = matrices.transposed(space.step(until)[0])
    slope = matrices.apply(back, following.slope)
    curvature = matrices.congruence(back, matrices.from_upper(following.curvature, size))
    here = Adjoint(_packed_mean(slope, dtype), matrices.upper(curvature, dtype))
    here = jax.tree.map(lambda leaf: jnp.where(place <= last, leaf, 0.0), here)
    return observed(space, State(_packed_mean(mean, dtype), matrices.upper(covariance, dtype)), here)


def draw(space: StateSpace, time: Array, noise: Array) -> Array:
    """Prior draws at rising days: standard normal noise `(date, d)` becomes outputs `(date, output)`."""
    size = len(space.stationary)

    def day(carry: Any, seen: Any) -> Any:
        before, state = carry
        now, fresh = seen
        change, new = space.step(now - before)
        root = matrices.cholesky(new)
        state = matrices.add(matrices.apply(change, state), matrices.apply(root, fresh))
        state = _packed_mean(state, noise.dtype)
        return (now, state), tuple(matrices.dot(row, state) for row in space.observations)

    columns = tuple(noise[:, i] for i in range(size))
    first = matrices.apply(matrices.cholesky(space.stationary), tuple(column[0] for column in columns))
    start = (time[0], _packed_mean(first, noise.dtype))
    # The first date takes no time, so that it is a draw of the stationary law.
    _, found = jax.lax.scan(day, start, (time, columns))
    return jnp.stack(found, -1)
