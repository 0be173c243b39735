"""Methods that tell NDVI on a date from the other dates: lines, Whittaker's smoother, Gaussian processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from releo_jax.gp import Kernel, Marginals, Markov, Matern12, Periodic, Sites

SMOOTHNESS = 10.0 ** np.arange(-1.0, 8.5, 0.5)  # days³, from almost lines to almost one line
_LEARNED_FROM = 100  # pixels
_STEPS = 100
_RATE = 0.1


class Patch(NamedTuple):
    """Series of the pixels of one place.

    Attributes:
        day: rising `(date,)`.
        ndvi: NaN where unknown `(date, pixel)`.
        clear: what the mask lets through `(date, pixel)`.
        cloudy: share of all pixels that the mask does not let through `(date,)`.
    """

    day: np.ndarray
    ndvi: np.ndarray
    clear: np.ndarray
    cloudy: np.ndarray


class Normal(NamedTuple):
    """What a method says of a date, `(pixel,)` each.

    Attributes:
        mean: expected value.
        std: standard deviation of a new measurement; None where the method states none.
    """

    mean: np.ndarray
    std: np.ndarray | None


Method = Callable[[Patch, int], Mapping[str, Normal]]
"""From a patch and the date to tell, whose values are hidden, to what the method and its variants say."""


def linear(patch: Patch, date: int) -> dict[str, Normal]:
    """Straight lines between the clear dates of each pixel, level beyond the first and the last."""
    found = np.full(patch.ndvi.shape[1], np.nan)
    patterns, which = np.unique(patch.clear, axis=1, return_inverse=True)
    for number, known in enumerate(patterns.T):
        if known.any():
            days = patch.day[known]
            weights = [np.interp(patch.day[date], days, one) for one in np.eye(days.size)]
            found[which == number] = np.array(weights) @ patch.ndvi[known][:, which == number]
    return {"straight lines": Normal(found, None)}


def roughness(day: np.ndarray) -> np.ndarray:
    """Quadratic form of the squared second derivative, by divided differences at uneven days: `(date, date)`."""
    gap = np.diff(day)
    rows = np.zeros((day.size - 2, day.size))
    middle = 0.5 * (gap[1:] + gap[:-1])
    for i in range(day.size - 2):
        rows[i, i : i + 3] = 1.0 / gap[i], -1.0 / gap[i] - 1.0 / gap[i + 1], 1.0 / gap[i + 1]
    return (rows / middle[:, None]).T @ rows


def whittaker(patch: Patch, date: int) -> dict[str, Normal]:
    """Penalised least squares; the penalty is the one with which clear dates, left out in turn, are told best.

    Raises:
        ValueError: two dates on one day.

    References:
        Eilers 2003, A perfect smoother, Anal. Chem. 75, 3631.
    """
    if np.any(np.diff(patch.day) <= 0.0):
        raise ValueError("whittaker: expected days that differ; drop or average the dates of one day")
    penalty = roughness(patch.day)
    patterns, which = np.unique(patch.clear, axis=1, return_inverse=True)
    values = np.where(patch.clear, patch.ndvi, 0.0)
    squares, smooth = np.zeros(SMOOTHNESS.size), np.full((SMOOTHNESS.size, values.shape[1]), np.nan)
    for number, known in enumerate(patterns.T):
        if known.sum() < 3:
            continue
        mine = which == number
        for i, weight in enumerate(SMOOTHNESS):
            hat = np.linalg.inv(np.diag(known.astype(float)) + weight * penalty)[:, known]
            fitted = hat @ values[known][:, mine]
            smooth[i, mine] = fitted[date]
            # A date that is left out moves by its residual over one minus its leverage.
            own = np.diagonal(hat[known])
            squares[i] += (((fitted[known] - values[known][:, mine]) / (1.0 - own)[:, None]) ** 2).sum()
    return {"Whittaker": Normal(smooth[np.argmin(squares)], None)}


START = {
    "variance": -5.0,
    "scale": 3.0,
    "season": -4.0,
    "season_scale": -0.5,
    "noise": -5.0,
    "noise_cloudy": 1.0,
    "haze": 0.0,
}
"""Where the search begins: logarithms, but `noise_cloudy` (of a logarithm) and `haze` themselves."""

_LEAST_SCALE = 0.3  # of a season; the Fourier series of shorter ones is not accurate


def _kernel(parameters: Mapping[str, Array]) -> Kernel:
    """A process that forgets, and a level and a wave that repeat themselves every year."""
    size = {name: jnp.exp(parameters[name]) for name in ("variance", "scale", "season", "season_scale")}
    season = Periodic(size["season"], _LEAST_SCALE + size["season_scale"], harmonics=1)
    return Matern12(size["variance"], size["scale"]) + season


def _noise(parameters: Mapping[str, Array], cloudy: Array) -> Array:
    return jnp.exp(parameters["noise"] + parameters["noise_cloudy"] * cloudy)


def _sites(parameters: Mapping[str, Array], data: Mapping[str, Array]) -> Sites:
    """Pixels, less their means and what haze takes from the dates with clouds."""
    value = data["index"] - parameters["haze"] * data["cloudy"]
    time = jnp.broadcast_to(data["day"], value.shape)
    return Sites(time, value, _noise(parameters, data["cloudy"]), data["clear"])


@partial(jax.jit, static_argnames="steps")
def learned(data: Mapping[str, Array], *, steps: int = _STEPS) -> dict[str, Array]:
    """Parameters that all pixels share, of the largest evidence.

    Args:
        data: `index`, less the mean of its pixel, and `clear` `(pixel, date)`; `day` and `cloudy` `(date,)`.
        steps: of Adam.
    """
    optimiser = optax.adam(optax.cosine_decay_schedule(_RATE, steps))
    start = {name: jnp.asarray(value, data["index"].dtype) for name, value in START.items()}

    def loss(parameters: dict[str, Array]) -> Array:
        return -Markov(_kernel(parameters)).log_prob(_sites(parameters, data)).sum()

    def step(state: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        parameters, moments = state
        change, moments = optimiser.update(jax.grad(loss)(parameters), moments)
        return (optax.apply_updates(parameters, change), moments), None

    (found, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), None, length=steps)
    return found


@jax.jit
def _told(parameters: Mapping[str, Array], data: Mapping[str, Array]) -> Marginals:
    return Markov(_kernel(parameters)).condition(_sites(parameters, data)).at()


def gaussian_process(patch: Patch, date: int) -> dict[str, Normal]:
    """Each pixel by itself around its mean: a season, weather, noise, and clouds that make a date darker and noisier.

    The date to tell has the clouds of the others, or its own where they are known.

    Equation:
        ndvi = level + f(t) + haze c + e,  var e = exp(noise + noise_cloudy c),  c the share of clouds of the date;
        f of covariance Matern 1/2 plus a constant and one wave a year. All pixels share the parameters; each has its
        level.
    """
    level = np.nanmean(np.where(patch.clear, patch.ndvi, np.nan), 0)
    index = np.where(patch.clear, patch.ndvi - level, 0.0).T
    data = {
        "day": jnp.asarray(patch.day, jnp.float32),
        "cloudy": jnp.asarray(patch.cloudy, jnp.float32),
        "index": jnp.asarray(index, jnp.float32),
        "clear": jnp.asarray(patch.clear.T),
    }
    some = np.unique(np.linspace(0, level.size - 1, _LEARNED_FROM).astype(int))
    parameters = learned(data | {name: data[name][some] for name in ("index", "clear")})
    marginals = _told(parameters, data)
    mean, variance = level + np.asarray(marginals.mean)[:, date], np.asarray(marginals.variance)[:, date]

    haze, noise = (np.asarray(x) for x in (parameters["haze"] * data["cloudy"], _noise(parameters, data["cloudy"])))
    # A clear pixel of the others tells how cloudy a date is.
    weight = patch.clear.sum(1) / patch.clear.sum()
    expected = weight @ haze
    unknown = weight @ (noise + (haze - expected) ** 2)
    return {
        "Gaussian process": Normal(mean + expected, np.sqrt(variance + unknown)),
        "Gaussian process, clouds of the date known": Normal(mean + haze[date], np.sqrt(variance + noise[date])),
    }


METHODS: tuple[Method, ...] = (linear, whittaker, gaussian_process)
