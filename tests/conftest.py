"""What every test relies on: CPU, a compilation cache that outlives the run, no windows, measurements by request."""

import gc
import os
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Set before JAX loads, and through the environment so that subprocesses of the tests inherit it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Most of what the suite costs is compiling programs that run once: XLA hardly optimises them.
# Examples and documentation are run with its defaults.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1 --xla_cpu_parallel_codegen_split_count=1",
)

_DATA = os.environ.get("RELEO_DATA_DIR")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests marked `realdata` where the measurements are not at hand."""
    if _DATA:
        return
    skip = pytest.mark.skip(reason="RELEO_DATA_DIR is not set")
    for item in items:
        if "realdata" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Lets the garbage collector pass over what stays until the end: tracing makes it look often (5 % of the time)."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """Folder of the real measurements; the test that asks for it carries the mark `realdata`."""
    if not _DATA:
        pytest.skip("RELEO_DATA_DIR is not set")
    folder = pathlib.Path(_DATA)
    if not folder.is_dir():
        raise FileNotFoundError(f"expected RELEO_DATA_DIR to name a folder, got {_DATA}; correct or unset it")
    return folder


@pytest.fixture
def optimised() -> Iterator[None]:
    """For tests whose programs run longer than they compile, and for the precision that users get."""
    import jax  # not before the environment is set

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
