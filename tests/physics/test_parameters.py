"""Records: construction, dtype, shapes, ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import Canopy, Leaf, Soil, SunView, broadcast_fields, check_ranges, parameters, validity

LEAF = {"layers": 1.5, "chlorophyll": 40.0, "carotenoids": 8.0, "water": 0.01, "dry_matter": 0.009}


def test_fields_are_strong_floats_of_one_dtype():
    leaf = Leaf(**LEAF | {"chlorophyll": np.arange(3)})
    assert {field.dtype for field in jax.tree.leaves(leaf)} == {jnp.dtype("float32")}
    assert not any(field.weak_type for field in jax.tree.leaves(leaf))
    half = Leaf(**LEAF | {"chlorophyll": jnp.ones(3, jnp.float16)})
    assert half.layers.dtype == jnp.float16


def test_numpy_scalars_do_not_promote_single_precision():
    with jax.enable_x64(True):
        leaf = Leaf(**LEAF | {"chlorophyll": jnp.ones(3, jnp.float32), "water": np.float64(0.01)})
        assert {field.dtype for field in jax.tree.leaves(leaf)} == {jnp.dtype("float32")}


def test_records_are_keyword_only_and_complete():
    with pytest.raises(TypeError):
        Leaf(1.5, 40.0, 8.0, 0.0, 0.0, 0.01, 0.009)
    with pytest.raises(TypeError, match="dry_matter"):
        Leaf(layers=1.5, chlorophyll=40.0, carotenoids=8.0, water=0.01)


def test_shapes_that_do_not_broadcast_are_named():
    with pytest.raises(ValueError, match="broadcast.*chlorophyll"):
        Leaf(**LEAF | {"chlorophyll": jnp.ones(3), "water": jnp.ones(4)})


def test_what_is_no_number_is_named():
    with pytest.raises(ValueError, match="Leaf: expected numbers"):
        Leaf(**LEAF | {"chlorophyll": "green"})
    with pytest.raises(ValueError, match="chlorophyll"):
        Leaf(**LEAF | {"chlorophyll": None})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"chlorophyll": 4e-5, "layers": 0.5}, "layers: expected 1 to 4"),
        ({"water": 120.0}, "water: expected 0 to 0.2 cm, got 120"),
        ({"dry_matter": np.nan}, "dry_matter"),
    ],
)
def test_check_ranges_names_parameter_and_unit(changed, words):
    with pytest.raises(ValueError, match=words):
        check_ranges(Leaf(**LEAF | changed))


def test_degrees_given_as_radians_are_noticed():
    with pytest.raises(ValueError, match="sun_zenith.*radian"):
        check_ranges(SunView(sun_zenith=30.0, view_zenith=0.0, relative_azimuth=0.0))
    check_ranges(SunView.from_degrees(30.0, 5.0, 120.0))


def test_validity_is_a_mask_under_jit():
    canopy = Canopy(leaf_area_index=jnp.array([1.0, -1.0, 15.0]), mean_leaf_angle=57.0, hot_spot=0.1)
    np.testing.assert_array_equal(jax.jit(validity)(canopy), [True, False, True])


def test_broadcast_fields_makes_records_vmappable():
    soil = broadcast_fields(Soil(brightness=jnp.ones(3), wetness=0.2))
    assert soil.wetness.shape == (3,)
    assert jax.vmap(lambda record: record.brightness * record.wetness)(soil).shape == (3,)


def test_every_parameter_is_described():
    for record in (Leaf, Canopy, Soil, SunView):
        for name, parameter in parameters(record).items():
            assert parameter.name == name and parameter.description and parameter.unit
            assert parameter.bounds[0] < parameter.bounds[1]
