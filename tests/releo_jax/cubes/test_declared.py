"""Any dataset by a declared map of its bands."""

import numpy as np
import pytest
import xarray as xr

from releo_jax.cubes import from_dataset, load_block, open_cube, write_cube
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.checks import check_cube
from releo_jax.cubes.convention import grid_of
from releo_jax.errors import ReleoError

BANDS = {"red": "B04", "nir": "B8A", "green": "B3"}
ANGLES = {"sun_zenith": "sza", "view_zenith": 4.0, "relative_azimuth": "raa"}


@pytest.fixture
def foreign(new_cube) -> xr.Dataset:
    """Two dates of integers, -9999 for nothing, a mask and angles under other names, in another order of dimensions."""
    cube = new_cube(times=2)
    integers = np.rint(cube["reflectance"].fillna(-0.9999) * 1e4).astype(np.int16)
    dataset = xr.Dataset(
        {
            label: integers.sel(band=band, drop=True)
            for label, band in (("red", "B04"), ("nir", "B8A"), ("green", "B03"))
        }
    )
    for variable in dataset.data_vars.values():
        variable.attrs["_FillValue"] = np.int16(-9999)
    dataset["qa"] = (("time", "y", "x"), np.zeros((2, 36, 48), np.uint8))
    dataset["qa"][1, 20, 5:9] = [1, 2, 3, 4]
    dataset["sza"] = ("time", [31.0, 33.0])
    dataset["raa"] = cube["relative_azimuth"].drop_attrs()
    return dataset.rename(time="t").transpose("y", "x", "t")


def test_a_declared_dataset_is_a_cube(foreign, new_cube):
    original = new_cube(times=2)
    cube = from_dataset(foreign, BANDS, sensor="S2B", scale=10000, angles=ANGLES, classes="qa", clear=(0, 3))
    check_cube(cube)
    assert cube["band"].values.tolist() == ["B04", "B8A", "B03"] and cube.attrs["sensor"] == "sentinel2b"
    expected = original["reflectance"].sel(band=["B04", "B8A", "B03"]).values[:, :, 20:]
    np.testing.assert_allclose(cube["reflectance"].values[:, :, 20:], expected, atol=1e-7)
    assert cube["reflectance"].chunks is not None and grid_of(cube) == grid_of(original)
    assert cube["sun_zenith"].values.tolist() == [31.0, 33.0] and (cube["view_zenith"].values == 4.0).all()
    np.testing.assert_array_equal(cube["relative_azimuth"].values, original["relative_azimuth"].values)
    mask = cube["mask"].values
    assert (mask[:, :, :6, :6] == 1).all(), "nothing is there"
    for band in range(3):
        assert mask[1, band, 20, 5:9].tolist() == [4, 4, 0, 4] and not mask[0, band, 20, 5:9].any()
    assert cube["mask"].attrs["flag_meanings"].startswith("nodata saturated")


def test_files_that_xarray_decoded_are_not_decoded_twice(foreign, tmp_path):
    encoding = {name: {"scale_factor": 1e-4, "_FillValue": np.int16(-9999), "dtype": "int16"} for name in BANDS}
    decoded = foreign.copy()
    for name in BANDS:
        decoded[name] = decoded[name].where(decoded[name] != -9999) / 1e4
        decoded[name].attrs.clear()
    decoded.to_netcdf(tmp_path / "packed.nc", encoding=encoding)
    one = from_dataset(foreign, BANDS, scale=10000, angles=ANGLES)
    for options in ({}, {"chunks": {}}, {"mask_and_scale": False}):
        with xr.open_dataset(tmp_path / "packed.nc", decode_coords="all", **options) as stored:
            two = from_dataset(stored, BANDS, angles=ANGLES)
            np.testing.assert_allclose(two["reflectance"].values, one["reflectance"].values, atol=1e-6)
            np.testing.assert_array_equal(two["mask"].values != 0, one["mask"].values != 0)
            assert grid_of(two) == grid_of(one)


