"""Spring dates of PhenoCam sites: models of thermal time calibrated on some sites or years, scored on the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jax import Array
from numpyro.distributions import Distribution

from physics.phenology import (
    AlternatingChill,
    DayLengthThermalTime,
    ThermalTime,
    alternating_chill,
    day_length_thermal_time,
    thermal_time,
)
from releo_jax.distributions import TruncatedNormal
from releo_jax.metrics import bias, bootstrap, coverage, crps, mean_width, rmse
from releo_jax.systems.spring import calibrate, predict

LEVEL = 0.9
VEGETATION = {"DB": "deciduous broadleaf", "GR": "grassland", "EN": "evergreen needleleaf"}
CHOSEN = "chosen by evidence"
_DAYS = -60, 200  # of the drivers that are used: from 1 November to when every tree has leaves
_NEAR = 0.3  # degrees: sites closer to each other are one place


class Spring(NamedTuple):
    """Rows of one kind of vegetation, a site in a year each.

    Attributes:
        date: start of the season, day of the year.
        site, place, year: numbers of the groups that are left out.
        winter: mean temperature of January to April, degrees Celsius.
        latitude: degrees.
        temperature, day_length: daily `(row, day)`, None where there are none; degrees Celsius and hours.
        first: start of their first day, day of the year.
        climate: mean of the daily temperatures of all years of the site.
    """

    date: np.ndarray
    site: np.ndarray
    place: np.ndarray
    year: np.ndarray
    winter: np.ndarray
    latitude: np.ndarray
    temperature: np.ndarray | None = None
    day_length: np.ndarray | None = None
    first: float = 0.0
    climate: np.ndarray | None = None


def read_spring(data: Path) -> dict[str, Spring]:
    """PhenoCam rows by vegetation; deciduous ones with their daily drivers.

    Raises:
        ValueError: drivers and rows do not belong together.
    """
    folder = data / "phenology"
    table = pd.read_csv(folder / "phenocam_spring_dates.csv")
    drivers = np.load(folder / "phenocam_deciduous_drivers.npz")
    found = {}
    for code in VEGETATION:
        rows = table[table["veg"] == code]
        site, names = pd.factorize(rows["site"])
        where = rows[["lat", "lon"]].to_numpy(float)
        found[code] = Spring(
            rows["sos_doy"].to_numpy(float),
            site,
            _places(where),
            rows["year"].to_numpy(int),
            rows["tmean_jan_apr"].to_numpy(float),
            where[:, 0],
        )
    spring, day = found["DB"], drivers["doy"].astype(int)
    temperature = drivers["tmean"].T.astype(float)
    winter = temperature[:, (day >= 1) & (day <= 120)].mean(1)
    longest = _day_length(spring.latitude, 172)
    same = temperature.shape[0] == spring.date.size and np.all(np.abs(winter - spring.winter) < 0.6)
    if not same or np.any(np.abs(drivers["daylength"][day == 172][0] - longest) > 0.2):
        raise ValueError("expected drivers in the order of the deciduous rows, got others; match them by temperature")
    climate = np.array([temperature[spring.site == one].mean() for one in spring.site])
    used = (day >= _DAYS[0]) & (day <= _DAYS[1])
    found["DB"] = spring._replace(
        temperature=temperature[:, used].astype(np.float32),
        day_length=drivers["daylength"].T[:, used].astype(np.float32),
        first=float(_DAYS[0]),
        climate=climate,
    )
    return found


def _places(where: np.ndarray) -> np.ndarray:
    """Numbers of the places `(row,)`: rows at less than `_NEAR` degrees from another one of a place belong to it."""
    place = np.arange(len(where))
    for _ in range(len(where)):
        near = np.abs(where[:, None] - where).max(-1) < _NEAR
        joined = np.where(near, place[None], len(where)).min(1)
        if np.array_equal(joined, place):
            break
        place = joined
    return np.unique(place, return_inverse=True)[1]


def _day_length(latitude: np.ndarray, day: int) -> np.ndarray:
    """Hours, to see which site a driver belongs to."""
    declination = -np.radians(23.44) * np.cos(2.0 * np.pi * (day + 10) / 365.0)
    return 24.0 / np.pi * np.arccos(-np.tan(np.radians(latitude)) * np.tan(declination))


class Candidate(NamedTuple):
    """A model of spring dates.

    Attributes:
        dates: from rows to a function of parameters.
        prior: of the parameters.
    """

    dates: Callable[[Spring], Callable[[Mapping[str, Array]], Array]]
    prior: Mapping[str, Distribution]


def _linear(*names: str) -> Candidate:
    def dates(rows: Spring) -> Callable[[Mapping[str, Array]], Array]:
        columns = {name: jnp.asarray(_centred(rows, name), jnp.float32) for name in names}
        return lambda p: (
            p["level"] * jnp.ones(rows.date.size) + sum((p[name] * column for name, column in columns.items()), 0.0)
        )

    slopes = {name: dist.Normal(0.0, 5.0) for name in names}
    return Candidate(dates, {"level": dist.Normal(120.0, 40.0), **slopes})


def _centred(rows: Spring, name: str) -> np.ndarray:
    """Temperatures in units of a degree about 0 and 9, latitudes about 42 degrees: numbers that no date decides."""
    values = getattr(rows, name)
    assert values is not None
    return np.asarray(values - {"winter": 0.0, "latitude": 42.0, "climate": 9.0}[name])


_START = TruncatedNormal(30.0, 40.0, low=-60.0, high=130.0)
_BASE = TruncatedNormal(3.0, 4.0, low=-8.0, high=12.0)
_WARMTH = {"start": _START, "base_temperature": _BASE, "requirement": dist.LogNormal(np.log(250.0), 0.8)}


def _thermal(rows: Spring) -> Callable[[Mapping[str, Array]], Array]:
    return lambda p: (
        thermal_time(ThermalTime(**{name: p[name] for name in _WARMTH}), _of(rows).temperature, first=rows.first).date
    )


def _of(rows: Spring) -> Any:
    assert rows.temperature is not None and rows.day_length is not None
    return rows


def _day_length_model(climate: bool) -> Callable[[Spring], Callable[[Mapping[str, Array]], Array]]:
    def dates(rows: Spring) -> Callable[[Mapping[str, Array]], Array]:
        warmer = jnp.asarray(_centred(rows, "climate"), jnp.float32)

        def at(p: Mapping[str, Array]) -> Array:
            # The requirement is that of days of twelve hours: in units of ten it goes with the exponent.
            spring = DayLengthThermalTime(
                start=p["start"],
                base_temperature=p["base_temperature"],
                day_length_exponent=p["day_length_exponent"],
                requirement=p["requirement"] * 1.2 ** p["day_length_exponent"],
            )
            date = day_length_thermal_time(spring, _of(rows).temperature, _of(rows).day_length, first=rows.first).date
            return date + p["climate"] * warmer if climate else date

        return at

    return dates


def _alternating(rows: Spring) -> Callable[[Mapping[str, Array]], Array]:
    names = (*_WARMTH, "chill_effect", "chill_rate")

    def at(p: Mapping[str, Array]) -> Array:
        # From 1 November on, as published.
        spring = AlternatingChill(chill_start=jnp.full_like(p["start"], -60.0), **{name: p[name] for name in names})
        return alternating_chill(spring, _of(rows).temperature, first=rows.first).date

    return at


_EXPONENT = {"day_length_exponent": TruncatedNormal(4.0, 5.0, low=0.0, high=20.0)}
_CHILL = {"chill_effect": dist.LogNormal(np.log(300.0), 1.0), "chill_rate": dist.LogNormal(np.log(0.02), 0.7)}

CANDIDATES: dict[str, Candidate] = {
    "linear in January to April": _linear("winter"),
    "thermal time": Candidate(_thermal, _WARMTH),
    "alternating chill": Candidate(_alternating, _WARMTH | _CHILL),
    "day length": Candidate(_day_length_model(False), _WARMTH | _EXPONENT),
    "day length and climate": Candidate(
        _day_length_model(True), _WARMTH | _EXPONENT | {"climate": dist.Normal(0.0, 2.0)}
    ),
}
DEAR = "alternating chill", "day length and climate"
"""Candidates that are calibrated by request."""

OTHERS: dict[str, Candidate] = {
    "linear in January to April": _linear("winter"),
    "linear in January to April and latitude": _linear("winter", "latitude"),
}


def folds(groups: np.ndarray) -> np.ndarray:
    """Rows to learn from `(fold, row)`, one fold without each group."""
    return np.asarray(groups[None] != np.unique(groups)[:, None])


def baselines(rows: Spring, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Predictions `(row,)` of the mean of the other rows, and of a line by least squares through them."""
    one = np.ones(rows.date.size)
    columns = {"mean": one[:, None], "least squares": np.stack([one, rows.winter], 1)}
    found = {name: np.full(rows.date.size, np.nan) for name in columns}
    for learn in folds(groups):
        for name, x in columns.items():
            found[name][~learn] = x[~learn] @ np.linalg.lstsq(x[learn], rows.date[learn], rcond=None)[0]
    return found


