"""Figures of a report: C2ST by algorithm and budget, ranks of the best amortised algorithm."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from releo_jax.benchmarking.inversion.report import Report, Row, best_amortized
from releo_jax.plots import CYCLE, plot_ranks


def plot_c2st(report: Report, task: str) -> Figure:
    """C2ST of a task by algorithm and budget: the mean over the fixed observations as a bar, each of them as a dot.

    Raises:
        ValueError: no row of the task has been compared with references.
    """
    rows = [row for row in report.rows if row.task == task and row.c2st]
    if not rows:
        raise ValueError(f"plot_c2st: expected rows of {task!r} with C2ST, got none; make references first")
    algorithms = sorted({row.algorithm for row in rows}, key=lambda name: min(_means(rows, name)))
    budgets = list(dict.fromkeys(row.budget for row in rows))
    figure = Figure(figsize=(2.0 + 1.1 * len(algorithms), 3.6), layout="constrained")
    ax = figure.subplots()
    width = 0.8 / len(budgets)
    for number, budget in enumerate(budgets):
        colour = CYCLE[number % len(CYCLE)]
        chosen = [row for row in rows if row.budget == budget]
        places = [algorithms.index(row.algorithm) + width * _beside(rows, row) for row in chosen]
        heights = [row.mean_c2st - 0.5 for row in chosen]
        ax.bar(places, heights, 0.9 * width, bottom=0.5, color=colour, alpha=0.55, label=budget)
        for place, row in zip(places, chosen, strict=True):
            ax.plot([place] * len(row.c2st), row.c2st, ".", color=colour, markersize=4)
    ax.set_xticks(range(len(algorithms)), [name.replace("_", "\n") for name in algorithms])
    ax.set(ylabel="C2ST to the reference (0.5 = same)", ylim=(0.49, 1.01), title=task.replace("_", " "))
    ax.legend(title="budget", frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def _beside(rows: list[Row], row: Row) -> float:
    """Where a bar stands among those of its algorithm, in widths of a bar from their middle."""
    own = [other.budget for other in rows if other.algorithm == row.algorithm]
    return own.index(row.budget) - 0.5 * (len(own) - 1)


def _means(rows: list[Row], name: str) -> list[float]:
    return [row.mean_c2st for row in rows if row.algorithm == name]


def plot_calibration(report: Report, task: str) -> Figure:
    """Ranks of the true values, within their bands, of the best amortised algorithm of a task.

    Raises:
        ValueError: the report has no amortised row of that task with C2ST.
    """
    row = best_amortized([row for row in report.rows if row.task == task])
    if row is None:
        raise ValueError(f"plot_calibration: expected an amortised row of {task!r} with C2ST, got none")
    return plot_ranks(row.check, names=[site.replace("_", " ") for site in row.sites])


def save_figures(report: Report, folder: Path) -> list[Path]:
    """Writes the figures of all tasks that have them; returns their paths."""
    written = []
    for task in dict.fromkeys(row.task for row in report.rows if row.c2st):
        figures = {"c2st": plot_c2st(report, task)}
        if best_amortized([row for row in report.rows if row.task == task]):
            figures["ranks"] = plot_calibration(report, task)
        for name, figure in figures.items():
            path = folder / f"inversion_{task}_{name}.png"
            figure.savefig(path, dpi=120)
            written.append(path)
    return written
