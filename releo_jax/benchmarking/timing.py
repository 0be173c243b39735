"""How long a simulator takes to compile and to run, and how much memory it asks for."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from releo_jax.benchmarking.simulator import OPERATIONS, Simulator, split
from releo_jax.benchmarking.space import draw

BATCH_SIZES = (1, 16, 256, 4096, 65536)

_MANY = 32
"""Up to so many products of a Jacobian are written out one after the other; more are mapped."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes that a compiled call asks for: its temporaries, its outputs, its arguments."""

    temporaries: int
    outputs: int
    arguments: int


@dataclasses.dataclass
class Prepared:
    """One operation of one simulator at one batch size, compiled, with its arguments ready.

    Attributes:
        simulator: its name.
        operation: one of `OPERATIONS`.
        batch: rows of parameters.
        call: runs it once and returns its arrays.
        compile_seconds: tracing and compiling, or what the first call took longer than the second.
        memory: None where nobody says.
        seconds: of a call, as many as were timed.
    """

    simulator: str
    operation: str
    batch: int
    call: Callable[[], Any]
    compile_seconds: float
    memory: Memory | None
    seconds: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Rate:
    """Rows a second at a batch size: the median of the repeated runs, and the best."""

    operation: str
    batch: int
    median: float
    best: float
    runs: int


def offers(simulator: Simulator) -> tuple[str, ...]:
    """Operations that are timed."""
    possible = OPERATIONS if simulator.jax else OPERATIONS[: 2 if simulator.vjp else 1]
    return tuple(name for name in possible if name in simulator.operations)


def prepare(simulator: Simulator, operation: str, batch: int, *, seed: int) -> Prepared:
    """Compiles one operation at one batch size, no compilation cache on disk consulted.

    Args:
        simulator: what to compile.
        operation: one that it `offers`.
        batch: rows of parameters, drawn from the prior.
        seed: of the draw.
    """
    parameters = draw(simulator.prior, batch, seed=seed)
    if not simulator.jax:
        return _prepare_external(simulator, operation, parameters)
    double = simulator.dtype == "float64"
    with jax.enable_x64(double), _no_disk_cache():
        given = jnp.asarray(parameters, simulator.dtype)
        inputs: list[Any] = [given] if operation == "forward" else [[jnp.array(column) for column in given.T]]
        if operation == "gradient":
            inputs.append(1.05 * jax.jit(lambda x: simulator.function(x))(given))
        function = {"forward": _forward, "gradient": _gradient, "Jacobian": _jacobian}[operation]
        start = time.perf_counter()
        compiled = jax.jit(function(simulator)).lower(*inputs).compile()
        seconds = time.perf_counter() - start
    needs = compiled.memory_analysis()
    memory = None
    if needs is not None:
        memory = Memory(
            int(needs.temp_size_in_bytes), int(needs.output_size_in_bytes), int(needs.argument_size_in_bytes)
        )
    return Prepared(simulator.name, operation, batch, lambda: compiled(*inputs), seconds, memory)


def compile_time(simulator: Simulator, operation: str = "forward", *, batch: int = 256, seed: int) -> float:
    """Seconds for tracing and compiling one operation."""
    return prepare(simulator, operation, batch, seed=seed).compile_seconds


def memory(simulator: Simulator, operation: str = "forward", *, batch: int = 256, seed: int) -> Memory | None:
    """What one compiled operation asks for; None for a function that JAX does not compile."""
    return prepare(simulator, operation, batch, seed=seed).memory


def prepare_sizes(
    simulator: Simulator,
    operation: str,
    batch_sizes: Sequence[int],
    *,
    seed: int,
    memory_limit: float,
    longest_call: float,
) -> tuple[list[Prepared], str]:
    """Prepares an operation at growing batch sizes until the next would take too much, and says what stopped it.

    Args:
        simulator: what to prepare.
        operation: one that it `offers`.
        batch_sizes: rows, ascending.
        seed: of the parameters.
        memory_limit: bytes of temporaries and outputs.
        longest_call: seconds.

    Returns:
        What is ready to be timed, and a sentence if a size was left out.
    """
    ready: list[Prepared] = []
    for batch in batch_sizes:
        if ready:
            last, grown = ready[-1], batch / ready[-1].batch
            took = grown * min(last.seconds) if last.batch >= 16 else 0.0
            if took > longest_call:
                return ready, f"batch {batch} and above left out: a call would take about {took:.1f} s"
            if last.memory and last.batch >= 16:
                needs = grown * (last.memory.temporaries + last.memory.outputs)
                if needs > memory_limit:
                    return ready, f"batch {batch} and above left out: they need about {needs / 2**30:.1f} GiB"
        one = prepare(simulator, operation, batch, seed=seed)
        if one.memory and one.memory.temporaries + one.memory.outputs > memory_limit:
            return ready, f"batch {batch} and above left out: more than {memory_limit / 2**30:.1f} GiB"
        jax.block_until_ready(one.call())
        _time_once(one, 1)
        ready.append(one)
    return ready, ""


