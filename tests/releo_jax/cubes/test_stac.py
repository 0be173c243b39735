"""Items of STAC: every catalogue's way of storing reflectance gives the product's own cube."""

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

from releo_jax.cubes import Flag, open_cube, open_safe, open_sentinel2, open_stac
from releo_jax.cubes.convention import ANGLES, grid_of
from releo_jax.cubes.stac_items import assets_of, baseline_of, coding_of
from tests.releo_jax.cubes import catalogues
from tests.releo_jax.cubes.catalogues import files, item_of, refused, same_pixels

pytestmark = pytest.mark.usefixtures("no_network")

GIVEN = {"view_zenith": 6.0, "relative_azimuth": 128.0}
CATALOGUES = ("earth-search", "earth-search-c1", "planetary-computer", "copernicus")


# The same scene, whoever lists it


@pytest.mark.parametrize("resolution", [10, 20, 60])
@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_every_catalogue_gives_the_cube_of_the_product(scene, tmp_path, catalogue, resolution):
    path = catalogues.save(item_of(catalogue, scene), tmp_path / "item.json")
    given = GIVEN if catalogue == "planetary-computer" else {}
    read = open_cube(path, resolution=resolution, **given)
    # A product has files of its own at 20 m, a step of 1e-4 apart where a mean is rounded the other way.
    rounded = resolution > 10 and catalogue != "copernicus"
    same_pixels(read, open_safe(scene / "image.SAFE", resolution=resolution), 1.01e-4 if rounded else 0.0)
    assert read["reflectance"].dtype == np.float32 and read["reflectance"].attrs["units"] == "1"
    assert read["reflectance"].chunks is not None and read.attrs["sensor"] == "sentinel2b"
    assert read["time"].values == np.datetime64("2022-06-05T10:36:00")
    expected = "(number +0) / 10000" if catalogue == "earth-search" else "(number -1000) / 10000"
    assert read.attrs["reflectance_coding"] == expected
    assert {name: float(read[name].values[0]) for name in ANGLES} == {
        "sun_zenith": 31.0,
        "view_zenith": 6.0,
        "relative_azimuth": 128.0,
    }


def test_bands_come_in_the_order_asked_for(scene, product):
    read = open_stac([pystac.Item.from_dict(item_of("earth-search", scene))], bands=("B8A", "B3", "b11"))
    same_pixels(read, product.sel(band=["B8A", "B03", "B11"]))
    refused("missing band B01; found B02", [item_of("earth-search", scene)], bands=("B01",))


# reflectance = (number + offset) / scale


def coding(item: dict, scale=None, offset=None) -> tuple[float, float]:
    parsed = pystac.Item.from_dict(item, migrate=False)
    bands = {name: next(iter(sizes.values())) for name, sizes in assets_of(parsed).items() if name != "SCL"}
    found = coding_of(parsed, bands, scale, offset)
    (one,) = set(np.atleast_1d(found.offset).tolist())
    return one, found.scale


def test_the_flag_of_earth_search_goes_before_its_raster_extension(scene, caplog):
    for applied, offset in ((True, 0.0), (False, -1000.0), (None, -1000.0)):
        caplog.clear()
        assert coding(item_of("earth-search", scene, applied=applied)) == (offset, 10000.0)
        # Earth Search has set this flag wrongly: who relies on it is told.
        assert ["not applied, which is wrong of some" in text for text in caplog.messages] == [True] * (
            applied is False
        )
    old = {"s2:processing_baseline": "02.14"}
    assert coding(item_of("earth-search", scene, applied=False, offset=0, properties=old)) == (0.0, 10000.0)
    # Collections that say themselves that the offset is gone are believed.
    assert coding(item_of("earth-search", scene, applied=None, offset=0)) == (0.0, 10000.0)


@pytest.mark.parametrize("baseline, offset", [("02.12", 0.0), ("03.01", 0.0), ("04.00", -1000.0), ("05.11", -1000.0)])
def test_without_an_offset_the_baseline_tells(scene, baseline, offset):
    assert coding(item_of("planetary-computer", scene, baseline=baseline)) == (offset, 10000.0)


def test_the_baseline_may_stand_in_the_name_of_the_product(scene):
    name = "S2B_MSIL2A_20220605T103629_N0400_R008_T32TPT_20220605T124512"
    for told in ({"name": name}, {"properties": {"s2:product_uri": f"{name}.SAFE"}}):
        item = item_of("planetary-computer", scene, baseline=None, **told)
        assert baseline_of(pystac.Item.from_dict(item)) == "04.00" and coding(item)[0] == -1000.0


