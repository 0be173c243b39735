"""Radar beside an optical image: the right dates at the right pixels, and every mistake in its numbers named."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from releo_jax import maps
from releo_jax.cubes.blocks import Window, load_block
from releo_jax.cubes.radar import with_radar
from releo_jax.cubes.radar_files import open_radar
from releo_jax.cubes.tables import read_table, with_radar_columns
from releo_jax.errors import ReleoError
from tests.releo_jax.doubles import make_cube

DAYS = (-9.0, 2.0, 4.0, 40.0)


def make_radar(cube, *, decibels=False, angles=38.0, times=True):
    """Backscatter that tells date and pixel: VV = -10 - date - column / 100 dB, VH 7 dB below."""
    height, width = cube.sizes["y"], cube.sizes["x"]
    vv = -10.0 - np.arange(len(DAYS))[:, None, None] - np.broadcast_to(np.arange(width) / 100.0, (height, width))
    radar = xr.Dataset(coords={"y": cube["y"], "x": cube["x"]})
    if times:
        radar = radar.assign_coords(time=cube["time"].values[0] + (np.array(DAYS) * 86400e9).astype("m8[ns]"))
    for name, values in (("VV", vv), ("VH", vv - 7.0)):
        unit = {"units": "dB"} if decibels else {"units": "1"}
        radar[name] = (("time", "y", "x"), (values if decibels else 10.0 ** (0.1 * values)).astype(np.float32), unit)
    radar["incidence_angle"] = (("y", "x"), np.full((height, width), angles, np.float32))
    return radar


@dataclasses.dataclass
class RadarIndex:
    """A double: the moisture is the VV of the nearest date, NaN for what the optical sensor alone has seen."""

    name: str = "radar index"
    bands: tuple[str, ...] = ("B04", "B8A")
    required: tuple[str, ...] = ()
    variables: tuple[str, ...] = ("sm",)
    radar_window = (10.0, 4)

    def __call__(self, reflectance, mask, sun_view, *, variables, level, radar):
        assert radar.decibels.shape == (len(reflectance), 4, 2) and np.isfinite(radar.decibels).all()
        nearest = np.where(radar.mask[:, 0, 0], radar.decibels[:, 0, 0], np.nan).astype(np.float32)
        suffixes = ("mean", "std", "q05", "q50", "q95", "lower", "upper")
        return {f"sm_{suffix}": nearest for suffix in suffixes} | {"sm_flag": np.zeros(len(nearest), np.uint8)}


def written(tmp_path, radar):
    radar.to_netcdf(tmp_path / "radar.nc")
    return tmp_path / "radar.nc"


@pytest.mark.parametrize("decibels", [False, True])
def test_dates_come_nearest_first_and_stay_what_they_are(tmp_path, decibels):
    cube = make_cube()
    both = with_radar(cube, open_radar(written(tmp_path, make_radar(cube, decibels=decibels))))
    block = load_block(both, Window(0, 3, 5, 2, 4), ("B04",), radar=(10.0, 4))
    assert np.array_equal(block.radar.days[0], [2.0, 4.0, -9.0, 0.0]) and len(block.radar) == 8
    assert block.radar.mask[:, :3].all() and not block.radar.mask[:, 3].any()
    columns = np.tile(np.arange(5, 9), 2)
    expected = -10.0 - np.array([1, 2, 0]) - columns[:, None] / 100.0
    np.testing.assert_allclose(block.radar.decibels[:, :3, 0], expected, atol=2e-5)
    np.testing.assert_allclose(block.radar.decibels[:, :3, 1], expected - 7.0, atol=2e-5)
    np.testing.assert_allclose(block.radar.incidence[:, :3], 38.0)


def test_maps_have_what_either_sensor_saw(tmp_path):
    cube = make_cube()  # a cloud covers its corner
    radar = make_radar(cube)
    radar["VV"][:, 25, 30] = -1e-4  # noise subtracted below zero
    radar["VH"][:, 25, 30] = np.nan
    both = with_radar(cube, open_radar(written(tmp_path, radar)))
    whole, parts = (maps.predict(both, RadarIndex(), block_size=size) for size in (None, 13))
    found = whole["soil_moisture_mean"].values[0]
    np.testing.assert_array_equal(found, parts["soil_moisture_mean"].values[0])
    expected = -11.0 - np.broadcast_to(np.arange(40) / 100.0, found.shape).copy()
    expected[25, 30] = np.nan
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert whole["soil_moisture_flag"].values.max() == 0
    assert str(both["radar_time"].values[0].astype("M8[D]")) in whole.attrs["radar_dates"]


def mistaken(tmp_path, what):
    cube = make_cube()
    radar = make_radar(cube, decibels=what == "linear given as dB")
    if what == "dB given as linear":
        radar["VV"] = (10.0 * np.log10(radar["VV"])).assign_attrs(units="1")
    elif what == "linear given as dB":
        radar["VV"] = (10.0 ** (0.1 * radar["VV"])).assign_attrs(units="dB")
        radar["VV"][:, :2] = -1e-4  # noise subtracted below zero
    elif what == "radians":
        radar["incidence_angle"] = np.radians(radar["incidence_angle"])
    elif what == "no unit":
        radar["VV"].attrs.clear()
    elif what == "no angle":
        radar = radar.drop_vars("incidence_angle")
    elif what == "no date":
        radar = radar.isel(time=0, drop=True)
    elif what == "other grid":
        radar = radar.assign_coords(x=radar["x"] + 4.0)
    elif what == "no polarisation":
        radar = radar.rename(VV="first", VH="second")
    elif what == "numbers":
        radar["VV"] = (radar["VV"] * 1000).astype(np.int16)
    elif what == "numbers as floats":
        radar["VV"] = (radar["VV"] * 10_000).assign_attrs(units="1")
    return with_radar(cube, open_radar(written(tmp_path, radar)))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("dB given as linear", "VV: expected linear power .* median of -11.*looks like dB: give --radar-unit dB"),
        ("linear given as dB", "VV: expected dB .* median of 0.0.*like linear power: give --radar-unit linear"),
        ("radians", "15 to 60 degrees, got 0.663 to 0.663; they look like radians"),
        ("no unit", "VV does not say whether it is linear power or dB; give --radar-unit"),
        ("no angle", "no angle of incidence in the file; give --incidence DEGREES"),
        ("no date", "no coordinate time; add the dates"),
        ("other grid", "grids do not match: .*warp the radar"),
        ("no polarisation", "expected a variable named after the polarisation VV .*found first, second"),
        ("numbers", "VV: expected calibrated backscatter, got int16 numbers"),
        ("numbers as floats", "VV: expected linear power .* looks like digital numbers: calibrate"),
    ],
)
def test_mistakes_are_named_with_their_remedy(tmp_path, what, message):
    with pytest.raises(ReleoError, match=message):
        mistaken(tmp_path, what)


def test_gamma_nought_becomes_sigma_nought(tmp_path):
    cube = make_cube()
    radar = make_radar(cube, angles=np.linspace(30.0, 45.0, cube.sizes["x"])).rename(VV="gamma0_VV")
    found = open_radar(written(tmp_path, radar))["backscatter"].sel(polarisation="VV").values
    expected = radar["gamma0_VV"].values * np.cos(np.radians(radar["incidence_angle"].values))
    np.testing.assert_allclose(10.0 ** (0.1 * found), expected, rtol=1e-5)
    as_it_is = open_radar(tmp_path / "radar.nc", quantity="sigma0")["backscatter"].sel(polarisation="VV").values
    np.testing.assert_allclose(10.0 ** (0.1 * as_it_is), radar["gamma0_VV"].values, rtol=1e-5)


def test_radar_and_method_go_together(tmp_path):
    (tmp_path / "scene.nc").touch()
    (tmp_path / "pixels.csv").touch()
    out = {"image": tmp_path / "out.nc", "table": tmp_path / "out.csv"}
    with pytest.raises(ReleoError, match="sl2p does not take radar images"):
        maps.invert_file(tmp_path / "scene.nc", out["image"], method="sl2p", radar=tmp_path / "radar.nc")
    with pytest.raises(ReleoError, match="needs radar images; give --radar FILE"):
        maps.invert_file(tmp_path / "scene.nc", out["image"], method="optical-radar")
    with pytest.raises(ReleoError, match="a table holds its radar in the columns VV, VH and incidence"):
        maps.invert_file(tmp_path / "pixels.csv", out["table"], method="optical-radar", radar=tmp_path / "radar.nc")


def table(tmp_path, **columns):
    given = {"B04": [0.05, 0.06], "B8A": [0.3, 0.4], "sun_zenith": 30.0, "view_zenith": 5.0, "relative_azimuth": 90.0}
    pd.DataFrame(given | columns).to_csv(tmp_path / "pixels.csv", index=False)
    return read_table(tmp_path / "pixels.csv")


def test_tables_hold_radar_in_columns(tmp_path):
    frame, block = table(tmp_path, VV_dB=[-9.5, np.nan], vh=[0.01, -0.001], incidence=[38.0, 39.0], radar_days=[3, -2])
    found = with_radar_columns(frame, block, unit="linear", incidence=None, where="pixels.csv").radar
    np.testing.assert_allclose(found.decibels[:, 0], [[-9.5, -20.0], [0.0, 0.0]], atol=1e-5)
    np.testing.assert_array_equal(found.mask[:, 0], [[True, True], [False, False]])
    np.testing.assert_allclose(found.days[:, 0], [3.0, -2.0])
    for columns, unit, message in (
        ({"VV": [-9.0, -8.0], "incidence": 38.0}, None, "column VV: give --radar-unit"),
        ({"VV": [-9.0, -8.0], "incidence": 38.0}, "linear", "looks like dB"),
        ({"VV": [-9.0, -8.0], "incidence": 0.6}, "dB", "look like radians"),
        ({"VV": [-9.0, -8.0]}, "dB", "no column incidence"),
        ({"incidence": 38.0}, "dB", "expected a column VV"),
    ):
        frame, block = table(tmp_path, **columns)
        with pytest.raises(ReleoError, match=message):
            with_radar_columns(frame, block, unit=unit, incidence=None, where="pixels.csv")
