"""Spring dates from temperature and day length: warmth adds up, and buds open when there has been enough of it.

    spring = ThermalTime(start=60.0, base_temperature=0.0, requirement=300.0)
    found = thermal_time(spring, temperature, first=-60.0)
    found.date, found.found

Drivers are daily means, `(day,)` or `(*batch, day)`: of the day that starts `first` days after the origin of time, and
of those that follow. A sum grows evenly over each day, so that it is a continuous function of time and parameters; the
date is where it crosses what is required, and moves with the parameters through the implicit function. Parameters are
`(*batch)`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.parameters import Record, expand, param

_DAYS = (-200.0, 366.0)


def _start(description: str = "day from which on warmth counts") -> Any:
    return param(unit="day", bounds=_DAYS, symbol="t0", description=description)


def _base() -> Any:
    return param(unit="degC", bounds=(-10.0, 15.0), symbol="Tb", description="temperature above which warmth counts")


def _requirement(unit: str = "degC day", high: float = 3000.0) -> Any:
    return param(unit=unit, bounds=(0.0, high), symbol="F*", description="sum of warmth at which the season starts")


class ThermalTime(Record):
    """Growing degree days from a day on; every field an array `(*batch)`."""

    start: Array = _start()
    base_temperature: Array = _base()
    requirement: Array = _requirement()


class SigmoidThermalTime(Record):
    """Warmth that saturates, from a day on; every field an array `(*batch)`."""

    start: Array = _start()
    half_temperature: Array = param(
        unit="degC", bounds=(-5.0, 40.0), symbol="c", description="temperature of half the greatest rate"
    )
    sensitivity: Array = param(unit="degC-1", bounds=(0.0, 2.0), symbol="b", description="steepness of the rate")
    requirement: Array = _requirement("day", 200.0)


class DayLengthThermalTime(Record):
    """Growing degree days that count more on long days; every field an array `(*batch)`."""

    start: Array = _start()
    base_temperature: Array = _base()
    day_length_exponent: Array = param(
        unit="1", bounds=(0.0, 20.0), symbol="k", description="power of the day length in units of ten hours"
    )
    requirement: Array = _requirement()


class AlternatingChill(Record):
    """Growing degree days of which fewer are required after more cold days; every field an array `(*batch)`."""

    start: Array = _start()
    base_temperature: Array = param(
        unit="degC", bounds=(-10.0, 15.0), symbol="Tb", description="temperature that parts cold from warm days"
    )
    chill_start: Array = _start("day from which on cold days count")
    requirement: Array = _requirement()
    chill_effect: Array = param(
        unit="degC day", bounds=(0.0, 5000.0), symbol="b", description="warmth required beyond that, without any chill"
    )
    chill_rate: Array = param(
        unit="day-1", bounds=(0.0, 0.2), symbol="-c", description="share of it that a cold day takes away"
    )


class SequentialChill(Record):
    """Growing degree days that count once there has been enough chill; every field an array `(*batch)`."""

    chill_start: Array = _start("day from which on chill counts")
    least_temperature: Array = param(
        unit="degC", bounds=(-20.0, 5.0), symbol="Tn", description="temperature below which nothing chills"
    )
    best_temperature: Array = param(
        unit="degC", bounds=(-5.0, 10.0), symbol="To", description="temperature that chills most"
    )
    highest_temperature: Array = param(
        unit="degC", bounds=(5.0, 20.0), symbol="Tx", description="temperature above which nothing chills"
    )
    chill_requirement: Array = param(
        unit="day", bounds=(0.0, 200.0), symbol="C*", description="sum of chill that ends rest"
    )
    base_temperature: Array = _base()
    requirement: Array = _requirement()


class SpringDate(NamedTuple):
    """A date of spring.

    Attributes:
        date: days since the origin of time, `(*batch)`.
        found: whether the requirement is met within the days given; where it is not, the date is their end.
    """

    date: Array
    found: Array


def crossing(balance: Array, first: ArrayLike) -> SpringDate:
    """When a quantity that is known at midnights first reaches zero.

    Args:
        balance: at the start of the first day and at the end of each day, `(*batch, day + 1)`; linear in between.
        first: start of the first day, days since the origin.

    Returns:
        The date, with the slope of the implicit function: dt = -(dg / dparameters) / (dg / dt).
    """
    reached = balance[..., 1:] >= 0.0
    found = jnp.any(reached, -1) & (balance[..., 0] < 0.0)
    place = jnp.argmax(reached, -1)
    below = jnp.take_along_axis(balance, place[..., None], -1)[..., 0]
    above = jnp.take_along_axis(balance, place[..., None] + 1, -1)[..., 0]
    step = jnp.where(found, above - below, 1.0)
    date = place.astype(balance.dtype) - jnp.where(found, below, 0.0) / step
    # Met before anything has been added up: the first moment there is.
    early = balance[..., 0] >= 0.0
    outside = jnp.where(early, 0.0, float(balance.shape[-1] - 1))
    return SpringDate(jnp.asarray(first, balance.dtype) + jnp.where(found, date, outside), found | early)


def degree_days(temperature: Array, base_temperature: ArrayLike, *, softness: float = 0.5) -> Array:
    """Warmth of a day above a base, degrees, of the shape of both.

    Args:
        temperature: daily mean, degrees Celsius.
        base_temperature: degrees Celsius.
        softness: degrees over which the bend at the base is rounded: daily means hide warm hours of cold days, and the
            sum stays differentiable. 0 is the published one.

    Equation:
        w ln(1 + exp((T - Tb) / w)), which is max(T - Tb, 0) for w = 0.
    """
    excess = temperature - base_temperature
    return jnp.maximum(excess, 0.0) if softness == 0.0 else softness * jax.nn.softplus(excess / softness)


def thermal_time(spring: ThermalTime, temperature: ArrayLike, *, first: ArrayLike, softness: float = 0.5) -> SpringDate:
    """Date at which growing degree days reach a requirement.

    Args:
        spring: fields `(*batch)`.
        temperature: daily means, degrees Celsius, `(day,)` or `(*batch, day)`.
        first: start of the first day, days since the origin.
        softness: see `degree_days`.

    Returns:
        Date `(*batch)`.

    Equation:
        sum over days from t0 on of max(T - Tb, 0) = F*.

    References:
        Cannell & Smith 1983, J. Appl. Ecol. 20, 951. Hunter & Lechowicz 1992, J. Appl. Ecol. 29, 597 (spring warming).
    """
    s, t, days = _at(spring, temperature, first)
    rate = degree_days(t, s.base_temperature, softness=softness) * _after(days, s.start)
    return crossing(_sums(rate) - s.requirement, first)


def sigmoid_thermal_time(spring: SigmoidThermalTime, temperature: ArrayLike, *, first: ArrayLike) -> SpringDate:
    """Date at which a saturating response to warmth adds up to a requirement; arguments as in `thermal_time`.

    Equation:
        sum over days from t0 on of 1 / (1 + exp(-b (T - c))) = F*.

    References:
        Hänninen 1990, Acta For. Fenn. 213. Kramer 1994, J. Appl. Ecol. 31, 172. Chuine 2000, J. Theor. Biol. 207, 337.
    """
    s, t, days = _at(spring, temperature, first)
    rate = jax.nn.sigmoid(s.sensitivity * (t - s.half_temperature)) * _after(days, s.start)
    return crossing(_sums(rate) - s.requirement, first)


def day_length_thermal_time(
    spring: DayLengthThermalTime,
    temperature: ArrayLike,
    day_length: ArrayLike,
    *,
    first: ArrayLike,
    softness: float = 0.5,
) -> SpringDate:
    """Date at which degree days weighed by day length reach a requirement (M1); arguments as in `thermal_time`.

    Args:
        day_length: hours, shaped as the temperature.

    Equation:
        sum over days from t0 on of max(T - Tb, 0) (L / 10 h)^k = F*.

    References:
        Blümel & Chmielewski 2012, Agric. For. Meteorol. 164, 10. Basler 2016, Agric. For. Meteorol. 217, 10.
    """
    s, t, days = _at(spring, temperature, first)
    weight = jnp.exp(s.day_length_exponent * jnp.log(jnp.asarray(day_length, t.dtype) / 10.0))
    rate = degree_days(t, s.base_temperature, softness=softness) * weight * _after(days, s.start)
    return crossing(_sums(rate) - s.requirement, first)


def alternating_chill(
    spring: AlternatingChill, temperature: ArrayLike, *, first: ArrayLike, softness: float = 0.5
) -> SpringDate:
    """Date at which degree days reach a requirement that falls with the number of cold days; arguments as above.

    Equation:
        sum over days from t0 on of max(T - Tb, 0) = F* + b exp(c NCD), NCD the number of days with T < Tb from the
        start of chill on, each weighed by 1 / (1 + exp((T - Tb) / w)).

    References:
        Cannell & Smith 1983, J. Appl. Ecol. 20, 951 (above 5 degrees from 1 February, cold days from 1 November).
        Murray, Cannell & Smith 1989, J. Appl. Ecol. 26, 693.
    """
    s, t, days = _at(spring, temperature, first)
    warm = degree_days(t, s.base_temperature, softness=softness) * _after(days, s.start)
    excess = t - s.base_temperature
    cold = (excess < 0.0).astype(t.dtype) if softness == 0.0 else jax.nn.sigmoid(-excess / softness)
    chill = _sums(cold * _after(days, s.chill_start))
    return crossing(_sums(warm) - s.requirement - s.chill_effect * jnp.exp(-s.chill_rate * chill), first)


def sequential_chill(
    spring: SequentialChill, temperature: ArrayLike, *, first: ArrayLike, softness: float = 0.5
) -> SpringDate:
    """Date at which degree days since the end of rest reach a requirement; arguments as above.

    Equation:
        sum of chill until t1 = C*, sum of max(T - Tb, 0) from t1 on = F*. A day chills by 1 at To, less by straight
        lines to both sides, and not at all below Tn and above Tx.

    Validity:
        Tn < To < Tx. Where rest does not end, the date is not found.

    References:
        Sarvas 1974. Hänninen 1990, Acta For. Fenn. 213. Kramer 1994, J. Appl. Ecol. 31, 172 (the triangle).
    """
    s, t, days = _at(spring, temperature, first)
    rising = (t - s.least_temperature) / (s.best_temperature - s.least_temperature)
    falling = (s.highest_temperature - t) / (s.highest_temperature - s.best_temperature)
    chill = jnp.maximum(jnp.minimum(rising, falling), 0.0) * _after(days, s.chill_start)
    rest = crossing(_sums(chill) - s.chill_requirement, first)
    rate = degree_days(t, s.base_temperature, softness=softness) * _after(days, rest.date[..., None])
    found = crossing(_sums(rate) - s.requirement, first)
    return SpringDate(found.date, found.found & rest.found)


def _at(spring: Any, temperature: ArrayLike, first: ArrayLike) -> tuple[Any, Array, Array]:
    """Parameters with a trailing axis for the days, temperatures in their precision, and the starts of the days."""
    parameters = expand(spring)
    t = jnp.asarray(temperature, jax.tree.leaves(parameters)[0].dtype)
    if t.ndim == 0:
        raise ValueError("expected daily temperatures (day,) or (*batch, day), got a number; give one for each")
    return parameters, t, jnp.asarray(first, t.dtype)[..., None] + jnp.arange(t.shape[-1], dtype=t.dtype)


def _after(days: Array, start: Array) -> Array:
    """Share of each day that lies after a time."""
    # At midnight the slope is the mean of those of the two days: drivers that jump there leave no other.
    return jnp.clip(days + 1.0 - start, 0.0, 1.0)


def _sums(rate: Array) -> Array:
    """Sums at the start of the first day and at the end of each, `(*batch, day + 1)`."""
    # One operation, which compiles six times faster than an associative scan.
    return jnp.concatenate([jnp.zeros_like(rate[..., :1]), jax.lax.cumsum(rate, axis=rate.ndim - 1)], -1)
