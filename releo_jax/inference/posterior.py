"""Posteriors: what every inference engine returns, whether it knows densities or only draws."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import handlers

from physics.optics.prospect import Leaf, LeafPro
from physics.optics.sail import BimodalCanopy, Canopy
from physics.optics.soil import Soil
from physics.parameters import Parameter, parameters
from releo_jax.inference.laws import Law, moments, of_pixels, quantiles
from releo_jax.inference.structure import Model, Structure, run
from releo_jax.observations import Observations

if TYPE_CHECKING:
    import xarray

Derived = Callable[[Mapping[str, Array]], Array]

_BLOCK = 1 << 16  # pixels whose figures are computed at once


def quantile_name(level: float) -> str:
    """Suffix of a quantile's name: 0.05 -> "q05", 0.5 -> "q50", 0.025 -> "q02.5"."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    percent = f"{100.0 * level:.4f}".rstrip("0").rstrip(".")
    return "q" + (percent if len(percent.split(".")[0]) > 1 else "0" + percent)


@functools.cache
def physical_parameters() -> dict[str, Parameter]:
    """Every physical parameter by name, from the fields of the records."""
    records = (Soil, BimodalCanopy, LeafPro, Leaf, Canopy)  # the last declaration of a name stands
    return {name: parameter for record in records for name, parameter in parameters(record).items()}


class Posterior(abc.ABC):
    """Posterior of the sites of a model for a set of pixels.

    Sites inside the plate have values `(pixel, ...)`, global ones `(...)`.

    Attributes:
        diagnostics: by name, what the engine noticed about each pixel `(pixel,)`.
    """

    diagnostics: Mapping[str, Array] = MappingProxyType({})

    @property
    @abc.abstractmethod
    def mean(self) -> dict[str, Array]:
        """Expectations, by site."""

    @property
    @abc.abstractmethod
    def std(self) -> dict[str, Array]:
        """Standard deviations, by site."""

    @abc.abstractmethod
    def quantile(self, level: float) -> dict[str, Array]:
        """Values below which each site lies with probability `level`."""

    @abc.abstractmethod
    def sample(self, key: Array, n: int, *, sites: Sequence[str] | None = None) -> dict[str, Array]:
        """`n` joint draws `(n, pixel, ...)`, by site; deterministic sites included."""

    @abc.abstractmethod
    def log_prob(self, values: Mapping[str, Array]) -> Array:
        """Joint log density of the local latent sites `(..., pixel)` at values `(..., pixel, ...)`."""

    @abc.abstractmethod
    def _plate(self) -> tuple[str, int]:
        """Name and size of the plate."""

    @abc.abstractmethod
    def _local(self, site: str) -> bool:
        """Whether a site has one value per pixel."""

    def derive(self, functions: Mapping[str, Derived], *, key: Array, n: int) -> DrawsPosterior:
        """Posterior of quantities computed from draws, beside all sites.

        Args:
            functions: by name, a function of the dictionary of draws `(n, pixel, ...)` to `(n, pixel, ...)`, e.g.
                `lambda draws: 0.01 * draws["leaf_area_index"] * draws["chlorophyll"]`.
            key: random key.
            n: draws.
        """
        plate, size = self._plate()
        draws = self.sample(key, n)
        derived = {name: jnp.asarray(function(draws)) for name, function in functions.items()}
        wrong = {name: value.shape for name, value in derived.items() if value.shape[:2] != (n, size)}
        if wrong:
            raise ValueError(f"derive: expected values of shape (draw, {plate}, ...) = ({n}, {size}, ...), got {wrong}")
        local = {name: self._local(name) for name in draws} | dict.fromkeys(derived, True)
        return DrawsPosterior(draws | derived, local, plate=plate, size=size, diagnostics=self.diagnostics)

    def to_xarray(
        self,
        *,
        levels: Sequence[float] = (0.05, 0.5, 0.95),
        sites: Sequence[str] | None = None,
        attributes: Mapping[str, Mapping[str, str]] | None = None,
    ) -> xarray.Dataset:
        """Dataset with `{site}_mean`, `{site}_std` and `{site}_q05` ... over the plate's dimension.

        Args:
            levels: probabilities of the quantiles.
            sites: which; default all.
            attributes: by site, attributes in addition to those that the physical parameters declare (units, long and
                standard names).
        """
        import xarray

        statistics = {"mean": self.mean, "std": self.std} | {quantile_name(lv): self.quantile(lv) for lv in levels}
        spoken = {"mean": "posterior mean", "std": "posterior standard deviation"}
        spoken |= {quantile_name(level): f"posterior quantile {level:g}" for level in levels}
        plate, _ = self._plate()
        variables = {}
        for site in self.mean if sites is None else sites:
            for name, values in statistics.items():
                value = np.asarray(values[site])
                local = self._local(site)
                dims = ([plate] if local else []) + [f"{site}_{i}" for i in range(value.ndim - local)]
                described = _attributes(site, spoken[name]) | dict((attributes or {}).get(site, {}))
                variables[f"{site}_{name}"] = (dims, value, described)
        for name, noticed in self.diagnostics.items():
            variables[name] = ([plate], np.asarray(noticed), {"long_name": name.replace("_", " ")})
        return xarray.Dataset(variables)

    def to_arviz(self, *, key: Array, n: int = 1000) -> Any:
        """Draws in the form that ArviZ works on (InferenceData; from its version 1 on a DataTree), as one chain.

        Args:
            key: random key.
            n: draws.

        Raises:
            ImportError: ArviZ is not installed.
        """
        try:
            import arviz
        except ImportError as error:
            raise ImportError(
                "to_arviz: expected the package arviz, which is not installed; pip install arviz"
            ) from error
        plate, size = self._plate()
        draws = {name: np.asarray(value)[None] for name, value in self.sample(key, n).items()}
        dims = {name: [plate] for name in draws if self._local(name)}
        coords = {plate: np.arange(size)}
        if hasattr(arviz, "InferenceData"):
            return arviz.from_dict(posterior=draws, dims=dims, coords=coords)
        return arviz.from_dict({"posterior": draws}, dims=dims, coords=coords)  # from version 1 on