def test_labels_along_a_dimension_of_bands(new_cube):
    cube = new_cube()
    labels = [f"SR_{index}" for index in range(cube.sizes["band"])]
    stack = cube.drop_vars("mask").assign_coords(band=labels)
    found = from_dataset(stack, {"SR_3": "B5", "SR_2": "B4"}, sensor="landsat9")
    assert found["band"].values.tolist() == ["B5", "B4"] and found.attrs["sensor"] == "landsat9"
    np.testing.assert_array_equal(found["reflectance"].values[0], cube["reflectance"].values[0, [3, 2]])
    with pytest.raises(ReleoError, match="no band 'red' in reflectance; found SR_0, SR_1"):
        from_dataset(stack, {"red": "B04"})


def test_degrees_of_latitude_one_date_and_a_crs(foreign, tmp_path):
    plain = foreign.isel(t=0).rename(t="time").drop_vars("spatial_ref")
    plain = plain.assign_coords(y=48.0 - 1e-4 * np.arange(36), x=7.0 + 1e-4 * np.arange(48)).rename(y="lat", x="lon")
    cube = from_dataset(plain, BANDS, scale=10000, angles=ANGLES, crs="EPSG:4326", classes="qa", clear=(0,))
    assert cube.sizes["time"] == 1 and grid_of(cube)[0].to_epsg() == 4326
    block = load_block(cube, Window(0, 10, 10, 4, 4))
    assert block.reflectance.shape == (16, 3) and block.mask.all()
    write_cube(cube, tmp_path / "c.nc")
    read = open_cube(tmp_path / "c.nc").sel(band=cube["band"])
    np.testing.assert_array_equal(read["reflectance"].values, cube["reflectance"].values)


@pytest.mark.parametrize(
    ("bands", "options", "message"),
    [
        ({}, {}, "expected bands such as"),
        ({"red": "B99"}, {}, "expected bands among B01, .*got B99"),
        ({"red": "B04", "nir": "B4"}, {}, "each once, got B04, B4"),
        ({"rouge": "B04"}, {}, "no variable 'rouge'; found red, nir, green, qa"),
        (BANDS, {"angles": ANGLES | {"sun_zenith": "missing"}}, "no variable 'missing'"),
        (BANDS, {"angles": ANGLES | {"tilt": 3.0}}, "unknown angle 'tilt'; expected names among sun_zenith"),
        (BANDS, {"angles": {"sun_zenith": "sza"}}, "no view_zenith, relative_azimuth"),
        (BANDS, {"sensor": "Terra"}, "unknown sensor 'Terra'"),
        (BANDS, {"scale": None}, "stored as int16 without a scale"),
        (BANDS, {"scale": 100}, "is not between 0 and 1; give --scale 10000"),
        (BANDS, {"classes": "qa"}, "give classes, the variable, and clear"),
        (BANDS, {"classes": "scl", "clear": (4,)}, "no variable 'scl'"),
    ],
)
def test_what_is_declared_and_not_there_is_named(foreign, bands, options, message):
    with pytest.raises(ReleoError, match=message):
        from_dataset(foreign, bands, **({"scale": 10000, "angles": ANGLES} | options))


def test_bands_that_are_not_alike_are_refused(foreign):
    with pytest.raises(ReleoError, match="one band is int16 .*another float32 .*bring them to one grid"):
        from_dataset(foreign.assign(nir=foreign["nir"].astype(np.float32)), BANDS, scale=10000, angles=ANGLES)
    foreign["nir"].attrs["scale_factor"] = 1e-4
    with pytest.raises(ReleoError, match="scale_factor is None of one band and 0.0001 of another; decode them first"):
        from_dataset(foreign, BANDS, angles=ANGLES)


def test_classes_of_every_band_are_refused(foreign):
    foreign["qa"] = foreign["qa"].expand_dims(level=2)
    with pytest.raises(ReleoError, match="expected qa over .time, y, x., got .*level"):
        from_dataset(foreign, BANDS, scale=10000, angles=ANGLES, classes="qa", clear=(0,))
