"""Soil moisture of one station from Sentinel-1, by years that a method has not seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.radar import StationRows
from benchmarks.soil_moisture_crops import (
    C_BAND,
    FLAT,
    INDEX,
    RETRIEVAL,
    Budget,
    float32,
    normal_draws,
    retrieve,
    scores,
)
from physics.microwave import RadarView, oh04
from releo_jax.inference import fit_map, fit_smc
from releo_jax.observations import Series, SingleDate
from releo_jax.systems.soil_moisture import (
    RECORD,
    FieldView,
    bare_soil,
    by_pixel,
    calibration,
    soil_moisture,
)


class Fold(NamedTuple):
    """Rows that teach and rows that are retrieved, boolean `(row,)`."""

    train: np.ndarray
    test: np.ndarray


def folds(rows: StationRows, scheme: str) -> list[Fold]:
    """By years: `earlier` years teach each from the third on, or all `other` years teach each."""
    year = rows.date.astype("datetime64[Y]").astype(int) + 1970
    known = np.isfinite(rows.moisture)
    years = np.unique(year)
    if scheme == "earlier":
        return [Fold(known & (year < one), known & (year == one)) for one in years[2:]]
    return [Fold(known & (year != one), known & (year == one)) for one in years]


def vegetation_index(decibels: np.ndarray) -> np.ndarray:
    """Dual-polarised radar vegetation index q (q + 3) / (1 + q)², q = VH / VV, from vv and vh in dB `(row, 2)`.

    Bhogapurapu et al. 2022, ISPRS J. Photogramm. Remote Sens. 178, 20-35 (for detected products).
    """
    ratio = 10.0 ** (0.1 * (decibels[:, 1] - decibels[:, 0]))
    return ratio * (ratio + 3.0) / (1.0 + ratio) ** 2


def on_one_orbit(rows: StationRows, train: np.ndarray) -> np.ndarray:
    """Decibels `(row, 2)` less what the second orbit has more on average, by the rows that teach."""
    more = rows.decibels[train & (rows.orbit == 1)].mean(0) - rows.decibels[train & (rows.orbit == 0)].mean(0)
    return rows.decibels - more * (rows.orbit == 1)[:, None]


def retrieve_station(rows: StationRows, made: list[Fold], budget: Budget, seed: int) -> dict[str, np.ndarray]:
    """Draws `(row, draw)` of the moisture of all rows that are retrieved, fold after fold, by method."""
    rng = np.random.default_rng(seed)
    seen = [on_one_orbit(rows, fold.train) for fold in made]
    expected, parts = [], {"mean": [], "line in vv and vh": [], "change detection": []}  # type: ignore[var-annotated]
    for fold, decibels in zip(made, seen, strict=True):
        moisture, test = rows.moisture[fold.train], decibels[fold.test]
        expected.append(np.tile([moisture.mean(), moisture.std(ddof=1)], (len(test), 1)))
        parts["mean"].append(normal_draws(expected[-1], rng))
        columns = np.column_stack([np.ones(fold.train.sum()), decibels[fold.train]])
        line = np.linalg.lstsq(columns, moisture, rcond=None)[0]
        spread = np.sqrt(((moisture - columns @ line) ** 2).sum() / (moisture.size - 3))
        parts["line in vv and vh"].append(_around(np.column_stack([np.ones(len(test)), test]) @ line, spread, rng))
        change = [_change(decibels[fold.train, 0], moisture, one[:, 0]) for one in (decibels[fold.train], test)]
        parts["change detection"].append(_around(change[1], np.sqrt(np.mean((change[0] - moisture) ** 2)), rng))
    found = {name: np.concatenate(part) for name, part in parts.items()}
    return found | _clouds(rows, made, seen, np.concatenate(expected), budget, seed)


def _around(mean: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    return normal_draws(np.column_stack([mean, np.full(mean.size, spread)]), rng)


def _change(decibels: np.ndarray, moisture: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Moisture between its 5th and 95th percentile as the backscatter lies between its own."""
    dry, wet = np.percentile(decibels, (5.0, 95.0))
    low, high = np.percentile(moisture, (5.0, 95.0))
    return low + (high - low) * np.clip((wanted - dry) / (wet - dry), 0.0, 1.0)


