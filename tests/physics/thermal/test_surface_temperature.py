"""Temperature and emissivity of land: public codes, closed loops, smooth joints, propagated errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import check_ranges, validity
from physics.thermal.emissivity import FULL_NDVI, SOIL_NDVI, skokovic14, sobrino08, vegetation_share
from physics.thermal.planck import LANDSAT8_B10, band_radiance
from physics.thermal.ranges import ranges, within_ranges
from physics.thermal.surface_temperature import (
    Atmosphere,
    SplitWindow,
    at_sensor,
    du15,
    du15_error,
    jimenez_munoz14,
    propagated,
    single_channel,
    slstr,
)
from tests.physics.thermal.cases import reference


def given(vapour=None):
    r = reference()
    w = r["w_gcm2"] if vapour is None else np.full_like(r["w_gcm2"], vapour)
    return SplitWindow(r["T10"], r["T11"], r["e10"], r["e11"], w)


def test_jimenez_munoz_equals_the_reference_with_the_papers_coefficients():
    with jax.enable_x64(True):
        np.testing.assert_allclose(jimenez_munoz14(given()), reference()["sw_JM2014_paper_coeffs"], rtol=1e-12)


def test_du_is_its_formula_within_a_class_and_goes_linearly_between_two():
    def by_hand(b):
        t, e, half = 300.0 + 299.0, 0.98, 0.5
        return (
            b[0] + (b[1] + b[2] * 0.02 / e + b[3] * 0.004 / e**2) * t / 2
            + (b[4] + b[5] * 0.02 / e + b[6] * 0.004 / e**2) * half + b[7]
        )  # fmt: skip

    def found(vapour):
        with jax.enable_x64(True):
            return float(du15(SplitWindow(300.0, 299.0, 0.982, 0.978, vapour)))

    first = by_hand([-2.78009, 1.01408, 0.15833, -0.34991, 4.04487, 3.55414, -8.88394, 0.09152])
    second = by_hand([11.00824, 0.95995, 0.17243, -0.28852, 7.11492, 0.42684, -6.62025, -0.06381])
    assert found(1.0) == pytest.approx(first, rel=1e-12) and found(2.75) == pytest.approx(second, rel=1e-12)
    # the authors take the mean of both classes in their overlap; so does its middle
    assert found(2.25) == pytest.approx(0.5 * (first + second), rel=1e-12)
    assert found(2.1) == pytest.approx(0.8 * first + 0.2 * second, rel=1e-12)
    assert du15_error(1.0) == pytest.approx(0.34) and du15_error(6.0) == pytest.approx(0.93)


def test_both_algorithms_agree_over_land():
    difference = np.asarray(du15(given(1.5)) - jimenez_munoz14(given(1.5)))
    moderate = np.abs(reference()["T10"] - reference()["T11"]) < 2.0
    assert moderate.sum() > 30 and np.abs(difference[moderate]).max() < 3.0


def test_emissivities_are_the_published_rules_away_from_the_thresholds():
    ndvi, red = jnp.array([0.05, 0.35, 0.8]), jnp.array([0.2, 0.1, 0.04])
    share = 0.25
    np.testing.assert_allclose(vegetation_share(ndvi), [0.0, share, 1.0], atol=1e-6)
    np.testing.assert_allclose(sobrino08(ndvi), [0.97, 0.986 + 0.004 * share, 0.99], atol=1e-5)
    found = skokovic14(ndvi, red)
    mixed = 0.971 * 0.75 + 0.987 * 0.25 + 0.029 * 0.987 * 0.55 * 0.75
    np.testing.assert_allclose(found.band10, [0.979 - 0.046 * 0.2, mixed, 0.987], atol=1e-5)
    assert found.band11[0] == pytest.approx(0.982 - 0.027 * 0.2, abs=1e-5)


def test_mixtures_equal_the_reference_code_where_it_has_them():
    """The code's mixtures lack the clipping of the share: compared between the thresholds."""
    r = reference()
    inside = (r["ndvi"] > SOIL_NDVI + 0.08) & (r["ndvi"] < FULL_NDVI - 0.08)
    assert inside.sum() > 10
    share = ((r["ndvi"][inside] - 0.2) / 0.3) ** 2
    cavity = (1 - 0.971) * 0.987 * 0.55 * (1 - share)
    found = skokovic14(r["ndvi"][inside], np.zeros(inside.sum())).band10
    np.testing.assert_allclose(found - cavity, 0.971 * (1 - share) + 0.987 * share, atol=2e-5)


@pytest.mark.parametrize("ndvi", [SOIL_NDVI, FULL_NDVI])
def test_emissivity_is_continuous_where_the_rules_jump(ndvi):
    fine = jnp.linspace(ndvi - 0.05, ndvi + 0.05, 1001)
    for values in (sobrino08(fine), *skokovic14(fine, 0.1 * jnp.ones_like(fine))):
        assert jnp.abs(jnp.diff(values)).max() < 2e-4
    assert np.isfinite(jax.grad(sobrino08)(ndvi))


