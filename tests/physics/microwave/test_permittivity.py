"""Permittivities: public codes, limits, and what moisture does."""

import jax
import numpy as np
import pytest

from physics import check_ranges
from physics.microwave import permittivity as models
from physics.microwave.permittivity import MoistSoil, dobson85, elrayes87, hallikainen85, mironov09, peplinski95, water
from tests.physics.microwave.cases import reference

SOILS = [mironov09, dobson85, peplinski95, hallikainen85]


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def of(model):
    """The model as one program, whose results are NumPy's."""
    return lambda *given, **others: jax.device_get(jax.jit(model)(*given, **others))


def compare(found, expected, *, constant, loss):
    np.testing.assert_allclose(found.dielectric_constant, expected.real, rtol=constant)
    # codes differ in the sign of the imaginary part
    np.testing.assert_allclose(found.dielectric_loss, np.abs(expected.imag), rtol=loss)


def test_mironov_equals_the_reference_code(double):
    r = reference("mironov09")
    soil = MoistSoil(soil_moisture=r["mv_pct"] / 100, clay=r["clay_pct"] / 100, sand=0.2)
    # the code's vacuum permittivity has four digits, hence the loss
    compare(of(mironov09)(soil, frequency=r["freq_GHz"]), r["eps"], constant=1e-6, loss=2e-5)


def test_dobson_equals_the_reference_code(double):
    r = reference("dobson85")
    soil = MoistSoil(
        soil_moisture=r["mv"], clay=r["clay"], sand=r["sand"], bulk_density=r["bulk"], temperature=r["temp_C"]
    )
    compare(of(dobson85)(soil, frequency=r["freq_GHz"]), r["eps_debye_cond"], constant=1e-12, loss=3e-5)


def test_peplinski_equals_the_reference_code(double):
    r = reference("peplinski95")
    soil = MoistSoil(
        soil_moisture=r["mv"],
        clay=r["clay"],
        sand=r["sand"],
        bulk_density=r["rho_b"],
        temperature=r["temp_K"] - 273.15,
    )
    # the code's static permittivity of water is another fit, which differs by up to 0.8 %
    compare(of(peplinski95)(soil, frequency=r["freq_GHz"]), r["eps_peplinski95"], constant=7e-3, loss=9e-3)


def test_hallikainen_equals_the_reference_code(double):
    r = reference("hallikainen85")
    soil = MoistSoil(soil_moisture=r["mv_pct"] / 100, clay=r["clay_pct"] / 100, sand=r["sand_pct"] / 100)
    compare(of(hallikainen85)(soil, frequency=r["freq_GHz"]), r["eps"], constant=1e-12, loss=1e-12)


def test_vegetation_equals_the_reference_code_where_there_is_free_water(double):
    r = reference("vegetation_permittivity_elrayes87")
    free = r["mg"] > 0.076 / 0.55
    assert free.sum() > 80 and (~free).sum() > 5
    found = of(elrayes87)(r["mg"], frequency=r["freq_GHz"])
    compare(jax.tree.map(lambda x: x[free], found), r["eps"][free], constant=1e-12, loss=1e-12)
    # the code goes on with a negative share of free water
    assert (found.dielectric_loss[~free] > 0).all()


def test_topp_and_the_authors_inverse():
    # the polynomial, evaluated by hand
    found = of(models.topp80)(np.float32([0.0, 0.1, 0.3, 0.5]))
    np.testing.assert_allclose(found, [3.03, 5.3433, 16.8891, 34.5925], rtol=1e-5)
    moisture = np.linspace(0.02, 0.5, 40, dtype=np.float32)
    there_and_back = jax.jit(lambda moisture: models.topp80_inverse(models.topp80(moisture)))
    np.testing.assert_allclose(there_and_back(moisture), moisture, atol=0.025)


def test_water_has_its_static_permittivity_and_relaxes():
    # 80.1 at 20 degC; the loss peaks where constant and loss of the relaxation are equal, near 17 GHz
    frequency = np.append(0.01, np.linspace(5.0, 40.0, 351)).astype(np.float32)
    found = of(water)(20.0, frequency=frequency)
    assert found.dielectric_constant[0] == pytest.approx(80.1, abs=0.15)
    peak = frequency[1:][np.argmax(found.dielectric_loss[1:])]
    assert 15.5 < peak < 18.5


@pytest.mark.parametrize("model", SOILS, ids=lambda model: model.__name__)
def test_moist_soil_reflects_more_and_dry_soil_is_finite(model):
    moisture = np.linspace(0.0, 0.5, 51, dtype=np.float32)

    def constant(moisture, clay, sand):
        return model(MoistSoil(soil_moisture=moisture, clay=clay, sand=sand), frequency=5.405).dielectric_constant

    values = np.asarray(jax.jit(constant)(moisture, 0.2, 0.4))
    assert (np.diff(values) > 0).all() and 2.0 < values[0] < 4.5 and 25.0 < values[-1] < 45.0
    slope = jax.jit(jax.grad(constant))
    for sand in (0.0, 1.0):
        assert np.isfinite(slope(np.float32(0.0), 0.0, sand))


def test_models_agree_as_their_authors_say():
    """Dielectric constants at 5.405 GHz of a loam, from the comparison of public codes."""
    moisture = np.float32([0.1, 0.3])
    soil = MoistSoil(soil_moisture=moisture, clay=0.2, sand=0.4, bulk_density=1.65, temperature=23.0)
    lighter = MoistSoil(soil_moisture=moisture, clay=0.2, sand=0.4, bulk_density=1.3, temperature=23.0)
    for model, given, expected in (
        (mironov09, soil, (4.91, 15.5)),
        (hallikainen85, soil, (5.23, 16.3)),
        (dobson85, soil, (6.88, 17.8)),
        (peplinski95, lighter, (6.11, 16.7)),
    ):
        np.testing.assert_allclose(of(model)(given, frequency=5.405).dielectric_constant, expected, rtol=6e-3)


def test_moisture_in_per_cent_is_named():
    with pytest.raises(ValueError, match="soil_moisture: expected 0 to 0.6 m3 m-3, got 25 to 25"):
        check_ranges(MoistSoil(soil_moisture=25.0, clay=0.2, sand=0.4))
