"""Yield, and the setting of maize."""

import jax.numpy as jnp
import pytest

from physics.crop import grain_yield, harvest_index_yield, maize, ordered_temperatures, safy
from tests.physics.crop.cases import records, season

MAIZE = {
    "emergence": 60.0,
    "light_use_efficiency": 3.0,
    "specific_leaf_area": 0.02,
    "partition_a": 0.2,
    "partition_b": 0.002,
    "senescence_start": 900.0,
    "senescence_rate": 8000.0,
    "initial_biomass": 4.0,
    "minimum_temperature": 8.0,
    "optimum_temperature": 28.0,
    "maximum_temperature": 44.0,
}


def test_harvest_index_takes_its_share_of_the_biomass():
    # 2000 g m-2 are 20 t ha-1; half of it is 10 t of dry grain, which weighs 11.76 t at 15 % water
    assert harvest_index_yield(2000.0, harvest_index=0.5) == pytest.approx(10.0)
    assert harvest_index_yield(2000.0, harvest_index=0.5, moisture=0.15) == pytest.approx(10.0 / 0.85)


def test_maize_grows_and_yields_by_partition_where_it_fills_grain():
    columns = season()
    weather, _ = records(columns | {"temperature": columns["temperature"] + 6.0}, jnp.float32)
    growth = safy(maize(**MAIZE), weather)
    assert 1.0 < growth.leaf_area_index.max() < 12.0
    assert float(grain_yield(growth)) == 0.0
    filling = safy(maize(**MAIZE, grain_rate=0.006), weather, legacy=True)
    assert float(grain_yield(filling)) == pytest.approx(0.01 * float(filling.grain.max())) and filling.grain.max() > 50


def test_maize_asks_for_what_no_source_confirms():
    for name in MAIZE:
        with pytest.raises(TypeError, match=name):
            maize(**{key: value for key, value in MAIZE.items() if key != name})


def test_temperatures_out_of_order_are_not_valid():
    assert bool(ordered_temperatures(maize(**MAIZE)))
    assert not bool(ordered_temperatures(maize(**MAIZE | {"optimum_temperature": 14.0, "minimum_temperature": 14.5})))
