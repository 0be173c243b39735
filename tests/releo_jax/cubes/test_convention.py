import numpy as np
import pytest
import xarray as xr

from releo_jax.cubes import ANGLES, sensor_name
from releo_jax.cubes.blocks import Window, blocks, load_block, missing_bands
from releo_jax.cubes.checks import check_cube
from releo_jax.cubes.convention import band_name, choose_angles, choose_bands, fold_degrees, grid_of
from releo_jax.errors import ReleoError


@pytest.mark.parametrize(
    "text, expected",
    [
        ("B2", "B02"),
        ("b08a", "B8A"),
        ("B8A", "B8A"),
        ("S2-L2A-B11", "B11"),
        ("T32TNT_20220305T102921_B01_60m", "B01"),
        ("reflectance_B03", "B03"),
        ("B13", None),
        ("B8AB", None),
        ("AB02", None),
        ("SCL", None),
        ("B022", None),
    ],
)
def test_band_names(text, expected):
    assert band_name(text) == expected


@pytest.mark.parametrize("text", ["S2B", "Sentinel-2B", "sentinel2b", "SENTINEL_2B MSI"])
def test_sensor_names(text):
    assert sensor_name(text) == "sentinel2b"


@pytest.mark.parametrize("text", ["landsat8", "S2D", "", "sentinel"])
def test_unknown_sensor_is_named_with_what_is_known(text):
    with pytest.raises(ReleoError, match="unknown sensor .*sentinel2a, sentinel2b or sentinel2c"):
        sensor_name(text)


def test_bands_come_in_the_order_of_their_wavelengths_and_missing_ones_are_named():
    assert choose_bands(["B8A", "B12", "B02"], None, "f") == ("B02", "B8A", "B12")
    with pytest.raises(ReleoError, match=r"f: missing band B05, B06; found B02"):
        choose_bands(["B02"], ["B05", "B02", "B06"], "f")
    with pytest.raises(ReleoError, match="unknown band 'NIR'"):
        choose_bands(["B02"], ["NIR"], "f")


@pytest.mark.parametrize("difference, angle", [(0, 0), (190, 170), (-190, 170), (360, 0), (350, 10), (180, 180)])
def test_azimuths_fold(difference, angle):
    assert fold_degrees(float(difference)) == angle


def test_given_angles_win_and_missing_ones_are_named():
    found = {"sun_zenith": 40.0, "sun_azimuth": 170.0, "view_azimuth": 100.0}
    angles = choose_angles(found, {"sun_zenith": 30.0, "view_zenith": 5.0, "relative_azimuth": None}, "f")
    assert angles == {"sun_zenith": 30.0, "view_zenith": 5.0, "relative_azimuth": 70.0}
    assert choose_angles(found, {"view_zenith": 5.0, "relative_azimuth": 9.0}, "f")["relative_azimuth"] == 9.0
    with pytest.raises(ReleoError, match="no view_zenith, relative_azimuth in the file; give --view-zenith DEGREES"):
        choose_angles({"sun_zenith": 40.0}, {}, "f")


def test_check_cube_names_what_is_out_of_place(cube):
    check_cube(cube)
    with pytest.raises(ReleoError, match="no variable 'mask'"):
        check_cube(cube.drop_vars("mask"))
    with pytest.raises(ReleoError, match="expected reflectance with dimensions"):
        check_cube(cube.transpose("y", "x", "time", "band"))
    with pytest.raises(ReleoError, match="unknown band red"):
        check_cube(cube.assign_coords(band=["red", *cube["band"].values[1:]]))


def test_the_grid_of_a_part_is_its_own(cube):
    crs, transform = grid_of(cube.isel(y=slice(3, 20), x=slice(5, 6)))
    assert crs.to_epsg() == 32632
    assert (transform.a, transform.c, transform.e, transform.f) == (10.0, 600_050.0, -10.0, 5_300_010.0)
    uneven = cube.isel(x=[0, 1, 5])
    with pytest.raises(ReleoError, match="x are not evenly spaced"):
        grid_of(uneven)


@pytest.mark.parametrize("size", [None, 7, 36, 100])
def test_blocks_cover_every_pixel_once(new_cube, size):
    cube = new_cube(times=2)
    count = np.zeros((2, cube.sizes["y"], cube.sizes["x"]), int)
    for window in blocks(cube, size):
        count[window.time, window.y, window.x] += 1
        assert size is None or max(window.shape) <= size
    assert (count == 1).all()


def test_a_block_is_its_pixels_in_row_order(cube):
    window = Window(0, 8, 10, 5, 7)
    block = load_block(cube, window, bands=("B12", "B01", "B03"))
    part = cube.isel(time=0, y=window.y, x=window.x)
    assert block.reflectance.shape == (35, 3) and block.reflectance.dtype == np.float32
    np.testing.assert_array_equal(block.reflectance[:, 0].reshape(window.shape), part["reflectance"].sel(band="B12"))
    np.testing.assert_array_equal(block.reflectance[:, 2].reshape(window.shape), part["reflectance"].sel(band="B03"))
    assert not block.mask[:, 1].any() and (block.flags[:, 1] == 1).all(), "a band that is not there is masked"
    assert missing_bands(cube, ("B12", "B01", "B03")) == ("B01",)
    for name in ANGLES:
        np.testing.assert_array_equal(getattr(block, name).reshape(window.shape), part[name])
    some = block[np.array([0, 34])]
    assert len(some) == 2 and some.bands == block.bands
    np.testing.assert_array_equal(some.reflectance, block.reflectance[[0, 34]])


def test_bad_pixels_come_out_masked_and_nothing_else_changes(cube):
    whole = Window(0, 0, 0, cube.sizes["y"], cube.sizes["x"])
    before = load_block(cube, whole)
    cube["reflectance"][0, 4, 20, 30] = np.nan  # not flagged by the mask: a NaN never passes for a value
    cube["sun_zenith"][0, 25, 2] = np.nan
    after = load_block(cube, whole)
    assert np.isfinite(after.reflectance).all() and np.isfinite(after.sun_zenith).all()
    changed = np.argwhere(before.mask != after.mask)
    assert changed.tolist() == [[20 * 48 + 30, 4]]
    same = before.mask & after.mask
    np.testing.assert_array_equal(before.reflectance[same], after.reflectance[same])


def test_a_mask_for_all_bands_and_angles_for_all_pixels_are_spread(cube):
    plain = cube.assign(
        mask=(("time", "y", "x"), cube["mask"].values[:, 2]), sun_zenith=("time", [33.0]), view_zenith=("time", [4.0])
    )
    check_cube(plain)
    window = Window(0, 6, 0, 12, 12)
    block = load_block(plain, window)
    expected = plain["mask"].values[0, window.y, window.x].reshape(-1, 1)
    assert expected.any()
    np.testing.assert_array_equal(block.flags, np.repeat(expected, 10, axis=1))
    assert (block.sun_zenith == 33).all() and (block.view_zenith == 4).all()


def test_angles_that_are_missing_mask_their_pixels(cube, tmp_path):
    from releo_jax.cubes import open_cube, write_cube

    cube["sun_zenith"][0, 25, 2] = np.nan
    write_cube(cube.drop_vars("mask"), tmp_path / "c.nc")
    read = open_cube(tmp_path / "c.nc")
    assert (read["mask"].values[0, :, 25, 2] == 8).all()
    assert isinstance(read, xr.Dataset) and (read["mask"].values[0, :, 25, 3] == 0).all()