def test_single_channel_gives_back_the_temperature_of_the_surface():
    temperature = jnp.linspace(265.0, 330.0, 14)
    air = Atmosphere(transmittance=0.82, upwelling=1.4, downwelling=2.3)
    radiance = at_sensor(temperature, 0.97, air, LANDSAT8_B10)
    np.testing.assert_allclose(single_channel(radiance, 0.97, air, LANDSAT8_B10), temperature, rtol=2e-6)
    clear = Atmosphere(transmittance=1.0, upwelling=0.0, downwelling=0.0)
    np.testing.assert_allclose(
        at_sensor(temperature, 1.0, clear, LANDSAT8_B10), band_radiance(temperature, LANDSAT8_B10), rtol=1e-6
    )


def test_propagated_errors_are_those_of_a_monte_carlo():
    values, stds = (300.0, 298.6, 0.975, 0.972, 1.8), (0.1, 0.1, 0.008, 0.008, 0.3)

    @jax.jit
    def temperature(*arguments):
        return du15(SplitWindow(*arguments))

    found = propagated(temperature, values, stds, error=du15_error(1.8))
    rng = np.random.default_rng(0)
    draws = temperature(*(rng.normal(mean, std, 40000) for mean, std in zip(values, stds, strict=True)))
    assert found.value == pytest.approx(float(draws.mean()), abs=0.05)
    assert found.std == pytest.approx(float(np.hypot(draws.std(), 0.34)), rel=0.03)
    rows = propagated(temperature, tuple(np.full(3, value) for value in values), stds)
    assert rows.std.shape == (3,) and (rows.std < found.std).all()
    with pytest.raises(ValueError, match="a standard deviation for each of 5 values, got 4"):
        propagated(temperature, values, stds[:4])


def test_sentinel3_is_linear_at_nadir_and_bends_with_the_view():
    a, b, c, first, second = 1.2, 2.9, -1.8, 302.0, 299.5
    with jax.enable_x64(True):
        nadir = slstr(first, second, 0.0, a=a, b=b, c=c, angle_divisor=5.0)
        assert nadir == pytest.approx(a + b * first + c * second, rel=1e-13)
        theta = np.radians(55.0)
        bent = slstr(first, second, theta, a=a, b=b, c=c, angle_divisor=5.0)
        power = 1.0 / np.cos(theta / 5.0)
        assert bent == pytest.approx(a + b * 2.5**power + (b + c) * second, rel=1e-13)
        # the exponent acts on the size of a negative difference
        turned = slstr(second - 2.5, second, theta, a=a, b=b, c=c, angle_divisor=5.0)
        assert turned == pytest.approx(a - b * 2.5**power + (b + c) * second, rel=1e-13)
    # where both temperatures are one, the slope is b at nadir and that of d^power, zero, elsewhere
    slope = jax.grad(lambda t, view: slstr(t, 299.5, view, a=a, b=b, c=c, angle_divisor=5.0))
    assert slope(299.5, 0.0) == pytest.approx(b) and slope(299.5, 0.9) == 0.0
    rows = slstr(np.full(3, first), second, 0.5, a=np.array([1.0, np.nan, 2.0]), b=b, c=c, angle_divisor=5.0)
    assert np.isfinite(rows).tolist() == [True, False, True]


def test_wrong_units_are_named_and_masked():
    with pytest.raises(ValueError, match="temperature10: expected 200 to 370 K, got 25 to 25 in 1 of 2 values"):
        check_ranges(SplitWindow(np.array([25.0, 298.0]), 297.0, 0.98, 0.98, 2.0))
    with pytest.raises(ValueError, match="water_vapour: expected 0 to 7 g cm-2, got 20 to 20"):
        check_ranges(SplitWindow(298.0, 297.0, 0.98, 0.98, 20.0))
    with pytest.raises(ValueError, match="transmittance: expected 0.05 to 1 1, got 82 to 82"):
        check_ranges(Atmosphere(transmittance=82.0, upwelling=1.4, downwelling=2.3))
    mask = validity(SplitWindow(np.array([25.0, 298.0, np.nan]), 297.0, 0.98, 0.98, 2.0))
    assert mask.tolist() == [False, True, False]
    found = jimenez_munoz14(SplitWindow(np.array([np.nan, 298.0]), 297.0, 0.98, 0.98, 2.0))
    assert np.isfinite(found).tolist() == [False, True]


def test_models_say_what_they_were_made_for():
    vapour = np.array([-0.1, 6.1, np.nan, 2.0])
    assert within_ranges(jimenez_munoz14, water_vapour=vapour).tolist() == [False, False, False, True]
    assert within_ranges(du15, water_vapour=vapour).tolist() == [False, True, False, True]
    assert within_ranges(skokovic14, ndvi=np.array([0.5, 0.5, -0.2]), red=np.array([0.1, 0.5, 0.1])).tolist() == [
        True,
        False,
        False,
    ]
    assert not within_ranges(slstr, view_zenith=np.radians(65.0)) and ranges(sobrino08)["ndvi"] == (0.0, 1.0)
    with pytest.raises(ValueError, match="expected one of du15, jimenez_munoz14, .* got 'at_sensor'"):
        ranges(at_sensor)
    with pytest.raises(ValueError, match="expected water_vapour for du15, got vapour; name the inputs"):
        within_ranges(du15, vapour=vapour)
