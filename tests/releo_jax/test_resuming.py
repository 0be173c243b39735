"""Runs that are killed and go on: the same bytes as a run that was not, nothing computed twice, nothing left behind."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from releo_jax import maps, methods
from releo_jax.cubes.block_store import BlockStore, stamps
from releo_jax.cubes.blocks import Window
from releo_jax.cubes.opening import open_cube
from releo_jax.cubes.writing import write_cube
from releo_jax.errors import ReleoError
from tests.releo_jax.doubles import VegetationIndex, make_cube

REQUEST = {"input": "a scene"}


class _Stopped(VegetationIndex):
    """Answers some batches, then ends as told."""

    def __init__(self, batches, end):
        super().__init__()
        self.left, self.end = batches, end

    def __call__(self, *arguments, **options):
        if not self.left:
            self.end()
        self.left -= 1
        return super().__call__(*arguments, **options)


def _interrupt():
    raise KeyboardInterrupt


def _bytes(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


def _invert(output, retrieval=None, **options):
    retrieval = VegetationIndex() if retrieval is None else retrieval
    report = maps.invert_cube(make_cube(40, 40, dates=2), output, retrieval, block_size=16, **options)
    return report, retrieval


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.releo_jax.test_resuming import REQUEST, _Stopped, _invert
_invert(Path(sys.argv[1]), _Stopped(int(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL)), resume=REQUEST)
"""


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["nc", "zarr", "tif"])
def test_killed_runs_go_on_to_the_same_bytes(tmp_path, suffix):
    whole, output = tmp_path / "whole" / f"map.{suffix}", tmp_path / "killed" / f"map.{suffix}"
    whole.parent.mkdir(), output.parent.mkdir()
    expected, _ = _invert(whole)
    batches = {"nc": (0, 7, 3), "zarr": (17,), "tif": (9,)}[suffix]  # of 18 blocks
    for number in batches:
        ended = subprocess.run([sys.executable, "-c", KILLED, str(output), str(number)])
        assert ended.returncode == -signal.SIGKILL and not output.exists()
    report, retrieval = _invert(output, resume=REQUEST)
    assert len(retrieval.calls) == 18 - sum(batches)
    assert _bytes(output) == _bytes(whole)
    assert os.listdir(output.parent) == [output.name]
    assert (report.pixels, report.retrieved, report.flagged) == (
        expected.pixels,
        expected.retrieved,
        expected.flagged,
    )


def test_an_interrupted_run_keeps_its_blocks_and_tells_how_far_it_is(tmp_path):
    told = []
    with pytest.raises(KeyboardInterrupt):
        _invert(tmp_path / "map.nc", _Stopped(6, _interrupt), resume=REQUEST)
    _, retrieval = _invert(tmp_path / "map.nc", resume=REQUEST, progress=lambda done, total: told.append(done))
    assert len(retrieval.calls) == 12
    assert told == sorted(told) and told[0] > 0 and told[-1] == 2 * 40 * 40


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_block_is_made_again(tmp_path, damage, caplog):
    _invert(tmp_path / "whole.nc")
    with pytest.raises(KeyboardInterrupt):
        _invert(tmp_path / "map.nc", _Stopped(6, _interrupt), resume=REQUEST)
    block = tmp_path / ".map.nc.blocks" / "0_0_16.npz"
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 1
    block.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    _, retrieval = _invert(tmp_path / "map.nc", resume=REQUEST)
    assert len(retrieval.calls) == 13
    assert (tmp_path / "map.nc").read_bytes() == (tmp_path / "whole.nc").read_bytes()
    assert "damaged" in caplog.text


