"""Emission of canopies: enclosures, two and four temperatures, limits, and the equations solved anew in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import Canopy, SunView, check_ranges
from physics.optics.leaf_angles import beam_coefficients, ellipsoidal
from physics.thermal import (
    LANDSAT8_B10,
    LANDSAT8_B11,
    CanopyTemperatures,
    ThermalOptics,
    band_radiance,
    canopy_emissivity,
    canopy_radiance,
    emission_weights,
    monochromatic,
    planck,
    thermal_sail,
)
from tests.physics.thermal.cases import REFERENCES

BANDS = (LANDSAT8_B10, LANDSAT8_B11)
PARTS = ("sunlit_leaf", "shaded_leaf", "sunlit_soil", "shaded_soil", "sky")
# leaf area index, mean leaf angle, hot spot, sun, view, azimuth; leaf reflectance, transmittance, soil in two bands
LOW = np.array([0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0.6, 0.6])
HIGH = np.array([15, 85, 1, 85, 75, 180, 0.2, 0.2, 0.2, 0.2, 1, 1])
ROWS = 400


def records(p):
    """Canopies, optics and directions from parameters (row, 12)."""
    return (
        Canopy(leaf_area_index=p[:, 0], mean_leaf_angle=p[:, 1], hot_spot=p[:, 2]),
        ThermalOptics(leaf_reflectance=p[:, 6:8], leaf_transmittance=p[:, 8:10], soil_emissivity=p[:, 10:]),
        SunView.from_degrees(p[:, 3], p[:, 4], p[:, 5]),
    )


def points():
    """Parameters within their bounds, on faces and in corners, which single precision holds exactly."""
    rng = np.random.default_rng(0)
    p = rng.uniform(LOW, HIGH, (ROWS, LOW.size)).astype(np.float32)
    p = np.clip(p.astype(np.float64), LOW.astype(np.float32), HIGH.astype(np.float32))
    face, corner = np.arange(100, 200), np.arange(200, ROWS)
    column = face % LOW.size
    p[face, column] = np.where(face % 2 == face // LOW.size % 2, LOW[column], HIGH[column])
    p[corner] = np.where(rng.random((corner.size, LOW.size)) < 0.5, LOW, HIGH)
    return p.astype(np.float32).astype(np.float64)


def exact(p):
    """Weights (part, row, band) in float64, by one program for all tests."""
    with jax.enable_x64(True):
        found = emission_weights(*records(jnp.asarray(p)))
        return np.stack([getattr(found, name) for name in PARTS])


@functools.cache
def weights():
    with jax.enable_x64(True):
        given = records(jnp.asarray(points()))
        return given, jax.tree.map(np.asarray, emission_weights(*given))


def weights_of(leaf_area_index, angle, hot_spot, degrees, optics):
    """Weights of a scene, by part: of the first band, for several leaf area indices if there are several."""
    rho, tau, soil = optics
    p = np.empty((ROWS, LOW.size))
    p[:, 0] = np.resize(leaf_area_index, ROWS)
    p[:, 1:] = angle, hot_spot, *degrees, rho, rho, tau, tau, soil, soil
    return dict(zip(PARTS, exact(p)[:, : np.size(leaf_area_index), 0], strict=True))


def test_no_weight_is_negative_and_all_add_up_to_one():
    found = weights()[1]
    for name in PARTS:
        assert np.isfinite(getattr(found, name)).all() and getattr(found, name).min() > -1e-8, name
    np.testing.assert_allclose(sum(getattr(found, name) for name in PARTS), 1.0, atol=1e-14)


def test_everything_at_one_temperature_with_its_sky_is_a_black_body():
    """A sky divided by pi once more than its irradiance would be missing here."""
    (_, _, _), found = weights()
    with jax.enable_x64(True):
        kelvin = np.linspace(250.0, 330.0, 400)
        same = CanopyTemperatures.of_leaf_and_soil(kelvin, kelvin)
        black = np.stack([band_radiance(kelvin, band) for band in BANDS], axis=-1)
        np.testing.assert_allclose(canopy_radiance(found, same, black, bands=BANDS), black, rtol=1e-13)
        # without a sky it is the emissivity's share of that
        dark = canopy_radiance(found, same, 0.0, bands=BANDS)
        np.testing.assert_allclose(dark, (1.0 - found.sky) * black, rtol=1e-13)


def test_one_temperature_of_leaves_and_one_of_soil_is_the_form_with_two_emissivities():
    given, found = weights()
    with jax.enable_x64(True):
        leaf, soil, sky = np.full(400, 295.0), np.full(400, 312.0), 3.0
        both = CanopyTemperatures.of_leaf_and_soil(leaf, soil)
        total = canopy_radiance(found, both, sky, bands=BANDS)
        emissivity = canopy_emissivity(given[0], given[1], given[2].view_zenith)
        np.testing.assert_allclose(emissivity, 1.0 - found.sky, rtol=1e-12)
        of_soil = found.sunlit_soil + found.shaded_soil
        black = [np.stack([band_radiance(kelvin, band) for band in BANDS], axis=-1) for kelvin in (leaf, soil)]
        form = (emissivity - of_soil) * black[0] + of_soil * black[1] + (1.0 - emissivity) * sky
        np.testing.assert_allclose(total, form, rtol=1e-12)


def test_without_leaves_there_is_the_soil():
    found = weights_of(0.0, 50.0, 0.2, (40.0, 30.0, 90.0), (0.02, 0.01, 0.93))
    expected = {"sunlit_leaf": 0.0, "shaded_leaf": 0.0, "sunlit_soil": 0.93, "shaded_soil": 0.0, "sky": 0.07}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-14), name


def test_in_the_hot_spot_nothing_black_is_seen_in_the_shade():
    found = weights_of((0.5, 6.0), 50.0, 0.1, (30.0, 30.0, 0.0), (0.0, 0.0, 1.0))
    np.testing.assert_allclose(found["shaded_leaf"], 0.0, atol=2e-6)
    np.testing.assert_allclose(found["shaded_soil"], 0.0, atol=2e-6)


def test_under_a_low_sun_a_dense_canopy_is_in_the_shade():
    found = weights_of(8.0, 50.0, 0.0, (89.0, 0.0, 90.0), (0.02, 0.01, 0.95))
    assert found["sunlit_soil"] < 1e-12 and found["sunlit_leaf"] < 0.03 and found["shaded_leaf"] > 0.9


@pytest.mark.long
def test_slopes_in_single_precision_equal_differences_in_double_precision():
    p = points()

    @jax.jit
    def pulled(p, part):
        def chosen(p):
            found = emission_weights(*records(p))
            return jnp.stack([getattr(found, name) for name in PARTS]).sum(axis=(1, 2)) @ part

        return jax.grad(chosen)(p)

    single = jnp.asarray(p, jnp.float32)
    found = np.stack([pulled(single, jnp.eye(5, dtype=jnp.float32)[part]) for part in range(5)], axis=-1)
    value, slopes = exact(p).sum(axis=-1).T, []
    for column, width in enumerate(HIGH - LOW):
        step = np.zeros(LOW.size)
        step[column] = 1e-5 * width
        sign = np.where(p[:, column] + 2 * step[column] <= HIGH[column], 1.0, -1.0)[:, None]
        one, two, back = (exact(p + n * sign * step).sum(axis=-1).T for n in (1, 2, -1))
        behind = p[:, column] - sign[:, 0] * step[column]
        inside = ((behind >= LOW[column]) & (behind <= HIGH[column]))[:, None]
        slope = np.where(inside, one - back, -3.0 * value + 4.0 * one - two) / (2.0 * step[column])
        slopes.append(sign * slope)
    double = np.stack(slopes, axis=1)
    # the hot spot is a cusp: where sun and view coincide the slopes of the geometry are defined as 0
    sun, view, azimuth = np.radians(p[:, 3:6]).T
    cusp = (np.tan(sun) - np.tan(view)) ** 2 + 4 * np.tan(sun) * np.tan(view) * np.sin(azimuth / 2) ** 2 < 1e-8
    assert np.isfinite(found).all() and cusp.sum() < 60
    # what the sun does not change has no slope there, only rounding in the differences
    scale = np.maximum(np.abs(double[~cusp]).max(axis=0), 1e-4 / (HIGH - LOW)[:, None])
    error = np.abs(found - double) / scale
    error[np.ix_(cusp, [2, 3, 4, 5])] = 0.0
    assert error.max() < 1e-3, (error.max(axis=(0, 2)), np.unravel_index(error.argmax(), error.shape))
    # every parameter matters
    assert (np.abs(double[~cusp]).max(axis=(0, 2)) * (HIGH - LOW) > 0.01).all()


def test_weights_equal_those_of_a_public_code():
    """24 scenes at one wavelength, leaves that transmit nothing; the first 12 without hot spot.

    With it, the code takes its integral in 20 steps, does not bound it, and leaves the hot spot of the soil out.
    """
    with np.load(REFERENCES / "thermal_canopy.npz") as table:
        columns = {name: np.resize(table[name], ROWS) for name in table.files}
    p = np.zeros((ROWS, LOW.size))
    names = ("leaf_area_index", "mean_leaf_angle", "hot_spot", "sun_zenith", "view_zenith", "relative_azimuth")
    p[:, :6] = np.stack([columns[name] for name in names], axis=-1)
    p[:, 6:8], p[:, 10:] = 1.0 - columns["leaf_emissivity"][:, None], columns["soil_emissivity"][:, None]
    lit_leaf, shaded_leaf, lit_soil, shaded_soil, sky = exact(p)[:, :24, 0]
    expected = {
        name: columns[f"out_{name}"][:24] for name in ("emissivity", "leaf", "soil", "sunlit_leaf", "sunlit_soil")
    }
    np.testing.assert_allclose(1.0 - sky, expected["emissivity"], rtol=1e-12)
    # the reference's weights are quotients of differences of radiances
    np.testing.assert_allclose(lit_leaf + shaded_leaf, expected["leaf"], atol=1e-9)
    np.testing.assert_allclose(lit_soil + shaded_soil, expected["soil"], atol=1e-9)
    np.testing.assert_allclose(lit_leaf[:12], expected["sunlit_leaf"][:12], atol=1e-9)
    np.testing.assert_allclose(lit_soil[:12], expected["sunlit_soil"][:12], atol=1e-9)
    np.testing.assert_allclose(lit_leaf[12:], expected["sunlit_leaf"][12:], rtol=4e-3)


beams_of = jax.jit(lambda angle, *directions: beam_coefficients(ellipsoidal(angle), *directions))


def lit_and_seen(k_s, k_o, lai, hot_spot, degrees, x):
    """Kuusk's probability of being sunlit and seen, kept below both probabilities."""
    sun, view = np.tan(np.radians(degrees[:2]))
    distance = np.sqrt(sun**2 + view**2 - 2.0 * sun * view * np.cos(np.radians(degrees[2])))
    c = hot_spot * (k_s + k_o) / (2.0 * distance)
    kuusk = np.exp(-(k_s + k_o) * lai * x + lai * np.sqrt(k_s * k_o) * c * -np.expm1(-x / c))
    return np.minimum(kuusk, np.exp(-max(k_s, k_o) * lai * x))


