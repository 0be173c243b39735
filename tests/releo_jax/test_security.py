"""What is read runs nothing, leads to no other file and to no server."""

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time

import h5py
import numcodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import rasterio
import xarray as xr

from releo_jax.cli import main
from releo_jax.cubes import open_cube, write_cube, write_scene
from releo_jax.cubes.block_store import BlockStore
from releo_jax.cubes.blocks import Window
from releo_jax.errors import ReleoError
from releo_jax.inference import load_posterior
from tests.releo_jax.cubes.products import LANDSAT, write_landsat, write_theia
from tests.releo_jax.doubles import make_cube


@pytest.fixture(scope="module")
def cube():
    # Ten-metre bands alone: the products with coarser ones hold means.
    return make_cube(12, 12, sensor="sentinel2a")


@pytest.fixture
def told(capsys):
    """What the command says of an input that it refuses: one line, without a traceback."""

    def say(*words):
        status, text = main([str(word) for word in words]), capsys.readouterr().err
        assert status == 1 and text.startswith("releo: ") and text.count("\n") == 1, (status, text)
        assert "unexpected" not in text, text
        return text

    return say


# Pickles


class _Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def payload(tmp_path, monkeypatch):
    """A pickle, and whether somebody unpickled it."""
    # Newer versions of numcodecs refuse by default what this package has to refuse with every version.
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    marker = tmp_path / "it ran"
    data = pickle.dumps(_Payload(marker))
    pickle.loads(data)
    marker.rmdir()  # it does run
    yield data
    assert not marker.exists()


