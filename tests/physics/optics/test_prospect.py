"""PROSPECT against independent codes, published spectra and energy conservation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import Canopy, Leaf, LeafPro, prospect_5, prospect_d, prospect_pro
from physics.data import table
from physics.optics.prospect import interface_transmissivity, plate_model
from tests.physics.optics.cases import LOSSLESS, REFERENCES, leaf, records_for

MODELS = {"5": prospect_5, "D": prospect_d, "PRO": prospect_pro}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
def test_equals_the_reference_code(kind, double):
    """Leaves of the reference set, edges included, in float64 to 1e-9 and in float32 to 5e-6.

    The reference is itself 7e-9 off energy conservation for the leaf that absorbs nothing.
    """
    reference = np.load(REFERENCES / "prosail.npz")
    angles = reference["in_alpha"]
    checked = 0
    with jax.enable_x64(double):
        for angle in (40.0, *angles[[3, 30, LOSSLESS]]):
            rows = np.flatnonzero(angles == angle)
            run = jax.jit(
                lambda record, angle=angle: MODELS[kind](
                    record, wavelengths=reference["wavelengths"], surface_angle=float(angle)
                )
            )
            optics = run(leaf(reference, rows, records_for(kind)))
            tolerance = (1e-8 if LOSSLESS in rows else 1e-9) if double else 5e-6
            np.testing.assert_allclose(optics.reflectance, reference[f"leaf_refl_{kind}"][rows], atol=tolerance)
            np.testing.assert_allclose(optics.transmittance, reference[f"leaf_tran_{kind}"][rows], atol=tolerance)
            checked += rows.size
    assert checked > 40


@pytest.mark.parametrize(
    ("kind", "parameters", "tolerance"),
    [
        (
            "5",
            {
                "layers": 2.1,
                "chlorophyll": 40.0,
                "carotenoids": 10.0,
                "brown_pigment": 0.1,
                "water": 0.015,
                "dry_matter": 0.009,
            },
            1e-4,
        ),
        (
            "D",
            {
                "layers": 1.2,
                "chlorophyll": 30.0,
                "carotenoids": 10.0,
                "anthocyanins": 1.0,
                "water": 0.015,
                "dry_matter": 0.009,
            },
            1e-6,
        ),
    ],
)
def test_equals_the_published_spectra(kind, parameters, tolerance):
    """Printed with four digits (PROSPECT-5); computed with a looser exponential integral (PROSPECT-D)."""
    published = np.load(REFERENCES / "published_optics.npz")
    optics = MODELS[kind](Leaf(**parameters), wavelengths=published["wavelengths"])
    expected = published["prospect_" + kind.lower()]
    np.testing.assert_allclose(optics.reflectance, expected[:, 0], atol=tolerance)
    np.testing.assert_allclose(optics.transmittance, expected[:, 1], atol=tolerance)


def test_published_prospect_pro_spectrum_counts_dry_matter_twice():
    """The published test spectrum was made with dry matter 0.009 beside proteins 0.001 and carbon constituents 0.009.

    `LeafPro` has no such field, so the sum is formed here.
    """
    published = np.load(REFERENCES / "published_optics.npz")
    at = published["wavelengths"] - 400
    contents = {"chlorophyll": 30.0, "carotenoids": 10.0, "anthocyanins": 1.0, "water": 0.015}
    contents |= {"proteins": 0.001, "carbon_constituents": 0.009}
    figures = table("prospect_pro")
    absorption = sum(content * figures[name][at] for name, content in contents.items())
    absorption = absorption + 0.009 * table("prospect_d")["dry_matter"][at]
    layers = jnp.float32([1.2])
    index = figures["refractive_index"][at]
    t_cone, t12 = (jnp.asarray(interface_transmissivity(index, angle), jnp.float32) for angle in (40.0, 90.0))
    square = jnp.asarray(index**2, jnp.float32)
    optics = plate_model(jnp.asarray(absorption, jnp.float32) / layers, layers, t_cone, t12, t12 / square)
    np.testing.assert_allclose(optics.reflectance, published["prospect_pro"][:, 0], atol=2e-6)
    np.testing.assert_allclose(optics.transmittance, published["prospect_pro"][:, 1], atol=2e-6)


def test_interface_transmissivity_equals_the_published_table():
    published = np.load(REFERENCES / "published_optics.npz")
    index = table("prospect_d")["refractive_index"][published["wavelengths"] - 400]
    np.testing.assert_allclose(interface_transmissivity(index, 40.0), published["interface_40"], atol=2e-6)


def test_energy_is_conserved_and_a_lossless_leaf_absorbs_nothing():
    leaves = Leaf(
        layers=jnp.array([1.0, 1.5, 3.7, 2.0]),
        chlorophyll=jnp.array([0.0, 40.0, 90.0, 0.0]),
        carotenoids=0.0,
        water=jnp.array([0.0, 0.01, 0.1, 0.0]),
        dry_matter=0.0,
    )
    optics = prospect_d(leaves)
    np.testing.assert_allclose(optics.reflectance + optics.transmittance + optics.absorptance, 1.0, atol=2e-6)
    np.testing.assert_array_equal(optics.absorptance[np.array([0, 3])], 0.0)


def test_absorptance_keeps_its_digits_for_a_weak_absorber():
    def absorptance(water):
        record = Leaf(layers=1.5, chlorophyll=0.0, carotenoids=0.0, water=water, dry_matter=0.0)
        return float(prospect_d(record, wavelengths=np.array([865.0])).absorptance[0])

    single = absorptance(jnp.float32(1e-6))
    with jax.enable_x64(True):
        double = absorptance(jnp.float64(1e-6))
    assert 0 < double < 1e-5
    np.testing.assert_allclose(single, double, rtol=1e-5)


def test_wrong_record_or_surface_angle_is_named():
    pro = LeafPro(layers=1.5, chlorophyll=40, carotenoids=8, water=0.01, proteins=0.001, carbon_constituents=0.005)
    with pytest.raises(ValueError, match="prospect_d: expected a Leaf, got LeafPro"):
        prospect_d(pro)
    with pytest.raises(ValueError, match="prospect_pro: expected a LeafPro, got Canopy"):
        prospect_pro(Canopy(leaf_area_index=1, mean_leaf_angle=57, hot_spot=0.1))
    with pytest.raises(ValueError, match="surface_angle"):
        prospect_pro(pro, surface_angle=120.0)
