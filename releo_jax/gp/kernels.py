"""What a kernel is, and how kernels are joined: sums, products, several outputs.

Those of one quantity are in `releo_jax.gp.stationary`.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from releo_jax.gp import matrices
from releo_jax.gp.matrices import Matrix, Vector


def as_float(value: ArrayLike) -> Array:
    """A parameter as an array of floating-point numbers."""
    value = jnp.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.float32)


class StateSpace(NamedTuple):
    """A process as the solution of a linear stochastic differential equation.

    Attributes:
        stationary: covariance of the state, `(d, d)`.
        observations: for each output, the row that takes it from the state, `(d,)`.
        step: from a number of days to the transition and the covariance of what is new, `(d, d)` each.
    """

    stationary: Matrix
    observations: tuple[Vector, ...]
    step: Callable[[Array], tuple[Matrix, Matrix]]


class Kernel(eqx.Module):
    """Covariance of a process with itself. `a + b` and `a * b` are kernels."""

    @property
    def outputs(self) -> int | None:
        """Number of outputs of a vector process; None for a scalar one."""
        return None

    @abc.abstractmethod
    def __call__(self, first: Array, second: Array) -> Array:
        """Covariance between days `(n,)` and `(m,)` of one pixel: `(n, m)`, or `(n, output, m, output)`."""

    def variances(self, time: Array) -> Array:
        """Variance at days `(n,)`: `(n,)`, or `(n, output)`."""
        own = jnp.diagonal(self(time, time), axis1=0, axis2=1 if self.outputs is None else 2)
        return own if self.outputs is None else jnp.diagonal(own, axis1=0, axis2=1)

    def state_space(self) -> StateSpace:
        """Its state space.

        Raises:
            ValueError: it has none.
        """
        raise ValueError(
            f"{type(self).__name__} has no state space; condition it with Exact, Sparse or Nearest, or take Matern52"
        )

    def __add__(self, other: Kernel) -> Kernel:
        return Sum(self, other)

    def __mul__(self, other: Kernel) -> Kernel:
        return Product(self, other)


class Sum(Kernel):
    """Of two independent processes."""

    first: Kernel
    second: Kernel

    def __check_init__(self) -> None:
        _scalar("Sum", self.first, self.second)

    def __call__(self, first: Array, second: Array) -> Array:
        return self.first(first, second) + self.second(first, second)

    def variances(self, time: Array) -> Array:
        return self.first.variances(time) + self.second.variances(time)

    def state_space(self) -> StateSpace:
        one, other = self.first.state_space(), self.second.state_space()

        def step(days: Array) -> tuple[Matrix, Matrix]:
            (a, p), (b, q) = one.step(days), other.step(days)
            return matrices.block_diagonal(a, b), matrices.block_diagonal(p, q)

        return StateSpace(
            matrices.block_diagonal(one.stationary, other.stationary),
            (one.observations[0] + other.observations[0],),
            step,
        )


class Product(Kernel):
    """Of two independent processes: `Matern32(...) * Periodic(...)` is a season that changes over the years."""

    first: Kernel
    second: Kernel

    def __check_init__(self) -> None:
        _scalar("Product", self.first, self.second)

    def __call__(self, first: Array, second: Array) -> Array:
        return self.first(first, second) * self.second(first, second)

    def variances(self, time: Array) -> Array:
        return self.first.variances(time) * self.second.variances(time)

    def state_space(self) -> StateSpace:
        one, other = self.first.state_space(), self.second.state_space()
        stationary = matrices.kronecker(one.stationary, other.stationary)

        def step(days: Array) -> tuple[Matrix, Matrix]:
            (a, p), (b, q) = one.step(days), other.step(days)
            # P ⊗ R - (P - p) ⊗ (R - q) = p ⊗ R + (P - p) ⊗ q: two matrices without negative eigenvalues.
            kept = matrices.add(one.stationary, matrices.scaled(p, -1.0))
            new = matrices.add(matrices.kronecker(p, other.stationary), matrices.kronecker(kept, q))
            return matrices.kronecker(a, b), new

        row = tuple(matrices.kronecker((one.observations[0],), (other.observations[0],))[0])
        return StateSpace(stationary, (row,), step)


class Coregionalized(Kernel):
    """Several outputs, each a mixture of the same independent processes.

    Attributes:
        processes: with variance one as a rule.
        weights: `(output, process)`.

    Equation:
        f_o(t) = sum_p weights[o, p] g_p(t): the linear model of coregionalisation.

    References:
        Journel & Huijbregts 1978; Álvarez, Rosasco & Lawrence 2012, section 4.
    """

    processes: tuple[Kernel, ...] = eqx.field(converter=tuple)
    weights: Any = eqx.field(converter=as_float, metadata={"axes": 2})

    def __check_init__(self) -> None:
        _scalar("Coregionalized", *self.processes)
        shape = self.weights.shape
        if len(shape) < 2 or shape[-1] != len(self.processes):
            raise ValueError(
                f"Coregionalized: expected weights (output, process) with {len(self.processes)} processes, got {shape}"
            )

    @property
    def outputs(self) -> int:
        return self.weights.shape[-2]

    def __call__(self, first: Array, second: Array) -> Array:
        parts = jnp.stack([process(first, second) for process in self.processes], -1)[:, None, :, None]
        return (parts * self.weights[:, None, None, :] * self.weights).sum(-1)

    def variances(self, time: Array) -> Array:
        own = jnp.stack([process.variances(time) for process in self.processes], -1)
        return (own[:, None, :] * self.weights**2).sum(-1)

    def state_space(self) -> StateSpace:
        spaces = [process.state_space() for process in self.processes]
        stationary = spaces[0].stationary
        for space in spaces[1:]:
            stationary = matrices.block_diagonal(stationary, space.stationary)

        def step(days: Array) -> tuple[Matrix, Matrix]:
            change, new = spaces[0].step(days)
            for space in spaces[1:]:
                a, q = space.step(days)
                change, new = matrices.block_diagonal(change, a), matrices.block_diagonal(new, q)
            return change, new

        def row(output: int) -> Vector:
            parts = zip(spaces, self.weights[output], strict=True)
            return tuple(x for space, weight in parts for x in matrices.scaled(space.observations[0], weight))

        return StateSpace(stationary, tuple(map(row, range(self.outputs))), step)


def _scalar(name: str, *kernels: Kernel) -> None:
    vectors = [type(kernel).__name__ for kernel in kernels if kernel.outputs is not None]
    if vectors:
        raise ValueError(f"{name}: expected kernels of one output, got {vectors}; mix scalar ones in Coregionalized")


def own_axes(kernel: Any) -> list[int]:
    """Number of axes of each parameter of a kernel, in the order of its leaves, where all pixels share it."""
    if isinstance(kernel, tuple):
        return [axes for part in kernel for axes in own_axes(part)]
    found: list[int] = []
    for field in dataclasses.fields(kernel):
        value = getattr(kernel, field.name)
        if isinstance(value, Kernel | tuple):
            found += own_axes(value)
        elif not field.metadata.get("static", False):
            found += [field.metadata.get("axes", 0)] * len(jax.tree.leaves(value))
    return found
