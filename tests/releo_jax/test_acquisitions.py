"""Acquisition samplers."""

import jax
import numpy as np
import pytest

from physics.optics.geometry import SunView
from releo_jax.acquisitions import from_observations, placeholder, synthetic_acquisition
from releo_jax.observations import SingleDate

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def test_synthetic_acquisition_serves_every_band_set():
    sampler = synthetic_acquisition("s2", BANDS, random_drop=0.2, empty=0.05, sun_zenith=(20.0, 60.0))
    record = sampler(jax.random.key(0), 4000)["s2"]
    mask = np.asarray(record.mask)
    counts = mask.sum(-1)
    assert record.values.shape == (4000, 10)
    # 75 % keep one of three sets: all ten bands, no B08, eight.
    for size in (10, 9, 8):
        assert np.mean(counts == size) > 0.2
    nine, eight = mask[counts == 9], mask[counts == 8]
    assert np.mean(~nine[:, BANDS.index("B08")]) > 0.9
    assert np.mean(~eight[:, BANDS.index("B02")] & ~eight[:, BANDS.index("B08")]) > 0.9
    assert abs(np.mean(counts == 0) - 0.05) < 0.03  # and those that random dropping empties
    assert set(counts) == set(range(11))
    zenith = np.degrees(record.geometry.sun_zenith)
    assert zenith.min() >= 20.0 and zenith.max() <= 60.0 and np.ptp(zenith) > 38.0


def test_sampler_is_determined_by_its_key():
    sampler = synthetic_acquisition("s2", BANDS)
    one, same, other = (sampler(jax.random.key(k), 50)["s2"] for k in (1, 1, 2))
    np.testing.assert_array_equal(one.mask, same.mask)
    assert (np.asarray(one.geometry.sun_zenith) != np.asarray(other.geometry.sun_zenith)).all()


def test_a_placeholder_has_the_shapes_of_a_draw_and_draws_nothing():
    sampler, drawn = synthetic_acquisition("s2", BANDS), []

    def counted(key, n):
        drawn.append(key)
        return sampler(key, n)

    found, expected = placeholder(counted, 7), sampler(jax.random.key(0), 7)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype and not one.any()
    assert [isinstance(key, jax.core.Tracer) for key in drawn] == [True]


def test_unknown_bands_and_shares_are_named():
    with pytest.raises(ValueError, match="B99"):
        synthetic_acquisition("s2", BANDS, subsets=[("B02", "B99")])
    with pytest.raises(ValueError, match="shares"):
        synthetic_acquisition("s2", BANDS, random_drop=0.9, empty=0.2)


def test_bootstrap_draws_angles_and_masks_together():
    angles = SunView(sun_zenith=np.arange(5, dtype=np.float32), view_zenith=0.0, relative_azimuth=0.0)
    mask = np.arange(5)[:, None] >= np.arange(3)[None]
    sampler = from_observations({"s2": SingleDate(np.full((5, 3), 0.5, np.float32), mask, angles)})
    record = sampler(jax.random.key(0), 200)["s2"]
    origin = np.asarray(record.geometry.sun_zenith).astype(int)
    assert set(origin) == set(range(5))
    np.testing.assert_array_equal(record.mask, mask[origin])
    assert not np.asarray(record.values).any()
