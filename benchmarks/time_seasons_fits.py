"""Seasons of simulated series: Pheno-VAEs, the No-U-Turn sampler and bounded least squares on the same pixels."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import least_squares

from benchmarks.time_seasons_trained import DATES, Setting, Simulated
from physics.phenology import OrderedSeason, ordered_logistic
from releo_jax.inference import fit_nuts
from releo_jax.inference.amortized import AmortizedPosterior
from releo_jax.metrics import bias, c2st, coverage, crps, mean_width, rmse
from releo_jax.observations import Observations
from releo_jax.systems.phenology import HALFWAY, MARGIN, RECORD, season_dates, season_series

LEVEL = 0.9
SITES = ("baseline", "first_rise", "amplitude", "rise", "plateau", "fall")
_TAILS = 0.5 - LEVEL / 2, 0.5 + LEVEL / 2
_MOST = 1.05  # R-hat of pixels that count as a reference


class Told(NamedTuple):
    """What a method says of the seasons of pixels.

    Attributes:
        estimate: sites and dates `(pixel,)`: the posterior's mean, or the least squares.
        draws: of its law `(draw, pixel)`.
        seconds: of the processor.
        by_estimate: whether the estimate is one curve's, and not a mean of draws.
    """

    estimate: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]
    seconds: float
    by_estimate: bool = False


def by_draws(draws: Mapping[str, Any], seconds: float) -> Told:
    """Of a posterior known by draws."""
    arrays = {name: np.asarray(value) for name, value in draws.items()}
    return Told({name: value.mean(0) for name, value in arrays.items()}, arrays, seconds)


def amortised(system: AmortizedPosterior, data: Observations, *, key: Array, draws: int) -> Told:
    """By a trained system; its second run is timed."""

    def run() -> dict[str, Array]:
        return jax.block_until_ready(system(data).sample(key, draws, sites=[*SITES, *DATES]))

    run()
    start = time.process_time()
    drawn = run()
    return by_draws(drawn, time.process_time() - start)


def sampled(
    setting: Setting, data: Observations, *, key: Array, draws: int, warmup: int
) -> tuple[Told, dict[str, np.ndarray]]:
    """By the No-U-Turn sampler in four chains, `draws` together; with R-hat and divergences of the pixels.

    The time holds that of the compilation.
    """
    model = season_series(setting.prior, noise=setting.noise)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fit_nuts")  # what they tell is returned
        posterior = fit_nuts(model, data, key=key, draws=-(-draws // 4), warmup=warmup, max_pixels=1000, reference=0)
    told = by_draws({name: posterior.draws[name] for name in (*SITES, *DATES)}, time.process_time() - start)
    return told, {name: np.asarray(posterior.diagnostics[name]) for name in ("r_hat", "divergences")}


def _season(p: Array) -> OrderedSeason:
    baseline, first_rise, amplitude, rise, plateau, fall = jnp.moveaxis(p, -1, 0)
    maturity = first_rise + 0.5 * rise
    return OrderedSeason(
        minimum=baseline,
        maximum=baseline + amplitude,
        greenup=maturity - rise,
        maturity=maturity,
        senescence=maturity + plateau,
        dormancy=maturity + plateau + fall,
    )


@jax.jit
def curves(p: Array, days: Array) -> Array:
    """Curves `(*batch, date)` of parameters `(*batch, 6)`, in the order of `SITES`."""
    return ordered_logistic(_season(p), days)


_slopes = jax.jit(jax.jacfwd(curves))


@partial(jax.jit, static_argnames=("first", "last"))
def _follow(p: Array, *, first: float, last: float) -> dict[str, Array]:
    """Sites and dates of parameters `(pixel, 6)`."""
    season = _season(p)
    found = jax.vmap(lambda one: season_dates(one, first=first, last=last, dates=HALFWAY))(season)
    named = {name: getattr(season, name) for name in DATES[:4]}
    return dict(zip(SITES, p.T, strict=True)) | named | {"start_of_season": found.start, "end_of_season": found.end}


def bounds(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the prior's intervals `(6,)`, in the order of `SITES`."""
    supports = [setting.prior[name].support for name in SITES]
    return np.array([float(s.lower_bound) for s in supports]), np.array([float(s.upper_bound) for s in supports])


