"""Weather from dates: what is wrong with it is named, with the day and the remedy."""

import datetime

import numpy as np
import pytest

from physics.crop import DailyWeather, daily_water, daily_weather

DATES = np.arange("2021-02-26", "2021-03-08", dtype="datetime64[D]")
GOOD = {"temperature": np.linspace(5.0, 14.0, 10), "radiation": np.linspace(8.0, 17.0, 10)}


def test_good_days_become_weather_with_fields_first():
    found = daily_weather([str(day) for day in DATES], **GOOD)
    assert isinstance(found, DailyWeather) and found.temperature.shape == (10,)
    many = {name: np.tile(value, (3, 1)) for name, value in GOOD.items()}
    assert daily_weather(DATES.astype(datetime.date), **many).radiation.shape == (3, 10)
    water = daily_water(DATES, reference_evapotranspiration=np.full(10, 3.0), rain=np.zeros(10), wind=2.5)
    assert water.rain.shape == (10,) and float(water.wind) == 2.5 and float(water.minimum_humidity) == 45.0


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (DATES[::-1], r"rise, got 2021-03-07 first and 2021-02-26 last; the axis is reversed: turn .*\[\.\.\., ::-1\]"),
        (DATES[[0, 1, 2, 4, 3, 5, 6, 7, 8, 9]], "2021-03-02 is followed by 2021-03-01 .*; sort dates and series"),
        (DATES[[0, 1, 2, 2, 3, 4, 5, 6, 7, 8]], "2021-02-28 is followed by 2021-02-28 .*; keep one, or average"),
        (np.delete(np.append(DATES, DATES[-1] + 1), 4), "jump over missing days: 2021-03-01 is followed by 2021-03-03"),
        (np.where(np.arange(10) == 3, np.datetime64("NaT"), DATES), "got none at index 3; fill it in"),
        (["yesterday"] * 10, "expected dates such as 2020-03-01, got .*yesterday.*; convert them"),
        (DATES.reshape(2, 5), r"one axis \(day,\), got shape \(2, 5\)"),
        (DATES[:9], "temperature: expected a last axis of 9 days .* got shape .10,.; cut both"),
    ],
)
def test_faults_of_the_dates_are_named(dates, message):
    with pytest.raises(ValueError, match=message):
        daily_weather(dates, **GOOD)


def test_gaps_are_named_with_their_day_and_field():
    gap = GOOD | {"radiation": np.where(np.isin(np.arange(10), (4, 7)), np.nan, GOOD["radiation"])}
    with pytest.raises(ValueError, match=r"radiation: expected a number for each day, got nan on 2021-03-02 \(2 gaps"):
        daily_weather(DATES, **gap)
    many = {name: np.tile(value, (3, 1)) for name, value in GOOD.items()}
    many["temperature"][2, 0] = np.inf
    with pytest.raises(ValueError, match=r"temperature: .* got inf on 2021-02-26 of field \(2,\) \(1 gaps"):
        daily_weather(DATES, **many)
    with pytest.raises(ValueError, match="rain: .* got nan on 2021-02-27"):
        daily_water(DATES, reference_evapotranspiration=np.ones(10), rain=np.where(np.arange(10) == 1, np.nan, 0.0))
