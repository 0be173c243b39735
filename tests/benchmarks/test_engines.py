"""The engines for images side by side: one row of their table."""

import pytest

from benchmarks.engines import _HEAD, ENGINES, _cells, measure
from releo_jax.inference import fit_lut


@pytest.mark.long
def test_a_row_says_what_an_engine_took_and_how_good_it_is(monkeypatch):
    small = {"entries": 5000, "reference": 0}
    monkeypatch.setitem(ENGINES, "lut", lambda task, key: lambda data: fit_lut(task.model, data, key=key, **small))
    row = measure("lut", "double_logistic", 200, 0)
    assert row["pixels"] == 200 and row["not_finite"] == 0 and row["converged"] is None
    assert row["microseconds"] == pytest.approx(1e6 * row["seconds"] / 200) and row["memory_gib"] > 0.1
    # the base of the season has a prior deviation of 0.05, and a table is too sure of six unknowns
    assert 0.005 < row["rmse"] < 0.03 and 0.4 < row["coverage"] < 0.9
    assert len(_cells(row)) == len(_HEAD) and _cells(row)[-2:] == ["–", "0"]
    assert {"map", "laplace", "lut", "amortized"} == set(ENGINES)
