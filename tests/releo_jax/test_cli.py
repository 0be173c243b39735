"""The command line: the main job in every format, and one line for every problem."""

import errno
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import typer
import xarray as xr

from releo_jax import maps
from releo_jax.cli import main
from releo_jax.cli.app import app
from releo_jax.results import open_result
from releo_jax.variables import FLAGS

SIZE = ("--size", "24x36", "--seed", "3", "--quiet")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A small scene in every format, made by the command."""
    folder = tmp_path_factory.mktemp("scenes")
    for name in ("scene.nc", "scene.zarr", "scene.SAFE", "scene", "scene.csv", "scene.parquet"):
        assert main(["simulate", str(folder / name), *SIZE]) == 0
    return folder


def refused(capsys, *words, status=1):
    """The one line that a command gives up with."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == status
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("releo: ") and "taken for sentinel2a" not in line]
    assert len(lines) == 1 and "Traceback" not in out + err
    return lines[0]


def test_commands_share_their_conventions():
    """Each shows an example of itself, and an option that several have does the same in all."""
    commands = typer.main.get_command(app).commands
    helps = {}
    for name, command in commands.items():
        assert command.epilog.startswith(f"Example: releo {name} "), name
        for option in command.params:
            helps.setdefault(option.name, {})[name] = option.help
    shared = ("overwrite", "quiet", "bands", "scale", "offset", "sun_zenith", "view_zenith", "relative_azimuth")
    for name in shared:
        assert len(helps[name]) > 1 and len(set(helps[name].values())) == 1, helps[name]


def test_help_comes_at_once_and_loads_no_jax():
    code = "import sys; from releo_jax.cli import main; main(['--help']); sys.exit('jax' in sys.modules)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "invert" in done.stdout and "simulate" in done.stdout
    assert time.perf_counter() - start < 5.0  # 0.3 s on an idle machine


@pytest.mark.parametrize("name", ["scene.nc", "scene.zarr", "scene.SAFE", "scene"])
@pytest.mark.parametrize("suffix", ["nc", "tif"])
def test_every_image_gives_the_same_map_on_its_grid(scenes, tmp_path, name, suffix):
    output = tmp_path / f"maps.{suffix}"
    angles = [] if name != "scene" else ["--sun-zenith", "27", "--view-zenith", "5", "--relative-azimuth", "100"]
    words = ["invert", str(scenes / name), "-o", str(output), "--variables", "lai,fapar", "--quiet", *angles]
    if name == "scene":
        words += ["--sensor", "sentinel2a"]
    if name == "scene.SAFE":
        words += ["--resolution", "10"]
    assert main(words) == 0
    with xr.open_dataset(scenes / "scene.nc", decode_coords="all") as file:
        scene = file.load()
    with open_result(output) as file:
        found = file.load()
    assert found.rio.crs == scene.rio.crs
    np.testing.assert_allclose(found["x"], scene["x"])
    np.testing.assert_allclose(found["y"], scene["y"])
    mean = found["leaf_area_index_mean"].values
    assert np.isfinite(mean).any() and np.nanmax(mean) < 12
    assert (found["leaf_area_index_upper"] >= found["leaf_area_index_lower"]).values[np.isfinite(mean)].all()
    assert found["fapar_mean"].attrs["units"] == "1"
    masked = (found["leaf_area_index_flag"].values & FLAGS["input_masked"]) > 0
    np.testing.assert_array_equal(masked, np.isnan(mean))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_gain_columns_and_scores(scenes, tmp_path, capsys, suffix):
    output = tmp_path / f"result.{suffix}"
    source = scenes / f"scene.{suffix}"
    assert main(["invert", str(source), "-o", str(output), "--level", "0.5", "--quiet"]) == 0
    result = pd.read_csv(output) if suffix == "csv" else pd.read_parquet(output)
    for alias in ("lai", "pai", "ccc", "cwc", "fapar", "fcover"):
        for part in ("mean", "std", "q05", "q50", "q95", "lower", "upper", "flag"):
            assert f"{alias}_{part}" in result
    assert main(["score", str(output), str(source)]) == 0
    assert "lai" in capsys.readouterr().out


def test_the_whole_job_with_figures_and_scores(scenes, tmp_path, capsys):
    result = tmp_path / "maps.nc"
    assert main(["invert", str(scenes / "scene.nc"), "-o", str(result)]) == 0
    assert "% retrieved" in capsys.readouterr().out
    assert main(["plot", str(result), "-o", str(tmp_path / "figures"), "--variables", "lai"]) == 0
    assert (tmp_path / "figures" / "lai.png").stat().st_size > 10_000
    assert main(["score", str(result), str(scenes / "scene.nc"), "--json", str(tmp_path / "scores.json")]) == 0
    assert "coverage" in capsys.readouterr().out and (tmp_path / "scores.json").is_file()
    assert main(["info", str(scenes / "scene.SAFE")]) == 0
    assert "sentinel2a" in capsys.readouterr().out


