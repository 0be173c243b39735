"""Benchmark of inversions: tasks x algorithms x budgets, one table.

    report = new_report(seed=0).with_row(measure("double_logistic", "mixture", "short", seed=0))
    print(report.to_markdown())

`@task` and `@algorithm` add one of your own, each by one function; see examples/own_task.py.
"""

from releo_jax.benchmarking.inversion.algorithms import (
    ALGORITHMS,
    BUDGETS,
    Algorithm,
    Budget,
    Inverter,
    algorithm,
    get_algorithm,
    train,
)
from releo_jax.benchmarking.inversion.figures import plot_c2st, plot_calibration, save_figures
from releo_jax.benchmarking.inversion.references import (
    CHECKS,
    References,
    load_references,
    make_references,
    save_references,
)
from releo_jax.benchmarking.inversion.report import Report, Row, best_amortized, from_json, measure, new_report
from releo_jax.benchmarking.inversion.tasks import TASKS, Task, get_task, task

__all__ = [
    "ALGORITHMS",
    "BUDGETS",
    "CHECKS",
    "TASKS",
    "Algorithm",
    "Budget",
    "Inverter",
    "References",
    "Report",
    "Row",
    "Task",
    "algorithm",
    "best_amortized",
    "from_json",
    "get_algorithm",
    "get_task",
    "load_references",
    "make_references",
    "measure",
    "new_report",
    "plot_c2st",
    "plot_calibration",
    "save_figures",
    "save_references",
    "task",
    "train",
]
