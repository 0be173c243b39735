"""`releo train`, its trainings replaced by shipped networks, and what `releo invert --weights` makes of its files."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from releo_jax.cli import main
from releo_jax.systems import train
from releo_jax.systems.prosail_vae import load_retrieval


@pytest.fixture
def trained(monkeypatch):
    """Trainings that return the shipped network at once; keeps what they were asked for."""
    asked = []

    def train_retrieval(bands, posterior, **how):
        asked.append({"sensor": bands.name} | how)
        shipped = load_retrieval("sentinel2a")
        posterior = dataclasses.replace(shipped.posterior, history=(np.array([1.5]),))
        return dataclasses.replace(shipped, posterior=posterior)

    monkeypatch.setattr(train, "train_retrieval", train_retrieval)
    return asked


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.nc"
    assert main(["simulate", str(path), "--size", "12", "-q"]) == 0
    return path


@pytest.mark.long
def test_weights_are_written_for_each_sensor_and_used_by_invert(tmp_path, trained, scene, capsys):
    folder = tmp_path / "weights"
    words = ["train", str(folder), "--sensors", "sentinel2a,sentinel2b", "--steps", "50", "--parts", "2"]
    assert main([*words, "--checkpoints", str(tmp_path / "runs")]) == 0
    names = [f"prosail_vae_sentinel2{letter}.safetensors" for letter in "ab"]
    assert sorted(path.name for path in folder.iterdir()) == names
    told = capsys.readouterr().out
    assert all(f"{name}: " in told for name in names) and "loss 1.500" in told
    # The second sensor starts from the first, and takes a fifth of the steps.
    assert [(one["sensor"], one["steps"]) for one in trained] == [("sentinel2a", 50), ("sentinel2b", 10)]
    assert [one["runs"].folder.name for one in trained] == ["sentinel2a", "sentinel2b"]
    assert trained[0]["runs"].parts == 2
    maps = [tmp_path / "own.nc", tmp_path / "shipped.nc"]
    assert main(["invert", str(scene), "-o", str(maps[0]), "--weights", str(folder), "-q"]) == 0
    assert main(["invert", str(scene), "-o", str(maps[1]), "-q"]) == 0
    with xr.open_dataset(maps[0]) as own, xr.open_dataset(maps[1]) as shipped:
        assert 'weights = "weights"' in own.attrs["configuration"]
        xr.testing.assert_equal(own.drop_attrs(), shipped.drop_attrs())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--method", "vae"], "unknown method 'vae'; expected prosail-vae, optical-radar, temporal"),
        (["--sensors", "landsat8"], "unknown sensor landsat8; expected some of sentinel2a"),
    ],
)
def test_what_cannot_be_trained_is_named(tmp_path, trained, capsys, words, named):
    assert main(["train", str(tmp_path / "weights"), *words]) == 1
    assert named in capsys.readouterr().err and not trained


def test_weights_that_are_not_there_or_others_are_named(tmp_path, scene, capsys):
    words = ["invert", str(scene), "-o", str(tmp_path / "maps.nc"), "-q", "--weights", str(tmp_path)]
    assert main(words) == 1
    assert "prosail_vae_sentinel2a.safetensors: no such file; give the folder" in capsys.readouterr().err
    (tmp_path / "prosail_vae_sentinel2a.safetensors").write_bytes(b"not weights")
    assert main(words) == 1
    assert "not the weights of this method" in capsys.readouterr().err
    assert main([*words, "--method", "sl2p"]) == 1
    assert "has no weights to train" in capsys.readouterr().err
    assert not (tmp_path / "maps.nc").exists()
