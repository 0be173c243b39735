"""Amortised posteriors: a guide built from the trace of any NumPyro model, trained once, applied to any image."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from releo_jax.inference import storage
from releo_jax.inference.calibration import CalibrationReport, simulation_based_calibration
from releo_jax.inference.checks import assess
from releo_jax.inference.chunks import MEMORY, shared_out
from releo_jax.inference.density import prior_moments, read_target
from releo_jax.inference.families import FAMILIES, SharedNormal
from releo_jax.inference.objectives import OBJECTIVES, Objective, Source
from releo_jax.inference.posterior import Deferred, GuidePosterior, quantile_name
from releo_jax.inference.structure import Model, Structure, read_structure
from releo_jax.observations import Observations, check_observations
from releo_jax.training.loop import Loop, adam, train

_REFERENCE = 512  # simulated pixels that calibrate the misfit


class Guide(nnx.Module):
    """Encoder and heads together: everything that has weights.

    Attributes:
        encoder: from observations to the context `(pixel, feature)`.
        local: family of the sites inside the plate.
        shared: family of the global sites, None where the model has none.
    """

    def __init__(self, encoder: nnx.Module, local: nnx.Module, shared: nnx.Module | None) -> None:
        self.encoder, self.local, self.shared = encoder, local, shared


@dataclasses.dataclass(frozen=True, eq=False)
class AmortizedPosterior:
    """A guide for a model; immutable. Make it with `amortize`, train it with `fit`, apply it by calling it.

    Attributes:
        model: NumPyro model function.
        structure: its sites.
        graph: static part of the guide.
        parameters: trained part of the guide.
        constants: what the guide stores and does not train.
        options: arguments of `amortize` that a file must repeat.
        acquisitions: sampler of the last fit to simulations, used by `sbc`.
        history: losses, one array per `fit`.
    """

    model: Model
    structure: Structure
    graph: nnx.GraphDef
    parameters: nnx.State
    constants: nnx.State
    options: Mapping[str, Any]
    acquisitions: Source | None = None
    history: tuple[np.ndarray, ...] = ()

    def guide(self, parameters: Any = None) -> Guide:
        """The guide as a Flax module, with these parameters instead of its own if given."""
        return nnx.merge(self.graph, self.parameters if parameters is None else parameters, self.constants)

    def fit(
        self,
        source: Source,
        *,
        key: Array,
        objective: str | Objective = "simulation",
        steps: int = 2000,
        batch: int = 1024,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        clip: float = 1.0,
        optimiser: optax.GradientTransformation | None = None,
        average: float | None = None,
        loop: Loop | None = None,
        progress: bool = False,
        **options: Any,
    ) -> AmortizedPosterior:
        """Trains the guide, from where it stands.

        Args:
            source: acquisition sampler (for `simulation`) or observations.
            key: random key; the same key gives the same result.
            objective: "simulation", "elbo", "iw_elbo", "moment_matching", or a record of the like; see
                `releo_jax.inference.objectives`.
            steps: optimiser steps.
            batch: pixels per step.
            learning_rate, weight_decay, clip: of the default optimiser, see `releo_jax.training.loop.adam`.
            optimiser: instead of the default.
            average: decay of a running average of the weights; None for none.
            loop: devices, checkpoints, metrics, early end, see `releo_jax.training.Loop`; its parts share the batch.
            progress: show a bar.
            **options: fields of the objective, e.g. `n_simulations=300_000`, `particles=8`, `n_total=N`.

        Returns:
            A new amortised posterior.

        Raises:
            ValueError: unknown objective or options, a source that the objective cannot use, or a batch that the
                parts of a step do not share evenly.
            FloatingPointError: five steps one after the other had no finite loss and gradient; one is left out.
        """
        if isinstance(objective, str):
            if objective not in OBJECTIVES:
                raise ValueError(f"objective: expected one of {sorted(OBJECTIVES)}, got {objective!r}")
            chosen = _construct(OBJECTIVES[objective], objective, options)
        else:
            if options:
                raise ValueError(f"expected options inside the objective, got {sorted(options)} beside it")
            chosen = objective
        key_prepare, key_train = jax.random.split(key)
        loop = Loop() if loop is None else loop
        loss, data = chosen.prepare(self, source, key=key_prepare, batch=loop.share(batch))
        if optimiser is None:
            optimiser = adam(steps, learning_rate=learning_rate, weight_decay=weight_decay, clip=clip)
        trained = train(
            loss,
            self.parameters,
            data,
            key=key_train,
            steps=steps,
            optimiser=optimiser,
            average=average,
            loop=loop,
            progress=progress,
            description=objective if isinstance(objective, str) else type(objective).__name__,
        )
        return dataclasses.replace(
            self,
            parameters=trained.parameters,
            acquisitions=source if callable(source) else self.acquisitions,
            history=(*self.history, trained.history),
        )

    def __call__(self, observations: Observations) -> GuidePosterior:
        """The posterior of every pixel; its diagnostics (see `releo_jax.inference.checks`) are made when asked for."""
        check_observations(observations)
        observations = dict(observations)
        posterior = self._state(observations)
        posterior.diagnostics = Deferred(lambda: self._assess(observations, posterior))
        return posterior

    def _state(self, observations: Observations) -> GuidePosterior:
        law, shared = _laws(self.graph, self.parameters, self.constants, shared_out(dict(observations)))
        return GuidePosterior(
            model=self.model, structure=self.structure, observations=observations, law=law, shared=shared
        )

    def _assess(self, observations: Observations, posterior: GuidePosterior) -> dict[str, Array]:
        target = read_target(self.model, observations, plate=self.structure.plate)
        shared: Any = {} if posterior.shared is None else posterior.shared
        # A fixed key: the same image gets the same flags.
        how: Any = {"key": jax.random.key(0), "reference": _REFERENCE, "memory": MEMORY}
        return assess(target, observations, posterior, self._state, shared, **how)

    def marginals(
        self, observations: Observations, *, sites: Sequence[str], levels: Sequence[float] = (0.05, 0.5, 0.95)
    ) -> dict[str, Array]:
        """Means, standard deviations and quantiles of a few sites, as fast as it goes: one compiled function.

        Args:
            observations: pixels.
            sites: local latent sites; with the family `full_covariance` those named first in `amortize` are cheapest.
            levels: probabilities of the quantiles.

        Returns:
            `{site}_mean`, `{site}_std` and `{site}_q05` ..., each `(pixel, *site.shape)`.
        """
        for site in sites:
            self.structure.site(site)
        pixels = shared_out(dict(observations))
        return _marginals(self.graph, self.parameters, self.constants, pixels, tuple(sites), tuple(map(float, levels)))

    def sbc(
        self, *, key: Array, n: int = 1000, draws: int = 200, acquisitions: Source | None = None
    ) -> CalibrationReport:
        """Simulation-based calibration: ranks of simulated true values among posterior draws.

        Args:
            key: random key.
            n: simulated pixels.
            draws: posterior draws of each.
            acquisitions: sampler or observations that give angles and masks; default those of the last fit.
        """
        acquisitions = self.acquisitions if acquisitions is None else acquisitions
        if acquisitions is None:
            raise ValueError(
                "sbc: expected acquisitions, got none; pass a sampler, or observations with angles and masks"
            )
        return simulation_based_calibration(self, acquisitions, key=key, n=n, draws=draws)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights and what is needed to check them on loading into one safetensors file."""
        storage.save(path, self.parameters, self.constants, storage.description(self.structure, self.options))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], model: Model, encoder: nnx.Module, example: Observations
    ) -> AmortizedPosterior:
        """Reads a file written by `save`.

        Args:
            path: of the file.
            model: the same NumPyro model function.
            encoder: of the same kind and size; its weights are replaced.
            example: observations with the shapes to come; their values do not matter.

        Raises:
            ValueError: the model or the encoder is not the one that was saved.
        """
        options = storage.read_options(path)
        structure = read_structure(model, example, plate=options["plate"], first=options["sites"])
        storage.check_structure(path, structure)
        untrained = _build(model, encoder, example, structure, options, moments=_no_moments)
        parameters, constants = storage.restore(path, untrained.parameters, untrained.constants)
        return dataclasses.replace(untrained, parameters=parameters, constants=constants)


