"""Posteriors of several parameters: every one for itself, and every two together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from releo_jax.plots.style import CYCLE, STYLE, finished

_BINS = 48
_SMOOTHING = 2.0
"""Standard deviation of the smoothing, in bins; more where draws are few."""


def plot_corner(
    draws: ArrayLike | Mapping[str, ArrayLike],
    *,
    labels: Sequence[str],
    truth: ArrayLike | None = None,
    levels: Sequence[float] = (0.5, 0.9),
    limits: Sequence[tuple[float, float]] | None = None,
) -> Figure:
    """Marginal densities of one or more posteriors on the diagonal, regions of two parameters below it.

    Args:
        draws: (draw, dimension), or several of them by the text of the legend.
        labels: (dimension,) names with units, as `label("lai")` or `label("soil moisture", unit="m3 m-3")` makes them.
        truth: (dimension,) true values, NaN for unknown ones.
        levels: probabilities of the regions of highest density.
        limits: (dimension,) lower and upper end of the axes, e.g. the prior's; default what holds nearly all draws.

    Returns:
        A figure; with one posterior, titles tell its median and its central 90 % interval.
    """
    given = draws if isinstance(draws, Mapping) else {"": draws}
    posteriors = {text: np.asarray(values, np.float64) for text, values in given.items()}
    number = len(labels)
    shapes = {text: values.shape for text, values in posteriors.items()}
    if not shapes or any(len(shape) != 2 or shape[1] != number or shape[0] < 20 for shape in shapes.values()):
        raise ValueError(
            f"plot_corner: expected draws (draw, dimension) with 20 draws at least and {number} dimensions, as many as "
            f"labels, got {list(shapes.values())}; give one posterior at a time and a label for each dimension"
        )
    if not all(np.isfinite(values).all() for values in posteriors.values()):
        raise ValueError("plot_corner: expected finite draws, got others; leave such draws out")
    marks = np.full(number, np.nan) if truth is None else np.asarray(truth, np.float64)
    if marks.shape != (number,):
        raise ValueError(f"plot_corner: expected a truth ({number},), got {marks.shape}; give NaN where it is unknown")
    ends = _limits(list(posteriors.values()), marks) if limits is None else [(float(a), float(b)) for a, b in limits]
    with mpl.rc_context(STYLE):
        side = 0.9 + 1.55 * number
        tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
        figure = Figure(figsize=(side, side), layout=tight)
        panels = figure.subplots(number, number, squeeze=False)
        for i in range(number):
            for j in range(number):
                panel = panels[i, j]
                if j > i:
                    panel.set_axis_off()
                    continue
                for index, values in enumerate(posteriors.values()):
                    colour = CYCLE[index % len(CYCLE)]
                    if i == j:
                        _marginal(panel, values[:, i], ends[i], colour)
                    else:
                        _regions(panel, values[:, j], values[:, i], (ends[j], ends[i]), levels, colour)
                _dress(panel, i, j, number, labels, ends, marks)
            if len(posteriors) == 1:
                low, middle, high = np.quantile(next(iter(posteriors.values()))[:, i], [0.05, 0.5, 0.95])
                panels[i, i].set_title(f"{middle:.3g} [{low:.3g}, {high:.3g}]", fontsize=8, pad=3)
        handles = [
            Line2D([], [], color=CYCLE[index % len(CYCLE)], linewidth=2.0, label=text)
            for index, text in enumerate(posteriors)
            if text
        ]
        if np.isfinite(marks).any():
            handles.append(Line2D([], [], color="black", linewidth=0.9, linestyle="--", label="truth"))
        if handles:
            anchor = panels[0, -1] if number > 1 else panels[0, 0]
            anchor.legend(handles=handles, loc="upper right")
        return finished(figure)


def _limits(posteriors: list[np.ndarray], marks: np.ndarray) -> list[tuple[float, float]]:
    found = []
    for index, mark in enumerate(marks):
        quantiles = np.array([np.quantile(values[:, index], [0.002, 0.998]) for values in posteriors])
        low, high = quantiles[:, 0].min(), quantiles[:, 1].max()
        if np.isfinite(mark):
            low, high = min(low, mark), max(high, mark)
        margin = 0.06 * (high - low) if high > low else 0.5 * max(abs(low), 1.0)
        # A bound at zero is a bound: no room for negative amounts.
        every = min(values[:, index].min() for values in posteriors)
        lower = max(low - margin, 0.0) if every >= 0.0 else low - margin
        found.append((float(lower), float(high + margin)))
    return found


def _smoothing(count: int, dimensions: int) -> float:
    return _SMOOTHING * max(1.0, (4000.0 / count) ** (1.0 / (4.0 + dimensions)))


def _marginal(ax: Axes, values: np.ndarray, ends: tuple[float, float], colour: str) -> None:
    counts, edges = np.histogram(values, 2 * _BINS, ends)
    density = gaussian_filter(counts.astype(np.float64), 2.0 * _smoothing(len(values), 1), mode="reflect")
    density /= density.max() if density.max() > 0.0 else 1.0
    centres, density = _centres(edges), np.pad(density, 1, mode="edge")
    ax.fill_between(centres, density, color=colour, alpha=0.2, linewidth=0.0)
    ax.plot(centres, density, color=colour, linewidth=1.2)
    ax.set_ylim(0.0, 1.15)


def _centres(edges: np.ndarray) -> np.ndarray:
    """Centres of the bins, between the outermost edges: densities reach up to a bound."""
    return np.concatenate([edges[:1], 0.5 * (edges[1:] + edges[:-1]), edges[-1:]])


def _regions(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    ends: tuple[tuple[float, float], tuple[float, float]],
    levels: Sequence[float],
    colour: str,
) -> None:
    """Filled regions of highest density that hold the given probabilities."""
    counts, x_edges, y_edges = np.histogram2d(x, y, _BINS, ends)
    density = gaussian_filter(counts, _smoothing(len(x), 2), mode="reflect").T
    # The draws inside are counted, since the smoothed density is wider than theirs.
    order = np.argsort(density, axis=None)[::-1]
    held = np.cumsum(counts.T.ravel()[order]) / len(x)
    last = np.minimum(np.searchsorted(held, sorted(levels)), order.size - 1)
    thresholds = np.unique(np.maximum(density.ravel()[order[last]], 1e-6 * density.max()))
    centres, density = [_centres(x_edges), _centres(y_edges)], np.pad(density, 1, mode="edge")
    shades = [to_rgba(colour, 0.2 + 0.3 * index / max(len(levels) - 1, 1)) for index in range(len(levels))]
    ax.contourf(*centres, density, levels=[*thresholds, 1.01 * density.max()], colors=shades[-len(thresholds) :])
    ax.contour(*centres, density, levels=thresholds, colors=[colour], linewidths=0.9)


def _dress(
    ax: Axes,
    i: int,
    j: int,
    number: int,
    labels: Sequence[str],
    ends: list[tuple[float, float]],
    marks: np.ndarray,
) -> None:
    """Limits, truth, ticks and labels of the panel in row i, column j."""
    ax.set_xlim(ends[j])
    ax.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
    if np.isfinite(marks[j]):
        ax.axvline(marks[j], color="black", linewidth=0.9, linestyle="--")
    if i == j:
        ax.set_yticks([])
        ax.spines[["top", "right", "left"]].set_visible(False)
    else:
        ax.set_ylim(ends[i])
        ax.yaxis.set_major_locator(MaxNLocator(3, prune="both"))
        if np.isfinite(marks[i]):
            ax.axhline(marks[i], color="black", linewidth=0.9, linestyle="--")
    if i == number - 1:
        ax.set_xlabel(_wrapped(labels[j]))
    else:
        ax.tick_params(labelbottom=False)
    if j == 0 and i > 0:
        ax.set_ylabel(_wrapped(labels[i]))
    elif i != j:
        ax.tick_params(labelleft=False)


def _wrapped(text: str) -> str:
    """The unit on its own line."""
    return text.replace(" (", "\n(", 1) if text.endswith(")") else text
