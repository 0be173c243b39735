"""Water clouds of crops on real fields: free and Bayesian fits, and the moisture of each field by the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy import optimize

from benchmarks.radar import CropRows
from physics.microwave import RadarView
from releo_jax.inference import fit_nuts, fit_smc
from releo_jax.metrics import bias, coverage, crps, mean_width, rmse
from releo_jax.observations import Series, SingleDate
from releo_jax.systems.soil_moisture import (
    DRIEST,
    RECORD,
    WETTEST,
    FieldView,
    by_pixel,
    calibration,
    soil_moisture,
)

LEVEL = 0.9
LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)
C_BAND = 5.405  # GHz
INDEX = 0.5  # radar vegetation index of a dense canopy


class Budget(NamedTuple):
    """Work of the engines.

    Attributes:
        particles: of `fit_smc`, for the coefficients.
        moves: of each particle at each temperature.
        few: particles for the moisture of each row.
        draws: of the coefficients that retrieve each row.
        each: draws of the moisture with each of them.
    """

    particles: int = 256
    moves: int = 6
    few: int = 128
    draws: int = 12
    each: int = 50


COEFFICIENTS = ("scattering", "attenuation", "exponent", "offset", "slope", "noise")
_DRAWS = 1000

# Made once: engines know compiled programs by the model.
_CALIBRATION = calibration(("vv",))  # of any one band
RETRIEVAL = soil_moisture(("vv",))
FLAT = soil_moisture(("vv",), prior=dist.Uniform(DRIEST, WETTEST))

SHORT = Budget(particles=128, moves=3, few=64, draws=4, each=25)


def float32(array: Any) -> Any:
    """An array of any shape in single precision."""
    return jnp.asarray(np.asarray(array), jnp.float32)


def free_fit(
    decibels: np.ndarray,
    area: np.ndarray,
    moisture: np.ndarray,
    view: np.ndarray,
    *,
    starts: int = 1,
    start: np.ndarray | None = None,
) -> Any:
    """Free least squares of one band: five coefficients without a prior, the best of some starts.

    Args:
        decibels: `(row,)`.
        area: `(row,)`, m² m⁻².
        moisture: `(row,)`, m³ m⁻³.
        view: incidence `(row,)`, radian.
        starts: of the search.
        start: where it begins, in place of a draw.

    Returns:
        Coefficients, and a function from (area, moisture, view) and them to decibels.
    """

    def predict(p: np.ndarray, v: np.ndarray, m: np.ndarray, angle: np.ndarray) -> np.ndarray:
        through = np.exp(-2.0 * p[1] * v / np.cos(angle))
        cloud = p[0] * v ** p[2] * np.cos(angle) * (1.0 - through)
        return 10.0 * np.log10(cloud + through * 10.0 ** (0.1 * (p[3] + p[4] * m)))

    rng = np.random.default_rng(0)
    low, high = np.array([1e-9, 0.0, 0.0, -40.0, 0.0]), np.array([2.0, 5.0, 3.0, 10.0, 80.0])
    found = []
    drawn = rng.uniform([0.0, 0.0, 0.0, -20.0, 0.0], [0.3, 0.5, 1.5, -5.0, 40.0], (starts, 5))
    for begin in drawn if start is None else [start]:
        residual = lambda p: predict(p, area, moisture, view) - decibels  # noqa: E731
        inside = np.clip(begin, low + 1e-6, high - 1e-6)
        found.append(optimize.least_squares(residual, inside, bounds=(low, high), x_scale=(0.1, 0.1, 0.5, 5.0, 10.0)))
    return min(found, key=lambda one: one.cost).x, predict


class Campaign(NamedTuple):
    """Rows of one crop and band that teach together; `left` is the row left out, -1 for none, -2 for a transfer."""

    crop: int
    band: int
    left: int


def campaigns(sets: Sequence[CropRows]) -> tuple[list[Campaign], Series]:
    """Of each crop and band every measured row, all but one of them each, and the simulated rows where there are any.

    All are padded to one number of rows, so that one program fits them together.
    """
    size = max(rows.area.size for rows in sets)
    made, parts = [], []
    for crop, rows in enumerate(sets):
        measured = ~rows.simulated
        lefts = [-1, *np.flatnonzero(measured), *([-2] if rows.simulated.any() else [])]
        for band in range(len(rows.bands)):
            for left in lefts:
                mask = rows.simulated.copy() if left == -2 else measured.copy()
                if left >= 0:
                    mask[left] = False
                columns = (rows.decibels[:, band], mask, rows.incidence, rows.area, rows.moisture)
                parts.append([np.resize(column, size) for column in columns])
                parts[-1][1][rows.area.size :] = False
                made.append(Campaign(crop, band, int(left)))
    decibels, mask, incidence, area, moisture = (np.stack(part) for part in zip(*parts, strict=True))
    known = FieldView(RadarView.from_degrees(float32(incidence)), float32(area), float32(moisture))
    times = float32(np.broadcast_to(np.arange(size), mask.shape))
    return made, Series(float32(decibels[..., None]), jnp.asarray(mask[..., None]), times, known)


def interval_scores(truth: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Error of the mean, coverage and width of draws `(draw, row)`."""
    lower, upper = np.quantile(draws, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2), axis=0)
    curve = [np.quantile(draws, (0.5 - level / 2, 0.5 + level / 2), axis=0) for level in LEVELS]
    return {
        "rows": int(truth.size),
        "coverage": coverage(truth, lower, upper),
        "width": mean_width(lower, upper),
        "coverage_by_level": [coverage(truth, *ends) for ends in curve],
    }


