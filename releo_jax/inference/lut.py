"""Look-up tables: the practitioners' inversion."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers
from numpyro.distributions.distribution import Distribution

from releo_jax.inference.checks import checked
from releo_jax.inference.chunks import MEMORY, over_chunks
from releo_jax.inference.density import Target, read_target
from releo_jax.inference.draws import systematic
from releo_jax.inference.posterior import Posterior, quantile_name
from releo_jax.inference.structure import Model, run
from releo_jax.marginals import marginal
from releo_jax.observations import Observations, check_observations

_MOST_TABLES = 256
_BATCH = 4096  # entries that are simulated at once


def fit_lut(
    model: Model,
    data: Observations,
    *,
    key: Array,
    plate: str = "pixel",
    shared: Mapping[str, Array] | None = None,
    entries: int = 10_000,
    draws: int = 100,
    cost: str = "likelihood",
    geometry_step: float = 0.035,
    reference: int = 512,
    memory: int = MEMORY,
    progress: bool = False,
) -> TablePosterior:
    """Inverts by comparing every pixel with a table of simulations drawn from the prior.

    With `cost="likelihood"` the entries are weighted by the likelihood of the pixel, and `draws` of them are drawn in
    proportion: importance sampling from the prior, exact for many entries. The other costs are those of the
    literature: noise of the model's observation law is added to the table, and the `draws` entries of lowest cost are
    the posterior, with equal weights.

    Angles (and whatever else a record carries beside its values) enter by one table per bin; global sites are
    integrated out, pixel by pixel, unless they are given.

    Args:
        model: NumPyro model function.
        data: observations.
        key: random key; the same key gives the same result.
        plate: name of the plate of pixels.
        shared: values of the global sites; default: drawn from their prior, anew for every entry.
        entries: of each table.
        draws: that represent a pixel's posterior.
        cost: "likelihood", "rmse", "relative" (root mean squared relative error) or "l1" (mean absolute error).
        geometry_step: width of the bins of angles, radian.
        reference: simulated pixels that calibrate the misfit, see `releo_jax.inference.checks`.
        memory: bytes for the pixels that are worked on at once.
        progress: show a bar.

    Returns:
        Posterior with the diagnostic `effective_sample_size`: entries that carry the weight. Below about 10 the table
        is too small for the noise.

    Raises:
        ValueError: more than 256 tables would be needed, or an unknown cost.

    References:
        Weiss et al. 2000, Agronomie 20, 3-22. Verrelst et al. 2014, ISPRS J. 87, 260-269 (costs and noise). Kitagawa
        1996, J. Comput. Graph. Stat. 5, 1-25 (systematic resampling).
    """
    if cost != "likelihood" and cost not in _COSTS:
        raise ValueError(f"cost: expected 'likelihood' or one of {sorted(_COSTS)}, got {cost!r}")
    if entries < 2 or not 1 <= draws <= entries:
        raise ValueError(f"expected entries >= 2 and 1 <= draws <= entries, got {entries} and {draws}")
    target = read_target(model, data, plate=plate)
    known = target.given(shared) or {}
    key_table, key_draws, key_checks = jax.random.split(key, 3)

    def invert(data: Observations, progress: bool = False) -> TablePosterior:
        groups, angles = _bins(data, geometry_step)
        tables, found = [], np.zeros((groups.size, draws), np.int32)
        size = np.zeros(groups.size, np.float32)
        keys = jax.random.split(key_table, len(angles))
        uniform = np.asarray(jax.random.uniform(key_draws, groups.shape))
        for group, geometry in enumerate(angles):
            members = np.flatnonzero(groups == group)
            values, laws, noisy = _table(target, geometry, known, keys[group], entries)
            compared = _comparison(cost, laws, noisy, data)
            pixels = jax.tree.map(lambda leaf: leaf[members], (_seen(data), uniform))  # noqa: B023
            chosen, size[members] = over_chunks(
                compared[0],
                (*compared[1], draws),
                compared[2],
                pixels,
                memory=memory,
                progress=progress,
                description=f"fit_lut, table {group + 1} of {len(angles)}",
            )
            found[members] = chosen + group * entries
            tables.append(values)
        table = jax.tree.map(lambda *parts: np.concatenate(parts), *tables)
        diagnostics = {"effective_sample_size": jnp.asarray(size)}
        return TablePosterior(table, found, plate=plate, diagnostics=diagnostics)

    return checked(
        target, data, invert(data, progress), invert, known, key=key_checks, reference=reference, memory=memory
    )


class TablePosterior(Posterior):
    """A posterior whose draws are entries of tables.

    Args:
        table: by site, values `(entry, ...)`.
        chosen: entries `(pixel, draw)`.
        plate: name of the plate.
        diagnostics: by name `(pixel,)`.
    """

    def __init__(
        self,
        table: Mapping[str, np.ndarray],
        chosen: np.ndarray,
        *,
        plate: str,
        diagnostics: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        self.table, self.chosen, self._plate_name = dict(table), chosen, plate
        self.diagnostics = diagnostics

    def _summary(self, statistic: Any) -> dict[str, Array]:
        def of_site(values: np.ndarray) -> Array:
            parts = [statistic(values[self.chosen[i : i + _BATCH]]) for i in range(0, len(self.chosen), _BATCH)]
            return jnp.asarray(np.concatenate(parts))

        return {name: of_site(values) for name, values in self.table.items()}

    @functools.cached_property
    def mean(self) -> dict[str, Array]:
        return self._summary(lambda drawn: drawn.mean(1))

    @functools.cached_property
    def std(self) -> dict[str, Array]:
        return self._summary(lambda drawn: drawn.std(1))

    def quantile(self, level: float) -> dict[str, Array]:
        quantile_name(level)
        return self._summary(lambda drawn: np.quantile(drawn, level, axis=1).astype(drawn.dtype))

    def sample(self, key: Array, n: int, *, sites: Sequence[str] | None = None) -> dict[str, Array]:
        """`n` of each pixel's entries, with replacement."""
        pixels, draws = self.chosen.shape
        column = np.asarray(jax.random.randint(key, (n, pixels), 0, draws))
        entry = self.chosen[np.arange(pixels), column]
        return {name: jnp.asarray(self.table[name][entry]) for name in (self.table if sites is None else sites)}

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        raise ValueError("log_prob: expected a posterior with a density, got one known by draws only")

    def _plate(self) -> tuple[str, int]:
        return self._plate_name, len(self.chosen)

    def _local(self, site: str) -> bool:
        return True


