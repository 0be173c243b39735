"""Maps of results and of images."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
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

from releo_jax.plots.style import LIGHT_GREY, PURPLE, SKY, STYLE, VERMILION, finished, label, pretty_unit, variable_of
from releo_jax.variables import FLAGS

FLAG_COLOURS = {"input_masked": "white", "out_of_domain": VERMILION, "predictive_misfit": PURPLE, "at_prior_bound": SKY}
_MASKED = "#FFFFFF"

_LARGEST = 1200
"""Pixels along the side of a drawn map; larger images are thinned."""


def plot_map(result: xr.Dataset, name: str, *, date: int = 0) -> Figure:
    """Mean, standard deviation and flags of a variable, side by side.

    Args:
        result: as `releo_jax.maps.predict` returns it.
        name: `lai` or `leaf_area_index`, ...
        date: index of the date.
    """
    variable = variable_of(name)
    names = [f"{variable.name}_{suffix}" for suffix in ("mean", "std", "flag")]
    part = _thinned(result[names].isel(time=date)).compute()
    mean, std, words = (part[key].values for key in names)
    unit = pretty_unit(variable.units)
    with mpl.rc_context(STYLE):
        row = _Row(part, ("posterior mean", "standard deviation", "flags"), _title(result, date))
        row.values(0, mean, "viridis", label(name))
        row.values(1, std, "cividis", f"standard deviation ({unit})" if unit else "standard deviation")
        # A pixel with several flags shows the first of them.
        classes = np.zeros(words.shape, np.uint8)
        for index, bit in reversed(list(enumerate(FLAGS.values(), start=1))):
            classes[(words & bit) != 0] = index
        texts = ["none", *(key.replace("_", " ") for key in FLAGS)]
        row.classes(2, classes, texts, [LIGHT_GREY, *(FLAG_COLOURS[key] for key in FLAGS)])
        return finished(row.figure)


class _Row:
    """Maps side by side on one grid, with what explains their colours below; everything placed in inches."""

    width, gap, left, right, bottom = 2.9, 0.3, 0.8, 0.15, 1.35

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
        lines = textwrap.fill(text, 42)  # as wide as the map
        bar = self.figure.colorbar(
            image, cax=self._place(index, 0.65, 0.11, 0.1), orientation="horizontal", extend=extend, label=lines
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
    with mpl.rc_context(STYLE):
        row = _Row(part, ("reflectance in " + ", ".join(names), "mask"), _title(cube, date))
        row.image(0, image)
        row.classes(1, hidden.astype(np.uint8), ("usable", "masked"), (LIGHT_GREY, "#444444"))
        return finished(row.figure)
