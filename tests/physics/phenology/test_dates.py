"""Dates of a season: the reference code, closed forms, slopes of the implicit function, and seasons without dates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics.phenology.curves import DoubleLogistic, beck06
from physics.phenology.dates import curvature_dates, derivative_dates, peak, tangent_dates, threshold_dates
from tests.physics.phenology.test_curves import REFERENCE, season

YEAR = {"first": 0.0, "last": 366.0}
KNOWN = {name: REFERENCE["beck_metrics"][:, place] for place, name in enumerate(REFERENCE["metric_names"])}


def of_season(dates, **options):
    def one(parameters):
        return dates(lambda t: beck06(parameters, t[None])[0], **YEAR, **options)

    return jax.jit(jax.vmap(one))


def test_peaks_and_fastest_changes_equal_the_reference_code():
    given = season("beck", np.float32)
    # the reference evaluates the curve every hundredth of a day
    np.testing.assert_allclose(of_season(peak)(given), KNOWN["POS"], atol=0.3)
    found = of_season(derivative_dates)(given)
    assert found.found.all()
    np.testing.assert_allclose(found.start, KNOWN["SOS_deriv"], atol=0.1)
    np.testing.assert_allclose(found.end, KNOWN["EOS_deriv"], atol=0.1)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_thresholds_equal_the_reference_code(share):
    found = of_season(threshold_dates, share=share)(season("beck", np.float32))
    assert found.found.all()
    # the reference takes the lowest values of a year of whole days
    np.testing.assert_allclose(found.start, KNOWN[f"SOS_{100 * share:.0f}"], atol=0.1)
    np.testing.assert_allclose(found.end, KNOWN[f"EOS_{100 * share:.0f}"], atol=0.1)


def test_curvature_equals_the_reference_code():
    found = curvature_dates(season("beck", np.float32))
    # the reference searches a grid, and gives one and the same date for both ends of some rises and falls
    for early, late, dates in (("Greenup", "Maturity", found[:2]), ("Senescence", "Dormancy", found[2:])):
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

    (threshold, derivative, tangent) = jax.jit(dates)(start, rate)
    assert threshold.start == pytest.approx(100.0 - np.log(4.0) / 0.15, abs=0.01)
    assert derivative.start == pytest.approx(100.0, abs=0.01) and derivative.end == pytest.approx(250.0, abs=0.01)
    # the tangent rises by amplitude / 4 rate a day, from the middle: 2 / rate to either side
    np.testing.assert_allclose(tangent, [100 - 13.33, 100 + 13.33, 250 - 13.33, 250 + 13.33], atol=0.05)

    def some(start, rate):
        threshold, derivative, tangent = dates(start, rate)
        return jnp.stack([threshold.start, derivative.end, tangent.greenup])

    expected = [[1.0, np.log(4.0) / 0.15**2], [1.0, 0.0], [1.0, 2.0 / 0.15**2]]
    slopes = np.stack(jax.jit(jax.jacrev(some, argnums=(0, 1)))(start, rate), -1)
    np.testing.assert_allclose(slopes, expected, rtol=2e-3, atol=0.02)


def test_the_peak_moves_with_its_parameters():
    def top(start, end):
        given = DoubleLogistic(minimum=0.1, maximum=0.8, start=start, growth_rate=0.06, end=end, senescence_rate=0.06)
        return peak(lambda t: beck06(given, t[None])[0], **YEAR)

    found, slopes = jax.jit(jax.value_and_grad(top, argnums=(0, 1)))(100.0, 220.0)
    assert found == pytest.approx(160.0, abs=0.05)
    np.testing.assert_allclose(slopes, [0.5, 0.5], atol=0.02)


def test_what_has_no_season_is_flagged_and_finite():
    def flat(level):
        return threshold_dates(lambda t: level + 0.0 * t, **YEAR), derivative_dates(lambda t: level + 0.0 * t, **YEAR)

    found, slopes = jax.jit(lambda level: (flat(level), jax.jacfwd(lambda x: [one[:2] for one in flat(x)])(level)))(0.3)
    for dates in found:
        assert not dates.found and dates.start == 0.0 and dates.end == 366.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    # a season that has begun before the interval
    late = threshold_dates(lambda t: jax.nn.sigmoid(-0.1 * (t - 200.0)), **YEAR)
    assert not late.found
