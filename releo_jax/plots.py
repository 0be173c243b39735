"""Figures: maps of results, estimates against truth with their intervals, spectra, calibration.

Every function returns a `matplotlib.figure.Figure`, which `savefig` writes. Colours are those of viridis and cividis,
and of Okabe and Ito (2008) where they stand for classes: all can be told apart with the common kinds of colour
blindness.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from releo_jax.variables import FLAGS, VARIABLES

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
GREY = "#BBBBBB"

FLAG_COLOURS = {"input_masked": "white", "out_of_domain": VERMILION, "predictive_misfit": PURPLE, "at_prior_bound": SKY}
_UNFLAGGED = "#D9D9D9"
_MASKED = "#FFFFFF"

_LARGEST = 1200
"""Pixels along the side of a drawn map; larger images are thinned."""

_STYLE: Any = {
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


def label(name: str, what: str = "") -> str:
    """Axis label of a variable with its unit: `leaf area index (m² m⁻²)`.

    Args:
        name: alias (`lai`) or full name (`leaf_area_index`).
        what: goes before: `retrieved`.
    """
    variable = _variable(name)
    unit = pretty_unit(variable.units)
    text = f"{what} {variable.long_name}".strip()
    return f"{text} ({unit})" if unit else text


def pretty_unit(unit: str) -> str:
    """A unit with superscripts: `g m⁻²` for `g m-2`; nothing for a pure number."""
    if unit in ("1", ""):
        return ""
    return re.sub(r"(?<=[a-zA-Z])(-?\d+)", lambda found: found.group(1).translate(_SUPERSCRIPTS), unit)


def _variable(name: str) -> Any:
    if name in VARIABLES:
        return VARIABLES[name]
    for variable in VARIABLES.values():
        if variable.name == name:
            return variable
    raise ValueError(f"expected one of {', '.join(VARIABLES)}, got {name!r}; choose one of them")


def plot_map(result: xr.Dataset, name: str, *, date: int = 0) -> Figure:
    """Mean, standard deviation and flags of a variable, side by side.

    Args:
        result: as `releo_jax.maps.predict` returns it.
        name: `lai` or `leaf_area_index`, ...
        date: index of the date.
    """
    variable = _variable(name)
    names = [f"{variable.name}_{suffix}" for suffix in ("mean", "std", "flag")]
    part = _thinned(result[names].isel(time=date)).compute()
    mean, std, words = (part[key].values for key in names)
    unit = pretty_unit(variable.units)
    with mpl.rc_context(_STYLE):
        row = _Row(part, ("posterior mean", "standard deviation", "flags"), _title(result, date))
        row.values(0, mean, "viridis", label(name))
        row.values(1, std, "cividis", f"standard deviation ({unit})" if unit else "standard deviation")
        # A pixel with several flags shows the first of them.
        classes = np.zeros(words.shape, np.uint8)
        for index, bit in reversed(list(enumerate(FLAGS.values(), start=1))):
            classes[(words & bit) != 0] = index
        texts = ["none", *(key.replace("_", " ") for key in FLAGS)]
        row.classes(2, classes, texts, [_UNFLAGGED, *(FLAG_COLOURS[key] for key in FLAGS)])
        return _finished(row.figure)


class _Row:
    """Maps side by side on one grid, with what explains their colours below; everything placed in inches."""

    width, gap, left, right, bottom = 2.9, 0.3, 0.8, 0.15, 1.2

    def __init__(self, part: xr.Dataset, titles: Sequence[str], heading: str) -> None:
        number = len(titles)
        aspect = float(np.clip(part.sizes["y"] / part.sizes["x"], 0.3, 2.5))
        self.height = self.width * aspect
        top = 0.65 if heading else 0.35
        size = (
            self.left + number * self.width + (number - 1) * self.gap + self.right,
            self.bottom + self.height + top,
        )
        self.figure = Figure(figsize=size)
        self.part = part
        self.axes = [self._place(index, self.bottom, self.height) for index in range(number)]
        labels = _axis_labels(part)
        for index, (ax, title) in enumerate(zip(self.axes, titles, strict=True)):
            ax.set_title(title)
            ax.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
            ax.yaxis.set_major_locator(MaxNLocator(4))
            ax.ticklabel_format(useOffset=False, style="plain")
            ax.set_xlabel(labels[0])
            if index == 0:
                ax.set_ylabel(labels[1])
            else:
                ax.tick_params(labelleft=False)
        if heading:
            self.figure.text(self.left / size[0], 1 - 0.2 / size[1], heading, fontsize=9, color="#444444", va="center")

    def _place(self, index: int, bottom: float, height: float, inset: float = 0.0) -> Axes:
        width, total = self.figure.get_size_inches()
        left = self.left + index * (self.width + self.gap) + inset
        return self.figure.add_axes((left / width, bottom / total, (self.width - 2 * inset) / width, height / total))

    def image(self, index: int, values: np.ndarray, **options: Any) -> AxesImage:
        """Draws values (row, column) on one of the maps."""
        return self.axes[index].imshow(values, extent=_extent(self.part), interpolation="nearest", **options)

    def values(self, index: int, values: np.ndarray, colours: str, text: str) -> None:
        """Draws numbers, with a bar that tells them."""
        finite = values[np.isfinite(values)]
        # The extremes of a few pixels would take the contrast from all others; the arrows say that there are some.
        low, high = np.quantile(finite, [0.005, 0.995]) if finite.size else (0.0, 1.0)
        low = 0.0 if 0.0 <= low < 0.3 * high else float(low)
        high = float(high) if high > low else low + 1.0
        cmap = mpl.colormaps[colours].with_extremes(bad=_MASKED)
        image = self.image(index, values, cmap=cmap, vmin=low, vmax=high)
        below, above = bool((finite < low).any()), bool((finite > high).any())
        extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
        bar = self.figure.colorbar(
            image, cax=self._place(index, 0.5, 0.11, 0.1), orientation="horizontal", extend=extend, label=text
        )
        bar.outline.set_linewidth(0.5)  # type: ignore[operator]
        bar.locator = MaxNLocator(6)

    def classes(self, index: int, classes: np.ndarray, texts: Sequence[str], colours: Sequence[str]) -> None:
        """Draws classes (row, column), with a legend that counts them."""
        norm = BoundaryNorm(np.arange(len(colours) + 1) - 0.5, len(colours))
        self.image(index, classes, cmap=ListedColormap(list(colours)), norm=norm)
        handles = [
            Patch(facecolor=colour, edgecolor="#666666", linewidth=0.5, label=f"{text} {_share(classes == number)}")
            for number, (text, colour) in enumerate(zip(texts, colours, strict=True))
        ]
        anchor = (0.5, -0.46 / self.height)
        self.axes[index].legend(
            handles=handles, loc="upper center", bbox_to_anchor=anchor, ncols=2, handlelength=1.0, columnspacing=1.0
        )


def _finished(figure: Figure) -> Figure:
    """The figure with everything in it that is made on drawing, so that the style of this module applies to it."""
    figure.draw_without_rendering()
    return figure


def _share(where: np.ndarray) -> str:
    share = 100.0 * float(where.mean())
    return "0 %" if share == 0 else f"{share:.0f} %" if share >= 1 else "< 1 %"


def _thinned(part: xr.Dataset) -> xr.Dataset:
    step = -(-max(part.sizes["y"], part.sizes["x"]) // _LARGEST)
    return part.isel(y=slice(None, None, step), x=slice(None, None, step)) if step > 1 else part


def _projected(part: xr.Dataset) -> bool:
    """Whether coordinates are metres (which are drawn as kilometres)."""
    crs = part.rio.crs if "spatial_ref" in part.coords else None
    return crs is not None and crs.is_projected


def _extent(part: xr.Dataset) -> tuple[float, float, float, float]:
    factor = 1e-3 if _projected(part) else 1.0
    edges = []
    for name in ("x", "y"):
        centres = part[name].values.astype(np.float64)
        step = (centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else 1.0
        edges.append((factor * (centres[0] - step / 2), factor * (centres[-1] + step / 2)))
    (left, right), (top, bottom) = edges
    return left, right, bottom, top


def _axis_labels(part: xr.Dataset) -> tuple[str, str]:
    if _projected(part):
        return "easting (km)", "northing (km)"
    crs = part.rio.crs if "spatial_ref" in part.coords else None
    return ("longitude (°)", "latitude (°)") if crs is not None and crs.is_geographic else ("x", "y")


def _title(dataset: xr.Dataset, date: int) -> str:
    when = dataset["time"].values[date] if "time" in dataset.coords else np.datetime64("NaT")
    parts = [str(dataset.attrs.get("input") or dataset.attrs.get("source") or "")]
    parts.append("" if np.isnat(when) else str(when.astype("datetime64[m]")).replace("T", " ") + " UTC")
    parts.append(str(dataset.attrs.get("method", "")))
    return ", ".join(part for part in parts if part)


def plot_scatter(
    truth: np.ndarray,
    mean: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    name: str,
    level: float = 0.9,
    what: str = "true",
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
    """
    arrays = [np.ravel(np.asarray(values, np.float64)) for values in (truth, mean, lower, upper)]
    known = np.all(np.isfinite(arrays), axis=0)
    if not known.any():
        raise ValueError("expected some samples that are finite in all four arrays, got none; check the masks")
    truth, mean, lower, upper = (values[known] for values in arrays)
    error = mean - truth
    covered = float(((truth >= lower) & (truth <= upper)).mean())
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.2, 4.2), layout="constrained")
        ax = figure.subplots()
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
            bar = figure.colorbar(dense, ax=ax, shrink=0.8, label="pixels")
            bar.outline.set_linewidth(0.5)
            _binned_intervals(ax, truth, lower, upper, level)
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.set_xlabel(label(name, what))
        ax.set_ylabel(label(name, "retrieved"))
        text = (
            f"n = {truth.size}\nRMSE {np.sqrt(np.mean(error**2)):.3g}\nbias {error.mean():+.2g}\n"
            f"{level * 100:g} % intervals cover {covered * 100:.0f} %"
        )
        ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top", fontsize=8, linespacing=1.4, zorder=5)
        return _finished(figure)


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
) -> Figure:
    """Spectra as lines, with bands of uncertainty and measured points where there are some.

    Args:
        wavelengths: (wavelength,) nm.
        reflectance: (wavelength,) by the text of the legend.
        intervals: lower and upper ends (wavelength,), under the same names.
        points: wavelengths and values of measurements, under any names.
    """
    colours = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#000000"]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.2, 3.6), layout="constrained")
        ax = figure.subplots()
        named = {text: colours[index % len(colours)] for index, text in enumerate({**reflectance, **(points or {})})}
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
        return _finished(figure)


