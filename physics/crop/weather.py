"""Weather of a season, day by day, and its checks."""

from __future__ import annotations

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from physics.parameters import Record, param


class DailyWeather(Record):
    """Weather that crops grow by, of one field, `(day,)` each; `daily_weather` makes it from dates, and checks it."""

    temperature: Array = param(
        unit="degC",
        bounds=(-40.0, 50.0),
        symbol="Ta",
        description="mean air temperature",
        standard_name="air_temperature",
    )
    radiation: Array = param(
        unit="MJ m-2 day-1",
        bounds=(0.0, 45.0),
        symbol="Rg",
        description="global radiation",
        standard_name="surface_downwelling_shortwave_flux_in_air",
    )


class DailyWater(Record):
    """Water that a field gains, and that the air asks for, `(day,)` each or numbers; `daily_water` checks it."""

    reference_evapotranspiration: Array = param(
        unit="mm day-1", bounds=(0.0, 20.0), symbol="ET0", description="evapotranspiration of the reference crop"
    )
    rain: Array = param(
        unit="mm day-1", bounds=(0.0, 500.0), symbol="P", description="rain that does not run off", default=0.0
    )
    irrigation: Array = param(
        unit="mm day-1", bounds=(0.0, 200.0), symbol="I", description="irrigation, over the whole field", default=0.0
    )
    wetted_fraction: Array = param(
        unit="1",
        bounds=(0.01, 1.0),
        symbol="fw",
        description="share of the soil that the last water wetted: 1 for rain and sprinklers",
        default=1.0,
    )
    wind: Array = param(unit="m s-1", bounds=(0.0, 20.0), symbol="u2", description="wind at 2 m", default=2.0)
    minimum_humidity: Array = param(
        unit="percent",
        bounds=(0.0, 100.0),
        symbol="RHmin",
        description="lowest relative humidity of the day",
        default=45.0,
    )


def daily_weather(dates: ArrayLike, *, temperature: ArrayLike, radiation: ArrayLike) -> DailyWeather:
    """Weather of consecutive days, checked.

    Args:
        dates: of the days, anything that NumPy reads as dates, `(day,)`.
        temperature: mean of each day, °C, `(*batch, day)`.
        radiation: global, MJ m⁻² day⁻¹, `(*batch, day)`.

    Returns:
        DailyWeather `(*batch, day)`.

    Raises:
        ValueError: dates that are missing, repeated or not in order; gaps; shapes that do not fit. It names the first
            day at fault, and what to do. Units are the matter of `check_ranges`.
    """
    check_days(dates, temperature=temperature, radiation=radiation)
    return DailyWeather(temperature=temperature, radiation=radiation)  # type: ignore[arg-type]


def daily_water(dates: ArrayLike, *, reference_evapotranspiration: ArrayLike, **others: ArrayLike) -> DailyWater:
    """Water of consecutive days, checked as `daily_weather` does.

    Args:
        dates: of the days, `(day,)`.
        reference_evapotranspiration: mm day⁻¹, `(*batch, day)`.
        **others: further fields of `DailyWater`, `(*batch, day)`, or numbers.

    Returns:
        DailyWater.

    Raises:
        ValueError: as `daily_weather`.
    """
    series = {name: value for name, value in others.items() if np.ndim(value)}
    check_days(dates, reference_evapotranspiration=reference_evapotranspiration, **series)
    return DailyWater(reference_evapotranspiration=reference_evapotranspiration, **others)  # type: ignore[arg-type]


def check_days(dates: ArrayLike, **series: ArrayLike) -> None:
    """Raises unless the dates are consecutive days and the series have a number for each.

    Args:
        dates: anything that NumPy reads as dates, `(day,)`.
        **series: by name, `(*batch, day)`.

    Raises:
        ValueError: as `daily_weather`.
    """
    try:
        days = np.asarray(dates).astype("datetime64[D]")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"dates: expected dates such as 2020-03-01, got {np.asarray(dates).ravel()[:1]}: {error}; convert them"
        ) from error
    if days.ndim != 1 or not days.size:
        raise ValueError(f"dates: expected one axis (day,), got shape {days.shape}; give the dates of one season")
    unknown = np.flatnonzero(np.isnat(days))
    if unknown.size:
        raise ValueError(f"dates: expected a date for each day, got none at index {unknown[0]}; fill it in")
    steps = np.diff(days).astype(int)
    if steps.size and (steps < 0).all():
        raise ValueError(
            f"dates: expected them to rise, got {days[0]} first and {days[-1]} last; "
            "the axis is reversed: turn dates and series round with [..., ::-1]"
        )
    for wrong, fault, remedy in (
        (steps < 0, "a date before the one that precedes it", "sort dates and series by date"),
        (steps == 0, "the same day twice", "keep one, or average to days what is hourly"),
        (steps > 1, "a jump over missing days", "fill them in, from a neighbour station or by interpolation"),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"dates: expected consecutive days, got {fault}: {days[first]} is followed by {days[first + 1]} "
                f"({wrong.sum()} in all); {remedy}"
            )
    for name, given in series.items():
        values = np.asarray(given, np.float64)
        if values.shape[-1:] != days.shape:
            raise ValueError(
                f"{name}: expected a last axis of {days.size} days as dates has, got shape {values.shape}; "
                "cut both to the same season, days last"
            )
        gaps = ~np.isfinite(values)
        if gaps.any():
            *field, day = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
            where = f" of field {tuple(map(int, field))}" if field else ""
            raise ValueError(
                f"{name}: expected a number for each day, got {values[(*field, day)]} on {days[day]}{where} "
                f"({gaps.sum()} gaps in all); fill them, from a neighbour station or by interpolation"
            )