def _zarr(path, data, *, consolidated=False, **packed):
    """A store with one band and its coordinates as Python objects."""
    path.mkdir()
    array = {"zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "|O", "compressor": None, "filters": None}
    array |= {"fill_value": "", "order": "C", **packed}
    held = {".zgroup": {"zarr_format": 2}, ".zattrs": {}}
    held |= {"band/.zarray": array, "band/.zattrs": {"_ARRAY_DIMENSIONS": ["band"]}}
    (path / "band").mkdir()
    for name, content in held.items():
        if not consolidated or name == ".zgroup":
            (path / name).write_text(json.dumps(content))
    if consolidated:
        (path / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": held}))
    (path / "band" / "0").write_bytes(data)
    return path


_STRINGS, _PICKLE = {"id": "vlen-utf8"}, {"id": "pickle"}


@pytest.mark.parametrize("consolidated", [False, True], ids=["arrays", "consolidated"])
@pytest.mark.parametrize(
    "packed",
    [
        {"filters": [_PICKLE]},
        {"filters": [_STRINGS, _PICKLE]},
        {"filters": [_STRINGS], "compressor": _PICKLE},
        {"dtype": "<f4", "fill_value": 0, "compressor": _PICKLE},
    ],
    ids=["objects", "strings", "compressor", "numbers"],
)
def test_zarr_stores_of_pickles_are_refused(tmp_path, payload, told, packed, consolidated):
    store = _zarr(tmp_path / "scene.zarr", payload, consolidated=consolidated, **packed)
    for command in ("info", "plot"):
        assert "(pickle), which run code when they are read; refused" in told(command, store)
    with pytest.raises(ReleoError, match="refused"):
        open_cube(store)


def test_without_the_check_such_a_store_runs_its_payload(tmp_path, monkeypatch):
    """What the test above would not notice if its stores were wrong in another way."""
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    data = pickle.dumps(_Payload(tmp_path / "it ran"))
    store = _zarr(tmp_path / "scene.zarr", data, filters=[_STRINGS, _PICKLE])
    with contextlib.suppress(Exception):
        xr.open_zarr(store, consolidated=False).load()
    assert (tmp_path / "it ran").exists()


def _extension(path, data):
    """A table with a column of the type whose description was once unpickled (CVE-2023-47248)."""
    about = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": data}
    column = pa.field("B04", pa.float64(), metadata=about)
    pq.write_table(pa.table([[0.1]], schema=pa.schema([column])), path)


@pytest.mark.parametrize("name", ["t.nc", "t.tif", "t.parquet", "t.csv", "extension.parquet", "folder"])
def test_pickles_in_the_place_of_images_and_tables(tmp_path, payload, told, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "B04.tif").write_bytes(payload)
    elif name == "extension.parquet":
        _extension(path, payload)
    else:
        path.write_bytes(payload)
    assert str(path) in told("info", path)
    assert str(path) in told("invert", path, "-o", tmp_path / f"out{path.suffix or '.nc'}")


def test_pickles_in_the_place_of_weights_and_posteriors(tmp_path, payload, told, cube):
    write_cube(cube, tmp_path / "scene.nc")
    path = tmp_path / "prosail_vae_sentinel2a.safetensors"
    packed = tmp_path / "objects.npz"
    np.savez(packed, array=np.array([_Payload(tmp_path / "it ran")], object))
    for data in (payload, packed.read_bytes()):
        path.write_bytes(data)
        text = told("invert", tmp_path / "scene.nc", "-o", tmp_path / "maps.nc", "--weights", tmp_path)
        assert f"{path}: not the weights of this method" in text
        with pytest.raises(ValueError, match="expected a safetensors file"):
            load_posterior(path)


def test_pickles_among_kept_blocks_are_made_again(tmp_path, payload):
    window = Window(0, 0, 0, 1, 1)
    kept = tmp_path / ".maps.nc.blocks" / "0_0_0.npz"
    with pytest.raises(KeyboardInterrupt), BlockStore(tmp_path / "maps.nc", {}) as store:
        store.write(window, {"lai_mean": np.ones(1)})
        assert store.read(window) is not None
        np.savez(kept, lai_mean=np.array([_Payload(tmp_path / "it ran")], object))
        assert store.read(window) is None
        kept.write_bytes(payload)
        assert store.read(window) is None
        raise KeyboardInterrupt


# In a process of its own: where a checkpoint is damaged, its readers leave loops behind.
_CHECKPOINTS = """
import json, pathlib, sys
import jax.numpy as jnp
from releo_jax.errors import ReleoError
from releo_jax.training.checkpoints import Checkpoints

folder, payload = map(pathlib.Path, sys.argv[1:])
state, found = {"weights": jnp.arange(4.0)}, {}
with Checkpoints(folder, {"loss": "elbo"}) as checkpoints:
    checkpoints.save(1, state)
for path in sorted(path for path in folder.rglob("*") if path.is_file()):
    content = path.read_bytes()
    path.write_bytes(payload.read_bytes())
    with Checkpoints(folder, {"loss": "elbo"}) as checkpoints:
        try:
            steps, restored = checkpoints.restore(state)
            found[str(path.relative_to(folder))] = restored["weights"].tolist()
        except ReleoError as error:
            found[str(path.relative_to(folder))] = str(error)
    path.write_bytes(content)
print(json.dumps(found))
"""


def test_pickles_in_the_place_of_any_file_of_a_checkpoint(tmp_path, payload):
    (tmp_path / "payload").write_bytes(payload)
    words = [sys.executable, "-c", _CHECKPOINTS, str(tmp_path / "runs"), str(tmp_path / "payload")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    refused = [name for name, what in found.items() if what != [0.0, 1.0, 2.0, 3.0]]
    assert all("no checkpoint can be read" in found[name] for name in refused), found
    assert {name.split("/")[1] for name in refused} == {"state", "training"}


# Other files and servers


@pytest.fixture
def server():
    """An address on this machine, and the requests that came."""
    requests = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def listen():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # closed
                    return
                with connection:
                    requests.append(connection.recv(200))
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", requests
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _virtual(source):
    return (
        '<VRTDataset rasterXSize="12" rasterYSize="12"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )


def _tiles(address):
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service><DataWindow>'
        "<UpperLeftX>0</UpperLeftX><UpperLeftY>12</UpperLeftY><LowerRightX>12</LowerRightX><LowerRightY>0</LowerRightY>"
        "<TileLevel>0</TileLevel></DataWindow><BlockSizeX>12</BlockSizeX><BlockSizeY>12</BlockSizeY>"
        "<BandsCount>1</BandsCount></GDAL_WMS>"
    )


@pytest.mark.parametrize("suffix", ["tif", "jp2"])
@pytest.mark.parametrize("kind", ["file", "address", "tiles"])
def test_text_that_names_images_elsewhere_is_no_image(tmp_path, cube, server, told, kind, suffix):
    """GDAL opens files by their content, whatever their names."""
    address, requests = server
    write_scene(cube, tmp_path / "scene")
    path = tmp_path / "scene" / f"B04.{suffix}"
    secret = (tmp_path / "scene" / "B04.tif").rename(tmp_path / "secret.tif")
    sources = {"file": _virtual(secret), "address": _virtual(f"/vsicurl/{address}/B04.tif"), "tiles": _tiles(address)}
    path.write_text(sources[kind])
    assert f"{path}: cannot be read" in told("info", tmp_path / "scene")
    assert not requests
    if kind == "file":
        with rasterio.open(path) as file:  # it would be read otherwise
            assert (file.read() > 0).any()
    else:
        with pytest.raises(rasterio.errors.RasterioIOError), rasterio.open(path) as file:
            file.read()
        assert requests


def test_what_lies_beside_an_image_leads_nowhere(tmp_path, cube, server):
    address, requests = server
    write_scene(cube, tmp_path / "scene")
    (tmp_path / "scene" / "B04.tif.aux.xml").write_text(
        f'<PAMDataset><SRS>{address}/crs</SRS><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/vsicurl/{address}/'
        "B04.ovr</MDI></Metadata></PAMDataset>"
    )
    (tmp_path / "scene" / "B08.tif.aux.xml").write_text(
        f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/vsicurl/{address}/B08.ovr</MDI></Metadata>'
        "</PAMDataset>"
    )
    found = open_cube(tmp_path / "scene", bands=("B04", "B08")).load()
    np.testing.assert_allclose(found["reflectance"], cube["reflectance"].sel(band=["B04", "B08"]), atol=1e-4)
    assert not requests


@pytest.mark.parametrize("kind", ["external", "virtual", "link"])
def test_numbers_that_lie_in_other_files_are_not_read(tmp_path, cube, told, kind):
    """HDF5 lets a variable name any file that its reader may read."""
    path, other = tmp_path / "scene.nc", tmp_path / "secret.nc"
    write_cube(cube, path)
    write_cube(cube, other)
    shape = cube["reflectance"].shape
    with h5py.File(path, "a") as file:
        del file["sun_zenith"]
        if kind == "external":
            file.create_dataset("sun_zenith", shape, np.float32, external=[(str(other), 0, h5py.h5f.UNLIMITED)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, np.float32)
            layout[:] = h5py.VirtualSource(str(other), "reflectance", shape=shape)
            file.create_virtual_dataset("sun_zenith", layout)
        else:
            file["sun_zenith"] = h5py.ExternalLink(str(other), "/sun_zenith")
    for command in ("info", "plot"):
        assert f"{path}: sun_zenith lies in another file, which is refused" in told(command, path)


@pytest.mark.parametrize("outside", ["../secret", "x/../../secret", "/secret"])
def test_names_of_variables_stay_in_a_store(tmp_path, told, outside):
    name = str(tmp_path / "secret") if outside == "/secret" else outside
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "0.0").write_bytes(np.ones(4, np.float32).tobytes())
    second = {"zarr_format": 2, "shape": [2, 2], "chunks": [2, 2], "dtype": "<f4", "compressor": None, "filters": None}
    second |= {"fill_value": 0, "order": "C"}
    third = {"zarr_format": 3, "node_type": "array", "shape": [2, 2], "data_type": "float32", "fill_value": 0}
    third |= {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2]}}}
    third |= {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}, "dimension_names": ["y", "x"]}
    third |= {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}], "attributes": {}}

    def stores(path, name):
        """The same array in both formats, the names of whose variables are consolidated."""
        for version in ("2", "3"):
            (path / version).mkdir(parents=True)
        held = {".zgroup": {"zarr_format": 2}, ".zattrs": {}, f"{name}/.zarray": second}
        held[f"{name}/.zattrs"] = {"_ARRAY_DIMENSIONS": ["y", "x"]}
        (path / "2" / ".zgroup").write_text(json.dumps(held[".zgroup"]))
        (path / "2" / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": held}))
        consolidated = {"kind": "inline", "must_understand": False, "metadata": {name: third}}
        group = {"zarr_format": 3, "node_type": "group", "attributes": {}, "consolidated_metadata": consolidated}
        (path / "3" / "zarr.json").write_text(json.dumps(group))
        return path / "2", path / "3"

    for store in stores(tmp_path / "inside", "B04"):
        assert list(xr.open_zarr(store)) == ["B04"]
    for store in stores(tmp_path / "outside", name):
        assert f"{store}: " in told("info", store)


@pytest.mark.parametrize("attribute", ["crs_wkt", "spatial_ref"])
def test_a_coordinate_system_is_not_fetched(tmp_path, cube, server, told, attribute):
    address, requests = server
    spoilt = cube.copy()
    spoilt["spatial_ref"].attrs = {attribute: f"{address}/crs"}
    write_cube(spoilt, tmp_path / "scene.nc")
    for command in ("info", "plot"):
        assert f"a CRS that cannot be read ('{address}/crs' in {attribute})" in told(command, tmp_path / "scene.nc")
    assert not requests


def test_projections_fetch_no_grids():
    assert not pyproj.network.is_network_enabled()


def test_links_in_the_place_of_kept_blocks_are_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("results")
    output, place = tmp_path / "maps.nc", tmp_path / ".maps.nc.blocks"
    place.symlink_to(tmp_path / "precious")
    with pytest.raises(ReleoError, match="a link in the place of the blocks"), BlockStore(output, {}):
        pass
    place.unlink()
    place.mkdir()
    (place / "lock").symlink_to(tmp_path / "precious" / "thesis.txt")
    with pytest.raises(ReleoError, match="a link in the place of the blocks"), BlockStore(output, {}):
        pass
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "results"


# XML

_LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "ha" * 10}">' for i in range(10))


