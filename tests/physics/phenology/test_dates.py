"""Dates of a season: the reference code, closed forms, slopes of the implicit function, and seasons without dates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics.phenology.curves import DoubleLogistic, beck06, continuous_days, seasons
from physics.phenology.dates import (
    curvature_change_dates,
    curvature_dates,
    derivative_dates,
    each_season,
    peak,
    tangent_dates,
    threshold_dates,
    trough,
)
from tests.physics.phenology.test_curves import REFERENCE, season

YEAR = {"first": 0.0, "last": 366.0}
KNOWN = {name: REFERENCE["beck_metrics"][:, place] for place, name in enumerate(REFERENCE["metric_names"])}


def of_season(dates, **options):
    def one(parameters):
        return dates(lambda t: beck06(parameters, t[None])[0], **YEAR, **options)

    return jax.vmap(one)


@pytest.fixture(scope="module")
def found_dates():
    """Dates of the seasons of the reference code, one program for all."""
    dates = {
        "peak": of_season(peak),
        "derivative": of_season(derivative_dates),
        0.5: of_season(threshold_dates, share=0.5),
        0.2: of_season(threshold_dates, share=0.2),
        "curvature": curvature_dates,
    }
    columns = season("beck", np.float32)
    # keys of one kind: a tree sorts them
    return jax.jit(lambda given: {str(name): one(given) for name, one in dates.items()})(columns)


def test_peaks_and_fastest_changes_equal_the_reference_code(found_dates):
    # the reference evaluates the curve every hundredth of a day
    np.testing.assert_allclose(found_dates["peak"], KNOWN["POS"], atol=0.3)
    found = found_dates["derivative"]
    assert found.found.all()
    np.testing.assert_allclose(found.start, KNOWN["SOS_deriv"], atol=0.1)
    np.testing.assert_allclose(found.end, KNOWN["EOS_deriv"], atol=0.1)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_thresholds_equal_the_reference_code(found_dates, share):
    found = found_dates[str(share)]
    assert found.found.all()
    # the reference takes the lowest values of a year of whole days
    np.testing.assert_allclose(found.start, KNOWN[f"SOS_{100 * share:.0f}"], atol=0.1)
    np.testing.assert_allclose(found.end, KNOWN[f"EOS_{100 * share:.0f}"], atol=0.1)


def test_curvature_equals_the_reference_code(found_dates):
    found = found_dates["curvature"]
    # the reference searches a grid, and gives one and the same date for both ends of some rises and falls
    for early, late, dates in (("Greenup", "Maturity", found[:2]), ("Senescence", "Dormancy", found[2:4])):
        apart = KNOWN[late] - KNOWN[early] > 1.0
        apart &= np.abs(KNOWN[late] - KNOWN[early] - np.asarray(dates[1] - dates[0])) < 2.0
        assert apart.sum() >= 8
        for name, date in zip((early, late), dates, strict=True):
            np.testing.assert_allclose(date[apart], KNOWN[name][apart], atol=1.0)


def single(start, rate):
    """A rise only: every date has a closed form."""
    return DoubleLogistic(
        minimum=0.1, maximum=0.8, start=start, growth_rate=rate, end=start + 150.0, senescence_rate=rate
    )


def test_dates_and_their_slopes_are_those_of_closed_forms():
    start, rate = jnp.float32(100.0), jnp.float32(0.15)

    def dates(start, rate):
        def curve(t):
            return beck06(single(start, rate), t[None])[0]

        return threshold_dates(curve, **YEAR, share=0.2), derivative_dates(curve, **YEAR), tangent_dates(curve, **YEAR)

    def some(start, rate):
        found = dates(start, rate)
        return jnp.stack([found[0].start, found[1].end, found[2].greenup]), found

    slopes, (threshold, derivative, tangent) = jax.jit(jax.jacfwd(some, argnums=(0, 1), has_aux=True))(start, rate)
    assert threshold.start == pytest.approx(100.0 - np.log(4.0) / 0.15, abs=0.01)
    assert derivative.start == pytest.approx(100.0, abs=0.01) and derivative.end == pytest.approx(250.0, abs=0.01)
    # the tangent rises by amplitude / 4 rate a day, from the middle: 2 / rate to either side
    assert tangent.found
    np.testing.assert_allclose(tangent[:4], [100 - 13.33, 100 + 13.33, 250 - 13.33, 250 + 13.33], atol=0.05)

    expected = [[1.0, np.log(4.0) / 0.15**2], [1.0, 0.0], [1.0, 2.0 / 0.15**2]]
    np.testing.assert_allclose(np.stack(slopes, -1), expected, rtol=2e-3, atol=0.02)


def test_the_peak_moves_with_its_parameters():
    def top(start, end):
        given = DoubleLogistic(minimum=0.1, maximum=0.8, start=start, growth_rate=0.06, end=end, senescence_rate=0.06)
        return peak(lambda t: beck06(given, t[None])[0], **YEAR)

    found, slopes = jax.jit(jax.value_and_grad(top, argnums=(0, 1)))(100.0, 220.0)
    assert found == pytest.approx(160.0, abs=0.05)
    np.testing.assert_allclose(slopes, [0.5, 0.5], atol=0.02)


def test_curvature_of_any_curve_changes_fastest_where_the_closed_form_says():
    """Rise and fall are apart; each changes its curvature fastest at sos -+ ln(5 + 2 sqrt(6)) / rsp."""
    rates = jnp.array([[0.06, 0.08], [0.1, 0.05], [0.2, 0.15]])

    def dates(rate, other):
        given = DoubleLogistic(
            minimum=0.1, maximum=0.8, start=100.0, growth_rate=rate, end=270.0, senescence_rate=other
        )
        return curvature_change_dates(lambda t: beck06(given, t[None])[0], first=-30.0, last=400.0)

    def some(pair):
        found = dates(*pair)
        return jnp.stack(found[:4]), found.found

    def along(pair):
        """Both rates at once: the rise does not depend on the rate of the fall."""
        return jax.jvp(some, (pair,), (jnp.ones_like(pair),), has_aux=True)

    found, slopes, exist = jax.jit(jax.vmap(along))(rates)
    reach = np.log(5.0 + 2.0 * np.sqrt(6.0)) / np.asarray(rates)
    assert exist.all()
    expected = np.stack([100.0 - reach[:, 0], 100.0 + reach[:, 0], 270.0 - reach[:, 1], 270.0 + reach[:, 1]], -1)
    np.testing.assert_allclose(found, expected, atol=0.15)
    # rates an index of 1 per 25 days and slower count as small against 1 per day
    turned = reach / np.asarray(rates)
    np.testing.assert_allclose(slopes[:, 0], turned[:, 0], rtol=0.02)
    np.testing.assert_allclose(slopes[:, 3], -turned[:, 1], rtol=0.02)


def test_seasons_of_one_curve_have_their_own_dates():
    """Two crops of a southern year, the second over the new year; the dates of each as if it stood alone."""
    middles, late = jnp.array([200.0, 400.0]), float(continuous_days(85.0, first=152.0))

    def year(starts):
        each = DoubleLogistic(
            minimum=0.2, maximum=jnp.array([0.7, 0.6]), start=starts, growth_rate=0.15,
            end=jnp.array([250.0, late]), senescence_rate=0.12,
        )  # fmt: skip
        return lambda t: seasons(beck06, each, t[None], baseline=0.2)[0]

    def dates(starts):
        return each_season(threshold_dates, year(starts), middles, first=100.0, last=560.0, share=0.5)

    def start(starts):
        found = dates(starts)
        return found.start, found

    def valley_between(starts):
        return trough(year(starts), first=200.0, last=400.0)

    at = jnp.array([160.0, 350.0])
    (slope, found), valley = jax.jit(lambda at: (jax.jacfwd(start, has_aux=True)(at), valley_between(at)))(at)
    assert found.found.all()
    np.testing.assert_allclose(found.start, [160.0, 350.0], atol=0.2)
    np.testing.assert_allclose(found.end, [250.0, 450.25], atol=0.3)
    np.testing.assert_allclose(slope, np.eye(2), atol=0.02)
    assert 280.0 < valley < 320.0


def test_what_has_no_season_is_flagged_and_finite():
    def flat(level):
        return [find(lambda t: level + 0.0 * t, **YEAR) for find in (threshold_dates, derivative_dates, tangent_dates)]

    def moving(level):
        found = flat(level)
        # a season that has begun before the interval, and a curve that rises all the time
        late = threshold_dates(lambda t: jax.nn.sigmoid(-0.1 * (t - 200.0)), **YEAR).found
        return [one[:-1] for one in found], (found, late, peak(lambda t: 0.01 * t, **YEAR))

    slopes, (found, late, top) = jax.jit(jax.jacfwd(moving, has_aux=True))(0.3)
    for dates in found:
        assert not dates.found and dates[0] == 0.0 and dates[-2] == 366.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert not late and top == 366.0
