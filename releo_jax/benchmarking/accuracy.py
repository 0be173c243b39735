"""How right a simulator is: values, slopes, and where it returns no numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from releo_jax.benchmarking.simulator import Simulator, differentiable, evaluate
from releo_jax.benchmarking.slopes import Differences, chosen_outputs, differences, forward_slopes, reverse_slopes
from releo_jax.benchmarking.space import PLACES, Points, box_of, points


@dataclasses.dataclass(frozen=True)
class Error:
    """Differences over a set of points.

    Attributes:
        max: largest, in the unit of the outputs; for slopes, per width of the parameter's range.
        rms: root of the mean square, likewise.
        relative: largest as a share of the largest value of its output, for slopes of its output and parameter.
        where: where the relative error is largest.
    """

    max: float
    rms: float
    relative: float
    where: str


@dataclasses.dataclass(frozen=True)
class ValueAccuracy:
    """Errors of values by place, `all` included.

    Attributes:
        rounding: difference between single precision and float64 of the same function; None where the simulator is
            used in float64 or does not follow the precision of its input.
        reference: difference to the reference; None without one.
    """

    rounding: dict[str, Error] | None
    reference: dict[str, Error] | None


@dataclasses.dataclass(frozen=True)
class GradientAccuracy:
    """Errors of slopes by place, `all` included.

    Attributes:
        reverse: of reverse mode, in the simulator's precision, to float64 differences of the same function.
        forward: of forward mode; None where the function has none.
        reference: of reverse mode, to float64 differences of the reference.
        parameters: largest relative error of reverse mode for each parameter, to the reference if nothing else is
            known.
        undecided: share of the slopes where differences are no measure, for two step sizes or both sides disagree: a
            kink, or rounding in float64. They are left out of the errors.
    """

    reverse: dict[str, Error] | None
    forward: dict[str, Error] | None
    reference: dict[str, Error] | None
    parameters: dict[str, float]
    undecided: float


@dataclasses.dataclass(frozen=True)
class Census:
    """Points at which a value or a slope is not a finite number.

    Attributes:
        points: number looked at, by place.
        values: number with a value that is not finite, by place.
        gradients: likewise for slopes by reverse mode; empty where there are none.
        faces: numbers of either kind by face, `x = low`, where not zero.
    """

    points: dict[str, int]
    values: dict[str, int]
    gradients: dict[str, int]
    faces: dict[str, int]


def accuracy_of_values(simulator: Simulator, at: Points) -> ValueAccuracy:
    """Values in the simulator's precision against float64 of the same function, and against the reference."""
    values = evaluate(simulator, at.values, simulator.dtype)
    rounding = reference = None
    if simulator.dtype == "float32":
        double = evaluate(simulator, at.values, "float64")
        if double.dtype == np.float64:
            rounding = _errors(values, double, at)
    if simulator.reference is not None:
        target = evaluate(simulator.reference, at.values, "float64")
        if target.shape != values.shape:
            raise ValueError(
                f"{simulator.name}: expected outputs of the reference of shape {values.shape}, got {target.shape}"
            )
        reference = _errors(values, target, at)
    return ValueAccuracy(rounding, reference)


def accuracy_of_gradients(simulator: Simulator, at: Points, *, tolerance: float = 1e-3) -> GradientAccuracy | None:
    """Slopes in the simulator's precision against central differences in float64, one-sided at the faces.

    Args:
        simulator: with derivatives; None is returned for one without.
        at: points of the box.
        tolerance: relative error that matters. Differences are left out as undecided where half their step changes
            them by more than half of it.
    """
    columns = differentiable(simulator)
    if not columns or not (simulator.jax or simulator.vjp):
        return None
    box = box_of(simulator.prior)
    width = box.width[list(columns)]
    exact_values = evaluate(simulator, at.values, "float64")
    chosen = chosen_outputs(exact_values.shape[1])
    reverse = reverse_slopes(simulator, at.values, chosen)
    names = [box.names[column] for column in columns]
    own = forward_error = reference_error = None
    undecided, parameters = 0.0, {}
    if exact_values.dtype == np.float64:
        exact = differences(simulator, at.values, box, chosen, columns=columns, tolerance=tolerance)
        undecided = float(1.0 - exact.steady.mean())
        own = _slope_errors(reverse, exact, width, at, names)
        parameters = _by_parameter(reverse, exact, names)
        forward = forward_slopes(simulator, at.values, chosen) if simulator.jax else None
        forward_error = None if forward is None else _slope_errors(forward, exact, width, at, names)
    if simulator.reference is not None:
        exact = differences(simulator.reference, at.values, box, chosen, columns=columns, tolerance=tolerance)
        reference_error = _slope_errors(reverse, exact, width, at, names)
        parameters = parameters or _by_parameter(reverse, exact, names)
    return GradientAccuracy(own, forward_error, reference_error, parameters, undecided)


