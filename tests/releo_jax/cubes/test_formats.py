"""What is written in a format is what is read from it."""

import netCDF4
import numpy as np
import pytest
import rasterio
import xarray as xr

from releo_jax.cubes import BANDS, load_block, open_cube, open_sentinel2, read_table, write_cog, write_cube, write_scene
from releo_jax.cubes.blocks import Window, blocks
from releo_jax.cubes.checks import check_cube
from releo_jax.cubes.convention import ANGLES, grid_of

IMAGES = ("image.SAFE", "image", "image.nc", "image.zarr")


def assert_same(read: xr.Dataset, written: xr.Dataset, angle_tolerance: float = 0.0) -> None:
    check_cube(read)
    assert read["band"].values.tolist() == written["band"].values.tolist()
    np.testing.assert_array_equal(read["reflectance"].values, written["reflectance"].values)
    np.testing.assert_array_equal(read["mask"].values, written["mask"].values)
    for name in ("time", "y", "x"):
        np.testing.assert_array_equal(read[name].values, written[name].values)
    for name in ANGLES:
        expected = written[name].broadcast_like(read[name]).transpose(*read[name].dims).values
        np.testing.assert_allclose(read[name].values, expected, rtol=0, atol=angle_tolerance)
    assert grid_of(read) == grid_of(written)
    assert read.attrs["sensor"] == written.attrs["sensor"]


@pytest.mark.parametrize("name", IMAGES)
def test_every_image_format_round_trips(cube, tmp_path, name):
    write_scene(cube, tmp_path / name)
    read = open_cube(tmp_path / name)
    # The 5 km grids of a SAFE product hold planes of directions; the angles of this cube are planes of numbers.
    assert_same(read, cube, angle_tolerance=2e-3 if name.endswith("SAFE") else 0.0)
    assert read["reflectance"].chunks is not None, "pixels must be read when they are asked for"
    assert read["reflectance"].dtype == np.float32 and read["mask"].dtype == np.uint8


@pytest.mark.parametrize("name", IMAGES)
def test_bands_are_chosen_in_the_order_asked_for(cube, tmp_path, name):
    write_scene(cube, tmp_path / name)
    read = open_cube(tmp_path / name, bands=("B8A", "B3", "b11"))
    assert read["band"].values.tolist() == ["B8A", "B03", "B11"]
    np.testing.assert_array_equal(
        read["reflectance"].values, cube["reflectance"].sel(band=["B8A", "B03", "B11"]).values
    )


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_series_round_trip(new_cube, tmp_path, suffix):
    series = new_cube(times=3)
    write_cube(series, tmp_path / f"series.{suffix}")
    assert_same(open_cube(tmp_path / f"series.{suffix}"), series)


def test_netcdf_holds_no_strings_of_variable_length(cube, tmp_path):
    # HDF5 crashes where such a file is opened twice in one process, as notebooks do.
    write_cube(cube, tmp_path / "image.nc")
    with netCDF4.Dataset(tmp_path / "image.nc") as file:
        assert "band" in file.variables
        assert not [name for name, variable in file.variables.items() if variable.dtype is str]


def test_60_m_bands_and_partial_blocks_round_trip_through_safe(new_cube, tmp_path):
    whole = new_cube(shape=(37, 51), bands=tuple(band for band in BANDS if band != "B10"))
    write_scene(whole, tmp_path / "image.SAFE")
    np.testing.assert_array_equal(open_cube(tmp_path / "image.SAFE")["reflectance"].values, whole["reflectance"].values)


def test_20_m_averages_finer_bands_and_keeps_coarser_ones(cube, tmp_path):
    write_scene(cube, tmp_path / "image.SAFE")
    read = open_sentinel2(tmp_path / "image.SAFE", resolution=20)
    assert read.sizes["y"] == cube.sizes["y"] // 2 and grid_of(read)[1].a == 20
    fine = cube["reflectance"].values[0]
    mean = fine.reshape(len(fine), 18, 2, 24, 2).mean(axis=(2, 4))
    got = read["reflectance"].values[0]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(mean))
    np.testing.assert_allclose(got, mean, atol=0.51e-4)
    coarse = [i for i, band in enumerate(cube["band"].values) if band in ("B05", "B8A", "B12")]
    np.testing.assert_array_equal(got[coarse], fine[coarse][:, ::2, ::2])
    np.testing.assert_array_equal(read["mask"].values[0], cube["mask"].values[0][:, ::2, ::2])


