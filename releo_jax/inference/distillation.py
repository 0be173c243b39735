"""Marginals of derived quantities as network heads, learned from simulations: as fast as those of the sites.

A quantity that follows from the sites (absorbed light, chlorophyll of the canopy) has a posterior of its own. Draws
give it exactly, at the price of running the physics for each. A head on the context of the trained encoder gives the
same at the price of a matrix product: it maximises the likelihood of the simulated quantity, and what is learned is its
marginal posterior, for the context holds what the encoder knows of the pixel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from numpyro.distributions import constraints

from releo_jax.inference.amortized import AmortizedPosterior
from releo_jax.inference.families import LogitNormal
from releo_jax.inference.laws import NormalMarginal
from releo_jax.inference.objectives import Source
from releo_jax.inference.structure import Site, simulate
from releo_jax.training.loop import Loop, adam, train

Quantities = Callable[[Mapping[str, Array], Any], Mapping[str, Array]]
"""From sites `(pixel, ...)` and observations to derived quantities `(pixel,)` by name."""


class Heads(nnx.Module):
    """A hidden layer on the context, then independent logit-normal laws.

    Args:
        sites: one for each quantity.
        features: of the context.
        width: of the hidden layer.
        location, scale: of the quantities under the prior, unconstrained `(quantity,)`.
        rngs: random streams of the initial weights.
    """

    def __init__(
        self, sites: tuple[Site, ...], features: int, *, width: int, location: Array, scale: Array, rngs: nnx.Rngs
    ) -> None:
        self.hidden = nnx.Linear(features, width, rngs=rngs)
        self.laws = LogitNormal(sites, width, location=location, scale=scale)

    def __call__(self, context: Array) -> Any:
        """Joint law of the quantities; only its marginals mean anything."""
        return self.laws(jax.nn.relu(self.hidden(context)))

    def marginal(self, context: Array, names: Sequence[str]) -> dict[str, NormalMarginal]:
        """Laws of some quantities."""
        hidden = jax.nn.relu(self.hidden(context))
        return {name: self.laws.marginal(hidden, name) for name in names}


@dataclasses.dataclass(frozen=True, eq=False)
class Distilled:
    """Heads for derived quantities on the context of an amortised posterior; made by `distil`.

    Attributes:
        bounds: smallest and largest value of each quantity, by name.
        graph: static part of the heads.
        parameters: trained part.
        constants: what is stored and not trained.
    """

    bounds: Mapping[str, tuple[float, float]]
    graph: nnx.GraphDef
    parameters: nnx.State
    constants: nnx.State

    def heads(self, parameters: Any = None) -> Heads:
        """The Flax module."""
        return nnx.merge(self.graph, self.parameters if parameters is None else parameters, self.constants)


def untrained(
    bounds: Mapping[str, tuple[float, float]],
    features: int,
    *,
    width: int = 64,
    location: Array | None = None,
    scale: Array | None = None,
    key: Array | None = None,
) -> Distilled:
    """Heads before training: arguments as of `distil` and `Heads`."""
    heads = Heads(
        _sites(bounds),
        features,
        width=width,
        location=jnp.zeros(len(bounds)) if location is None else location,
        scale=jnp.ones(len(bounds)) if scale is None else scale,
        rngs=nnx.Rngs(0 if key is None else key),
    )
    return Distilled(bounds, *nnx.split(heads, nnx.Param, ...))


def _sites(bounds: Mapping[str, tuple[float, float]]) -> tuple[Site, ...]:
    return tuple(Site(name, constraints.interval(*map(float, pair)), (), ()) for name, pair in bounds.items())


def distil(
    amortized: AmortizedPosterior,
    quantities: Quantities,
    bounds: Mapping[str, tuple[float, float]],
    acquisitions: Source,
    *,
    key: Array,
    steps: int = 3000,
    batch: int = 1024,
    learning_rate: float = 2e-3,
    width: int = 64,
    loop: Loop | None = None,
    progress: bool = False,
) -> Distilled:
    """Learns the marginal posteriors of derived quantities from simulations; the encoder stays as it is.

    Args:
        amortized: trained posterior.
        quantities: from sites and observations of pixels to the quantities `(pixel,)`.
        bounds: smallest and largest value of each, by name.
        acquisitions: sampler of angles and masks.
        key: random key.
        steps, batch, learning_rate: of the training.
        width: of the hidden layer of the heads.
        loop: devices, checkpoints, metrics, see `releo_jax.training.Loop`; its parts share the batch.
        progress: show a bar.

    Returns:
        The heads.
    """
    if not callable(acquisitions):
        raise ValueError("distil: expected an acquisition sampler, got observations; wrap them by from_observations")
    sites = _sites(bounds)
    key_start, key_init, key_train = jax.random.split(key, 3)

    def pairs(key: Array, n: int) -> tuple[dict[str, Array], Any]:
        key_acquisition, key_model = jax.random.split(key)
        seen = acquisitions(key_acquisition, n)
        values, simulated = simulate(
            amortized.structure, amortized.model, seen, key_model, separately=bool(amortized.structure.shared)
        )
        found = quantities(values, simulated)
        return {name: found[name] for name in bounds}, simulated

    encoder = amortized.guide().encoder
    first, seen = jax.jit(pairs, static_argnums=1)(key_start, 4096)
    real = jnp.concatenate([site.to_real(first[site.name]) for site in sites], -1)
    features = jax.eval_shape(encoder, seen).shape[1]
    blank = untrained(bounds, features, width=width, location=real.mean(0), scale=real.std(0), key=key_init)

    loop = Loop() if loop is None else loop
    own = loop.share(batch)

    def loss(parameters: Any, key: Array, data: None) -> Array:
        values, simulated = pairs(key, own)
        context = jax.lax.stop_gradient(encoder(simulated))
        return -jnp.mean(blank.heads(parameters)(context).log_prob(values))

    trained = train(
        loss,
        blank.parameters,
        key=key_train,
        steps=steps,
        optimiser=adam(steps, learning_rate=learning_rate),
        average=0.99,
        loop=loop,
        progress=progress,
        description="derived quantities",
    )
    return dataclasses.replace(blank, parameters=trained.parameters)