def _seen(data: Observations) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (np.asarray(record.values), np.asarray(record.mask)) for name, record in data.items()}


def _bins(data: Observations, step: float) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The bin of each pixel, and for each bin one pixel with its mean angles and all bands."""
    pixels = check_observations(data)
    leaves = [np.asarray(leaf) for record in data.values() for leaf in jax.tree.leaves(record.geometry)]
    coarse = [np.round(leaf.reshape(pixels, -1) / step) for leaf in leaves]
    coarse += [np.asarray(r.time) for r in data.values() if hasattr(r, "time")]
    if not coarse:
        coarse = [np.zeros((pixels, 1))]
    _, first, groups = np.unique(np.concatenate(coarse, 1), axis=0, return_index=True, return_inverse=True)
    groups = groups.ravel()
    if first.size > _MOST_TABLES:
        raise ValueError(
            f"fit_lut: expected at most {_MOST_TABLES} bins of angles and dates, got {first.size} among {pixels} "
            f"pixels, each of which needs a table; raise geometry_step (radian, now {step}), or use fit_laplace"
        )
    counts = np.bincount(groups)

    def mean(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        flat = leaf.reshape(pixels, -1).astype(np.float64)
        sums = np.stack([np.bincount(groups, column, first.size) for column in flat.T], -1)
        return (sums / counts[:, None]).reshape(first.size, *leaf.shape[1:]).astype(leaf.dtype)

    made = []
    whole = {name: jax.tree.map(mean, record) for name, record in data.items()}
    for group in range(first.size):
        single = {name: jax.tree.map(lambda leaf: leaf[group : group + 1], record) for name, record in whole.items()}  # noqa: B023
        made.append({n: eqx.tree_at(lambda r: r.mask, r, np.ones_like(r.mask, bool)) for n, r in single.items()})
    return groups, made


def _table(
    target: Target, geometry: Any, known: Mapping[str, Array], key: Array, entries: int
) -> tuple[dict[str, np.ndarray], dict[str, Distribution], dict[str, Array]]:
    """Sites, observed laws and simulated observations of all entries, which come first in every leaf."""
    values, laws, noisy = _simulate_table(target, geometry, dict(known), jax.random.split(key, entries))
    return jax.device_get(values), laws, noisy


@functools.partial(jax.jit, static_argnums=0)
def _simulate_table(target: Target, geometry: Any, known: dict[str, Array], keys: Array) -> Any:
    structure = target.structure
    inside = {site.name for site in structure.local} | {n for n, local in structure.deterministic.items() if local}
    names = [*(site.name for site in structure.local + structure.shared), *structure.deterministic]

    def entry(key: Array) -> Any:
        trace = run(handlers.uncondition(target.model), geometry, key, known)
        values = {name: jnp.asarray(trace[name]["value"]) for name in names}
        values = {name: value[0] if name in inside else value for name, value in values.items()}
        laws = {name: trace[name]["infer"]["observe"] for name in structure.observed}
        return values, laws, {name: trace[name]["value"][0] for name in structure.observed}

    table = jax.vmap(entry)(keys)
    finite = functools.reduce(
        jnp.logical_and, (jnp.isfinite(v.reshape(v.shape[0], -1)).all(-1) for v in table[2].values())
    )
    # Entries that the simulator could not make give way to others.
    usable = jnp.argsort(~finite)[jnp.arange(finite.size) % jnp.maximum(finite.sum(), 1)]
    return jax.tree.map(lambda leaf: leaf[usable], table)


def _comparison(
    cost: str, laws: Mapping[str, Distribution], noisy: Mapping[str, Array], data: Observations
) -> tuple[Any, tuple[Any, ...], Any]:
    """Program, its static arguments and its constants that compare pixels with a table."""
    if cost != "likelihood":
        return _nearest, (cost,), dict(noisy)
    if all(isinstance(_base(law), dist.Normal) for law in laws.values()):
        return _weigh_normal, (), {name: _normal_terms(law, data[name].values.shape[1:]) for name, law in laws.items()}
    return _weigh, (), dict(laws)


def _base(law: Distribution) -> Distribution:
    while isinstance(law, dist.ExpandedDistribution | dist.Independent):
        law = law.base_dist
    return law


@functools.partial(jax.jit, static_argnums=1)
def _normal_terms(law: Distribution, shape: tuple[int, ...]) -> Any:
    """Location, and the factors of x^2, x and 1 in the log density `(entry, value)`; x and location less the centre."""

    def of_entry(law: Distribution) -> tuple[Array, Array]:
        base = _base(law)
        return jnp.broadcast_to(base.loc, (1, *shape)).ravel(), jnp.broadcast_to(base.scale, (1, *shape)).ravel()

    location, scale = jax.vmap(of_entry)(law)
    # Differences of large squares would cost float32 its precision.
    centre = location.mean(0)
    near, precision = location - centre, scale**-2
    return centre, -0.5 * precision, near * precision, -0.5 * near**2 * precision - jnp.log(scale)


def _weigh_normal(draws: int, terms: Any, pixels: Any) -> tuple[Array, Array]:
    seen, uniform = pixels
    scores: Any = 0.0
    for name, (centre, square, linear, constant) in terms.items():
        values, mask = (leaf.reshape(uniform.shape[0], -1) for leaf in seen[name])
        x = jnp.where(mask, values - centre, 0.0)
        left = jnp.concatenate([x**2, x, mask.astype(x.dtype)], -1)
        right = jnp.concatenate([square, linear, constant], -1)
        scores = scores + jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
    return _resample(scores, uniform, draws)


def _weigh(draws: int, laws: Any, pixels: Any) -> tuple[Array, Array]:
    seen, uniform = pixels

    def of_pixel(seen: Any) -> Array:
        def of_entry(laws: Any) -> Array:
            score = jnp.zeros(())
            for name, law in laws.items():
                values, mask = seen[name]
                if law.event_dim == 0:
                    score = score + jnp.where(mask, law.log_prob(values[None])[0], 0.0).sum()
                else:
                    score = score + marginal(law, mask[None], name=name).log_prob(values[None]).sum()
            return score

        return jax.vmap(of_entry)(laws)

    return _resample(jax.vmap(of_pixel)(seen), uniform, draws)


def _resample(scores: Array, uniform: Array, draws: int) -> tuple[Array, Array]:
    """Entries in proportion to their weights, by one comb of equal teeth per pixel, and the effective sample size."""
    scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1)
    return systematic(weights, uniform, draws), 1.0 / jnp.sum(weights**2, -1)


def _root_mean_square(seen: Array, mask: Array, simulated: Array) -> Array:
    used = mask.astype(seen.dtype)
    return used @ (simulated**2).T - 2.0 * (used * seen) @ simulated.T


def _relative(seen: Array, mask: Array, simulated: Array) -> Array:
    weight = jnp.where(mask, jnp.maximum(jnp.abs(seen), 1e-3) ** -2.0, 0.0)
    return weight @ (simulated**2).T - 2.0 * (weight * seen) @ simulated.T


def _absolute(seen: Array, mask: Array, simulated: Array) -> Array:
    total = jnp.zeros((seen.shape[0], simulated.shape[0]), seen.dtype)
    for band in range(seen.shape[1]):  # one band at a time: all at once would not fit into memory
        total = total + mask[:, band, None] * jnp.abs(seen[:, band, None] - simulated[:, band])
    return total


_COSTS = {"rmse": _root_mean_square, "relative": _relative, "l1": _absolute}
"""By name, a cost `(pixel, entry)`, up to what is the same for all entries of a pixel."""


def _nearest(cost: str, draws: int, noisy: Any, pixels: Any) -> tuple[Array, Array]:
    seen, uniform = pixels
    total: Any = 0.0
    for name, simulated in noisy.items():
        values, mask = (leaf.reshape(uniform.shape[0], -1) for leaf in seen[name])
        centre = simulated.reshape(simulated.shape[0], -1).mean(0) if cost == "rmse" else 0.0
        total = total + _COSTS[cost](values - centre, mask, simulated.reshape(simulated.shape[0], -1) - centre)
    _, chosen = jax.lax.top_k(-total, draws)
    return chosen, jnp.full(uniform.shape, float(draws))


__all__ = ["TablePosterior", "fit_lut"]
