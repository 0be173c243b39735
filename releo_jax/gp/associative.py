"""What the filter and the smoother of one pixel hand from date to date, for all dates at once.

The work grows with log(dates) steps of many instead of many steps of one: for few long series on devices with many
cores. Matrices are arrays here.

References:
    Särkkä & García-Fernández 2021, Temporal parallelization of Bayesian smoothers, IEEE Trans. Autom. Control 66, 299.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from releo_jax.gp.kernels import StateSpace
from releo_jax.gp.matrices import product


class _Step(NamedTuple):
    """Law of a state given an earlier x, N(change x + mean, covariance), and what its dates say of x."""

    change: Array
    mean: Array
    covariance: Array
    slope: Array
    information: Array


def _t(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)


def _on(a: Array, x: Array) -> Array:
    return product(a, x[..., None])[..., 0]


def _joined(one: _Step, next_: _Step) -> _Step:
    """Lemma 8 of the reference."""
    both = jnp.eye(one.mean.shape[-1], dtype=one.mean.dtype) + product(one.covariance, next_.information)
    forth = _t(jnp.linalg.solve(_t(both), _t(next_.change)))
    back = _t(jnp.linalg.solve(both, one.change))
    return _Step(
        product(forth, one.change),
        _on(forth, one.mean + _on(one.covariance, next_.slope)) + next_.mean,
        product(product(forth, one.covariance), _t(next_.change)) + next_.covariance,
        _on(back, next_.slope - _on(next_.information, one.mean)) + one.slope,
        product(product(back, next_.information), one.change) + one.information,
    )


def states_before(
    space: StateSpace, time: Array, value: Array, variance: Array, mask: Array
) -> tuple[Array, Array, Array]:
    """Day of the date before each, and moments of the state after it: `(date,)`, `(date, d)`, `(date, d, d)`."""
    size, (dates, outputs) = len(space.stationary), value.shape
    before = jnp.concatenate([time[:1], time[:-1]])
    change, new = jax.vmap(space.step)(time - before)
    # The first date has a law of its own, and no earlier state.
    first = (jnp.arange(dates) == 0)[:, None, None]
    change, new = jnp.where(first, 0.0, change), jnp.where(first, space.stationary, new)
    still = jnp.broadcast_to(jnp.eye(size, dtype=time.dtype), change.shape)
    steps = [(change, new)] + [(still, jnp.zeros_like(new))] * (outputs - 1)

    def of_output(output: int) -> _Step:
        change, new = steps[output]
        row = space.observations[output]
        towards = product(new, row)
        certain = jnp.where(mask[:, output], 1.0 / (product(towards, row) + variance[:, output]), 0.0)
        gain = towards * certain[:, None]
        seen = product(row, change)
        kept = jnp.eye(size, dtype=time.dtype) - gain[..., :, None] * row
        return _Step(
            product(kept, change),
            gain * value[:, output, None],
            product(kept, new),
            seen * (certain * value[:, output])[:, None],
            seen[..., :, None] * seen[..., None, :] * certain[:, None, None],
        )

    whole = of_output(0)
    for output in range(1, outputs):
        whole = _joined(whole, of_output(output))
    found = jax.lax.associative_scan(_joined, whole)
    mean = jnp.concatenate([jnp.zeros((1, size), time.dtype), found.mean[:-1]])
    start = jnp.broadcast_to(space.stationary, (1, size, size))
    return before, mean, jnp.concatenate([start, found.covariance[:-1]])


class _Back(NamedTuple):
    """Takes the slope x and the curvature X after a date to turn x + slope and turn X turn' + curvature before it."""

    turn: Array
    slope: Array
    curvature: Array


def _then(one: _Back, next_: _Back) -> _Back:
    return _Back(
        product(next_.turn, one.turn),
        _on(next_.turn, one.slope) + next_.slope,
        product(product(next_.turn, one.curvature), _t(next_.turn)) + next_.curvature,
    )


def adjoints_after(space: StateSpace, gains: Any, since: Array) -> tuple[Array, Array]:
    """What all later dates say of the state just after each: slope `(date, d)` and curvature `(date, d, d)`."""
    size, dates = len(space.stationary), since.shape[0]
    unit = jnp.broadcast_to(jnp.eye(size, dtype=since.dtype), (dates, size, size))
    whole = _Back(unit, jnp.zeros((dates, size), since.dtype), jnp.zeros_like(unit))
    for (gain, misfit, certain), row in zip(reversed(gains), reversed(space.observations), strict=True):
        kept = unit - gain[..., :, None] * row
        whole = _then(whole, _Back(_t(kept), -misfit[:, None] * row, certain[:, None, None] * jnp.outer(row, row)))
    back = _t(jax.vmap(lambda days: space.step(days)[0])(since))
    whole = _then(whole, _Back(back, jnp.zeros((dates, size), since.dtype), jnp.zeros_like(unit)))
    found = jax.lax.associative_scan(_then, whole, reverse=True)
    slope = jnp.concatenate([found.slope[1:], jnp.zeros((1, size), since.dtype)])
    return slope, jnp.concatenate([found.curvature[1:], jnp.zeros((1, size, size), since.dtype)])
