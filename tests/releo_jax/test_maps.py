"""Maps: the right values at the right place, whole files or none, memory and programs that do not grow."""

import contextlib
import gc
import os
import threading
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from releo_jax import blockwise, maps, methods
from releo_jax.cubes.blocks import load_block
from releo_jax.cubes.opening import open_cube
from releo_jax.cubes.streaming import BlockWriter
from releo_jax.cubes.tables import read_table
from releo_jax.cubes.writing import write_cube
from releo_jax.errors import ReleoError
from releo_jax.results import open_result
from tests.releo_jax.doubles import VegetationIndex, make_cube


def _expected(cube: xr.Dataset) -> np.ndarray:
    """What the double answers, from the whole image at once."""
    red, infrared = (cube["reflectance"].sel(band=band, drop=True).values for band in ("B04", "B8A"))
    lai = 6.0 * (infrared - red) / (infrared + red + 1e-3) * np.cos(np.radians(cube["sun_zenith"].values))
    usable = (cube["mask"].sel(band=["B04", "B8A"]) == 0).all("band").values
    return np.where(usable, lai, np.nan)


@pytest.mark.parametrize("block_size", [None, 7, 16])
def test_blocks_give_what_the_whole_image_gives(block_size):
    cube = make_cube(dates=2)
    result = maps.predict(cube, VegetationIndex(), variables=("lai",), block_size=block_size)
    np.testing.assert_allclose(result["leaf_area_index_mean"].values, _expected(cube), rtol=1e-5)
    assert result["leaf_area_index_mean"].dtype == np.float32
    assert result["leaf_area_index_flag"].dtype == np.uint8


def test_masked_pixels_come_out_masked_and_nothing_else_changes():
    cube = make_cube()
    cube["reflectance"][0, :, 20, 20] = np.nan
    cube["mask"][0, :, 20, 20] = 1
    cube["reflectance"][0, 2, 21, 21] = -0.3  # one band that the method needs
    cube["mask"][0, 2, 21, 21] = 8
    clean = maps.predict(make_cube(), VegetationIndex())
    result = maps.predict(cube, VegetationIndex())
    flags = result["leaf_area_index_flag"].values[0]
    masked = np.zeros(flags.shape, bool)
    masked[:10, :10] = masked[20, 20] = masked[21, 21] = True
    np.testing.assert_array_equal((flags & 1) != 0, masked)
    for name in result.data_vars:
        values, before = result[name].values[0], clean[name].values[0]
        np.testing.assert_array_equal(values[~masked], before[~masked])
        if not name.endswith("_flag"):
            assert np.isnan(values[masked]).all()
            assert np.isfinite(values[~masked]).all()


def test_pixels_without_a_band_that_the_method_can_do_without_are_retrieved():
    cube = make_cube()  # the last pixel has no B02
    assert np.isfinite(maps.predict(cube, VegetationIndex())["leaf_area_index_mean"].values[0, -1, -1])
    fewer = cube.sel(band=["B03", "B04", "B8A"])
    result = maps.predict(fewer, VegetationIndex())
    np.testing.assert_allclose(result["leaf_area_index_mean"].values, _expected(cube), rtol=1e-5)
    assert result.attrs["missing_bands"] == "B02"


def test_a_missing_band_that_the_method_needs_is_named():
    with pytest.raises(ReleoError, match=r"missing band B04, which the method index cannot do without"):
        maps.predict(make_cube().sel(band=["B02", "B8A"]), VegetationIndex())


def test_all_batches_have_one_size_and_one_program(monkeypatch):
    monkeypatch.setattr(blockwise, "BATCH", 128)
    retrieval = VegetationIndex()
    result = maps.predict(make_cube(33, 41), retrieval, variables=("lai",), block_size=20)
    assert set(retrieval.calls) == {128}
    assert retrieval.traces == 1
    np.testing.assert_allclose(result["leaf_area_index_mean"].values, _expected(make_cube(33, 41)), rtol=1e-5)


def test_blocks_under_clouds_are_not_computed():
    cube = make_cube(20, 40)
    cube["mask"][:, :, :, :20] = 4
    retrieval = VegetationIndex()
    result = maps.predict(cube, retrieval, block_size=20)
    assert len(retrieval.calls) == 1
    assert (result["leaf_area_index_flag"].values[..., :20] == 1).all()


