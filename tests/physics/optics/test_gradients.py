"""Slopes of reflectance: right over the whole box, on its faces and in its corners; every parameter matters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import broadcast_fields
from tests.physics.optics.cases import HIGH, LOW, NAMES, REFERENCES, box_records, box_reflectance, canopy, leaf, soil

ANGLES = [NAMES.index(name) for name in ("sun_zenith", "view_zenith", "relative_azimuth")]


def points():
    """Inside, on every face, in corners, towards no leaves and towards no absorption."""
    rng = np.random.default_rng(0)
    inside = LOW + (HIGH - LOW) * rng.random((60, len(NAMES)))
    faces = []
    for j in range(len(NAMES)):
        for value in (LOW[j], HIGH[j]):
            face = LOW + (HIGH - LOW) * rng.random((4, len(NAMES)))
            face[:, j] = value
            faces.append(face)
    corners = np.where(rng.random((120, len(NAMES))) < 0.5, LOW, HIGH)
    bare = LOW + (HIGH - LOW) * rng.random((12, len(NAMES)))
    bare[:, NAMES.index("leaf_area_index")] = np.repeat([1e-7, 1e-6, 1e-4, 1e-2], 3)
    clear = LOW + (HIGH - LOW) * rng.random((20, len(NAMES)))
    clear[:, 1:7] *= np.repeat([0, 1e-6, 1e-4, 1e-3, 1e-2], 4)[:, None]
    return np.concatenate([inside, *faces, corners, bare, clear]).astype(np.float32).astype(np.float64)


def differences(function, x, value):
    """Second-order differences in float64, one-sided near a face, with one Richardson step: (point, band, p)."""

    def slope(j, h):
        step = np.zeros(x.shape[1])
        step[j] = h
        up, down = x[:, j] + 2 * h <= HIGH[j], x[:, j] - 2 * h >= LOW[j]
        f1, f2 = (np.asarray(function(x + k * step * up[:, None])) for k in (1, 2))
        b1, b2 = (np.asarray(function(x - k * step * down[:, None])) for k in (1, 2))
        forward, backward = (-3 * value + 4 * f1 - f2) / (2 * h), (3 * value - 4 * b1 + b2) / (2 * h)
        return np.where((up & down)[:, None], (f1 - b1) / (2 * h), np.where(up[:, None], forward, backward))

    steps = (HIGH - LOW) * 1e-5
    return np.stack([(4 * slope(j, h / 2) - slope(j, h)) / 3 for j, h in enumerate(steps)], axis=-1)


@jax.jit
def pulled(x, weights):
    """Slopes `(point, parameter)` of bands, weighted."""
    return jax.grad(lambda x: (box_reflectance(x) * weights).sum())(x)


_compiled, _each = jax.jit(box_reflectance), jax.jit(jax.vmap(box_reflectance))


def exact(x):
    """Reflectance in double precision."""
    with jax.enable_x64(True):
        return np.asarray(_compiled(jnp.asarray(x)))


@functools.cache
def slopes():
    x = points()
    value = exact(x)
    one_band = np.eye(value.shape[1], dtype=np.float32)
    single = np.stack([pulled(x.astype(np.float32), band) for band in one_band], axis=1)
    return x, single, differences(exact, x, value)


def test_single_precision_values(optimised):
    x = points()
    value = _each(x.astype(np.float32))
    np.testing.assert_allclose(value, exact(x), atol=5e-6)


def test_single_precision_reverse_mode_equals_double_precision_differences():
    """Error relative to the largest slope of the column (parameter and wavelength) over all points."""
    x, single, double = slopes()
    assert np.isfinite(single).all()
    usable = np.ones(single.shape, bool)
    # the hot spot is a cusp: at sun = view the slope of the geometry is defined as 0, and that of the hot spot
    # parameter jumps where the parameter is 0
    sun, view, azimuth = np.radians(x[:, ANGLES]).T
    distance = (np.tan(sun) - np.tan(view)) ** 2 + 4 * np.tan(sun) * np.tan(view) * np.sin(azimuth / 2) ** 2
    cusp = distance < 1e-8
    for name in ("sun_zenith", "view_zenith", "relative_azimuth", "hot_spot"):
        usable[cusp, :, NAMES.index(name)] = False
    scale = np.max(np.abs(np.where(usable, double, 0.0)), axis=0)
    # a substance that does not absorb at a wavelength has no slope there, only rounding in the differences
    scale = np.maximum(scale, 1e-6 / (HIGH - LOW))
    error = np.where(usable, np.abs(single - double) / scale, 0.0)
    worst = dict(zip(NAMES, error.max(axis=(0, 1)), strict=True))
    assert max(worst.values()) <= 1e-3, worst
    assert (single[cusp][:, :, ANGLES] == 0).any() or not cusp.any()


@pytest.mark.long
def test_slopes_equal_those_of_the_reference_code():
    reference = np.load(REFERENCES / "gradients.npz")
    names = {"n": 0, "cab": 1, "car": 2, "ant": 3, "cbrown": 4, "cw": 5, "cm": 6, "lai": 7, "hspot": 9, "rsoil": 10}
    ellipsoidal_rows = np.flatnonzero(reference["in_typelidf"] == 2)
    from physics import prospect_d, sail, soil_mixture
    from tests.physics.optics.cases import sun_view

    grid = reference["wavelengths"]
    angle = np.unique(reference["in_alpha"][ellipsoidal_rows]).item()

    def bidirectional(records, directions):
        leaf_, canopy_, soil_ = records
        optics = prospect_d(leaf_, wavelengths=grid, surface_angle=angle)
        ground = soil_mixture(soil_, wavelengths=grid)
        return sail(canopy_, optics, ground, directions, hot_spot="legacy").bidirectional

    checked = 0
    with jax.enable_x64(True):
        jacobian = jax.jit(jax.jacfwd(bidirectional))
        for row in ellipsoidal_rows:
            records = leaf(reference, row), canopy(reference, row, False), soil(reference, row)
            got = jacobian(records, sun_view(reference, row))
            by_name = {
                "n": got[0].layers,
                "cab": got[0].chlorophyll,
                "car": got[0].carotenoids,
                "ant": got[0].anthocyanins,
                "cbrown": got[0].brown_pigment,
                "cw": got[0].water,
                "cm": got[0].dry_matter,
                "lai": got[1].leaf_area_index,
                "hspot": got[1].hot_spot,
                "rsoil": got[2].brightness,
            }
            for name in names:
                j = list(reference["params"]).index(name)
                if reference["disagreement"][row, j] < 1e-4:
                    expected = reference["gradient"][row, j]
                    np.testing.assert_allclose(by_name[name], expected, atol=2e-4 * np.abs(expected).max() + 1e-9)
                    checked += 1
    assert checked > 50


def test_every_parameter_matters():
    _, _, double = slopes()
    reach = np.abs(double).max(axis=(0, 1)) * (HIGH - LOW)
    assert dict(zip(NAMES, reach > 1e-2, strict=True)) == dict.fromkeys(NAMES, True)


def test_broadcasting_equals_vmap():
    x = points().astype(np.float32)
    np.testing.assert_allclose(_compiled(x)[:7], _each(x)[:7], atol=1e-6)
    mixed = box_records(x[0])
    assert broadcast_fields(mixed[0]).layers.shape == ()