def throughput(prepared: Sequence[Prepared], *, rounds: int = 5, slice_seconds: float = 0.1) -> None:
    """Times calls; what is compared takes turns in every round, for the machine may have other work.

    Args:
        prepared: operations of all simulators that are compared; their `seconds` are replaced.
        rounds: number of turns.
        slice_seconds: length of a turn; at least one run is made. A run is one call, or four in a row where a call
            takes less than a millisecond, and ends when its result is there.
    """
    for one in prepared:
        one.seconds.clear()
        jax.block_until_ready(one.call())
    for _ in range(rounds):
        for one in prepared:
            until = time.perf_counter() + slice_seconds
            while True:
                _time_once(one, 4 if not one.seconds or one.seconds[-1] < 1e-3 else 1)
                if time.perf_counter() >= until:
                    break


def rate(one: Prepared) -> Rate:
    """Rows a second from the timed calls."""
    if not one.seconds:
        raise ValueError(f"{one.simulator}, {one.operation}: expected timed calls, got none; call throughput first")
    median, best = float(np.median(one.seconds)), min(one.seconds)
    return Rate(one.operation, one.batch, one.batch / median, one.batch / best, len(one.seconds))


def _time_once(one: Prepared, calls: int) -> None:
    start = time.perf_counter()
    for _ in range(calls):
        result = one.call()
    jax.block_until_ready(result)
    one.seconds.append((time.perf_counter() - start) / calls)


def _forward(simulator: Simulator) -> Callable[..., Any]:
    return lambda parameters: simulator.function(parameters)


def _gradient(simulator: Simulator) -> Callable[..., Any]:
    def value_and_gradient(columns: Any, observed: Any) -> Any:
        free, function = split(simulator, columns)
        return jax.value_and_grad(lambda x: ((function(*x) - observed) ** 2).sum())(free)

    return value_and_gradient


def _jacobian(simulator: Simulator) -> Callable[..., Any]:
    """All derivatives: forward products for the parameters, or backward ones if the outputs are far fewer."""

    def backward(free: Any, function: Any) -> Any:
        values, pull = jax.vjp(function, *free)
        return _each(lambda weight: pull(jnp.broadcast_to(weight, values.shape)), values.shape[1], values.dtype)

    def forward(free: Any, function: Any) -> Any:
        def column(direction: Any) -> Any:
            return jax.jvp(function, free, tuple(jnp.broadcast_to(part, free[0].shape) for part in direction))[1]

        return _each(column, len(free), free[0].dtype)

    def jacobian(columns: Any) -> Any:
        free, function = split(simulator, columns)
        # a backward product costs about as much as two forward ones
        if 2 * jax.eval_shape(function, *free).shape[1] < len(free):
            return backward(free, function)
        try:
            return forward(free, function)
        except TypeError:  # a custom reverse rule without a forward one
            return backward(free, function)

    return jacobian


def _each(function: Callable[[Any], Any], n: int, dtype: Any) -> Any:
    """Results for every unit vector: one after the other, which XLA fuses best, or mapped where there are many."""
    unit = np.eye(n, dtype=dtype)
    return [function(row) for row in unit] if n <= _MANY else jax.lax.map(function, jnp.asarray(unit))


def _prepare_external(simulator: Simulator, operation: str, parameters: np.ndarray) -> Prepared:
    given = parameters.astype(simulator.dtype)

    def forward() -> Any:
        return simulator.function(given)

    def gradient() -> Any:
        assert simulator.vjp is not None
        return simulator.vjp(given, weights)

    call = {"forward": forward, "gradient": gradient}[operation]
    weights = np.ones_like(forward()) if operation == "gradient" else np.empty(0)
    start = time.perf_counter()
    call()
    middle = time.perf_counter()
    call()
    first, second = middle - start, time.perf_counter() - middle
    return Prepared(simulator.name, operation, len(given), call, max(first - second, 0.0), None)


@contextlib.contextmanager
def _no_disk_cache() -> Iterator[None]:
    """Compilation that is really done, whatever cache the process was given."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
