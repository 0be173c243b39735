"""Spring dates: sums day by day as the papers write them, what moves a date, and years without one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.phenology_models import DAY_LENGTH, TEMPERATURE
from physics.phenology import (
    AlternatingChill,
    DayLengthThermalTime,
    SequentialChill,
    ThermalTime,
    alternating_chill,
    crossing,
    day_length_thermal_time,
    sequential_chill,
    thermal_time,
)

FIRST = -100.0
DAYS = np.arange(TEMPERATURE.shape[1]) + FIRST


def first_day(sums, required):
    """First day at whose end the sum is no less than required, by a loop over the days."""
    for day, total, enough in zip(DAYS, sums, np.broadcast_to(required, sums.shape), strict=True):
        if total >= enough:
            return day
    raise AssertionError("never reached")


def sums_day_by_day(t):
    """Dates of one year as the papers write them."""
    warm = np.maximum(t - 5.0, 0.0) * (DAYS >= 31)
    expected = {
        "thermal": first_day(np.cumsum(warm), 150.0),
        "day length": first_day(np.cumsum(warm * (DAY_LENGTH / 10.0) ** 3), 400.0),
    }
    cold = np.cumsum((t < 5.0) & (DAYS >= -60))
    expected["alternating"] = first_day(np.cumsum(warm), 60.0 + 500.0 * np.exp(-0.02 * cold))
    chill = np.clip(np.minimum((t + 5.0) / 9.0, (10.0 - t) / 6.0), 0.0, None) * (DAYS >= -60)
    return expected | {"rest": first_day(np.cumsum(chill), 30.0)}


def test_dates_are_those_of_sums_day_by_day():
    @jax.jit
    def found(t):
        spring = {"start": 31.0, "base_temperature": 5.0}
        hard = {"first": FIRST, "softness": 0.0}
        return {
            "thermal": thermal_time(ThermalTime(**spring, requirement=150.0), t, **hard),
            "day length": day_length_thermal_time(
                DayLengthThermalTime(**spring, requirement=400.0, day_length_exponent=3.0), t, DAY_LENGTH, **hard
            ),
            "alternating": alternating_chill(
                AlternatingChill(
                    **spring, requirement=60.0, chill_effect=500.0, chill_rate=0.02, chill_start=-60.0
                ),
                t,
                **hard,
            ),
            "rest": sequential_chill(
                SequentialChill(
                    chill_start=-60.0, least_temperature=-5.0, best_temperature=4.0, highest_temperature=10.0,
                    chill_requirement=30.0, base_temperature=-50.0, requirement=1.0e-3,
                ),
                t,
                **hard,
            ),
        }  # fmt: skip

    years = TEMPERATURE[[0, 2]].astype(np.float32)
    dates = found(years)
    for place, year in enumerate(years):
        for name, day in sums_day_by_day(year).items():
            assert dates[name].found[place] and day <= dates[name].date[place] <= day + 1.0, name


def test_dates_move_as_the_implicit_function_says():
    """Constant warmth of 4 degrees above the base: t0 + F* / 4, exactly."""
    warm = jnp.full((2, 200), 9.0)

    def date(start, base, requirement):
        spring = ThermalTime(start=start, base_temperature=base, requirement=requirement)
        return thermal_time(spring, warm, first=0.0, softness=0.0).date

    found, slopes = jax.jit(lambda *at: (date(*at), jax.jacrev(lambda *at: date(*at).sum(), argnums=(0, 1, 2))(*at)))(
        jnp.array([20.25, 30.5]), jnp.array(5.0), jnp.array([101.0, 202.0])
    )
    np.testing.assert_allclose(found, [45.5, 81.0], rtol=1e-6)
    np.testing.assert_allclose(slopes[0], 1.0, rtol=1e-5)
    np.testing.assert_allclose(slopes[1], (101.0 + 202.0) / 16.0, rtol=1e-5)
    np.testing.assert_allclose(slopes[2], 0.25, rtol=1e-5)


def test_years_without_a_date_are_flagged_and_harm_no_other():
    def dates(requirement):
        spring = ThermalTime(start=0.0, base_temperature=5.0, requirement=requirement)
        found = thermal_time(spring, TEMPERATURE[1], first=FIRST)
        return found.date.sum(), (found, crossing(jnp.array([-1.0, -0.5, 0.5]), 10.0).date)

    slope, (found, half) = jax.jit(jax.grad(dates, has_aux=True))(jnp.array([200.0, 1e6, 0.0]))
    np.testing.assert_array_equal(found.found, [True, False, True])
    assert found.date[1] == DAYS[-1] + 1.0
    slope = np.asarray(slope)
    assert np.isfinite(slope).all() and slope[0] > 0.0 and slope[1] == 0.0
    assert half == 11.5
    with pytest.raises(ValueError, match="expected daily temperatures"):
        thermal_time(ThermalTime(start=0.0, base_temperature=5.0, requirement=1.0), 4.0, first=0.0)
