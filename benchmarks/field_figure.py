"""Figure of the comparison of all engines: CRPS and coverage by method, beside SL2P."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito (2008); markers differ too.
_LOOKS = {
    "Simulated scenes": ("#000000", "x"),
    "France": ("#0072B2", "o"),
    "Spain 2017": ("#E69F00", "s"),
    "Spain 2018": ("#D55E00", "D"),
    "Swiss wheat, LAI": ("#009E73", "^"),
}
_PANELS = (("crps", "CRPS (m² m⁻²)"), ("coverage", "covered by 90 % intervals"), ("width", "their width (m² m⁻²)"))


def plot_methods(report: dict[str, Any], part: str = "all") -> Figure:
    """CRPS, coverage and width of leaf area by method (rows) and set (markers), of the methods that inverted `part`."""
    sets = {name: look for name, look in _LOOKS.items() if any(name == s["set"] for s in _first(report))}
    methods = [name for name, entry in report["methods"].items() if entry["scores"][0][part]["rows"]]
    full = max(report["methods"][name]["scores"][0][part]["rows"] for name in methods)
    methods = [name for name in methods if report["methods"][name]["scores"][0][part]["rows"] == full][::-1]
    with mpl.rc_context({"font.size": 9, "legend.frameon": False, "axes.linewidth": 0.7, "figure.dpi": 160}):
        figure = Figure(figsize=(9.0, 1.3 + 0.21 * len(methods)), layout="constrained")
        panels = figure.subplots(1, len(_PANELS), sharey=True, width_ratios=(1.3, 1.0, 1.0))
        for panel, (score, label) in zip(panels, _PANELS, strict=True):
            for name, (colour, marker) in sets.items():
                found = [_of(report["methods"][method], name)[part].get(score) for method in methods]
                rows = [row for row, value in enumerate(found) if value is not None]
                values = [found[row] for row in rows]
                panel.plot(values, rows, marker, color=colour, markersize=4.5, label=name, clip_on=False)
            panel.set_xlabel(label)
            panel.grid(axis="y", color="#E6E6E6", linewidth=0.6)
            panel.set_axisbelow(True)
            panel.tick_params(axis="y", length=0)
            panel.spines[["top", "right", "left"]].set_visible(False)
        panels[0].set_yticks(range(len(methods)), methods)
        for panel in (panels[0], panels[2]):
            panel.set_xlim(left=0.0)
        panels[1].axvline(0.9, color="#888888", linewidth=0.8, zorder=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(sets))
        return figure


def _first(report: dict[str, Any]) -> list[dict[str, Any]]:
    return next(iter(report["methods"].values()))["scores"]


def _of(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return next(score for score in entry["scores"] if score["set"] == name)
