"""Densities of a model at real vectors, pixel by pixel: what the engines that invert by computing share."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.inference.laws import from_vector, to_vector
from releo_jax.inference.structure import Model, Site, Structure, draw_prior, read_structure, run, run_prior, simulate
from releo_jax.observations import Observations, check_observations, take

_PRIOR_DRAWS = 4096
_TOGETHER = 64  # pixels of the example that are simulated at once


@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """A model, and where its latent sites lie on the real line under the prior.

    Attributes:
        model: NumPyro model function.
        structure: its sites.
        location, scale: means and standard deviations `(size,)` of the local sites' vector.
        shared_location, shared_scale: of the global sites' vector.
    """

    model: Model
    structure: Structure
    location: np.ndarray
    scale: np.ndarray
    shared_location: np.ndarray
    shared_scale: np.ndarray

    @property
    def size(self) -> int:
        """Real numbers that the local sites of one pixel take."""
        return self.location.size

    def given(self, shared: Mapping[str, Array] | None) -> dict[str, Array] | None:
        """The given values of the global sites, checked."""
        if shared is None:
            return None
        wanted = {site.name: site.shape for site in self.structure.shared}
        got = {name: jnp.shape(value) for name, value in shared.items()}
        if wanted != got:
            raise ValueError(f"shared: expected values of all global sites, {wanted}, got {got}")
        return {name: jnp.asarray(value) for name, value in shared.items()}


def read_target(model: Model, data: Observations, *, plate: str = "pixel") -> Target:
    """The target of a model; the same object for the same model and kind of data, so that programs compile once.

    Raises:
        ValueError: no band of any pixel is usable, or the model has something that no engine can handle.
    """
    pixels = check_observations(data)
    if not any(np.asarray(record.mask).any() for record in data.values()):
        raise ValueError(
            f"expected at least one usable band, got {pixels} pixels of {sorted(data)} with every band masked or not "
            "finite; check the masks (True = usable) and the nodata value"
        )
    leaves, tree = jax.tree.flatten(dict(data))
    kind = tuple((leaf.shape[1:], str(leaf.dtype)) for leaf in leaves)
    return _cached_target(model, plate, tree, kind, _Example(dict(data)))


class _Example:
    """Observations that take no part in the comparison of arguments."""

    def __init__(self, data: Observations) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Example)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=64)
def _cached_target(model: Model, plate: str, tree: Any, kind: Any, example: _Example) -> Target:
    data = take(example.data, slice(0, 64))
    example.data = {}  # the cache keeps the key, not the image
    structure = read_structure(model, data, plate=plate)
    return Target(model, structure, *map(np.asarray, prior_moments(model, structure, data)))


def prior_moments(model: Model, structure: Structure, example: Observations) -> tuple[Array, Array, Array, Array]:
    """Means and deviations of local and global sites on the real line under the prior, from draws with a fixed key.

    Raises:
        ValueError: the model predicts nothing finite under its prior.

    Warns:
        UserWarning: it does so at some draws.
    """
    few = take(example, slice(0, _TOGETHER))
    batch = max(1, _TOGETHER // check_observations(few))
    runs = batch * -(-_PRIOR_DRAWS // (batch * check_observations(few)))
    moments, finite = _simulate(model, structure, runs, batch, dict(few))
    for name, whole in jax.device_get(finite).items():
        _check_predictions(name, whole)
    return moments


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _simulate(
    model: Model, structure: Structure, runs: int, batch: int, few: Observations
) -> tuple[tuple[Array, Array, Array, Array], dict[str, Array]]:
    """Means and deviations of local and global sites, and where the bands of every draw are finite `(draw, band)`."""
    complete = {name: eqx.tree_at(lambda r: r.mask, one, jnp.ones_like(one.mask)) for name, one in few.items()}

    def draw(key: Array) -> tuple[Array, Array, dict[str, Array]]:
        values, data = simulate(structure, model, complete, key)
        finite = {name: jnp.isfinite(data[name].values) for name in structure.observed}
        return _vectors(structure.local, values), _vectors(structure.shared, values), finite

    # Not the batch_size of `map`: it fails for vectors of no size, which a model without global sites has.
    keys = jax.random.split(jax.random.key(0), (runs // batch, batch))
    draws = jax.lax.map(jax.vmap(draw), keys)
    # Sizes in full: a vector without elements does not tell how many there are.
    local, shared, finite = jax.tree.map(lambda x: x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), draws)
    return (*_mean_and_std(local), *_mean_and_std(shared)), finite


def _check_predictions(name: str, finite: np.ndarray) -> None:
    """Whether what the model predicts at draws from its prior is finite `(draw, band)`."""
    bands = np.flatnonzero(~finite.all(0)).tolist()
    lost = ~finite.all(-1)
    if lost.all():
        raise ValueError(
            f"observe {name!r}: expected finite predictions, got none at {lost.size} draws from the prior (bands "
            f"{bands}); check the units and the bounds of what the simulator is given"
        )
    if bands:
        warnings.warn(
            f"observe {name!r}: at {lost.mean():.1%} of the draws from the prior the predictions are not finite (bands "
            f"{bands}); such states are never chosen, narrow the prior to where the simulator holds",
            stacklevel=2,
        )


def _vectors(sites: tuple[Site, ...], values: Mapping[str, Array]) -> Array:
    return to_vector(sites, values) if sites else jnp.zeros(0)


def _mean_and_std(draws: Array) -> tuple[Array, Array]:
    spread = draws.std(0)
    return draws.mean(0), jnp.where(spread > 0.0, spread, 1.0)


def values_at(target: Target, local: Array, shared: Array) -> tuple[dict[str, Array], Array]:
    """Values of all sites at vectors `(pixel, size)` and `(shared size,)`, and the log volume change `(pixel,)`."""
    values, volume = from_vector(target.structure.local, local)
    if target.structure.shared:
        values = values | from_vector(target.structure.shared, shared)[0]
    return values, volume


def log_likelihood(target: Target, data: Observations, values: Mapping[str, Array]) -> tuple[Array, dict[str, Any]]:
    """Log density `(pixel,)` of the observations, and the laws that `observe` was given, by record."""
    trace = run(target.model, data, None, values)
    seen = {name: trace[name] for name in target.structure.observed}
    density = sum((site_density(site) for site in seen.values()), jnp.zeros(()))
    return density, {name: site["infer"]["observe"] for name, site in seen.items()}


def log_prior(target: Target, data: Observations, values: Mapping[str, Array]) -> tuple[Array, Array]:
    """Log densities of the local `(pixel,)` and the global sites `()` under the prior, with respect to the values."""
    sites = run_prior(target.structure, target.model, data, None, values)
    local = sum((site_density(sites[site.name]) for site in target.structure.local), jnp.zeros(()))
    shared = sum((site_density(sites[site.name]).sum() for site in target.structure.shared), jnp.zeros(()))
    return local, shared


def site_density(site: Mapping[str, Any]) -> Array:
    """Log density of a site's value, by pixel for those inside the plate."""
    density = site["fn"].log_prob(site["value"])
    return density if site["scale"] is None else site["scale"] * density


def log_joint(target: Target, data: Observations, local: Array, shared: Array) -> Array:
    """Log density `(pixel,)` of observations and local vectors `(pixel, size)`, given the global vector."""
    values, volume = values_at(target, local, shared)
    return log_likelihood(target, data, values)[0] + log_prior(target, data, values)[0] + volume


@functools.partial(jax.jit, static_argnums=0)
def draw_vectors(target: Target, data: Observations, key: Array) -> tuple[Array, Array]:
    """Local vectors `(pixel, size)` and a global one, drawn from the prior."""
    values = draw_prior(target.structure, target.model, data, key)
    return _vectors(target.structure.local, values), _vectors(target.structure.shared, values)
