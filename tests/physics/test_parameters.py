"""Records: construction, dtype, shapes, ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import Canopy, Leaf, Soil, SunView, broadcast_fields, check_ranges, parameters, validity
from physics.microwave import MoistSoil, RadarView

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


def _soil(**changed):
    return MoistSoil(**{"soil_moisture": 0.2, "clay": 0.2, "sand": 0.4} | changed)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            _soil(soil_moisture=[12.0, 31.0]),
            "soil_moisture: .* m3 m-3, got 12 to 31 in 2 of 2 .*per cent: divide by 100",
        ),
        (
            _soil(clay=30.0, sand=0.4),
            "clay: expected 0 to 1 1, got 30 to 30 in 1 of 1 values; .*per cent: divide by 100",
        ),
        (_soil(sand=np.full((2, 3), 55.0)), r"sand: .* 6 of 6 values, the first at index \(0, 0\); .*per cent"),
        (
            _soil(clay=[0.2, 0.5], sand=[0.4, 0.7]),
            "clay [+] sand: .* got 1.2 to 1.2 in 1 of 2 .* index 1; .*divide each",
        ),
        (_soil(soil_moisture=0.7), "soil_moisture: .* got 0.7 to 0.7 in 1 of 1 values; check the unit"),
        (
            _soil(soil_moisture=[0.2, 0.3, -0.1]),
            "soil_moisture: .* got -0.1 to -0.1 in 1 of 3 .* index 2; .*mask or flag these pixels",
        ),
        (
            _soil(soil_moisture=[0.2, np.nan]),
            "soil_moisture: .* got nan or infinite values in 1 of 2 .* index 1; .*mask these pixels",
        ),
        (_soil(soil_moisture=[20.0, np.nan]), "soil_moisture: .* got 20 to 20 in 2 of 2 .*per cent"),
        (RadarView(incidence=[30.0, 40.0]), "incidence: expected 0 to 1.39626 radian, .*degrees.*from_degrees"),
        (RadarView(incidence=1.5), "incidence: .* got 1.5 to 1.5 .*check the unit"),
        (Leaf(**LEAF | {"water": 0.9}), "water: expected 0 to 0.2 cm, got 0.9 to 0.9 in 1 of 1 values; check the unit"),
    ],
)
def test_known_mistakes_are_named_with_unit_place_and_remedy(record, words):
    with pytest.raises(ValueError, match=f"{type(record).__name__} out of range. {words}"):
        check_ranges(record)


def test_shares_of_a_whole_may_fill_it():
    check_ranges(_soil(clay=[0.6, 0.0], sand=[0.4, 1.0]))


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
