"""Predicts leaf area of winter wheat in trials that were left out: SAFY with weather beside mean curves.

    python -m benchmarks growth [--data DIR] [--output FILE.json] [--trials NAME ...] [--draws N]

The measurements are looked for in the folder that the environment variable RELEO_DATA_DIR names. For each trial the
model and every curve are fitted to all others, the deviations between trials, noise and smoothing included. With
--output the figures are written there, a table (.md) and a figure (.png) beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.growth_figure import plot_trials
from benchmarks.growth_fit import Engine, Fit
from benchmarks.growth_trials import FIRST, Trials, filled, read_trials
from releo_jax.benchmarking.machine import machine
from releo_jax.metrics import bias, bootstrap, coverage, crps, interval_score, mean_width, rmse
from releo_jax.systems.crop_growth import (
    RECORD,
    STAGE,
    StageCurve,
    condition_series,
    crop_growth,
    draw_series,
    growth_observations,
)

LEVEL = 0.9
KNOWN = (1, 3)  # own dates that a trial is given

BANDWIDTHS = {"stage": (2.0, 3.0, 4.0, 6.0, 8.0, 12.0), "day": (3.0, 5.0, 8.0, 12.0, 16.0, 24.0)}


def local_line(x: np.ndarray, y: np.ndarray, weight: np.ndarray, at: np.ndarray, width: float) -> np.ndarray:
    """Local linear regression with a normal kernel, not below zero `(at,)`."""
    found = []
    for point in at:
        kernel = weight * np.exp(-0.5 * ((point - x) / width) ** 2) + 1e-9
        design = np.stack([np.ones_like(x), x - point], 1)
        found.append(np.linalg.solve(design.T @ (kernel[:, None] * design) + 1e-6 * np.eye(2), design.T @ (kernel * y)))
    return np.maximum(np.array(found)[:, 0], 0.0)


def mean_curve(
    x: np.ndarray, y: np.ndarray, trial: np.ndarray, at: np.ndarray, widths: Sequence[float], n: int, seed: int
) -> np.ndarray:
    """Draws `(at, n)` of a smooth curve over `x` with errors of its own size.

    Every trial counts as one. Smoothing is chosen by leaving out one trial after the other; the errors that this shows,
    smoothed alike, are the deviation.
    """
    weight = 1.0 / np.array([np.sum(trial == name) for name in trial])

    def left_out(width: float) -> np.ndarray:
        error = np.empty_like(y)
        for name in np.unique(trial):
            out = trial == name
            error[out] = y[out] - local_line(x[~out], y[~out], weight[~out], x[out], width)
        return error

    errors = {width: left_out(width) for width in widths}
    best = min(errors, key=lambda width: float(np.mean(errors[width] ** 2)))
    mean = local_line(x, y, weight, at, best)
    kernel = weight * np.exp(-0.5 * ((at[:, None] - x) / max(2.0 * best, widths[2])) ** 2) + 1e-9
    deviation = np.sqrt((kernel * errors[best] ** 2).sum(1) / kernel.sum(1))
    normal = np.random.default_rng(seed).normal(size=(at.size, n))
    return np.maximum(mean[:, None] + deviation[:, None] * normal, 0.0)


class Prediction(NamedTuple):
    """Draws of measurements of one trial by method, on its dates; NaN rows where a method says nothing.

    Attributes:
        draws: by method `(date, draw)`.
        bands: by method, quantiles of leaf area on all days `(3, day)`: for the figure.
        notes: what was noticed.
    """

    draws: dict[str, np.ndarray]
    bands: dict[str, np.ndarray]
    notes: dict[str, float]


def predict(
    trials: Trials, engine: Engine, out: int, *, start: Fit | None, draws: int, seed: int
) -> tuple[Prediction, Fit]:
    """Predicts one trial from all others; the search begins at `start`, the fit without another trial."""
    measured = np.isfinite(trials.leaf_area_index)
    at = np.flatnonzero(measured[out])
    others = np.delete(np.arange(len(trials.names)), out)
    found: dict[str, np.ndarray] = {}
    bands: dict[str, np.ndarray] = {}
    notes: dict[str, float] = {}
    names, days = np.nonzero(measured[others])
    rows = {"trial": np.array(trials.names)[others][names], "value": trials.leaf_area_index[others][names, days]}
    rows |= {"day": days + float(FIRST), "stage": trials.stage[others][names, days]}
    for method, axis, more in (
        ("stage curve", "stage", False),
        ("stage curve, all trials", "stage", True),
        ("date curve", "day", False),
    ):
        train = {name: np.concatenate([value, trials.others[name]]) if more else value for name, value in rows.items()}
        known = np.isfinite(train[axis].astype(float))
        where = at + float(FIRST) if axis == "day" else trials.stage[out, at]
        asked = np.isfinite(where)
        found[method] = np.full((at.size, draws), np.nan)
        if asked.any():
            chosen = (train[axis][known], train["value"][known], train["trial"][known])
            found[method][asked] = mean_curve(*chosen, where[asked], BANDWIDTHS[axis], draws, seed)
    masks = {name: np.ones(measured.shape, bool) for name in (RECORD, STAGE)}
    masks[RECORD][out] = False
    for method, staged in (("SAFY, weather", False), ("SAFY, weather and stages", True)):
        masks[STAGE][out] = staged
        # The trial's own stages leave what the others share where it is.
        start = fit = engine.fit(masks, start=start, rounds=0 if staged else 2)
        if not staged:
            first = fit
        notes[f"{method}: gain left"] = fit.gain
        sites = engine.draws(fit, masks, draws, seed)
        found[method], bands[method], _ = series(sites, out, at, trials.leaf_area_index[out, at], 0, seed)
        for k in KNOWN:
            own = f"{method}, {k} own dates" if k > 1 else f"{method}, 1 own date"
            found[own], bands[own], notes[f"{own}: effective draws"] = series(
                sites, out, at, trials.leaf_area_index[out, at], k, seed
            )
    return Prediction(found, bands, notes), first


def series(
    sites: Mapping[str, np.ndarray], out: int, at: np.ndarray, values: np.ndarray, known: int, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Draws of measurements `(date, draw)` given the first `known` of them, quantiles of leaf area, effective draws."""
    curve = sites["leaf_area_index"][:, out]
    n, days = curve.shape
    coarse = np.unique(np.concatenate([np.arange(0, days, 6), at]))
    mask, seen = np.isin(coarse, at[:known]), np.zeros(coarse.size, np.float32)
    seen[mask] = values[:known]
    deviations = {name: jnp.asarray(sites[name]) for name in ("relative", "absolute", "misfit")}
    law = _condition(
        jnp.asarray(curve[:, coarse]),
        jnp.asarray(seen),
        jnp.asarray(mask),
        jnp.asarray(coarse, jnp.float32),
        deviations,
    )
    key = jax.random.key(seed)
    drawn = np.maximum(np.asarray(draw_series(law, key, n, measured=True)), 0.0)
    latent = np.maximum(np.asarray(draw_series(law, key, n)), 0.0)
    band = np.quantile(latent, (0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2), axis=0)
    every = np.stack([np.interp(np.arange(days), coarse, part) for part in band])
    tests = drawn[:, np.isin(coarse, at)].T.copy()
    if known:
        tests[:known] = np.nan
    return tests, every, float(1.0 / np.sum(np.asarray(law.weight, np.float64) ** 2))


