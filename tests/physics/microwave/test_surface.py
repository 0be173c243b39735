"""Bare soil: public codes, published limits, and what roughness and moisture do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

from physics.microwave.fresnel import fresnel, nadir_reflectivity
from physics.microwave.geometry import RadarView, Roughness, wave_number, wavelength
from physics.microwave.iem import (
    _poisson_means,
    calibrated_iem,
    calibrated_length,
    exponential,
    gaussian,
    iem,
    iem_fung92,
)
from physics.microwave.permittivity import MoistSoil, Permittivity, mironov09
from physics.microwave.surface import baghdadi16, dubois95, oh04, oh92, ranges, within_ranges
from tests.physics.microwave.cases import reference

C_BAND = 5.405


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def permittivity(eps):
    return Permittivity(dielectric_constant=eps.real, dielectric_loss=np.abs(eps.imag))


def roughness(ks, frequency=C_BAND):
    return Roughness(rms_height=ks / float(wave_number(frequency)), correlation_length=5.0)


def test_reflectivities_equal_the_reference_code(double):
    r = reference("fresnel")
    found = jax.jit(fresnel)(permittivity(r["eps"]), RadarView(incidence=r["theta_rad"]))
    np.testing.assert_allclose(found.vertical, r["G_v"], rtol=1e-12)
    np.testing.assert_allclose(found.horizontal, r["G_h"], rtol=1e-12)
    np.testing.assert_allclose(jax.jit(nadir_reflectivity)(permittivity(r["eps"])), r["G0"], rtol=1e-12)


def test_nothing_is_reflected_at_brewsters_angle_of_a_lossless_soil():
    soil = Permittivity(dielectric_constant=9.0, dielectric_loss=0.0)
    found = jax.jit(fresnel)(soil, RadarView(incidence=np.arctan(np.float32(3.0))))
    assert found.vertical < 1e-12 and found.horizontal == pytest.approx(0.64, rel=1e-5)


@pytest.mark.parametrize("model", ["oh92", "oh04", "dubois95", "baghdadi2016"])
def test_closed_forms_equal_the_reference_code(model, double):
    r = reference(model)
    frequency = C_BAND
    if model == "dubois95":
        frequency = 29.9792458 / (100.0 * r["lam_m"])
        assert wavelength(frequency) == pytest.approx(5.55)
    ground = roughness(r["ks"], frequency)
    if model == "baghdadi2016":
        seen = RadarView.from_degrees(r["theta_deg"])
        found = jax.jit(functools.partial(baghdadi16, frequency=frequency))(r["mv_pct"] / 100.0, ground, seen)
        expected = {"vv": r["vv_db"], "hh": r["hh_db"], "vh": r["hv_db_as_coded_cos_exp_minus0p01"]}
        expected = {name: 10 ** (value / 10) for name, value in expected.items()}
    else:
        seen = RadarView(incidence=r["theta_rad"])
        given = r["mv"] if model == "oh04" else permittivity(r["eps"])
        function = {"oh92": oh92, "oh04": oh04, "dubois95": dubois95}[model]
        found = jax.jit(functools.partial(function, frequency=frequency))(given, ground, seen)
        expected = {"vv": r["vv"], "hh": r["hh"]} | ({"vh": r["hv"]} if "hv" in r else {})
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-12)
    assert (found.vh is None) == ("vh" not in expected)


def integral_equation(model):
    r = reference("iem")
    ground = Roughness(rms_height=100.0 * r["sig_m"], correlation_length=100.0 * r["L_m"])
    seen = RadarView.from_degrees(r["theta_deg"])
    both = jax.jit(
        lambda *given: [
            model(*given[:-1], frequency=given[-1], correlation=correlation) for correlation in (exponential, gaussian)
        ]
    )(permittivity(r["eps"]), ground, seen, r["freq_GHz"])
    first = r["acf_1exp_2gauss"] == 1
    found = {name: 10 * np.log10(np.where(first, *(getattr(one, name) for one in both))) for name in ("vv", "hh")}
    return r, first, found


def test_the_original_integral_equation_model_equals_the_reference_code(double):
    r, _, found = integral_equation(iem_fung92)
    for name, value in found.items():
        np.testing.assert_allclose(value, r[f"smrt_iem92_{name}"], atol=1e-8)


def test_the_improved_integral_equation_model_equals_the_reference_equations(double):
    r, first, found = integral_equation(iem)
    for name, value in found.items():
        # the reference ends its transition series early: seen where Gaussian surfaces scatter next to nothing
        np.testing.assert_allclose(value[first], r[f"ref_sin2_{name}"][first], atol=0.01)
        np.testing.assert_allclose(value, r[f"ref_sin2_{name}"], atol=0.06)
        # codes with the first power of the sine in the transition
        np.testing.assert_allclose(value, r[f"ref_{name}"], atol=0.15)


@pytest.mark.parametrize("correlation", [exponential, gaussian])
def test_series_are_right_at_any_roughness(correlation, double):
    """Against sums of a thousand terms with exact factorials, from smooth to ks = 9."""
    orders = np.arange(1.0, 1001.0)
    function = jax.jit(functools.partial(_poisson_means, correlation=correlation))
    square = np.array([0.0, 1e-9, 1e-3, 0.5, 3.0, 4.9, 5.1, 9.9, 10.1, 19.9, 20.1, 36.0, 81.0])
    for kl in (0.0, 0.5, 5.0, 20.0):
        spectrum = np.asarray(correlation(orders, kl))
        for dtype, tolerance in ((jnp.float64, 5e-6), (jnp.float32, 1e-5)):
            given = jnp.asarray(square, dtype)
            for power, found in enumerate(function(given, jnp.full_like(given, kl))):
                mean = 2**power * np.asarray(given, np.float64)[:, None]
                logarithm = (orders - 1) * np.log(mean + 1e-300) - mean - gammaln(orders + 1)
                expected = np.sum(np.exp(logarithm) * spectrum, -1)
                np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-20)


@pytest.mark.parametrize("model", [iem, iem_fung92, oh92])
def test_smooth_and_flat_surfaces_scatter_nothing_back_and_have_slopes(model):
    soil = Permittivity(dielectric_constant=10.0, dielectric_loss=1.0)

    @jax.jit
    @jax.value_and_grad
    def vv(point):
        ground = Roughness(rms_height=point[0], correlation_length=5.0)
        return model(soil, ground, RadarView(incidence=point[1]), frequency=C_BAND).vv

    smooth, slopes = vv(jnp.array([0.0, 0.6]))
    assert smooth == 0.0 and np.isfinite(slopes).all()
    assert np.isfinite(vv(jnp.array([1.0, 0.0]))[1]).all()


@pytest.mark.parametrize("model", [oh04, baghdadi16])
def test_dry_smooth_and_nadir_limits_of_moisture_models_are_finite(model):
    def vh(moisture, height, theta):
        ground = Roughness(rms_height=height, correlation_length=5.0)
        return model(moisture, ground, RadarView(incidence=theta), frequency=C_BAND).vh

    both = jax.jit(jax.value_and_grad(vh, argnums=(0, 1, 2)))
    for point in ((0.0, 1.0, 0.6), (0.2, 0.0, 0.6)):
        value, slopes = both(*map(np.float32, point))
        assert np.isfinite(value) and np.isfinite(slopes).all()
    assert value == 0.0


def test_moist_and_rough_soils_scatter_more():
    moisture, height = (
        np.linspace(0.09, 0.31, 12, dtype=np.float32)[:, None],
        np.linspace(0.2, 2.0, 10, dtype=np.float32),
    )
    loam = MoistSoil(soil_moisture=moisture, clay=0.2, sand=0.4)
    soil = jax.jit(functools.partial(mironov09, frequency=C_BAND))(loam)
    ground = Roughness(rms_height=height, correlation_length=6.0)
    seen = RadarView.from_degrees(40.0)
    for model in (oh92, oh04, dubois95, iem):
        given = moisture if model is oh04 else soil
        found = jax.device_get(jax.jit(functools.partial(model, frequency=C_BAND))(given, ground, seen))
        assert (np.diff(found.vv, axis=0) > 0).all() and (np.diff(found.hh, axis=0) > 0).all()
        # the integral equation model turns over where a surface gets very rough
        assert (np.diff(found.vv[:, :5], axis=1) > 0).all()
        if found.vh is not None:
            assert (found.vh < found.hh).all() and (np.diff(found.vh, axis=0) > 0).all()


def test_calibrated_lengths_are_those_published():
    seen = RadarView.from_degrees(40.0)
    vertical, horizontal = calibrated_length(jnp.array([1.0]), seen, frequency=C_BAND)
    # 0.134 sin(0.19 * 0.698)^-1.59 + 1.281 and 3.006 sin(1.23 * 0.698)^-1.494 + 0.162
    assert vertical[0] == pytest.approx(4.624, abs=0.01) and horizontal[0] == pytest.approx(4.718, abs=0.01)
    with pytest.raises(ValueError, match="L .1 to 2 GHz., C .4 to 8 GHz. or X band .*got 3 GHz; give the correlation"):
        calibrated_length(jnp.array([1.0]), seen, frequency=3.0)
    soil = Permittivity(dielectric_constant=15.0, dielectric_loss=2.0)
    for frequency in (1.26, C_BAND, 9.65):
        found = jax.jit(functools.partial(calibrated_iem, frequency=frequency))(soil, jnp.linspace(0.5, 2.0, 5), seen)
        decibels = 10 * np.log10(np.asarray([found.vv, found.hh]))
        assert (-25 < decibels).all() and (decibels < 0).all()


def test_ranges_say_where_a_model_was_fitted():
    ground = Roughness(rms_height=jnp.array([0.05, 1.0, 1.0]), correlation_length=5.0)
    seen = RadarView.from_degrees(jnp.array([40.0, 40.0, 5.0]))
    inside = within_ranges(oh92, ground, seen, frequency=C_BAND, soil_moisture=0.2)
    assert inside.tolist() == [False, True, False]
    assert not within_ranges(oh92, ground, seen, frequency=C_BAND, soil_moisture=0.5).any()
    assert jax.jit(lambda s: within_ranges(dubois95, ground, seen, frequency=s))(20.0).tolist() == [False] * 3
    assert ranges(oh04)["ks"] == (0.13, 6.98)
    with pytest.raises(ValueError, match="expected one of baghdadi16, dubois95, oh04, oh92, got 'iem'"):
        ranges(iem)
