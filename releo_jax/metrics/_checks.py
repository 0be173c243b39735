"""Checks of arguments that all scores share."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike


def aligned(name: str, **arrays: ArrayLike) -> list[np.ndarray]:
    """Arrays `(sample,)` in double precision without the samples where one of them is NaN."""
    made = {key: np.asarray(value, np.float64) for key, value in arrays.items()}
    shapes = {key: value.shape for key, value in made.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{name}: expected arrays of one shape, got {shapes}; give one value a sample")
    flat = [value.ravel() for value in made.values()]
    usable = ~functools.reduce(np.logical_or, (np.isnan(value) for value in flat))
    if not usable.any():
        raise ValueError(
            f"{name}: expected at least one sample without NaN, got {usable.size} samples and none; "
            f"check that {' and '.join(made)} belong together"
        )
    return [value[usable] for value in flat]


def check_level(name: str, level: float) -> None:
    """Raises unless a level is a probability strictly between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"{name}: expected a level between 0 and 1, got {level}; give 0.9 for 90 % intervals")


def truth_and_draws(
    name: str, truth: ArrayLike, draws: ArrayLike, *, keep_nan: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Truth `(sample, dimension)` and draws `(sample, draw, dimension)` in double precision.

    One dimension may be left out of both. Samples with NaN are left out unless `keep_nan`.
    """
    y, x = np.asarray(truth, np.float64), np.asarray(draws, np.float64)
    if (y.ndim, x.ndim) == (1, 2):
        y, x = y[:, None], x[..., None]
    if x.ndim != 3 or y.shape != (x.shape[0], x.shape[2]) or x.shape[1] < 2 or x.shape[2] < 1:
        raise ValueError(
            f"{name}: expected truth (sample, dimension) and draws (sample, draw, dimension) with two draws at least, "
            f"got {np.shape(truth)} and {np.shape(draws)}; transpose draws that come first"
        )
    usable = ~(np.isnan(y).any(1) | np.isnan(x).any((1, 2)))
    if not usable.any():
        raise ValueError(
            f"{name}: expected at least one sample without NaN, got none of {usable.size}; check the draws"
        )
    return (y, x) if keep_nan or usable.all() else (y[usable], x[usable])


def seeded(name: str, seed: int) -> np.random.Generator:
    """A generator for a whole number; a float or an array would be taken by NumPy in surprising ways."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"{name}: expected a seed that is a whole number >= 0, got {seed!r}; give seed=0")
    return np.random.default_rng(int(seed))