@jax.jit
def _condition(curve: Any, values: Any, mask: Any, time: Any, deviations: Any) -> Any:
    return condition_series(curve, values, mask, time=time, **deviations)


def scores(truth: np.ndarray, draws: np.ndarray, trial: np.ndarray, number: np.ndarray) -> dict[str, Any]:
    """Scores of draws `(row, draw)` of means over points; `number` says how many points each has."""
    mean = draws.mean(1)
    lower, upper = np.quantile(draws, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2), axis=1)
    by_trial = {str(name): rmse(truth[trial == name], mean[trial == name]) for name in np.unique(trial)}
    interval = bootstrap(rmse, truth, mean, groups=trial, level=LEVEL) if len(by_trial) > 1 else (np.nan, np.nan)
    return {
        "rows": int(truth.size),
        "rmse": rmse(truth, mean),
        "rmse_interval": list(interval),
        "rmse_mean_of_trials": float(np.mean(list(by_trial.values()))),
        "rmse_weighted_by_points": float(np.sqrt(np.average((mean - truth) ** 2, weights=number))),
        "bias": bias(truth, mean),
        "crps": crps(truth, draws),
        "coverage": coverage(truth, lower, upper),
        "width": mean_width(lower, upper),
        "interval_score": interval_score(truth, lower, upper, level=LEVEL),
        "rmse_by_trial": by_trial,
    }