def squares(setting: Setting, data: Observations, *, seed: int, draws: int, starts: int = 8) -> Told:
    """Bounded least squares of each pixel from several starts; its law is normal by the Jacobian, cut at the bounds.

    Starts are uniform within the bounds. A direction that the data do not tell has the deviation of the bounds' whole
    width, instead of an infinite one.

    Args:
        setting: prior whose bounds hold, and noise.
        data: series.
        seed: of starts and draws.
        draws: of the law.
        starts: of each pixel; the best end counts.

    Equation:
        covariance = (J^T J / noise^2 + diag(width of the bounds)^-2)^-1
    """
    low, high = bounds(setting)
    record = data[RECORD]
    clear = np.asarray(record.mask[..., 0])
    weight = clear / setting.noise
    values, days = np.asarray(record.values[..., 0], float), np.asarray(record.time, float)  # type: ignore[union-attr]
    rng = np.random.default_rng(seed)
    best, laws = np.empty((len(clear), low.size)), np.empty((draws, len(clear), low.size))
    with jax.enable_x64(True):
        curves(low, days[0]), _slopes(low, days[0])
        start = time.process_time()
        for pixel in range(len(clear)):
            ends = [
                least_squares(
                    lambda p, i=pixel: weight[i] * (np.asarray(curves(p, days[i])) - values[i]),
                    rng.uniform(low, high),
                    lambda p, i=pixel: weight[i][:, None] * np.asarray(_slopes(p, days[i])),
                    bounds=(low, high),
                    x_scale=high - low,
                    max_nfev=100,
                )
                for _ in range(starts)
            ]
            end = min(ends, key=lambda one: one.cost)
            covariance = np.linalg.inv(end.jac.T @ end.jac + np.diag((high - low) ** -2.0))
            best[pixel] = end.x
            laws[:, pixel] = rng.multivariate_normal(end.x, covariance, size=draws, method="cholesky")
        seconds = time.process_time() - start
    last = high[1] + MARGIN + high[3:].sum()
    follow = partial(_follow, first=float(low[1] - MARGIN), last=float(last))
    estimate = jax.device_get(follow(jnp.asarray(best, jnp.float32)))
    cut = np.clip(laws, low, high).astype(np.float32)
    parts = [jax.device_get(follow(jnp.asarray(one))) for one in cut.reshape(-1, *cut.shape[1:])]
    return Told(estimate, {name: np.stack([part[name] for part in parts]) for name in estimate}, seconds, True)


def scores(told: Told, truth: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Scores of every date, and seconds of the processor for a thousand pixels."""
    found: dict[str, Any] = {}
    for name in (*DATES, *SITES):
        lower, upper = np.quantile(told.draws[name], _TAILS, axis=0)
        found[name] = {
            "rmse": rmse(truth[name], told.estimate[name]),
            "bias": bias(truth[name], told.estimate[name]),
            "crps": crps(truth[name], told.draws[name].T),
            "coverage": coverage(truth[name], lower, upper),
            "width": mean_width(lower, upper),
        }
    return found | {"seconds_per_1000": 1000.0 * told.seconds / truth[DATES[0]].size}


def agreement(told: Told, reference: Told, usable: np.ndarray, *, tests: int, seed: int) -> dict[str, Any]:
    """How far a law is from that of the sampler.

    Args:
        told: law of a method.
        reference: that of the sampler.
        usable: pixels whose chains agree `(pixel,)`.
        tests: pixels on which a classifier tries to tell the draws of all sites apart.
        seed: of the classifier.

    Returns:
        By date the mean over pixels of `shift`, the distance of the medians in deviations of the reference, and the
        median of `spread`, the ratio of the deviations; of the classifier the mean `accuracy` (0.5: it cannot tell
        them apart) and how many of the pixels it cannot tell.
    """
    found: dict[str, Any] = {}
    for name in DATES:
        mine, theirs = told.draws[name][:, usable], reference.draws[name][:, usable]
        distance = np.abs(np.median(mine, 0) - np.median(theirs, 0))
        found[name] = {
            "shift": float(np.mean(distance / theirs.std(0))),
            "spread": float(np.median(mine.std(0) / theirs.std(0))),
        }
    together = [np.stack([one.draws[name] for name in SITES], -1) for one in (told, reference)]
    results = [c2st(together[0][:, i], together[1][:, i], seed=seed) for i in np.flatnonzero(usable)[:tests]]
    if results:
        found["accuracy"] = float(np.mean([one.accuracy for one in results]))
        found["limit"] = results[0].limit
        found["not_told_apart"] = int(sum(one.within for one in results))
        found["pixels"] = len(results)
    return found


def compare(
    systems: Mapping[str, AmortizedPosterior],
    setting: Setting,
    series: Simulated,
    *,
    seed: int,
    draws: int = 1000,
    warmup: int = 300,
    tests: int = 10,
) -> dict[str, Any]:
    """All methods on the same series.

    Args:
        systems: trained, by family.
        setting: that they were trained for.
        series: with known seasons.
        seed: of all draws.
        draws: of each method.
        warmup: of the sampler.
        tests: pixels of the classifier.
    """
    key, *keys = jax.random.split(jax.random.key(seed), 1 + len(systems))
    told = {
        f"Pheno-VAE, {name}": amortised(system, series.data, key=one, draws=draws)
        for (name, system), one in zip(systems.items(), keys, strict=True)
    }
    told["least squares"] = squares(setting, series.data, seed=seed, draws=draws)
    reference, noticed = sampled(setting, series.data, key=key, draws=draws, warmup=warmup)
    usable = noticed["r_hat"] < _MOST
    return {
        "pixels": usable.size,
        "chains_agree": int(usable.sum()),
        "divergent": float(noticed["divergences"].sum() / (usable.size * reference.draws[DATES[0]].shape[0])),
        "scores": {name: scores(one, series.truth) for name, one in (told | {"NUTS": reference}).items()},
        "agreement": {
            name: agreement(one, reference, usable, tests=tests, seed=seed)
            for name, one in told.items()
            if usable.any()
        },
    }
