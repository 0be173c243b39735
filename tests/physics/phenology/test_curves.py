"""Curves of a season: the reference code, one another, and axes that do not break at the end of a year."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import check_ranges, parameters
from physics.phenology.curves import (
    AsymmetricGaussian,
    DoubleLogistic,
    GeneralisedLogistic,
    GreendownLogistic,
    OrderedSeason,
    PeakedLogistic,
    as_double_logistic,
    asymmetric_gaussian,
    beck06,
    continuous_days,
    day_of_year,
    elmore12,
    gu09,
    ordered_dates,
    ordered_logistic,
    seasons,
    zhang03,
)

with np.load(pathlib.Path(__file__).parents[2] / "references" / "phenology.npz") as _table:
    REFERENCE = dict(_table)
# parameters in the order of the reference code
CURVES = {
    "beck": (beck06, DoubleLogistic, "minimum maximum start growth_rate end senescence_rate"),
    "elmore": (elmore12, GreendownLogistic, "minimum maximum start growth_rate end senescence_rate greendown"),
    "zhang": (zhang03, PeakedLogistic, "peak minimum maximum start growth_rate end senescence_rate"),
    "gu": (
        gu09,
        GeneralisedLogistic,
        "base growth senescence start growth_rate end senescence_rate growth_exponent senescence_exponent",
    ),
    "ag": (
        asymmetric_gaussian,
        AsymmetricGaussian,
        "peak minimum maximum growth_rate growth_flatness senescence_rate senescence_flatness",
    ),
}


def season(name, dtype=np.float64):
    _, record, fields = CURVES[name]
    columns = REFERENCE[f"{name}_params"].T.astype(dtype)
    return record(**dict(zip(fields.split(), map(jnp.asarray, columns), strict=True)))


def of_columns(name, columns, time):
    curve, record, fields = CURVES[name]
    return curve(record(**dict(zip(fields.split(), columns, strict=True))), time)


def of_all(given, time):
    """All curves from their columns, as one program."""
    return {name: of_columns(name, columns, time) for name, columns in given.items()}


STEPS = {name: 1e-5 * np.maximum(np.abs(REFERENCE[f"{name}_params"].T), 1e-3) for name in CURVES}


@pytest.fixture(scope="module")
def in_double_precision():
    """Values at the parameters, and differences by each of them: `(parameter, season, time)`."""
    with jax.enable_x64(True):
        given = {}
        for name, step in STEPS.items():
            columns = REFERENCE[f"{name}_params"].T
            moves = np.eye(len(columns))[:, :, None] * step
            rows = np.concatenate([np.zeros_like(moves[:1]), moves, -moves]) + columns
            given[name] = tuple(np.moveaxis(rows, 1, 0))
        values = jax.device_get(jax.jit(of_all)(given, REFERENCE["t"]))
    found = {}
    for name, value in values.items():
        up, down = np.split(value[1:], 2)
        found[name] = value[0], (up - down) / (2.0 * STEPS[name][..., None])
    return found


@pytest.fixture(scope="module")
def in_single_precision():
    """Slopes by each parameter `(season, time)`, and the slopes of a sum far from the season."""

    def far(given):
        return sum(one.sum() for one in of_all(given, jnp.array([-4000.0, 4000.0])).values())

    def along(name, columns, time):
        def moved(direction):
            return jax.jvp(lambda *at: of_columns(name, at, time), columns, tuple(direction))[1]

        # every season has its own parameters: one direction moves a parameter of all of them
        every = jnp.broadcast_to(jnp.eye(len(columns))[..., None], (len(columns), len(columns), columns[0].size))
        return jax.vmap(moved)(every)

    @jax.jit
    def both(given, time):
        return {name: along(name, columns, time) for name, columns in given.items()}, jax.value_and_grad(far)(given)

    given = {name: tuple(jnp.asarray(REFERENCE[f"{name}_params"].T, jnp.float32)) for name in CURVES}
    return jax.device_get(both(given, jnp.asarray(REFERENCE["t"], jnp.float32)))


@pytest.mark.parametrize("name", CURVES)
def test_curves_equal_the_reference_code(in_double_precision, name):
    np.testing.assert_allclose(in_double_precision[name][0], REFERENCE[name], atol=1e-12)


@pytest.mark.parametrize("name", CURVES)
def test_slopes_in_single_precision_are_those_of_double_precision_differences(
    in_double_precision, in_single_precision, name
):
    for found, expected in zip(in_single_precision[0][name], in_double_precision[name][1], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", CURVES)
def test_far_from_the_season_nothing_overflows(in_single_precision, name):
    total, slopes = in_single_precision[1]
    assert np.isfinite(total) and np.isfinite(slopes[name]).all()


def test_a_season_by_its_dates_is_the_double_logistic_through_them():
    given = OrderedSeason(minimum=0.1, maximum=0.8, greenup=100.0, maturity=140.0, senescence=220.0, dormancy=280.0)
    time = jnp.linspace(0.0, 365.0, 74)

    def rise(a, b):
        return 1.0 / (1.0 + np.exp(2.0 * (a + b - 2.0 * np.asarray(time, float)) / (b - a)))

    expected = 0.1 + 0.7 * (rise(100.0, 140.0) - rise(220.0, 280.0))
    np.testing.assert_allclose(ordered_logistic(given, time), expected, atol=2e-6)
    assert as_double_logistic(given).growth_rate == pytest.approx(0.1)


def test_dates_come_in_order_whatever_the_numbers():
    gaps = np.random.default_rng(0).normal(0, 20, (50, 3)).astype(np.float32)
    gaps[0] = -200.0

    def both(gaps):
        dates = ordered_dates(jnp.full(50, 60.0), gaps, least=5.0)
        return dates[:, -1].sum(), dates

    slope, dates = jax.jit(jax.grad(both, has_aux=True))(gaps)
    assert dates.shape == (50, 4) and (np.diff(dates, axis=-1) >= 4.99).all()
    assert np.isfinite(slope).all()


def test_two_crops_a_year_are_the_sum_above_the_baseline():
    each = DoubleLogistic(
        minimum=jnp.array([0.2, 0.2]), maximum=jnp.array([0.7, 0.6]), start=jnp.array([60.0, 220.0]),
        growth_rate=0.12, end=jnp.array([150.0, 310.0]), senescence_rate=0.12,
    )  # fmt: skip
    time = jnp.linspace(0.0, 365.0, 366)

    @jax.jit
    def curves(each):
        alone = [beck06(jax.tree.map(lambda leaf, i=i: jnp.broadcast_to(leaf, 2)[i], each), time) for i in (0, 1)]
        return seasons(beck06, each, time, baseline=0.2), *alone

    found, one, two = map(np.asarray, curves(each))
    assert found.shape == (366,)
    np.testing.assert_allclose(found, one + two - 0.2, atol=1e-6)
    valley = found[170:200].min()
    assert valley < 0.3 and found[100] > 0.65 and found[265] > 0.55


def test_seasons_share_their_baseline_whatever_their_own_minima_are():
    shape = {"start": jnp.array([60.0, 220.0]), "growth_rate": 0.2, "end": jnp.array([150.0, 310.0])}
    at = np.array([[-100.0, 185.0, 500.0]] * 2, np.float32)
    low = DoubleLogistic(minimum=jnp.array([0.0, 0.3]), maximum=jnp.array([0.5, 0.7]), senescence_rate=0.2, **shape)
    each = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (2, 2)), low)
    baseline = np.array([0.1, 0.2], np.float32)
    skewed = GeneralisedLogistic(
        base=jnp.array([0.0, 0.3]), growth=0.5, senescence=0.5, senescence_rate=0.2, growth_exponent=2.0,
        senescence_exponent=2.0, **shape,
    )  # fmt: skip

    @jax.jit
    def found(each, low, skewed):
        peaks = seasons(beck06, low, jnp.array([105.0, 265.0]), baseline=0.1)
        return seasons(beck06, each, at, baseline=baseline), peaks, seasons(gu09, skewed, at[0], baseline=0.1)

    lows, peaks, skewed_lows = found(each, low, skewed)
    # two pixels, their own dates each: the baseline before, between and after the seasons
    np.testing.assert_allclose(lows, np.repeat(baseline[:, None], 3, 1), atol=1e-3)
    np.testing.assert_allclose(peaks, [0.6, 0.5], atol=1e-3)
    np.testing.assert_allclose(skewed_lows, 0.1, atol=1e-3)


def test_southern_days_run_on_over_the_new_year():
    @jax.jit
    def both(measured):
        found = continuous_days(measured, first=182.0)
        return found, day_of_year(found), day_of_year(jnp.array([-10.0, 0.0, 731.5]))

    found, back, others = both(jnp.array([182.0, 365.0, 1.0, 181.0]))
    np.testing.assert_allclose(found, [182.0, 365.0, 366.25, 546.25])
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose(back, [182.0, 365.0, 1.0, 181.0], atol=1e-4)
    np.testing.assert_allclose(others, [355.25, 365.25, 1.0], atol=1e-4)


def test_a_season_over_the_new_year_is_the_same_as_any_other():
    """November to April, once on the axis from July on, once on one that began a year before, half a year off."""
    fields = {"minimum": 0.2, "maximum": 0.7, "growth_rate": 0.1, "senescence_rate": 0.08}
    measured = jnp.array([200.0, 320.0, 360.0, 5.0, 60.0, 120.0, 170.0])  # days of the year, in the order of time

    @jax.jit
    def both(measured):
        axis, end = (continuous_days(days, first=182.0) for days in (measured, 105.0))
        found = beck06(DoubleLogistic(start=320.0, end=end, **fields), axis)
        return found, beck06(DoubleLogistic(start=320.0 - 182.0, end=end - 182.0, **fields), axis - 182.0)

    found, moved = map(np.asarray, both(measured))
    np.testing.assert_allclose(found, moved, atol=1e-5)
    np.testing.assert_allclose(found[[0, 3, 6]], [0.2, 0.7, 0.2], atol=0.01)


def test_a_day_of_the_year_as_a_fraction_is_named():
    assert parameters(DoubleLogistic)["growth_rate"].unit == "day-1"
    with pytest.raises(ValueError, match="growth_rate: expected 0 to 0.5 day-1, got 12 to 12"):
        check_ranges(
            DoubleLogistic(minimum=0.1, maximum=0.8, start=100.0, growth_rate=12.0, end=250.0, senescence_rate=0.1)
        )
