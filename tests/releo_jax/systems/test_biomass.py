"""Regression of biomass: textbook numbers, leave-one-out by leaving out, coverage, and faults that are named."""

import numpy as np
import pytest

from releo_jax.metrics import coverage
from releo_jax.systems.biomass import fit_biomass, predict_biomass

NAMES = ("vh", "vv", "lai")


def plots(rng, n, noise=25.0):
    """Biomass and predictors of plots, as of mangroves: t ha-1, dB, dB, m2 m-2."""
    x = {"vh": rng.normal(-15, 2, n), "vv": rng.normal(-9, 1.5, n), "lai": rng.gamma(6, 0.4, n)}
    x["vv"] = x["vv"] + 0.5 * (x["vh"] + 15)
    return 100 + 9 * (x["vh"] + 15) - 4 * (x["vv"] + 9) + 18 * (x["lai"] - 2.4) + rng.normal(0, noise, n), x


def test_coefficients_and_errors_are_those_of_least_squares():
    y, x = plots(np.random.default_rng(0), 25)
    fit = fit_biomass(y, x)
    design = np.column_stack([np.ones(25), *(x[name] for name in NAMES)])
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    np.testing.assert_allclose(fit.coefficients, solution[1:], rtol=1e-9)
    covariance = fit.scale**2 * np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(fit.coefficients_std, np.sqrt(np.diag(covariance))[1:], rtol=1e-9)
    assert fit.scale == pytest.approx(np.sqrt(((y - design @ solution) ** 2).sum() / 21), rel=1e-12)
    new = {"vh": np.array([-13.0]), "vv": np.array([-9.5]), "lai": np.array([3.0])}
    row = np.array([1.0, -13.0, -9.5, 3.0])
    found = predict_biomass(fit, new, level=0.9)
    # 1.7207 is the 95 % quantile of Student's t with 21 degrees of freedom
    half = 1.72074 * np.sqrt(fit.scale**2 + row @ covariance @ row)
    np.testing.assert_allclose([found.mean[0], found.upper[0] - found.mean[0]], [row @ solution, half], rtol=1e-5)


def test_leave_one_out_leaves_one_out():
    y, x = plots(np.random.default_rng(1), 14)
    fit = fit_biomass(y, x)
    errors, inside = [], []
    for i in range(14):
        keep = np.arange(14) != i
        other = fit_biomass(y[keep], {name: value[keep] for name, value in x.items()})
        found = predict_biomass(other, {name: value[i] for name, value in x.items()}, level=0.8)
        errors.append(y[i] - found.mean)
        inside.append(found.lower <= y[i] <= found.upper)
    np.testing.assert_allclose(fit.loo_errors, errors, rtol=1e-8)
    assert fit.loo_coverage(0.8) == pytest.approx(np.mean(inside))
    assert fit.loo_rmse > np.sqrt(np.mean(fit.residuals**2))


@pytest.mark.parametrize("n", [8, 30])
def test_intervals_hold_new_plots_as_often_as_they_say(n):
    """700 campaigns of few plots, one new plot each: 90 % within 3 binomial standard deviations."""
    rng = np.random.default_rng(n)
    truth, lower, upper, held = [], [], [], []
    for _ in range(700):
        y, x = plots(rng, n + 1)
        fit = fit_biomass(y[1:], {name: value[1:] for name, value in x.items()})
        found = predict_biomass(fit, {name: value[:1] for name, value in x.items()}, level=0.9)
        truth.append(y[0])
        lower.append(found.lower[0])
        upper.append(found.upper[0])
        held.append(fit.loo_coverage(0.9))
    assert coverage(np.array(truth), np.array(lower), np.array(upper)) == pytest.approx(0.9, abs=0.034)
    assert np.mean(held) == pytest.approx(0.9, abs=0.034)


def test_maps_flag_extrapolation_and_keep_gaps_to_themselves():
    y, x = plots(np.random.default_rng(2), 40)
    fit = fit_biomass(y, x)
    image = {name: np.full((4, 5), np.mean(x[name])) for name in NAMES}
    image["vh"][0, 0] = 5.0
    image["lai"][2, 3] = np.nan
    found = predict_biomass(fit, image)
    assert found.mean.shape == (4, 5) and np.isnan(found.mean).sum() == 1 and np.isnan(found.mean[2, 3])
    assert found.extrapolated.sum() == 1 and found.extrapolated[0, 0]
    np.testing.assert_allclose(found.mean[1, 1], y.mean(), rtol=1e-9)
    assert found.std[0, 0] > 2 * found.std[1, 1] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vv": lambda v: np.where(np.arange(20) == 4, np.nan, v)},
            r"number of vv .* rows \[4\] .*; leave these plots out",
        ),
        ({"vv": lambda v: v[:-1]}, "give one value a plot"),
        ({"lai": lambda v: 0 * v + 3.3}, r"got constant \['lai'\]; leave them out"),
        ({"lai": lambda v: np.eye(20)[3] + 1e-9 * v}, "in row 3 that alone decides"),
    ],
)
def test_faults_of_plots_are_named(change, message):
    y, x = plots(np.random.default_rng(3), 20)
    for name, function in change.items():
        x[name] = function(x[name])
    with pytest.raises(ValueError, match=message):
        fit_biomass(y, x)


def test_predictors_that_follow_from_each_other_or_are_missing_are_named():
    y, x = plots(np.random.default_rng(4), 20)
    with pytest.raises(ValueError, match="none follows from the others, got a sum with weights .*'ratio'"):
        fit_biomass(y, x | {"ratio": x["vh"] - x["vv"]})
    with pytest.raises(ValueError, match="expected 6 plots at least for 3 predictors, got 5"):
        fit_biomass(y[:5], {name: value[:5] for name, value in x.items()})
    with pytest.raises(ValueError, match=r"add \['lai'\]"):
        predict_biomass(fit_biomass(y, x), {"vh": 0.0, "vv": 0.0})