def solved(case, source, top, floor, beams, layers=300):
    """Radiance above the canopy from a source per leaf area (depths,), diffuse light on top, and emission of the floor.

    Two streams on a grid, by the implicit midpoint rule, with the direct parts given: (weight of leaves along the view,
    emission of the floor in view).
    """
    lai, (rho, tau, soil) = case["lai"], case["optics"]
    k_o, b_f = beams
    t = np.linspace(0.0, lai, layers + 1)
    h = lai / layers
    back = 0.5 * ((1 + b_f) * rho + (1 - b_f) * tau)
    a = 1.0 - rho - tau + back
    matrix, right = np.zeros((2 * layers + 2, 2 * layers + 2)), np.zeros(2 * layers + 2)
    middle = 0.5 * (source[1:] + source[:-1]) * h
    for i in range(layers):
        down, up = 2 * i, 2 * i + 1
        matrix[down, [down, down + 2]] = -1.0 + 0.5 * a * h, 1.0 + 0.5 * a * h
        matrix[down, [up, up + 2]] = -0.5 * back * h
        matrix[up, [up, up + 2]] = 1.0 + 0.5 * a * h, -1.0 + 0.5 * a * h
        matrix[up, [down, down + 2]] = -0.5 * back * h
        right[down] = right[up] = middle[i]
    matrix[-2, 0], right[-2] = 1.0, top
    matrix[-1, -1], matrix[-1, -2], right[-1] = 1.0, -(1.0 - soil), floor
    streams = np.linalg.solve(matrix, right).reshape(-1, 2)
    v_b, v_f = 0.5 * ((k_o + b_f) * rho + (k_o - b_f) * tau), 0.5 * ((k_o - b_f) * rho + (k_o + b_f) * tau)
    scattered = np.trapezoid(np.exp(-k_o * t) * (v_b * streams[:, 0] + v_f * streams[:, 1]), t)
    return scattered + (1.0 - soil) * streams[-1, 0] * np.exp(-k_o * lai)


