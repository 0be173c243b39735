"""Dates of a season: of any curve, differentiable through the implicit function.

Each takes a curve of one pixel, a function of one time, and is used under `jax.vmap`:

    def dates(season):
        return threshold_dates(lambda t: beck06(season, t[None])[0], first=0.0, last=365.0)
    jax.vmap(dates)(season)

`each_season` looks for the dates of several seasons, between the lowest times around each. Times are days on the axis
of the curve, which runs on over the end of a year (`physics.phenology.curves`).

A date solves g(t, parameters) = 0. It is looked for on a grid, narrowed down by bisection, and found by one step of
Newton's method, whose slope is dt = -(dg/dparameters) / (dg/dt): that of the solution, not of the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.phenology.curves import DoubleLogistic

Curve = Callable[[Array], Array]

_STEPS = 400  # of the grid
_HALVINGS = {4: 24, 8: 52}  # by bytes of a number: until the ends are neighbours, nearly
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
        found: whether all exist; where one does not, they are the ends of the interval, twice each.
    """

    greenup: Array
    maturity: Array
    senescence: Array
    dormancy: Array
    found: Array


Dates = TypeVar("Dates", SeasonDates, FourDates, covariant=True)


class Finder(Protocol[Dates]):
    """A function that finds dates of a curve within an interval: `threshold_dates`, say, or a `partial` of it."""

    def __call__(self, curve: Curve, *, first: ArrayLike, last: ArrayLike) -> Dates: ...


def _slope(curve: Curve) -> Curve:
    return lambda t: jax.jvp(curve, (t,), (jnp.ones_like(t),))[1]


def _grid(first: ArrayLike, last: ArrayLike) -> Array:
    return jnp.linspace(jnp.asarray(first, float), jnp.asarray(last, float), _STEPS + 1)