def plot_coverage(levels: Sequence[float], coverage: Mapping[str, Sequence[float]], *, samples: int = 0) -> Figure:
    """How often intervals hold the truth, against how often they claim to.

    Args:
        levels: (level,) nominal probabilities.
        coverage: (level,) observed frequencies by the text of the legend.
        samples: number of independent samples behind them: draws the range within which 95 % of perfectly calibrated
            results fall; 0 for none.
    """
    colours = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]
    nominal = np.asarray(levels, np.float64)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.8, 3.8), layout="constrained")
        ax = figure.subplots()
        grid = np.linspace(0, 1, 101)
        if samples:
            half = 1.96 * np.sqrt(grid * (1 - grid) / samples)
            ax.fill_between(grid, grid - half, grid + half, color=_UNFLAGGED, linewidth=0, label="expected range, 95 %")
        ax.plot(grid, grid, color="black", linewidth=0.8)
        for index, (text, values) in enumerate(coverage.items()):
            marker = "osD^v<"[index % 6]
            ax.plot(nominal, values, color=colours[index % 6], marker=marker, markersize=4, linewidth=1.2, label=text)
        ax.text(0.30, 0.72, "too wide", color="#666666", ha="center")
        ax.text(0.72, 0.30, "too narrow", color="#666666", ha="center")
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set(xlabel="level of the interval", ylabel="share of truths inside")
        ax.legend(loc="lower right")
        return _finished(figure)