@pytest.mark.parametrize("suffix", ["nc", "zarr", "tif"])
def test_files_hold_what_memory_holds(tmp_path, suffix):
    cube = make_cube(dates=2, sensor="sentinel2b")
    output = tmp_path / f"maps.{suffix}"
    report = maps.invert_cube(cube, output, VegetationIndex(), level=0.8, block_size=16)
    assert report.pixels == 2 * 30 * 40
    assert report.retrieved == report.pixels - 2 * 10 * 10
    assert report.flagged["input_masked"] == 2 * 10 * 10
    stored = open_result(output)
    expected = maps.predict(cube, VegetationIndex(), level=0.8)
    assert set(expected.data_vars) == set(stored.data_vars)
    for name in expected.data_vars:
        np.testing.assert_array_equal(stored[name].values, expected[name].values)
        assert stored[name].dtype == expected[name].dtype
        assert stored[name].attrs["long_name"] == expected[name].attrs["long_name"]
    assert stored.rio.crs.to_epsg() == 32632
    assert stored.rio.transform() == cube.rio.transform()
    np.testing.assert_array_equal(stored["time"].values, cube["time"].values)
    assert stored["leaf_area_index_mean"].attrs["units"] == "m2 m-2"
    assert stored.attrs["method"] == "index"
    assert stored.attrs["sensor"] == "sentinel2b"
    assert float(stored.attrs["level"]) == 0.8
    assert os.listdir(tmp_path) == [output.name]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a.tif", "b.tif"):
        maps.invert_cube(make_cube(), tmp_path / name, VegetationIndex(), block_size=16)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_progress_counts_up_to_all_pixels():
    seen = []
    maps.predict(make_cube(), VegetationIndex(), block_size=16, progress=lambda done, total: seen.append((done, total)))
    assert [total for _, total in seen] == [1200] * len(seen)
    done = [number for number, _ in seen]
    assert done == sorted(done)
    assert done[-1] == 1200


def test_each_date_meets_the_method_of_its_sensor():
    cube = make_cube(dates=2).assign_coords(sensor=("time", ["sentinel2b", "sentinel2a"]))
    retrievals = {name: VegetationIndex() for name in ("sentinel2a", "sentinel2b")}
    both = maps.predict(cube, retrievals)
    assert all(len(method.calls) == 1 for method in retrievals.values())
    np.testing.assert_allclose(both["leaf_area_index_mean"].values, _expected(cube), rtol=1e-5)
    with pytest.raises(ReleoError, match="no method for the sensor sentinel2b"):
        maps.predict(cube, {"sentinel2a": VegetationIndex()})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 90}, r"between 0 and 1 such as 0.9, got 90; 90 % is 0.9"),
        ({"level": 0}, "between 0 and 1"),
        ({"variables": ("lai", "yield")}, "retrieves lai, fapar, not 'yield'"),
        ({"variables": ()}, "not nothing"),
        ({"block_size": 0}, "block size of at least 1"),
    ],
)
def test_requests_that_cannot_be_met_say_why(options, message):
    with pytest.raises(ReleoError, match=message):
        maps.predict(make_cube(), VegetationIndex(), **options)


class _Failing(VegetationIndex):
    """Fails, or is interrupted, after some calls."""

    error: BaseException
    after: int = 2

    def __call__(self, *args, **kwargs):
        if len(self.calls) == self.after:
            raise self.error
        return super().__call__(*args, **kwargs)


