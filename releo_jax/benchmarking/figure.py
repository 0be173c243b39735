"""Throughput against batch size, a panel for each operation."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure

from releo_jax.benchmarking.report import Report
from releo_jax.benchmarking.simulator import OPERATIONS

# Okabe and Ito (2008) without the yellow; line style and marker differ too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^v<>"
_STYLES = ("-", "--", ":")


def plot_throughput(report: Report) -> Figure:
    """Rows a second against the batch size, both logarithmic; `savefig` writes the figure."""
    done = {rate.operation for entry in report.entries for rate in entry.rates}
    operations = [name for name in OPERATIONS if name in done]
    if not operations:
        raise ValueError("expected rates in the report, got none; benchmark with at least one batch size")
    with mpl.rc_context({"font.size": 9, "legend.frameon": False, "figure.dpi": 160, "axes.linewidth": 0.7}):
        figure = Figure(figsize=(1.2 + 2.9 * len(operations), 4.0), layout="constrained")
        panels = figure.subplots(1, len(operations), sharey=True, squeeze=False)[0]
        lines = {}
        for panel, operation in zip(panels, operations, strict=True):
            for index, entry in enumerate(report.entries):
                rates = [rate for rate in entry.rates if rate.operation == operation]
                if not rates:
                    continue
                (lines[entry.name],) = panel.loglog(
                    [rate.batch for rate in rates],
                    [rate.median for rate in rates],
                    color=_COLOURS[index % len(_COLOURS)],
                    marker=_MARKERS[index % len(_MARKERS)],
                    linestyle=_STYLES[index // len(_COLOURS) % len(_STYLES)],
                    markersize=4,
                    linewidth=1.2,
                )
            sizes = sorted({rate.batch for entry in report.entries for rate in entry.rates})
            panel.set(title=operation, xlabel="rows a call")
            panel.set_xticks(sizes, [str(size) for size in sizes])
            panel.set_xticks([], minor=True)
            panel.grid(color="#DDDDDD", linewidth=0.5)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("rows a second")
        order = [entry.name for entry in report.entries if entry.name in lines]
        figure.legend([lines[name] for name in order], order, loc="outside lower center", ncols=3)
        return figure
