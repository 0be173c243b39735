"""Soils, gaps and what hemispherical photographs see."""

import jax
import jax.numpy as jnp
import numpy as np

from physics import Canopy, LibrarySoil, fcover, gap_fraction, library_soil, plant_area_effective
from physics.data import table


def test_library_soil_gives_the_library_back():
    """Four components hold 97 % of the variance of the shapes."""
    library = table("soil_library")
    scores = {f"shape_{i + 1}": jnp.asarray(library["scores"][:, i], jnp.float32) for i in range(4)}
    made = np.asarray(library_soil(LibrarySoil(brightness=jnp.ones(38), **scores)))
    assert made.shape == (38, 2101) and made.min() >= 0
    error = np.sqrt(np.mean((made - library["spectra"]) ** 2)) / np.std(library["spectra"] - library["spectra"].mean(0))
    # 3 % of the variance is a fifth of the deviation.
    assert error < 0.22
    np.testing.assert_allclose(made.mean(axis=1), 1.0, atol=0.02)


def test_library_soil_on_other_wavelengths_and_its_slope():
    nodes = np.array([450.0, 665.5, 2200.0])
    fields = {f"shape_{i}": 0.3 * i for i in (1, 2, 3, 4)}
    whole, some = (
        library_soil(LibrarySoil(brightness=0.2, **fields), wavelengths=grid) for grid in (np.arange(400, 2501), nodes)
    )
    np.testing.assert_allclose(some[np.array([0, 2])], whole[np.array([50, 1800])], rtol=1e-5)
    slope = jax.grad(lambda b: library_soil(LibrarySoil(brightness=b, **fields), wavelengths=nodes).sum())(0.2)
    np.testing.assert_allclose(0.2 * slope, some.sum(), rtol=1e-5)


def test_gap_fraction_closes_with_leaves_and_with_obliqueness():
    angles = jnp.radians(jnp.array([0.0, 30.0, 57.5, 75.0]))
    for area in (0.5, 3.0):
        canopy = Canopy(leaf_area_index=jnp.full(4, area), mean_leaf_angle=jnp.full(4, 60.0), hot_spot=0.1)
        gaps = np.asarray(gap_fraction(canopy, angles))
        assert (np.diff(gaps) < 0).all() and 0 < gaps.min() and gaps.max() < 1
        np.testing.assert_allclose(fcover(canopy)[0], 1.0 - gaps[0], rtol=1e-6)
    bare = Canopy(leaf_area_index=0.0, mean_leaf_angle=60.0, hot_spot=0.1)
    assert gap_fraction(bare, 0.0) == 1.0


def test_effective_plant_area_of_a_closed_canopy_is_its_leaf_area_and_of_an_open_one_less():
    angle = jnp.linspace(30.0, 75.0, 10)
    canopy = Canopy(leaf_area_index=jnp.full(10, 2.0), mean_leaf_angle=angle, hot_spot=0.1)
    np.testing.assert_allclose(plant_area_effective(canopy, jnp.ones(10)), 2.0, rtol=0.05)
    half = plant_area_effective(canopy, jnp.full(10, 0.5))
    assert (half < 1.0).all()
    bare = Canopy(leaf_area_index=jnp.zeros(()), mean_leaf_angle=60.0, hot_spot=0.1)
    value, slope = jax.value_and_grad(lambda covered: plant_area_effective(bare, covered))(jnp.float32(0.7))
    assert value == 0.0 and slope == 0.0