CASES = (
    {"lai": 3.0, "angle": 57.0, "spot": 0.1, "degrees": (35.0, 10.0, 60.0), "optics": (0.03, 0.02, 0.94)},
    {"lai": 1.2, "angle": 80.0, "spot": 0.8, "degrees": (5.0, 60.0, 20.0), "optics": (0.15, 0.1, 0.7)},
    {"lai": 5.0, "angle": 20.0, "spot": 0.5, "degrees": (70.0, 40.0, 5.0), "optics": (0.0, 0.0, 0.9)},
    {"lai": 2.0, "angle": 75.0, "spot": 1.0, "degrees": (65.0, 0.0, 0.0), "optics": (0.0, 0.0, 1.0)},
)


@pytest.mark.parametrize("case", CASES, ids=("crop", "erect", "black leaves", "all black"))
def test_weights_solve_the_equations(case):
    lai, (rho, tau, soil), degrees = case["lai"], case["optics"], np.array(case["degrees"])
    with jax.enable_x64(True):
        k_s, k_o, b_f = map(float, beams_of(jnp.asarray(case["angle"]), *map(jnp.asarray, np.radians(degrees)))[:3])
    found = weights_of(lai, case["angle"], case["spot"], degrees, case["optics"])
    x = np.linspace(0.0, 1.0, 301)
    fine = np.linspace(0.0, 1.0, 20001)
    both = lit_and_seen(k_s, k_o, lai, case["spot"], degrees, fine)
    e = 1.0 - rho - tau
    solve = functools.partial(solved, case, beams=(k_o, b_f))
    lit_leaf = e * k_o * lai * np.trapezoid(both, fine) + solve(e * np.exp(-k_s * lai * x), 0.0, 0.0)
    leaf = e * (1.0 - np.exp(-k_o * lai)) + solve(e * np.ones_like(x), 0.0, 0.0)
    lit_soil = soil * both[-1] + solve(0.0 * x, 0.0, soil * np.exp(-k_s * lai))
    all_soil = soil * np.exp(-k_o * lai) + solve(0.0 * x, 0.0, soil)
    expected = (lit_leaf, leaf - lit_leaf, lit_soil, all_soil - lit_soil, solve(0.0 * x, 1.0, 0.0))
    for name, value in zip(PARTS, expected, strict=True):
        assert found[name] == pytest.approx(value, abs=3e-5), name
    if case["optics"] == (0.0, 0.0, 1.0):
        assert found["sunlit_leaf"] == pytest.approx(k_o * lai * np.trapezoid(both, fine), abs=1e-7)


