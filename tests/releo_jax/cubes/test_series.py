"""Products of one tile as one cube along time: the right dates, nothing read, and what does not fit named."""

import os
import shutil

import numpy as np
import pytest

from releo_jax import maps, methods
from releo_jax.cli import main
from releo_jax.cubes import (
    join_dates,
    load_block,
    open_cube,
    open_sentinel2,
    open_theia,
    rasters,
    write_cube,
    write_scene,
)
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.checks import check_cube
from releo_jax.cubes.convention import grid_of
from releo_jax.errors import ReleoError
from tests.releo_jax.cubes.products import theia_numbers, write_landsat, write_theia
from tests.releo_jax.doubles import VegetationIndex

SHAPE = (36, 48)
DATES = (
    ("SENTINEL2B", "2022-06-20T10:40:31.024Z"),
    ("SENTINEL2A", "2022-06-05T10:36:31.024Z"),
    ("SENTINEL2B", "2022-06-10T10:36:29.024Z"),
)


@pytest.fixture
def season(tmp_path):
    """Three products of two satellites, not in the order of their names."""
    for seed, (platform, time) in enumerate(DATES):
        write_theia(tmp_path / "season", numbers=theia_numbers(SHAPE, seed), platform=platform, time=time)
    (tmp_path / "season" / "notes").mkdir()
    return tmp_path / "season"


def test_products_come_in_the_order_of_their_dates(season):
    cube = open_cube(season)
    check_cube(cube)
    assert [str(time)[:10] for time in cube["time"].values] == ["2022-06-05", "2022-06-10", "2022-06-20"]
    assert cube["sensor"].values.tolist() == ["sentinel2a", "sentinel2b", "sentinel2b"] and "sensor" not in cube.attrs
    for index, seed in enumerate((1, 2, 0)):
        numbers = theia_numbers(SHAPE, seed)["B4"][6:] / 1e4
        np.testing.assert_allclose(cube["reflectance"].sel(band="B04").values[index, 6:], numbers, rtol=1e-6)
    assert set(cube["reflectance"].chunks[0]) == {1}, "a date is read without the others"
    assert grid_of(cube) == grid_of(open_theia(next(season.glob("SENTINEL2A*"))))
    assert all(path.name in cube.attrs["product"] for path in season.glob("SENTINEL2*"))
    listed = open_sentinel2(sorted(season.glob("SENTINEL2B*")), bands=("B04",), cloud_bits=())
    assert listed.attrs["sensor"] == "sentinel2b" and listed.sizes["time"] == 2 and "sensor" not in listed.coords
    assert listed.attrs["cloud_bits"] == "not read"


def test_opening_reads_metadata_only(season, monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f"pixels are read: {arguments}")

    with monkeypatch.context() as patched:
        patched.setattr(rasters, "read", refuse)
        cube = open_cube(season)
        with pytest.raises(AssertionError, match="pixels are read"):
            cube["reflectance"].compute()
    spoilt = next(season.glob("*20220610*/*_FRE_B3.tif"))
    os.truncate(spoilt, int(0.7 * spoilt.stat().st_size))
    again = open_cube(season)
    load_block(again, Window(0, 0, 0, *SHAPE))
    with pytest.raises(ReleoError, match=f"{spoilt.name}: cannot be read"):
        load_block(again, Window(1, 0, 0, *SHAPE))


def test_products_of_both_makers_and_files_round_trip(cube, season, tmp_path):
    write_scene(cube, season / "a.SAFE")  # of 5 June, 10:36:00, as one of the others
    shutil.rmtree(next(season.glob("SENTINEL2A*")))
    joined = open_cube(season)
    assert joined.sizes["time"] == 3 and joined.attrs["sensor"] == "sentinel2b"
    np.testing.assert_array_equal(joined["reflectance"].values[0], cube["reflectance"].values[0])
    write_cube(joined, tmp_path / "joined.nc")
    read = open_cube(tmp_path / "joined.nc")
    np.testing.assert_array_equal(read["mask"].values, joined["mask"].values)
    np.testing.assert_array_equal(read["sun_zenith"].values, joined["sun_zenith"].values)


def test_every_date_is_retrieved_with_its_own_satellite(season, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        methods, "load_method", lambda name, sensor, **options: asked.append(sensor) or VegetationIndex()
    )
    assert main(["invert", str(season), "-o", str(tmp_path / "maps.nc"), "--variables", "lai", "--quiet"]) == 0
    assert sorted(asked) == ["sentinel2a", "sentinel2b"]
    with maps.xr.open_dataset(tmp_path / "maps.nc") as result:
        found = result["leaf_area_index_mean"].values
    for index, path in enumerate(sorted(season.glob("SENTINEL2*"), key=lambda path: path.name[10:])):
        alone = maps.predict(open_cube(path), VegetationIndex(), variables=("lai",))
        np.testing.assert_array_equal(found[index], alone["leaf_area_index_mean"].values[0])


def test_angles_can_be_given_for_all_dates(season):
    assert (open_cube(season, view_zenith=3.0)["view_zenith"].values == 3.0).all()


def test_landsat_dates_with_angles_of_pixels_and_of_the_scene(tmp_path):
    """One product with angle bands, one without: the sun is a number a pixel and a number a date."""
    first = open_cube(write_landsat(tmp_path / "a"))
    other = open_cube(write_landsat(tmp_path / "b", angles=False), view_zenith=3.0, relative_azimuth=100.0)
    later = other.assign_coords(time=other["time"] + np.timedelta64(16, "D"))
    joined = join_dates([later, first], "both")
    check_cube(joined)
    assert joined.sizes["time"] == 2 and joined.attrs["sensor"] == "landsat8"
    np.testing.assert_array_equal(joined["sun_zenith"].values[0], first["sun_zenith"].values[0])
    assert np.allclose(joined["sun_zenith"].values[1], 29.75) and np.allclose(joined["view_zenith"].values[1], 3.0)


def test_what_does_not_fit_together_is_named(season, tmp_path):
    def refused(message: str, folder=season, **options) -> None:
        with pytest.raises(ReleoError, match=message) as caught:
            open_cube(folder, **options)
        assert "\n" not in str(caught.value)

    other = write_theia(season, corner=(699_960.0, 5_300_040.0), time="2022-06-15T10:40:31.024Z", tile="T32TPT")
    refused(rf"grids do not match: .* \(600000, .*; {other.name} has .* \(699960, .*products of one tile at a time")
    shutil.rmtree(other)
    fewer = write_theia(season, time="2022-06-15T10:40:31.024Z")
    next(fewer.glob("*_FRE_B12.tif")).unlink()
    refused("holds B02 .* B12, .* name bands that all hold: B02,B03,B04,B05,B06,B07,B08,B8A,B11$")
    assert open_cube(season, bands=("B04", "B8A")).sizes["time"] == 4
    shutil.rmtree(fewer)
    write_theia(season, time="2022-06-20T10:40:45.024Z")
    refused("are of the same time; keep one of them")
    refused("come from its metadata", scale=10000)
    with pytest.raises(ReleoError, match="sentinel2a by its metadata, not sentinel2b"):
        open_cube(season, sensor="S2B")
    with pytest.raises(ReleoError, match="expected at least one product, got none"):
        open_sentinel2([])
    write_landsat(season)
    refused("grids do not match")
