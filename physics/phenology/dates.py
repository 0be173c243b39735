"""Dates of a season: of any curve, differentiable through the implicit function.

Each takes a curve of one pixel, a function of one time, and is used under `jax.vmap`:

    def dates(season):
        return threshold_dates(lambda t: beck06(season, t[None])[0], first=0.0, last=365.0)
    jax.vmap(dates)(season)

A date solves g(t, parameters) = 0. It is looked for on a grid, narrowed down by bisection, and found by one step of
Newton's method, whose slope is dt = -(dg/dparameters) / (dg/dt): that of the solution, not of the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from physics.phenology.curves import DoubleLogistic

Curve = Callable[[Array], Array]

_STEPS = 400  # of the grid
_HALVINGS = 24
_CURVATURE = math.log(5.0 + 2.0 * math.sqrt(6.0))


class SeasonDates(NamedTuple):
    """Start and end of a season, days.

    Attributes:
        start: of the season.
        end: of the season.
        found: whether both exist; where they do not, they are the ends of the interval.
    """

    start: Array
    end: Array
    found: Array


class FourDates(NamedTuple):
    """Dates of the rise and the fall, days.

    Attributes:
        greenup: start of the rise.
        maturity: end of the rise.
        senescence: start of the fall.
        dormancy: end of the fall.
    """

    greenup: Array
    maturity: Array
    senescence: Array
    dormancy: Array


def _slope(curve: Curve) -> Curve:
    return lambda t: jax.jvp(curve, (t,), (jnp.ones_like(t),))[1]


def _grid(first: float, last: float) -> Array:
    return jnp.linspace(first, last, _STEPS + 1)


def _solve(equation: Curve, below: Array, above: Array) -> Array:
    """Where an equation that changes its sign between two times is zero, with the slope of the solution."""
    negative = equation(below) < 0

    def halve(ends: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = ends
        middle = 0.5 * (low + high)
        same = (equation(middle) < 0) == negative
        return (jnp.where(same, middle, low), jnp.where(same, high, middle)), None

    (low, high), _ = jax.lax.scan(halve, (below, above), None, length=_HALVINGS)
    found = jax.lax.stop_gradient(0.5 * (low + high))
    slope = jax.lax.stop_gradient(_slope(equation)(found))
    # Without a slope there is no better answer than the bisection's, and none that changes.
    usable = jnp.abs(slope) > jnp.finfo(found.dtype).tiny
    step = -equation(found) / jnp.where(usable, slope, 1.0)
    # The value of the step is below the bisection's error; its derivative is what it is for.
    return found + jnp.where(usable, step - jax.lax.stop_gradient(step), 0.0)


def peak(curve: Curve, *, first: float, last: float) -> Array:
    """Time of the largest value of a curve within an interval, days.

    Args:
        curve: index of one pixel as a function of one time.
        first, last: interval, days.
    """
    times = _grid(first, last)
    best = jnp.clip(jnp.argmax(jax.vmap(curve)(times)), 1, _STEPS - 1)
    return _solve(_slope(curve), times[best - 1], times[best + 1])


def threshold_dates(curve: Curve, *, first: float, last: float, share: float = 0.5) -> SeasonDates:
    """Times at which a curve has risen, and has fallen to, a share of its amplitude.

    Args:
        curve: index of one pixel as a function of one time.
        first, last: interval, days, with one season.
        share: of the amplitude, between 0 and 1; rise and fall have their own, from the smallest value on their side.

    Returns:
        Last time below before the peak, and first time below after it.

    References:
        White, Thornton & Running 1997, Glob. Biogeochem. Cycles 11, 217.
    """
    times = _grid(first, last)
    values = jax.vmap(curve)(times)
    top = jnp.argmax(values)
    index = jnp.arange(times.size)
    before, after = index <= top, index >= top
    highest = values[top]

    def level(side: Array) -> Array:
        lowest = jnp.min(jnp.where(side, values, jnp.inf))
        return lowest + share * (highest - lowest)

    rising, falling = level(before), level(after)
    low = before & (values < rising)
    start = jnp.max(jnp.where(low, index, -1))
    late = after & (values < falling)
    end = jnp.min(jnp.where(late, index, times.size))
    found = (start >= 0) & (end < times.size)
    left, right = jnp.clip(start, 0, _STEPS - 1), jnp.clip(end, 1, _STEPS)
    solved_start = _solve(lambda t: curve(t) - rising, times[left], times[left + 1])
    solved_end = _solve(lambda t: curve(t) - falling, times[right - 1], times[right])
    return SeasonDates(jnp.where(found, solved_start, first), jnp.where(found, solved_end, last), found)


def derivative_dates(curve: Curve, *, first: float, last: float) -> SeasonDates:
    """Times at which a curve rises and falls fastest.

    Args:
        curve: index of one pixel as a function of one time, twice differentiable.
        first, last: interval, days, with one season.

    References:
        Tateishi & Ebata 2004, Int. J. Remote Sens. 25, 4287.
    """
    times = _grid(first, last)
    rate = _slope(curve)
    rates = jax.vmap(rate)(times)
    top, bottom = jnp.argmax(rates), jnp.argmin(rates)
    found = (top > 0) & (top < _STEPS) & (bottom > 0) & (bottom < _STEPS) & (top < bottom)
    change = _slope(rate)

    def solve(place: Array) -> Array:
        inside = jnp.clip(place, 1, _STEPS - 1)
        return _solve(change, times[inside - 1], times[inside + 1])

    return SeasonDates(jnp.where(found, solve(top), first), jnp.where(found, solve(bottom), last), found)


def tangent_dates(curve: Curve, *, first: float, last: float) -> FourDates:
    """Dates at which the tangents of fastest rise and fall meet the lines of the lowest and highest index.

    Args:
        curve: index of one pixel as a function of one time, twice differentiable.
        first, last: interval, days, with one season.

    References:
        Gu et al. 2009, in Phenology of Ecosystem Processes, Springer, 35 (upturn, stabilisation, downturn, recession).
    """
    times = _grid(first, last)
    values = jax.vmap(curve)(times)
    steepest = derivative_dates(curve, first=first, last=last)
    top = curve(peak(curve, first=first, last=last))
    index = jnp.arange(times.size)
    summit = jnp.argmax(values)
    rate = _slope(curve)

    def meets(time: Array, level: Array) -> Array:
        return time + (level - curve(time)) / rate(time)

    before = jnp.min(jnp.where(index <= summit, values, jnp.inf))
    after = jnp.min(jnp.where(index >= summit, values, jnp.inf))
    return FourDates(
        meets(steepest.start, before),
        meets(steepest.start, top),
        meets(steepest.end, top),
        meets(steepest.end, after),
    )


def curvature_dates(season: DoubleLogistic) -> FourDates:
    """Dates at which the curvature of a double logistic changes fastest, in closed form.

    Args:
        season: fields `(*batch)`.

    Returns:
        Four dates, days, `(*batch)`.

    Equation:
        sos -+ ln(5 + 2 sqrt(6)) / rsp and eos -+ ln(5 + 2 sqrt(6)) / rau.

    Validity:
        Rise and fall apart: each logistic curve is taken for itself, with slopes per day far below one.

    References:
        Zhang et al. 2003, Remote Sens. Environ. 84, 471.
    """
    rise, fall = _CURVATURE / season.growth_rate, _CURVATURE / season.senescence_rate
    return FourDates(season.start - rise, season.start + rise, season.end - fall, season.end + fall)