def test_radiance_is_its_two_steps_and_a_narrow_band_is_plancks_law():
    bands = (monochromatic(10.9), monochromatic(12.0))
    assert band_radiance(300.0, bands[0]) == pytest.approx(float(planck(300.0, 10.9)), rel=1e-6)
    canopy = Canopy(leaf_area_index=2.0, mean_leaf_angle=50.0, hot_spot=0.1)
    optics = ThermalOptics(leaf_reflectance=[0.02, 0.03], soil_emissivity=0.95)
    directions = SunView.from_degrees(40.0, 10.0, 100.0)
    kelvin = CanopyTemperatures(sunlit_leaf=300.0, shaded_leaf=296.0, sunlit_soil=320.0, shaded_soil=302.0)
    found = thermal_sail(canopy, optics, kelvin, jnp.array([2.0, 3.0]), directions, bands=bands)
    assert found.shape == (2,) and found.dtype == jnp.float32
    w = emission_weights(canopy, optics, directions)
    by_hand = [
        w.sunlit_leaf[i] * planck(300.0, wave)
        + w.shaded_leaf[i] * planck(296.0, wave)
        + w.sunlit_soil[i] * planck(320.0, wave)
        + w.shaded_soil[i] * planck(302.0, wave)
        + w.sky[i] * sky
        for i, (wave, sky) in enumerate(((10.9, 2.0), (12.0, 3.0)))
    ]
    np.testing.assert_allclose(found, by_hand, rtol=1e-6)
    with pytest.raises(ValueError, match="soil_emissivity with a last axis of 2 bands .* got shape .3,.; add the axis"):
        three = ThermalOptics(leaf_reflectance=0.02, soil_emissivity=[0.9, 0.9, 0.9])
        thermal_sail(canopy, three, kelvin, 2.0, directions, bands=bands)


def test_degrees_celsius_and_percent_are_named():
    with pytest.raises(ValueError, match="sunlit_soil: expected 200 to 370 K, got 40 to 40"):
        check_ranges(CanopyTemperatures(sunlit_leaf=300.0, shaded_leaf=296.0, sunlit_soil=40.0, shaded_soil=302.0))
    with pytest.raises(ValueError, match="leaf_reflectance: expected 0 to 0.2 1, got 2 to 2"):
        check_ranges(ThermalOptics(leaf_reflectance=2.0, soil_emissivity=0.95))
    with pytest.raises(ValueError, match="expected a wavelength of 1 to 1000 um, got 10900"):
        monochromatic(10900.0)
