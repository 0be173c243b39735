"""One core for a benchmark, so that rates of programs with and without threads can be compared."""

from __future__ import annotations

import os


def bind_to_one_core() -> None:
    """Binds the process to the last core it may use, before the numerical libraries start their threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
