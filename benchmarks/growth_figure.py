"""Figure of predicted trials: measurements, and the interval of leaf area before and after the first own dates."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito (2008).
_LOOKS = {
    "SAFY, weather": ("#0072B2", 0.18, "weather"),
    "SAFY, weather, 3 own dates": ("#D55E00", 0.3, "weather and the first three dates"),
}


def plot_trials(trials: Any, found: dict[str, Any], first: int, *, least: int = 6) -> Figure:
    """A panel for each trial with at least so many dates: medians and 90 % intervals by day of the year."""
    area = trials.leaf_area_index
    shown = [name for name in found if np.isfinite(area[trials.names.index(name)]).sum() >= least]
    columns = min(4, max(1, len(shown)))
    lines = max(1, -(-len(shown) // columns))
    with mpl.rc_context({"font.size": 9, "legend.frameon": False, "axes.linewidth": 0.7, "figure.dpi": 160}):
        figure = Figure(figsize=(2.4 * columns, 0.6 + 2.0 * lines), layout="constrained")
        panels = np.ravel(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False))
        for panel, name in zip(panels, shown, strict=False):
            values = area[trials.names.index(name)]
            day = np.arange(values.size) + first
            for method, (colour, alpha, label) in _LOOKS.items():
                low, middle, high = found[name].bands[method]
                panel.fill_between(day, low, high, color=colour, alpha=alpha, linewidth=0.0)
                panel.plot(day, middle, color=colour, linewidth=1.2, label=label)
            panel.plot(day, values, "o", color="#000000", markersize=2.6, label="measured", zorder=3)
            panel.set_title(name, fontsize=9)
            panel.set_ylim(0.0, 12.0)
            panel.spines[["top", "right"]].set_visible(False)
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
        figure.supxlabel("day of the year", fontsize=9)
        figure.supylabel("leaf area index (m² m⁻²)", fontsize=9)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(_LOOKS) + 1)
        return figure