@pytest.mark.parametrize("suffix", ["nc", "zarr", "tif"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken")])
def test_a_run_that_stops_half_way_leaves_nothing(tmp_path, suffix, error):
    retrieval = _Failing()
    retrieval.error = error
    before = threading.active_count()
    with pytest.raises(type(error)):
        maps.invert_cube(make_cube(), tmp_path / f"maps.{suffix}", retrieval, block_size=10)
    assert os.listdir(tmp_path) == []
    assert threading.active_count() <= before


def test_a_run_that_stops_half_way_leaves_the_old_output(tmp_path):
    output = tmp_path / "maps.nc"
    maps.invert_cube(make_cube(), output, VegetationIndex(), variables=("lai",))
    old = output.read_bytes()
    retrieval = _Failing()
    retrieval.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        maps.invert_cube(make_cube(seed=1), output, retrieval, variables=("lai",), block_size=10)
    assert output.read_bytes() == old
    assert os.listdir(tmp_path) == ["maps.nc"]


def test_a_failure_to_write_stops_the_run_and_leaves_nothing(tmp_path, monkeypatch):
    written = []

    def write(self, window, arrays):
        written.append(window)
        if len(written) == 2:
            raise ReleoError(f"{self.path}: the disk is full, nothing was written; free some space")

    monkeypatch.setattr(BlockWriter, "write", write)
    retrieval = VegetationIndex()
    with pytest.raises(ReleoError, match="the disk is full"):
        maps.invert_cube(make_cube(), tmp_path / "maps.nc", retrieval, block_size=5)
    assert os.listdir(tmp_path) == []
    assert len(retrieval.calls) < 48  # of so many blocks: it did not go on to the end


def slowly(function, pause):
    """The function, after a pause in seconds."""

    def inner(*args, **kwargs):
        time.sleep(pause)
        return function(*args, **kwargs)

    return inner


def test_reading_computing_and_writing_overlap(tmp_path, monkeypatch):
    pause = 0.05

    class Slow(VegetationIndex):
        def __call__(self, *args, **kwargs):
            time.sleep(pause)
            return super().__call__(*args, **kwargs)

    cube = make_cube(40, 40)
    retrieval = Slow()
    maps.predict(cube, retrieval, block_size=10)  # compiles
    monkeypatch.setattr(blockwise, "load_block", slowly(load_block, pause))
    monkeypatch.setattr(BlockWriter, "write", slowly(BlockWriter.write, pause))
    report = maps.invert_cube(cube, tmp_path / "maps.nc", retrieval, block_size=10)
    stages = (report.reading, report.starting + report.computing, report.writing)
    assert min(stages) > 15 * pause
    assert report.elapsed < 0.75 * sum(stages)


@pytest.fixture
def garbage_is_collected_at_once():
    """As Python does without `conftest.py`."""
    threshold = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*threshold)


@pytest.mark.long
@pytest.mark.usefixtures("garbage_is_collected_at_once")
def test_memory_does_not_grow_with_the_image(tmp_path, monkeypatch):
    monkeypatch.setattr(blockwise, "BATCH", 4096)
    write, held = BlockWriter.write, []

    def noted(*args, **kwargs):
        held.append(tracemalloc.get_traced_memory()[0])
        return write(*args, **kwargs)

    monkeypatch.setattr(BlockWriter, "write", noted)

    def memory(height: int) -> np.ndarray:
        """Bytes held when a block is written, typically, and bytes held at any time, at most."""
        held.clear()
        write_cube(make_cube(height, 256), tmp_path / f"{height}.nc")
        with contextlib.closing(open_cube(tmp_path / f"{height}.nc", scale=None)) as cube:
            tracemalloc.start()
            try:
                maps.invert_cube(cube, tmp_path / f"{height}_maps.nc", VegetationIndex(), block_size=128)
                return np.array([np.median(held), tracemalloc.get_traced_memory()[1]])
            finally:
                tracemalloc.stop()

    memory(256)  # what is loaded once
    # Eight blocks of 128² do not fill the queues between reading, computing and writing yet; sixteen do. The most is
    # held when all three are busiest at once, which comes about by chance, more often among more blocks; what is kept
    # of the image adds to it every time, by one of its eight results at least.
    typical, most = np.max([memory(1024) for _ in range(3)], axis=0)
    added = 4 * 256 * (4096 - 1024)  # bytes of one result
    large = []
    while not large or (large[-1][1] - most >= added and len(large) < 3):
        large.append(memory(4096))
    assert large[-1][1] - most < added, large
    assert max(found for found, _ in large) - typical < 0.4 * added


def _table(rows: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"plot": [f"p{i}" for i in range(rows)]})
    for band, low in (("B02", 0.03), ("B04", 0.05), ("B8A", 0.3)):
        frame[band] = (low * rng.uniform(0.8, 1.2, rows)).round(4)
    return frame.assign(sun_zenith=35.0, view_zenith=5.0, relative_azimuth=100.0)


def test_tables_keep_their_columns_and_gain_the_results(tmp_path):
    frame = _table()
    frame.loc[3, "B04"] = np.nan
    frame.to_csv(tmp_path / "in.csv", index=False)
    table, block = read_table(tmp_path / "in.csv")
    result = maps.predict_table(table, block, VegetationIndex(), variables=("lai",))
    assert list(result.columns[: len(frame.columns)]) == list(frame.columns)
    added = ["mean", "std", "q05", "q50", "q95", "lower", "upper", "flag"]
    assert list(result.columns[len(frame.columns) :]) == [f"lai_{suffix}" for suffix in added]
    lai = 6.0 * (frame.B8A - frame.B04) / (frame.B8A + frame.B04 + 1e-3) * np.cos(np.radians(35.0))
    np.testing.assert_allclose(result["lai_mean"], lai, rtol=1e-5)
    assert result.loc[3, "lai_flag"] == 1
    assert (result["lai_flag"].drop(3) == 0).all()