def _solve(equation: Curve, below: Array, above: Array) -> Array:
    """Where an equation that changes its sign between two times is zero, with the slope of the solution."""
    negative = equation(below) < 0

    def halve(ends: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = ends
        middle = 0.5 * (low + high)
        same = (equation(middle) < 0) == negative
        return (jnp.where(same, middle, low), jnp.where(same, high, middle)), None

    (low, high), _ = jax.lax.scan(halve, (below, above), None, length=_HALVINGS[below.dtype.itemsize])
    found = jax.lax.stop_gradient(0.5 * (low + high))
    slope = jax.lax.stop_gradient(_slope(equation)(found))
    # Without a slope there is no better answer than the bisection's, and none that changes.
    usable = jnp.abs(slope) > jnp.finfo(found.dtype).tiny
    step = -equation(found) / jnp.where(usable, slope, 1.0)
    # The value of the step is below the bisection's error; its derivative is what it is for.
    return found + jnp.where(usable, step - jax.lax.stop_gradient(step), 0.0)


def peak(curve: Curve, *, first: ArrayLike, last: ArrayLike) -> Array:
    """Time of the largest value of a curve within an interval.

    Args:
        curve: index of one pixel as a function of one time, differentiable.
        first, last: interval, days.

    Returns:
        Time, days: an end of the interval where the curve is largest there.

    Equation:
        dg/dt = 0 next to the largest value on the grid.
    """
    times = _grid(first, last)
    best = jnp.argmax(jax.vmap(curve)(times))
    inside = jnp.clip(best, 1, _STEPS - 1)
    solved = _solve(_slope(curve), times[inside - 1], times[inside + 1])
    return jnp.where(best == inside, solved, times[best])


def trough(curve: Curve, *, first: ArrayLike, last: ArrayLike) -> Array:
    """Time of the smallest value of a curve within an interval, between two seasons say; arguments as in `peak`.

    Returns:
        Time, days.
    """
    return peak(lambda time: -curve(time), first=first, last=last)


def each_season(
    dates: Finder[Dates], curve: Curve, middles: Array, *, first: ArrayLike, last: ArrayLike, **options: float
) -> Dates:
    """Dates of several seasons of one curve.

    Args:
        dates: what finds the dates of one of them: `threshold_dates`, `derivative_dates`, ...
        curve: index of one pixel as a function of one time.
        middles: a time within each season, days, `(season,)`, increasing.
        first, last: interval that holds all seasons, days.
        options: of `dates`.

    Returns:
        Its dates, `(season,)` each. A season lies between the troughs on its two sides.
    """
    middles = jax.lax.stop_gradient(middles)
    lowest = jax.vmap(lambda before, after: trough(curve, first=before, last=after))(middles[:-1], middles[1:])
    # Between two seasons the curve is flat: dates do not move with the trough.
    lowest = jax.lax.stop_gradient(lowest)
    ends = jnp.asarray(first, lowest.dtype)[None], lowest, jnp.asarray(last, lowest.dtype)[None]
    edges = jnp.concatenate(ends)
    return jax.vmap(lambda before, after: dates(curve, first=before, last=after, **options))(edges[:-1], edges[1:])


def threshold_dates(curve: Curve, *, first: ArrayLike, last: ArrayLike, share: float = 0.5) -> SeasonDates:
    """Times at which a curve has risen, and has fallen to, a share of its amplitude.

    Args:
        curve: index of one pixel as a function of one time.
        first, last: interval, days, with one season.
        share: of the amplitude, between 0 and 1; rise and fall have their own, from the smallest value on their side.

    Returns:
        Last time below before the peak, and first time below after it, days.

    Equation:
        g(t) = lowest + share (highest - lowest), with the lowest value on each side of the peak.

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
    left = jnp.stack([jnp.clip(start, 0, _STEPS - 1), jnp.clip(end, 1, _STEPS) - 1])

    def solve(place: Array, level: Array) -> Array:
        return _solve(lambda t: curve(t) - level, times[place], times[place + 1])

    solved = jax.vmap(solve)(left, jnp.stack([rising, falling]))
    return SeasonDates(jnp.where(found, solved[0], first), jnp.where(found, solved[1], last), found)


def derivative_dates(curve: Curve, *, first: ArrayLike, last: ArrayLike) -> SeasonDates:
    """Times at which a curve rises and falls fastest.

    Args:
        curve: index of one pixel as a function of one time, twice differentiable.
        first, last: interval, days, with one season.

    Returns:
        Times of the largest and the smallest slope, days.

    Equation:
        d2g/dt2 = 0.

    References:
        Tateishi & Ebata 2004, Int. J. Remote Sens. 25, 4287.
    """
    times = _grid(first, last)
    rate = _slope(curve)
    rates = jax.vmap(rate)(times)
    top, bottom = jnp.argmax(rates), jnp.argmin(rates)
    found = (top > 0) & (top < _STEPS) & (bottom > 0) & (bottom < _STEPS) & (top < bottom)
    inside = jnp.clip(jnp.stack([top, bottom]), 1, _STEPS - 1)
    solved = jax.vmap(lambda place: _solve(_slope(rate), times[place - 1], times[place + 1]))(inside)
    return SeasonDates(jnp.where(found, solved[0], first), jnp.where(found, solved[1], last), found)


def tangent_dates(curve: Curve, *, first: ArrayLike, last: ArrayLike) -> FourDates:
    """Dates at which the tangents of fastest rise and fall meet the lines of the lowest and highest index.

    Args:
        curve: index of one pixel as a function of one time, twice differentiable.
        first, last: interval, days, with one season.

    Returns:
        Four dates, days: upturn, stabilisation, downturn and recession.

    Equation:
        t* + (level - g(t*)) / g'(t*), t* the time of fastest change, level the highest value or the lowest one on the
        side of t*.

    References:
        Gu et al. 2009, in Phenology of Ecosystem Processes, Springer, 35.
    """
    times = _grid(first, last)
    values = jax.vmap(curve)(times)
    steepest = derivative_dates(curve, first=first, last=last)
    top = curve(peak(curve, first=first, last=last))
    index = jnp.arange(times.size)
    summit = jnp.argmax(values)
    rate = _slope(curve)

    found = steepest.found & (rate(steepest.start) > 0) & (rate(steepest.end) < 0)

    def meets(time: Array, level: Array, end: ArrayLike) -> Array:
        slope = rate(time)
        return jnp.where(found, time + (level - curve(time)) / jnp.where(found, slope, 1.0), end)

    before = jnp.min(jnp.where(index <= summit, values, jnp.inf))
    after = jnp.min(jnp.where(index >= summit, values, jnp.inf))
    return FourDates(
        meets(steepest.start, before, first),
        meets(steepest.start, top, first),
        meets(steepest.end, top, last),
        meets(steepest.end, after, last),
        found,
    )


def curvature_change_dates(curve: Curve, *, first: ArrayLike, last: ArrayLike) -> FourDates:
    """Dates at which the curvature of any curve changes fastest.

    Args:
        curve: index of one pixel as a function of one time, five times differentiable.
        first, last: interval, days, with one season.

    Returns:
        Four dates, days: the largest changes before and after the fastest rise, and the smallest ones before and after
        the fastest fall.

    Equation:
        d2K/dt2 = 0 with K = g'' / (1 + g'^2)^(3/2).

    Validity:
        Rise and fall apart: where they overlap, the inner dates do not exist.

    References:
        Zhang et al. 2003, Remote Sens. Environ. 84, 471.
    """
    rate = _slope(curve)
    bend = _slope(rate)

    def curvature(time: Array) -> Array:
        return bend(time) * (1.0 + rate(time) ** 2) ** -1.5

    change = _slope(curvature)
    turn = _slope(change)
    times = _grid(first, last)
    changes, rates = jax.vmap(change)(times), jax.vmap(rate)(times)
    index = jnp.arange(times.size)
    summit = jnp.argmax(jax.vmap(curve)(times))
    top = jnp.argmax(jnp.where(index <= summit, rates, -jnp.inf))
    bottom = jnp.argmin(jnp.where(index >= summit, rates, jnp.inf))

    low = jnp.stack([jnp.zeros_like(top), top, summit, bottom])
    high = jnp.stack([top, summit, bottom, jnp.full_like(bottom, _STEPS)])
    within = (index >= low[:, None]) & (index <= high[:, None])
    signed = jnp.array([1.0, 1.0, -1.0, -1.0])[:, None] * changes
    place = jnp.argmax(jnp.where(within, signed, -jnp.inf), -1)
    found = jnp.all((place > low) & (place < high))
    inside = jnp.clip(place, 1, _STEPS - 1)
    solved = jax.vmap(lambda place: _solve(turn, times[place - 1], times[place + 1]))(inside)
    ends = (first, first, last, last)
    dates = [jnp.where(found, date, end) for date, end in zip(solved, ends, strict=True)]
    return FourDates(dates[0], dates[1], dates[2], dates[3], found)


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
    found = jnp.ones(jnp.broadcast_shapes(rise.shape, fall.shape, season.start.shape, season.end.shape), bool)
    return FourDates(season.start - rise, season.start + rise, season.end - fall, season.end + fall, found)
