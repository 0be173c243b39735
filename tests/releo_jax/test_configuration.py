"""Runs from a file, and the configuration that a map keeps."""

import tomllib

import numpy as np
import pytest
import xarray as xr

from releo_jax.cli import main
from releo_jax.configuration import configuration, read_configuration


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scene and two maps of it, made from a file."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.toml").write_text(
        """
        [simulate]
        output = "a scene.nc"
        size = 12
        clouds = 0.1
        seed = 3

        [[invert]]
        input = "a scene.nc"
        output = "maps.nc"
        variables = ["lai", "ccc"]
        level = 0.5
        misfit = false

        [[invert]]
        input = "a scene.nc"
        output = "maps.tif"
        variables = "lai"
        method = "sl2p"
        """
    )
    assert main(["run", str(folder / "run.toml"), "--quiet"]) == 0
    return folder


def test_the_commands_run_in_their_order_with_their_options(folder):
    assert {path.name for path in folder.iterdir()} == {"run.toml", "a scene.nc", "maps.nc", "maps.tif"}
    with xr.open_dataset(folder / "maps.nc") as maps:
        assert maps.attrs["level"] == 0.5 and "canopy_chlorophyll_lower" in maps and "fapar_mean" not in maps
    assert main(["run", str(folder / "run.toml"), "--quiet"]) == 1  # the outputs are there already


def test_a_map_keeps_the_configuration_that_makes_it_again(folder, tmp_path):
    with xr.open_dataset(folder / "maps.nc") as maps:
        text = maps.attrs["configuration"]
        before = maps["leaf_area_index_mean"].values
    kept = tomllib.loads(text)["invert"]
    assert kept["method"] == "prosail-vae" and kept["misfit"] is False and kept["variables"] == ["lai", "ccc"]
    (tmp_path / "a scene.nc").write_bytes((folder / "a scene.nc").read_bytes())
    (tmp_path / "again.toml").write_text(text)
    assert main(["run", str(tmp_path / "again.toml"), "--quiet"]) == 0
    assert (tmp_path / "maps.nc").read_bytes() == (folder / "maps.nc").read_bytes()
    assert np.isfinite(before).any()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[invret]\ninput = 'a.nc'", "no command [invret]; expected one of invert, simulate"),
        ("[invert]\ninput = 'a.nc'\nlevle = 0.9", "[invert] has no option 'levle'; expected some of adapt"),
        ("[invert]\ninput = 'a.nc'\nlevel = true", "level: expected a value or a list of them, got True"),
        ("[invert]\ninput = 'a.nc'\nadapt = 3", "adapt: expected true or false, got 3"),
        ("[invert]\ninput = 'a.nc'\nlevel = {a = 1}", "level: expected a value or a list"),
        ("level = 0.9", "expected a table such as [invert], got level = 0.9"),
        ("", "no command in it"),
        ("[invert", "not a TOML file that can be read"),
        ("[run]\nconfig = 'run.toml'", "no command [run]"),
    ],
)
def test_a_wrong_file_is_named_before_anything_runs(tmp_path, capsys, text, named):
    path = tmp_path / "run.toml"
    path.write_text(f"[simulate]\noutput = 'scene.nc'\nsize = 8\n{text}" if text.startswith("[inv") else text)
    assert main(["run", str(path)]) == 1
    assert named in capsys.readouterr().err and not (tmp_path / "scene.nc").exists()


def test_missing_files_and_values_are_named(tmp_path, capsys):
    assert main(["run", str(tmp_path / "none.toml")]) == 1
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "run.toml").write_text("[invert]\ninput = 'scene.nc'\noutput = 'maps.nc'\nlevel = 'high'")
    assert main(["run", str(tmp_path / "run.toml")]) == 2
    assert "Invalid value for '--level'" in capsys.readouterr().err


def test_text_of_any_kind_survives(tmp_path):
    options = {"input": 'a "b" \\ é.nc', "level": 0.95, "adapt": True, "variables": ("lai", "ccc"), "draws": None}
    path = tmp_path / "run.toml"
    path.write_text(configuration("invert", options), encoding="utf-8")
    ((name, found),) = read_configuration(path)
    assert name == "invert"
    assert found == {"input": 'a "b" \\ é.nc', "level": 0.95, "adapt": True, "variables": ["lai", "ccc"]}
