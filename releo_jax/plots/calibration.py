"""Calibration: ranks within their bands, and coverage against what intervals claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from releo_jax.metrics import PredictiveCheck, RankCheck, simultaneous_band
from releo_jax.plots.style import CYCLE, GREY, LIGHT_GREY, MARKERS, STYLE, canvas, finished

_LINES = ("-", "--", "-.", ":")


def plot_coverage(
    levels: Sequence[float], coverage: Mapping[str, Sequence[float]], *, samples: int = 0, ax: Axes | None = None
) -> Figure:
    """How often intervals hold the truth, against how often they claim to.

    Args:
        levels: (level,) nominal probabilities.
        coverage: (level,) observed frequencies by the text of the legend.
        samples: number of independent samples behind them: draws the bands within which a perfectly calibrated result
            stays at all levels with a probability of 95 %; 0 for none.
        ax: axes to draw in; default those of a new figure.

    Example:
        plot_coverage(curve.levels, {"NUTS": nuts.coverage[0], "VAE": vae.coverage[0]}, samples=nuts.samples)
    """
    nominal = np.asarray(levels, np.float64)
    with canvas(ax, (3.8, 3.8)) as (figure, ax):
        grid = np.linspace(0, 1, 101)
        if samples:
            lower, upper, _ = simultaneous_band(samples, tuple(map(float, grid[1:-1])), 0.95)
            low, high = (np.concatenate([[0.0], count / samples, [1.0]]) for count in (lower, upper))
            ax.fill_between(grid, low, high, color=LIGHT_GREY, linewidth=0, label="calibrated, 95 %")
        ax.plot(grid, grid, color="black", linewidth=0.8)
        for index, (text, values) in enumerate(coverage.items()):
            colour, marker = CYCLE[index % len(CYCLE)], MARKERS[index % len(MARKERS)]
            ax.plot(nominal, values, color=colour, marker=marker, markersize=4, linewidth=1.2, label=text)
        ax.text(0.30, 0.72, "too wide", color="#666666", ha="center")
        ax.text(0.72, 0.30, "too narrow", color="#666666", ha="center")
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set(xlabel="level of the interval", ylabel="share of truths inside")
        ax.legend(loc="lower right")
    return figure


def plot_ranks(
    check: RankCheck | PredictiveCheck | Mapping[str, RankCheck | PredictiveCheck],
    *,
    names: Sequence[str] = (),
    xlabel: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Cumulative distribution of ranks minus the uniform one, in bands that hold at all ranks together.

    A posterior that is too narrow makes a wave that rises first (truths too far out), one that is too wide the opposite
    wave; one that is too low or too high makes a single valley or hill. Lines that leave the bands are thick.

    Args:
        check: what `sbc`, `tarp`, `rank_check` or `predictive_chi2` returned; several under their titles are drawn
            side by side.
        names: of the dimensions.
        xlabel: what the ranks are of; default that of `sbc`, or of `predictive_chi2`.
        ax: axes to draw a single check in; default those of a new figure.
    """
    if not isinstance(check, Mapping):
        with canvas(ax, (4.4, 3.2)) as (figure, ax):
            _ranks(ax, check, names, xlabel)
            ax.set_ylim(-_reach(check), _reach(check))
            ax.set_ylabel("ECDF − uniform")
            # Above the axes: lines may pass anywhere inside.
            ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False, handlelength=1.6)
        return figure
    if ax is not None or not check:
        raise ValueError(
            f"plot_ranks: expected one check to draw in given axes, or checks and no axes, got {len(check)} checks"
            f"{'' if ax is None else ' and axes'}; call it once for each of the axes"
        )
    columns = min(len(check), 3)
    rows = -(-len(check) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.4 + 3.0 * columns, 2.8 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for panel, (title, single) in zip(panels.flat, check.items(), strict=False):
            _ranks(panel, single, names, xlabel)
            panel.set_title(title)
        for panel in panels.flat[len(check) :]:
            panel.set_axis_off()
        largest = max(map(_reach, check.values()))
        panels[0, 0].set_ylim(-largest, largest)
        for panel in panels[:, 0]:
            panel.set_ylabel("ECDF − uniform")
        shared = figure.legend(
            *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, handlelength=1.6
        )
        for line in shared.get_lines():
            line.set_linewidth(1.3)  # the width of a line tells about its panel only
        return finished(figure)


def _reach(check: RankCheck | PredictiveCheck) -> float:
    """Upper end of an axis that shows the band and all lines."""
    return 1.12 * max(float(np.abs(values - check.points).max()) for values in (check.ecdf, check.lower, check.upper))


def _ranks(ax: Axes, check: RankCheck | PredictiveCheck, names: Sequence[str], xlabel: str | None) -> None:
    ecdf = np.atleast_2d(check.ecdf)
    inside = check.inside if isinstance(check, RankCheck) else np.array([check.within])
    if names and len(names) != len(ecdf):
        raise ValueError(f"plot_ranks: expected {len(ecdf)} names, got {len(names)}; name each dimension")
    x = np.concatenate([[0.0], check.points, [1.0]])

    def difference(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], values - check.points, [0.0]])

    ax.fill_between(
        x,
        difference(check.lower),
        difference(check.upper),
        color=LIGHT_GREY,
        linewidth=0.0,
        label=f"calibrated, {100 * check.level:g} %",
    )
    ax.axhline(0.0, color=GREY, linewidth=0.7)
    for index, values in enumerate(ecdf):
        text = names[index] if names else None
        ax.plot(
            x,
            difference(values),
            color=CYCLE[index % len(CYCLE)],
            linestyle=_LINES[index // len(CYCLE) % len(_LINES)],
            linewidth=0.9 if inside[index] else 1.8,
            label=text,
        )
    default = (
        "rank of the truth (share of draws)" if isinstance(check, RankCheck) else "probability of a smaller misfit"
    )
    ax.set(xlim=(0.0, 1.0), xlabel=xlabel or default)
    ax.yaxis.set_major_locator(MaxNLocator(6, symmetric=True))
    ax.spines[["top", "right"]].set_visible(False)
