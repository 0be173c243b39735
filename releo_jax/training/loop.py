"""The one training loop."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from releo_jax.errors import ReleoError
from releo_jax.training.checkpoints import Checkpoints, checksum, layout_of
from releo_jax.training.devices import Loss, Strategy, layout
from releo_jax.training.metrics import Metrics

_PATIENCE = 5  # steps one after the other without a finite gradient


@dataclasses.dataclass(frozen=True)
class Trained:
    """What `train` returns.

    Attributes:
        parameters: the trained pytree (its running average where one was asked for; the best one where a training
            may end early).
        history: loss of every step `(step,)`; NaN for a step that was left out, for its gradient was not finite.
        validation: scores that `Stopping` saw `(look,)`; empty without.
    """

    parameters: Any
    history: np.ndarray
    validation: np.ndarray


@dataclasses.dataclass(frozen=True)
class Stopping:
    """Ends a training that does not get better, and returns its best parameters.

    Attributes:
        score: `score(parameters, data) -> scalar`, the smaller the better; deterministic. It sees the running average
            where there is one.
        data: pytree of arrays for it, other than those of the training.
        every: steps between two looks.
        patience: looks without a smaller score after which the training ends.
    """

    score: Callable[[Any, Any], Array]
    data: Any = None
    every: int = 100
    patience: int = 10


@dataclasses.dataclass(frozen=True)
class Loop:
    """How a training runs.

    Loss and gradient of a step are the means of `parts` calls of the loss, each with a key of its own. The parts are
    shared out over devices. What is learned depends on their number, as it does on the size of a batch, and on nothing
    else: not on how many devices there are, not on the strategy, not on stops in between.

    Attributes:
        parts: of a step.
        devices: to run on; None for all, those of other processes included (`jax.distributed`). As many are used as
            share the parts evenly.
        strategy: "jit", one program over a mesh of devices, or "pmap", the older form of the same.
        split: the parts share the rows of the data (first axis of every leaf) instead of seeing all of them: a device
            holds its rows alone, and the loss draws from the rows that it is given.
        block: steps between two waits for the device. Steps are dispatched ahead of their results; waiting every few
            keeps memory bounded and collectives alive, and is when progress is shown and the loss is checked.
        checkpoints: folder for the state of the training. One that finds the state of the same training goes on from
            there, and its losses are those of a training that was not stopped.
        checkpoint_every: steps between two of them.
        metrics: where losses are written.
        stopping: when to end early.
    """

    parts: int = 1
    devices: Sequence[jax.Device] | None = None
    strategy: Strategy = "jit"
    split: bool = False
    block: int = 20
    checkpoints: str | os.PathLike[str] | None = None
    checkpoint_every: int = 500
    metrics: Sequence[Metrics] = ()
    stopping: Stopping | None = None

    def share(self, batch: int) -> int:
        """Batch of a part, where that of a step is `batch`.

        Raises:
            ReleoError: the parts do not share it evenly.
        """
        if batch % self.parts:
            raise ReleoError(
                f"expected a batch that {self.parts} parts share evenly, got {batch}; choose a multiple of {self.parts}"
            )
        return batch // self.parts


class _State(NamedTuple):
    """What a step changes; `averaged` is None without a running average."""

    parameters: Any
    optimiser: Any
    averaged: Any

    @property
    def told(self) -> Any:
        return self.parameters if self.averaged is None else self.averaged


class _Record(NamedTuple):
    """What was seen so far: the loss of every step, the score of every look, and the parameters at the best one."""

    history: np.ndarray
    scores: np.ndarray
    best: Any


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
    loop: Loop | None = None,
    progress: bool = False,
    description: str = "training",
) -> Trained:
    """Minimises a stochastic loss.

    A step whose gradient is not finite changes nothing: among millions of simulations some lie where the model breaks
    down, and one of them must not end a training.

    Args:
        loss: `loss(parameters, key, data) -> scalar`; draws its own minibatch or simulations from `key`.
        parameters: pytree of arrays to start from; it is left untouched.
        data: pytree of arrays handed to the loss, kept on the devices.
        key: random key; the same key gives the same result.
        steps: number of updates.
        optimiser: default `adam(steps)`.
        average: decay of an exponential running average of the parameters (e.g. 0.999), returned instead of the last
            ones; None for none.
        loop: devices, checkpoints, metrics, early end; default all devices, and one part, which takes one of them.
        progress: show a bar with loss, rate and time left.
        description: beside the bar.

    Raises:
        FloatingPointError: five steps one after the other (or all, if they are fewer) had no finite loss and gradient.
        ReleoError: parts, data and devices that do not fit, or checkpoints of another training.
    """
    if steps < 1:
        raise ReleoError(f"expected at least one step, got {steps}")
    loop = Loop() if loop is None else loop
    places = layout(loop.parts, loop.devices, loop.split, loop.strategy)
    patience = min(_PATIENCE, steps)
    # Updates make weak types strong, and what has changed its type is compiled again.
    parameters = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), parameters)
    optimiser = optax.apply_if_finite(adam(steps) if optimiser is None else optimiser, patience)
    slope = places.slope(loss)
    words, kind = np.asarray(jax.random.key_data(key)), jax.random.key_impl(key)

    def update(state: _State, step: Array, data: Any) -> tuple[_State, Array]:
        own = jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(words), impl=kind), step)
        value, gradient = slope(state.parameters, own, data)
        change, rest = optimiser.update(gradient, state.optimiser, state.parameters)
        value = jnp.where(rest.last_finite, value, jnp.nan)
        parameters, averaged = optax.apply_updates(state.parameters, change), state.averaged
        if average is not None:
            # Early steps weigh less than the decay says, or the average would remember the start for long.
            decay = jnp.minimum(average, (1.0 + step) / (10.0 + step))
            averaged = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, averaged, parameters)
        return _State(parameters, rest, averaged), value

    state = places.everywhere(_State(parameters, optimiser.init(parameters), None if average is None else parameters))
    stopping = loop.stopping
    looks = 0 if stopping is None else steps // stopping.every
    record = _Record(
        np.full(steps, np.nan, np.float32), np.full(looks, np.inf, np.float32), state.parameters if looks else None
    )
    training = {
        "steps": steps,
        "key": words.tolist(),
        "parts": loop.parts,
        "split": loop.split,
        "average": average,
        "looks": looks,
        "state": layout_of(state),
        "parameters": checksum(parameters),
        "data": checksum(data),
    }
    data = places.data(data)
    program = places.program(update)
    score = None if stopping is None else _score(stopping, places.everywhere(stopping.data))
    first = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        checkpoints, done = None, 0
        if loop.checkpoints is not None:
            checkpoints = stack.enter_context(Checkpoints(loop.checkpoints, training))
            found = checkpoints.restore((state, record))
            if found is not None:
                done, (state, record) = found
                record = record._replace(history=np.array(record.history), scores=np.array(record.scores))
        for writer in loop.metrics if first else ():
            writer.begin(done)
            stack.callback(writer.close)
        show = stack.enter_context(_bar(steps, description, progress and first, done))
        begin = time.perf_counter()
        pending: list[Array] = []
        while done < steps and not _over(record, stopping, done):
            state, value = program(state, np.int32(done), data)
            pending.append(value)
            done += 1
            look = score is not None and stopping is not None and done % stopping.every == 0
            save = checkpoints is not None and done % loop.checkpoint_every == 0
            if not (look or save or done % loop.block == 0 or done == steps):
                continue
            losses = np.asarray(jax.device_get(pending), np.float32)
            pending = []
            record.history[done - len(losses) : done] = losses
            _check(record.history[:done], patience, len(losses), description)
            values = {"loss": _mean(losses), "seconds": time.perf_counter() - begin}
            if look:
                assert score is not None and stopping is not None
                values["validation"] = seen = score(state.told)
                if seen < record.scores.min():
                    record = record._replace(best=state.told)
                record.scores[done // stopping.every - 1] = seen
            for writer in loop.metrics if first else ():
                writer.write(done, values)
            show(done, values["loss"])
            if checkpoints is not None and (save or done == steps or _over(record, stopping, done)):
                checkpoints.save(done, (state, record))
    best = state.told if record.best is None or not np.isfinite(record.scores).any() else record.best
    return Trained(
        # On the host and back: what was trained on many devices is used on any.
        parameters=jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), best),
        history=record.history[:done],
        validation=record.scores[: done // stopping.every] if stopping else record.scores,
    )


def _score(stopping: Stopping, data: Any) -> Callable[[Any], float]:
    compiled = jax.jit(stopping.score)

    def score(parameters: Any) -> float:
        found = float(compiled(parameters, data))
        return found if np.isfinite(found) else np.inf

    return score


def _over(record: _Record, stopping: Stopping | None, done: int) -> bool:
    """Whether the last looks, as many as patience bears, found nothing better."""
    if stopping is None or done < stopping.every:
        return False
    looks = done // stopping.every
    return looks - 1 - int(record.scores[:looks].argmin()) >= stopping.patience


def _mean(losses: np.ndarray) -> float:
    finite = np.isfinite(losses)
    return float(losses[finite].mean()) if finite.any() else float("nan")


def _check(history: np.ndarray, patience: int, new: int, description: str) -> None:
    """Ends a training whose losses are not finite, one after the other."""
    missing = 0
    for step in range(max(0, len(history) - new - patience), len(history)):
        missing = 0 if np.isfinite(history[step]) else missing + 1
        if missing == patience:
            raise FloatingPointError(
                f"{description}: expected a finite loss and gradient, got none for {patience} steps from step "
                f"{step + 1 - patience} on; check the model at extreme parameters, or lower the learning rate"
            )


@contextlib.contextmanager
def _bar(steps: int, description: str, visible: bool, done: int) -> Iterator[Callable[[int, float], None]]:
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
        task = bar.add_task(description, total=steps, completed=done, loss=float("nan"), rate=0.0)

        def show(step: int, loss: float) -> None:
            bar.update(task, completed=step, loss=loss, rate=bar.tasks[0].speed or 0.0)

        yield show
