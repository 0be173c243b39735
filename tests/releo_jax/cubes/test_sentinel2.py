"""Sentinel-2 products: offset, special numbers, scene classes, angle grids, and what can be wrong with a folder."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from releo_jax.cubes import CLEAR, open_cube, open_sentinel2, write_scene
from releo_jax.cubes.angles import AngleGrids, bilinear, directions, fill_nearest, mean_direction, zenith_azimuth
from releo_jax.cubes.metadata import read_product, read_tile
from releo_jax.cubes.rasters import Affine, Grid
from releo_jax.cubes.safe_writing import _write_jp2
from releo_jax.errors import ReleoError


@pytest.fixture
def safe(cube, tmp_path) -> Path:
    write_scene(cube, tmp_path / "image.SAFE")
    return tmp_path / "image.SAFE"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def tile_file(safe: Path) -> Path:
    return next(safe.glob("GRANULE/*/MTD_TL.xml"))


def band_file(safe: Path, name: str) -> Path:
    return next(safe.glob(f"GRANULE/*/IMG_DATA/R*/*_{name}.jp2"))


def test_metadata(safe):
    product = read_product(safe / "MTD_MSIL2A.xml")
    assert (product.sensor, product.baseline, product.quantification) == ("sentinel2b", "04.00", 10000.0)
    assert product.offsets["B8A"] == -1000.0 and product.nodata == (0.0,) and product.saturated == (65535.0,)
    cube = open_sentinel2(safe)
    assert cube.attrs["processing_baseline"] == "04.00" and "nearest" in cube.attrs["resampling"]


def test_without_offset_before_baseline_4(safe, cube):
    edit(safe / "MTD_MSIL2A.xml", "04.00", "02.14")
    text = (safe / "MTD_MSIL2A.xml").read_text()
    start, end = text.index("<BOA_ADD_OFFSET_VALUES_LIST>"), text.index("</BOA_ADD_OFFSET_VALUES_LIST>")
    (safe / "MTD_MSIL2A.xml").write_text(text[:start] + text[end + len("</BOA_ADD_OFFSET_VALUES_LIST>") :])
    read = open_sentinel2(safe, bands=("B04",))
    expected = cube["reflectance"].sel(band="B04").values[0, 20:] + np.float32(0.1)
    np.testing.assert_allclose(read["reflectance"].values[0, 0, 20:], expected, atol=1e-6)


def test_a_new_baseline_without_offset_is_refused(safe):
    edit(safe / "MTD_MSIL2A.xml", "BOA_ADD_OFFSET>", "OTHER>")
    text = (safe / "MTD_MSIL2A.xml").read_text().replace("<BOA_ADD_OFFSET band_id", "<OTHER band_id")
    (safe / "MTD_MSIL2A.xml").write_text(text)
    with pytest.raises(ReleoError, match="04.00 without BOA_ADD_OFFSET"):
        open_sentinel2(safe)


def test_clear_classes_are_a_parameter(safe):
    path = band_file(safe, "SCL_20m")
    with rasterio.open(path) as file:
        crs, transform, classes = file.crs, file.transform, np.full(file.shape, 4, np.uint8)
    classes[5, :12] = range(12)
    _write_jp2(path, classes, crs, transform, 20)
    row = open_sentinel2(safe, resolution=20, bands=("B12",))["mask"].values[0, 0, 5, :12]
    expected = [1, 2] + [0 if number in CLEAR else 4 for number in range(2, 12)]
    assert row.tolist() == expected
    strict = open_sentinel2(safe, resolution=20, bands=("B12",), clear=(4,))["mask"].values[0, 0, 5, :12]
    assert strict.tolist() == [1, 2, 4, 4, 0] + [4] * 7
    free = open_sentinel2(safe, resolution=20, bands=("B12",), clear=None)["mask"].values[0, 0, 5, :12]
    assert not free.any()
    with pytest.raises(ReleoError, match="scene classes from 2 to 11"):
        open_sentinel2(safe, clear=(4, 12))


def test_directions_and_angles_are_inverse():
    zenith, azimuth = np.array([[5.0, 40.0], [0.5, 80.0]]), np.array([[350.0, 10.0], [180.0, 271.0]])
    back = zenith_azimuth(3.0 * directions(zenith, azimuth))
    np.testing.assert_allclose(back[0], zenith, atol=1e-12)
    np.testing.assert_allclose(back[1], azimuth, atol=1e-10)


def test_detectors_are_averaged_where_they_are_known_as_vectors_across_north():
    nan = np.nan
    one = directions(np.array([[4.0, nan, nan]]), np.array([[350.0, nan, nan]]))
    other = directions(np.array([[4.0, 6.0, nan]]), np.array([[10.0, 90.0, nan]]))
    zenith, azimuth = zenith_azimuth(mean_direction([one, other]))
    np.testing.assert_allclose(np.cos(np.radians(azimuth[0, :2] - [0.0, 90.0])), 1.0)
    assert zenith[0, 0] == pytest.approx(np.degrees(np.arctan(np.tan(np.radians(4)) * np.cos(np.radians(10)))))
    assert zenith[0, 1] == pytest.approx(6.0) and np.isnan(zenith[0, 2])
    filled = zenith_azimuth(fill_nearest(mean_direction([one, other])))
    assert filled[0][0, 2] == pytest.approx(6.0) and filled[1][0, 2] == pytest.approx(90.0)


def test_bilinear_is_exact_for_planes_and_constant_outside():
    row, column = np.arange(4.0)[:, None], np.arange(5.0)[None, :]
    nodes = np.stack([2 * row + 3 * column, row - column, 1.0 + 0 * row * column])
    y, x = np.array([0.25, 1.5, 3.0, 9.0]), np.array([-1.0, 0.1, 3.9])
    got = bilinear(nodes, y, x)
    inside_y, inside_x = np.clip(y, 0, 3)[:, None], np.clip(x, 0, 4)[None, :]
    np.testing.assert_allclose(got[0], 2 * inside_y + 3 * inside_x, atol=1e-12)
    np.testing.assert_allclose(got[1], inside_y - inside_x, atol=1e-12)


def test_relative_azimuth_of_a_sensor_that_crosses_the_zenith_has_no_branch():
    """Between two nodes the sensor passes overhead: its azimuth jumps from 100 to 280 degrees, not its direction."""
    grids = AngleGrids(
        sun=directions(np.full((1, 2), 35.0), np.full((1, 2), 150.0)),
        view=directions(np.array([[1.0, 1.0]]), np.array([[100.0, 280.0]])),
    )
    grid = Grid(None, Affine(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), 1, 500)
    whole = slice(0, 1), slice(0, 500)
    relative, zenith = grids.at("relative_azimuth", grid, *whole)[0], grids.at("view_zenith", grid, *whole)[0]
    assert relative[:249] == pytest.approx(50.0, abs=1e-3) and relative[-249:] == pytest.approx(130.0, abs=1e-3)
    assert zenith[249:251].max() < 0.01 and zenith[0] == pytest.approx(1.0, abs=5e-3)


def test_angle_grids_are_read_band_by_band_and_detector_by_detector(safe):
    path = tile_file(safe)
    before = read_tile(path)
    text = path.read_text()
    start = text.index("<Viewing_Incidence_Angles_Grids")
    end = text.index("</Viewing_Incidence_Angles_Grids>") + len("</Viewing_Incidence_Angles_Grids>")
    first = text[start:end]
    unknown = " ".join(["NaN"] * 23)
    blank = re.sub(r"<VALUES>[^<]*</VALUES>", f"<VALUES>{unknown}</VALUES>", first)
    path.write_text(text[:start] + blank.replace('detectorId="1"', 'detectorId="2"') + text[start:])
    after = read_tile(path)
    np.testing.assert_allclose(after.angles.view, before.angles.view, atol=1e-12)
    path.write_text(text[:start] + blank + text[end:])  # one band less: the mean over the others is the same
    np.testing.assert_allclose(read_tile(path).angles.view, before.angles.view, atol=1e-6)


def test_mean_angles_serve_where_there_are_no_grids(safe):
    path = tile_file(safe)
    text = path.read_text()
    start, end = text.index("<Tile_Angles>"), text.index("</Tile_Angles>")
    means = "".join(
        f"<{tag}><ZENITH_ANGLE>{zenith}</ZENITH_ANGLE><AZIMUTH_ANGLE>{azimuth}</AZIMUTH_ANGLE></{tag}>"
        for tag, zenith, azimuth in (("Mean_Sun_Angle", 30, 160), ("Mean_Viewing_Incidence_Angle", 5, 100))
    )
    path.write_text(text[: start + len("<Tile_Angles>")] + means + text[end:])
    cube = open_sentinel2(safe)
    for name, value in (("sun_zenith", 30.0), ("view_zenith", 5.0), ("relative_azimuth", 60.0)):
        np.testing.assert_allclose(cube[name].values, value, atol=1e-4)
    path.write_text(text[: start + len("<Tile_Angles>")] + text[end:])
    with pytest.raises(ReleoError, match="neither angle grids nor Mean_Sun_Angle"):
        open_sentinel2(safe)


def test_angles_can_be_given(safe):
    cube = open_cube(safe, sun_zenith=33.0)
    assert (cube["sun_zenith"].values == 33).all()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda s: (s / "MTD_MSIL2A.xml").unlink(), "no MTD_MSIL2A.xml"),
        (lambda s: (s / "MTD_MSIL2A.xml").rename(s / "MTD_MSIL1C.xml"), "Level-1C product"),
        (lambda s: tile_file(s).unlink(), "MTD_TL.xml: no such file"),
        (lambda s: tile_file(s).write_text(tile_file(s).read_text()[:900]), "damaged metadata"),
        (lambda s: edit(tile_file(s), "Sun_Angles_Grid", "Sun"), "neither angle grids"),
        (lambda s: edit(s / "MTD_MSIL2A.xml", ">10000<", ">ten<"), "expected a number in BOA_QUANTIFICATION_VALUE"),
        (lambda s: edit(s / "MTD_MSIL2A.xml", "Sentinel-2B", "Sentinel-9Z"), "unknown sensor 'Sentinel-9Z'"),
        (lambda s: shutil.rmtree(s / "GRANULE"), "no granule"),
        (lambda s: (s / "GRANULE" / "another").mkdir(), "2 granules"),
        (lambda s: band_file(s, "SCL_20m").unlink(), "no scene classification"),
        (lambda s: shutil.rmtree(next(s.glob("GRANULE/*/IMG_DATA"))), "no JPEG 2000 files"),
        (lambda s: band_file(s, "B04_10m").write_bytes(b""), "B04_10m.jp2: the file is empty"),
    ],
)
def test_a_spoilt_folder_gets_one_line_that_says_what_and_where(safe, spoil, message):
    spoil(safe)
    with pytest.raises(ReleoError, match=message) as caught:
        open_cube(safe)
    assert str(safe) in str(caught.value) or "sensor" in message
    assert "\n" not in str(caught.value)


def test_missing_bands_are_named(safe):
    band_file(safe, "B08_10m").unlink()
    with pytest.raises(ReleoError, match="missing band B08; found B02, B03"):
        open_cube(safe, bands=("B04", "B08"))
    assert "B08" not in open_cube(safe)["band"].values


def test_scale_and_another_sensor_contradict_the_metadata(safe):
    with pytest.raises(ReleoError, match="come from its metadata"):
        open_cube(safe, scale=10000)
    with pytest.raises(ReleoError, match="sentinel2b by its metadata, not sentinel2a"):
        open_cube(safe, sensor="S2A")
    with pytest.raises(ReleoError, match="resolution of 10, 20 or 60"):
        open_cube(safe, resolution=30)
