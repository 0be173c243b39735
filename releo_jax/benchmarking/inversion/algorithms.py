"""Algorithms of the benchmark; a user adds one by writing one function.

    @algorithm
    def mine(task: Task, budget: Budget, key: Array) -> Inverter:
        table = ...                                         # what is done once: timed as training
        return Inverter(lambda data, key: my_posterior(data, table, key), simulations=budget.simulations)

An inverter takes observations to a `Posterior`, or to anything whose `sample(key, n)` gives draws `(n, pixel)` by site.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import Array

from releo_jax.benchmarking.inversion.newton_flow import STARTS, FlowAround, NewtonEncoder
from releo_jax.benchmarking.inversion.tasks import Task
from releo_jax.encoders import PixelEncoder
from releo_jax.inference import (
    AmortizedPosterior,
    amortize,
    fit_laplace,
    fit_lut,
    fit_nuts,
    fit_smc,
    fit_svi,
    refine,
)
from releo_jax.observations import Observations

BATCH = 512
"""Simulations of a step of training."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What an algorithm may spend.

    Attributes:
        name: of the budget.
        entries: of a table of simulations.
        steps: of an optimiser that trains, each on fresh simulations.
        draws: of samplers, for each pixel.
        width: of networks.
    """

    name: str
    entries: int
    steps: int
    draws: int
    width: int

    @property
    def simulations(self) -> int:
        """Number that training takes."""
        return self.steps * BATCH


BUDGETS: Mapping[str, Budget] = {
    budget.name: budget
    for budget in (
        Budget("tiny", 2_000, 100, 100, 32),
        Budget("short", 20_000, 1_000, 300, 64),
        Budget("medium", 200_000, 5_000, 1_000, 128),
        Budget("long", 1_000_000, 30_000, 2_000, 256),
    )
}
"""By name: tiny for tests, short for minutes, medium for an hour, long for a night on two cores."""


@dataclasses.dataclass(frozen=True)
class Inverter:
    """What an algorithm leaves after training.

    Attributes:
        posterior: from observations and a random key to a posterior.
        simulations: spent in training.
        per_pixel: simulations for each pixel, from the posterior that they gave; trajectories where it is a sampler
            that follows gradients, each of several simulations.
        pixels: so many fresh pixels are inverted to look at coverage and ranks.
        amortized: whether a trained network gives the posterior in one pass.
        training_seconds: of its training, where that was not done just now; None for what making the inverter took.
    """

    posterior: Callable[[Observations, Array], Any]
    simulations: int = 0
    per_pixel: Callable[[Any], float] = lambda posterior: 0.0
    pixels: int = 1000
    amortized: bool = False
    training_seconds: float | None = None


Algorithm = Callable[[Task, Budget, Array], Inverter]

ALGORITHMS: dict[str, Algorithm] = {}
"""By name; `algorithm` adds to it."""


def algorithm(function: Algorithm) -> Algorithm:
    """Registers an algorithm under the function's name."""
    ALGORITHMS[function.__name__] = function
    return function


