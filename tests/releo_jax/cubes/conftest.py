"""A small cube made by hand, for tests of files and blocks that need no physics."""

import socket
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rasterio.transform import Affine

from releo_jax.cubes import Flag, open_safe, write_scene
from releo_jax.cubes.convention import assemble
from releo_jax.cubes.scene import DEFAULT_BANDS, NATIVE

CORNER = (600_000.0, 5_300_040.0)


def make_cube(shape: tuple[int, int] = (36, 48), times: int = 1, bands=DEFAULT_BANDS, seed: int = 0) -> xr.Dataset:
    """A cube of random reflectance in steps of 1e-4, with one pixel of every flag, and angles that vary."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    planes = []
    for band in bands:
        side = NATIVE.get(band, 10) // 10
        coarse = rng.integers(100, 6000, (times, -(-rows // side), -(-columns // side)))
        planes.append(coarse.repeat(side, 1).repeat(side, 2)[:, :rows, :columns])
    reflectance = np.stack(planes, axis=1).astype(np.float32) / np.float32(1e4)
    mask = np.zeros(reflectance.shape, np.uint8)
    # In blocks of 6 x 6 pixels, so that bands of every pixel size can hold them.
    reflectance[:, :, :6, :6], mask[:, :, :6, :6] = np.nan, Flag.NODATA
    reflectance[:, 0, :6, 6:12], mask[:, 0, :6, 6:12] = np.nan, Flag.SATURATED
    reflectance[:, 1, :6, 12:18], mask[:, 1, :6, 12:18] = np.float32(-0.01), Flag.INVALID_VALUE
    mask[:, :, 6:12, :6] |= np.uint8(Flag.CLOUD_OR_SHADOW_OR_SNOW)
    coordinates = {
        "time": np.datetime64("2022-06-05T10:36:00", "ns") + np.arange(times) * np.timedelta64(5, "D"),
        "band": list(bands),
        "y": CORNER[1] - 10.0 * np.arange(rows) - 5.0,
        "x": CORNER[0] + 10.0 * np.arange(columns) + 5.0,
    }
    dims = ("time", "band", "y", "x")
    slope = np.linspace(0, 0.02, rows)[:, None] + np.linspace(0, 0.03, columns)[None, :]
    angles = {
        name: xr.DataArray(np.broadcast_to(value + slope, (times, *shape)).astype(np.float32), dims=("time", "y", "x"))
        for name, value in (("sun_zenith", 31.0), ("view_zenith", 6.0), ("relative_azimuth", 128.0))
    }
    return assemble(
        xr.DataArray(reflectance, coords=coordinates, dims=dims),
        xr.DataArray(mask, coords=coordinates, dims=dims),
        angles,
        crs="EPSG:32632",
        transform=Affine(10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1]),
        attrs={"sensor": "sentinel2b", "sun_azimuth": 151.0},
    )


@pytest.fixture
def cube() -> xr.Dataset:
    return make_cube()


@pytest.fixture
def new_cube():
    return make_cube


@pytest.fixture
def no_network(monkeypatch):
    """Only this machine answers."""
    connect = socket.socket.connect

    def only_here(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost"):
            raise AssertionError(f"tests may not connect to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture(scope="session")
def scene(tmp_path_factory) -> Path:
    """A product, and its bands as tiled GeoTIFFs: as ESA stores them, and with the offset in the numbers."""
    from tests.releo_jax.cubes import catalogues  # needs the extra `stac`

    folder = tmp_path_factory.mktemp("stac")
    cube = make_cube()
    values = cube["reflectance"].values
    values[values < 0] = 0.0105  # below zero, the numbers of Earth Search would be lost
    cube["mask"].values[cube["mask"].values == Flag.INVALID_VALUE] = 0
    write_scene(cube, folder / "image.SAFE")
    catalogues.write_cogs(folder / "image.SAFE", folder / "original")
    catalogues.write_cogs(folder / "image.SAFE", folder / "harmonised", add=-1000)
    return folder


@pytest.fixture(scope="session")
def product(scene) -> xr.Dataset:
    return open_safe(scene / "image.SAFE").load()
