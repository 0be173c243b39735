"""Where a simulator is examined: the box of its prior, with faces, corners and the neighbourhood of the faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Prior: TypeAlias = Mapping[str, Any] | Callable[[], Any]
"""Bounds or distributions by name, or a NumPyro model."""

PLACES = ("inside", "near a face", "face", "corner")
_TAIL = 1e-3
"""Where a distribution has no bound, its box ends at this quantile."""


@dataclasses.dataclass(frozen=True)
class Box:
    """Names and bounds (parameter,) of the parameters; numbers that single precision holds exactly."""

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray

    @property
    def width(self) -> np.ndarray:
        """Extent (parameter,)."""
        return self.high - self.low


@dataclasses.dataclass(frozen=True)
class Points:
    """Where errors are looked for.

    Attributes:
        values: parameters (point, parameter), numbers that single precision holds exactly.
        places: one of `PLACES` for each point.
        details: which face: `x = low`; empty inside and in corners.
    """

    values: np.ndarray
    places: np.ndarray
    details: tuple[str, ...]

    def describe(self, index: int) -> str:
        """Place of one point, in words."""
        return f"{self.places[index]} {self.details[index]}".strip()


def names_of(prior: Prior) -> tuple[str, ...]:
    """Names of the parameters, in the order of the columns."""
    return tuple(prior) if isinstance(prior, Mapping) else tuple(_sites(prior))


def box_of(prior: Prior) -> Box:
    """Bounds of a prior; where a distribution has none, its quantiles of 0.1 and 99.9 %.

    Raises:
        ValueError: a parameter without extent, or one that is not a scalar.
    """
    laws: Mapping[str, Any] = prior if isinstance(prior, Mapping) else _sites(prior)
    if not laws:
        raise ValueError("expected at least one parameter in the prior, got none")
    drawn = None
    low, high = [], []
    for column, (name, law) in enumerate(laws.items()):
        if _is_bounds(law):
            ends = [float(law[0]), float(law[1])]
        else:
            ends = [float(getattr(law.support, side, np.inf)) for side in ("lower_bound", "upper_bound")]
            if not np.isfinite(ends).all():
                drawn = draw(prior, 4096, seed=0) if drawn is None else drawn
                tails = np.quantile(drawn[:, column], [_TAIL, 1.0 - _TAIL])
                ends = [end if np.isfinite(end) else tail for end, tail in zip(ends, tails, strict=True)]
        if not ends[0] < ends[1]:
            raise ValueError(f"{name}: expected a lower bound below the upper one, got {ends}")
        low.append(ends[0])
        high.append(ends[1])
    return Box(tuple(laws), _inwards(np.array(low), 1.0), _inwards(np.array(high), -1.0))


def draw(prior: Prior, n: int, *, seed: int) -> np.ndarray:
    """Parameters (n, parameter) from a prior, uniform between bounds; numbers that single precision holds exactly."""
    if isinstance(prior, Mapping) and all(_is_bounds(law) for law in prior.values()):
        box = box_of(prior)
        return _single(np.random.default_rng(seed).uniform(box.low, box.high, (n, len(box.names))))
    import jax
    from numpyro.infer import Predictive

    key = jax.random.key(seed)
    if not isinstance(prior, Mapping):
        sites = Predictive(prior, num_samples=n)(key)
        return _single(np.stack([np.asarray(sites[name]) for name in names_of(prior)], axis=1))
    import numpyro.distributions as dist

    laws = [dist.Uniform(*map(float, law)) if _is_bounds(law) else law for law in prior.values()]
    keys = jax.random.split(key, len(laws))
    return _single(np.stack([np.asarray(law.sample(k, (n,))) for law, k in zip(laws, keys, strict=True)], axis=1))


def points(box: Box, *, seed: int, inside: int = 64, on_face: int = 4, corners: int = 64) -> Points:
    """Points inside a box, on every face, at 1e-6, 1e-4 and 1e-2 of the width from every face, and in corners.

    Args:
        box: of the parameters.
        seed: of the coordinates that are not prescribed.
        inside: number of points inside.
        on_face: number on each face.
        corners: number of corners, drawn with repetition.
    """
    rng = np.random.default_rng(seed)
    count = len(box.names)

    def uniform(n: int) -> np.ndarray:
        return rng.uniform(box.low, box.high, (n, count))

    values, places, details = [uniform(inside)], ["inside"] * inside, [""] * inside
    for distances, place in ((np.zeros(on_face), "face"), (np.array([1e-6, 1e-4, 1e-2]), "near a face")):
        for column, name in enumerate(box.names):
            for side, start, inwards in (("low", box.low, 1.0), ("high", box.high, -1.0)):
                rows = uniform(distances.size)
                rows[:, column] = start[column] + inwards * distances * box.width[column]
                values.append(rows)
                places += [place] * distances.size
                details += [f"{name} = {side}"] * distances.size
    values.append(np.where(rng.random((corners, count)) < 0.5, box.low, box.high))
    places += ["corner"] * corners
    details += [""] * corners
    return Points(_single(np.concatenate(values)), np.array(places), tuple(details))


def _is_bounds(law: Any) -> bool:
    return isinstance(law, (tuple, list, np.ndarray)) and len(law) == 2


def _sites(model: Callable[[], Any]) -> dict[str, Any]:
    """Distributions of the unobserved sites of a model, in order."""
    from numpyro import handlers

    trace = handlers.trace(handlers.seed(model, 0)).get_trace()
    laws = {n: s["fn"] for n, s in trace.items() if s["type"] == "sample" and not s.get("is_observed")}
    shaped = {name: law.shape() for name, law in laws.items() if law.shape() != ()}
    if shaped:
        raise ValueError(f"expected scalar parameters in the prior, got sites with shapes {shaped}; give each a name")
    return laws


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(np.float64)


def _inwards(bounds: np.ndarray, direction: float) -> np.ndarray:
    """The nearest single-precision number within a bound: rounding must not leave the support."""
    rounded = bounds.astype(np.float32)
    outside = direction * (rounded.astype(np.float64) - bounds) < 0
    return np.where(outside, np.nextafter(rounded, np.float32(direction * np.inf)), rounded).astype(np.float64)
