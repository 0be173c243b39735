"""The benchmark of trainings, in small."""

import json

import pytest

from benchmarks.training import main


@pytest.mark.long
def test_figures_follow_from_each_other(tmp_path, capsys):
    main(["--batch", "64", "--parts", "2", "--output", str(tmp_path / "training.json")])
    report = json.loads((tmp_path / "training.json").read_text())
    assert [row["parts"] for row in report["rows"]] == [2]
    for row in report["rows"]:
        assert row["pixels_per_second"] == pytest.approx(64e3 / row["milliseconds"], rel=0.01)
        assert row["fraction_of_roofline"] == pytest.approx(row["gigaflops"] / row["roofline_gigaflops"], rel=0.05)
        assert row["gigaflops"] > 0.0
    assert "GFLOP/s of products" in capsys.readouterr().out
