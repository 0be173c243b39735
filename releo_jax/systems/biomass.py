"""Biomass by regression on a user's plots, with intervals that know how few they are.

fit = fit_biomass(plots["biomass"], {"vh": plots["vh"], "vv": plots["vv"], "lai": plots["lai"]})   # dB, dB, m2 m-2
fit.loo_rmse, fit.loo_coverage(0.9)
maps = predict_biomass(fit, {"vh": image["vh"], "vv": image["vv"], "lai": image["lai"]}, level=0.9)
maps.mean, maps.lower, maps.upper, maps.extrapolated
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from releo_jax.metrics._checks import check_level


@dataclasses.dataclass(frozen=True, eq=False)
class BiomassRegression:
    """Posterior of a linear regression; immutable.

    Attributes:
        names: of the predictors, in the order of the coefficients.
        intercept: biomass where all predictors are at `centre`, t ha⁻¹.
        coefficients: posterior mean, t ha⁻¹ per unit of each predictor, `(predictor,)`.
        coefficients_std: scale of their Student-t law, `(predictor,)`.
        centre: mean of the predictors over the plots, `(predictor,)`.
        whitening: from centred predictors to leverage: rows whose squared length is it, `(predictor, predictor)`.
        scale: standard deviation of the plots around the plane, t ha⁻¹.
        plots: number of plots.
        leverage: of each plot, `(plot,)`.
        residuals: biomass less the plane, t ha⁻¹, `(plot,)`.
        loo_errors: biomass less its prediction by all other plots, t ha⁻¹, `(plot,)`.
    """

    names: tuple[str, ...]
    intercept: float
    coefficients: np.ndarray
    coefficients_std: np.ndarray
    centre: np.ndarray
    whitening: np.ndarray
    scale: float
    plots: int
    leverage: np.ndarray
    residuals: np.ndarray
    loo_errors: np.ndarray

    @property
    def degrees_of_freedom(self) -> int:
        """Of the Student-t laws."""
        return self.plots - len(self.names) - 1

    @property
    def loo_rmse(self) -> float:
        """Root mean square of the leave-one-out errors, t ha⁻¹: what to expect at a new plot."""
        return float(np.sqrt(np.mean(self.loo_errors**2)))

    def loo_coverage(self, level: float) -> float:
        """Share of the plots inside the interval that all others predict for them."""
        check_level("loo_coverage", level)
        rest = self.degrees_of_freedom - 1
        kept = 1.0 - self.leverage
        # Without a plot the sum of squares is less by its residual times its leave-one-out error.
        others = (self.degrees_of_freedom * self.scale**2 - self.residuals**2 / kept) / rest
        half = special.stdtrit(rest, 0.5 + 0.5 * level) * np.sqrt(np.maximum(others, 0.0) / kept)
        return float(np.mean(np.abs(self.loo_errors) <= half))


class BiomassPrediction(NamedTuple):
    """Biomass above the ground of new places, `(*batch)` each.

    Attributes:
        mean: t ha⁻¹.
        std: of the predictive law; infinite below three degrees of freedom.
        lower: end of the central interval, t ha⁻¹; below zero where the plots do not exclude it.
        upper: other end.
        extrapolated: True where the predictors lie further from those of the plots than any plot does.
    """

    mean: np.ndarray
    std: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    extrapolated: np.ndarray


def fit_biomass(biomass: ArrayLike, predictors: Mapping[str, ArrayLike]) -> BiomassRegression:
    """Linear regression of biomass on what satellites see: backscatter in dB, leaf area index, ...

    Args:
        biomass: above the ground, of the plots, t ha⁻¹, `(plot,)`.
        predictors: by name, `(plot,)` each. Castillo et al. take VH and VV in dB, or leaf area index.

    Returns:
        BiomassRegression: the posterior with a flat prior of the coefficients and of the logarithm of the scale, whose
        predictive intervals are those of least squares.

    Raises:
        ValueError: gaps; columns of unlike length; too few plots; predictors that follow from each other.

    References:
        Castillo, Apan, Maraseni & Salmo 2017, ISPRS J. Photogramm. Remote Sens. 134, 70; Gelman et al. 2013, Bayesian
        Data Analysis, section 14.2.
    """
    names = tuple(predictors)
    y = np.asarray(biomass, np.float64)
    columns = {"biomass": y} | {name: np.asarray(value, np.float64) for name, value in predictors.items()}
    shapes = {name: column.shape for name, column in columns.items()}
    if not names or y.ndim != 1 or len(set(shapes.values())) > 1:
        raise ValueError(
            f"fit_biomass: expected biomass and one predictor at least, (plot,) each, got {shapes}; "
            "give one value a plot"
        )
    for name, column in columns.items():
        gaps = np.flatnonzero(~np.isfinite(column))
        if gaps.size:
            raise ValueError(
                f"fit_biomass: expected a number of {name} for each plot, got none in rows {gaps[:8].tolist()} "
                f"({gaps.size} of {y.size}); leave these plots out"
            )
    needed = len(names) + 3
    if y.size < needed:
        raise ValueError(
            f"fit_biomass: expected {needed} plots at least for {len(names)} predictors, got {y.size}; "
            "add plots, or leave predictors out"
        )
    x = np.stack([columns[name] for name in names], axis=1)
    centre = x.mean(axis=0)
    away = x - centre
    spread = np.sqrt(np.mean(away**2, axis=0))
    # Constant up to rounding of its own size.
    constant = [name for name, s, c in zip(names, spread, np.abs(x).max(axis=0), strict=True) if s <= 1e-12 * c]
    if constant:
        raise ValueError(f"fit_biomass: expected predictors that vary, got constant {constant}; leave them out")
    u, singular, vt = np.linalg.svd(away / spread, full_matrices=False)
    if singular[-1] < 1e-8 * singular[0]:
        weights = dict(zip(names, np.round(vt[-1] / spread, 6).tolist(), strict=True))
        raise ValueError(
            f"fit_biomass: expected predictors of which none follows from the others, got a sum with weights {weights} "
            "that is constant over the plots; leave one of them out"
        )
    whitening = (vt / singular[:, None]) / spread
    coefficients = whitening.T @ (u.T @ y)
    intercept = float(y.mean())
    residuals = y - intercept - away @ coefficients
    leverage = 1.0 / y.size + (u**2).sum(axis=1)
    alone = np.flatnonzero(leverage > 1.0 - 1e-9)
    if alone.size:
        raise ValueError(
            f"fit_biomass: expected plots that others can stand for, got one in row {alone[0]} that alone decides a "
            "coefficient; leave it out, or the predictor that only it varies in"
        )
    scale = float(np.sqrt((residuals**2).sum() / (y.size - len(names) - 1)))
    return BiomassRegression(
        names=names,
        intercept=intercept,
        coefficients=coefficients,
        coefficients_std=scale * np.sqrt((whitening**2).sum(axis=0)),
        centre=centre,
        whitening=whitening,
        scale=scale,
        plots=y.size,
        leverage=leverage,
        residuals=residuals,
        loo_errors=residuals / (1.0 - leverage),
    )


def predict_biomass(
    fit: BiomassRegression, predictors: Mapping[str, ArrayLike], *, level: float = 0.9
) -> BiomassPrediction:
    """Biomass of new places from a regression, with predictive intervals.

    Args:
        fit: of `fit_biomass`.
        predictors: by the same names, arrays `(*batch)`; maps, say. NaN where one is missing gives NaN there alone.
        level: probability of the intervals.

    Returns:
        BiomassPrediction `(*batch)`: a Student-t law around the plane, as wide as the scatter of the plots and the
        doubt of the coefficients make it.

    Raises:
        ValueError: a predictor is missing.
    """
    check_level("predict_biomass", level)
    missing = [name for name in fit.names if name not in predictors]
    if missing:
        raise ValueError(
            f"predict_biomass: expected the predictors {list(fit.names)} of the fit, got {list(predictors)}; "
            f"add {missing}"
        )
    x = np.stack(np.broadcast_arrays(*(np.asarray(predictors[name], np.float64) for name in fit.names)), axis=-1)
    away = x - fit.centre
    mean = fit.intercept + away @ fit.coefficients
    leverage = 1.0 / fit.plots + ((away @ fit.whitening.T) ** 2).sum(axis=-1)
    scale = fit.scale * np.sqrt(1.0 + leverage)
    freedom = fit.degrees_of_freedom
    half = special.stdtrit(freedom, 0.5 + 0.5 * level) * scale
    std = scale * (np.sqrt(freedom / (freedom - 2.0)) if freedom > 2 else np.inf)
    return BiomassPrediction(mean, std, mean - half, mean + half, leverage > fit.leverage.max())
