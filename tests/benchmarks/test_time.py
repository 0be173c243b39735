"""All benchmarks of processes over time in one command."""

import importlib

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.time import PARTS, run


def test_a_part_that_fails_is_named_and_the_next_one_runs(capfd, tmp_path):
    parts = {"wrong": [["no_such_benchmark"]], "right": [["time_gaps", "--help"]]}
    assert run(parts, tmp_path) == ["wrong"]
    printed = capfd.readouterr()
    assert "expected the name of a benchmark, got 'no_such_benchmark'" in printed.err
    assert "python -m benchmarks time_gaps" in printed.out


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_benchmarks_that_take_their_arguments(part, capsys):
    for name, *options in PARTS[part]:
        assert name in BENCHMARKS
        with pytest.raises(SystemExit) as stopped:  # options before --help are read first
            importlib.import_module(f"benchmarks.{name}").main([*options, "--output", "x.json", "--help"])
        assert stopped.value.code == 0 and "--output" in capsys.readouterr().out
