"""Disks that fill up while a map is written, and targets that nothing can be written to."""

import errno
import json
import subprocess
import sys

import pytest

from releo_jax.cli import main
from releo_jax.cubes import atomic

LIMITED = """
import json, resource, signal, sys
from releo_jax.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)  # of a file: what a disk with little room says
print(json.dumps([main(["invert", sys.argv[2], "-o", name, "--method", "sl2p", "-q"]) for name in sys.argv[3:]]))
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.nc"
    assert main(["simulate", str(path), "--size", "200", "-q"]) == 0
    return path


@pytest.mark.long
def test_a_disk_that_fills_up_is_named_and_nothing_is_left(scene, tmp_path):
    names = [str(tmp_path / f"maps.{suffix}") for suffix in ("nc", "zarr", "tif")]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "60000", str(scene), *names], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [1, 1, 1], done.stderr
    # The TIFF library says things of its own.
    lines = [line for line in done.stderr.splitlines() if line.startswith("releo: ")]
    assert [line.split(": ")[1] for line in lines] == names and "Traceback" not in done.stderr
    assert all("the disk" in line and "full" in line and "nothing was written" in line for line in lines), lines
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_target_that_cannot_be_written_to_is_named_before_any_work(scene, tmp_path, monkeypatch, capsys, number):
    def refuse(path, *arguments):
        raise OSError(number, "not here", str(path))

    monkeypatch.setattr(atomic, "open", refuse, raising=False)
    assert main(["invert", str(scene), "-o", str(tmp_path / "maps.nc"), "--method", "sl2p", "-q"]) == 1
    assert "maps.nc: no permission to write here, nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
