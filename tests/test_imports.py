"""`import physics` and `import releo_jax` stay light, and the command line answers at once."""

import importlib.metadata
import json
import pathlib
import subprocess
import sys
import time

import pytest

import releo_jax

RELEO = pathlib.Path(sys.executable).with_name("releo")


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(json.loads(out.splitlines()[-1]))


def test_physics_needs_neither_the_learning_nor_the_raster_libraries():
    heavy = {
        "flax",
        "numpyro",
        "optax",
        "optimistix",
        "xarray",
        "rasterio",
        "pandas",
        "dask",
        "matplotlib",
        "releo_jax",
    }
    loaded = _loaded_by("import physics")
    assert "jax" in loaded
    assert not heavy & loaded


def test_releo_jax_loads_its_parts_on_demand():
    heavy = {"jax", "flax", "numpyro", "optax", "xarray", "rasterio", "pandas", "dask", "matplotlib"}
    loaded = _loaded_by("import releo_jax")
    assert "releo_jax" in loaded
    assert not heavy & loaded


def test_version_is_the_distributions():
    assert releo_jax.__version__ == importlib.metadata.version("releo-jax")


def _seconds(command: list[str], repeats: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        return time.perf_counter() - start

    once()  # fills the file cache and writes the bytecode
    return min(once() for _ in range(repeats))


@pytest.mark.skipif(not RELEO.exists(), reason="the releo script is not beside this Python")
def test_help_answers_within_a_second():
    # A loaded machine slows the bare interpreter too; 20 ms is what `python -c pass` takes on an idle one.
    load = max(1.0, _seconds([sys.executable, "-c", "pass"], repeats=5) / 0.02)
    assert _seconds([str(RELEO), "--help"], repeats=3) < 1.0 * load
