"""Figures: maps, series, estimates against truth, spectra, posteriors and their calibration.

    plot_map(result, "lai")                                     # of releo_jax.maps.predict
    plot_series(dates, mean, lower, upper, name="lai", measured=(field_dates, field_lai))     # a pixel over time
    plot_scatter(truth, mean, lower, upper, name="lai")
    plot_predictive(observed, predicted, bands=names)           # one spectrum in its predictive bands
    plot_corner({"NUTS": draws, "VAE": others}, labels=[label("lai"), label("ccc")], truth=truth)
    plot_ranks(sbc(truth, draws), names=["lai", "ccc"])         # releo_jax.metrics
    plot_coverage(curve.levels, {"VAE": curve.coverage[0]}, samples=curve.samples)

Every function returns a `matplotlib.figure.Figure`, which `savefig` writes; those with a single panel draw into
your own axes with `ax=`. Colours are those of viridis and cividis, and of Okabe and Ito (2008) where they stand for
classes: all can be told apart with the common kinds of colour blindness.
"""

from releo_jax.plots.calibration import plot_coverage, plot_ranks
from releo_jax.plots.corner import plot_corner
from releo_jax.plots.estimates import plot_predictive, plot_scatter, plot_spectra
from releo_jax.plots.maps import FLAG_COLOURS, plot_map, plot_scene
from releo_jax.plots.series import plot_series
from releo_jax.plots.style import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    label,
    pretty_unit,
)

__all__ = [
    "BLUE",
    "CYCLE",
    "FLAG_COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILION",
    "YELLOW",
    "label",
    "plot_corner",
    "plot_coverage",
    "plot_map",
    "plot_predictive",
    "plot_ranks",
    "plot_scatter",
    "plot_scene",
    "plot_series",
    "plot_spectra",
    "pretty_unit",
]
