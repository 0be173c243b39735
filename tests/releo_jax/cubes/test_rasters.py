"""Raster files stay open between reads, and nobody notices but the clock."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio

from releo_jax import maps, methods
from releo_jax.cubes import rasters
from releo_jax.errors import ReleoError
from tests.releo_jax.cubes.products import write_theia, write_tif
from tests.releo_jax.doubles import VegetationIndex

SIDE = 64


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    """No files open at first."""
    kept = rasters._Idle()
    monkeypatch.setattr(rasters, "_idle", kept)
    yield kept
    kept.close()


@pytest.fixture
def openings(monkeypatch):
    """Files in the order in which they are opened."""
    found, plain = [], rasters._open

    def noted(path):
        found.append(plain(path))
        return found[-1]

    monkeypatch.setattr(rasters, "_open", noted)
    return found


def write(path: Path, first: int) -> Path:
    """A file of numbers that count from `first`."""
    numbers = (first + np.arange(SIDE * SIDE, dtype=np.uint16)).reshape(1, SIDE, SIDE)
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16", "compress": "deflate"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(numbers)
    return path


def first_row(path: Path) -> np.ndarray:
    """As cubes read it."""
    return rasters.read(rasters.Source(path), slice(0, 1), slice(0, SIDE), None)[0]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
class TestOpen:
    """What stays open, and what does not."""

    def test_a_file_is_opened_once(self, tmp_path, openings):
        path = write(tmp_path / "a.tif", 7)
        for _ in range(3):
            np.testing.assert_array_equal(first_row(path), 7 + np.arange(SIDE))
        assert len(openings) == 1

    @pytest.mark.parametrize("in_place", [True, False])
    def test_a_changed_file_is_read_anew(self, tmp_path, in_place):
        path = write(tmp_path / "a.tif", 7)
        first_row(path)
        before = path.stat()
        changed = write(tmp_path / "b.tif", 8)
        if in_place:
            path.write_bytes(changed.read_bytes())
        else:
            changed.replace(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as copies that keep times do
        np.testing.assert_array_equal(first_row(path), 8 + np.arange(SIDE))

    def test_no_more_than_a_few_stay_open(self, tmp_path, openings):
        for number in range(rasters.KEPT + 3):
            first_row(write(tmp_path / f"{number}.tif", number))
        assert [file.closed for file in openings] == [True] * 3 + [False] * rasters.KEPT

    def test_a_file_that_fails_is_closed(self, tmp_path, idle, openings):
        path = write(tmp_path / "a.tif", 7)
        with pytest.raises(RuntimeError, match="by the caller"), rasters.opened(path):
            raise RuntimeError("by the caller")
        assert not idle._files
        assert openings[0].closed

    def test_gdal_does_not_talk_to_the_screen(self, tmp_path, capfd):
        path = tmp_path / "a.tif"
        write_tif(path, np.zeros((36, 48), np.int16), 10)
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(ReleoError, match="truncated or damaged"):
            first_row(path)
        assert capfd.readouterr() == ("", "")

    def test_threads_share_files_and_never_at_once(self, tmp_path, openings, idle):
        paths = [write(tmp_path / f"{number}.tif", number) for number in range(4)]
        with ThreadPoolExecutor(8) as pool:
            rows = list(pool.map(first_row, paths * 100))
        for number, row in enumerate(rows):
            np.testing.assert_array_equal(row, number % 4 + np.arange(SIDE))
        files = [file for _, file in idle._files]
        assert len({id(file) for file in files}) == len(files) == len(openings) < 100

    def test_a_map_leaves_no_file_open(self, tmp_path, monkeypatch, openings, idle):
        folder = write_theia(tmp_path)
        monkeypatch.setattr(methods, "load_method", lambda *args, **options: VegetationIndex())
        maps.invert_file(folder, tmp_path / "maps.nc")
        assert openings and all(file.closed for file in openings)
        assert not idle._files