class Fit(NamedTuple):
    """A calibrated crop.

    Attributes:
        report: figures by band, and of the retrieval.
        observed: dB `(row, band)`.
        predicted: draws of what would be measured, `(draw, row, band)`, each row with the coefficients of the others.
    """

    report: dict[str, Any]
    observed: np.ndarray
    predicted: np.ndarray


def fit_crops(sets: Sequence[CropRows], budget: Budget, seed: int, *, check: bool = False) -> dict[str, Fit]:
    """Calibrates crops, scores the fits, and retrieves the moisture of each row with the coefficients of the others."""
    keys = jax.random.split(jax.random.key(seed), 5)
    made, series = campaigns(sets)
    posterior = fit_smc(
        _CALIBRATION, {RECORD: series}, key=keys[0], particles=budget.particles, moves=budget.moves, reference=0
    )
    draws = {name: np.asarray(value)[..., 0] for name, value in posterior.sample(keys[1], _DRAWS).items()}
    fits = {}
    for crop, rows in enumerate(sets):
        mine = {c: number for number, c in enumerate(made) if c.crop == crop}
        fits[rows.name] = _fit(rows, crop, mine, draws, np.random.default_rng(seed))
    if check:
        whole = np.array([number for number, c in enumerate(made) if c.left == -1])
        few = {RECORD: jax.tree.map(lambda leaf: leaf[whole], series)}
        nuts = fit_nuts(_CALIBRATION, few, key=keys[2], draws=300, warmup=300, max_tree_depth=6, reference=0)
        for place, number in enumerate(whole):
            rows, use = sets[made[number].crop], ~sets[made[number].crop].simulated
            entry = fits[rows.name].report["bands"][rows.bands[made[number].band]]
            again = np.asarray(nuts.mean["backscatter"])[place, : use.size, 0][use]
            entry["nuts_rmse"] = rmse(rows.decibels[use, made[number].band], again)
            entry["nuts_r_hat"] = float(nuts.diagnostics["r_hat"][place])
    moistures = _crop_moistures(sets, made, draws, budget, keys[3])
    for name, found in moistures.items():
        fits[name].report["moisture"] = found
    return fits


def _fit(
    rows: CropRows, crop: int, number: Mapping[Campaign, int], draws: Mapping[str, np.ndarray], rng: np.random.Generator
) -> Fit:
    """Scores of one crop; `draws` of all campaigns `(draw, campaign, ...)`."""
    use = np.flatnonzero(~rows.simulated)
    observed, view = rows.decibels[use], np.radians(rows.incidence)
    state = (rows.area, rows.moisture, view)
    found: dict[str, Any] = {"bands": {}}
    predicted = np.empty((_DRAWS, *observed.shape))
    for band, name in enumerate(rows.bands):
        truth, whole = observed[:, band], number[Campaign(crop, band, -1)]
        left = np.array([number[Campaign(crop, band, int(row))] for row in use])
        normal = rng.standard_normal((_DRAWS, use.size))
        fitted, out = draws["backscatter"][:, whole, use], draws["backscatter"][:, left, use]
        predicted[:, :, band] = out + draws["noise"][:, left] * normal
        free, predict = free_fit(truth, *(part[use] for part in state), starts=12)
        others = []
        for row in range(use.size):
            kept = np.delete(use, row)
            refit = free_fit(rows.decibels[kept, band], *(part[kept] for part in state), start=free)[0]
            others.append(predict(refit, *(part[use[row] : use[row] + 1] for part in state))[0])
        entry: dict[str, Any] = {
            "deviation": float(truth.std()),
            "quoted": rows.quoted.get(name),
            "free": rmse(truth, predict(free, *(part[use] for part in state))),
            "free_left_out": rmse(truth, np.array(others)),
            "rmse": rmse(truth, fitted.mean(0)),
            "fit": interval_scores(truth, fitted + draws["noise"][:, whole, None] * normal),
            "left_out_rmse": rmse(truth, out.mean(0)),
            "left_out": interval_scores(truth, predicted[:, :, band]),
            "coefficients": {
                one: [float(draws[one][:, whole].mean()), float(draws[one][:, whole].std())] for one in COEFFICIENTS
            },
        }
        if rows.simulated.any():
            other = number[Campaign(crop, band, -2)]
            seen = draws["backscatter"][:, other, use]
            entry["transferred_rmse"] = rmse(truth, seen.mean(0))
            entry["transferred"] = interval_scores(truth, seen + draws["noise"][:, other, None] * normal)
        found["bands"][name] = entry
    return Fit(found, observed, predicted)