def _clouds(
    rows: StationRows, made: list[Fold], seen: list[np.ndarray], expected: np.ndarray, budget: Budget, seed: int
) -> dict[str, np.ndarray]:
    """The methods with a water cloud in vv, whose descriptor is the index; every fold is a campaign."""
    mask = np.stack([fold.train for fold in made])
    whole, index = np.stack([one[:, :1] for one in seen]), np.stack([vegetation_index(one) for one in seen])
    # The incidence of the station is not known: 38° stands for both orbits and scales the coefficients.
    angle = np.full(mask.shape, 38.0)
    measured = np.where(mask, np.broadcast_to(rows.moisture, mask.shape), 0.25)
    known = FieldView(RadarView.from_degrees(float32(angle)), float32(index), float32(measured))
    times = float32(np.broadcast_to(np.arange(mask.shape[1]), mask.shape))
    data = {RECORD: Series(float32(whole), jnp.asarray(mask[..., None]), times, known)}
    fold, row = np.nonzero(np.stack([one.test for one in made]))
    place = (whole[fold, row], angle[fold, row], index[fold, row])
    surfaces = {"water cloud": None, "water cloud over Oh 2004": bare_soil(oh04, frequency=C_BAND)}
    found = {}
    for number, (name, surface) in enumerate(surfaces.items()):
        keys = jax.random.split(jax.random.key(seed + number), 4)
        model = calibration(("vv",), surface=surface, reference=INDEX)
        inverse = RETRIEVAL if surface is None else soil_moisture(("vv",), surface=surface)
        posterior = fit_smc(model, data, key=keys[0], particles=budget.particles, moves=budget.moves, reference=0)
        draws = {one: np.asarray(value) for one, value in posterior.sample(keys[1], 1000).items()}
        names: tuple[str, ...] = ("scattering", "attenuation", "exponent", "noise")
        names += ("offset", "slope") if surface is None else ("rms_height",)
        by_row = {one: draws[one].reshape(*draws[one].shape[:2], -1)[:, fold] for one in names}
        if surface is None:
            middle = by_pixel({one: float32(value.mean(0)) for one, value in by_row.items()})
            view = FieldView(RadarView.from_degrees(float32(place[1])), float32(place[2]), None, middle)
            mode = fit_map(FLAT, {RECORD: SingleDate(float32(place[0]), None, view)}, key=keys[2], reference=0)
            found[f"{name}, least squares"] = np.asarray(mode.mean["soil_moisture"])[:, None]
        found[f"{name}, posterior"] = retrieve(*place, by_row, expected, budget, keys[3], model=inverse)
    return found


def score_station(rows: StationRows, budget: Budget, seed: int) -> dict[str, Any]:
    """Scores by scheme and method, of all dates and of those above freezing."""
    schemes = {scheme: folds(rows, scheme) for scheme in ("earlier", "other")}
    made = [fold for part in schemes.values() for fold in part]
    row = np.concatenate([np.flatnonzero(fold.test) for fold in made])
    scheme_of = np.concatenate([[scheme] * fold.test.sum() for scheme, part in schemes.items() for fold in part])
    draws = retrieve_station(rows, made, budget, seed)
    parts = {"all": np.ones(row.size, bool), "not frozen": ~rows.frozen[row]}
    return {
        scheme: {
            name: {part: scores(rows.moisture[row][mine & kept], found[mine & kept]) for part, kept in parts.items()}
            for name, found in draws.items()
        }
        for scheme in schemes
        for mine in (scheme_of == scheme,)
    }
