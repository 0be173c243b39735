"""Cubes as pixels and back: the right numbers, no copies, and dates that stay apart."""

import jax.numpy as jnp
import numpy as np
import pytest
import rioxarray

from releo_jax.cubes import ANGLES, load_block, observations, stack, unstack, with_radar, write_cog
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.convention import grid_of
from releo_jax.cubes.radar_files import open_radar
from releo_jax.errors import ReleoError
from releo_jax.observations import Series, SingleDate, check_observations
from tests.releo_jax.cubes.test_radar import DAYS, make_radar, written


def test_pixels_are_views_row_by_row_and_go_back(new_cube):
    cube = new_cube(times=3, shape=(5, 7))
    values = stack(cube["reflectance"])
    assert values.shape == (35, 3, 10) and np.shares_memory(values, cube["reflectance"].values)
    np.testing.assert_array_equal(values[1 * 7 + 4], cube["reflectance"].values[:, :, 1, 4])
    back = unstack(values, cube, dims=("time", "band"))
    assert back.dims == ("time", "band", "y", "x") and np.shares_memory(back.values, cube["reflectance"].values)
    np.testing.assert_array_equal(back.values, cube["reflectance"].values)
    assert back["band"].values.tolist() == cube["band"].values.tolist()
    for part in (cube["sun_zenith"], cube["mask"].isel(time=0), cube["mask"].isel(time=0, band=2)):
        plain = part.drop_vars([name for name in part.coords if name not in part.dims])
        dims = [name for name in plain.dims if name not in ("y", "x")]
        np.testing.assert_array_equal(unstack(stack(plain), cube, dims=dims).values, plain.values)


def test_blocks_of_files_hold_the_same_pixels(cube):
    block = load_block(cube, Window(0, 0, 0, cube.sizes["y"], cube.sizes["x"]))
    values = stack(cube["reflectance"].isel(time=0))
    np.testing.assert_array_equal(values[block.mask], block.reflectance[block.mask])


def test_a_map_keeps_the_place_of_its_cube(cube, tmp_path):
    part = cube.isel(y=slice(4, 20), x=slice(9, 30))
    mean = jnp.arange(16 * 21, dtype=jnp.float32)
    plane = unstack(mean, part)
    assert plane.rio.crs == grid_of(cube)[0] and grid_of(plane.to_dataset(name="a")) == grid_of(part)
    write_cog(plane.to_dataset(name="lai"), tmp_path / "lai.tif")
    with rioxarray.open_rasterio(tmp_path / "lai.tif") as read:
        np.testing.assert_array_equal(read.values[0], np.arange(16 * 21).reshape(16, 21))
        np.testing.assert_array_equal(read["x"].values, part["x"].values)


def test_one_date_and_several_as_observations(new_cube):
    cube = new_cube(times=3)
    data = observations(cube)
    record = data["s2"]
    assert isinstance(record, Series) and check_observations(data) == 36 * 48
    usable = stack(cube["mask"]) == 0
    np.testing.assert_array_equal(record.mask, usable & np.isfinite(stack(cube["reflectance"])))
    np.testing.assert_array_equal(np.asarray(record.values)[usable], stack(cube["reflectance"])[usable])
    np.testing.assert_allclose(record.time[5], [0.44166667, 5.44166667, 10.44166667], rtol=1e-6)
    for name in ANGLES:
        np.testing.assert_allclose(np.degrees(getattr(record.geometry, name)), stack(cube[name]), rtol=1e-6)
    later = observations(cube, origin="2022-06-10T10:36:00", name="optical")
    np.testing.assert_allclose(later["optical"].time[0], [-5.0, 0.0, 5.0], atol=1e-6)
    one = observations(cube.isel(time=[1]))["s2"]
    assert isinstance(one, SingleDate)
    np.testing.assert_array_equal(one.values, record.values[:, 1])
    np.testing.assert_array_equal(one.geometry.view_zenith, record.geometry.view_zenith[:, 1])


def test_a_mask_for_all_bands_and_angles_for_all_pixels(cube):
    plain = cube.assign(mask=cube["mask"].isel(band=0, drop=True), sun_zenith=("time", [33.0]))
    record = observations(plain)["s2"]
    expected = (
        np.repeat(plain["mask"].values.reshape(-1, 1) == 0, 10, axis=1) & np.isfinite(stack(cube["reflectance"]))[:, 0]
    )
    np.testing.assert_array_equal(record.mask, expected)
    np.testing.assert_allclose(np.degrees(record.geometry.sun_zenith), 33.0, rtol=1e-6)


def test_radar_keeps_its_own_dates(cube, tmp_path):
    radar = make_radar(cube)
    radar["VH"][1, 2, 3] = np.nan
    data = observations(with_radar(cube, open_radar(written(tmp_path, radar))), origin=cube["time"].values[0])
    assert data["s2"].values.shape == (36 * 48, 1, 10) and data["s1"].values.shape == (36 * 48, 4, 2)
    np.testing.assert_allclose(data["s1"].time[0], DAYS, atol=1e-5)
    assert float(data["s2"].time[0, 0]) == 0.0
    missing = np.argwhere(~np.asarray(data["s1"].mask))
    assert missing.tolist() == [[2 * 48 + 3, 1, 1]]
    np.testing.assert_allclose(data["s1"].values[:, :, 0], stack(10.0 * np.log10(radar["VV"])), atol=2e-5)
    np.testing.assert_allclose(np.degrees(data["s1"].geometry.incidence), 38.0, rtol=1e-6)


def test_shapes_that_do_not_fit_are_named(cube):
    with pytest.raises(ReleoError, match="expected a variable over y, x, .*got .'time', 'band'"):
        stack(cube["reflectance"].isel(y=0, x=0))
    with pytest.raises(ReleoError, match=r"expected values .pixel. of shape .1728,., got .1728, 3.; name the axes"):
        unstack(np.zeros((1728, 3)), cube)
    with pytest.raises(ReleoError, match=r"expected values .pixel, time. of shape .1728, 1., got .1728, 3."):
        unstack(np.zeros((1728, 3)), cube, dims=("time",))
    with pytest.raises(ReleoError, match="dates that are not known"):
        observations(cube.isel(time=[0, 0]).assign_coords(time=np.array(["NaT", "2022-06-05"], "M8[ns]")))