def nan_census(simulator: Simulator, at: Points) -> Census:
    """Counts points at which a value, or a slope by reverse mode, is not a finite number."""
    values = evaluate(simulator, at.values, simulator.dtype)
    bad_values = ~np.isfinite(values).all(axis=1)
    bad_slopes = np.zeros_like(bad_values)
    has_slopes = bool(differentiable(simulator)) and bool(simulator.jax or simulator.vjp)
    if has_slopes:
        slopes = reverse_slopes(simulator, at.values, chosen_outputs(values.shape[1]))
        bad_slopes = ~np.isfinite(slopes).all(axis=(1, 2))
    faces: dict[str, int] = {}
    for index in np.flatnonzero((bad_values | bad_slopes) & (at.places == "face")):
        faces[at.details[index]] = faces.get(at.details[index], 0) + 1

    def count(which: np.ndarray) -> dict[str, int]:
        return {place: int(which[at.places == place].sum()) for place in PLACES}

    return Census(count(np.ones_like(bad_values)), count(bad_values), count(bad_slopes) if has_slopes else {}, faces)


def examined(simulator: Simulator, *, seed: int, **counts: int) -> Points:
    """Points of the simulator's box; `counts` as in `releo_jax.benchmarking.space.points`."""
    return points(box_of(simulator.prior), seed=seed, **counts)


def _errors(values: np.ndarray, exact: np.ndarray, at: Points) -> dict[str, Error]:
    largest = np.max(np.abs(exact), axis=0, where=np.isfinite(exact), initial=1e-300)
    return _by_place(values.astype(np.float64) - exact, largest, at, lambda index: "")


def _slope_errors(
    slopes: np.ndarray, exact: Differences, width: np.ndarray, at: Points, names: list[str]
) -> dict[str, Error]:
    off = np.where(exact.steady, slopes - exact.slopes, np.nan) * width
    return _by_place(off, exact.scale * width, at, lambda index: f"slope of {names[index[-1]]}")


def _by_parameter(slopes: np.ndarray, exact: Differences, names: list[str]) -> dict[str, float]:
    relative = np.where(exact.steady, np.abs(slopes - exact.slopes), 0.0) / exact.scale
    worst = np.max(relative, axis=(0, 1), where=np.isfinite(relative), initial=0.0)
    return {name: float(value) for name, value in zip(names, worst, strict=True)}


def _by_place(
    off: np.ndarray, scale: np.ndarray, at: Points, describe: Callable[[tuple[int, ...]], str]
) -> dict[str, Error]:
    """Errors by place over what is finite; the census counts the rest."""
    found = {}
    for place in ("all", *PLACES):
        rows = np.arange(len(off)) if place == "all" else np.flatnonzero(at.places == place)
        part = off[rows]
        finite = np.isfinite(part)
        if not finite.any():
            continue
        relative = np.where(finite, np.abs(part), 0.0) / scale
        worst = tuple(int(i) for i in np.unravel_index(np.argmax(relative), relative.shape))
        where = at.describe(int(rows[worst[0]]))
        word = describe(worst)
        found[place] = Error(
            max=float(np.abs(part[finite]).max()),
            rms=float(np.sqrt(np.mean(part[finite] ** 2))),
            relative=float(relative[worst]),
            where=f"{word}, {where}" if word else where,
        )
    return found
