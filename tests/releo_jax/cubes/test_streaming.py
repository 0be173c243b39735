import netCDF4
import numpy as np
import pytest
import rasterio
import xarray as xr
from isal import isal_zlib

from releo_jax.cubes.blocks import Window
from releo_jax.cubes.streaming import BlockWriter, Layer

LAYERS = {"value": Layer(attrs={"units": "1"}), "flags": Layer("uint8"), "day": Layer("int16")}
DATES, HEIGHT, WIDTH = 2, 530, 610


@pytest.fixture
def image():
    shape, rng = (DATES, HEIGHT, WIDTH), np.random.default_rng(0)
    value = rng.normal(size=shape).astype(np.float32)
    value[rng.random(shape) < 0.1] = np.nan
    layers = {"value": value, "flags": rng.integers(0, 256, shape), "day": rng.integers(-300, 300, shape)}
    coordinates = {
        "time": np.array(["2021-05-01", "2021-05-11"], "datetime64[ns]"),
        "y": 5_000_000.0 - 10.0 * np.arange(HEIGHT),
        "x": 400_000.0 + 10.0 * np.arange(WIDTH),
    }
    named = {name: (("time", "y", "x"), layers[name].astype(layer.dtype)) for name, layer in LAYERS.items()}
    return xr.Dataset(named, coordinates).rio.write_crs(32632)


def write(image, path, side, first=0):
    with BlockWriter(path, image, LAYERS) as writer:
        for time in range(DATES):
            for row in (0, *range(first or side, HEIGHT, side)):
                for column in (0, *range(first or side, WIDTH, side)):
                    stop = [start + (first if first and not start else side) for start in (row, column)]
                    height, width = min(stop[0], HEIGHT) - row, min(stop[1], WIDTH) - column
                    window = Window(time, row, column, height, width)
                    part = image.isel(time=time, y=window.y, x=window.x)
                    writer.write(window, {name: part[name].values for name in LAYERS})


# NetCDF has chunks of 256, Zarr and GeoTIFF of 512: blocks of one, a part, several, and shifted against them.
@pytest.mark.parametrize(("side", "first"), [(256, 0), (512, 0), (100, 0), (300, 0), (1000, 0), (512, 200)])
@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_blocks_of_any_size_make_the_image(image, tmp_path, suffix, side, first):
    path = tmp_path / f"map.{suffix}"
    write(image, path, side, first)
    with xr.open_dataset(path, mask_and_scale=False, chunks=None, decode_coords="all") as found:
        for name, layer in LAYERS.items():
            assert found[name].dtype == layer.dtype
            np.testing.assert_array_equal(found[name], image[name])


def test_gdal_and_the_netcdf_library_read_what_was_packed_for_them(image, tmp_path):
    write(image, tmp_path / "map.nc", 512)
    with netCDF4.Dataset(tmp_path / "map.nc") as file:
        for name in LAYERS:
            filters = file[name].filters()
            assert filters["zlib"] and filters["shuffle"] and file[name].chunking() == [1, 256, 256]
            np.testing.assert_array_equal(np.ma.getdata(file[name][:]), image[name])
    with rasterio.open(f"netcdf:{tmp_path / 'map.nc'}:value") as file:
        np.testing.assert_array_equal(file.read(), image["value"])
        assert file.crs.to_epsg() == 32632 and file.transform.c == 399_995.0 and file.transform.f == 5_000_005.0


def test_whole_chunks_are_packed_once_and_not_by_hdf5(image, tmp_path, monkeypatch):
    compressed, packed = isal_zlib.compress, []

    def compress(data, level):
        packed.append(data.nbytes)
        return compressed(data, level)

    monkeypatch.setattr("releo_jax.cubes.streaming.isal_zlib.compress", compress)
    write(image, tmp_path / "map.nc", 512)
    # Three by three chunks of each layer and date, those at the edge filled up.
    assert sorted(packed) == sorted(256 * 256 * size for size in (1, 2, 4) for _ in range(9 * DATES))
    packed.clear()
    write(image, tmp_path / "map.nc", 200)
    assert packed == []
