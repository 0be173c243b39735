"""Figure of the calibrated crops: measured and predicted backscatter with intervals, each row left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

_LEVEL = 0.9


def plot_fits(fits: Mapping[str, Any]) -> Figure:
    """Predicted (mean and 90 % interval, each row with the coefficients of the others) over measured decibels.

    Args:
        fits: by crop, as `benchmarks.soil_moisture.fit_crop` returns them.

    Returns:
        One panel for each crop and band.
    """
    panels = [(crop, band, i) for crop, fit in fits.items() for i, band in enumerate(fit.report["bands"])]
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    with mpl.rc_context({"font.size": 9, "axes.linewidth": 0.7, "figure.dpi": 160}):
        figure = Figure(figsize=(2.9 * columns, 2.9 * lines), layout="constrained")
        axes = np.ravel(figure.subplots(lines, columns, squeeze=False))
        for axis, (crop, band, i) in zip(axes, panels, strict=False):
            measured, draws = fits[crop].observed[:, i], fits[crop].predicted[:, :, i]
            mean = draws.mean(0)
            ends = np.quantile(draws, (0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2), axis=0)
            inside = (ends[0] <= measured) & (measured <= ends[1])
            # Okabe and Ito (2008); what lies outside its interval has another marker too
            for chosen, colour, marker in ((inside, "#0072B2", "o"), (~inside, "#D55E00", "s")):
                error = np.abs(ends[:, chosen] - mean[chosen])
                looks = {"color": colour, "markersize": 3.5, "linewidth": 0.6, "ecolor": colour, "alpha": 0.8}
                axis.errorbar(measured[chosen], mean[chosen], error, fmt=marker, **looks)
            span = [min(measured.min(), ends.min()) - 0.5, max(measured.max(), ends.max()) + 0.5]
            axis.plot(span, span, color="#888888", linewidth=0.8, zorder=0)
            axis.set(xlim=span, ylim=span, aspect="equal", title=f"{crop}, {band.upper()}")
            axis.set_title(f"{crop}, {band.upper()}", fontsize=9)
            axis.spines[["top", "right"]].set_visible(False)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        figure.supxlabel("measured (dB)", fontsize=9)
        figure.supylabel("predicted, 90 % interval (dB)", fontsize=9)
        return figure
