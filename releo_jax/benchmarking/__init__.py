"""Benchmarks of simulators: point them at one of your own.

    mine = Simulator(name="mine", function=by_name(model, prior), prior=prior)
    report = benchmark([mine], seed=0)
    print(report.to_markdown())

A simulator is a function from parameters (batch, parameter) to outputs (batch, output) and a prior. Measured are the
accuracy of values and slopes over the box of the prior, its faces and its corners, points without finite results,
compile time, memory, and throughput against the batch size, on whatever device JAX uses. `figure.plot_throughput` draws
the last. `releo_jax.benchmarking.inversion` is the benchmark of inversions.
"""

from releo_jax.benchmarking.accuracy import (
    Census,
    Error,
    GradientAccuracy,
    ValueAccuracy,
    accuracy_of_gradients,
    accuracy_of_values,
    examined,
    nan_census,
)
from releo_jax.benchmarking.machine import machine
from releo_jax.benchmarking.report import Entry, Report, benchmark, from_json
from releo_jax.benchmarking.simulator import OPERATIONS, Simulator, Skipped, by_name
from releo_jax.benchmarking.timing import BATCH_SIZES, Memory, Rate, compile_time, memory, throughput

__all__ = [
    "BATCH_SIZES",
    "OPERATIONS",
    "Census",
    "Entry",
    "Error",
    "GradientAccuracy",
    "Memory",
    "Rate",
    "Report",
    "Simulator",
    "Skipped",
    "ValueAccuracy",
    "accuracy_of_gradients",
    "accuracy_of_values",
    "benchmark",
    "by_name",
    "compile_time",
    "examined",
    "from_json",
    "machine",
    "memory",
    "nan_census",
    "throughput",
]
