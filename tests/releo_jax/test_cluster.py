"""Maps whose blocks other processes retrieve: the same bytes, whatever happens to a worker."""

import os
import signal

import pytest
import xarray as xr

from releo_jax.cli import main
from releo_jax.cluster import cluster
from releo_jax.cubes import open_cube
from releo_jax.errors import ReleoError
from releo_jax.maps import invert_cube, invert_file, predict
from releo_jax.methods import load_method

OPTIONS = {"method": "sl2p", "variables": ("lai",), "block_size": 16}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.nc"
    assert main(["simulate", str(path), "--size", "48", "-q"]) == 0
    return path


@pytest.fixture(scope="module")
def alone(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("alone") / "maps.nc"
    report = invert_file(scene, path, **OPTIONS)
    return path.read_bytes(), report


@pytest.mark.long
def test_workers_make_the_same_map(scene, alone, tmp_path):
    done = []
    with cluster(2) as client:
        report = invert_file(
            scene, tmp_path / "maps.nc", workers=client, progress=lambda *told: done.append(told), **OPTIONS
        )
        assert (tmp_path / "maps.nc").read_bytes() == alone[0]
        assert (report.pixels, report.retrieved, report.flagged) == (48 * 48, alone[1].retrieved, alone[1].flagged)
        assert report.reading > 0.0 and done[-1] == (48 * 48, 48 * 48)
        # A second map, of the same workers, by another plan; and a season, whose dates are read together.
        other = OPTIONS | {"level": 0.5}
        invert_file(scene, tmp_path / "other.nc", workers=client, **other)
        (tmp_path / "one").mkdir()
        invert_file(scene, tmp_path / "one" / "other.nc", **other)
        assert (tmp_path / "other.nc").read_bytes() == (tmp_path / "one" / "other.nc").read_bytes()
        # A worker that is killed is replaced, and what it had is retrieved again.
        killed = []

        def kill(finished, total):
            if not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        (tmp_path / "killed").mkdir()
        invert_file(scene, tmp_path / "killed" / "maps.nc", workers=client, progress=kill, **OPTIONS)
        assert killed and (tmp_path / "killed" / "maps.nc").read_bytes() == alone[0]


@pytest.mark.long
def test_the_command_takes_workers_and_goes_on_with_them(scene, alone, tmp_path):
    words = ["invert", str(scene), "-o", str(tmp_path / "maps.nc"), "--method", "sl2p", "--variables", "lai"]
    assert main([*words, "--block-size", "16", "--workers", "1", "--resume", "-q"]) == 0
    assert (tmp_path / "maps.nc").read_bytes() == alone[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.nc"]


def test_what_does_not_go_together_is_named(scene, tmp_path):
    with pytest.raises(ReleoError, match="--adapt does not go with --workers"):
        invert_file(scene, tmp_path / "maps.nc", workers=2, adapt=True)
    with pytest.raises(ReleoError, match="at least one worker, got 0"):
        invert_file(scene, tmp_path / "maps.nc", workers="0")
    (tmp_path / "table.csv").write_text("B02,B03\n0.1,0.1\n")
    with pytest.raises(ReleoError, match="--workers are for images"):
        invert_file(tmp_path / "table.csv", tmp_path / "maps.csv", workers=2)


@pytest.mark.long
def test_an_address_that_nobody_answers_is_named(scene, tmp_path):
    with pytest.raises(ReleoError, match="tcp://127.0.0.1:1: no Dask scheduler answers"):
        invert_file(scene, tmp_path / "maps.nc", workers="tcp://127.0.0.1:1")


@pytest.mark.long
def test_two_maps_at_once_have_processes_of_their_own():
    with cluster(1) as one, cluster(1) as other:  # a port that is taken would be a warning, and so an error here
        assert one.submit(os.getpid).result() != other.submit(os.getpid).result()


@pytest.mark.long
def test_cubes_in_memory_and_from_files_are_shared_out_too(scene, tmp_path):
    """By a retrieval that no file names: it travels with the cube."""
    retrieval = load_method("sl2p", "sentinel2a")
    with cluster(2) as client, open_cube(scene) as lazy:
        # Under this setting of Dask the processes give back every freed array, and spend a fifth of their time on it.
        name = "MALLOC_TRIM_THRESHOLD_"
        assert set(client.run(os.getenv, name).values()) == {os.getenv(name)}
        for cube in (lazy, lazy.compute()):
            expected = predict(cube, retrieval, variables=("lai",), block_size=16)
            done = {}
            found = predict(
                cube, retrieval, variables=("lai",), block_size=16, client=client, progress=done.__setitem__
            )
            xr.testing.assert_identical(found, expected)
            assert done[48 * 48] == 48 * 48
        learned = load_method("prosail-vae", "sentinel2a", misfit=False)
        report = invert_cube(lazy, tmp_path / "two.nc", learned, variables=("lai",), client=client)
        invert_cube(lazy, tmp_path / "one.nc", learned, variables=("lai",))
    assert report.retrieved and (tmp_path / "two.nc").read_bytes() == (tmp_path / "one.nc").read_bytes()
