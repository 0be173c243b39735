"""The one training loop."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

Loss: TypeAlias = Callable[[Any, Array, Any], Array]

_PATIENCE = 5  # steps one after the other without a finite gradient


@dataclasses.dataclass(frozen=True)
class Trained:
    """What `train` returns.

    Attributes:
        parameters: the trained pytree (its running average where one was asked for).
        history: loss of every step `(step,)`; NaN for a step that was left out, for its gradient was not finite.
    """

    parameters: Any
    history: np.ndarray


def adam(
    steps: int, *, learning_rate: float = 1e-3, weight_decay: float = 0.0, clip: float = 1.0, warmup: float = 0.02
) -> optax.GradientTransformation:
    """AdamW under a cosine schedule with a short linear warm-up, gradients clipped to a global norm.

    Args:
        steps: length of the schedule.
        learning_rate: at its peak.
        weight_decay: decoupled from the gradient; 0 is Adam.
        clip: largest global norm of the gradient.
        warmup: share of the steps over which the rate rises.
    """
    rising = max(1, round(warmup * steps))
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=learning_rate / rising,
        peak_value=learning_rate,
        warmup_steps=rising,
        decay_steps=max(steps, rising + 1),
    )
    return optax.chain(optax.clip_by_global_norm(clip), optax.adamw(schedule, weight_decay=weight_decay))


def train(
    loss: Loss,
    parameters: Any,
    data: Any = None,
    *,
    key: Array,
    steps: int,
    optimiser: optax.GradientTransformation | None = None,
    average: float | None = None,
    block: int = 20,
    progress: bool = False,
    description: str = "training",
) -> Trained:
    """Minimises a stochastic loss.

    A step whose gradient is not finite changes nothing: among millions of simulations some lie where the model breaks
    down, and one of them must not end a training.

    Args:
        loss: `loss(parameters, key, data) -> scalar`; draws its own minibatch or simulations from `key`.
        parameters: pytree of arrays to start from; it is left untouched.
        data: pytree of arrays handed to the loss, kept on the device.
        key: random key; the same key gives the same result.
        steps: number of updates.
        optimiser: default `adam(steps)`.
        average: decay of an exponential running average of the parameters (e.g. 0.999), returned instead of the last
            ones; None for none.
        block: steps between two waits for the device. Steps are dispatched ahead of their results; waiting every few
            keeps memory bounded and collectives alive, and is when progress is shown and the loss is checked.
        progress: show a bar with loss, rate and time left.
        description: beside the bar.

    Raises:
        FloatingPointError: five steps one after the other (or all, if they are fewer) had no finite loss and gradient.
    """
    if steps < 1:
        raise ValueError(f"expected at least one step, got {steps}")
    patience = min(_PATIENCE, steps)
    # Updates make weak types strong, and what has changed its type is compiled again.
    parameters = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), parameters)
    optimiser = optax.apply_if_finite(adam(steps) if optimiser is None else optimiser, patience)

    @jax.jit
    def update(parameters: Any, state: Any, averaged: Any, step: Array, data: Any) -> tuple[Any, Any, Any, Array]:
        value, gradient = jax.value_and_grad(loss)(parameters, jax.random.fold_in(key, step), data)
        change, state = optimiser.update(gradient, state, parameters)
        value = jnp.where(state.last_finite, value, jnp.nan)
        parameters = optax.apply_updates(parameters, change)
        if average is not None:
            # Early steps weigh less than the decay says, or the average would remember the start for long.
            decay = jnp.minimum(average, (1.0 + step) / (10.0 + step))
            averaged = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, averaged, parameters)
        return parameters, state, averaged, value

    state, averaged = optimiser.init(parameters), parameters if average is not None else None
    history: list[np.ndarray] = []
    pending: list[Array] = []
    missing = 0
    with _bar(steps, description, progress) as show:
        for step in range(steps):
            parameters, state, averaged, value = update(parameters, state, averaged, jnp.asarray(step), data)
            pending.append(value)
            if len(pending) == block or step == steps - 1:
                losses = np.asarray(jax.device_get(pending))
                finite = np.isfinite(losses)
                for index, known in enumerate(finite, step + 1 - len(losses)):
                    missing = 0 if known else missing + 1
                    if missing == patience:
                        raise FloatingPointError(
                            f"{description}: expected a finite loss and gradient, got none for {patience} steps from "
                            f"step {index + 1 - patience} on; check the model at extreme parameters, or lower the "
                            "learning rate"
                        )
                history.append(losses)
                pending = []
                show(step + 1, float(losses[finite].mean()) if finite.any() else float("nan"))
    return Trained(parameters=averaged if average is not None else parameters, history=np.concatenate(history))


@contextlib.contextmanager
def _bar(steps: int, description: str, visible: bool) -> Iterator[Callable[[int, float], None]]:
    if not visible:
        yield lambda step, loss: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4g}"),
        TextColumn("{task.fields[rate]:.0f} steps/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=False) as bar:
        task = bar.add_task(description, total=steps, loss=float("nan"), rate=0.0)

        def show(step: int, loss: float) -> None:
            bar.update(task, completed=step, loss=loss, rate=bar.tasks[0].speed or 0.0)

        yield show