def test_draws_and_no_misfit_are_options_of_the_method(scenes, tmp_path, capsys):
    table = pd.read_csv(scenes / "scene.csv").head(12)
    table.to_csv(tmp_path / "t.csv", index=False)
    common = ["invert", str(tmp_path / "t.csv"), "--variables", "lai,ccc", "--quiet", "-o"]
    assert main([*common, str(tmp_path / "a.csv"), "--draws", "16", "--no-misfit"]) == 0
    assert np.isfinite(pd.read_csv(tmp_path / "a.csv")["ccc_mean"]).any()
    line = refused(capsys, *common, tmp_path / "b.csv", "--method", "sl2p", "--draws", "16")
    assert "sl2p cannot do that; leave --draws out" in line


def test_problems_of_the_input_take_one_line_and_leave_nothing(scenes, tmp_path, capsys):
    table = pd.read_csv(scenes / "scene.csv")
    spoilt = {
        "--scale 10000": table.assign(**{name: table[name] * 10000 for name in table if name.startswith("B")}),
        "radians": table.assign(sun_zenith=np.radians(table["sun_zenith"])),
        "sun_zenith": table.drop(columns="sun_zenith"),
        "no column of a band|band": table[["sun_zenith", "view_zenith", "relative_azimuth"]],
    }
    for message, frame in spoilt.items():
        frame.to_csv(tmp_path / "t.csv", index=False)
        line = refused(capsys, "invert", tmp_path / "t.csv", "-o", tmp_path / "out.csv")
        assert any(part in line for part in message.split("|")), line
        assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_bad_rows_come_out_masked_and_nothing_else_changes(scenes, tmp_path):
    table = pd.read_csv(scenes / "scene.csv").head(40)
    bands = [name for name in table if name.startswith("B")]
    runs = []
    for number, change in enumerate((None, np.nan, -0.5, 7.0)):
        frame = table.copy()
        if change is not None:
            frame.loc[5, bands] = change
        frame.to_csv(tmp_path / f"{number}.csv", index=False)
        words = ["invert", str(tmp_path / f"{number}.csv"), "-o", str(tmp_path / f"out{number}.csv"), "--quiet"]
        assert main([*words, "--variables", "lai"]) == 0
        runs.append(pd.read_csv(tmp_path / f"out{number}.csv"))
    for run in runs[1:]:
        assert np.isnan(run["lai_mean"][5]) and run["lai_flag"][5] & FLAGS["input_masked"]
        pd.testing.assert_series_equal(run["lai_mean"].drop(5), runs[0]["lai_mean"].drop(5))


def test_wrong_requests_are_explained(scenes, tmp_path, capsys):
    source, output = scenes / "scene.nc", tmp_path / "out.nc"
    assert "retrieves lai" in refused(capsys, "invert", source, "-o", output, "--variables", "height")
    assert "90 % is 0.9" in refused(capsys, "invert", source, "-o", output, "--level", "90")
    assert "unknown method 'magic'" in refused(capsys, "invert", source, "-o", output, "--method", "magic")
    assert "no such file" in refused(capsys, "invert", tmp_path / "none.nc", "-o", output)
    assert "there is no folder" in refused(capsys, "invert", source, "-o", tmp_path / "no" / "out.nc")
    assert "expected a name that ends in" in refused(capsys, "invert", source, "-o", tmp_path / "out.jpg")
    assert "sentinel" in refused(capsys, "simulate", tmp_path / "s.nc", "--sensor", "spot5")
    assert "see releo invert --help" in refused(capsys, "invert", source, "-o", output, "--colour", "red", status=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; nothing was written"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full, nothing was written"),
    ],
)
def test_a_run_that_is_stopped_leaves_no_output(scenes, tmp_path, capsys, monkeypatch, error, status, message):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr(maps.BlockWriter, "write", stop)
    line = refused(capsys, "invert", scenes / "scene.nc", "-o", tmp_path / "out.tif", "--quiet", status=status)
    assert message in line.lower()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_stopped_says_that_it_can_go_on(scenes, tmp_path, capsys, monkeypatch):
    words = "invert", scenes / "scene.nc", "-o", tmp_path / "out.tif", "--quiet", "--resume"
    with monkeypatch.context() as patch:

        def stop(*_, **__):
            raise KeyboardInterrupt

        patch.setattr(maps.BlockWriter, "write", stop)
        assert "finished blocks are kept" in refused(capsys, *words, status=130)
    assert [entry.name for entry in tmp_path.iterdir()] == [".out.tif.blocks"]
    assert main([str(word) for word in words]) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.tif"]


def test_an_output_that_is_there_is_kept(scenes, tmp_path, capsys):
    (tmp_path / "out.nc").write_text("precious")
    assert "--overwrite" in refused(capsys, "invert", scenes / "scene.nc", "-o", tmp_path / "out.nc")
    assert (tmp_path / "out.nc").read_text() == "precious"
