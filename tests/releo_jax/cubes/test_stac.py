"""Items of STAC: every catalogue's way of storing reflectance gives the product's own cube; nothing is fetched."""

import copy
import http.server
import json
import re
import socket
import sys
import threading
from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

from releo_jax import maps
from releo_jax.cli import main
from releo_jax.cubes import Flag, load_block, open_cube, open_safe, open_sentinel2, open_stac, write_scene
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.checks import check_cube
from releo_jax.cubes.convention import ANGLES, grid_of
from releo_jax.cubes.stac_items import assets_of, baseline_of, coding_of
from releo_jax.errors import ReleoError, UnreadableError
from releo_jax.urls import url_of
from tests.releo_jax.cubes import catalogues
from tests.releo_jax.cubes.conftest import make_cube
from tests.releo_jax.doubles import VegetationIndex

WHOLE = Window(time=0, row=0, column=0, height=36, width=48)
GIVEN = {"view_zenith": 6.0, "relative_azimuth": 128.0}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Only this machine answers."""
    connect = socket.socket.connect

    def only_here(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost"):
            raise AssertionError(f"tests may not connect to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A product, and its bands as tiled GeoTIFFs: as ESA stores them, and with the offset in the numbers."""
    folder = tmp_path_factory.mktemp("stac")
    cube = make_cube()
    values = cube["reflectance"].values
    values[values < 0] = 0.0105  # below zero, the numbers of Earth Search would be lost
    cube["mask"].values[cube["mask"].values == Flag.INVALID_VALUE] = 0
    write_scene(cube, folder / "image.SAFE")
    catalogues.write_cogs(folder / "image.SAFE", folder / "original")
    catalogues.write_cogs(folder / "image.SAFE", folder / "harmonised", add=-1000)
    return folder


@pytest.fixture(scope="module")
def product(scene) -> xr.Dataset:
    return open_safe(scene / "image.SAFE").load()


def files(scene: Path, kind: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((scene / kind).glob("*.tif"))}


def item_of(catalogue: str, scene: Path, **told) -> dict:
    """An item over the scene."""
    if catalogue == "copernicus":
        return catalogues.copernicus(scene / "image.SAFE", **told)
    if catalogue == "earth-search":
        return catalogues.earth_search(files(scene, "harmonised"), **told)
    if catalogue == "earth-search-c1":
        return catalogues.earth_search(files(scene, "original"), **({"applied": None} | told))
    return catalogues.planetary_computer(files(scene, "original"), **told)


CATALOGUES = ("earth-search", "earth-search-c1", "planetary-computer", "copernicus")


def refused(message: str, items, **options) -> None:
    with pytest.raises(ReleoError, match=message) as caught:
        open_stac([pystac.Item.from_dict(i, migrate=False) if isinstance(i, dict) else i for i in items], **options)
    assert "\n" not in str(caught.value)


def same_pixels(read: xr.Dataset, expected: xr.Dataset, tolerance: float = 0.0) -> None:
    check_cube(read)
    assert read["band"].values.tolist() == expected["band"].values.tolist()
    for name in ("mask", "y", "x"):
        np.testing.assert_array_equal(read[name].values, expected[name].values)
    np.testing.assert_allclose(read["reflectance"].values, expected["reflectance"].values, rtol=0, atol=tolerance)
    assert grid_of(read) == grid_of(expected)


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


def test_the_flag_of_earth_search_goes_before_its_raster_extension(scene):
    for applied, offset in ((True, 0.0), (False, -1000.0), (None, -1000.0)):
        assert coding(item_of("earth-search", scene, applied=applied)) == (offset, 10000.0)
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
        refused(f"grids do not match: .*of {other['id']} has .*UTM zone", [here, other])
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


# What is read when, and what cannot be