def _attributes(site: str, statistic: str) -> dict[str, str]:
    known = physical_parameters().get(site)
    if known is None:
        return {"long_name": f"{site.replace('_', ' ')}, {statistic}"}
    found = {"units": known.unit, "long_name": f"{known.description}, {statistic}"}
    if known.standard_name and not statistic.endswith("deviation"):
        found["standard_name"] = known.standard_name
    return found


class Deferred(Mapping[str, Array]):
    """A mapping that is computed when it is first looked at.

    Args:
        compute: makes it.
    """

    def __init__(self, compute: Callable[[], Mapping[str, Array]]) -> None:
        self._compute = compute

    @functools.cached_property
    def _made(self) -> Mapping[str, Array]:
        return self._compute()

    def __getitem__(self, name: str) -> Array:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


class DrawsPosterior(Posterior):
    """A posterior known by draws.

    Args:
        draws: by site, `(draw, pixel, ...)` or, for global sites, `(draw, ...)`.
        local: by site, whether the second axis is the plate's.
        plate: name of the plate.
        size: pixels.
        diagnostics: by name `(pixel,)`.
    """

    def __init__(
        self,
        draws: Mapping[str, Array],
        local: Mapping[str, bool],
        *,
        plate: str,
        size: int,
        diagnostics: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        self.draws, self._is_local, self._plate_name, self._size = dict(draws), dict(local), plate, size
        self.diagnostics = diagnostics

    @property
    def mean(self) -> dict[str, Array]:
        return {name: value.mean(0) for name, value in self.draws.items()}

    @property
    def std(self) -> dict[str, Array]:
        return {name: value.std(0) for name, value in self.draws.items()}

    def quantile(self, level: float) -> dict[str, Array]:
        quantile_name(level)
        return {name: jnp.quantile(value, level, axis=0) for name, value in self.draws.items()}

    def sample(self, key: Array, n: int, *, sites: Sequence[str] | None = None) -> dict[str, Array]:
        """`n` of the draws, with replacement; the sites of a draw stay together."""
        size = next(iter(self.draws.values())).shape[0]
        chosen = jax.random.randint(key, (n,), 0, size)
        return {name: self.draws[name][chosen] for name in (self.draws if sites is None else sites)}

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        raise ValueError("log_prob: expected a posterior with a density, got one known by draws only")

    def _plate(self) -> tuple[str, int]:
        return self._plate_name, self._size

    def _local(self, site: str) -> bool:
        return self._is_local[site]


class GuidePosterior(Posterior):
    """The posterior that an amortised guide states.

    `mean`, `std`, `quantile` are those of the latent sites, in closed form (of a flow from a fixed set of draws);
    deterministic sites come with `sample` and `derive`.

    Attributes:
        model: NumPyro model function.
        structure: its sites.
        observations: what was seen.
        law: of the local sites.
        shared: of the global sites, None where there are none.
    """

    def __init__(
        self,
        *,
        model: Model,
        structure: Structure,
        observations: Observations,
        law: Law,
        shared: Law | None,
        diagnostics: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        self.model, self.structure, self.observations = model, structure, observations
        self.law, self.shared = law, shared
        self.diagnostics = diagnostics

    @functools.cached_property
    def _moments(self) -> dict[str, tuple[Array, Array]]:
        return self._by_blocks(_closed_form)

    @property
    def mean(self) -> dict[str, Array]:
        return {name: mean for name, (mean, _) in self._moments.items()}

    @property
    def std(self) -> dict[str, Array]:
        return {name: std for name, (_, std) in self._moments.items()}

    def quantile(self, level: float) -> dict[str, Array]:
        quantile_name(level)
        return self._by_blocks(lambda law, shared: _quantiles(law, shared, jnp.asarray(level, float)))

    def _by_blocks(self, figures: Callable[[Law, Law | None], Any]) -> Any:
        """Figures of all sites, of so many pixels at once that what they are computed from fits into memory."""
        pixels = self._plate()[1]
        if pixels <= _BLOCK:
            return figures(self.law, self.shared)
        parts = []
        for start in range(0, pixels, _BLOCK):
            rows = np.minimum(np.arange(start, start + _BLOCK), pixels - 1)  # one size is compiled
            parts.append(jax.device_get(figures(of_pixels(self.law, jnp.asarray(rows)), self.shared)))
        shared = {site.name for site in self.structure.shared}
        together = {
            name: parts[0][name]
            if name in shared
            else jax.tree.map(lambda *leaves: np.concatenate(leaves)[:pixels], *(part[name] for part in parts))
            for name in parts[0]
        }
        return jax.tree.map(jnp.asarray, together)

    def sample(self, key: Array, n: int, *, sites: Sequence[str] | None = None) -> dict[str, Array]:
        known = [site.name for site in self.structure.local + self.structure.shared] + list(
            self.structure.deterministic
        )
        wanted = tuple(known if sites is None else sites)
        unknown = sorted(set(wanted) - set(known))
        if unknown:
            raise ValueError(f"sample: expected sites among {known}, got {unknown}")
        data = (self.observations, self.law, self.shared)
        return _sample(self.model, self.structure, n, wanted, *data, key)

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        return _log_prob(self.law, dict(values))

    def predictive(self, key: Array, n: int) -> dict[str, Array]:
        """Posterior-predictive draws of the observations `(n, pixel, [date,] band)`, by record; masked bands too."""
        return _predictive(self.model, self.structure, n, self.observations, self.law, self.shared, key)

    def _plate(self) -> tuple[str, int]:
        return self.structure.plate, next(iter(self.observations.values())).values.shape[0]

    def _local(self, site: str) -> bool:
        return site in {s.name for s in self.structure.local} or self.structure.deterministic.get(site, False)


class PointPosterior(Posterior):
    """One state per pixel. It is no posterior: deviations and quantiles are NaN, and there is nothing to draw.

    Attributes:
        model, structure, observations: what was fitted.
        values: latent sites.
    """

    def __init__(
        self,
        *,
        model: Model,
        structure: Structure,
        observations: Observations,
        values: Mapping[str, Array],
        diagnostics: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        self.model, self.structure, self.observations = model, structure, observations
        self.values, self.diagnostics = dict(values), diagnostics

    @functools.cached_property
    def mean(self) -> dict[str, Array]:
        """The state, deterministic sites included."""
        return self.values | _follow(self.model, self.structure, self.observations, self.values)

    @property
    def std(self) -> dict[str, Array]:
        return {name: jnp.full_like(value, jnp.nan) for name, value in self.mean.items()}

    def quantile(self, level: float) -> dict[str, Array]:
        quantile_name(level)
        return self.std

    def sample(self, key: Array, n: int, *, sites: Sequence[str] | None = None) -> dict[str, Array]:
        raise ValueError("sample: expected a posterior with an uncertainty, got a mode; use fit_laplace")

    def log_prob(self, values: Mapping[str, Array]) -> Array:
        raise ValueError("log_prob: expected a posterior with a density, got a mode; use fit_laplace")

    def _plate(self) -> tuple[str, int]:
        return self.structure.plate, next(iter(self.observations.values())).values.shape[0]

    def _local(self, site: str) -> bool:
        return site in {s.name for s in self.structure.local} or self.structure.deterministic.get(site, False)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _follow(
    model: Model, structure: Structure, observations: Observations, values: Mapping[str, Array]
) -> dict[str, Array]:
    """Deterministic sites of given latent ones."""
    trace = run(model, observations, None, values)
    return {name: jnp.asarray(trace[name]["value"]) for name in structure.deterministic}


@eqx.filter_jit
def _closed_form(law: Law, shared: Law | None) -> dict[str, tuple[Array, Array]]:
    return moments(law) if shared is None else moments(law) | moments(shared)


@jax.jit
def _quantiles(law: Law, shared: Law | None, level: Array) -> dict[str, Array]:
    return quantiles(law, level) if shared is None else quantiles(law, level) | quantiles(shared, level)


@jax.jit
def _log_prob(law: Law, values: dict[str, Array]) -> Array:
    return law.log_prob(values)


def _latents(law: Law, shared: Law | None, key: Array, n: int) -> dict[str, Array]:
    key_local, key_shared = jax.random.split(key)
    values, _ = law.sample(key_local, (n,))
    return values if shared is None else values | shared.sample(key_shared, (n,))[0]


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _sample(
    model: Model,
    structure: Structure,
    n: int,
    wanted: tuple[str, ...],
    observations: Observations,
    law: Law,
    shared: Law | None,
    key: Array,
) -> dict[str, Array]:
    values: dict[str, Any] = _latents(law, shared, key, n)
    computed = [name for name in wanted if name in structure.deterministic]
    if computed:
        values = values | jax.vmap(functools.partial(_follow, model, structure, observations))(values)
    return {name: values[name] for name in wanted}


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _predictive(
    model: Model, structure: Structure, n: int, observations: Observations, law: Law, shared: Law | None, key: Array
) -> dict[str, Array]:
    key_latents, key_noise = jax.random.split(key)

    def follow(latents: Mapping[str, Array], key: Array) -> dict[str, Array]:
        trace = run(handlers.uncondition(model), observations, key, latents)
        return {name: trace[name]["value"] for name in structure.observed}

    return jax.vmap(follow)(_latents(law, shared, key_latents, n), jax.random.split(key_noise, n))
