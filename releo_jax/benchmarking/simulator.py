"""What is measured: a simulator with its prior, and entries that a machine lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from releo_jax.benchmarking.space import Prior, names_of

OPERATIONS = ("forward", "gradient", "Jacobian")
"""The outputs; value and gradient of a misfit to observed outputs; all derivatives of all outputs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulator:
    """A simulator and the box it is used in.

    Attributes:
        name: how tables and figures call it.
        function: from parameters (batch, parameter) to outputs (batch, output), rows independent of each other.
            `by_name` makes one from a function of a dict.
        prior: bounds `{name: (low, high)}`, NumPyro distributions `{name: law}`, or a NumPyro model that samples the
            parameters; the order of the names is that of the columns.
        conditions: names of parameters that vary and have no derivatives: the geometry, say.
        reference: what the outputs should be, if another simulator is more exact: same parameters, same outputs. It is
            evaluated in float64.
        dtype: precision in which the simulator is used and timed.
        jax: whether JAX may trace the function. Any other is called with NumPy arrays and returns one.
        vjp: derivatives of a function that JAX cannot trace, if it offers any: from parameters (batch, parameter) and
            cotangents (batch, output) to values (batch, output) and gradients (batch, parameter).
        operations: which of `OPERATIONS` are timed, if the function offers them.
        note: a few words for the tables: version, licence, how it was trained.
    """

    name: str
    function: Callable[[Any], Any]
    prior: Prior
    conditions: tuple[str, ...] = ()
    reference: Simulator | None = None
    dtype: Literal["float32", "float64"] = "float32"
    jax: bool = True
    vjp: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    operations: tuple[str, ...] = OPERATIONS
    note: str = ""

    def __post_init__(self) -> None:
        names = names_of(self.prior)
        stray = sorted(set(self.conditions) - set(names))
        if stray:
            raise ValueError(f"{self.name}: expected conditions among the parameters {names}, got {stray}")
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"{self.name}: expected dtype float32 or float64, got {self.dtype!r}")
        unknown = sorted(set(self.operations) - set(OPERATIONS))
        if unknown:
            raise ValueError(f"{self.name}: expected operations among {OPERATIONS}, got {unknown}")
        if self.jax and self.vjp is not None:
            raise ValueError(f"{self.name}: JAX differentiates the function itself; leave out vjp, or set jax=False")


@dataclasses.dataclass(frozen=True)
class Skipped:
    """An entry that cannot be measured here.

    Attributes:
        name: of the simulator.
        reason: what is missing, and what to do about it.
    """

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ByName:
    """A function of an array (batch, parameter) that calls one of a dict of columns (batch,).

    Attributes:
        function: of the dict.
        names: its keys, in the order of the columns.
    """

    function: Callable[[Mapping[str, Any]], Any]
    names: tuple[str, ...]

    def __call__(self, parameters: Any) -> Any:
        """Outputs (batch, output)."""
        return self.of_columns([parameters[:, column] for column in range(len(self.names))])

    def of_columns(self, columns: Sequence[Any]) -> Any:
        """Outputs (batch, output) from columns (batch,)."""
        return self.function(dict(zip(self.names, columns, strict=True)))


def by_name(function: Callable[[Mapping[str, Any]], Any], prior: Prior) -> ByName:
    """A function of an array (batch, parameter) from one of a dict of arrays (batch,), keyed by the prior's names."""
    return ByName(function, names_of(prior))


def evaluate(simulator: Simulator, parameters: np.ndarray, dtype: str) -> np.ndarray:
    """Outputs (batch, output) of a simulator that is given parameters of a precision.

    Raises:
        ValueError: the outputs have another shape.
    """
    if simulator.jax:
        with jax.enable_x64(dtype == "float64"):
            values = np.asarray(jax.jit(simulator.function)(jnp.asarray(parameters, dtype)))
    else:
        values = np.asarray(simulator.function(parameters.astype(dtype)))
    if values.ndim != 2 or values.shape[0] != parameters.shape[0]:
        raise ValueError(
            f"{simulator.name}: expected outputs (batch, output) with batch {parameters.shape[0]}, got shape "
            f"{values.shape}; reshape what the function returns"
        )
    return values


def differentiable(simulator: Simulator) -> tuple[int, ...]:
    """Columns of the parameters that have derivatives."""
    return tuple(i for i, name in enumerate(names_of(simulator.prior)) if name not in simulator.conditions)


def split(simulator: Simulator, given: Sequence[Any]) -> tuple[tuple[Any, ...], Callable[..., Any]]:
    """Those of the columns (batch,) that have derivatives, and the function of them, the others held.

    A function `by_name` is differentiated with respect to its columns, as records of parameters are in practice: the
    reverse mode of a model takes half as long as through the slices of a matrix.
    """
    columns = differentiable(simulator)

    def of_them(*free: Any) -> Any:
        row = dict(zip(columns, free, strict=True))
        every = [row.get(column, values) for column, values in enumerate(given)]
        if isinstance(simulator.function, ByName):
            return simulator.function.of_columns(every)
        return simulator.function(jnp.stack(every, axis=1))

    return tuple(given[column] for column in columns), of_them
