"""Input that cannot be read everywhere: what can be is right, what cannot be is masked and named."""

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr

from releo_jax import maps
from releo_jax.cli import PARTIAL, main
from releo_jax.cubes.blocks import Window, load_block
from releo_jax.cubes.scene import simulate_scene
from releo_jax.cubes.scene_files import write_scene
from releo_jax.errors import UnreadableError
from tests.releo_jax.doubles import VegetationIndex, make_cube


def _spoilt(name, wrong, *, dates=1):
    """A cube in chunks of 16 pixels; those that are `wrong(date, band, row, column)` raise when they are read."""
    cube = make_cube(40, 40, dates=dates)
    variable = cube[name]
    whole = variable.values

    def read(block_info=None):
        where = [interval[0] for interval in block_info[None]["array-location"]]
        band = where[1] if "band" in variable.dims else None
        if wrong(where[0], band, *where[-2:]):
            raise OSError(f"{name}.tif: tile of row {where[-2]} is cut off")
        return whole[tuple(slice(*interval) for interval in block_info[None]["array-location"])]

    sizes = {"time": 1, "band": 1, "y": 16, "x": 16}
    chunks = [
        tuple(min(sizes[dim], variable.sizes[dim] - at) for at in range(0, variable.sizes[dim], sizes[dim]))
        for dim in variable.dims
    ]
    lazy = da.map_blocks(read, chunks=chunks, dtype=whole.dtype, meta=np.zeros((0,) * whole.ndim, whole.dtype))
    return cube.assign({name: (variable.dims, lazy, variable.attrs)})


@pytest.fixture(scope="module")
def right():
    return maps.predict(make_cube(40, 40, dates=2), VegetationIndex(), block_size=16)


def _differ(found, right):
    """Pixels `(time, y, x)` whose mean is not that of the undamaged image."""
    one, other = (result["leaf_area_index_mean"].values for result in (found, right))
    return ~((one == other) | (np.isnan(one) & np.isnan(other)))


def test_a_band_that_is_cut_off_is_masked_there_and_nowhere_else(right, caplog):
    cube = _spoilt("reflectance", lambda t, band, y, x: (t, band, y) == (1, 2, 32) and x >= 16, dates=2)  # B04
    found = maps.predict(cube, VegetationIndex(), block_size=16)
    assert list(cube["band"].values)[2] == "B04"
    lost = np.zeros((2, 40, 40), bool)
    lost[1, 32:, 16:] = True
    masked = (found["leaf_area_index_flag"].values & 1).astype(bool)
    assert (_differ(found, right) == lost).all() and masked[lost].all()
    (message,) = caplog.messages
    assert "tile of row 32 is cut off" in message and "damaged: copy or download it again" in message
    assert message.endswith("masked in 2 blocks, the first at rows 32 to 39, columns 16 to 31 of date 2")


def test_a_band_that_the_method_can_do_without_costs_nothing(right, caplog):
    cube = _spoilt("reflectance", lambda t, band, y, x: band == 0, dates=2)  # B02
    found = maps.predict(cube, VegetationIndex(), block_size=16)
    assert not _differ(found, right).any() and len(caplog.messages) == 3  # one for each row of tiles


@pytest.mark.parametrize("name", ["mask", "sun_zenith"])
def test_without_mask_or_angles_all_bands_are_masked(right, name):
    cube = _spoilt(name, lambda t, band, y, x: t == 0 and y == 0 and x == 16, dates=2)
    found = maps.predict(cube, VegetationIndex(), block_size=16)
    lost = np.zeros((2, 40, 40), bool)
    lost[0, :16, 16:32] = True
    assert (_differ(found, right) == lost).all()


def test_nothing_readable_is_an_error_and_writes_nothing(tmp_path):
    cube = _spoilt("reflectance", lambda *place: True)
    with pytest.raises(UnreadableError, match="tile of row 0 is cut off"):
        maps.invert_cube(cube, tmp_path / "maps.nc", VegetationIndex(), block_size=16)
    assert not list(tmp_path.iterdir())
    # Without a list for messages, reading raises as ever.
    with pytest.raises(UnreadableError, match="cannot be read"):
        load_block(cube, Window(0, 0, 0, 16, 16))


def test_blocks_that_could_not_be_read_are_not_kept(tmp_path):
    """A run that is interrupted after such a block reads it once more when it goes on."""
    broken = [True]
    cube = _spoilt("reflectance", lambda t, band, y, x: broken[0] and (y, x) == (0, 0))

    class Interrupted(VegetationIndex):
        def __call__(self, *arguments, **options):
            if len(self.calls) == 5:
                raise KeyboardInterrupt
            return super().__call__(*arguments, **options)

    with pytest.raises(KeyboardInterrupt):
        maps.invert_cube(cube, tmp_path / "maps.nc", Interrupted(), block_size=16, resume={})
    kept = {path.name for path in (tmp_path / ".maps.nc.blocks").glob("*.npz")}
    assert "0_0_16.npz" in kept and "0_0_0.npz" not in kept
    broken[0] = False
    report = maps.invert_cube(cube, tmp_path / "maps.nc", VegetationIndex(), block_size=16, resume={})
    assert not report.unread
    with xr.open_dataset(tmp_path / "maps.nc") as found:
        assert np.isfinite(found["leaf_area_index_mean"].values[0, 12:16, 12:16]).all()


@pytest.mark.long
def test_the_command_names_the_file_and_says_partial(tmp_path, capsys):
    scene = simulate_scene(seed=2, shape=(1100, 200), bands=("B03", "B04", "B8A"))
    write_scene(scene, tmp_path / "image")
    words = ["invert", str(tmp_path / "image"), "--variables", "lai", "--no-misfit"]
    assert main([*words, "-o", str(tmp_path / "whole.nc"), "-q"]) == 0
    path = tmp_path / "image" / "B04.tif"
    # The head of the first of its three tiles of 512 rows, two of which are read together. Random bytes further on may
    # decompress to something.
    with rasterio.open(path) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[start : start + 20_000] = bytes(20_000)
    path.write_bytes(bytes(data))
    status = main([*words, "-o", str(tmp_path / "maps.nc"), "-q"])
    told = capsys.readouterr().err
    assert status == PARTIAL and f"{path}: cannot be read" in told and "masked in" in told, told
    with xr.open_dataset(tmp_path / "maps.nc") as found, xr.open_dataset(tmp_path / "whole.nc") as whole:
        differ = _differ(found, whole)
        widths = [(maps["leaf_area_index_upper"] - maps["leaf_area_index_lower"]).values[0] for maps in (found, whole)]
    # The method goes on without the band where it is lost, and knows less there.
    assert differ[0, :1024].any() and not differ[0, 1024:].any()
    assert np.nanmean(widths[0][:1024]) > np.nanmean(widths[1][:1024])