def test_nothing_that_tells_the_offset_is_refused_unless_it_is_given(scene, product, tmp_path):
    item = item_of("planetary-computer", scene, baseline=None)
    refused("P: neither an offset .* nor a processing baseline .*--scale 10000 and --offset -1000", [item])
    refused("give scale and offset of reflectance together", [item], scale=10000)
    path = catalogues.save(item, tmp_path / "item.json")
    same_pixels(open_cube(path, scale=10000, offset=-1000, **GIVEN), product)


def test_an_offset_before_it_was_invented_is_refused(scene):
    item = item_of("earth-search-c1", scene, properties={"s2:processing_baseline": "02.14"})
    refused("E: B02 has an offset of -0.1, but processing baseline 02.14 has none", [item])
    assert coding(item, 10000.0, 0.0) == (0.0, 10000.0)


def test_other_scales_are_taken_as_they_are(scene):
    item = item_of("copernicus", scene)
    for asset in item["assets"].values():
        if "raster:scale" in asset:
            asset |= {"raster:scale": 0.0002, "raster:offset": -0.05}
    assert coding(item) == (-250.0, 5000.0)
    item["assets"]["B03_10m"]["raster:scale"] = 0.0001
    refused(r"bands with different scales \[0.0001, 0.0002\]", [item])


# Angles


def test_angles_of_every_pixel_from_a_granule_at_hand(scene, product):
    read = open_stac([pystac.Item.from_dict(item_of("copernicus", scene, granule=True), migrate=False)])
    part = open_stac(
        [pystac.Item.from_dict(item_of("copernicus", scene, granule=True), migrate=False)],
        bbox=part_of(product, rows=slice(10, 20), columns=slice(20, 40)),
    )
    for name in ANGLES:
        np.testing.assert_array_equal(read[name].values, product[name].values)
        expected = product[name].sel(y=part["y"], x=part["x"])
        np.testing.assert_allclose(part[name].values, expected.values, atol=1e-4)


def test_angles_that_nothing_states_are_asked_for(scene):
    refused(
        "P: no view_zenith, relative_azimuth in the file; give --view-zenith", [item_of("planetary-computer", scene)]
    )
    wrong = item_of("earth-search", scene, properties={"view:azimuth": "east"})
    refused("E: expected degrees in .*view:azimuth.*east", [wrong])


def test_given_angles_win(scene, tmp_path):
    path = catalogues.save(item_of("copernicus", scene, granule=True), tmp_path / "item.json")
    read = open_cube(path, sun_zenith=40.0)
    assert (read["sun_zenith"].values == 40).all() and read["view_zenith"].dims == ("time", "y", "x")


# The scene classification


def test_without_scene_classification(scene, product):
    item = item_of("earth-search", scene)
    del item["assets"]["scl"]
    refused("E: no scene classification .*clear=None", [item])
    read = open_stac([pystac.Item.from_dict(item)], clear=None)
    clouds = np.uint8(Flag.CLOUD_OR_SHADOW_OR_SNOW)
    assert (product["mask"].values & clouds).any() and not (read["mask"].values & clouds).any()
    np.testing.assert_array_equal(read["reflectance"].values, product["reflectance"].values)


def test_what_is_clear_is_chosen(scene, tmp_path):
    path = catalogues.save(item_of("copernicus", scene), tmp_path / "item.json")
    for clear in ((4,), (8, 9)):
        same_pixels(open_cube(path, clear=clear), open_safe(scene / "image.SAFE", clear=clear))


# Dates and tiles


def test_items_of_several_dates_become_one_cube(scene, product, tmp_path):
    items = [
        item_of("copernicus", scene, name="later", time="2022-06-10T10:36:00Z", platform="sentinel-2a"),
        item_of("earth-search", scene, name="first"),
    ]
    for number, item in enumerate(items):
        catalogues.save(item, tmp_path / f"{number}.json")
    collection = tmp_path / "search.geojson"
    collection.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    sources = (
        tmp_path,
        collection,
        [tmp_path / "0.json", str(tmp_path / "1.json")],
        pystac.ItemCollection([pystac.Item.from_dict(item, migrate=False) for item in items]),
    )
    for source in sources:
        read = open_cube(source) if isinstance(source, Path) else open_sentinel2(source)
        assert [str(day)[:10] for day in read["time"].values] == ["2022-06-05", "2022-06-10"]
        assert read["sensor"].values.tolist() == ["sentinel2b", "sentinel2a"]
        assert read.attrs["product"] == "first, later"
        for date in (0, 1):
            part = read.isel(time=[date])
            np.testing.assert_array_equal(part["reflectance"].values, product["reflectance"].values)
            np.testing.assert_array_equal(part["mask"].values, product["mask"].values)


