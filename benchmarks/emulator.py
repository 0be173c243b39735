"""A small network trained in the run to imitate the ten bands: what speed it buys, and at what error."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.optics import entry
from releo_jax.benchmarking import Simulator
from releo_jax.benchmarking.space import box_of

WIDTH, DEPTH, BATCH = 128, 3, 512


class Emulator(nnx.Module):
    """Perceptron from parameters, scaled to -1 ... 1, to bands."""

    def __init__(self, low: np.ndarray, high: np.ndarray, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.middle, self.half = (tuple(part.tolist()) for part in ((low + high) / 2, (high - low) / 2))
        sizes = [low.size, *([WIDTH] * DEPTH)]
        self.hidden = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in zip(sizes[:-1], sizes[1:], strict=True)])
        self.last = nnx.Linear(WIDTH, outputs, rngs=rngs)

    def __call__(self, parameters: Any) -> Any:
        """Outputs (batch, output)."""
        dtype = parameters.dtype
        x = (parameters - jnp.asarray(self.middle, dtype)) / jnp.asarray(self.half, dtype)
        for layer in self.hidden:
            x = nnx.tanh(layer(x))
        return self.last(x)


def emulator(exact: Simulator, *, seed: int, steps: int) -> Simulator:
    """Trains the network on simulations drawn anew at every step.

    Args:
        exact: what to imitate; the errors of the entry are those to its reference.
        seed: of the weights and of the parameters.
        steps: of Adam, with a cosine schedule, 512 simulations each.
    """
    start = time.perf_counter()
    box = box_of(exact.prior)
    low, high = (jnp.asarray(bound, jnp.float32) for bound in (box.low, box.high))
    outputs = jax.eval_shape(exact.function, jax.ShapeDtypeStruct((1, len(box.names)), jnp.float32)).shape[1]
    graph, weights = nnx.split(Emulator(box.low, box.high, outputs, rngs=nnx.Rngs(seed)))
    optimiser = optax.adam(optax.cosine_decay_schedule(2e-3, steps))

    def misfit(weights: Any, parameters: Any, target: Any) -> Any:
        return jnp.mean((nnx.merge(graph, weights)(parameters) - target) ** 2)

    @jax.jit
    def train(state: Any, key: Any) -> Any:
        weights, moments = state
        parameters = low + (high - low) * jax.random.uniform(key, (BATCH, low.size))
        slope = jax.grad(misfit)(weights, parameters, exact.function(parameters))
        change, moments = optimiser.update(slope, moments)
        return optax.apply_updates(weights, change), moments

    state = (weights, optimiser.init(weights))
    keys = jax.random.split(jax.random.key(seed), steps)
    for key in keys:
        state = jax.block_until_ready(train(state, key))
    trained = state[0]
    seconds = time.perf_counter() - start
    return entry(
        "MLP emulator of ten bands",
        lambda parameters: nnx.merge(graph, trained)(parameters),
        reference=exact.reference,
        note=f"{DEPTH} layers of {WIDTH}, tanh; {steps} steps of {BATCH} simulations in {seconds:.0f} s, seed {seed}",
    )