def get_algorithm(name: str) -> Algorithm:
    """The algorithm of that name.

    Raises:
        ValueError: no such algorithm.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"expected an algorithm among {sorted(ALGORITHMS)}, got {name!r}; add yours with @algorithm")
    return ALGORITHMS[name]


@algorithm
def nuts(task: Task, budget: Budget, key: Array) -> Inverter:
    """The No-U-Turn sampler, two chains of a pixel."""
    chains, warmup, draws = 2, max(budget.draws // 2, 100), max(budget.draws // 2, 50)
    return Inverter(
        lambda data, key: fit_nuts(
            task.model, data, key=key, chains=chains, warmup=warmup, draws=draws, reference=0, max_pixels=1024
        ),
        per_pixel=lambda posterior: chains * (warmup + draws),
        pixels=min(100, budget.draws),
    )


@algorithm
def smc(task: Task, budget: Budget, key: Array) -> Inverter:
    """Tempering with as many particles as draws are asked for, ten moves at each temperature."""
    moves = 10
    return Inverter(
        lambda data, key: fit_smc(task.model, data, key=key, particles=budget.draws, moves=moves, reference=0),
        per_pixel=lambda posterior: float(posterior.diagnostics["temperatures"].mean()) * moves * budget.draws,
        pixels=min(100, budget.draws),
    )


@algorithm
def laplace(task: Task, budget: Budget, key: Array) -> Inverter:
    """A normal law around the mode on the real line."""
    return Inverter(lambda data, key: fit_laplace(task.model, data, key=key, reference=0), per_pixel=lambda _: 50 + 32)


@algorithm
def svi(task: Task, budget: Budget, key: Array) -> Inverter:
    """The closest normal law on the real line, pixel by pixel."""
    steps = min(budget.steps, 300)
    return Inverter(
        lambda data, key: fit_svi(task.model, data, key=key, steps=steps, reference=0),
        per_pixel=lambda _: 8 * steps + 50 + 32,
        pixels=500,
    )


@algorithm
def lut(task: Task, budget: Budget, key: Array) -> Inverter:
    """A table of simulations from the prior, weighted by the likelihood."""

    def invert(data: Observations, key: Array) -> Any:
        drawn = min(1000, budget.entries)
        return fit_lut(task.model, data, key=key, entries=budget.entries, draws=drawn, reference=0)

    return Inverter(invert, simulations=budget.entries, pixels=500)


def train(
    task: Task, budget: Budget, key: Array, family: str, *, newton: int = 0, **options: Any
) -> tuple[AmortizedPosterior, float]:
    """A guide trained on pairs that the model itself makes, each seen once, and the seconds it took.

    Tasks that share a model, and algorithms that share a guide, train it once.

    Args:
        task: whose model is inverted.
        budget: steps and widths.
        key: random key.
        family: of the guide.
        newton: steps of Newton's method before the network; 0 for none. With any the family is a flow around them.
        **options: of the family.
    """
    seed = tuple(np.asarray(jax.random.key_data(key)).tolist())
    given = (task.model, budget, seed, family, newton, tuple(options.items()))
    if given not in _TRAINED:
        begin = time.perf_counter()
        trained = _train(task, budget, key, family, newton, options)
        _TRAINED[given] = trained, time.perf_counter() - begin
    return _TRAINED[given]


_TRAINED: dict[Any, tuple[AmortizedPosterior, float]] = {}


def _train(
    task: Task, budget: Budget, key: Array, family: str, newton: int, options: Mapping[str, Any]
) -> AmortizedPosterior:
    key_example, key_weights, key_fit = jax.random.split(key, 3)
    # The model that is inverted teaches, whatever made the observations.
    _, example = dataclasses.replace(task, nature=None).simulate(key_example, 2048)
    rngs = nnx.Rngs(int(jax.random.randint(key_weights, (), 0, 2**31 - 1)))
    how: Any = {"width": budget.width, "depth": 3, "activation": jax.nn.gelu, "rngs": rngs}
    if newton:
        around = NewtonEncoder(task.target, example, steps=newton, **how)
        untrained = amortize(task.model, around, example, family=FlowAround, family_options=options)
    else:
        untrained = amortize(task.model, PixelEncoder(example, **how), example, family=family, family_options=options)
    return untrained.fit(
        task.acquisitions,
        key=key_fit,
        objective="simulation",
        steps=budget.steps,
        batch=BATCH,
        learning_rate=1.5e-3,
        average=min(0.999, 1.0 - 10.0 / budget.steps),
    )


def _amortized(task: Task, budget: Budget, key: Array, family: str, *, newton: int = 0, **options: Any) -> Inverter:
    guide, seconds = train(task, budget, key, family, newton=newton, **options)
    # Values at the points to start from, values and one slope for each unknown at each step.
    spent = STARTS + (newton + 1) * (task.target.size + 1) if newton else 0.0
    return Inverter(
        lambda data, key: guide(data),
        simulations=budget.simulations,
        per_pixel=lambda _: spent,
        amortized=True,
        training_seconds=seconds,
    )


@algorithm
def full_covariance(task: Task, budget: Budget, key: Array) -> Inverter:
    """Amortised, a multivariate normal on the real line."""
    return _amortized(task, budget, key, "full_covariance")


@algorithm
def mixture(task: Task, budget: Budget, key: Array) -> Inverter:
    """Amortised, a mixture of eight multivariate normals on the real line."""
    return _amortized(task, budget, key, "mixture", components=8)


@algorithm
def flow(task: Task, budget: Budget, key: Array) -> Inverter:
    """Amortised, a multivariate normal bent by splines."""
    return _amortized(task, budget, key, "flow")


@algorithm
def newton_flow(task: Task, budget: Budget, key: Array) -> Inverter:
    """Amortised, a flow around the normal law that six Newton steps arrive at: for simulators that cost little."""
    return _amortized(task, budget, key, "flow", newton=6)


@algorithm
def mixture_importance(task: Task, budget: Budget, key: Array) -> Inverter:
    """The amortised mixture, its draws weighted by the model's own density."""
    guide, seconds = train(task, budget, key, "mixture", components=8)
    draws, keep = 10 * budget.draws, budget.draws
    return Inverter(
        lambda data, key: refine(guide(data), key=key, draws=draws, keep=keep),
        simulations=budget.simulations,
        per_pixel=lambda _: draws,
        pixels=200,
        training_seconds=seconds,
    )


__all__ = ["ALGORITHMS", "BATCH", "BUDGETS", "Algorithm", "Budget", "Inverter", "algorithm", "get_algorithm", "train"]