@pytest.mark.parametrize("attack", ["laughs", "file", "address"])
@pytest.mark.parametrize("metadata", ["MTD_MSIL2A.xml", "MTD_TL.xml", "MTD_ALL.xml", "MTL.xml"])
def test_entities_are_neither_expanded_nor_fetched(tmp_path, server, told, metadata, attack):
    address, requests = server
    if metadata == "MTD_ALL.xml":
        product = write_theia(tmp_path)
    elif metadata == "MTL.xml":
        product = write_landsat(tmp_path / LANDSAT, kind="xml")
    else:
        product = tmp_path / "scene.SAFE"
        write_scene(make_cube(12, 12, sensor="sentinel2a"), product)
    (path,) = product.rglob(f"*{metadata}")
    (tmp_path / "secret.txt").write_text("secret")
    types = {
        "laughs": f"<!DOCTYPE x [{_LAUGHS}]>",
        "file": f'<!DOCTYPE x [<!ENTITY l9 SYSTEM "{(tmp_path / "secret.txt").as_uri()}">]>',
        "address": f'<!DOCTYPE x SYSTEM "{address}/x.dtd" [<!ENTITY l9 SYSTEM "{address}/l9">]>',
    }
    body = path.read_text().split("?>", 1)[-1]
    inside = body.index("</")
    path.write_text(f"<?xml version='1.0'?>{types[attack]}{body[:inside]}&l9;{body[inside:]}")
    start = time.perf_counter()
    text = told("info", product)
    assert f"{path}: damaged metadata" in text and "secret" not in text.replace("secret.txt", "")
    assert time.perf_counter() - start < 5 and not requests


