"""Slopes of a simulator by its own derivatives, and by differences in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from releo_jax.benchmarking.simulator import Simulator, differentiable, evaluate, split
from releo_jax.benchmarking.space import Box

OUTPUTS = 16
"""Slopes are compared at this many outputs, evenly spaced among those of a simulator."""

_STEP = 1e-5
"""Step of the differences, as a share of the width of the box."""


_LITTLE = 1e-4
"""A parameter that moves an output by less than this share of it over its whole range is compared at that level."""


@dataclasses.dataclass(frozen=True)
class Differences:
    """Slopes by differences.

    Attributes:
        slopes: (point, output, parameter).
        scale: the largest slope (output, parameter).
        steady: where half the step changes the slope little and both sides agree (point, output, parameter).
    """

    slopes: np.ndarray
    scale: np.ndarray
    steady: np.ndarray


def differences(
    simulator: Simulator,
    x: np.ndarray,
    box: Box,
    chosen: np.ndarray,
    *,
    columns: tuple[int, ...],
    tolerance: float,
) -> Differences:
    """Second-order differences in float64 with one Richardson step: central where there is room, else one-sided.

    Args:
        simulator: whose slopes are wanted.
        x: parameters (point, parameter).
        box: of the parameters.
        chosen: outputs whose slopes are wanted.
        columns: parameters for which they are wanted.
        tolerance: relative error of slopes that matters.
    """

    def value(at: np.ndarray) -> np.ndarray:
        return evaluate(simulator, at, "float64")[:, chosen]

    start = value(x)
    found, shaken = [], []
    for column in columns:
        h = box.width[column] * _STEP
        up, down = x[:, column] + 2 * h <= box.high[column], x[:, column] - 2 * h >= box.low[column]
        central, sign = (up & down)[:, None], np.where(up, 1.0, -1.0)[:, None]
        multiples = sign[:, 0], np.where(up & down, -1.0, 2.0 * sign[:, 0])
        quotients = []
        for step in (h, h / 2):
            moved = [x.copy(), x.copy()]
            for positions, multiple in zip(moved, multiples, strict=True):
                positions[:, column] += multiple * step
            one, two = map(value, moved)
            quotients.append(
                np.where(central, (one - two) / (2 * step), sign * (4 * one - two - 3 * start) / (2 * step))
            )
        whole, half = quotients
        found.append((4 * half - whole) / 3)
        # The slopes to both sides differ at a kink, where the central ones agree; curvature alone moves them little.
        kink = np.where(central, np.abs(one + two - 2 * start) / step, 0.0)
        shaken.append(np.maximum(np.abs(half - whole), 0.05 * kink))
    slopes, width = np.stack(found, axis=-1), box.width[list(columns)]
    scale = np.max(np.abs(slopes), axis=0, where=np.isfinite(slopes), initial=0.0)
    largest = np.max(np.abs(start), axis=0, where=np.isfinite(start), initial=1e-300)
    scale = np.maximum(scale, _LITTLE * largest[:, None] / width)
    return Differences(slopes, scale, np.stack(shaken, axis=-1) <= 0.5 * tolerance * scale)


def chosen_outputs(outputs: int) -> np.ndarray:
    """Indices of the outputs whose slopes are compared."""
    return np.unique(np.linspace(0, outputs - 1, min(outputs, OUTPUTS)).round().astype(int))


def _in_precision(simulator: Simulator, x: np.ndarray, run: Callable[[Any], np.ndarray]) -> np.ndarray:
    with jax.enable_x64(simulator.dtype == "float64"):
        return run(jnp.asarray(x, simulator.dtype))


def reverse_slopes(simulator: Simulator, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Slopes (point, output, parameter) by one pull-back for each output."""
    outputs = evaluate(simulator, x[:1], simulator.dtype).shape[1]
    weights = np.zeros((chosen.size, x.shape[0], outputs), simulator.dtype)
    weights[np.arange(chosen.size), :, chosen] = 1.0
    if not simulator.jax:
        assert simulator.vjp is not None
        columns = list(differentiable(simulator))
        rows = [np.asarray(simulator.vjp(x.astype(simulator.dtype), weight)[1])[:, columns] for weight in weights]
        return np.stack(rows, axis=1)

    def pull(parameters: Any, weight: Any) -> Any:
        free, function = split(simulator, list(parameters.T))
        return jnp.stack(jax.vjp(function, *free)[1](weight), axis=-1)

    def run(parameters: Any) -> np.ndarray:
        compiled = jax.jit(pull)
        return np.stack([np.asarray(compiled(parameters, jnp.asarray(weight))) for weight in weights], axis=1)

    return _in_precision(simulator, x, run)


def forward_slopes(simulator: Simulator, x: np.ndarray, chosen: np.ndarray) -> np.ndarray | None:
    """Slopes (point, output, parameter) by one push-forward for each parameter; None where there is no such rule."""

    def push(parameters: Any, direction: Any) -> Any:
        free, function = split(simulator, list(parameters.T))
        return jax.jvp(function, free, tuple(jnp.broadcast_to(d, free[0].shape) for d in direction))[1]

    def run(parameters: Any) -> np.ndarray:
        compiled = jax.jit(push)
        unit = jnp.eye(len(differentiable(simulator)), dtype=parameters.dtype)
        return np.stack([np.asarray(compiled(parameters, row))[:, chosen] for row in unit], axis=-1)

    try:
        return _in_precision(simulator, x, run)
    except TypeError:  # a custom reverse rule without a forward one
        return None
