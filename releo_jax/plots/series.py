"""A pixel over time: what was observed, what it is taken for on every day, what was measured on the ground."""

from __future__ import annotations

from typing import Any

import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from releo_jax.plots.style import BLUE, GREY, VERMILION, canvas, label

_Points = tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike]


def plot_series(
    time: ArrayLike,
    mean: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    name: str,
    level: float = 0.9,
    observed: _Points | None = None,
    measured: _Points | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """The posterior of a pixel over time, with observations and field measurements where there are any.

    Args:
        time: rising dates `(date,)`, NumPy's `datetime64` or numbers of days.
        mean: `(date,)`; where it is not a number the line and the band have gaps.
        lower, upper: ends of the intervals `(date,)`.
        name: `lai`, ...
        level: nominal probability of the intervals.
        observed: dates and values that the posterior has seen, single-date estimates as a rule, and their errors if
            known (one standard deviation, `(date,)` or a number).
        measured: the same of the field.
        unit: that of variables which are not among the products, whose name can be any words.
        ax: axes to draw in; default those of a new figure.

    Raises:
        ValueError: arrays of different lengths, dates that fall, or dates and numbers of days together.
    """
    days, *band = (np.asarray(values) for values in (time, mean, lower, upper))
    _check(days, band, "the posterior")
    if np.any(np.diff(days) < np.zeros(1, np.diff(days).dtype)):
        raise ValueError("plot_series: expected rising dates, got some that fall; sort them with their values")
    with canvas(ax, (7.0, 3.2)) as (figure, ax):
        middle, below, above = band
        ax.fill_between(days, below, above, color=BLUE, alpha=0.25, linewidth=0.0, label=f"{level * 100:g} % interval")
        ax.plot(days, middle, color=BLUE, linewidth=1.2, label="posterior mean")
        _points(ax, observed, days, "observed", marker="o", color=GREY, markeredgecolor="black", markersize=4)
        _points(ax, measured, days, "measured in the field", marker="D", color=VERMILION, markersize=5)
        ax.set_ylabel(label(name, unit=unit))
        if days.dtype.kind == "M":
            locator = mdates.AutoDateLocator(minticks=4, maxticks=9)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
        else:
            ax.set_xlabel("day")
        ax.margins(x=0.01)
        ax.legend(loc="upper left", bbox_to_anchor=(0.0, 1.14), ncols=4, columnspacing=1.2, handlelength=1.6)
    return figure


def _points(ax: Axes, given: _Points | None, days: np.ndarray, name: str, **style: Any) -> None:
    if given is None:
        return
    when, values = np.asarray(given[0]), np.asarray(given[1], np.float64)
    _check(when, [values], name)
    if when.size and (when.dtype.kind == "M") != (days.dtype.kind == "M"):
        raise ValueError(
            f"plot_series: expected the dates of what was {name} as those of the posterior, {days.dtype}, got "
            f"{when.dtype}; subtract an origin from both, or from none"
        )
    errors = None if len(given) == 2 else np.broadcast_to(np.asarray(given[2], np.float64), values.shape)
    ax.errorbar(when, values, yerr=errors, linestyle="none", elinewidth=0.8, ecolor="black", label=name, **style)


def _check(days: np.ndarray, arrays: list[np.ndarray], what: str) -> None:
    shapes = {days.shape, *(values.shape for values in arrays)}
    if len(shapes) > 1 or days.ndim != 1:
        raise ValueError(f"plot_series: expected dates and values of {what} of one shape (date,), got {sorted(shapes)}")