@pytest.mark.parametrize("change", [{"level": 0.8}, {"resume": {"input": "another scene"}}, {"block_size": 20}])
def test_blocks_of_another_request_are_not_taken(tmp_path, change, caplog):
    with pytest.raises(KeyboardInterrupt):
        _invert(tmp_path / "map.nc", _Stopped(6, _interrupt), resume=REQUEST)
    options = {"block_size": 16, "resume": REQUEST} | change
    retrieval = VegetationIndex()
    maps.invert_cube(make_cube(40, 40, dates=2), tmp_path / "map.nc", retrieval, **options)
    assert len(retrieval.calls) == (8 if "block_size" in change else 18)
    assert "begins anew" in caplog.text and os.listdir(tmp_path) == ["map.nc"]


def test_two_runs_do_not_make_one_map(tmp_path):
    with BlockStore(tmp_path / "map.nc", REQUEST) as store:
        store.write(Window(0, 0, 0, 1, 2), {"a": np.arange(2.0)})
        with pytest.raises(ReleoError, match="another run is making this map"):
            _invert(tmp_path / "map.nc", resume=REQUEST)
        np.testing.assert_array_equal(store.read(Window(0, 0, 0, 1, 2))["a"], [0.0, 1.0])
    assert not os.listdir(tmp_path)


def test_without_locks_it_runs_and_says_so(tmp_path, monkeypatch, caplog):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("releo_jax.cubes.block_store.fcntl.flock", no_locks)
    _invert(tmp_path / "map.nc", resume=REQUEST)
    assert "knows no locks" in caplog.text and os.listdir(tmp_path) == ["map.nc"]


def test_only_what_killed_runs_left_is_removed(tmp_path):
    others = {".map.12345678.part.nc.mine", ".map2.12345678.part.nc", "map.nc.blocks", ".map.nc.bak"}
    left = {".map.12345678.part.nc", ".map.12345678.part.nc.stream", ".map.12345678.part.nc.aux.xml"}
    for name in others | left:
        (tmp_path / name).touch()
    _invert(tmp_path / "map.nc", resume=REQUEST)
    assert set(os.listdir(tmp_path)) == others | {"map.nc"}


def test_an_old_map_that_a_killed_run_had_put_aside_comes_back(tmp_path):
    (tmp_path / ".map.12345678.part.zarr.old").mkdir()
    (tmp_path / ".map.12345678.part.zarr.old" / ".zgroup").touch()
    with pytest.raises(KeyboardInterrupt):
        _invert(tmp_path / "map.zarr", _Stopped(2, _interrupt), resume=REQUEST)
    assert (tmp_path / "map.zarr" / ".zgroup").exists()


def test_files_that_change_have_other_stamps(tmp_path):
    (tmp_path / "scene").mkdir()
    file = tmp_path / "scene" / "B02.tif"
    file.write_bytes(b"12")
    first = stamps(tmp_path / "scene")
    assert first == stamps(tmp_path / "scene") and first[0][:2] == ["scene/B02.tif", 2]
    file.write_bytes(b"123")
    assert stamps(tmp_path / "scene") != first
    assert stamps(file)[0][0] == "B02.tif"


def test_files_resume_with_their_options(tmp_path, monkeypatch):
    made = []

    def method(name, sensor, **options):
        made.append(_Stopped(4, _interrupt) if not made else VegetationIndex())
        return made[-1]

    monkeypatch.setattr(methods, "load_method", method)
    write_cube(make_cube(40, 40), tmp_path / "scene.nc")
    options = {"variables": ("lai",), "block_size": 16, "resume": True}
    with pytest.raises(KeyboardInterrupt):
        maps.invert_file(tmp_path / "scene.nc", tmp_path / "map.tif", **options)
    maps.invert_file(tmp_path / "scene.nc", tmp_path / "map.tif", **options)
    assert len(made[1].calls) == 5
    with pytest.raises(ReleoError, match="--resume is for images"):
        (tmp_path / "pixels.csv").write_text("B04,B8A\n0.1,0.4\n")
        maps.invert_file(tmp_path / "pixels.csv", tmp_path / "found.csv", resume=True)
    open_cube(tmp_path / "scene.nc").close()
