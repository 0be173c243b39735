"""Our curves of a season, and their dates, as entries of the benchmark of simulators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.columns import Columns
from physics.phenology import (
    AlternatingChill,
    AsymmetricGaussian,
    DayLengthThermalTime,
    DoubleLogistic,
    GeneralisedLogistic,
    GreendownLogistic,
    OrderedSeason,
    PeakedLogistic,
    SequentialChill,
    SigmoidThermalTime,
    ThermalTime,
    alternating_chill,
    asymmetric_gaussian,
    beck06,
    curvature_change_dates,
    day_length_thermal_time,
    derivative_dates,
    elmore12,
    gu09,
    ordered_dates,
    ordered_logistic,
    sequential_chill,
    sigmoid_thermal_time,
    tangent_dates,
    thermal_time,
    threshold_dates,
    zhang03,
)
from releo_jax.benchmarking import Simulator, by_name

DAYS = np.arange(4.0, 366.0, 24.0)
LEVELS = {"minimum": (0.0, 0.3), "maximum": (0.4, 1.0)}
RISE = {"start": (80.0, 140.0), "growth_rate": (0.04, 0.25)}
FALL = {"end": (230.0, 300.0), "senescence_rate": (0.03, 0.2)}
PEAK = 185.0  # of Zhang's curve, which jumps there
GU = {
    "base": (0.0, 0.3),
    "growth": (0.3, 0.8),
    "senescence": (0.3, 0.8),
    **RISE,
    **FALL,
    "growth_exponent": (0.3, 4.0),
    "senescence_exponent": (0.3, 4.0),
}
GAUSSIAN = LEVELS | {
    "peak": (170.0, 210.0),
    "growth_rate": (0.01, 0.03),
    "growth_flatness": (2.0, 6.0),
    "senescence_rate": (0.01, 0.03),
    "senescence_flatness": (2.0, 6.0),
}
ORDERED = LEVELS | {"first": (60.0, 140.0), "rise": (0.0, 60.0), "plateau": (0.0, 120.0), "fall": (0.0, 80.0)}
_SPRING_DAYS = np.arange(-100.0, 300.0) + 0.5
_WEATHER = 3.0 * np.sin(_SPRING_DAYS / 4.3) + 2.0 * np.sin(_SPRING_DAYS / 11.9 + 1.0)
TEMPERATURE = (
    np.array([7.0, 9.0, 11.0])[:, None] - 11.0 * np.cos(2.0 * np.pi * (_SPRING_DAYS - 20.0) / 365.25) + _WEATHER
)
DAY_LENGTH = 12.0 - 3.5 * np.cos(2.0 * np.pi * (_SPRING_DAYS + 10.0) / 365.25)
# Counting never begins at midnight, where slopes from the two sides differ.
WARMTH = {"start": (0.4, 60.6), "base_temperature": (0.0, 5.0), "requirement": (50.0, 400.0)}


def curve_entry(
    curve: Callable[..., Any], record: Any, prior: Mapping[str, tuple[float, float]], **fixed: float
) -> Simulator:
    """A curve on some days of a year."""

    def function(columns: Columns) -> Any:
        return curve(record(**columns, **fixed), DAYS)

    return Simulator(name=curve.__name__, function=by_name(function, prior), prior=prior)


def dates_entry(dates: Callable[..., Any], **options: float) -> Simulator:
    """Dates of a double logistic of which rise and fall are free: no date depends on where minimum and maximum are."""
    prior = RISE | FALL

    def of_one(start: Any, growth_rate: Any, end: Any, senescence_rate: Any) -> Any:
        season = DoubleLogistic(
            minimum=jnp.full_like(start, 0.15),
            maximum=jnp.full_like(start, 0.85),
            start=start,
            growth_rate=growth_rate,
            end=end,
            senescence_rate=senescence_rate,
        )
        found = dates(lambda t: beck06(season, t[None])[0], first=-60.0, last=420.0, **options)
        return jnp.stack(found[:-1])

    def function(columns: Columns) -> Any:
        return jax.vmap(of_one)(*(columns[name] for name in prior))

    return Simulator(name=dates.__name__, function=by_name(function, prior), prior=prior)


def ordered(columns: Columns) -> Any:
    """The curve by its dates, which are made from real numbers."""
    gaps = jnp.stack([columns[name] for name in ("rise", "plateau", "fall")], -1)
    dates = ordered_dates(columns["first"], gaps, least=5.0)
    names = ("greenup", "maturity", "senescence", "dormancy")
    levels = {name: columns[name] for name in LEVELS}
    return ordered_logistic(OrderedSeason(**levels, **{name: dates[:, i] for i, name in enumerate(names)}), DAYS)


def spring_entry(
    model: Callable[..., Any], record: Any, prior: Mapping[str, tuple[float, float]], *drivers: Any
) -> Simulator:
    """A spring date in three years, cold, mild and warm."""

    def function(columns: Columns) -> Any:
        spring = record(**{name: value[:, None] for name, value in columns.items()})
        return model(spring, TEMPERATURE, *drivers, first=-100.0).date

    return Simulator(name=model.__name__, function=by_name(function, prior), prior=prior)


def springs() -> list[Simulator]:
    """Models of spring dates from temperature and day length."""
    return [
        spring_entry(thermal_time, ThermalTime, WARMTH),
        spring_entry(
            sigmoid_thermal_time,
            SigmoidThermalTime,
            {
                "start": WARMTH["start"],
                "half_temperature": (5.0, 20.0),
                "sensitivity": (0.05, 0.5),
                "requirement": (5.0, 20.0),
            },
        ),
        spring_entry(
            day_length_thermal_time, DayLengthThermalTime, WARMTH | {"day_length_exponent": (0.0, 8.0)}, DAY_LENGTH
        ),
        spring_entry(
            alternating_chill,
            AlternatingChill,
            WARMTH | {"chill_start": (-90.4, -30.6), "chill_effect": (50.0, 800.0), "chill_rate": (0.005, 0.05)},
        ),
        spring_entry(
            sequential_chill,
            SequentialChill,
            {
                "chill_start": (-90.4, -60.6),
                "least_temperature": (-10.0, -3.0),
                "best_temperature": (2.0, 5.0),
                "highest_temperature": (9.0, 14.0),
                "chill_requirement": (15.0, 35.0),
                "base_temperature": WARMTH["base_temperature"],
                "requirement": WARMTH["requirement"],
            },
        ),
    ]


def phenology() -> list[Simulator]:
    """All of them."""
    logistic = LEVELS | RISE | FALL
    return [
        curve_entry(beck06, DoubleLogistic, logistic),
        curve_entry(elmore12, GreendownLogistic, logistic | {"greendown": (0.0, 0.002)}),
        curve_entry(zhang03, PeakedLogistic, logistic, peak=PEAK),
        curve_entry(gu09, GeneralisedLogistic, GU),
        curve_entry(asymmetric_gaussian, AsymmetricGaussian, GAUSSIAN),
        Simulator(name="ordered_logistic", function=by_name(ordered, ORDERED), prior=ORDERED),
        dates_entry(threshold_dates, share=0.2),
        dates_entry(derivative_dates),
        dates_entry(tangent_dates),
        dates_entry(curvature_change_dates),
        *springs(),
    ]