def test_a_table_with_results_is_refused(tmp_path):
    frame = _table().assign(lai_mean=1.0)
    frame.to_csv(tmp_path / "in.csv", index=False)
    table, block = read_table(tmp_path / "in.csv")
    with pytest.raises(ReleoError, match="lai_mean are there already"):
        maps.predict_table(table, block, VegetationIndex())


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_from_table_to_table(tmp_path, monkeypatch, caplog, suffix):
    monkeypatch.setattr(methods, "load_method", lambda name, sensor, **options: VegetationIndex(name=name))
    _table().drop(columns="B02").to_csv(tmp_path / "in.csv", index=False)
    report = maps.invert_file(tmp_path / "in.csv", tmp_path / f"out.{suffix}", method="sl2p", variables=("fapar",))
    result = pd.read_csv(tmp_path / "out.csv") if suffix == "csv" else pd.read_parquet(tmp_path / "out.parquet")
    assert report.retrieved == len(result) == 50
    assert result["fapar_mean"].between(0, 1).all()
    assert "no B02" in caplog.text
    assert "taken for sentinel2a" in caplog.text


def test_from_image_to_image(tmp_path, monkeypatch):
    loaded = []

    def load(name, sensor, **options):
        loaded.append((name, sensor, options["draws"]))
        return VegetationIndex(name=name)

    monkeypatch.setattr(methods, "load_method", load)
    write_cube(make_cube(sensor="sentinel2c"), tmp_path / "scene.nc")
    maps.invert_file(tmp_path / "scene.nc", tmp_path / "maps.tif", method="sl2p", draws=8)
    assert loaded == [("sl2p", "sentinel2c", 8)]
    expected = maps.predict(make_cube(), VegetationIndex())
    stored = open_result(tmp_path / "maps.tif")
    np.testing.assert_array_equal(stored["fapar_q95"].values, expected["fapar_q95"].values)


def test_adaptation_sees_usable_pixels_and_its_result_is_used(tmp_path, monkeypatch):
    class Adaptable(VegetationIndex):
        def adapt(self, reflectance, mask, sun_view, *, seed):
            assert len(reflectance) == len(mask) == len(sun_view.sun_zenith) == 30 * 40 - 10 * 10
            assert mask[:, 1].all()
            assert seed == 5
            return VegetationIndex(name="adapted", variables=("fapar",))

    monkeypatch.setattr(methods, "load_method", lambda name, sensor, **options: Adaptable())
    write_cube(make_cube(sensor="sentinel2a"), tmp_path / "scene.nc")
    maps.invert_file(tmp_path / "scene.nc", tmp_path / "maps.nc", adapt=True, seed=5)
    assert open_result(tmp_path / "maps.nc").attrs["method"] == "adapted"


def test_what_a_method_cannot_do_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(methods, "load_method", lambda name, sensor, **options: VegetationIndex())
    write_cube(make_cube(sensor="sentinel2a"), tmp_path / "scene.nc")
    with pytest.raises(ReleoError, match="leave --adapt out"):
        maps.invert_file(tmp_path / "scene.nc", tmp_path / "maps.nc", adapt=True)


def test_shipped_methods_are_made_once():
    """So that their programs compile once for all images."""
    found = methods.load_method("sl2p", "sentinel2a")
    assert methods.load_method("sl2p", "S2A") is found
    assert methods.load_method("sl2p", "sentinel2b") is not found


def test_an_unknown_method_is_named():
    with pytest.raises(ReleoError, match="unknown method 'lut'; expected prosail-vae or sl2p"):
        methods.load_method("lut", "sentinel2a")


def test_outputs_are_checked_before_any_work(tmp_path):
    write_cube(make_cube(), tmp_path / "scene.nc")
    (tmp_path / "there.nc").write_text("old")
    for output, message in (
        ("maps.csv", "expected a name that ends in .nc, .zarr, .tif"),
        ("maps", "expected a name that ends in"),
        ("there.nc", "exists already"),
        ("scene.nc", "is the input itself"),
        ("nowhere/maps.nc", "there is no folder"),
    ):
        with pytest.raises(ReleoError, match=message):
            maps.invert_file(tmp_path / "scene.nc", tmp_path / output, method="none")
    with pytest.raises(ReleoError, match="no such file"):
        maps.invert_file(tmp_path / "none.nc", tmp_path / "maps.nc")
    assert (tmp_path / "there.nc").read_text() == "old"
