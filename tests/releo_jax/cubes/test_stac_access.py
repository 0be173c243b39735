"""Items of STAC: what is read when, what is refused, and items and rasters at URLs, served by this machine alone."""

import copy
import http.server
import re
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

from releo_jax import maps, methods
from releo_jax.cli import main
from releo_jax.cubes import Flag, load_block, open_cube, open_sentinel2, open_stac
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.convention import ANGLES
from releo_jax.errors import ReleoError, UnreadableError
from releo_jax.urls import url_of
from tests.releo_jax.cubes import catalogues
from tests.releo_jax.cubes.catalogues import files, item_of, refused, same_pixels
from tests.releo_jax.doubles import VegetationIndex

pytestmark = pytest.mark.usefixtures("no_network")

WHOLE = Window(time=0, row=0, column=0, height=36, width=48)
GIVEN = {"view_zenith": 6.0, "relative_azimuth": 128.0}

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
    refused("asset red: expected a grid of 10, 20 or 60 m with north at the top", [turned])
    for place, number in ((2, 0.0), (2, 600_010.0), (5, float("nan"))):
        moved = copy.deepcopy(item)
        moved["assets"]["scl"]["proj:transform"][place] = number
        refused("E: grids do not match: .*SCL|asset scl: expected 2 and 6 numbers", [moved])
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

    asked: set[str] = set()

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.asked.add(self.path)
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
    _Files.asked.clear()
    read = open_cube(Path(f"{server}/item.json"))  # as the command line has it
    assert _Files.asked == {"/item.json", f"/{granule}"}
    same_pixels(read, product)
    rasters = {path for path in _Files.asked if path.endswith(".tif")}
    assert _Files.asked - rasters == {"/item.json", f"/{granule}"} and len(rasters) == 11  # and nothing beside them
    for name in ANGLES:
        np.testing.assert_array_equal(read[name].values, product[name].values)
    with pytest.raises(ReleoError, match=r"other.json: cannot be fetched .*404"):
        open_cube(f"{server}/other.json")


def test_maps_of_an_item_at_a_url(scene, product, server, tmp_path, monkeypatch, capsys):
    item = item_of("copernicus", scene)
    for asset in item["assets"].values():
        asset["href"] = asset["href"].replace(str(scene), server)
    catalogues.save(item, scene / "remote.json")
    monkeypatch.setattr(methods, "load_method", lambda *arguments, **options: VegetationIndex())
    assert main(["invert", f"{server}/remote.json", "-o", str(tmp_path / "maps.nc"), "--resume", "--quiet"]) == 0
    expected = maps.predict(product, VegetationIndex())["leaf_area_index_mean"]
    with xr.open_dataset(tmp_path / "maps.nc") as found:
        # The angles of the item are one for all pixels.
        np.testing.assert_allclose(found["leaf_area_index_mean"].values, expected.values, rtol=2e-3)
    assert main(["info", f"{server}/remote.json"]) == 0
    told = capsys.readouterr().out
    assert "(number -1000) / 10000" in told and "sentinel2b" in told
