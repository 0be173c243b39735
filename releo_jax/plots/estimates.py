"""Estimates against truth with their intervals, and spectra with their bands of uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from releo_jax.metrics import central_interval
from releo_jax.plots.style import BLUE, CYCLE, SKY, VERMILION, canvas, label

_MEDIAN = "#00304D"
"""A darker blue, for lines on blue."""


def plot_scatter(
    truth: np.ndarray,
    mean: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    name: str,
    level: float = 0.9,
    what: str = "true",
    unit: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Estimates against truth: single points with their intervals, or the density of many.

    Args:
        truth: (sample,) true or measured values.
        mean: (sample,) estimates.
        lower: (sample,) lower ends of the intervals.
        upper: (sample,) upper ends.
        name: `lai`, ...
        level: nominal probability of the intervals.
        what: what `truth` is: `true`, `measured`.
        unit: that of variables which are not among the products, whose name can be any words.
        ax: axes to draw in; default those of a new figure.
    """
    arrays = [np.ravel(np.asarray(values, np.float64)) for values in (truth, mean, lower, upper)]
    known = np.all(np.isfinite(arrays), axis=0)
    if not known.any():
        raise ValueError("expected some samples that are finite in all four arrays, got none; check the masks")
    truth, mean, lower, upper = (values[known] for values in arrays)
    error = mean - truth
    covered = float(((truth >= lower) & (truth <= upper)).mean())
    with canvas(ax, (4.2, 4.2)) as (figure, ax):
        low = min(0.0, float(truth.min()))
        high = 1.05 * max(float(truth.max()), float(np.quantile(upper, 0.99)), 1e-6)
        ax.plot([low, high], [low, high], color="black", linewidth=0.8, zorder=4)
        if truth.size <= 500:
            bars = np.maximum([mean - lower, upper - mean], 0.0)
            ax.errorbar(truth, mean, yerr=bars, fmt="o", markersize=3, color=BLUE, ecolor=SKY, elinewidth=0.7, zorder=3)
        else:
            dense = ax.hexbin(
                truth, mean, gridsize=60, extent=(low, high, low, high), bins="log", mincnt=1, cmap="cividis_r"
            )
            bar = figure.colorbar(dense, cax=ax.inset_axes((1.03, 0.0, 0.04, 1.0)), label="pixels")
            bar.outline.set_linewidth(0.5)
            _binned_intervals(ax, truth, lower, upper, level)
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.set_xlabel(label(name, what, unit=unit))
        ax.set_ylabel(label(name, "retrieved", unit=unit))
        text = (
            f"n = {truth.size}\nRMSE {np.sqrt(np.mean(error**2)):.3g}\nbias {error.mean():+.2g}\n"
            f"{level * 100:g} % intervals cover {covered * 100:.0f} %"
        )
        ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top", fontsize=8, linespacing=1.4, zorder=5)
    return figure


def _binned_intervals(ax: Axes, truth: np.ndarray, lower: np.ndarray, upper: np.ndarray, level: float) -> None:
    """Median ends of the intervals in bins of the truth that hold as many samples."""
    edges = np.unique(np.quantile(truth, np.linspace(0, 1, 13)))
    index = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, len(edges) - 2)
    rows = [
        (np.median(truth[index == i]), np.median(lower[index == i]), np.median(upper[index == i]))
        for i in range(len(edges) - 1)
        if (index == i).any()
    ]
    middle, low, high = np.array(rows).T
    for values, text in ((low, f"median {level * 100:g} % interval"), (high, None)):
        ax.plot(middle, values, color=VERMILION, linewidth=1.2, linestyle="--", label=text, zorder=4)
    ax.legend(loc="lower right")