def _crop_moistures(
    sets: Sequence[CropRows],
    made: Sequence[Campaign],
    draws: Mapping[str, np.ndarray],
    budget: Budget,
    key: Any,
) -> dict[str, dict[str, Any]]:
    """Scores of the moisture of each row from vv, with the coefficients and the moistures of the others."""
    number = {campaign: place for place, campaign in enumerate(made)}
    parts: list[list[np.ndarray]] = []
    for crop, rows in enumerate(sets):
        use, band = np.flatnonzero(~rows.simulated), rows.bands.index("vv")
        truth = rows.moisture[use]
        others = [np.delete(truth, row) for row in range(use.size)]
        expected = np.array([[one.mean(), one.std(ddof=1)] for one in others])
        left = np.array([number[Campaign(crop, band, int(row))] for row in use])
        place = (rows.decibels[use, band, None], rows.incidence[use], rows.area[use])
        parts.append([truth, expected, left, np.full(use.size, crop), *place])
    columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    truth, expected, left, crop_of, decibels, incidence, area = columns
    coefficients = {name: draws[name][:, left, None] for name in COEFFICIENTS}
    posterior = retrieve(decibels, incidence, area, coefficients, expected, budget, key, model=RETRIEVAL)
    prior = normal_draws(expected, np.random.default_rng(0))
    return {
        rows.name: {
            name: scores(truth[crop_of == crop], found[crop_of == crop])
            for name, found in (("mean of the others", prior), ("posterior", posterior))
        }
        for crop, rows in enumerate(sets)
    }


# ---- retrieval


def retrieve(
    decibels: np.ndarray,
    incidence: np.ndarray,
    vegetation: np.ndarray,
    coefficients: dict[str, np.ndarray],
    expected: np.ndarray,
    budget: Budget,
    key: Any,
    *,
    model: Any,
) -> np.ndarray:
    """Draws of the moisture of rows, whose coefficients are known by draws.

    Args:
        decibels: `(row, band)`.
        incidence: degrees `(row,)`.
        vegetation: descriptor `(row,)`.
        coefficients: by name, draws `(draw, row, band)`.
        expected: mean and deviation of the prior `(row, 2)`, m³ m⁻³.
        budget: draws taken.
        key: random key.
        model: of `soil_moisture`.

    Returns:
        Draws `(row, draw)`; draws of the coefficients weigh the same whatever the row's own backscatter.
    """
    step = max(1, len(next(iter(coefficients.values()))) // budget.draws)
    chosen = {name: value[::step][: budget.draws] for name, value in coefficients.items()}
    times, rows = budget.draws, len(decibels)

    def every(values: np.ndarray) -> Any:
        return float32(np.tile(values, (times, *(1,) * (values.ndim - 1))))

    known = FieldView(
        RadarView.from_degrees(every(incidence)),
        every(vegetation),
        None,
        by_pixel({name: float32(value.reshape(times * rows, -1)) for name, value in chosen.items()}),
        (every(expected[:, 0]), every(expected[:, 1])),
    )
    data = {RECORD: SingleDate(every(decibels), None, known)}
    first, second = jax.random.split(key)
    # Where backscatter tells little the posterior is nearly the prior, cut at its ends: no normal law on any scale.
    posterior = fit_smc(model, data, key=first, particles=budget.few, moves=5, max_pixels=10_000, reference=0)
    draws = np.asarray(posterior.sample(second, budget.each, sites=["soil_moisture"])["soil_moisture"])
    return draws.reshape(budget.each, times, rows).transpose(2, 0, 1).reshape(rows, -1)


def normal_draws(expected: np.ndarray, rng: np.random.Generator, n: int = 800) -> np.ndarray:
    """Draws `(row, draw)` of normal laws by mean and deviation `(row, 2)`."""
    return expected[:, :1] + expected[:, 1:] * rng.standard_normal((len(expected), n))


def scores(truth: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Scores of draws `(row, draw)`, m³ m⁻³; a single draw is an estimate without an interval."""
    mean = draws.mean(1)
    correlation = float(np.corrcoef(truth, mean)[0, 1]) if mean.std() > 1e-9 else float("nan")
    found = {"rows": int(truth.size), "rmse": rmse(truth, mean), "bias": bias(truth, mean), "correlation": correlation}
    if draws.shape[1] == 1:
        return found | {"crps": float(np.mean(np.abs(truth - mean)))}
    lower, upper = np.quantile(draws, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2), axis=1)
    return found | {
        "crps": crps(truth, draws),
        "coverage": coverage(truth, lower, upper),
        "width": mean_width(lower, upper),
    }
