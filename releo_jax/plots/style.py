"""Colours, fonts and labels that all figures share."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from releo_jax.variables import VARIABLES, Variable

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
GREY = "#BBBBBB"
LIGHT_GREY = "#D9D9D9"

CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#000000")
"""Colours of the methods, dimensions or spectra of a figure, in this order."""

MARKERS = "osD^v<>"
"""Go with the colours: figures can be read in grey."""

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.dpi": 160,
}

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def label(name: str, what: str = "", *, unit: str | None = None) -> str:
    """Axis label of a variable with its unit: `leaf area index (m² m⁻²)`.

    Args:
        name: alias (`lai`) or full name (`leaf_area_index`); any words if a unit is given.
        what: goes before: `retrieved`.
        unit: that of variables which are not among the products, e.g. `m3 m-3`; `1` for pure numbers.
    """
    if unit is None:
        variable = variable_of(name)
        long_name, unit = variable.long_name, variable.units
    else:
        long_name = name.replace("_", " ")
    text = f"{what} {long_name}".strip()
    return f"{text} ({pretty_unit(unit)})" if pretty_unit(unit) else text


def pretty_unit(unit: str) -> str:
    """A unit with superscripts: `g m⁻²` for `g m-2`, `µg cm⁻²` for `ug cm-2`; nothing for a pure number."""
    if unit in ("1", ""):
        return ""
    unit = re.sub(r"\bu(?=[gm]\b)", "µ", unit)
    return re.sub(r"(?<=[a-zA-Z])(-?\d+)", lambda found: found.group(1).translate(_SUPERSCRIPTS), unit)


def variable_of(name: str) -> Variable:
    """The variable of the products with an alias or a full name."""
    if name in VARIABLES:
        return VARIABLES[name]
    for variable in VARIABLES.values():
        if variable.name == name:
            return variable
    raise ValueError(f"expected one of {', '.join(VARIABLES)}, got {name!r}; choose one of them, or give a unit")


def finished(figure: Figure) -> Figure:
    """The figure with everything in it that is made on drawing, so that the style of this package applies to it."""
    figure.draw_without_rendering()
    return figure


@contextlib.contextmanager
def canvas(ax: Axes | None, size: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    """The axes given and their figure, or those of a new figure (width, height in inches) in this package's style."""
    if ax is not None:
        figure = ax.get_figure(root=True)
        assert isinstance(figure, Figure)
        yield figure, ax
        return
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure, figure.subplots()
        finished(figure)
