"""Whatever is wrong with an input gets one line that says what, where, and what to do."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

from releo_jax.cubes import BlockWriter, blocks, load_block, open_cube, read_table, write_cube, write_scene
from releo_jax.cubes.streaming import Layer
from releo_jax.cubes.values import Coding
from releo_jax.errors import ReleoError


@pytest.fixture
def folder(cube, tmp_path) -> Path:
    write_scene(cube, tmp_path / "bands")
    return tmp_path / "bands"


@pytest.fixture
def table(cube, tmp_path) -> tuple[pd.DataFrame, Path]:
    write_scene(cube, tmp_path / "pixels.csv")
    return pd.read_csv(tmp_path / "pixels.csv"), tmp_path / "pixels.csv"


def refused(message: str, function, *arguments, **options) -> None:
    with pytest.raises(ReleoError, match=message) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)


def truncate(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def read_all(path: Path) -> None:
    cube = open_cube(path)
    for window in blocks(cube):
        load_block(cube, window)


# Units


@pytest.mark.parametrize("bands", [["B02", "B03", "B04"], ["B11"]])
def test_scaled_numbers_without_a_scale_in_a_table(table, bands):
    frame, path = table
    frame[bands] = (frame[bands] * 1e4).fillna(-9999).round().astype(int)
    frame.to_csv(path, index=False)
    refused(r"pixels.csv: .*--scale 10000", read_table, path, bands=bands)
    _, block = read_table(path, bands=bands, scale=10000)
    assert 0 < block.reflectance[block.mask].max() < 1


@pytest.mark.parametrize("factor", [100, 10000])
def test_scaled_floats_without_a_scale_in_a_cube(cube, tmp_path, factor):
    cube["reflectance"] = cube["reflectance"] * factor
    write_cube(cube.drop_vars("mask"), tmp_path / "c.nc")
    refused(rf"c.nc: reflectance of .*; give --scale {factor} ", open_cube, tmp_path / "c.nc")
    scaled = open_cube(tmp_path / "c.nc", scale=factor)
    np.testing.assert_allclose(scaled["reflectance"].values, cube["reflectance"].values / factor, rtol=1e-6)


def test_a_scale_for_what_is_reflectance_already(cube, table, tmp_path):
    write_cube(cube.drop_vars("mask"), tmp_path / "c.nc")
    refused("already holds reflectance: leave the scale out", open_cube, tmp_path / "c.nc", scale=10000)
    refused("already holds reflectance: leave the scale out", read_table, table[1], scale=10000)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none(table, scale):
    refused("expected a positive scale", read_table, table[1], scale=scale)


def test_the_unit_is_seen_where_most_of_the_image_is_empty(new_cube, tmp_path):
    cube = new_cube(shape=(400, 400), bands=("B02", "B04"))
    values = np.full_like(cube["reflectance"].values, np.nan)
    values[..., 60:90, 330:360] = 3000.0
    cube["reflectance"] = cube["reflectance"].copy(data=values)
    write_cube(cube.drop_vars("mask"), tmp_path / "c.nc")
    refused("--scale 10000", open_cube, tmp_path / "c.nc")


def test_angles_in_radians(cube, table, tmp_path):
    frame, path = table
    frame["sun_zenith"] = np.radians(frame["sun_zenith"])
    frame.to_csv(path, index=False)
    refused("sun_zenith of 0.54.* looks like radians; give degrees", read_table, path)
    _, block = read_table(path, sun_zenith=31.0)
    assert (block.sun_zenith == 31).all()
    cube["sun_zenith"] = np.radians(cube["sun_zenith"])
    write_cube(cube, tmp_path / "c.nc")
    refused("c.nc: sun_zenith of .* looks like radians", open_cube, tmp_path / "c.nc")


@pytest.mark.parametrize("name, value", [("sun_zenith", 95.0), ("view_zenith", -5.0), ("sun_zenith", np.nan)])
def test_angles_of_no_direction(table, name, value):
    frame, path = table
    frame[name] = value
    frame.to_csv(path, index=False)
    refused(f"{name} (holds no number|from 0 to 90)", read_table, path)
    frame[name] = 30.0
    frame.loc[5, name] = value
    frame.to_csv(path, index=False)
    _, block = read_table(path)
    assert (block.flags[5] & 8 == 8).all() and np.isfinite(block.sun_zenith).all()


# Values


def test_values_that_are_no_reflectance_are_flagged_one_by_one(table):
    frame, path = table
    clean = read_table(path)[1]
    row = 20 * 48 + 20
    frame.loc[row, "B02"] = np.nan
    frame.loc[row + 1, "B03"] = -0.02
    frame.loc[row + 2, "B04"] = 65535
    frame.loc[row + 3, "B05"] = 1.7
    frame.loc[row + 4, "B06"] = -9999
    frame.to_csv(path, index=False)
    block = read_table(path)[1]
    expected = clean.flags.copy()
    for step, flag in enumerate((8, 8, 2, 8, 1)):
        expected[row + step, step] = flag
    np.testing.assert_array_equal(block.flags, expected)
    np.testing.assert_array_equal(block.reflectance[block.mask], clean.reflectance[block.mask])
    assert np.isfinite(block.reflectance).all()


def test_text_in_a_column_of_numbers(table):
    frame, path = table
    frame["B04"] = frame["B04"].astype(object)
    frame.loc[6, "B04"] = "n/k"
    frame.to_csv(path, index=False)
    refused("column B04, row 7: expected a number, got 'n/k'", read_table, path)


def test_scene_classes_of_a_table_mask_its_rows(table):
    frame, path = table
    frame["SCL"] = 4
    frame.loc[100, "SCL"] = 9
    frame.rename(columns={"SCL": "scl"}).to_csv(path, index=False)
    block = read_table(path)[1]
    assert (block.flags[100] & 4 == 4).all() and not (block.flags[101:110] & 4).any()


# Bands and angles that are not there


def test_missing_bands_and_angles_are_named(folder, table, cube, tmp_path):
    (folder / "B05.tif").unlink()
    refused("missing band B05; found B02, B03", open_cube, folder, bands=("B04", "B05"))
    (folder / "sun_zenith.tif").unlink()
    refused("no sun_zenith in the file; give --sun-zenith DEGREES", open_cube, folder)
    assert (open_cube(folder, sun_zenith=31.5)["sun_zenith"].values == 31.5).all()
    frame, path = table
    frame.drop(columns="B8A").to_csv(path, index=False)
    refused("missing band B8A", read_table, path, bands=("B8A",))
    frame.drop(columns=["relative_azimuth", "view_zenith"]).to_csv(path, index=False)
    refused("no view_zenith, relative_azimuth", read_table, path)
    write_cube(cube.drop_vars(["view_zenith"]), tmp_path / "c.nc")
    refused("c.nc: no view_zenith", open_cube, tmp_path / "c.nc")
    frame[["x", "y"]].to_csv(path, index=False)
    refused("expected bands with names such as B02", read_table, path)


def test_two_files_or_columns_of_one_band(folder, table):
    shutil.copy(folder / "B04.tif", folder / "copy_of_B04.tif")
    refused("both B04.tif and copy_of_B04.tif hold B04", open_cube, folder)
    frame, path = table
    frame.assign(B4=0.1).to_csv(path, index=False)
    refused("columns 'B04' and 'B4' both hold B04", read_table, path)


def test_unknown_sensor(folder, cube, tmp_path):
    refused("unknown sensor 'landsat'", open_cube, folder, sensor="landsat")
    write_cube(cube.assign_attrs(sensor="Terra"), tmp_path / "c.nc")
    refused("unknown sensor 'Terra'", open_cube, tmp_path / "c.nc")


# Files


def test_files_that_are_not_there_or_nothing_we_read(tmp_path):
    refused("nowhere: no such file or folder", open_cube, tmp_path / "nowhere")
    refused("no such file", read_table, tmp_path / "nowhere.csv")
    (tmp_path / "notes.md").write_text("text")
    refused("notes.md: not an image that can be read", open_cube, tmp_path / "notes.md")
    refused("not a table that can be read", read_table, tmp_path / "notes.md")
    (tmp_path / "a.csv").write_text("B02\n0.1\n")
    refused("a.csv: a table, not an image", open_cube, tmp_path / "a.csv")
    (tmp_path / "empty").mkdir()
    refused("empty: not an image", open_cube, tmp_path / "empty")


@pytest.mark.parametrize("name", ["e.nc", "e.tif", "e.csv", "e.parquet"])
def test_empty_files(tmp_path, name):
    (tmp_path / name).touch()
    function = read_table if name.endswith(("csv", "parquet")) else open_cube
    refused(f"{name}: the file is empty", function, tmp_path / name)


def test_tables_without_rows_and_images_without_pixels(table, cube, tmp_path):
    frame, path = table
    frame.iloc[:0].to_csv(path, index=False)
    refused("the table has no rows", read_table, path)
    write_cube(cube.isel(time=slice(0)), tmp_path / "c.zarr")
    refused("the image is empty", open_cube, tmp_path / "c.zarr")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("name", ["image.SAFE", "image", "image.nc", "image.parquet"])
def test_truncated_files_are_named(cube, tmp_path, name, share):
    path = tmp_path / name
    write_scene(cube, path)
    spoilt = {
        "image.SAFE": lambda: next(path.glob("GRANULE/*/IMG_DATA/R10m/*B04*")),
        "image": lambda: path / "B04.tif",
    }.get(name, lambda: path)()
    truncate(spoilt, share)
    function = read_table if name.endswith("parquet") else read_all
    # The tags of a TIFF stand at its end: without them it is a whole image of another scale.
    lost = "|bands with different scales" if (name, share) == ("image", 0.97) else ""
    refused(f"{spoilt}: cannot be read{lost}", function, path)


def test_tiff_whose_tiles_are_cut_off(new_cube, tmp_path):
    """The header stands at the front and is whole: the loss shows when the last tile is read."""
    cube = new_cube(shape=(600, 600), bands=("B02", "B03")).isel(band=[0])
    with BlockWriter(tmp_path / "B02.tif", cube, {"B02": Layer()}) as writer:
        for window in blocks(cube, 300):
            writer.write(window, {"B02": load_block(cube, window).reflectance[:, 0]})
    truncate(tmp_path / "B02.tif", 0.9)
    angles = {"sun_zenith": 30.0, "view_zenith": 5.0, "relative_azimuth": 90.0}
    with pytest.raises(ReleoError, match="B02.tif: cannot be read"):
        opened = open_cube(tmp_path / "B02.tif", **angles, bands=["B02"])
        for window in blocks(opened):
            load_block(opened, window)


def test_csv_cut_within_a_row(table):
    path = table[1]
    text = path.read_text().rstrip("\n")
    path.write_text(text[: text.rindex(",") - 30])
    refused("the last line ends after .* cells; the file is truncated", read_table, path)
    path.write_text(text)  # a complete last row without a line end is none the worse
    assert len(read_table(path)[1]) == len(table[0])


def test_files_of_another_kind_under_a_known_name(tmp_path):
    for name in ("a.nc", "a.tif", "a.parquet"):
        (tmp_path / name).write_text("this is not what the name says, " * 50)
        function = read_table if name.endswith("parquet") else open_cube
        refused(f"{name}: cannot be read", function, tmp_path / name)


# Grids


def rewrite(path: Path, **changes) -> None:
    with rasterio.open(path) as file:
        profile, values, scales, offsets = file.profile, file.read(), file.scales, file.offsets
    profile.update(changes)
    values = values[:, : profile["height"], : profile["width"]]
    with rasterio.open(path, "w", **profile) as file:
        file.write(values.astype(profile["dtype"]))
        file.scales, file.offsets = scales, offsets


@pytest.mark.parametrize(
    "changes",
    [
        {"crs": "EPSG:32633"},
        {"height": 30},
        {"transform": rasterio.Affine(10.0, 0.0, 600_030.0, 0.0, -10.0, 5_300_040.0)},
        {"transform": rasterio.Affine(15.0, 0.0, 600_000.0, 0.0, -15.0, 5_300_040.0)},
    ],
)
@pytest.mark.parametrize("name", ["B05.tif", "SCL.tif", "view_zenith.tif"])
def test_grids_that_do_not_match_name_both_files(folder, changes, name):
    rewrite(folder / name, **changes)
    refused(rf"grids do not match: .*({name}|B02.tif).*(B02.tif|{name})", open_cube, folder)


def test_bands_that_are_written_in_different_ways(folder):
    rewrite(folder / "B05.tif", dtype="float32")
    refused("B05.tif holds float32 .*write all bands in one way", open_cube, folder)


def test_coarser_files_with_the_same_corner_are_repeated(folder, cube):
    with rasterio.open(folder / "B05.tif") as file:
        values, profile, scales, offsets = file.read(1)[::2, ::2], file.profile, file.scales, file.offsets
    t = profile["transform"]
    profile.update(height=18, width=24, transform=rasterio.Affine(20.0, 0.0, t.c, 0.0, -20.0, t.f))
    with rasterio.open(folder / "B05.tif", "w", **profile) as file:
        file.write(values, 1)
        file.scales, file.offsets = scales, offsets
    np.testing.assert_array_equal(open_cube(folder)["reflectance"].values, cube["reflectance"].values)


# Other files of an image


def test_a_side_car_file_that_cannot_be_read(folder):
    (folder / "angles.json").write_text("{")
    refused("angles.json: cannot be read as JSON", open_cube, folder)
    (folder / "angles.json").write_text(json.dumps({"sun_zenith": "high"}))
    refused("angles.json: expected an object", open_cube, folder)
    (folder / "angles.json").write_text(json.dumps({"time": "yesterday"}))
    refused("expected a time such as .*got 'yesterday'", open_cube, folder)


def test_netcdf_without_reflectance_bands_or_coordinates(cube, tmp_path):
    path = tmp_path / "c.nc"
    xr.Dataset({"temperature": ("x", [1.0])}).to_netcdf(path, engine="netcdf4")
    refused("no variable holds reflectance.*found temperature", open_cube, path)
    spoilt = {
        "bands of reflectance are named": cube.assign_coords(band=np.arange(10)),
        "no coordinate x": cube.drop_vars("x"),
        "expected dates in time": cube.assign_coords(time=[3]),
    }
    for number, (message, dataset) in enumerate(spoilt.items()):
        dataset.to_netcdf(tmp_path / f"{number}.nc", engine="netcdf4")
        refused(message, open_cube, tmp_path / f"{number}.nc")


def test_integers_in_a_cube_need_a_scale(cube, tmp_path):
    packed = (cube["reflectance"].fillna(-0.9999) * 1e4).round().astype(np.int16)
    cube.drop_vars("mask").assign(reflectance=packed).to_netcdf(tmp_path / "c.nc", engine="netcdf4")
    refused("stored as int16 without a scale; .*--scale 10000", open_cube, tmp_path / "c.nc")
    read = open_cube(tmp_path / "c.nc", scale=10000)
    assert (read["mask"].values[0, :, :6, :6] == 1).all()


def test_offset_is_added_before_the_division():
    from releo_jax.cubes.values import decode

    raw = xr.DataArray(np.array([[0, 1000, 6000, 65535, 900]], np.uint16), dims=("band", "x"))
    coding = Coding(10000.0, -1000.0, nodata=(0.0,), saturated=(65535.0,))
    reflectance, mask = decode(raw, coding)
    np.testing.assert_allclose(reflectance.values[0], [np.nan, 0.0, 0.5, np.nan, -0.01], atol=1e-7)
    assert mask.values[0].tolist() == [1, 0, 0, 2, 8]
