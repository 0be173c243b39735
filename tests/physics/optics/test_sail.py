"""SAIL against an independent code, published spectra, limits and invariants."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import (
    BimodalCanopy,
    Canopy,
    Leaf,
    LeafOptics,
    Soil,
    SunView,
    albedo,
    fapar,
    fcover,
    prosail,
    prospect_5,
    prospect_d,
    sail,
    sensor,
    soil_mixture,
    surface_reflectance,
)
from physics.optics.leaf_angles import bimodal, ellipsoidal
from tests.physics.optics.cases import LOSSLESS, REFERENCES, canopy, leaf, soil, sun_view

NAMES = {
    "tss": "sun_transmittance",
    "too": "view_transmittance",
    "tsstoo": "sun_view_transmittance",
    "rdd": "diffuse_reflectance",
    "tdd": "diffuse_transmittance",
    "rsd": "sun_diffuse_reflectance",
    "tsd": "sun_diffuse_transmittance",
    "rdo": "diffuse_view_reflectance",
    "tdo": "diffuse_view_transmittance",
    "rsos": "single_scattering",
    "rsod": "multiple_scattering",
}
SCENE = {
    "rsot": "bidirectional",
    "rddt": "bihemispherical",
    "rsdt": "directional_hemispherical",
    "rdot": "hemispherical_directional",
}


def reference_scenes(hot_spot):
    """Reference cases, edges included: leaves in batches by surface angle, canopies by leaf angle distribution; by
    row."""
    reference = dict(np.load(REFERENCES / "prosail.npz"))
    angles, grid = reference["in_alpha"], reference["wavelengths"]
    optics = np.zeros((3, len(angles), len(grid)), jnp.zeros(0).dtype)
    for angle in (40.0, angles[LOSSLESS], angles[LOSSLESS + 10]):
        rows = np.flatnonzero(angles == angle)
        leaves = jax.jit(functools.partial(prospect_d, wavelengths=grid, surface_angle=float(angle)))
        found = leaves(leaf(reference, rows))
        optics[:, rows] = found.reflectance, found.transmittance, found.absorptance

    @jax.jit
    def run(optics, stand, ground, angles):
        return sail(stand, optics, soil_mixture(ground, wavelengths=grid), angles, hot_spot=hot_spot)

    scenes = {}
    for is_bimodal in (True, False):
        rows = np.flatnonzero(np.isin(angles, (40.0, angles[LOSSLESS], angles[LOSSLESS + 10])))
        rows = rows[(reference["in_typelidf"][rows] == 1) == is_bimodal]
        given = canopy(reference, rows, is_bimodal), soil(reference, rows), sun_view(reference, rows)
        scene = jax.device_get(run(LeafOptics(*optics[:, rows]), *given))
        scenes |= {row: jax.tree.map(lambda x, i=i: x[i], scene) for i, row in enumerate(rows)}
    assert len(scenes) > 40
    return reference, scenes


@pytest.mark.parametrize(("double", "tolerance"), [(True, 1e-6), (False, 5e-6)])
def test_equals_the_reference_code(double, tolerance):
    """The reference canopy is not a number, or off by up to 0.05, for the leaf that absorbs nothing: that row apart."""
    with jax.enable_x64(double):
        reference, scenes = reference_scenes("legacy")
        for row, scene in scenes.items():
            for key, name in SCENE.items():
                got = np.asarray(getattr(scene, name))
                assert np.isfinite(got).all()
                if row != LOSSLESS:
                    np.testing.assert_allclose(got, reference[key][row], atol=tolerance, err_msg=f"{name}, row {row}")


@pytest.mark.long
def test_exact_hot_spot_is_close_to_the_classical_scheme():
    """The 20-step scheme is up to 5e-4 off in reflectance, a little more for canopies that are bright edges."""
    with jax.enable_x64(True):
        reference, scenes = reference_scenes("exact")
        difference = [
            np.abs(scene.bidirectional - reference["rsot"][row]).max()
            for row, scene in scenes.items()
            if row != LOSSLESS
        ]
    assert 1e-6 < np.max(difference) < 1e-3


def test_exact_hot_spot_integral_equals_a_fine_sum():
    from physics.optics.hot_spot import hot_spot_integral

    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        k_s, k_o, lai, q = (
            rng.uniform(0.2, 3, 50),
            rng.uniform(0.2, 1.5, 50),
            rng.uniform(0, 12, 50),
            rng.uniform(0, 1, 50),
        )
        q[:5] = [0.0, 1e-4, 1e-3, 1e-2, 1.0]
        angles = SunView.from_degrees(rng.uniform(0, 80, 50), rng.uniform(0, 60, 50), rng.uniform(0, 180, 50))
        path, both_ways = jax.jit(hot_spot_integral)(k_s, k_o, lai, q, angles, angles.relative_azimuth)
        s, o, psi = (np.asarray(angle) for angle in (angles.sun_zenith, angles.view_zenith, angles.relative_azimuth))
        distance = np.sqrt(np.tan(s) ** 2 + np.tan(o) ** 2 - 2 * np.tan(s) * np.tan(o) * np.cos(psi))
        scale = np.maximum(q * (k_s + k_o) / (2 * distance), 1e-12)
        x = np.linspace(0, 1, 40001)[:, None] ** 2

        def probability(x):
            return np.exp(-(k_s + k_o) * lai * x + lai * np.sqrt(k_s * k_o) * scale * -np.expm1(-x / scale))

        expected = lai * np.trapezoid(probability(x), x, axis=0)
    np.testing.assert_allclose(path, expected, rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(both_ways, probability(np.ones((1, 1)))[0], rtol=1e-9)


def test_terms_of_the_canopy_equal_the_reference_code():
    reference = np.load(REFERENCES / "sail_terms.npz")
    with jax.enable_x64(True):
        for is_bimodal in (True, False):
            rows = np.flatnonzero((reference["in_typelidf"] == 1) == is_bimodal)
            optics = LeafOptics(reference["leaf_refl"][rows], reference["leaf_tran"][rows])
            terms = sail(
                canopy(reference, rows, is_bimodal),
                optics,
                reference["soil"][rows],
                sun_view(reference, rows),
                hot_spot="legacy",
            ).canopy
            absorbs = (np.abs(optics.absorptance) > 1e-9).all(axis=1)
            for key, name in NAMES.items():
                got = np.broadcast_to(getattr(terms, name), reference[key][rows].shape)
                np.testing.assert_allclose(got[absorbs], reference[key][rows][absorbs], atol=1e-6, err_msg=name)


def test_published_fortran_spectrum():
    """The Fortran code has 13 classes of leaf angle; 18 classes are up to 5.2e-4 away (so is prosail 2.0.5)."""
    published = np.load(REFERENCES / "published_optics.npz")
    grid = published["wavelengths"]

    @jax.jit
    def run(record, stand, ground, angles):
        optics = prospect_5(record, wavelengths=grid)
        return sail(stand, optics, soil_mixture(ground, wavelengths=grid), angles, hot_spot="legacy")

    scene = run(
        Leaf(layers=1.5, chlorophyll=40.0, carotenoids=8.0, water=0.01, dry_matter=0.009),
        BimodalCanopy(leaf_area_index=3.0, leaf_angle_a=-0.35, leaf_angle_b=-0.15, hot_spot=0.01),
        Soil(brightness=1.0, wetness=0.0),
        SunView.from_degrees(30.0, 10.0, 0.0),
    )
    _, rdot, rsot, rddt, rsdt = published["fortran_canopy"].T
    for name, expected in zip(SCENE.values(), (rsot, rddt, rsdt, rdot), strict=True):
        difference = np.asarray(getattr(scene, name)) - expected
        assert np.abs(difference).max() < 5.5e-4, name
        assert np.sqrt((difference**2).mean()) < 3e-4, name


def example(lai=3.0, absorbing=True, soil_reflectance=0.2, angle=57.0, hot_spot=0.1, angles=(30.0, 10.0, 50.0)):
    optics = LeafOptics(np.float32([0.05, 0.5]), np.float32([0.02, 0.45 if absorbing else 0.5]))
    return sail(
        Canopy(leaf_area_index=lai, mean_leaf_angle=angle, hot_spot=hot_spot),
        optics,
        np.full(2, soil_reflectance, np.float32),
        SunView.from_degrees(*angles),
    )


def test_lossless_canopy_conserves_energy():
    terms = example(absorbing=False).canopy
    for reflectance, transmittance, direct in (
        (terms.diffuse_reflectance, terms.diffuse_transmittance, 0.0),
        (terms.sun_diffuse_reflectance, terms.sun_diffuse_transmittance, terms.sun_transmittance),
    ):
        np.testing.assert_allclose((reflectance + transmittance + direct)[1], 1.0, atol=2e-6)


def test_reciprocity():
    """Exchanging sun and sensor leaves the bidirectional reflectance as it is."""
    forth, back = example(angles=(50.0, 20.0, 70.0)), example(angles=(20.0, 50.0, 70.0))
    np.testing.assert_allclose(forth.bidirectional, back.bidirectional, rtol=3e-6)


def test_without_leaves_only_the_soil_is_seen():
    scene = example(lai=0.0)
    for name in SCENE.values():
        np.testing.assert_allclose(getattr(scene, name), 0.2, rtol=1e-6)


def test_azimuth_is_folded():
    for azimuth in (-50.0, 310.0, 410.0):
        np.testing.assert_allclose(
            example(angles=(30.0, 10.0, azimuth)).bidirectional, example().bidirectional, rtol=1e-5
        )


def test_sun_behind_the_sensor_is_safe_and_brightest():
    exact = example(angles=(40.0, 40.0, 0.0)).bidirectional
    beside = example(angles=(40.0, 40.001, 0.0)).bidirectional
    apart = example(angles=(40.0, 30.0, 0.0)).bidirectional
    assert np.isfinite(exact).all()
    np.testing.assert_allclose(exact, beside, rtol=2e-3)
    assert (exact > apart).all()


def test_more_leaves_darken_red_and_brighten_infrared_over_bright_soil():
    scene = np.stack([example(lai=lai).bidirectional for lai in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)])
    assert (np.diff(scene[:, 0]) < 0).all() and (np.diff(scene[:, 1]) > 0).all()


_ellipsoidal, _bimodal = jax.jit(ellipsoidal), jax.jit(bimodal)


@pytest.mark.parametrize("angle", [5.0, 30.0, 57.3, 58.4, 58.5, 75.0, 85.0])
def test_ellipsoidal_shares_have_the_mean_angle(angle):
    share = np.asarray(_ellipsoidal(np.float32(angle)))
    np.testing.assert_allclose(share.sum(), 1.0, rtol=1e-6)
    # Campbell's fit of the axis ratio reproduces the mean angle to about two degrees
    assert abs((share * np.arange(2.5, 90, 5)).sum() - angle) < 3.0


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 0.0), (-0.35, -0.15)])
def test_bimodal_shares(a, b):
    """Cumulative distribution 2 (y + angle) / pi at x - y = 2 angle, y = a sin x + b sin(2 x) / 2 (Verhoef 1998)."""
    x = np.linspace(0.0, np.pi, 200_001)
    y = a * np.sin(x) + 0.5 * b * np.sin(2.0 * x)
    angles = np.radians(np.arange(0.0, 91.0, 5.0))
    solution = np.interp(2.0 * angles, np.maximum.accumulate(x - y), x)
    cumulative = 2.0 / np.pi * (a * np.sin(solution) + 0.5 * b * np.sin(2.0 * solution) + angles)
    share = np.asarray(_bimodal(np.float32(a), np.float32(b)))
    # At b = -1 the equation has a triple root at 45 degrees: single precision knows it to its cube root, 5e-3.
    np.testing.assert_allclose(share, np.diff(cumulative), atol=5e-3 if b == -1.0 else 2e-5)


def test_products():
    grid = np.arange(400, 2501, 10)

    @jax.jit
    def run(record, ground, stand, angles):
        optics = prospect_d(record, wavelengths=grid)
        scene = sail(stand, optics, soil_mixture(ground, wavelengths=grid), angles)
        dark, bright = surface_reflectance(scene, 0.0), surface_reflectance(scene, 1.0)
        return scene, fapar(scene, wavelengths=grid), fcover(stand), dark, bright, albedo(scene, 1.0)

    lai = np.float32([0.0, 0.5, 2.0, 6.0])
    scene, absorbed, cover, clear, overcast, white = jax.device_get(
        run(
            Leaf(layers=1.5, chlorophyll=40, carotenoids=8, water=0.01, dry_matter=0.009),
            Soil(brightness=0.7, wetness=0.2),
            Canopy(leaf_area_index=lai, mean_leaf_angle=57.0, hot_spot=0.1),
            SunView.from_degrees(30.0, 0.0, 0.0),
        )
    )
    np.testing.assert_allclose(absorbed[0], 0.0, atol=1e-6)
    assert (np.diff(absorbed) > 0).all() and 0.9 < absorbed[-1] < 0.99
    np.testing.assert_allclose(cover, 1.0 - scene.canopy.view_transmittance[:, 0], atol=1e-6)
    np.testing.assert_allclose(clear, scene.bidirectional)
    np.testing.assert_allclose(overcast, scene.hemispherical_directional, atol=1e-6)
    np.testing.assert_allclose(white, scene.bihemispherical, atol=1e-6)
    # energy: absorbed by canopy + absorbed by soil + reflected = 1, per wavelength, checked at 550 nm only
    with pytest.raises(ValueError, match="400 to 700"):
        fapar(scene, wavelengths=np.arange(1000, 1000 + grid.size))


def test_band_mode_equals_the_full_spectrum_and_refuses_other_grids():
    s2 = sensor("sentinel2a", tolerance=0)
    record = Leaf(layers=1.5, chlorophyll=40, carotenoids=8, water=0.01, dry_matter=0.009)
    stand = Canopy(leaf_area_index=jnp.array([1.0, 3.0]), mean_leaf_angle=57.0, hot_spot=0.1)
    angles = SunView.from_degrees(30.0, 5.0, 90.0)

    @jax.jit
    def run(record, stand, ground, angles):
        whole, nodes = soil_mixture(ground), soil_mixture(ground, wavelengths=s2.wavelengths)
        full = sail(stand, prospect_d(record), whole, angles).bidirectional
        return full @ s2.responses.T, *(prosail(record, stand, soil, angles, sensor=s2) for soil in (nodes, whole))

    expected, bands, default = run(record, stand, Soil(brightness=1, wetness=0), angles)
    np.testing.assert_allclose(bands, expected, atol=1e-6)
    np.testing.assert_allclose(bands, default, atol=1e-7)
    with pytest.raises(ValueError, match="wavelengths=sensor.wavelengths"):
        prosail(record, stand, jnp.ones(7), angles, sensor=s2)
    with pytest.raises(ValueError, match="sail: expected a soil spectrum of 2101"):
        jax.eval_shape(lambda record: sail(stand, prospect_d(record), jnp.ones(7), angles), record)


def test_fields_of_the_result_are_documented():
    for field in dataclasses.fields(example().canopy):
        assert field.name in (type(example().canopy).__doc__ or "")
