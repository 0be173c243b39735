"""Could the model have made this pixel? Two p-values beside every result.

`misfit_p_value` asks whether the observations are as far from their fit as the model's own: small where noise, soil or
mixture are not those of the model. `domain_p_value` asks whether the observations lie where the prior predicts any:
small where the answer is an extrapolation. Both are shares of pixels simulated from the model, so that they are uniform
under it, whatever the engine: 1 % of the model's own pixels have p <= 0.01.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.inference.chunks import over_chunks
from releo_jax.inference.density import Target, site_density
from releo_jax.inference.laws import Law
from releo_jax.inference.posterior import PointPosterior, Posterior
from releo_jax.inference.structure import run, simulate
from releo_jax.observations import Observations, Record, check_observations, take

_Posterior = TypeVar("_Posterior", bound=Posterior)

_DRAWS = 16  # over which the misfit of a pixel is averaged
_PREDICTED = 2048  # simulated pixels that say where observations are expected, and as many to calibrate it


def assess(
    target: Target,
    data: Observations,
    posterior: Posterior,
    again: Callable[[Observations], Posterior],
    shared: Mapping[str, Array] | Law,
    *,
    key: Array,
    reference: int,
    memory: int,
) -> dict[str, Array]:
    """What is noticed about every pixel.

    Args:
        target: the model.
        data: observations.
        posterior: of them.
        again: the same engine, on simulated observations of the same kind.
        shared: values of the global sites to simulate with (those not named are drawn from the prior), or a law of
            them.
        key: random key.
        reference: simulated pixels that calibrate the misfit; 0 leaves both p-values out.
        memory: bytes for one chunk.

    Returns:
        `usable_bands`, `misfit_p_value` and `domain_p_value`, each `(pixel,)`; NaN p-values where no band is usable.
    """
    usable = sum(jnp.sum(record.mask.reshape(record.mask.shape[0], -1), -1) for record in data.values())
    noticed: dict[str, Array] = {"usable_bands": jnp.asarray(usable)}
    if not reference:
        return noticed
    keys = jax.random.split(key, 5)
    simulated = _simulated(target, data, shared, keys[0], reference)
    expected = misfit(target, simulated, again(simulated), key=keys[1], memory=memory)
    found = misfit(target, data, posterior, key=keys[2], memory=memory)
    p_value = {"misfit_p_value": _share_above(found, expected)}
    predicted = _simulated(target, data, shared, keys[3], _PREDICTED, complete=True)
    location, factor = _prior_predictive(predicted)
    calibration = _simulated(target, data, shared, keys[4], _PREDICTED)
    distances = [
        over_chunks(
            _distance, (), (location, factor), _flat(seen), memory=memory, description="distance from the prior"
        )
        for seen in (data, calibration)
    ]
    p_value["domain_p_value"] = _share_above(*distances)
    seen = np.asarray(usable) > 0
    return noticed | {name: jnp.asarray(np.where(seen, value, np.nan)) for name, value in p_value.items()}


def checked(
    target: Target,
    data: Observations,
    posterior: _Posterior,
    again: Callable[[Observations], Posterior],
    shared: Mapping[str, Array] | Law,
    **how: Any,
) -> _Posterior:
    """The posterior, with what `assess` notices among its diagnostics; arguments as there."""
    posterior.diagnostics = {**posterior.diagnostics, **assess(target, data, posterior, again, shared, **how)}
    return posterior


def _simulated(
    target: Target,
    data: Observations,
    shared: Mapping[str, Array] | Law,
    key: Array,
    n: int,
    *,
    complete: bool = False,
) -> dict[str, Record]:
    """`n` simulated pixels with the angles and masks (or no masks) of pixels of the data that have any band."""
    key_choice, key_shared, key_model = jax.random.split(key, 3)
    seen = np.flatnonzero(sum(np.asarray(r.mask).reshape(r.mask.shape[0], -1).sum(-1) for r in data.values()))
    acquisitions = take(data, np.asarray(jax.random.choice(key_choice, jnp.asarray(seen), (n,))))
    if complete:
        acquisitions = {
            name: eqx.tree_at(lambda r: r.mask, record, jnp.ones_like(record.mask))
            for name, record in acquisitions.items()
        }
    if isinstance(shared, Mapping):
        known = {name: jnp.broadcast_to(value, (n, *jnp.shape(value))) for name, value in shared.items()}
    else:
        known = shared.sample(key_shared, (n,))[0]
    return _simulate(target, acquisitions, known, jax.random.split(key_model, n))


@functools.partial(jax.jit, static_argnums=0)
def _simulate(target: Target, acquisitions: Any, known: dict[str, Array], keys: Array) -> dict[str, Record]:
    """One pixel at a time, so that each has its own global sites."""

    def of_pixel(data: Any, values: dict[str, Array], key: Array) -> dict[str, Record]:
        single = jax.tree.map(lambda leaf: leaf[None], data)
        seen = simulate(target.structure, target.model, single, key, values=values)[1]
        return jax.tree.map(lambda leaf: leaf[0], seen)

    return jax.vmap(of_pixel)(acquisitions, known, keys)


def misfit(target: Target, data: Observations, posterior: Posterior, *, key: Array, memory: int) -> np.ndarray:
    """How much less probable the observations are than replicates of them, given the state `(pixel,)`.

    Equation:
        T = E over the posterior of [log p(replicate | z) - log p(observed | z)] / sqrt(usable bands)
    """
    key_draws, key_replicates = jax.random.split(key)
    sites = [site.name for site in (*target.structure.local, *target.structure.shared)]
    if isinstance(posterior, PointPosterior):
        drawn = {name: jnp.repeat(posterior.values[name][None], _DRAWS, 0) for name in sites}
    else:
        drawn = posterior.sample(key_draws, _DRAWS, sites=sites)
    inside = {site.name for site in target.structure.local}
    inside |= {s.name for s in target.structure.shared if drawn[s.name].ndim == len(s.shape) + 2}
    local = {name: jnp.moveaxis(drawn[name], 1, 0) for name in inside}
    shared = {name: value for name, value in drawn.items() if name not in inside}
    keys = jax.random.split(key_replicates, check_observations(data))
    pixels = (dict(data), local, keys)
    return over_chunks(_misfit, (target,), shared, pixels, memory=memory, description="misfit")


def _misfit(target: Target, shared: dict[str, Array], pixels: tuple[Observations, dict[str, Array], Array]) -> Array:
    inside, observed = {site.name for site in target.structure.local}, target.structure.observed

    def of_pixel(data: Observations, local: dict[str, Array], key: Array) -> Array:
        single = jax.tree.map(lambda leaf: leaf[None], data)

        def of_draw(local: dict[str, Array], shared: dict[str, Array], key: Array) -> Array:
            values = {name: value[None] if name in inside else value for name, value in local.items()}
            trace = run(target.model, single, None, {**values, **shared})
            lost = jnp.zeros(1)
            for name, one in zip(observed, jax.random.split(key, len(observed)), strict=True):
                site = trace[name]
                replicate = {**site, "value": site["fn"].sample(one)}
                lost = lost + site_density(replicate) - site_density(site)
            return lost[0]

        each = jax.vmap(of_draw)(local, shared, jax.random.split(key, _DRAWS))
        bands = sum((record.mask.sum() for record in data.values()), jnp.zeros((), int))
        return each.mean() / jnp.sqrt(jnp.maximum(bands, 1))

    return jax.vmap(of_pixel)(*pixels)


def _flat(data: Observations) -> tuple[Array, Array]:
    """Values and masks `(pixel, value)` of all records; of series, each band's mean over the dates."""
    values, masks = [], []
    for record in data.values():
        value, mask = record.values, record.mask
        if value.ndim == 3:
            count = mask.sum(1)
            value, mask = jnp.where(mask, value, 0.0).sum(1) / jnp.maximum(count, 1), count > 0
        values.append(value)
        masks.append(mask)
    return jnp.concatenate(values, -1), jnp.concatenate(masks, -1)