def amortize(
    model: Model,
    encoder: nnx.Module,
    example: Observations,
    *,
    plate: str = "pixel",
    family: str | Callable[..., nnx.Module] = "full_covariance",
    family_options: Mapping[str, Any] = MappingProxyType({}),
    global_family: str = "normal",
    sites: Sequence[str] = (),
    at_prior: bool = True,
) -> AmortizedPosterior:
    """Builds the amortised guide of a model from its trace.

    The trace tells which latent sites are local (inside the plate of pixels) and which are global, where they live,
    and what is observed. Heads start at the mean and standard deviation of the sites under the prior.

    Args:
        model: NumPyro model function of the observations. Inside the plate every latent has batch shape `(pixel,)` and
            a fixed support, and observations are scored by `observe`.
        encoder: Flax module, called with observations, returns the context `(pixel, feature)`; computed for each pixel
            on its own.
        example: observations with the shapes to come, any number of pixels.
        plate: name of the plate of pixels.
        family: of the local sites: "truncated_normal" (independent, on intervals), "logit_normal" (independent
            normals on the unconstrained line), "full_covariance" (a multivariate normal there), "mixture" (several of
            these), "flow" (one bent by splines), or a class like those of `releo_jax.inference.families`.
        family_options: of the family, e.g. `{"components": 4}` for a mixture, `{"layers": 6}` for a flow.
        global_family: of the global sites: "normal", independent normals on the unconstrained line.
        sites: local sites to put first.
        at_prior: whether the heads start at the prior's moments, which takes draws; not needed before loading weights.

    Returns:
        An untrained amortised posterior.

    Raises:
        ValueError: the model has something that a guide cannot stand for, or an unknown family or option.
    """
    if isinstance(family, str) and family not in FAMILIES:
        raise ValueError(f"family: expected one of {sorted(FAMILIES)}, got {family!r}")
    if global_family != "normal":
        raise ValueError(f"global_family: expected 'normal', got {global_family!r}")
    structure = read_structure(model, example, plate=plate, first=sites)
    options = {
        "plate": plate,
        "family": family,
        "family_options": dict(family_options),
        "global_family": global_family,
        "sites": tuple(sites),
    }
    return _build(model, encoder, example, structure, options, moments=prior_moments if at_prior else _no_moments)


