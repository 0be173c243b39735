"""Evapotranspiration: a public code, the worked example of FAO-56, and the polar night."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics.crop.water import (
    DailyClimate,
    Site,
    extraterrestrial_radiation,
    reference_evapotranspiration,
    saturation_pressure,
)

with np.load(pathlib.Path(__file__).parents[2] / "references" / "crop.npz") as _table:
    REFERENCE = dict(_table)


def test_reference_evapotranspiration_equals_the_reference_code():
    columns = dict(zip(REFERENCE["et0/input_names"], REFERENCE["et0/inputs"].T, strict=True))
    climate = DailyClimate(
        maximum_temperature=columns["tmax"],
        minimum_temperature=columns["tmin"],
        maximum_humidity=columns["rhmax"],
        minimum_humidity=columns["rhmin"],
        radiation=columns["rs_MJ"],
        wind=columns["wind2m"],
    )
    site = Site.from_degrees(columns["lat_deg"], columns["z_m"], columns["doy"])
    # the code has the constants of the ASCE, e.g. 4.901e-9 for 4.903e-9
    np.testing.assert_allclose(reference_evapotranspiration(climate, site), REFERENCE["et0/et0_mm"], atol=3e-3)


def test_the_worked_example_of_fao_56():
    """Example 18: Uccle, 6 July: 3.9 mm."""
    climate = DailyClimate(
        maximum_temperature=21.5,
        minimum_temperature=12.3,
        maximum_humidity=84.0,
        minimum_humidity=63.0,
        radiation=22.07,
        wind=2.078,
    )
    site = Site.from_degrees(50.8, 100.0, 187.0)
    assert extraterrestrial_radiation(site) == pytest.approx(41.09, abs=0.05)
    assert reference_evapotranspiration(climate, site) == pytest.approx(3.88, abs=0.02)
    assert saturation_pressure(21.5) == pytest.approx(2.564, abs=1e-3)


def test_polar_night_and_day_have_numbers_and_slopes():
    def radiation(latitude, day):
        return extraterrestrial_radiation(Site.from_degrees(latitude, 0.0, day))

    assert radiation(80.0, 355.0) == pytest.approx(0.0, abs=1e-4)
    # the sun does not set: 24 hours of its mean height
    assert 35.0 < radiation(80.0, 172.0) < 50.0
    for latitude, day in ((80.0, 355.0), (80.0, 172.0), (45.0, 100.0)):
        assert np.isfinite(jax.grad(radiation, argnums=(0, 1))(jnp.float32(latitude), jnp.float32(day))).all()
