"""Forests in radar: there and back, saturation with its doubt, many images, and weights of mangrove trees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics.crop import (
    Forest,
    canopy_backscatter,
    combine_volumes,
    contrast,
    forest_backscatter,
    forest_volume,
    komiyama05_above_ground,
    komiyama05_roots,
    telling,
    volume_biomass,
)

FOREST = Forest(ground=0.06, canopy=0.15)
ERRORS = {"largest": 300.0, "backscatter_std": 2e-4, "ground_std": 3e-4, "canopy_std": 4e-4}
FOUR = jnp.array([20.0, 80.0, 150.0, 220.0])

backscatter = jax.jit(forest_backscatter)
invert = jax.jit(lambda seen, forest: forest_volume(seen, forest, **ERRORS))
slopes = jax.jit(jax.vmap(jax.grad(lambda seen: sum(forest_volume(seen, FOREST, **ERRORS)[:2]))))


@pytest.mark.parametrize("ends", [(0.06, 0.15), (0.15, 0.06)])  # wet ground may outshine the canopy
def test_the_inverse_undoes_the_model_up_to_saturation(ends):
    volume = np.linspace(0.0, 299.0, 200, dtype=np.float32)
    forest = Forest(ground=ends[0], canopy=ends[1])
    found = invert(backscatter(volume, forest), forest)
    np.testing.assert_allclose(found.volume, volume, atol=2e-2)
    assert np.asarray(found.usable).all() and not np.asarray(found.saturated).any()


def test_dense_forest_gives_the_canopy_back():
    # 0.15 - 0.09 exp(-0.006 250)
    assert canopy_backscatter(0.15 - 0.09 * np.exp(-1.5), 0.06, dense_volume=250.0) == pytest.approx(0.15, rel=1e-5)


def test_beyond_saturation_values_and_slopes_are_finite_and_flagged():
    # 300 m3 ha-1 have 0.1351; half a dB around that and around the ground are 0.0535 and 0.1516
    seen = jnp.array([0.0501, 0.0599, 0.06, 0.1, 0.1399, 0.149999, 0.15, 0.16, 0.19])
    found = invert(seen, FOREST)
    np.testing.assert_allclose(np.delete(found.volume, 3), [0, 0, 0, 300, 300, 300, 300, 300], atol=1e-3)
    assert found.volume[3] == pytest.approx(np.log(0.09 / 0.05) / 0.006, rel=1e-4)
    assert found.saturated.tolist() == [False] * 4 + [True] * 5
    assert found.usable.tolist() == [False] + [True] * 6 + [False] * 2
    np.testing.assert_allclose(found.std[4:], found.std[4], rtol=1e-6)
    assert np.isfinite(slopes(seen)).all()


def test_the_doubt_grows_to_saturation_and_is_that_of_repeated_images():
    exact = np.asarray(backscatter(FOUR, FOREST))
    found = invert(exact, FOREST)
    assert (np.diff(found.std) > 0).all()
    # closed form without errors of the ends: std exp(beta V) / (beta span)
    plain = forest_volume(exact, FOREST, largest=300.0, backscatter_std=2e-4)
    np.testing.assert_allclose(plain.std, 2e-4 * np.exp(0.006 * np.asarray(FOUR)) / (0.006 * 0.09), rtol=1e-4)
    rng = np.random.default_rng(0)
    seen = exact + rng.normal(0, 2e-4, (20000, 4)).astype(np.float32)
    ends = [mean + rng.normal(0, std, (20000, 1)).astype(np.float32) for mean, std in ((0.06, 3e-4), (0.15, 4e-4))]
    drawn = np.asarray(invert(seen, Forest(ground=ends[0], canopy=ends[1])).volume)
    np.testing.assert_allclose(drawn.std(0), found.std, rtol=0.04)
    most = invert(jnp.array([0.1351, 0.14, 0.15, 0.3]), FOREST)
    assert (np.asarray(most.std) > 1.4 * float(found.std[-1])).all()


def test_a_bad_pixel_is_nan_for_itself_alone():
    seen = jnp.array([0.1, jnp.nan, jnp.inf, 0.12])

    @jax.jit
    def total(ground):
        found = forest_volume(seen, Forest(ground=ground, canopy=0.15), **ERRORS)
        return jnp.where(jnp.isfinite(found.volume), found.volume, 0.0).sum(), found

    (_, found), slope = jax.value_and_grad(total, has_aux=True)(jnp.float32(0.06))
    assert np.isfinite(found.volume).tolist() == [True, False, False, True] == found.usable.tolist()
    # dV / dground = -1 / (beta span) for each pixel with a number
    assert slope == pytest.approx(-2.0 / (0.006 * 0.09), rel=1e-4)


def test_many_images_count_by_contrast_and_none_gives_nan():
    truth = jnp.array([60.0, 180.0, 100.0])[:, None]
    forest = Forest(ground=jnp.array([0.06, 0.05, 0.08, 0.099]), canopy=jnp.array([0.15, 0.2, 0.12, 0.1]))
    assert jax.jit(telling)(forest).tolist() == [True, True, True, False]
    seen = np.array(backscatter(truth, forest)) * np.array([1.02, 0.99, 1.0, 1.3], np.float32)
    seen[2] = np.nan
    single = invert(seen, forest)
    combine = jax.jit(lambda single, forest, r: combine_volumes(single, forest, correlation=r))
    found = combine(single, forest, 0.0)
    assert found.images.tolist() == [3, 3, 0] and np.isnan(found.volume[2]) and np.isnan(found.std[2])
    weight = 10 * np.log10(np.array([0.15 / 0.06, 0.2 / 0.05, 0.12 / 0.08]))
    np.testing.assert_allclose(contrast(forest)[:3], weight, rtol=1e-5)
    volume, std = np.asarray(single.volume)[:2, :3], np.asarray(single.std)[:2, :3]
    np.testing.assert_allclose(found.volume[:2], volume @ weight / weight.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.std[:2], np.sqrt(std**2 @ weight**2) / weight.sum(), rtol=1e-5)
    # errors that are one another's copies do not average out
    np.testing.assert_allclose(combine(single, forest, 1.0).std[:2], std @ weight / weight.sum(), rtol=1e-5)


def test_trees_weigh_what_the_published_equations_say():
    # 0.251 0.7 10^2.46 and 0.199 0.7^0.899 10^2.22
    assert komiyama05_above_ground(10.0, 0.7) == pytest.approx(0.251 * 0.7 * 288.4032, rel=1e-5)
    assert komiyama05_roots(10.0, 0.7) == pytest.approx(0.199 * 0.725677 * 165.9587, rel=1e-5)
    bare = jax.grad(lambda d: komiyama05_above_ground(d, 0.7) + komiyama05_roots(d, 0.7))(jnp.float32(0.0))
    assert bare == 0.0
    assert volume_biomass(200.0, expansion=0.6) == pytest.approx(120.0)