def test_opening_reads_no_pixel(scene, monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError(f"opened {arguments}")

    item = pystac.Item.from_dict(item_of("copernicus", scene, granule=True), migrate=False)
    with monkeypatch.context() as patch:
        patch.setattr(rasterio, "open", forbidden)
        read = open_stac(item)
        assert read["reflectance"].chunks is not None
        with pytest.raises(AssertionError, match="opened"):
            read["reflectance"].compute()


def test_a_damaged_raster_is_named_and_masked_alone(scene, product, tmp_path):
    damaged = dict(files(scene, "harmonised"))
    damaged["B04"] = tmp_path / "cut.tif"
    damaged["B04"].write_bytes(files(scene, "harmonised")["B04"].read_bytes()[:900])
    damaged["B05"] = tmp_path / "gone.tif"
    item = item_of("earth-search", scene)
    for band, key in (("B04", "red"), ("B05", "rededge1")):
        item["assets"][key]["href"] = str(damaged[band])
    read = open_stac([pystac.Item.from_dict(item)])
    with pytest.raises(UnreadableError, match=r"(cut|gone)\.tif: cannot be read .*check the item's href"):
        load_block(read, WHOLE)
    failures: list[str] = []
    block = load_block(read, WHOLE, failures=failures)
    assert sorted(Path(text.split(": ")[0]).name for text in failures) == ["cut.tif", "gone.tif"]
    expected = load_block(product, WHOLE)
    for index, band in enumerate(block.bands):
        if band in ("B04", "B05"):
            assert (block.flags[:, index] == Flag.NODATA).all()
        else:
            np.testing.assert_array_equal(block.reflectance[:, index], expected.reflectance[:, index])


def test_cubes_travel_to_other_processes(scene, product):
    read = open_stac([pystac.Item.from_dict(item_of("planetary-computer", scene))], angles=GIVEN)
    with dask.config.set(scheduler="synchronous"):
        same_pixels(cloudpickle.loads(cloudpickle.dumps(read)), product)


# What is no item that can be read


def change(item: dict, **properties) -> dict:
    changed = copy.deepcopy(item)
    changed["properties"] |= properties
    return changed


def test_other_items_are_refused(scene):
    item = item_of("earth-search", scene)
    refused("a Level-1C product", [change(item, **{"s2:product_type": "S2MSI1C"})])
    refused("E: unknown sensor 'landsat-9'", [change(item, platform="landsat-9")])
    refused("E: sentinel2b by its metadata, not sentinel2a", [item], sensor="S2A")
    refused("no items of STAC", [])
    bare = copy.deepcopy(item)
    del bare["properties"]["proj:epsg"]
    refused("E: asset coastal-jp2|E: asset .*expected proj:shape, proj:transform and proj:code", [bare])
    floats = copy.deepcopy(item)
    floats["assets"]["red"]["raster:bands"][0]["data_type"] = "int16"
    refused("B04 is int16 with nodata 0, B02 uint16 with nodata 0", [floats])
    turned = copy.deepcopy(item)
    turned["assets"]["red"]["proj:transform"][1] = 1.0
    refused("asset red: expected a grid with north at the top", [turned])
    assert open_stac([pystac.Item.from_dict(change(item, platform=None))], sensor="S2A").attrs["sensor"] == "sentinel2a"


@pytest.mark.parametrize(
    "text, message",
    [
        ("no", "not JSON"),
        ("[]", "expected an item of STAC"),
        ('{"type": "Collection"}', "got Collection; search the catalogue"),
        ('{"type": "Feature", "id": "x"}', "not an item of STAC"),
        ('{"type": "FeatureCollection", "features": []}', "no items of STAC"),
        ('{"type": "FeatureCollection", "features": [], "links": [{"rel": "next"}]}', "one page of several"),
    ],
)
def test_other_json_is_refused(tmp_path, text, message):
    path = tmp_path / "item.json"
    path.write_text(text)
    with pytest.raises(ReleoError, match=f"item.json: .*{message}"):
        open_cube(path)
    with pytest.raises(ReleoError, match="no such file"):
        open_sentinel2(tmp_path / "other.json")


def test_without_odc_stac_the_extra_is_named(scene, tmp_path, monkeypatch):
    for name in list(sys.modules):
        if re.match(r"(odc|releo_jax\.cubes\.stac_)", name):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "odc", None)
    path = catalogues.save(item_of("copernicus", scene), tmp_path / "item.json")
    with pytest.raises(ReleoError, match=r"need odc-stac .*pip install 'releo-jax\[stac\]'"):
        open_cube(path)


# URLs, and the command line


def test_urls_survive_a_path():
    for url in ("https://example.org/items/A", "s3://bucket/item.json", "http://127.0.0.1:80/a?b=c"):
        assert url_of(url) == url_of(Path(url)) == url
    for name in ("item.json", "/https/item.json", "file:///item.json", "c:/item.json"):
        assert url_of(name) is None


class _Files(http.server.SimpleHTTPRequestHandler):
    """Files by ranges, as GDAL asks for them."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        content, asked = path.read_bytes(), re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked:
            start, stop = int(asked.group(1)), min(int(asked.group(2)) + 1, len(content))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
            content = content[start:stop]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server(scene, monkeypatch):
    """The address of the scene's folder."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: _Files(*arguments, directory=str(scene))
    ) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_an_item_at_a_url_whose_granule_has_the_angles(scene, product, server):
    item = item_of("planetary-computer", scene)
    for asset in item["assets"].values():
        asset["href"] = asset["href"].replace(str(scene), server)
    granule = next(scene.glob("image.SAFE/GRANULE/*/MTD_TL.xml")).relative_to(scene)
    item["assets"]["granule-metadata"] = {"href": f"./{granule}", "type": "application/xml", "roles": ["metadata"]}
    catalogues.save(item, scene / "item.json")
    read = open_cube(Path(f"{server}/item.json"))  # as the command line has it
    same_pixels(read, product)
    for name in ANGLES:
        np.testing.assert_array_equal(read[name].values, product[name].values)
    with pytest.raises(ReleoError, match=r"other.json: cannot be fetched .*404"):
        open_cube(f"{server}/other.json")


def test_maps_of_an_item_at_a_url(scene, product, server, tmp_path, monkeypatch, capsys):
    item = item_of("copernicus", scene)
    for asset in item["assets"].values():
        asset["href"] = asset["href"].replace(str(scene), server)
    catalogues.save(item, scene / "remote.json")
    monkeypatch.setattr(maps, "load_method", lambda *arguments, **options: VegetationIndex())
    assert main(["invert", f"{server}/remote.json", "-o", str(tmp_path / "maps.nc"), "--resume", "--quiet"]) == 0
    expected = maps.predict(product, VegetationIndex())["leaf_area_index_mean"]
    with xr.open_dataset(tmp_path / "maps.nc") as found:
        # The angles of the item are one for all pixels.
        np.testing.assert_allclose(found["leaf_area_index_mean"].values, expected.values, rtol=2e-3)
    assert main(["info", f"{server}/remote.json"]) == 0
    told = capsys.readouterr().out
    assert "(number -1000) / 10000" in told and "sentinel2b" in told
