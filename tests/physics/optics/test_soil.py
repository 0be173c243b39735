"""Soils, gaps and what hemispherical photographs see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from physics import Canopy, LibrarySoil, fcover, gap_fraction, library_soil, moist_soil, plant_area_effective
from physics.data import table


def test_library_soil_gives_the_library_back():
    """Four components hold 97 % of the variance of the shapes."""
    library = table("soil_library")
    scores = {f"shape_{i + 1}": np.asarray(library["scores"][:, i], np.float32) for i in range(4)}
    made = np.asarray(jax.jit(library_soil)(LibrarySoil(brightness=np.ones(38, np.float32), **scores)))
    assert made.shape == (38, 2101) and made.min() >= 0
    error = np.sqrt(np.mean((made - library["spectra"]) ** 2)) / np.std(library["spectra"] - library["spectra"].mean(0))
    # 3 % of the variance is a fifth of the deviation.
    assert error < 0.22
    np.testing.assert_allclose(made.mean(axis=1), 1.0, atol=0.02)


def test_library_soil_on_other_wavelengths_and_its_slope():
    nodes = np.array([450.0, 665.5, 2200.0])
    fields = {f"shape_{i}": 0.3 * i for i in (1, 2, 3, 4)}

    @jax.jit
    def run(brightness):
        soil = LibrarySoil(brightness=brightness, **fields)
        return library_soil(soil, wavelengths=np.arange(400, 2501)), library_soil(soil, wavelengths=nodes)

    whole, some = map(np.asarray, run(0.2))
    np.testing.assert_allclose(some[[0, 2]], whole[[50, 1800]], rtol=1e-5)
    slope = jax.jit(jax.grad(lambda brightness: run(brightness)[1].sum()))(0.2)
    np.testing.assert_allclose(0.2 * slope, some.sum(), rtol=1e-5)


def test_gap_fraction_closes_with_leaves_and_with_obliqueness():
    angles = np.radians(np.float32([0.0, 30.0, 57.5, 75.0]))

    @jax.jit
    def run(area, angles):
        canopy = Canopy(leaf_area_index=area, mean_leaf_angle=jnp.full(4, 60.0), hot_spot=0.1)
        return gap_fraction(canopy, angles), fcover(canopy)

    for area in (0.5, 3.0):
        gaps, cover = map(np.asarray, run(np.full(4, area, np.float32), angles))
        assert (np.diff(gaps) < 0).all() and 0 < gaps.min() and gaps.max() < 1
        np.testing.assert_allclose(cover[0], 1.0 - gaps[0], rtol=1e-6)
    assert run(np.zeros(4, np.float32), angles)[0][0] == 1.0


def test_effective_plant_area_of_a_closed_canopy_is_its_leaf_area_and_of_an_open_one_less():
    angle = np.linspace(30.0, 75.0, 10, dtype=np.float32)
    canopy = Canopy(leaf_area_index=np.full(10, 2.0, np.float32), mean_leaf_angle=angle, hot_spot=0.1)
    run = jax.jit(plant_area_effective)
    np.testing.assert_allclose(run(canopy, np.ones(10, np.float32)), 2.0, rtol=0.05)
    assert (run(canopy, np.full(10, 0.5, np.float32)) < 1.0).all()
    bare = Canopy(leaf_area_index=np.float32(0.0), mean_leaf_angle=60.0, hot_spot=0.1)
    value, slope = jax.jit(jax.value_and_grad(lambda covered: plant_area_effective(bare, covered)))(np.float32(0.7))
    assert value == 0.0 and slope == 0.0


def test_water_darkens_a_soil_most_where_it_absorbs():
    dry = np.full(2101, 0.3, np.float32)
    moisture = np.float32([0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.55])
    run = jax.jit(moist_soil)
    share = np.asarray(run(np.broadcast_to(dry, (7, 2101)), moisture)) / dry
    np.testing.assert_array_equal(share[:2], 1.0)
    assert (np.diff(share[1:], axis=0) < 0).all() and share.min() > 0.0
    visible, near, water, short_wave = share[-2, [100, 465, 1530, 1800]]  # 500, 865, 1930, 2200 nm
    assert water < short_wave < min(near, visible) and max(near, visible) < 0.8
    # What the books say of wet soils: half as bright in the short-wave infrared, and not half as dark in the visible.
    assert 0.3 < short_wave < 0.6 and 0.6 < visible
    black = np.asarray(run(np.zeros((7, 2101), np.float32), np.full(7, 0.3, np.float32)))[0]
    np.testing.assert_allclose(black[:1400], 0.021 * (1.0 - np.exp(-1.0)), rtol=0.12)  # Fresnel, within 40 degrees


def test_one_film_of_water_is_worked_out_by_hand():
    """At one wavelength, from the interfaces of water at 20 degrees, with numbers of films drawn."""
    index, absorption, dry, grains = 1.3131, 6.63, 0.35, 2.0  # 1610 nm

    def transmitted(n, cone):
        angle = np.radians(np.linspace(0.0, cone, 20_001))
        inside = np.arcsin(np.sin(angle) / n)
        s = (np.cos(angle) - n * np.cos(inside)) / (np.cos(angle) + n * np.cos(inside))
        p = (n * np.cos(angle) - np.cos(inside)) / (n * np.cos(angle) + np.cos(inside))
        weight = np.sin(angle) * np.cos(angle)
        return np.sum((1.0 - 0.5 * (s**2 + p**2)) * weight) / weight.sum()

    outside, back = 1.0 - transmitted(index, 40.0), 1.0 - transmitted(index, 90.0) / index**2
    taken = (1.0 - dry) * (1.0 - dry + dry * transmitted(grains / index, 90.0) / transmitted(grains, 90.0))
    films = np.random.default_rng(0).poisson((0.3 - 0.05) / 0.2, 400_000)
    below = (1.0 - taken) * np.exp(-2.0 * absorption * 0.015 * films)
    wet = outside + (1.0 - outside) * (1.0 - back) * below / (1.0 - back * below)
    expected = np.where(films > 0, wet, dry).mean()
    run = jax.jit(functools.partial(moist_soil, capacity=0.2, wavelengths=np.array([1610.0])))
    found = run(np.full(1, dry, np.float32), np.float32(0.3))
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_slopes_of_a_moist_soil_are_differences():
    nodes = np.array([450.0, 865.0, 1610.0, 2200.0])

    def total(x):
        return moist_soil(jnp.full(4, x[0]), x[1], capacity=x[2], wavelengths=nodes).sum()

    at = np.array([[0.3, 0.2, 0.25], [0.02, 0.45, 0.1], [0.5, 0.051, 0.5], [1.0, 0.55, 0.25], [0.0, 0.3, 0.25]])
    dry = np.array([[0.3, 0.03, 0.25]])
    slopes = np.asarray(jax.jit(jax.vmap(jax.grad(total)))(np.concatenate([at, dry]).astype(np.float32)))
    steps = 1e-6 * np.eye(3)
    with jax.enable_x64(True):
        ends = np.asarray(
            jax.jit(jnp.vectorize(total, signature="(p)->()"))(at[:, None] + np.stack([steps, -steps])[:, None])
        )
    np.testing.assert_allclose(slopes[:-1], (ends[0] - ends[1]) / 2e-6, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(slopes[-1, 1:], 0.0)