def compare(
    trials: Trials, names: Sequence[str], *, draws: int = 2000, seed: int = 0, progress: bool = False
) -> tuple[dict[str, Any], dict[str, Prediction]]:
    """Leaves out one trial after the other, and scores every method on the same rows."""
    data = growth_observations(
        trials.leaf_area_index,
        temperature=filled(trials.temperature),
        radiation=filled(trials.radiation),
        stage=np.where(np.isfinite(trials.leaf_area_index), trials.stage, np.nan),
    )
    engine = Engine(crop_growth(stages=StageCurve()), data)
    found = {}
    start = None
    for name in names:
        out = trials.names.index(name)
        found[name], start = predict(trials, engine, out, start=start, draws=draws, seed=seed)
        if progress:
            value = trials.leaf_area_index[out][np.isfinite(trials.leaf_area_index[out])]
            errors = {m: round(rmse(value, d.mean(1)), 2) for m, d in found[name].draws.items() if np.isfinite(d).all()}
            print(name, errors, file=sys.stderr, flush=True)
    rows = {name: np.flatnonzero(np.isfinite(trials.leaf_area_index[trials.names.index(name)])) for name in names}
    at = [(trials.names.index(name), rows[name]) for name in names]
    truth, number = (np.concatenate([x[i, days] for i, days in at]) for x in (trials.leaf_area_index, trials.number))
    trial = np.concatenate([np.full(rows[name].size, name) for name in names])
    whole = {method: np.concatenate([found[name].draws[method] for name in names]) for method in found[names[0]].draws}
    said = {method: np.isfinite(draws).all(1) for method, draws in whole.items()}
    report: dict[str, Any] = {"sets": {}}
    parts = {"with growth stage": said["stage curve"], "all": np.ones(truth.size, bool)}
    for k in KNOWN:
        one = "1 own date" if k == 1 else f"{k} own dates"
        parts[f"after {one}, with growth stage"] = said["stage curve"] & said[f"SAFY, weather, {one}"]
    for part, wanted in parts.items():
        table: dict[str, Any] = {}
        for method, values in whole.items():
            if wanted.any() and said[method][wanted].all():
                table[method] = scores(truth[wanted], values[wanted], trial[wanted], number[wanted])
        report["sets"][part] = table
    report["notes"] = {name: found[name].notes for name in names}
    return report, found


def table(report: dict[str, Any]) -> str:
    """A table for each set of rows, as markdown."""
    text = []
    for part, methods in report["sets"].items():
        if not methods:
            continue
        n = next(iter(methods.values()))["rows"]
        text.append(
            f"Rows {part}: {n}\n\n| | RMSE (90 % over trials) | mean over trials | bias | CRPS | covered | width |"
        )
        text[-1] += "\n|---|---|---|---|---|---|---|"
        for method, s in methods.items():
            low, high = s["rmse_interval"]
            text[-1] += (
                f"\n| {method} | {s['rmse']:.2f} ({low:.2f}–{high:.2f}) | {s['rmse_mean_of_trials']:.2f} | "
                f"{s['bias']:+.2f} | {s['crps']:.2f} | {s['coverage']:.0%} | {s['width']:.2f} |"
            )
    return "\n\n".join(text) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    parser.add_argument("--trials", nargs="+", metavar="NAME", help="trials to leave out; default all")
    parser.add_argument("--draws", type=int, default=2000, help="draws of each prediction")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file; table (.md) and figure (.png) go beside it")
    given = parser.parse_args(arguments)
    if given.data is None or not given.data.is_dir():
        raise SystemExit("expected the folder of the measurements; set RELEO_DATA_DIR or give --data")
    trials = read_trials(given.data)
    report, found = compare(trials, given.trials or trials.names, draws=given.draws, seed=given.seed, progress=True)
    report = {"seed": given.seed, "draws": given.draws, "machine": machine(("numpyro", "scipy", "pandas"))} | report
    print(table(report))
    if given.output:
        rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
        given.output.write_text(json.dumps(rounded, indent=1) + "\n")
        given.output.with_suffix(".md").write_text(table(report))
        plot_trials(trials, found, FIRST).savefig(given.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