@jax.jit
def _prior_predictive(predicted: Observations) -> tuple[Array, Array]:
    """Mean and covariance of what the prior predicts."""
    values, _ = _flat(predicted)
    finite = jnp.isfinite(values).all(-1)
    number = jnp.maximum(finite.sum(), 1)
    location = jnp.where(finite[:, None], values, 0.0).sum(0) / number
    residual = jnp.where(finite[:, None], values - location, 0.0)
    covariance = jnp.matmul(residual.T, residual, precision=jax.lax.Precision.HIGHEST) / number
    # Half a percent of a deviation: bands may be exact functions of each other.
    return location, covariance + jnp.diag(2.5e-5 * jnp.diagonal(covariance) + 1e-12)


def _distance(moments: tuple[Array, Array], pixels: tuple[Array, Array]) -> Array:
    """Mahalanobis distance of the usable bands, brought to one scale for any number of them (Wilson and Hilferty)."""
    location, covariance = moments
    values, mask = pixels
    both = mask[:, :, None] & mask[:, None, :]
    factor = jnp.linalg.cholesky(jnp.where(both, covariance, jnp.eye(location.size)))
    residual = jnp.where(mask, values - location, 0.0)[..., None]
    squared = jnp.sum(jax.scipy.linalg.solve_triangular(factor, residual, lower=True) ** 2, (-2, -1))
    bands = jnp.maximum(mask.sum(-1), 1)
    return (jnp.cbrt(squared / bands) - (1.0 - 2.0 / (9.0 * bands))) / jnp.sqrt(2.0 / (9.0 * bands))


def _share_above(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Share of the expected values, and of the found one itself, that are as great as it; NaN without any."""
    finite = np.sort(expected[np.isfinite(expected)])
    if not finite.size:
        return np.full(found.shape, np.nan)
    above = finite.size - np.searchsorted(finite, found, side="left")
    return (1.0 + above) / (1.0 + finite.size)
