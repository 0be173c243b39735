"""Can a classifier tell posterior draws from reference draws? The classifier two-sample test.

test = c2st(draws, reference)
test.accuracy                   # 0.5: it cannot; 1: it always can
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from releo_jax.metrics._checks import check_level, seeded

_FOLDS = 5
_WIDTH = 64
_BATCH = 256
_LOOKS, _STEPS = 30, 40
"""How often in the course of training the weights are judged, and steps of training before each time."""


@dataclasses.dataclass(frozen=True)
class TwoSampleTest:
    """How well a classifier tells draws from reference draws that it was not trained on.

    Attributes:
        within: whether the accuracy is no higher than chance allows for draws of the same law.
        accuracy: share of rows put right, 0.5 at least; 0.5 for the same law, 1 for laws without overlap.
        limit: accuracy that is exceeded with probability 1 - `level` for draws of the same law.
        level: probability that draws of the same law are found `within`.
        folds: accuracy in each of the folds, below 0.5 by chance `(fold,)`.
    """

    within: bool
    accuracy: float
    limit: float
    level: float
    folds: np.ndarray


def c2st(draws: ArrayLike, reference: ArrayLike, *, level: float = 0.95, seed: int = 0) -> TwoSampleTest:
    """Classifier two-sample test of draws of one posterior against reference draws, cross-validated in five folds.

    The classifier is a network with two hidden layers; weights are those that did best on a part of each training set.
    It may miss subtle differences: the accuracy is a lower bound of what can be told apart.

    Args:
        draws: `(draw, dimension)`, independent; 1000 at least for scores to report, 50 at the very least.
        reference: `(draw, dimension)`, of which as many are used.
        level: probability that draws of the same law are found `within`.
        seed: of the folds and of the training.

    Raises:
        ValueError: shapes that do not fit, too few draws, or values that are not finite.

    References:
        Lopez-Paz & Oquab 2017, ICLR; Lueckmann et al. 2021, AISTATS, PMLR 130, 343-351.
    """
    from releo_jax.metrics._classifier import classified_right  # loads jax and optax, which no other score needs

    check_level("c2st", level)
    a, b = np.asarray(draws, np.float64), np.asarray(reference, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1:] != b.shape[1:] or not a.shape[1]:
        raise ValueError(
            f"c2st: expected draws and reference (draw, dimension), got {a.shape} and {b.shape}; give one posterior at "
            "a time, the same parameters in both"
        )
    count = min(len(a), len(b))
    if count < 50 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(
            f"c2st: expected 50 finite draws of each at least (better 1000), got {count} of "
            f"{'finite' if np.isfinite(a).all() and np.isfinite(b).all() else 'not finite'} values; draw more"
        )
    rng = seeded("c2st", seed)
    # Chosen at random: the first draws of a chain are not like the others.
    a, b = (values[rng.permutation(len(values))[:count]] for values in (a, b))
    count -= count % _FOLDS  # folds of one size, as many rows of each class in all of them
    rows = np.concatenate([a[:count], b[:count]])
    spread = rows.std(0)
    x = ((rows - rows.mean(0)) / np.where(spread > 0.0, spread, 1.0)).astype(np.float32)
    fold = np.tile(np.arange(count) % _FOLDS, 2)
    y = np.repeat(np.array([0.0, 1.0], np.float32), count)
    right = np.asarray(classified_right(x, y, *_folds(rng, fold), _initial(rng, x.shape[1])))
    folds = right.mean(1)
    limit = 0.5 + float(special.ndtri(level)) * 0.5 / math.sqrt(2 * count)
    accuracy = float(folds.mean())
    return TwoSampleTest(
        within=accuracy <= limit, accuracy=max(accuracy, 0.5), limit=limit, level=level, folds=folds.astype(np.float64)
    )


def _folds(rng: np.random.Generator, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the batches `(fold, look, step, row)`, those that judge and those that test `(fold, row)`."""
    tests = np.stack([np.flatnonzero(fold == k) for k in range(_FOLDS)])
    others = np.stack([rng.permutation(np.flatnonzero(fold != k)) for k in range(_FOLDS)])
    held = max(others.shape[1] // 10, 10)
    chosen = rng.integers(held, others.shape[1], (_FOLDS, _LOOKS * _STEPS * _BATCH))
    batches = np.take_along_axis(others, chosen, 1).reshape(_FOLDS, _LOOKS, _STEPS, _BATCH)
    return batches, others[:, :held], tests


def _initial(rng: np.random.Generator, dimension: int) -> list[tuple[np.ndarray, np.ndarray]]:
    # Whatever is random comes from NumPy: compiling JAX's generators takes longer than the training.
    sizes = (dimension, _WIDTH, _WIDTH, 1)
    return [
        ((rng.normal(size=(_FOLDS, n, m)) * math.sqrt(2.0 / n)).astype(np.float32), np.zeros((_FOLDS, m), np.float32))
        for n, m in itertools.pairwise(sizes)
    ]
