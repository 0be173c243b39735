"""How fast a model could run if each of its operations ran as fast as one core can run it alone."""

from __future__ import annotations

import functools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# Operations with a price of their own, and how they are timed; everything else that is elementwise counts as one
# floating-point operation, half a fused multiply-add.
DEAR: dict[str, str] = {name: name for name in ("exp", "log", "div", "sqrt", "sin", "cos", "tan", "expm1", "log1p")}
CHEAP = frozenset("add sub mul neg max min abs select_n sign square add_any clamp integer_pow reduce_sum".split())


def op_mix_seconds(model: Callable[..., Any], *inputs: np.ndarray) -> float:
    """Seconds per batch element that the operations of a model take at the speed of this core, in float32.

    Args:
        model: function of arrays whose last axis is the batch.
        inputs: its arguments.

    Returns:
        Sum over operations of count times the measured price. Comparisons, copies, broadcasts and reading memory are
        free; a multiplication and an addition that follows it cost one fused operation. It is a bound, not a forecast.
    """
    import jax
    import jax.numpy as jnp

    arrays = [jnp.asarray(values, jnp.float32) for values in inputs]
    counts: Counter[str] = Counter()
    for name, size in _operations(jax.make_jaxpr(model)(*arrays).jaxpr):
        if name in DEAR:
            counts[name] += size
        elif name in CHEAP:
            counts["flop"] += size
    return sum(count * _price(name) for name, count in counts.items()) / inputs[0].shape[-1]


def _operations(jaxpr: Any) -> Iterator[tuple[str, int]]:
    """Names and sizes of all operations, those of nested functions included."""
    for equation in jaxpr.eqns:
        inner = [value for value in equation.params.values() if hasattr(value, "eqns") or hasattr(value, "jaxpr")]
        for nested in inner:
            yield from _operations(getattr(nested, "jaxpr", nested))
        if not inner:
            reduced = equation.primitive.name.startswith("reduce")
            shape = (equation.invars if reduced else equation.outvars)[0].aval.shape
            yield equation.primitive.name, math.prod(shape)


@functools.cache
def _price(name: str) -> float:
    """Seconds per element of one operation on 4096 numbers in the first-level cache.

    The difference between 12 and 4 of them, so that what a call costs cancels. Operations with a price of their own are
    summed, not nested: the processor overlaps them. The multiply-add for each is taken off.
    """
    import jax
    import jax.numpy as jnp

    start = jnp.linspace(0.4, 0.6, 4096, dtype=jnp.float32)

    def chain(repeats: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            if name == "flop":
                for i in range(repeats):
                    x = x * x + (0.2 + 1e-3 * i)
                return x
            terms = [x + 1e-2 * i for i in range(repeats)]
            return functools.reduce(jnp.add, (1.0 / t if name == "div" else getattr(jnp, name)(t) for t in terms))

        compiled = jax.jit(run)
        compiled(start).block_until_ready()
        return compiled

    long, short = chain(12), chain(4)
    best = [math.inf, math.inf]
    for _ in range(600):
        for i, compiled in enumerate((long, short)):
            begin = time.perf_counter()
            for _ in range(4):
                result = compiled(start)
            result.block_until_ready()
            best[i] = min(best[i], (time.perf_counter() - begin) / 4)
    each = (best[0] - best[1]) / (8 * start.size)
    if name == "flop":
        return 0.5 * each
    return max(each - 2.0 * _price("flop"), 0.0)
