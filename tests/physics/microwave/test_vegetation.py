"""Soil under vegetation: public codes, limits, and parts that add up."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics.microwave.first_order import (
    CanopyLayer,
    henyey_greenstein,
    isotropic,
    rayleigh,
    rayleigh_henyey_greenstein,
    rt1,
)
from physics.microwave.geometry import Backscatter, RadarView, Roughness
from physics.microwave.permittivity import Permittivity
from physics.microwave.surface import dubois95, oh92
from physics.microwave.vegetation import (
    BINDLISH_01_WHEAT,
    EL_HAJJ_17_VV,
    PREVOT_93_C_HH,
    PREVOT_93_X,
    ScatteringLayer,
    WaterCloud,
    linear_soil,
    single_scattering,
    water_cloud,
)
from tests.physics.microwave.cases import reference


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def test_water_cloud_equals_the_reference_code(double):
    r = reference("water_cloud")
    cloud = WaterCloud(scattering=r["A_vv"], attenuation=r["B_vv"], exponent=1.0)
    soil = linear_soil(r["mv"], r["C_vv"], r["D_vv"])
    found = water_cloud(soil, r["V1"], cloud, RadarView(incidence=r["theta_rad"]), attenuating=r["V2"])
    np.testing.assert_allclose(found.total, r["tot_vv"], rtol=1e-12)
    np.testing.assert_allclose(found.vegetation, r["c_vv"], rtol=1e-12)
    np.testing.assert_allclose(found.soil, r["g_vv"], rtol=1e-12)


@pytest.mark.parametrize("polarisation", ["VV", "VH"])
def test_water_cloud_and_its_slopes_equal_those_of_another_code(polarisation, double):
    r = reference("water_cloud_lai")
    a, b, c, d, e = r[f"params_{polarisation}"]
    cloud = WaterCloud(scattering=a, attenuation=b, exponent=e)

    def total(lai, moisture, theta):
        return water_cloud(linear_soil(moisture, c, d), lai, cloud, RadarView(incidence=theta)).total

    both = jax.jit(jax.vmap(jax.value_and_grad(total, argnums=(0, 1))))
    found, (by_lai, by_moisture) = both(r["LAI"], r["SM"], r["theta_rad"])
    np.testing.assert_allclose(found, r[f"sigma_{polarisation}"], rtol=1e-12)
    np.testing.assert_allclose(by_lai, r[f"dL_{polarisation}"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(by_moisture, r[f"dS_{polarisation}"], rtol=1e-6)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_no_vegetation_is_bare_soil(exponent):
    def total(descriptor):
        cloud = WaterCloud(scattering=0.1, attenuation=0.2, exponent=exponent)
        return water_cloud(0.05, descriptor, cloud, RadarView.from_degrees(40.0)).total

    both = jax.jit(jax.value_and_grad(total))
    bare, slope = both(np.float32(0.0))
    assert bare == pytest.approx(0.05) and np.isfinite(slope)
    assert both(np.float32(1e3))[0] == pytest.approx(0.1 * np.cos(np.radians(40.0)) * 1e3**exponent, rel=1e-5)


@pytest.mark.parametrize("cloud", [EL_HAJJ_17_VV, PREVOT_93_X, PREVOT_93_C_HH, BINDLISH_01_WHEAT])
def test_published_clouds_serve_as_records_and_name_their_source(cloud):
    found = water_cloud(0.05, jnp.array([0.5, 1.0]), cloud, RadarView.from_degrees(35.0))
    record = WaterCloud(scattering=cloud.scattering, attenuation=cloud.attenuation, exponent=cloud.exponent)
    again = water_cloud(0.05, jnp.array([0.5, 1.0]), record, RadarView.from_degrees(35.0))
    np.testing.assert_allclose(found.total, again.total, rtol=1e-6)
    assert found.total[1] < 0.1 and cloud.source and cloud.descriptor


def layered(r, model, rayleigh_scatterers, coherent):
    eps = r["Oh92_isotropic_coh_eps"]
    soil = Permittivity(dielectric_constant=eps.real, dielectric_loss=eps.imag)
    ground = Roughness(rms_height=100.0 * r["s_m"], correlation_length=5.0)
    seen = RadarView(incidence=r["theta_rad"])
    layer = ScatteringLayer(
        height=r["d_m"], extinction_vertical=r["ke"], extinction_horizontal=r["ke"], albedo=r["omega"]
    )
    frequency = float(r["freq_GHz"])

    @jax.jit
    def run(soil, ground, layer, seen):
        bare = model(soil, ground, seen, frequency=frequency)
        return single_scattering(
            bare, soil, ground, layer, seen, frequency=frequency, rayleigh=rayleigh_scatterers, coherent=coherent
        )

    return run(soil, ground, layer, seen)


@pytest.mark.parametrize("coherent", [True, False])
@pytest.mark.parametrize("name", ["Oh92_isotropic", "Dubois95_rayleigh"])
def test_single_scattering_equals_the_reference_code_part_by_part(name, coherent, double):
    r = reference("ssrt")
    model = oh92 if name.startswith("Oh92") else dubois95
    found = layered(r, model, name.endswith("rayleigh"), coherent)
    parts = {"tot": "total", "g": "ground", "c": "canopy", "gcg": "ground_canopy_ground", "cg": "canopy_ground"}
    for column, part in parts.items():
        for theirs, ours in (("vv", "vv"), ("hh", "hh"), ("hv", "vh")):
            expected = r.get(f"{name}_{'coh' if coherent else 'incoh'}_{column}_{theirs}")
            value = getattr(getattr(found, part), ours)
            assert (value is None) == (expected is None)
            if expected is not None:
                np.testing.assert_allclose(value, expected, rtol=1e-11)


def test_a_layer_that_is_not_there_leaves_bare_soil_and_has_slopes():
    soil = Permittivity(dielectric_constant=12.0, dielectric_loss=2.0)
    ground = Roughness(rms_height=1.0, correlation_length=5.0)
    seen = RadarView.from_degrees(40.0)
    bare = Backscatter(vv=jnp.float32(0.1), hh=jnp.float32(0.08), vh=jnp.float32(0.01))

    def total(values):
        layer = ScatteringLayer(
            height=values[0], extinction_vertical=values[1], extinction_horizontal=values[2], albedo=values[3]
        )
        return single_scattering(bare, soil, ground, layer, seen, frequency=5.405).total

    both = jax.jit(lambda values: (total(values), jax.jacrev(total)(values)))
    for absent in ([0.0, 1.0, 1.0, 0.1], [1.0, 0.0, 0.0, 0.1]):
        found, slopes = both(np.float32(absent))
        assert found.vv == pytest.approx(0.1, rel=1e-6) and found.vh == pytest.approx(0.01, rel=1e-6)
        assert np.isfinite(np.asarray([slopes.vv, slopes.hh, slopes.vh])).all()


@pytest.mark.parametrize(
    ("name", "volume", "surface"),
    [
        ("rayleigh_hg03", rayleigh, henyey_greenstein(0.3)),
        ("hgr03_hg04", rayleigh_henyey_greenstein(0.3), henyey_greenstein(0.4)),
        ("iso_isosurf", isotropic, isotropic),
    ],
)
def test_first_order_radiative_transfer_equals_the_reference_code(name, volume, surface, double):
    r = reference("rt1")
    layer = CanopyLayer(optical_depth=r["tau"], albedo=r["omega"], reflectance=r["NormBRDF"])
    run = jax.jit(functools.partial(rt1, volume=volume, surface=surface))
    found = run(layer, RadarView(incidence=r["theta_rad"]))
    np.testing.assert_allclose(found.surface, r[f"{name}_surf"], rtol=1e-12)
    np.testing.assert_allclose(found.volume, r[f"{name}_vol"], rtol=1e-12)
    # the code expands both laws in Legendre polynomials
    np.testing.assert_allclose(found.interaction, r[f"{name}_int"], rtol=2e-5)
    np.testing.assert_allclose(found.total, r[f"{name}_tot"], rtol=3e-6)


@pytest.mark.parametrize("law", [isotropic, rayleigh, henyey_greenstein(0.4), rayleigh_henyey_greenstein(-0.3)])
def test_scattering_laws_have_mean_one(law):
    nodes, weights = np.polynomial.legendre.leggauss(60)
    assert 0.5 * weights @ np.asarray(jax.jit(law)(nodes.astype(np.float32))) == pytest.approx(1.0, abs=1e-5)