def shifted(scene: Path, folder: Path, *, east: float, crs: str | None = None) -> dict[str, Path]:
    """The bands with the offset in the numbers, moved to the east."""
    folder.mkdir()
    moved = {}
    for name, path in files(scene, "harmonised").items():
        with rasterio.open(path) as file:
            numbers, profile = file.read(), file.profile
        t = profile["transform"]
        profile["transform"] = rasterio.Affine(t.a, t.b, t.c + east, t.d, t.e, t.f)
        moved[name] = folder / path.name
        with rasterio.open(moved[name], "w", **profile | ({"crs": crs} if crs else {})) as file:
            file.write(numbers)
    return moved


def test_tiles_of_one_overpass_are_one_date(scene, product, tmp_path):
    # 24 of 48 columns overlap; the tiles are stored in different ways, and seen under different angles.
    east = catalogues.earth_search(
        shifted(scene, tmp_path / "east", east=240.0),
        name="east",
        time="2022-06-05T10:36:14Z",
        properties={"view:incidence_angle": 9.0},
    )
    west = item_of("copernicus", scene, name="west")
    read = open_stac([pystac.Item.from_dict(item, migrate=False) for item in (east, west)])
    assert dict(read.sizes) == {"time": 1, "band": 10, "y": 36, "x": 72}
    assert read["time"].values == np.datetime64("2022-06-05T10:36:00") and read.attrs["product"] == "west, east"
    assert read.attrs["reflectance_coding"] == "(number -1000) / 10000, (number +0) / 10000"
    left, right = (product["reflectance"].values, product["mask"].values), {}
    for name, whole in zip(("reflectance", "mask"), left, strict=True):
        found = read[name].values
        np.testing.assert_array_equal(found[..., 48:], whole[..., 24:])
        # Where the first tile has no data, the second one is seen.
        right[name] = np.concatenate([np.full_like(whole[..., :24], 0), whole[..., :24]], axis=-1)
        nodata = ((left[1] & np.uint8(Flag.NODATA)) != 0) & (np.arange(48) >= 24)
        np.testing.assert_array_equal(found[..., :48], np.where(nodata, right[name], whole))
    view = read["view_zenith"].values[0]
    assert (view[10:, :48] == 6).all() and (view[:, 48:] == 9).all()


def test_parts_that_do_not_fit_are_refused(scene, tmp_path):
    here = item_of("copernicus", scene, name="here")
    odd = catalogues.earth_search(shifted(scene, tmp_path / "odd", east=5.0), name="odd")
    zone = catalogues.earth_search(shifted(scene, tmp_path / "zone", east=0.0, crs="EPSG:32633"), name="zone")
    for other in zone["assets"].values():
        other["proj:epsg"] = 32633
    for other in (odd, zone):
        refused(f"grids do not match: here has .*; {other['id']} has .*UTM zone", [here, other])
    version = item_of("earth-search", scene, name="version")
    refused(r"here and version are two versions of one image \(baselines 04.00 and 05.09\)", [here, version])


def part_of(cube: xr.Dataset, rows: slice, columns: slice) -> tuple[float, float, float, float]:
    """Degrees of a box well inside the outermost of some pixels."""
    y, x = cube["y"].values[rows], cube["x"].values[columns]
    crs, _ = grid_of(cube)
    return rasterio.warp.transform_bounds(crs, "EPSG:4326", x.min(), y.min(), x.max(), y.max(), densify_pts=2)


def test_a_bbox_cuts_out_its_pixels(scene, product):
    items = [pystac.Item.from_dict(item_of("earth-search", scene))]
    read = open_stac(items, bbox=part_of(product, slice(10, 20), slice(20, 40)))
    assert 10 <= read.sizes["y"] <= 13 and 20 <= read.sizes["x"] <= 23  # a box in degrees is not one in metres
    expected = product.sel(y=read["y"], x=read["x"])
    same_pixels(read, expected)
    assert {float(product["y"][10]), float(product["y"][19])} <= set(read["y"].values.tolist())
    refused("no item reaches into the bbox", items, bbox=(20.0, 10.0, 20.1, 10.1))
