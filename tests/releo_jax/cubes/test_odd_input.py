"""Faults that `benchmarks.fuzz` found: numbers taken for others, places that were lost, errors without names."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from releo_jax.cubes import open_cube, read_table, write_cube, write_scene
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.convention import ANGLES, Flag, grid_of
from releo_jax.cubes.streaming import BlockWriter, Layer, frame_of
from releo_jax.errors import ReleoError
from tests.releo_jax.cubes.products import write_theia, write_tif


def refused(message: str, function, path) -> None:
    """The error is meant for the user and names the file, or one in the folder."""
    with pytest.raises(ReleoError, match=rf"{re.escape(path.name)}\S*: .*{message}"):
        function(path)


@pytest.fixture
def folder(cube, tmp_path):
    write_scene(cube, tmp_path / "bands")
    return tmp_path / "bands"


def unpacked(cube: xr.Dataset) -> xr.Dataset:
    """The cube as others write it: a variable a band, no mask of ours, nothing encoded."""
    dataset = cube.drop_vars(["reflectance", "mask", "band"]).drop_encoding()
    for band in cube["band"].values:
        dataset[str(band)] = cube["reflectance"].sel(band=band, drop=True).drop_encoding()
    return dataset


def written(dataset: xr.Dataset, path):
    dataset.to_netcdf(path, engine="netcdf4")
    return path


# GeoTIFF


def test_the_offset_of_a_file_counts_without_a_scale_too(tmp_path):
    angles = dict.fromkeys(ANGLES, 30.0)
    write_tif(tmp_path / "b/B04.tif", np.full((6, 6), 0.25, np.float32), 10)
    with rasterio.open(tmp_path / "b/B04.tif", "r+") as file:
        file.offsets = (0.125,)
    assert (open_cube(tmp_path / "b", **angles)["reflectance"].values == 0.375).all()


@pytest.mark.parametrize("scale", [0.0, -1e-4, np.nan])
def test_a_scale_in_a_file_that_is_none(folder, scale):
    for path in folder.glob("B*.tif"):
        with rasterio.open(path, "r+") as file:
            file.scales = (scale,)
    refused("expected a positive scale and finite offsets", open_cube, folder)


def test_angles_in_files_are_decoded(folder):
    with rasterio.open(folder / "sun_zenith.tif") as file:
        numbers, profile = file.read(1), file.profile
    profile.update(dtype="int16", nodata=-1, predictor=1)
    packed = np.rint(numbers * 100).astype(np.int16)
    packed[0, 0] = -1
    with rasterio.open(folder / "sun_zenith.tif", "w", **profile) as file:
        file.write(packed, 1)
        file.scales = (0.01,)
    cube = open_cube(folder)
    np.testing.assert_allclose(cube["sun_zenith"].values[0, 1:], numbers[1:], atol=0.006)
    assert (cube["mask"].values[0, :, 0, 0] & 8).all()


def test_complex_numbers(folder):
    with rasterio.open(folder / "B04.tif") as file:
        profile = {**file.profile, "dtype": "complex64", "nodata": None}
    with rasterio.open(folder / "B04.tif", "w", **profile) as file:
        file.write(np.full(file.shape, 0.1 + 0.2j, np.complex64), 1)
    with pytest.raises(ReleoError, match=r"B04.tif: expected integers or floats, got complex64"):
        open_cube(folder)


def test_images_whose_places_a_grid_does_not_tell(tmp_path):
    write_tif(tmp_path / "B04.tif", np.full((6, 6), 0.25, np.float32), 10, transform=Affine.rotation(17.0))
    refused("its grid is rotated; warp it", open_cube, tmp_path / "B04.tif")
    points = [GroundControlPoint(row, column, 9.0 + column, 47.0 - row) for row in (0, 6) for column in (0, 6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        write_tif(tmp_path / "B05.tif", np.full((6, 6), 0.25, np.float32), 10, transform=None, crs=None)
        with rasterio.open(tmp_path / "B05.tif", "r+") as file:
            file.gcps = (points, CRS.from_epsg(4326))
    refused("it is placed by ground control points", open_cube, tmp_path / "B05.tif")


def test_one_row_without_a_crs_keeps_its_pixel_size(tmp_path):
    write_tif(tmp_path / "b/B04.tif", np.full((1, 6), 0.25, np.float32), 30, crs=None)
    cube = open_cube(tmp_path / "b", **dict.fromkeys(ANGLES, 30.0))
    assert grid_of(cube) == (None, Affine(30.0, 0.0, 600_000.0, 0.0, -30.0, 5_300_040.0))


# NetCDF


def test_bands_as_variables_are_alike_and_read_when_asked_for(cube, tmp_path):
    dataset = unpacked(cube)
    dataset["B05"] = dataset["B05"].transpose("y", "time", "x")
    opened = open_cube(written(dataset, tmp_path / "a.nc"))
    np.testing.assert_array_equal(opened["reflectance"].values, cube["reflectance"].values)
    assert len(opened["reflectance"].chunks[1]) == cube.sizes["band"], "stacked in memory"
    dataset["B05"] = dataset["B05"].assign_attrs(scale_factor=0.5)
    refused("scale_factor is None of one band and 0.5 of another", open_cube, written(dataset, tmp_path / "b.nc"))
    dataset["B05"] = (dataset["B05"] * 1e4).fillna(0).astype(np.int16).drop_attrs()
    refused("one band is float32 .* another int16", open_cube, written(dataset, tmp_path / "c.nc"))


def test_two_variables_of_one_band(cube, tmp_path):
    dataset = unpacked(cube)
    dataset["copy_of_B8A"] = dataset["B8A"]
    refused("the variables B8A and copy_of_B8A are both B8A", open_cube, written(dataset, tmp_path / "c.nc"))


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"scale_factor": "1e-4 or so"}, "expected one number in scale_factor"),
        ({"scale_factor": [1.0, 2.0]}, "expected one number in scale_factor"),
        ({"scale_factor": 0.0}, "expected a positive scale"),
        ({"scale_factor": np.nan}, "expected a positive scale"),
        ({"add_offset": np.inf}, "expected a positive scale and finite offsets"),
    ],
)
def test_packing_that_is_none(cube, tmp_path, attrs, message):
    cube["reflectance"].attrs.update(attrs)
    refused(message, open_cube, written(cube, tmp_path / "c.nc"))


def test_packing_counts_beside_a_mask_and_by_halves(cube, tmp_path):
    scaled = cube.assign(reflectance=(cube["reflectance"] * 1e4).assign_attrs(scale_factor=1e-4))
    opened = open_cube(written(scaled, tmp_path / "scaled.nc"))
    np.testing.assert_allclose(opened["reflectance"].values[0, 5], cube["reflectance"].values[0, 5], rtol=1e-6)
    added = cube.drop_vars("mask").assign(reflectance=(cube["reflectance"] - 0.25).assign_attrs(add_offset=0.25))
    opened = open_cube(written(added, tmp_path / "added.nc"))
    np.testing.assert_allclose(opened["reflectance"].values[0, 5], cube["reflectance"].values[0, 5], atol=1e-6)


def test_the_crs_of_a_grid_mapping_by_its_parameters(cube, tmp_path):
    attrs = {key: value for key, value in cube["spatial_ref"].attrs.items() if key not in ("crs_wkt", "spatial_ref")}
    dataset = unpacked(cube.drop_vars("spatial_ref"))
    dataset["projection"] = ((), 0, attrs)
    for band in cube["band"].values:
        dataset[str(band)].attrs["grid_mapping"] = "projection"
    assert grid_of(open_cube(written(dataset, tmp_path / "c.nc")))[0] == CRS.from_epsg(32632)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"crs_wkt": 'PROJCS["WGS 84'}, "a CRS that cannot be read"),
        ({"GeoTransform": "abc"}, "expected six numbers in GeoTransform"),
        ({"GeoTransform": "600000 10 0"}, "expected six numbers in GeoTransform"),
    ],
)
def test_a_grid_mapping_that_is_none(cube, tmp_path, attrs, message):
    cube["spatial_ref"].attrs.update(attrs)
    refused(message, open_cube, written(cube, tmp_path / "c.nc"))


@pytest.mark.parametrize(("value", "message"), [(np.nan, "expected finite"), (600_005.0, "not evenly spaced")])
def test_coordinates_that_are_no_grid(cube, tmp_path, value, message):
    dataset = cube.assign_coords(x=np.full(cube.sizes["x"], value))
    refused(message, open_cube, written(dataset, tmp_path / "c.nc"))


def test_the_transform_of_an_image_that_something_was_cut_from(cube):
    part = cube.isel(y=slice(6, 7), x=slice(12, 18))
    corner = Affine(10.0, 0.0, 600_120.0, 0.0, -10.0, 5_299_980.0)
    assert grid_of(part)[1] == corner, "one row has the size of the stored transform"
    assert Affine.from_gdal(*map(float, frame_of(part)["spatial_ref"].attrs["GeoTransform"].split())) == corner
    part["spatial_ref"].attrs["GeoTransform"] = "500003 20 0 5200003 0 -20"
    assert grid_of(part)[1] == corner, "a transform of other places tells nothing"


def test_an_image_without_rows(cube, tmp_path):
    write_cube(cube.isel(y=slice(0)), tmp_path / "c.zarr")
    refused("the image is empty", open_cube, tmp_path / "c.zarr")
    unpacked(cube.isel(y=slice(0))).to_zarr(tmp_path / "d.zarr", zarr_format=2)
    refused("the image is empty", open_cube, tmp_path / "d.zarr")


def test_angles_that_are_packed_or_text(cube, tmp_path):
    packed = np.rint(cube["sun_zenith"] * 100).astype(np.int16).assign_attrs(scale_factor=0.01)
    opened = open_cube(written(cube.assign(sun_zenith=packed), tmp_path / "packed.nc"))
    np.testing.assert_allclose(opened["sun_zenith"].values, cube["sun_zenith"].values, atol=0.006)
    text = cube.assign(sun_zenith=("time", ["low"]))
    refused("expected integers or floats", open_cube, written(text, tmp_path / "text.nc"))


@pytest.mark.parametrize("flat", [False, True])
def test_a_mask_does_not_make_reflectance_of_what_is_none(cube, tmp_path, flat):
    cube["reflectance"].values[0, 3, 20, 20:22] = 65535, -0.2
    cube["mask"] = cube["mask"].isel(band=0, drop=True) if flat else cube["mask"]
    mask = open_cube(written(cube, tmp_path / "c.nc"))["mask"].values
    assert (mask[0, 3, 20, 20:22] == 8).all() and mask[0, 4, 20, 20] == 0


def test_masks_go_with_bands_by_other_names(cube, tmp_path):
    small = cube.assign_coords(band=[f"s2-{band.lower()}" for band in cube["band"].values])
    opened = open_cube(written(small, tmp_path / "c.nc"))
    np.testing.assert_array_equal(opened["mask"].values, cube["mask"].values)


def test_coordinates_in_kilometres(cube, tmp_path):
    far = cube.assign_coords(x=("x", cube["x"].values / 1e3, {"units": "km"}))
    refused("coordinates x in kilometres", open_cube, written(far, tmp_path / "c.nc"))


def test_an_image_without_a_dimension_of_dates(cube, tmp_path):
    opened = open_cube(written(cube.isel(time=0, drop=True), tmp_path / "c.nc"))
    np.testing.assert_array_equal(opened["mask"].values, cube["mask"].values)


def test_a_zarr_store_whose_chunks_are_noise(cube, tmp_path):
    write_cube(cube, tmp_path / "c.zarr")
    (tmp_path / "c.zarr/x/0").write_bytes(b"noise" * 20)
    refused("cannot be read", open_cube, tmp_path / "c.zarr")
    write_cube(cube.assign(sun_zenith=("time", [31.0])), tmp_path / "d.zarr")
    (tmp_path / "d.zarr/sun_zenith/0").write_bytes(b"noise" * 20)
    refused("cannot be read", open_cube, tmp_path / "d.zarr")


# Products and tables


@pytest.mark.parametrize(
    ("pattern", "new", "message"),
    [
        (r"(<BOA_QUANTIFICATION_VALUE[^>]*>)[^<]*", r"\g<1>nan", "expected a finite number in BOA_QUANT"),
        (r"(<BOA_QUANTIFICATION_VALUE[^>]*>)[^<]*", r"\g<1>0", "expected a positive number in BOA_QUANT"),
        (r"(<SPACECRAFT_NAME>)[^<]*", r"\g<1>Terra", "unknown sensor 'Terra'"),
        (r'band_id="3"', 'band_id="abc"', "BOA_ADD_OFFSET of an unknown band 'abc'"),
    ],
)
def test_metadata_of_safe(cube, tmp_path, pattern, new, message):
    path = tmp_path / "a.SAFE"
    write_scene(cube, path)
    text, count = re.subn(pattern, new, (path / "MTD_MSIL2A.xml").read_text(), count=1)
    assert count == 1
    (path / "MTD_MSIL2A.xml").write_text(text)
    refused(message, open_cube, path)


def test_angle_grids_of_several_sizes(tmp_path):
    path = write_theia(tmp_path)
    file = next(path.glob("*_MTD_ALL.xml"))
    row = re.search(r"<VALUES>[^<]*</VALUES>", file.read_text()).group(0)
    file.write_text(file.read_text().replace(row, row * 2, 1))
    refused("angle grids of zenith and azimuth differ in size", open_cube, path)


def test_pixels_of_a_product_that_would_make_an_endless_grid(tmp_path):
    path = write_theia(tmp_path)
    for file in path.rglob("*.tif"):
        with rasterio.open(file, "r+") as raster:
            raster.transform = Affine(1e10, 0.0, 600_000.0, 0.0, -1e10, 5_300_040.0)
    refused("pixels of 1e\\+10 x -1e\\+10, expected 10, 20 or 60 m", open_cube, path)


def test_masks_of_theia_that_are_no_bits(tmp_path):
    path = write_theia(tmp_path)
    file = next(path.glob("MASKS/*_SAT_R1.tif"))
    write_tif(file, np.zeros((36, 48), np.float32), 10)
    refused("expected unsigned integers, got float32", open_cube, path)


@pytest.mark.parametrize("values", [True, pd.Timestamp("2022-06-05")])
def test_columns_that_hold_no_numbers(cube, tmp_path, values):
    write_scene(cube, tmp_path / "t.parquet")
    pd.read_parquet(tmp_path / "t.parquet").assign(B05=values).to_parquet(tmp_path / "t.parquet")
    refused("column B05: expected numbers", read_table, tmp_path / "t.parquet")


def test_rows_with_more_cells_than_the_header(cube, tmp_path):
    write_scene(cube, tmp_path / "t.csv")
    header, *rows = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join([header, *(f"{row},9,9" for row in rows)]) + "\n")
    refused("cannot be read as csv", read_table, tmp_path / "t.csv")


def test_a_map_without_crs_lies_for_gdal_where_its_coordinates_say(folder, tmp_path):
    """GDAL turns a NetCDF file upside down whose coordinates do not say which axis they are."""
    for path in folder.glob("*.tif"):
        with rasterio.open(path) as file:
            numbers, profile, coding = file.read(), file.profile, (file.scales, file.offsets)
        with rasterio.open(path, "w", **(profile | {"crs": None})) as file:
            file.write(numbers)
            file.scales, file.offsets = coding
    cube, output = open_cube(folder), tmp_path / "maps.nc"
    values = cube["reflectance"].isel(band=0).values.ravel()
    with BlockWriter(output, cube, {"value": Layer()}) as writer:
        writer.write(Window(0, 0, 0, cube.sizes["y"], cube.sizes["x"]), {"value": values})
    with rasterio.open(f"netcdf:{output}:value") as file:
        assert file.crs is None and (file.transform.f, file.transform.e) == (cube["y"].values[0] + 5.0, -10.0)
        np.testing.assert_array_equal(file.read(1).ravel(), values)


def test_offsets_alone_make_no_reflectance_of_integers(folder):
    for path in folder.glob("B*.tif"):
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (1.0,), (-0.1,)
    refused("without a scale", open_cube, folder)


def test_kilometres_that_call_themselves_metres_are_named(cube, tmp_path):
    small = cube.drop_vars("spatial_ref").assign_coords(x=cube["x"] / 1e3, y=cube["y"] / 1e3).rio.write_crs(32632)
    write_cube(small, tmp_path / "small.nc")
    refused("the coordinates may be kilometres", open_cube, tmp_path / "small.nc")


def test_tables_with_damaged_metadata_are_named(tmp_path, monkeypatch):
    def fail(*_):
        raise TypeError("data type 'float4t' not understood")

    monkeypatch.setattr(pd, "read_parquet", fail)
    (tmp_path / "pixels.parquet").write_bytes(b"PAR1")
    refused("cannot be read as parquet", read_table, tmp_path / "pixels.parquet")


def test_numbers_that_a_rewritten_cube_calls_missing_are_masked(cube, tmp_path):
    number = float(cube["reflectance"].values[0, 2, 20, 20])
    gone = cube["reflectance"].values == np.float32(number)
    write_cube(cube, tmp_path / "scene.nc")
    with xr.open_dataset(tmp_path / "scene.nc", mask_and_scale=False) as stored:
        rewritten = stored.load()
    for name in ("_FillValue", "missing_value"):
        rewritten["reflectance"].attrs = {name: np.float32(number), "units": "1", "grid_mapping": "spatial_ref"}
        bare = {} if name == "_FillValue" else {"reflectance": {"_FillValue": None}}
        rewritten.to_netcdf(tmp_path / f"{name}.nc", encoding=bare)
        found = open_cube(tmp_path / f"{name}.nc")
        assert np.isnan(found["reflectance"].values[gone]).all()
        np.testing.assert_array_equal(found["mask"].values, cube["mask"].values | np.where(gone, Flag.NODATA, 0))
        np.testing.assert_array_equal(found["reflectance"].values[~gone], cube["reflectance"].values[~gone])