# The network

_OFFLINE = """
import json, socket, sys

seen = []

def watch(event, arguments):
    if event not in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"):
        return
    if isinstance(arguments[0], socket.socket) and arguments[0].family not in (socket.AF_INET, socket.AF_INET6):
        return
    seen.append([event, str(arguments[1:])])
    raise OSError("no network here")

sys.addaudithook(watch)
from releo_jax.cli import main

for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
try:
    socket.create_connection(("198.51.100.1", 80), timeout=1)
except OSError:
    seen.pop()  # the watch works
else:
    seen.append("not watched")
print(json.dumps(seen))
"""


@pytest.mark.long
def test_the_commands_ask_for_no_server(tmp_path, server):
    """Python is watched, and GDAL, PROJ and NetCDF have a proxy that would hear of them."""
    address, requests = server
    commands = [
        ["simulate", "scene.nc", "--size", "12", "-q"],
        ["simulate", "scene.SAFE", "--size", "12", "-q"],
        ["info", "scene.SAFE"],
        ["invert", "scene.SAFE", "-o", "maps.tif", "-q"],
        ["invert", "scene.nc", "-o", "maps.nc", "-q"],
        ["info", "maps.tif"],
        ["plot", "maps.nc", "-o", "figures", "--truth", "scene.nc", "--variables", "lai", "--dpi", "50"],
        ["score", "maps.nc", "scene.nc"],
    ]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"), address)
    environment = os.environ | proxies | {"no_proxy": "", "NO_PROXY": ""}
    words = [sys.executable, "-c", _OFFLINE, json.dumps(commands)]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert not requests
    asking = "import rasterio\ntry: rasterio.open('/vsicurl/https://198.51.100.1/B04.tif')\nexcept Exception: pass"
    subprocess.run([sys.executable, "-c", asking], env=environment, capture_output=True)
    assert requests  # so it would hear