def scores(rows: Spring, draws: np.ndarray) -> dict[str, Any]:
    """Scores of draws `(row, draw)`."""
    mean = draws.mean(1)
    lower, upper = np.quantile(draws, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2), axis=1)
    return {
        "rmse": rmse(rows.date, mean),
        "rmse_interval": list(bootstrap(rmse, rows.date, mean, groups=rows.site, level=LEVEL)),
        "bias": bias(rows.date, mean),
        "crps": crps(rows.date, draws),
        "coverage": coverage(rows.date, lower, upper),
        "width": mean_width(lower, upper),
    }


def held_out(rows: Spring, groups: np.ndarray, candidate: Candidate, *, key: Array, n: int) -> tuple[np.ndarray, Any]:
    """Predictive draws `(row, draw)` of every row from the fold without its group, and the calibration of the folds."""
    learn = folds(groups)
    key_fit, key_draw = jax.random.split(key)
    fitted = calibrate(candidate.dates(rows), candidate.prior, rows.date, learn, rows.site, key=key_fit)
    found = np.asarray(predict(fitted, key=key_draw, n=n))
    fold, row = np.nonzero(~learn)
    draws = np.empty((rows.date.size, n))
    draws[row] = found[fold, :, row]
    return draws, fitted


def compare_spring(
    rows: Spring, groups: np.ndarray, candidates: Mapping[str, Candidate], *, seed: int, n: int = 100
) -> dict[str, Any]:
    """Scores of all candidates, of the baselines, and of the candidate that the evidence of each fold chooses."""
    report: dict[str, Any] = {}
    for name, prediction in baselines(rows, groups).items():
        report[name] = {"rmse": rmse(rows.date, prediction), "bias": bias(rows.date, prediction)}
        report[name]["crps"] = float(np.mean(np.abs(prediction - rows.date)))
    draws, evidence = {}, {}
    for number, (name, candidate) in enumerate(candidates.items()):
        key = jax.random.fold_in(jax.random.key(seed), number)
        draws[name], fitted = held_out(rows, groups, candidate, key=key, n=n)
        evidence[name] = np.asarray(fitted.log_evidence)
        report[name] = scores(rows, draws[name]) | {
            "parameters": {site: float(np.median(value)) for site, value in fitted.median.items()},
            "converged": float(np.mean(fitted.converged)),
        }
    best = np.argmax(np.stack(list(evidence.values())), 0)
    fold = np.unique(groups, return_inverse=True)[1]
    mixed = np.stack(list(draws.values()))[best[fold], np.arange(rows.date.size)]
    counts = np.bincount(best, minlength=len(draws))
    report[CHOSEN] = scores(rows, mixed) | {"folds": dict(zip(draws, counts.tolist(), strict=True))}
    return report
