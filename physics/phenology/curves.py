"""Curves of a vegetation index over time.

Times are float days on any axis, the same for parameters and dates: a season that crosses the end of a year, or one of
the southern hemisphere, is written on an axis that does not break there (`continuous_days`). Several seasons are added
up by `seasons`. Every curve takes parameters `(*batch)` and times `(date,)` or `(*batch, date)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.numerics import safe_power
from physics.parameters import Record, as_float, expand, param

_DAYS = (-366.0, 732.0)


def _index(symbol: str, description: str) -> Any:
    return param(unit="1", bounds=(-1.0, 2.0), symbol=symbol, description=description)


def _day(symbol: str, description: str) -> Any:
    return param(unit="day", bounds=_DAYS, symbol=symbol, description=description)


def _rate(symbol: str, description: str, high: float = 0.5) -> Any:
    return param(unit="day-1", bounds=(0.0, high), symbol=symbol, description=description)


class DoubleLogistic(Record):
    """A season between two logistic curves; every field an array `(*batch)`."""

    minimum: Array = _index("mn", "index outside of the season")
    maximum: Array = _index("mx", "index that a long season reaches")
    start: Array = _day("sos", "middle of the rise")
    growth_rate: Array = _rate("rsp", "steepness of the rise")
    end: Array = _day("eos", "middle of the fall")
    senescence_rate: Array = _rate("rau", "steepness of the fall")


class GreendownLogistic(Record):
    """A season that loses green from its first day on; every field an array `(*batch)`."""

    minimum: Array = _index("m1", "index outside of the season")
    maximum: Array = _index("m2", "rise of the index without the loss in summer")
    start: Array = _day("m3", "middle of the rise")
    growth_rate: Array = _rate("1 / m4", "steepness of the rise")
    end: Array = _day("m5", "middle of the fall")
    senescence_rate: Array = _rate("1 / m6", "steepness of the fall")
    greendown: Array = _rate("m7", "loss of the index per day of the axis", high=0.01)


class PeakedLogistic(Record):
    """A season of two logistic curves that meet on a day; every field an array `(*batch)`."""

    minimum: Array = _index("mn", "index outside of the season")
    maximum: Array = _index("mx", "index that both curves tend to")
    peak: Array = _day("t0", "day on which the fall takes over")
    start: Array = _day("sos", "middle of the rise")
    growth_rate: Array = _rate("rsp", "steepness of the rise")
    end: Array = _day("eos", "middle of the fall")
    senescence_rate: Array = _rate("rau", "steepness of the fall")


class GeneralisedLogistic(Record):
    """A season between two generalised logistic curves; every field an array `(*batch)`."""

    base: Array = _index("y0", "index before the season")
    growth: Array = _index("a1", "rise of the index")
    senescence: Array = _index("a2", "fall of the index")
    start: Array = _day("sos", "day of the rise: its middle where the exponent is one")
    growth_rate: Array = _rate("rsp", "steepness of the rise")
    end: Array = _day("eos", "day of the fall: its middle where the exponent is one")
    senescence_rate: Array = _rate("rau", "steepness of the fall")
    growth_exponent: Array = param(unit="1", bounds=(0.1, 10.0), symbol="c1", description="skewness of the rise")
    senescence_exponent: Array = param(unit="1", bounds=(0.1, 10.0), symbol="c2", description="skewness of the fall")


class AsymmetricGaussian(Record):
    """A season of two halves of flattened Gaussian curves; every field an array `(*batch)`."""

    minimum: Array = _index("mn", "index outside of the season")
    maximum: Array = _index("mx", "index at the peak")
    peak: Array = _day("t0", "day of the peak")
    growth_rate: Array = _rate("rsp", "inverse width of the rising half")
    growth_flatness: Array = param(unit="1", bounds=(1.5, 8.0), symbol="a3", description="exponent of the rising half")
    senescence_rate: Array = _rate("rau", "inverse width of the falling half")
    senescence_flatness: Array = param(
        unit="1", bounds=(1.5, 8.0), symbol="a5", description="exponent of the falling half"
    )


class OrderedSeason(Record):
    """A season by its four dates, in order; every field an array `(*batch)`."""

    minimum: Array = _index("m", "index outside of the season")
    maximum: Array = _index("M", "index that a long season reaches")
    greenup: Array = _day("sos", "start of the rise")
    maturity: Array = _day("mat", "end of the rise")
    senescence: Array = _day("sen", "start of the fall")
    dormancy: Array = _day("eos", "end of the fall")


def beck06(season: DoubleLogistic, time: ArrayLike) -> Array:
    """Double logistic curve.

    Args:
        season: fields `(*batch)`.
        time: days, `(date,)` or `(*batch, date)`.

    Returns:
        Index `(*batch, date)`.

    Equation:
        mn + (mx - mn) [S(rsp (t - sos)) + S(-rau (t - eos)) - 1], S(x) = 1 / (1 + exp(-x)).

    Validity:
        start before end. Where the rises overlap, the curve stays below its maximum.

    References:
        Beck, Atzberger, Høgda, Johansen & Skidmore 2006, Remote Sens. Environ. 100, 321.
    """
    s, t = _at(season, time)
    up = jax.nn.sigmoid(s.growth_rate * (t - s.start))
    down = jax.nn.sigmoid(s.senescence_rate * (t - s.end))
    return s.minimum + (s.maximum - s.minimum) * (up - down)


def elmore12(season: GreendownLogistic, time: ArrayLike) -> Array:
    """Double logistic curve with a linear loss of green in summer; arguments as in `beck06`.

    Equation:
        m1 + (m2 - m7 t) [S(rsp (t - sos)) - S(rau (t - eos))]: the loss counts from day 0 of the time axis.

    References:
        Elmore, Guinn, Minsley & Richardson 2012, Glob. Change Biol. 18, 656, eq. 4.
    """
    s, t = _at(season, time)
    up = jax.nn.sigmoid(s.growth_rate * (t - s.start))
    down = jax.nn.sigmoid(s.senescence_rate * (t - s.end))
    return s.minimum + (s.maximum - s.greendown * t) * (up - down)


def zhang03(season: PeakedLogistic, time: ArrayLike) -> Array:
    """Two logistic curves, one until the peak and one from it on; arguments as in `beck06`.

    Equation:
        mn + (mx - mn) S(rsp (t - sos)) up to t0, mn + (mx - mn) S(-rau (t - eos)) after.

    Validity:
        The curve jumps at t0 by as much as both differ there.

    References:
        Zhang, Friedl, Schaaf, Strahler, Hodges, Gao, Reed & Huete 2003, Remote Sens. Environ. 84, 471.
    """
    s, t = _at(season, time)
    up = jax.nn.sigmoid(s.growth_rate * (t - s.start))
    down = jax.nn.sigmoid(-s.senescence_rate * (t - s.end))
    return s.minimum + (s.maximum - s.minimum) * jnp.where(t <= s.peak, up, down)


def gu09(season: GeneralisedLogistic, time: ArrayLike) -> Array:
    """Double generalised logistic curve, whose rise and fall may be skewed; arguments as in `beck06`.

    Equation:
        y0 + a1 S(rsp (t - sos))^c1 - a2 S(rau (t - eos))^c2.

    References:
        Gu, Post, Baldocchi, Black, Suyker, Verma, Vesala & Wofsy 2009, in Phenology of Ecosystem Processes, Springer.
    """
    s, t = _at(season, time)
    up = jnp.exp(s.growth_exponent * jax.nn.log_sigmoid(s.growth_rate * (t - s.start)))
    down = jnp.exp(s.senescence_exponent * jax.nn.log_sigmoid(s.senescence_rate * (t - s.end)))
    return s.base + s.growth * up - s.senescence * down


def asymmetric_gaussian(season: AsymmetricGaussian, time: ArrayLike) -> Array:
    """Two halves of flattened Gaussian curves; arguments as in `beck06`.

    Equation:
        mn + (mx - mn) exp(-((t0 - t) rsp)^a3) up to t0, mn + (mx - mn) exp(-((t - t0) rau)^a5) after.

    References:
        Jönsson & Eklundh 2002, IEEE Trans. Geosci. Remote Sens. 40, 1824.
    """
    s, t = _at(season, time)
    before = safe_power(jnp.maximum(s.peak - t, 0.0) * s.growth_rate, s.growth_flatness)
    after = safe_power(jnp.maximum(t - s.peak, 0.0) * s.senescence_rate, s.senescence_flatness)
    return s.minimum + (s.maximum - s.minimum) * jnp.exp(-before - after)


def ordered_logistic(season: OrderedSeason, time: ArrayLike) -> Array:
    """Double logistic curve by four dates, as variational autoencoders of phenology use it; arguments as in `beck06`.

    Equation:
        m + (M - m) [S_{sos,mat}(t) - S_{sen,eos}(t)], S_{a,b}(t) = 1 / (1 + exp(2 (a + b - 2 t) / (b - a))): a
        `beck06` whose rises have their middles at (a + b) / 2 and slopes of 4 / (b - a).

    Validity:
        sos < mat < sen < eos, which `ordered_dates` brings about.

    References:
        Zérah, Valero & Inglada 2023 (Pheno-VAE).
    """
    return beck06(as_double_logistic(season), time)


def as_double_logistic(season: OrderedSeason) -> DoubleLogistic:
    """The same season by the middles and slopes of its rise and fall."""
    return DoubleLogistic(
        minimum=season.minimum,
        maximum=season.maximum,
        start=0.5 * (season.greenup + season.maturity),
        growth_rate=4.0 / (season.maturity - season.greenup),
        end=0.5 * (season.senescence + season.dormancy),
        senescence_rate=4.0 / (season.dormancy - season.senescence),
    )


def ordered_dates(first: ArrayLike, gaps: Array, *, least: float = 1.0) -> Array:
    """Dates in order from unconstrained numbers.

    Args:
        first: first date, days, `(*batch)`.
        gaps: real numbers `(*batch, n)`, one for each date that follows.
        least: days between two dates, at least.

    Returns:
        Dates `(*batch, n + 1)`.

    Equation:
        first + cumulative sum of (least + softplus(gap)).
    """
    steps = least + jax.nn.softplus(gaps)
    start = jnp.asarray(first, gaps.dtype)[..., None]
    return jnp.concatenate([start, start + jnp.cumsum(steps, -1)], -1)


def seasons(curve: Callable[[Any, ArrayLike], Array], each: Record, time: ArrayLike, *, baseline: ArrayLike) -> Array:
    """Several seasons above one baseline: two crops of a year, or the years of a series.

    Args:
        curve: of one season.
        each: its parameters, `(*batch, season)`. Of `minimum` (in `GeneralisedLogistic`, of `base`) only the distance
            to the maximum counts: a season rises by it above the baseline.
        time: days, `(date,)` or `(*batch, date)`.
        baseline: index outside of all seasons, `(*batch)`.

    Returns:
        Index `(*batch, date)`: the baseline plus what each season rises above it.

    Equation:
        baseline + sum over seasons of (curve - its own minimum).
    """
    days = as_float(time)
    whole = curve(each, days if days.ndim == 1 else days[..., None, :])
    lowest = getattr(each, "base", None)
    lowest = each.minimum if lowest is None else lowest  # type: ignore[attr-defined]
    rises = jnp.sum(whole - jnp.broadcast_to(lowest, whole.shape[:-1])[..., None], -2)
    return jnp.asarray(baseline, whole.dtype)[..., None] + rises


def continuous_days(day_of_year: ArrayLike, *, first: float, period: float = 365.25) -> Array:
    """Days of the year on an axis that starts on any of them.

    Args:
        day_of_year: `(*batch)`.
        first: day of the year that the axis starts with: 182 for the southern hemisphere, say.
        period: days of a year.

    Returns:
        Days from `first` to `first + period`, `(*batch)`: days before `first` belong to the following year.
    """
    day = as_float(day_of_year)
    return day + period * jnp.ceil(jnp.maximum(first - day, 0.0) / period)


def day_of_year(days: ArrayLike, *, period: float = 365.25) -> Array:
    """Days of the year, from 1 on, of days on an axis that runs on: the inverse of `continuous_days`.

    Args:
        days: days since the last day of the year before the first one, `(*batch)`; negative ones lie before.
        period: days of a year.

    Returns:
        1 to 1 + `period`, `(*batch)`.
    """
    days = as_float(days)
    return days - period * jnp.floor((days - 1.0) / period)


def _at(season: Any, time: ArrayLike) -> tuple[Any, Array]:
    """Parameters with a trailing axis for the dates, and the dates in their precision."""
    parameters = expand(season)
    return parameters, jnp.asarray(time, jax.tree.leaves(parameters)[0].dtype)