def _build(
    model: Model,
    encoder: nnx.Module,
    example: Observations,
    structure: Structure,
    options: Mapping[str, Any],
    *,
    moments: Callable[[Model, Structure, Observations], tuple[Array, Array, Array, Array]],
) -> AmortizedPosterior:
    pixels = check_observations(example)
    context = jax.eval_shape(lambda data: encoder(data), dict(example))  # type: ignore[operator]
    if not hasattr(context, "shape") or len(context.shape) != 2 or context.shape[0] != pixels:
        got = getattr(context, "shape", type(context).__name__)
        raise ValueError(f"encoder: expected a context of shape (pixel, feature) = ({pixels}, ...), got {got}")
    local_mean, local_std, shared_mean, shared_std = moments(model, structure, example)
    family = options["family"]
    make: Callable[..., nnx.Module] = FAMILIES[family] if isinstance(family, str) else family
    chosen = dict(options["family_options"])
    # Flax hides the arguments of a class behind those of its metaclass.
    known = inspect.signature(make.__init__ if isinstance(make, type) else make).parameters  # type: ignore[misc]
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise ValueError(f"family_options: expected arguments of family {family!r}, {sorted(known)}, got {unknown}")
    local = make(structure.local, context.shape[1], location=local_mean, scale=local_std, **chosen)
    shared = SharedNormal(structure.shared, location=shared_mean, scale=shared_std) if structure.shared else None
    graph, parameters, constants = nnx.split(Guide(encoder, local, shared), nnx.Param, ...)  # type: ignore[misc]
    # Copies: training elsewhere must not change this guide through the encoder that both were given.
    parameters, constants = jax.jit(lambda states: jax.tree.map(jnp.array, states))((parameters, constants))
    return AmortizedPosterior(
        model=model, structure=structure, graph=graph, parameters=parameters, constants=constants, options=options
    )


def _no_moments(model: Model, structure: Structure, example: Observations) -> tuple[Array, Array, Array, Array]:
    local, shared = (sum(site.size for site in sites) for sites in (structure.local, structure.shared))
    return jnp.zeros(local), jnp.ones(local), jnp.zeros(shared), jnp.ones(shared)


def _construct(make: Callable[..., Objective], name: str, options: Mapping[str, Any]) -> Objective:
    known = [field.name for field in dataclasses.fields(make)]  # type: ignore[arg-type]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"objective {name!r}: expected options among {known}, got {unknown}")
    return make(**options)


@functools.partial(jax.jit, static_argnums=0)
def _laws(graph: nnx.GraphDef, parameters: Any, constants: Any, observations: Observations) -> tuple[Any, Any]:
    guide: Any = nnx.merge(graph, parameters, constants)
    law = guide.local(guide.encoder(observations))
    return law, None if guide.shared is None else guide.shared()


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _marginals(
    graph: nnx.GraphDef,
    parameters: Any,
    constants: Any,
    observations: Observations,
    sites: tuple[str, ...],
    levels: tuple[float, ...],
) -> dict[str, Array]:
    guide: Any = nnx.merge(graph, parameters, constants)
    context = guide.encoder(observations)
    out: dict[str, Array] = {}
    if hasattr(guide.local, "marginals"):
        found = guide.local.marginals(context, sites)
    else:
        found = {site: guide.local.marginal(context, site) for site in sites}
    for site, marginal in found.items():
        out[f"{site}_mean"], out[f"{site}_std"] = marginal.mean, marginal.std
        out |= {f"{site}_{quantile_name(level)}": marginal.quantile(level) for level in levels}
    return out
