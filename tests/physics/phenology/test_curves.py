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


@pytest.mark.parametrize("name", CURVES)
def test_curves_equal_the_reference_code(name):
    with jax.enable_x64(True):
        found = CURVES[name][0](season(name), REFERENCE["t"])
        np.testing.assert_allclose(found, REFERENCE[name], atol=1e-12)


@pytest.mark.parametrize("name", CURVES)
def test_slopes_in_single_precision_are_those_of_double_precision_differences(name):
    curve, record, fields = CURVES[name]
    names, time = fields.split(), jnp.asarray(REFERENCE["t"][::6], jnp.float32)

    def values(columns, time):
        return curve(record(**dict(zip(names, columns, strict=True))), time)

    columns = REFERENCE[f"{name}_params"].T
    slopes = jax.jit(jax.jacfwd(values))(tuple(jnp.asarray(columns, jnp.float32)), time)
    with jax.enable_x64(True):
        at = jnp.asarray(columns)
        for place, one in enumerate(slopes):
            step = 1e-5 * jnp.maximum(jnp.abs(at[place]), 1e-3)
            up, down = (values(tuple(at.at[place].add(sign * step)), np.asarray(time, np.float64)) for sign in (1, -1))
            expected = np.asarray((up - down) / (2 * step[:, None]))
            found = np.moveaxis(np.diagonal(np.asarray(one), axis1=0, axis2=2), -1, 0)
            np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", CURVES)
def test_far_from_the_season_nothing_overflows(name):
    curve = CURVES[name][0]
    found, slope = jax.value_and_grad(lambda s: curve(s, jnp.array([-4000.0, 4000.0])).sum())(season(name, np.float32))
    assert np.isfinite(found)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_a_season_by_its_dates_is_the_double_logistic_through_them():
    given = OrderedSeason(minimum=0.1, maximum=0.8, greenup=100.0, maturity=140.0, senescence=220.0, dormancy=280.0)
    time = jnp.linspace(0.0, 365.0, 74)

    def rise(a, b):
        return 1.0 / (1.0 + np.exp(2.0 * (a + b - 2.0 * np.asarray(time, float)) / (b - a)))

    expected = 0.1 + 0.7 * (rise(100.0, 140.0) - rise(220.0, 280.0))
    np.testing.assert_allclose(ordered_logistic(given, time), expected, atol=2e-6)
    assert as_double_logistic(given).growth_rate == pytest.approx(0.1)


def test_dates_come_in_order_whatever_the_numbers():
    gaps = jnp.asarray(np.random.default_rng(0).normal(0, 20, (50, 3)), jnp.float32)
    dates = ordered_dates(jnp.full(50, 60.0), gaps, least=5.0)
    assert dates.shape == (50, 4) and (jnp.diff(dates, axis=-1) >= 4.99).all()
    assert np.isfinite(jax.grad(lambda g: ordered_dates(0.0, g)[-1])(jnp.full(3, -200.0))).all()


def test_two_crops_a_year_are_the_sum_above_the_baseline():
    each = DoubleLogistic(
        minimum=jnp.array([0.2, 0.2]), maximum=jnp.array([0.7, 0.6]), start=jnp.array([60.0, 220.0]),
        growth_rate=0.12, end=jnp.array([150.0, 310.0]), senescence_rate=0.12,
    )  # fmt: skip
    time = jnp.linspace(0.0, 365.0, 366)
    found = seasons(beck06, each, time, baseline=0.2)
    assert found.shape == (366,)
    one, two = (beck06(jax.tree.map(lambda leaf, i=i: jnp.broadcast_to(leaf, 2)[i], each), time) for i in (0, 1))
    np.testing.assert_allclose(found, one + two - 0.2, atol=1e-6)
    valley = found[170:200].min()
    assert valley < 0.3 and found[100] > 0.65 and found[265] > 0.55


def test_southern_days_run_on_over_the_new_year():
    found = continuous_days(jnp.array([182.0, 365.0, 1.0, 181.0]), first=182.0)
    np.testing.assert_allclose(found, [182.0, 365.0, 366.25, 546.25])
    assert (jnp.diff(found) > 0).all()


def test_a_day_of_the_year_as_a_fraction_is_named():
    assert parameters(DoubleLogistic)["growth_rate"].unit == "day-1"
    with pytest.raises(ValueError, match="growth_rate: expected 0 to 0.5 day-1, got 12 to 12"):
        check_ranges(
            DoubleLogistic(minimum=0.1, maximum=0.8, start=100.0, growth_rate=12.0, end=250.0, senescence_rate=0.1)
        )
