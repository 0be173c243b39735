"""Seasons of pixels from irregular series of a vegetation index: the curve, its dates, and how sure they are.

    data = {"index": Series(ndvi[..., None], clear[..., None], days)}
    posterior = fit_laplace(season_series(season_prior(0.0, 365.0)), data, key=key)
    posterior.sample(key, 500, sites=["start_of_season", "end_of_season"])

Days count from an origin that the user states and run on over the end of a year: for a southern season, or one that
crosses the new year, nothing changes but that axis. Several seasons share their baseline and follow each other. The
dates of the curve are latent sites; those at which it crosses a threshold, or changes fastest, follow from it through
the implicit function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import Distribution

from physics.phenology import (
    OrderedSeason,
    SeasonDates,
    each_season,
    ordered_logistic,
    threshold_dates,
)
from physics.phenology import seasons as above_baseline
from physics.phenology.dates import Finder
from releo_jax.distributions import TruncatedNormal
from releo_jax.inference.structure import Model
from releo_jax.noise import gaussian, learned_noise
from releo_jax.observations import Observations, Series, observe
from releo_jax.priors import Prior, sample_params

RECORD = "index"
"""Name of the record in the observations."""

MARGIN = 180.0
"""Days before and after the interval in which dates are looked for: a season may begin on its first day."""

ErrorLaw = Callable[[Array, Array], Distribution]
HALFWAY: Finder[SeasonDates] = functools.partial(threshold_dates, share=0.5)


def season_prior(first: float, last: float, *, seasons: int = 1) -> Prior:
    """Weak prior of the seasons of a normalised difference index within an interval.

    Args:
        first, last: interval in which the middle of the first rise lies, days.
        seasons: number of seasons.

    Returns:
        Prior of `OrderedSeason` by `baseline`, `first_rise` (middle of the first rise), and of each season `amplitude`,
        `rise`, `plateau` and `fall` (days), and the `rest` before each season but the first. Several seasons have an
        axis `(season,)`. Exchange laws by `season_prior(...) | {"rise": ...}`.

    Raises:
        ValueError: no season, or an interval that ends before it begins.
    """
    if seasons < 1 or not first < last:
        raise ValueError(
            f"season_prior: expected first < last and one season at least, got {first}, {last} and {seasons}"
        )

    def each(law: Distribution, number: int = seasons) -> Distribution:
        return law if seasons == 1 else law.expand([number]).to_event(1)

    laws = {
        "baseline": TruncatedNormal(0.25, 0.2, low=-0.2, high=0.9),
        "first_rise": dist.Uniform(first, last),
        "amplitude": each(TruncatedNormal(0.45, 0.2, low=0.02, high=1.0)),
        "rise": each(TruncatedNormal(40.0, 20.0, low=5.0, high=120.0)),
        "plateau": each(TruncatedNormal(70.0, 40.0, low=5.0, high=200.0)),
        "fall": each(TruncatedNormal(50.0, 25.0, low=5.0, high=150.0)),
    }
    if seasons > 1:
        laws["rest"] = each(TruncatedNormal(60.0, 40.0, low=5.0, high=200.0), seasons - 1)
    derived = {
        "minimum": _level,
        "maximum": lambda minimum, amplitude: minimum + amplitude,
        "greenup": _only if seasons == 1 else _onsets,
        "maturity": lambda greenup, rise: greenup + rise,
        "senescence": lambda maturity, plateau: maturity + plateau,
        "dormancy": lambda senescence, fall: senescence + fall,
    }
    return Prior(laws, derived=derived)


def _level(baseline: Array, amplitude: Array) -> Array:
    """The baseline, for each season."""
    return jnp.broadcast_to(baseline.reshape(baseline.shape + (1,) * (amplitude.ndim - baseline.ndim)), amplitude.shape)


def _only(first_rise: Array, rise: Array) -> Array:
    return first_rise - 0.5 * rise


def _onsets(first_rise: Array, rise: Array, plateau: Array, fall: Array, rest: Array) -> Array:
    """First days of seasons that follow each other `(*batch, season)`."""
    onset = (first_rise - 0.5 * rise[..., 0])[..., None]
    return jnp.concatenate([onset, onset + jnp.cumsum((rise + plateau + fall)[..., :-1] + rest, -1)], -1)


def season_index(season: OrderedSeason, time: Array) -> Array:
    """Index of a pixel's seasons.

    Args:
        season: fields `(*batch)`, or `(*batch, season)` for dates with as many axes as `batch` has, one more.
        time: days `(*batch, date)`.

    Returns:
        Index `(*batch, date)`.
    """
    if season.greenup.ndim < time.ndim:
        return ordered_logistic(season, time)
    return above_baseline(ordered_logistic, season, time, baseline=season.minimum[..., 0])


def season_dates(season: OrderedSeason, *, first: float, last: float, dates: Finder[SeasonDates]) -> SeasonDates:
    """Dates of the seasons of one pixel, fields `()` or `(season,)`; each season is looked for between its neighbours.

    Args:
        season: of one pixel.
        first, last: interval, days.
        dates: what a start and an end of a season are.

    Returns:
        Dates of the fields' shape.
    """

    def curve(time: Array) -> Array:
        return season_index(season, time[None])[0]

    if season.greenup.ndim == 0:
        return dates(curve, first=first, last=last)
    middles = 0.5 * (season.maturity + season.senescence)
    return each_season(dates, curve, middles, first=first, last=last)


def season_series(
    prior: Prior,
    *,
    noise: float | None = None,
    error: ErrorLaw = gaussian,
    dates: Finder[SeasonDates] = HALFWAY,
) -> Model:
    """The NumPyro model function of a vegetation index over one or several seasons.

    Args:
        prior: as made by `season_prior`.
        noise: standard deviation, or scale, of the error, 1; None to learn one for all pixels (the site `noise`).
        error: law of the index around the curve, from the curve `(pixel, date, 1)` and the scale. Clouds that no mask
            found lower single values: `releo_jax.noise.student_t` pulls them less. Engines other than `fit_map` and
            `fit_laplace` take any law, a one-sided one too.
        dates: what a start and an end of a season are: `functools.partial(threshold_dates, share=0.2)`,
            `derivative_dates`, ...

    Returns:
        A model of observations with the record `index`, a `Series` of one band. Sites: those of the prior,
        `start_of_season` and `end_of_season` (days), `season_found` (1 where both exist) and `curve` `(pixel, date)`. A
        pixel without dates returns the prior.
    """
    support = prior["first_rise"].support
    first, last = float(support.lower_bound) - MARGIN, float(support.upper_bound) + MARGIN
    several = bool(prior["amplitude"].event_shape)
    # The last season ends before the latest that the bounds of all allow.
    spans = ("rise", "plateau", "fall", "rest") if several else ("rise", "plateau", "fall")
    last = last + sum(float(jnp.sum(_highest(prior[name]))) for name in spans)

    def model(data: Observations) -> None:
        record = data[RECORD]
        if not isinstance(record, Series) or record.values.shape[-1] != 1:
            raise ValueError(
                f"season_series: expected the record {RECORD!r} to be a Series of one band, got "
                f"{type(record).__name__} of shape {record.values.shape}; give the index as values[..., None]"
            )
        scale = learned_noise("noise", bands=1, median=0.04, spread=0.7) if noise is None else jnp.full(1, noise)
        with numpyro.plate("pixel", record.values.shape[0]):
            season = sample_params(OrderedSeason, prior=prior)
            curve = season_index(season, record.time)
            numpyro.deterministic("curve", curve)
            found = _dates_of_all(season, first=first, last=last, dates=dates)
            numpyro.deterministic("start_of_season", found.start)
            numpyro.deterministic("end_of_season", found.end)
            numpyro.deterministic("season_found", found.found.astype(curve.dtype))
            observe(RECORD, error(curve[..., None], scale), record)

    return model


@functools.partial(jax.jit, static_argnames=("first", "last", "dates"))
def _dates_of_all(season: OrderedSeason, *, first: float, last: float, dates: Finder[SeasonDates]) -> SeasonDates:
    """Dates of every pixel. Engines run the model many times: this part, the longest, is traced once."""
    return jax.vmap(lambda one: season_dates(one, first=first, last=last, dates=dates))(season)


def _highest(law: Distribution) -> Array:
    """Upper ends of the support of a law on an interval, of its event's shape."""
    support = getattr(law.support, "base_constraint", law.support)
    return jnp.broadcast_to(jnp.asarray(support.upper_bound), law.event_shape)
