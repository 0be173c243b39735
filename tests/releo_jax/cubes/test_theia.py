"""Products of MAJA as Theia distributes them: numbers, grids, bits of the masks, angles, and what can be wrong."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

from releo_jax import maps, methods
from releo_jax.cli import main
from releo_jax.cubes import open_cube, open_sentinel2, open_theia, write_cube
from releo_jax.cubes.checks import check_cube
from releo_jax.cubes.convention import grid_of
from releo_jax.errors import ReleoError
from tests.releo_jax.cubes.products import CORNER, theia_numbers, write_theia
from tests.releo_jax.doubles import VegetationIndex

SHAPE = (36, 48)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_theia(tmp_path)


def metadata(folder: Path) -> Path:
    return next(folder.glob("*_MTD_ALL.xml"))


def test_reflectance_and_grid_are_those_of_the_files(folder):
    cube = open_sentinel2(folder)
    check_cube(cube)
    assert cube["band"].values.tolist() == ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
    assert (cube.attrs["sensor"], cube.attrs["product"]) == ("sentinel2b", folder.name)
    assert str(cube["time"].values[0]) == "2019-05-15T10:59:11.123000000"
    numbers = theia_numbers(SHAPE)
    for name, side in (("B4", 1), ("B8A", 2)):
        with rasterio.open(next(folder.glob(f"*_FRE_{name}.tif"))) as file:
            stored = file.read(1, masked=True)
            np.testing.assert_array_equal(stored.filled(), numbers[name])
            centres = file.xy(*np.indices(file.shape).reshape(2, -1))
            assert file.crs == grid_of(cube)[0] and file.transform.c == grid_of(cube)[1].c == CORNER[0]
        expected = stored.astype(np.float32).filled(np.nan).repeat(side, 0).repeat(side, 1) / 1e4
        plane = cube["reflectance"].sel(band=f"B0{name[1:]}" if len(name) == 2 else name).isel(time=0)
        np.testing.assert_allclose(plane.values, expected, rtol=1e-6)
        # A pixel lies where rasterio says that it lies.
        x, y = (np.reshape(part, stored.shape)[7, 11] for part in centres)
        at = plane.sel(x=x, y=y, method="nearest", tolerance=side * 5.0)
        assert float(at) == pytest.approx(numbers[name][7, 11] / 1e4)
    assert (cube["mask"].values[0, :, :6] == 1).all() and (cube["mask"].values[0, :, 6:] == 0).all()


def test_20_m_averages_finer_bands_and_keeps_the_others(folder):
    cube = open_cube(folder, resolution=20)
    numbers = theia_numbers(SHAPE)
    assert grid_of(cube)[1].a == 20 and cube.sizes["y"] == 18
    mean = numbers["B3"].reshape(18, 2, 24, 2).mean(axis=(1, 3))[3:]
    np.testing.assert_allclose(cube["reflectance"].sel(band="B03").values[0, 3:], mean / 1e4, atol=0.51e-4)
    np.testing.assert_allclose(cube["reflectance"].sel(band="B12").values[0, 3:], numbers["B12"][3:] / 1e4, rtol=1e-6)


def test_60_m_averages_all_bands_and_joins_the_bits_of_their_masks(tmp_path):
    clouds = planes(CLM=[1])  # one pixel of 20 m
    folder = write_theia(tmp_path, masks=clouds)
    cube = open_cube(folder, resolution=60)
    assert grid_of(cube)[1].a == 60 and (cube.sizes["y"], cube.sizes["x"]) == (6, 8)
    for name, side in (("B03", 6), ("B12", 3)):
        numbers = theia_numbers(SHAPE)[name.replace("B0", "B")]
        mean = numbers.reshape(6, side, 8, side).mean(axis=(1, 3))[1:]
        np.testing.assert_allclose(cube["reflectance"].sel(band=name).values[0, 1:], mean / 1e4, atol=0.51e-4)
    expected = np.zeros((6, 8), np.uint8)
    expected[0], expected[1, 0] = 1, 4
    np.testing.assert_array_equal(cube["mask"].sel(band="B04").values[0], expected)
    assert cube["sun_zenith"].shape == (1, 6, 8)


def test_the_kind_of_reflectance_is_chosen_and_said(folder, tmp_path):
    flat, rough = open_theia(folder), open_theia(folder, correction="SRE")
    np.testing.assert_allclose((rough - flat)["reflectance"].values[:, :, 6:], 0.1, atol=1e-6)
    assert flat.attrs["correction"].startswith("FRE") and rough.attrs["correction"].startswith("SRE")
    single = write_theia(tmp_path / "single", kinds=("SRE",))
    np.testing.assert_array_equal(open_theia(single)["reflectance"].values, rough["reflectance"].values)
    with pytest.raises(ReleoError, match="no files of correction 'FRE'; expected one of FRE, SRE, found SRE"):
        open_theia(single, correction="FRE")


def planes(**pixels: list[int]) -> dict[str, dict[str, np.ndarray]]:
    """Masks of a product whose row 10 (and 11) holds the numbers in steps of two columns, on both grids."""
    masks = {}
    for name, row in pixels.items():
        fine = np.zeros(SHAPE, np.uint8)
        fine[10:12, : 2 * len(row)] = np.repeat(row, 2)
        masks[name] = {"R1": fine, "R2": fine[::2, ::2]}
    return masks


@pytest.mark.parametrize("resolution", [10, 20])
def test_bits_that_are_not_clear_are_a_parameter(tmp_path, resolution):
    bits = [1 << bit for bit in range(8)]
    cloudy = write_theia(tmp_path / "clouds", masks=planes(CLM=[*bits, 3]))
    other = write_theia(tmp_path / "ground", masks=planes(MG2=[*bits, 5]))
    row, step = 100 // resolution, 20 // resolution

    def flags(path, **options):
        return open_theia(path, resolution=resolution, **options)["mask"].values[0, 3, row, ::step][:9].tolist()

    assert flags(cloudy) == [4] * 9
    assert flags(cloudy, cloud_bits=(1, 7)) == [0, 4, 0, 0, 0, 0, 0, 4, 4]
    assert flags(cloudy, cloud_bits=()) == [0] * 9
    assert flags(other) == [0] + [4] * 8, "water is clear"
    assert flags(other, geophysical_bits=(0, 4)) == [4, 0, 0, 0, 4, 0, 0, 0, 4]
    assert flags(other, geophysical_bits=()) == [0] * 9
    with pytest.raises(ReleoError, match=r"CLM: expected bits from 0 to 7, got \[8\]"):
        flags(cloudy, cloud_bits=(8,))


def test_saturation_has_a_bit_a_band_and_edges_hold_nothing(tmp_path):
    masks = planes(SAT=[1, 2, 4, 8, 16, 32], EDG=[0, 0, 0, 0, 0, 0, 1])
    folder = write_theia(tmp_path, masks=masks)
    fine = open_theia(folder, resolution=10)
    found = {band: fine["mask"].sel(band=band).values[0, 10, :14:2].tolist() for band in map(str, fine["band"].values)}
    order = {"B02": 0, "B03": 1, "B04": 2, "B08": 3, "B05": 0, "B06": 1, "B07": 2, "B8A": 3, "B11": 4, "B12": 5}
    assert found == {band: [2 * (column == bit) for column in range(6)] + [1] for band, bit in order.items()}
    masks["SAT"]["R1"][11, :6] = 0  # one of the four pixels of 10 m is saturated, not the central one
    masks["SAT"]["R1"][10, 1:6:2] = 0
    coarse = open_theia(write_theia(tmp_path / "again", masks=masks), resolution=20)
    assert coarse["mask"].sel(band="B03").values[0, 5, :7].tolist() == [0, 2, 0, 0, 0, 0, 1]


def test_angles_come_from_the_grids_of_all_detectors(folder):
    cube = open_theia(folder)
    assert np.allclose(cube["sun_zenith"], 30.0, atol=1e-4) and np.allclose(cube["view_zenith"], 6.0, atol=1e-4)
    np.testing.assert_allclose(cube["relative_azimuth"].values, 50.0, atol=1e-3)  # detector 1: the west of the tile
    text = metadata(folder).read_text()
    metadata(folder).write_text(re.sub(r"<Angles_Grids_List>.*</Angles_Grids_List>", "", text, flags=re.DOTALL))
    means = open_theia(folder)
    for name, value in (("sun_zenith", 31.0), ("view_zenith", 7.0), ("relative_azimuth", 50.0)):
        np.testing.assert_allclose(means[name].values, value, atol=1e-4)


def test_maps_of_a_product_and_what_it_is(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(methods, "load_method", lambda *args, **options: VegetationIndex())
    assert main(["invert", str(folder), "-o", str(tmp_path / "maps.nc"), "--variables", "lai", "--quiet"]) == 0
    assert main(["info", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "sentinel2b" in said and "corrected for slopes" in said and "EPSG:32632" in said
    cube = open_cube(folder)
    expected = maps.predict(cube, VegetationIndex(), variables=("lai",))
    with maps.xr.open_dataset(tmp_path / "maps.nc") as written:
        found = written["leaf_area_index_mean"].values
    np.testing.assert_array_equal(found, expected["leaf_area_index_mean"].values)
    assert np.isfinite(found[0, 6:]).all() and np.isnan(found[0, :6]).all()


def test_what_a_cube_was_read_from_is_kept_in_files(folder, tmp_path):
    write_cube(open_theia(folder, cloud_bits=(0, 7)), tmp_path / "c.nc")
    assert open_cube(tmp_path / "c.nc").attrs["cloud_bits"] == "0 7"


def edit(old: str, new: str):
    def change(folder: Path) -> None:
        text = metadata(folder).read_text()
        assert old in text
        metadata(folder).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: metadata(f).unlink(), "expected one SENTINEL2.*_MTD_ALL.xml, found 0"),
        (lambda f: metadata(f).write_text("<a>"), "damaged metadata"),
        (edit(">L2A<", ">L1C<"), "a product of level L1C; download Level-2A"),
        (edit(">10000<", ">ten<"), "expected a number in REFLECTANCE_QUANTIFICATION_VALUE"),
        (edit('name="nodata"', 'name="other"'), "expected a number in SPECIAL_VALUE nodata"),
        (edit("2019-05-15T10:59:11.123Z", "15 May"), "expected a time in ACQUISITION_DATE, got '15 May'"),
        (edit("SENTINEL2B</PLATFORM>", "VENUS</PLATFORM>"), "unknown sensor 'VENUS'"),
        (lambda f: [path.unlink() for path in f.glob("*RE_B*.tif")], "no files .*_FRE_B2.tif"),
        (lambda f: next(f.glob("MASKS/*_CLM_R1.tif")).unlink(), r"expected one file MASKS/\*_CLM_R1.tif, found 0"),
        (lambda f: next(f.glob("MASKS/*_SAT_R2.tif")).unlink(), r"expected one file MASKS/\*_SAT_R2.tif, found 0"),
        (lambda f: next(f.glob("*_FRE_B3.tif")).write_bytes(b""), "FRE_B3.tif: the file is empty"),
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
    with pytest.raises(ReleoError, match="no scene classes; leave clear out"):
        open_cube(folder, clear=(4,))
    with pytest.raises(ReleoError, match="missing band B01; found B02"):
        open_cube(folder, bands=("B01",))
    with pytest.raises(ReleoError, match="resolution of 10, 20 or 60"):
        open_cube(folder, resolution=30)