def test_60_m_takes_the_coarse_files_and_averages_the_others(new_cube, tmp_path):
    cube = new_cube(bands=tuple(band for band in BANDS if band != "B10"))
    write_scene(cube, tmp_path / "image.SAFE")
    read = open_cube(tmp_path / "image.SAFE", resolution=60)
    assert grid_of(read)[1].a == 60 and (read.sizes["y"], read.sizes["x"]) == (6, 8)
    fine = cube["reflectance"].values[0].astype(np.float64)
    mean = fine.reshape(len(fine), 6, 6, 8, 6).mean(axis=(2, 4))
    # B02 to B04 come from their files of 20 m, whose numbers are rounded once more.
    np.testing.assert_allclose(read["reflectance"].values[0][:, 1:], mean[:, 1:], atol=1.01e-4)
    np.testing.assert_array_equal(read["mask"].values[0], cube["mask"].values[0][:, ::6, ::6])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_table_round_trips(cube, tmp_path, suffix):
    write_scene(cube, tmp_path / f"pixels.{suffix}")
    frame, block = read_table(tmp_path / f"pixels.{suffix}")
    whole = load_block(cube, Window(0, 0, 0, cube.sizes["y"], cube.sizes["x"]))
    assert block.bands == whole.bands and len(frame) == len(block) == whole.reflectance.shape[0]
    np.testing.assert_array_equal(block.mask, whole.mask)
    np.testing.assert_allclose(block.reflectance[block.mask], whole.reflectance[whole.mask], rtol=0, atol=1e-6)
    for name in ANGLES:
        np.testing.assert_allclose(getattr(block, name), getattr(whole, name), atol=1e-5)


def test_azimuths_of_a_table_give_the_relative_azimuth(cube, tmp_path):
    write_scene(cube, tmp_path / "pixels.csv")
    frame, block = read_table(tmp_path / "pixels.csv")
    frame["SUN_AZIMUTH"], frame["view_azimuth"] = 350.0, 20.0
    frame.drop(columns="relative_azimuth").to_csv(tmp_path / "azimuths.csv", index=False)
    _, other = read_table(tmp_path / "azimuths.csv")
    np.testing.assert_allclose(other.relative_azimuth, 30.0)
    np.testing.assert_array_equal(other.reflectance, block.reflectance)


def test_cog_of_a_cube_is_one_tiled_file_with_named_bands(cube, tmp_path):
    write_cog(cube, tmp_path / "cube.tif")
    with rasterio.open(tmp_path / "cube.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.descriptions[0] == "reflectance_B02" and file.units[0] == "1"
        assert np.isnan(file.nodata) and set(file.dtypes) == {"float32"}
        assert (file.crs, file.transform) == grid_of(cube)
        np.testing.assert_array_equal(file.read(1), cube["reflectance"].sel(band="B02").values[0])
    read = open_cube(tmp_path / "cube.tif", sun_zenith=31.0, view_zenith=6.0, relative_azimuth=128.0)
    np.testing.assert_array_equal(read["reflectance"].values, cube["reflectance"].values)


def test_large_cog_has_overviews(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.random((1, 1100, 700)).astype(np.float32)
    data = xr.Dataset(
        {"a": (("time", "y", "x"), values)},
        coords={"time": [np.datetime64("2022-01-01", "ns")], "y": -10.0 * np.arange(1100), "x": 10.0 * np.arange(700)},
    )
    write_cog(data, tmp_path / "large.tif")
    with rasterio.open(tmp_path / "large.tif") as file:
        assert file.overviews(1) and file.block_shapes[0] == (512, 512)
        np.testing.assert_array_equal(file.read(1), values[0])


def test_foreign_layouts_of_netcdf_are_understood(cube, tmp_path):
    """One variable a band, other names of dimensions, packed numbers, azimuths, one number a date."""
    integers = np.rint(cube["reflectance"].fillna(-0.9999) * 1e4).astype(np.int16)
    foreign = xr.Dataset(
        {f"S2-L2A-{band}": integers.sel(band=band, drop=True) for band in cube["band"].values},
        attrs={"crs": "EPSG:32632"},
    ).drop_vars("spatial_ref")
    for variable in foreign.data_vars.values():
        variable.attrs = {"scale_factor": 1e-4, "_FillValue": np.int16(-9999)}
    foreign = foreign.assign(
        sun_zenith=("time", [31.0]), view_zenith=6.0, sun_azimuth=("time", [100.0]), view_azimuth=("time", [110.0])
    )
    foreign["scene_id"] = ("time", ["S2C_MSIL2A_20220605T103629.SAFE"])
    foreign.rename(time="t").to_netcdf(tmp_path / "foreign.nc", engine="netcdf4")
    read = open_cube(tmp_path / "foreign.nc")
    np.testing.assert_allclose(read["reflectance"].values[0, 3, 8:], cube["reflectance"].values[0, 3, 8:], atol=1e-7)
    assert read["relative_azimuth"].values.tolist() == [10.0]
    assert read.attrs["sensor"] == "sentinel2c" and grid_of(read) == grid_of(cube)
    assert (read["mask"].values[0, 0, :6, :6] == 1).all()


def test_numpy_and_lazy_cubes_iterate_alike(cube, tmp_path):
    write_cube(cube, tmp_path / "c.nc")
    lazy = open_cube(tmp_path / "c.nc")
    for window in blocks(lazy, 20):
        one, other = load_block(cube, window), load_block(lazy, window)
        np.testing.assert_array_equal(one.reflectance, other.reflectance)
        np.testing.assert_array_equal(one.flags, other.flags)
