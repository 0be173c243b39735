"""Soil moisture of a simulated scene, from date to date.

Rain wets all fields alike; how much of it a field keeps is its own, and within a field moisture varies smoothly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from releo_jax.cubes.layout import smooth_field

RANGE = (0.03, 0.45)
"""Driest and wettest, m³ m⁻³."""

_MEMORY = 8.0  # days


def moisture_today(rng: np.random.Generator, parcel: np.ndarray) -> np.ndarray:
    """Soil moisture `(row, column)` on one date, m³ m⁻³, of fields with the numbers `parcel`."""
    return _moisture(_scores(rng, parcel))


def moisture_around(
    rng: np.random.Generator, parcel: np.ndarray, today: np.ndarray, days: Sequence[float]
) -> np.ndarray:
    """Soil moisture `(date, row, column)` some days before or after a date on which it is known.

    Equation:
        Logits of the share of the range forget as exp(-|t| / 8 days).
    """
    low, high = RANGE
    share = np.clip((today - low) / (high - low), 1e-6, 1.0 - 1e-6)
    known = np.log(share / (1.0 - share)) / _SLOPE
    dates = np.asarray(days, np.float64)
    from_today = np.exp(-np.abs(dates) / _MEMORY)
    between = np.exp(-np.abs(dates[:, None] - dates) / _MEMORY) - np.outer(from_today, from_today)
    root = np.linalg.cholesky(between + 1e-9 * np.eye(dates.size))
    fresh = np.stack([_scores(rng, parcel) for _ in days])
    return _moisture(from_today[:, None, None] * known + np.tensordot(root, fresh, 1))


_SLOPE = 1.7  # the logistic curve of a standard normal number is nearly uniform


def _moisture(score: np.ndarray) -> np.ndarray:
    low, high = RANGE
    return low + (high - low) / (1.0 + np.exp(-_SLOPE * score))


def _scores(rng: np.random.Generator, parcel: np.ndarray) -> np.ndarray:
    common, own = rng.standard_normal(), rng.standard_normal(int(parcel.max()) + 1)
    field: np.ndarray = 0.6 * common + 0.7 * own[parcel]
    return field + 0.4 * smooth_field(rng, parcel.shape, 0.03 * max(parcel.shape))
