"""The comparison of all engines on measured rows: what it scores is what it was given, and it runs."""

import json

import numpy as np
import pytest

from benchmarks.field import compare, development_series, figures, scores_of, simulated, skill, table, task_of
from benchmarks.field_methods import METHODS, SHORT, Found
from benchmarks.measurements import Rows, plots, swiss_wheat


def _rows(name, alias, truth):
    bands = {"B04": np.full(truth.size, 0.05), "B8A": np.full(truth.size, 0.4)}
    angles, fields = np.full(truth.size, 30.0), np.arange(truth.size)
    return Rows(name, "development", alias, "lai", truth, bands, angles, fields, target=np.nan)


def test_figures_of_a_known_law():
    """Truths and draws of one normal law: expected CRPS 1 / sqrt(pi), width 2 x 1.645."""
    rng = np.random.default_rng(0)
    truth, draws = 10.0 + rng.normal(size=4000), 10.0 + rng.normal(size=(4000, 400))
    found = figures(truth, draws, np.arange(4000) // 100)
    assert found["coverage"] == pytest.approx(0.9, abs=0.015)
    assert found["width"] == pytest.approx(2 * 1.645, rel=0.01)
    assert found["crps"] == pytest.approx(np.pi**-0.5, rel=0.03)
    assert found["rmse_interval"][0] < found["rmse"] < found["rmse_interval"][1]
    single = figures(truth, draws[:, :1], np.zeros(4000))
    assert "coverage" not in single
    assert single["crps"] == pytest.approx(np.mean(np.abs(draws[:, 0] - truth)))


def test_every_set_is_scored_on_its_own_rows_and_product():
    """A method that inverted the subset only, wrong by 1 in the second set and right in the first."""
    rng = np.random.default_rng(1)
    sets = [_rows("first", "lai", rng.uniform(0.0, 4.0, 50)), _rows("second", "pai", rng.uniform(0.0, 4.0, 70))]
    task = task_of(sets, {}, SHORT, 0)
    assert task.subset.size == 40
    truth = np.concatenate([rows.truth for rows in sets])[task.subset]
    near = truth[:, None] + rng.normal(0.0, 1e-3, (40, 100))
    found = Found(task.subset, {"lai": near, "pai": near + 1.0}, {"misfit_p_value": np.zeros(40)})
    first, second = scores_of(found, sets, task.subset)
    assert first["all"]["bias"] == pytest.approx(0.0, abs=1e-3)
    assert second["all"]["bias"] == pytest.approx(1.0, abs=1e-3)
    assert (first["all"]["coverage"], second["all"]["coverage"]) == (1.0, 0.0)
    assert first["all"] == first["subset"] and second["all"]["misfit_p_value"] == 1.0
    report = {"methods": {"mine": {"scores": [first, second]}}}
    assert table(report, "all", skill).splitlines() == [
        "| | first | second |",
        "|---|---|---|",
        "| mine | 0.00 · 100% · 0.00 | 1.00 · 0% · 0.00 |",
    ]


@pytest.mark.thorough
@pytest.mark.realdata
def test_methods_on_real_rows(data_dir, tmp_path):
    """One call for all sets and one for two of them; the figures stand in one file."""
    sets, output = [*simulated([1], 40), *plots(data_dir), *swiss_wheat(data_dir)], tmp_path / "field.json"
    assert [rows.truth.size for rows in sets] == [40, 56, 57, 109, 85, 24]
    series = development_series(data_dir)
    compare(task_of(sets, series, SHORT, 0), sets, ["sl2p", "shipped"], output=output, rows=tmp_path)
    compare(task_of(sets[:2], series, SHORT, 0), sets[:2], ["shipped, draws"], output=output)
    assert np.load(tmp_path / "shipped.npz")["pai"].shape == (3, 371)
    methods = json.loads(output.read_text())["methods"]
    assert list(methods) == ["sl2p", "shipped", "shipped, draws"] and set(methods) < set(METHODS)
    found = {name: {score["set"]: score["all"] for score in entry["scores"]} for name, entry in methods.items()}
    # Root mean square errors as in docs/validation.md, where the retrievals are called by another way.
    expected = {"France": (0.65, 0.52), "Spain 2017": (1.14, 0.76), "Spain 2018": (1.44, 1.04)}
    expected |= {"Swiss wheat, LAI": (0.94, 0.76), "Swiss wheat, CCC": (1.44, 1.04)}
    for name, values in expected.items():
        assert (found["sl2p"][name]["rmse"], found["shipped"][name]["rmse"]) == pytest.approx(values, abs=0.006)
        assert found["shipped"][name]["crps"] < found["sl2p"][name]["crps"]
    # Leaf area comes from the same posterior by both ways, effective area (France) from heads and from draws.
    for name, figure in found["shipped, draws"].items():
        assert figure["rmse"] == pytest.approx(found["shipped"][name]["rmse"], rel=0.05 if name != "France" else 0.2)
        assert figure["width"] == pytest.approx(found["shipped"][name]["width"], rel=0.1 if name != "France" else 0.4)
