"""Cases of the fuzzing, two a kind, and planted faults, which it has to find."""

import numpy as np
import pytest

from benchmarks import fuzz, fuzz_mutations
from benchmarks.fuzz_inputs import KINDS
from releo_jax.cubes import streaming, values
from releo_jax.cubes.convention import grid_of


@pytest.mark.parametrize(
    "case",
    [case if case < len(KINDS) else pytest.param(case, marks=pytest.mark.long) for case in range(2 * len(KINDS))],
)
def test_cases_come_out_right_or_are_refused_by_name(case):
    verdict = fuzz.run_case(7, case)
    assert verdict.outcome in ("right", "named error", "partial"), verdict


def test_a_case_repeats():
    assert fuzz.run_case(7, 0) == fuzz.run_case(7, 0)


@pytest.fixture
def unspoilt(monkeypatch):
    monkeypatch.setattr(fuzz_mutations, "spoil", lambda *arguments: [])
    return list(KINDS).index("GeoTIFF file")


def test_a_place_that_is_wrong_is_found(unspoilt, monkeypatch):
    def shifted(dataset, where=""):
        crs, transform = grid_of(dataset)
        return crs, transform * transform.translation(0.5, 0.0)

    assert fuzz.run_case(1, unspoilt).outcome == "right"
    monkeypatch.setattr(streaming, "grid_of", shifted)
    verdict = fuzz.run_case(1, unspoilt)
    assert verdict.outcome == "finding" and "pixels are 5 away" in verdict.told


def test_a_number_that_is_wrong_is_found(unspoilt, monkeypatch):
    reflectance = values._reflectance
    monkeypatch.setattr(values, "_reflectance", lambda *args, **rest: np.float32(1.02) * reflectance(*args, **rest))
    verdict = fuzz.run_case(1, unspoilt)
    assert verdict.outcome == "finding" and "pixels differ" in verdict.told


def test_an_error_that_nobody_meant_is_found(unspoilt, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(values, "_reflectance", broken)
    verdict = fuzz.run_case(1, unspoilt)
    assert verdict.outcome == "finding" and "unexpected ZeroDivisionError" in verdict.told


def test_the_table_counts():
    verdicts = [fuzz.Verdict(0, "CSV", [], "", "right"), fuzz.Verdict(1, "CSV", [], "", "finding")]
    assert fuzz.table(verdicts).splitlines()[2:] == ["| CSV | 2 | 1 | 0 | 0 | 1 |", "| all | 2 | 1 | 0 | 0 | 1 |"]