def plot_scene(cube: xr.Dataset, *, date: int = 0) -> Figure:
    """A cube as a colour image (near infrared, red, green; or what there is), beside what its mask hides.

    Args:
        cube: image `(time, band, y, x)`.
        date: index of the date.
    """
    held = [str(name) for name in cube["band"].values]
    infrared = next((name for name in ("B8A", "B08") if name in held), held[-1])
    names = [name for name in (infrared, "B04", "B03") if name in held]
    names = names if len(names) == 3 else [held[-1], held[len(held) // 2], held[0]]
    part = _thinned(cube[["reflectance", "mask"]].isel(time=date))
    part = part.sel(band=list(dict.fromkeys(names))).compute()
    mask = part["mask"].values
    hidden = (mask if mask.ndim == 2 else np.bitwise_or.reduce(mask, axis=0)) != 0
    layers = []
    for name in names:
        values = part["reflectance"].sel(band=name).values
        usable = values[np.isfinite(values) & ~hidden]
        high = float(np.quantile(usable, 0.99)) if usable.size else 1.0
        layers.append(np.clip(values / max(high, 1e-6), 0, 1))
    image = np.nan_to_num(np.stack(layers, axis=-1), nan=1.0)
    with mpl.rc_context(_STYLE):
        row = _Row(part, ("reflectance in " + ", ".join(names), "mask"), _title(cube, date))
        row.image(0, image)
        row.classes(1, hidden.astype(np.uint8), ("usable", "masked"), (_UNFLAGGED, "#444444"))
        return _finished(row.figure)
