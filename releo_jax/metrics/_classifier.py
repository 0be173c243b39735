"""The network of the classifier two-sample test, trained in all folds at once."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

_Weights = list[tuple[Any, Any]]


@jax.jit
def classified_right(x: Array, y: Array, batches: Array, held: Array, tests: Array, weights: _Weights) -> Array:
    """Whether rows are put right `(fold, row)` by the network that did not see their fold."""

    def of_fold(batches: Array, held: Array, test: Array, weights: _Weights) -> Array:
        return (_logit(_fitted(x, y, batches, held, weights), x[test]) > 0.0) == (y[test] > 0.5)

    return jax.vmap(of_fold)(batches, held, tests, weights)


def _fitted(x: Array, y: Array, batches: Array, held: Array, weights: _Weights) -> _Weights:
    """Weights trained on batches `(look, step, row)`, those of the look at which they did best on `held`."""
    optimiser = optax.adamw(optax.cosine_decay_schedule(3e-3, batches.shape[0] * batches.shape[1]), weight_decay=1e-3)

    def loss(parameters: _Weights, rows: Array) -> Array:
        return optax.sigmoid_binary_cross_entropy(_logit(parameters, x[rows]), y[rows]).mean()

    def step(state: tuple[_Weights, Any], rows: Array) -> tuple[tuple[_Weights, Any], None]:
        parameters, moments = state
        updates, moments = optimiser.update(jax.grad(loss)(parameters, rows), moments, parameters)
        return (optax.apply_updates(parameters, updates), moments), None

    def stretch(state: tuple[_Weights, Any, _Weights, Array], of_look: Array) -> tuple[Any, None]:
        (parameters, moments), _ = jax.lax.scan(step, state[:2], of_look)
        reached = loss(parameters, held)
        better = reached < state[3]
        best = jax.tree.map(functools.partial(jnp.where, better), parameters, state[2])
        return (parameters, moments, best, jnp.minimum(reached, state[3])), None

    state, _ = jax.lax.scan(stretch, (weights, optimiser.init(weights), weights, jnp.float32(jnp.inf)), batches)
    return state[2]


def _logit(weights: _Weights, x: Array) -> Array:
    for matrix, offset in weights[:-1]:
        x = jax.nn.relu(jnp.dot(x, matrix, precision="highest") + offset)
    matrix, offset = weights[-1]
    return (jnp.dot(x, matrix, precision="highest") + offset)[:, 0]
