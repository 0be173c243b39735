"""Landsat Collection 2 Level-2: scale, names of bands, bits, angles, and what can be wrong with a folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from physics import sensor
from releo_jax import maps
from releo_jax.cubes import LANDSAT_BANDS, open_cube, open_landsat, write_cube
from releo_jax.cubes.blocks import Window, load_block
from releo_jax.cubes.checks import check_cube
from releo_jax.cubes.convention import grid_of
from releo_jax.errors import ReleoError
from tests.releo_jax.cubes.products import LANDSAT, landsat_metadata, landsat_numbers, write_landsat

SHAPE = (20, 30)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_landsat(tmp_path)


def test_reflectance_grid_time_and_names(folder):
    cube = open_cube(folder)
    check_cube(cube)
    assert tuple(cube["band"].values) == LANDSAT_BANDS == sensor("landsat8").bands
    assert (cube.attrs["sensor"], cube.attrs["product"]) == ("landsat8", LANDSAT)
    assert str(cube["time"].values[0]) == "2022-06-05T10:10:38.123456000"
    for name, numbers in landsat_numbers().items():
        with rasterio.open(folder / f"{LANDSAT}_SR_{name}.TIF") as file:
            assert (file.crs, file.transform) == grid_of(cube)
            stored = file.read(1, masked=True).astype(np.float64).filled(np.nan)
        np.testing.assert_array_equal(stored[3:], numbers[3:])
        found = cube["reflectance"].sel(band=name).values[0]
        np.testing.assert_allclose(found, stored * 2.75e-5 - 0.2, atol=2e-7)
    assert (cube["mask"].values[0, :, :3] == 1).all() and not cube["mask"].values[0, :, 3:].any()
    assert tuple(open_cube(folder, bands=("B05", "b4"))["band"].values) == ("B5", "B4")


def test_bits_that_are_not_clear_are_a_parameter(tmp_path):
    quality = np.full(SHAPE, 1 << 6, np.uint16)
    quality[10, :16] = 1 << np.arange(16)
    radiometry = np.zeros(SHAPE, np.uint16)
    radiometry[11, :12] = 1 << np.arange(12)
    path = write_landsat(tmp_path, quality=quality, radiometry=radiometry)
    mask = open_landsat(path)["mask"].values[0]
    for plane in mask:
        assert plane[10, :16].tolist() == [1, 4, 4, 4, 4, 4] + [0] * 10
    for index, plane in enumerate(mask):
        assert plane[11, :12].tolist() == [2 * (bit == index) + 4 * (bit == 11) for bit in range(12)]
    clouds = open_landsat(path, cloudy_bits=(3,), bands=("B3",))
    assert clouds["mask"].values[0, 0, 10, :6].tolist() == [1, 0, 0, 4, 0, 0] and clouds.attrs["cloudy_bits"] == "3"
    with pytest.raises(ReleoError, match=r"QA_PIXEL.TIF: expected bits from 0 to 15, got \[16\]"):
        open_landsat(path, cloudy_bits=(16,))


def test_angles_of_the_pixels_or_of_the_scene(folder, tmp_path):
    cube, columns = open_landsat(folder), np.arange(SHAPE[1]) / 100.0
    for name, value in (("sun_zenith", 30.0), ("view_zenith", 4.0)):
        np.testing.assert_allclose(cube[name].values[0], np.broadcast_to(value + columns, SHAPE), atol=1e-5)
    np.testing.assert_allclose(cube["relative_azimuth"].values, 360.0 - 223.5, atol=1e-3)
    bare = write_landsat(tmp_path / "bare", angles=False)
    with pytest.raises(ReleoError, match="no view_zenith, relative_azimuth in the file; give --view-zenith DEGREES"):
        open_cube(bare)
    given = open_cube(bare, view_zenith=3.0, relative_azimuth=100.0)
    assert given["sun_zenith"].values == pytest.approx(29.75) and given["view_zenith"].values == pytest.approx(3.0)


def test_metadata_as_xml_say_the_same(folder, tmp_path):
    other = write_landsat(tmp_path / "xml", kind="xml")
    one, two = open_cube(folder), open_cube(other)
    np.testing.assert_array_equal(one["reflectance"].values, two["reflectance"].values)
    assert one["time"].values == two["time"].values and one.attrs == two.attrs


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_cubes_round_trip_with_the_names_of_landsat(folder, tmp_path, suffix):
    cube = open_landsat(folder, bands=("B4", "B5"))
    write_cube(cube, tmp_path / f"c.{suffix}")
    read = open_cube(tmp_path / f"c.{suffix}", bands=("B5",))
    assert read["band"].values.tolist() == ["B5"] and read.attrs["sensor"] == "landsat8"
    np.testing.assert_array_equal(read["reflectance"].values, cube["reflectance"].sel(band=["B5"]).values)
    block = load_block(read, Window(0, 0, 0, *SHAPE))
    np.testing.assert_array_equal(block.flags[:, 0], cube["mask"].sel(band="B5").values.ravel())


def test_retrievals_made_for_sentinel_2_refuse_it(folder, tmp_path):
    with pytest.raises(ReleoError, match="'landsat8'; .*know Sentinel-2 only"):
        maps.invert_file(folder, tmp_path / "maps.nc")
    with pytest.raises(ReleoError, match="'landsat8'; .*know Sentinel-2 only"):
        maps.invert_file(folder, tmp_path / "maps.nc", temporal="weekly")


def change(group: str, name: str, value: str | None):
    def write(folder: Path) -> None:
        content = landsat_metadata()
        if value is None:
            del content[group][name]
        else:
            content[group][name] = value
        (folder / f"{LANDSAT}_MTL.json").write_text(json.dumps({"LANDSAT_METADATA_FILE": content}))

    return write


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / f"{LANDSAT}_MTL.json").unlink(), "no .*_MTL.json or .*_MTL.xml"),
        (lambda f: (f / f"{LANDSAT}_MTL.json").write_text("{"), "damaged metadata"),
        (lambda f: (f / f"{LANDSAT}_MTL.json").write_text("[]"), "damaged metadata"),
        (lambda f: (f / f"{LANDSAT}_QA_RADSAT.TIF").unlink(), r"expected one file \*_QA_RADSAT.TIF, found 0"),
        (lambda f: (f / f"{LANDSAT}_SR_B3.TIF").write_bytes(b""), "the file is empty"),
        (
            change("IMAGE_ATTRIBUTES", "SPACECRAFT_ID", "LANDSAT_7"),
            "unknown sensor 'LANDSAT_7'; .*or landsat9",
        ),
        (change("IMAGE_ATTRIBUTES", "DATE_ACQUIRED", "June"), "expected a date and time, got 'June'"),
        (change("IMAGE_ATTRIBUTES", "SUN_ELEVATION", "high"), "expected a number in SUN_ELEVATION, got 'high'"),
        (change("PRODUCT_CONTENTS", "PROCESSING_LEVEL", "L1TP"), "expected a Level-2 product .* got L1TP"),
        (change("PRODUCT_CONTENTS", "COLLECTION_NUMBER", "01"), "expected a Level-2 product of Collection 2"),
        (change("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "REFLECTANCE_ADD_BAND_3", None), "no REFLECTANCE_ADD_BAND_3"),
        (change("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "REFLECTANCE_MULT_BAND_3", "1"), "expected one positive"),
    ],
)
def test_a_spoilt_folder_gets_one_line_that_says_what_and_where(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ReleoError, match=message) as caught:
        open_cube(folder)
    assert "\n" not in str(caught.value)


def test_options_of_other_products_are_refused(folder):
    with pytest.raises(ReleoError, match="come from its metadata"):
        open_cube(folder, scale=10000)
    with pytest.raises(ReleoError, match="no scene classes; leave clear out, or choose bits by open_landsat"):
        open_cube(folder, clear=(4,))
    with pytest.raises(ReleoError, match="unknown band 'B8A'; expected names among B1, B2"):
        open_cube(folder, bands=("B8A",))
