"""Modes and normal approximations around them: Levenberg-Marquardt over all pixels at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.inference.checks import checked
from releo_jax.inference.chunks import MEMORY
from releo_jax.inference.density import (
    Target,
    draw_vectors,
    read_target,
)
from releo_jax.inference.global_sites import learn_global_sites
from releo_jax.inference.laws import DiagonalNormal, FullNormal, from_vector
from releo_jax.inference.newton import Modes, best_starts, search
from releo_jax.inference.posterior import GuidePosterior, PointPosterior
from releo_jax.inference.structure import Model
from releo_jax.observations import Observations, take


def fit_map(
    model: Model,
    data: Observations,
    *,
    key: Array,
    plate: str = "pixel",
    shared: Mapping[str, Array] | None = None,
    steps: int = 50,
    starts: int = 32,
    reference: int = 512,
    memory: int = MEMORY,
    progress: bool = False,
) -> PointPosterior:
    """The most probable state of every pixel, and no uncertainty: use `fit_laplace` for that.

    The mode of the density of the sites' own values, as the model states their priors (with uniform priors the
    likelihood's maximum within the bounds).

    Args:
        model: NumPyro model function.
        data: observations.
        key: random key; the same key gives the same result.
        plate: name of the plate of pixels.
        shared: values of the global sites; default: learned from the data as in `fit_laplace`.
        steps: at most.
        starts: draws from the prior; the search begins at the best of them.
        reference: simulated pixels that calibrate the misfit, see `releo_jax.inference.checks`.
        memory: bytes for the pixels that are worked on at once.
        progress: show a bar.

    Returns:
        Modes, with the diagnostics `converged` (less than a hundredth of log density is left to gain within three
        deviations of the prior) and `log_density`.

    Raises:
        ValueError: the model has something that the search cannot handle; says what and the remedy.
    """
    start = begin(model, data, key=key, plate=plate, shared=shared, starts=starts, memory=memory)
    target = start.target

    def invert(data: Observations, progress: bool = False) -> PointPosterior:
        how: Any = {"steps": steps, "progress": progress, "description": "fit_map"}
        found = start.modes(data, volume=False, memory=memory, **how)
        return PointPosterior(
            model=model,
            structure=target.structure,
            observations=dict(data),
            values=from_vector(target.structure.local, jnp.asarray(found.vector))[0] | start.known,
            diagnostics={"converged": jnp.asarray(found.converged), "log_density": jnp.asarray(found.log_density)},
        )

    return checked(
        target, data, invert(data, progress), invert, start.known, key=start.keys[0], reference=reference, memory=memory
    )


def fit_laplace(
    model: Model,
    data: Observations,
    *,
    key: Array,
    plate: str = "pixel",
    shared: Mapping[str, Array] | None = None,
    steps: int = 50,
    starts: int = 32,
    reference: int = 512,
    memory: int = MEMORY,
    progress: bool = False,
) -> GuidePosterior:
    """Normal approximation of every pixel's posterior on the real line, around its mode there.

    The search is Levenberg-Marquardt with the likelihood's Fisher information as curvature and the exact curvature of
    the prior. Good where the posterior has one mode and is not cut by a bound; `log_evidence` compares models.

    Args:
        model: NumPyro model function.
        data: observations.
        key: random key; the same key gives the same result.
        plate: name of the plate of pixels.
        shared: values of the global sites, such as the noise; default: learned from the data by expectation
            maximisation, where the pixels' approximations stand for their posteriors.
        steps: at most.
        starts: draws from the prior; the search begins at the best of them.
        reference: simulated pixels that calibrate the misfit, see `releo_jax.inference.checks`.
        memory: bytes for the pixels that are worked on at once.
        progress: show a bar.

    Returns:
        Posterior with the diagnostics `converged` (as for `fit_map`, and the curvature at the mode is positive; pixels
        where it is not lean on the prior's precision) and `log_evidence` (Laplace's, given the global sites).

    Raises:
        ValueError: the model has something that the search cannot handle; says what and the remedy.

    Equation:
        q(z) = N(z | m, H^-1), H = J^T F J - d2/dz2 log p(z), F the Fisher information of the observed law, J the
        derivative of its parameters.

    References:
        MacKay 2003, Information Theory, Inference and Learning Algorithms, chapter 27. Martens 2020, J. Mach. Learn.
        Res. 21 (146), on the generalised Gauss-Newton matrix.
    """
    start = begin(model, data, key=key, plate=plate, shared=shared, starts=starts, memory=memory)
    target = start.target

    def invert(data: Observations, progress: bool = False) -> GuidePosterior:
        how: Any = {"steps": steps, "progress": progress, "description": "fit_laplace"}
        found = start.modes(data, volume=True, memory=memory, **how)
        return GuidePosterior(
            model=model,
            structure=target.structure,
            observations=dict(data),
            law=FullNormal(target.structure.local, jnp.asarray(found.vector), jnp.asarray(found.rows)),
            shared=start.law,
            diagnostics={"converged": jnp.asarray(found.converged), "log_evidence": jnp.asarray(found.log_evidence)},
        )

    return checked(
        target, data, invert(data, progress), invert, start.known, key=start.keys[0], reference=reference, memory=memory
    )


class Beginning(NamedTuple):
    """What every search begins with.

    Attributes:
        target: the model.
        candidates: vectors to start from `(start, size)`.
        shared: global vector `(size,)`.
        law: of the global sites, None where there are none.
        keys: two random keys.
    """

    target: Target
    candidates: Array
    shared: Array
    law: DiagonalNormal | FullNormal | None
    keys: Array

    @property
    def known(self) -> dict[str, Array]:
        """Values of the global sites."""
        return from_vector(self.target.structure.shared, self.shared)[0]

    def modes(self, data: Observations, *, volume: bool, memory: int, **how: Any) -> Modes:
        """The modes of pixels, see `newton.search`."""
        first = best_starts(self.target, data, self.candidates, self.shared, memory=memory)
        return search(self.target, data, first, self.shared, volume=volume, memory=memory, **how)


def begin(
    model: Model,
    data: Observations,
    *,
    key: Array,
    plate: str,
    shared: Mapping[str, Array] | None,
    starts: int,
    memory: int,
) -> Beginning:
    """Reads the model, draws starts and settles the global sites."""
    target = read_target(model, data, plate=plate)
    key_starts, key_shared, *keys = jax.random.split(key, 4)
    candidates = draw_starts(target, data, key_starts, starts)
    vector, law = learn_global_sites(target, data, candidates, key=key_shared, shared=shared, memory=memory)
    return Beginning(target, candidates, vector, law, jnp.stack(keys))


def draw_starts(target: Target, data: Observations, key: Array, n: int, *, at_mean: bool = True) -> Array:
    """Vectors `(start, size)`: draws from the prior, the first of them the prior's mean if asked."""
    if n < 1:
        raise ValueError(f"starts: expected at least one, got {n}")
    draws, _ = draw_vectors(target, take(data, np.zeros(n, int)), key)
    return draws.at[0].set(jnp.asarray(target.location)) if at_mean else draws