def plot_spectra(
    wavelengths: np.ndarray,
    reflectance: Mapping[str, np.ndarray],
    *,
    intervals: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    points: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Spectra as lines, with bands of uncertainty and measured points where there are some.

    Args:
        wavelengths: (wavelength,) nm.
        reflectance: (wavelength,) by the text of the legend.
        intervals: lower and upper ends (wavelength,), under the same names.
        points: wavelengths and values of measurements, under any names.
        ax: axes to draw in; default those of a new figure.
    """
    with canvas(ax, (6.2, 3.6)) as (figure, ax):
        named = {text: CYCLE[index % len(CYCLE)] for index, text in enumerate({**reflectance, **(points or {})})}
        for text, values in reflectance.items():
            ax.plot(wavelengths, values, color=named[text], linewidth=1.3, label=text)
            if intervals and text in intervals:
                ax.fill_between(wavelengths, *intervals[text], color=named[text], alpha=0.2, linewidth=0)
        for text, (where, values) in (points or {}).items():
            joined = text if text not in reflectance else None
            ax.plot(where, values, "o", color=named[text], markersize=4, markeredgecolor="white", label=joined)
        ax.set(xlabel="wavelength (nm)", ylabel="reflectance", xlim=(np.min(wavelengths), np.max(wavelengths)))
        ax.set_ylim(bottom=0.0)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend()
    return figure


def plot_predictive(
    observed: ArrayLike,
    predicted: ArrayLike,
    *,
    bands: ArrayLike | Sequence[str],
    mask: ArrayLike | None = None,
    levels: Sequence[float] = (0.5, 0.9),
    ylabel: str = "reflectance",
    ax: Axes | None = None,
) -> Figure:
    """One observed spectrum beside its posterior-predictive bands: does the model explain what was measured?

    Args:
        observed: (band,); what stands where the mask is False is drawn open if it is finite.
        predicted: (draw, band) observations predicted for posterior draws, with their noise.
        bands: (band,) wavelengths in nm, increasing, for a continuous spectrum; or names, one box each.
        mask: (band,) True = used by the inversion; None for all.
        levels: probabilities of the bands, increasing.
        ylabel: quantity with its unit.
        ax: axes to draw in; default those of a new figure.
    """
    y, draws, where = np.asarray(observed, np.float64), np.asarray(predicted, np.float64), np.asarray(bands)
    used = np.ones(y.shape, bool) if mask is None else np.asarray(mask, bool)
    if y.ndim != 1 or draws.ndim != 2 or not draws.shape[1:] == y.shape == where.shape == used.shape:
        raise ValueError(
            "plot_predictive: expected observed (band,), predicted (draw, band), and bands and mask like observed, got "
            f"{y.shape}, {draws.shape}, {where.shape} and {used.shape}; give one spectrum at a time"
        )
    named = not np.issubdtype(where.dtype, np.number)
    x = np.arange(len(y)) if named else where.astype(np.float64)
    handles: list[Patch | Line2D] = []
    with canvas(ax, (6.2, 3.6)) as (figure, ax):
        for index, level in reversed(list(enumerate(levels))):
            lower, upper = (ends[0] for ends in central_interval(draws[None], level=level))
            alpha = 0.25 + 0.45 * (len(levels) - 1 - index) / max(len(levels) - 1, 1)
            options: dict[str, Any] = {"facecolor": BLUE, "alpha": alpha, "linewidth": 0.0, "zorder": 2}
            if named:
                ax.bar(x, upper - lower, 0.62, lower, **options)
            else:
                ax.fill_between(x, lower, upper, **options)
            handles.insert(0, Patch(label=f"{100 * level:g} % predictive", **options))
        middle = np.median(draws, 0)
        if named:
            ax.hlines(middle, x - 0.31, x + 0.31, color=_MEDIAN, linewidth=1.5, zorder=3)
        else:
            ax.plot(x, middle, color=_MEDIAN, linewidth=1.2, zorder=3)
        handles.insert(0, Line2D([], [], color=_MEDIAN, linewidth=1.5, label="median"))
        size = 5.0 if len(y) <= 30 else 2.5
        marks: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
            "observed": (used, {"color": VERMILION, "markeredgecolor": "white"}),
            "masked": (~used, {"markerfacecolor": "white", "markeredgecolor": "#666666"}),
        }
        for text, (chosen, colours) in marks.items():
            if chosen.any():
                ax.plot(x[chosen], y[chosen], "o", markersize=size, markeredgewidth=0.7, zorder=4, **colours)
                handles.append(Line2D([], [], marker="o", linestyle="", markersize=5, label=text, **colours))
        if named:
            ax.set_xticks(x, list(map(str, where)))
            ax.set(xlabel="band", xlim=(-0.6, len(y) - 0.4))
        else:
            ax.set(xlabel="wavelength (nm)", xlim=(x[0], x[-1]) if len(x) > 1 else None)
        ax.yaxis.set_major_locator(MaxNLocator(6))
        if min(draws.min(), *y[np.isfinite(y)]) >= 0.0 or ax.get_ylim()[0] > 0.0:
            ax.set_ylim(bottom=0.0)
        ax.set_ylabel(ylabel)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(handles=handles)
    return figure
