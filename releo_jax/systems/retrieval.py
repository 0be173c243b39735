"""An amortised posterior as a retrieval: what maps and tables are made with."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physics import Sensor, SunView
from releo_jax.inference import storage
from releo_jax.inference.amortized import AmortizedPosterior
from releo_jax.inference.chunks import shared_out
from releo_jax.inference.distillation import Distilled
from releo_jax.observations import Observations, SingleDate
from releo_jax.systems.domain import Domain, chi_square
from releo_jax.systems.land_surface import RECORD, derived_variables
from releo_jax.variables import FLAGS, VARIABLES

STATE = "lai"
"""The variable that is a site of the model; all others are derived."""

DERIVED = ("pai", "ccc", "cwc", "fapar", "fcover")

_ANGLES = ("sun_zenith", "view_zenith", "relative_azimuth")
_CHUNK = 4096  # pixels of a program, twice as many without the simulator
_LEAST = 64  # of the smallest program
_DRAWS_AT_ONCE = 1 << 14


@dataclasses.dataclass(frozen=True, eq=False)
class AmortizedRetrieval:
    """Retrieves leaf area and what follows from it; immutable.

    Leaf area comes in closed form from the amortised posterior, derived variables from heads distilled on simulations
    or, after `with_draws`, from posterior draws.

    Attributes:
        name: of the method.
        sensor: bands.
        posterior: amortised posterior of the model of `land_surface`.
        derived: heads of the derived variables; None where only draws are right.
        domain: what the posterior was trained on.
        draws: posterior draws of each pixel for the derived variables, None for the heads.
        misfit: whether the predictive misfit is computed, which takes a run of the model for each pixel.
    """

    name: str
    sensor: Sensor
    posterior: AmortizedPosterior
    derived: Distilled | None
    domain: Domain
    draws: int | None = None
    misfit: bool = True

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands it uses."""
        return self.sensor.bands

    @property
    def required(self) -> tuple[str, ...]:
        """None: it was trained with any subset of its bands, and says how much less it knows."""
        return ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Aliases of what it retrieves."""
        return (STATE, *DERIVED)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all trained figures into one safetensors file."""
        if self.derived is None:
            raise ValueError("save: expected a retrieval with heads for its derived variables, got one that draws")
        header = storage.description(self.posterior.structure, self.posterior.options)
        parameters = {"guide": self.posterior.parameters, "derived": self.derived.parameters}
        constants = {"guide": self.posterior.constants, "derived": self.derived.constants, "domain": self.domain}
        storage.save(path, parameters, constants, header)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        name: str,
        sensor: Sensor,
        posterior: AmortizedPosterior,
        derived: Distilled,
    ) -> AmortizedRetrieval:
        """Reads a file written by `save`; `posterior` and `derived` are untrained ones of the same kind and size."""
        storage.check_structure(path, posterior.structure)
        bands = len(sensor.bands)
        numbers = np.zeros(bands + 1)
        blank = Domain(np.zeros(bands), np.zeros((bands, bands)), numbers, numbers, np.zeros(()))
        parameters, constants = storage.restore(
            path,
            {"guide": posterior.parameters, "derived": derived.parameters},
            {"guide": posterior.constants, "derived": derived.constants, "domain": blank},
        )
        return cls(
            name=name,
            sensor=sensor,
            posterior=dataclasses.replace(posterior, parameters=parameters["guide"], constants=constants["guide"]),
            derived=dataclasses.replace(derived, parameters=parameters["derived"], constants=constants["derived"]),
            domain=Domain(*(np.asarray(figure) for figure in constants["domain"])),
        )

    def with_draws(self, n: int) -> AmortizedRetrieval:
        """The same with derived variables from `n` posterior draws of each pixel."""
        if n < 2:
            raise ValueError(f"expected at least 2 draws, got {n}")
        return dataclasses.replace(self, draws=n)

    def without_misfit(self) -> AmortizedRetrieval:
        """The same without the flag `predictive_misfit`, which then is never set; several times as fast."""
        return dataclasses.replace(self, misfit=False)

    def adapt(
        self, reflectance: np.ndarray, mask: np.ndarray, sun_view: SunView, *, seed: int = 0, steps: int = 400
    ) -> AmortizedRetrieval:
        """Trains further on unlabelled pixels by the evidence lower bound; noise levels of the bands are learned too.

        The bound prefers narrow posteriors: on measured fields 90 % intervals then hold 74 to 86 % (docs/field.md).

        Args:
            reflectance: `(pixel, band)`.
            mask: `(pixel, band)`, True = usable.
            sun_view: angles `(pixel,)`.
            seed: of the training.
            steps: of the training.

        Returns:
            A retrieval for images like this one; its derived variables come from draws.
        """
        data = _observations(reflectance, mask, sun_view)
        trained = self.posterior.fit(
            data, key=jax.random.key(seed), objective="elbo", steps=steps, batch=256, learning_rate=2e-4, particles=4
        )
        return dataclasses.replace(self, posterior=trained, derived=None, draws=self.draws or 64)

    def __call__(
        self, reflectance: np.ndarray, mask: np.ndarray, sun_view: SunView, *, variables: Sequence[str], level: float
    ) -> dict[str, np.ndarray]:
        """Retrieves variables of pixels; arguments and result as in `releo_jax.systems.Retrieval`."""
        reflectance, mask = np.asarray(reflectance, np.float32), np.asarray(mask, bool)
        angles = [np.broadcast_to(np.asarray(getattr(sun_view, name), np.float32), len(mask)) for name in _ANGLES]
        arrays = (np.where(mask, reflectance, 0.0), mask, *angles)
        parts = []
        # Without the simulator nothing but the network is computed, which fills the caches later.
        largest = _CHUNK if self.misfit or self.draws else 2 * _CHUNK
        size = min(largest, max(_LEAST, 1 << (len(mask) - 1).bit_length()))  # few sizes are compiled
        for start in range(0, len(mask), size):
            rows = np.minimum(np.arange(start, start + size), len(mask) - 1)
            parts.append(self._chunk(*(array[rows] for array in arrays), tuple(variables), float(level)))
        found = {key: np.concatenate([np.asarray(part[key]) for part in parts])[: len(mask)] for key in parts[0]}
        masked = ~mask.any(axis=1)
        for key, array in found.items():
            if masked.any():
                found[key] = np.where(masked, FLAGS["input_masked"] if key.endswith("_flag") else np.nan, array).astype(
                    array.dtype
                )
        return found

    def _chunk(self, values: Any, mask: Any, *rest: Any) -> dict[str, np.ndarray]:
        """Figures of one chunk."""
        *angles, variables, level = rest
        levels = np.asarray((0.05, 0.5, 0.95, 0.5 - 0.5 * level, 0.5 + 0.5 * level), np.float32)
        derived = tuple(VARIABLES[alias].name for alias in variables if alias != STATE)
        from_draws = self.draws is not None or self.derived is None
        figures, misfit = self._program(
            *shared_out((values, mask, *angles)), () if from_draws else derived, STATE in variables, levels
        )
        if derived and from_draws:
            data = _observations(values, mask, SunView(**dict(zip(_ANGLES, angles, strict=True))))
            figures = figures | self._from_draws(data, derived, levels)
        flag = np.where(self.domain.outside(np.asarray(values), np.asarray(mask)), FLAGS["out_of_domain"], 0)
        if self.misfit:
            poor = np.asarray(misfit) > self.domain.misfit[np.asarray(mask).sum(axis=1)]
            flag |= np.where(poor, FLAGS["predictive_misfit"], 0)
        found: dict[str, np.ndarray] = {}
        for alias in variables:
            rows = np.asarray(figures[VARIABLES[alias].name])
            found |= {f"{alias}_{suffix}": row for suffix, row in zip(SUFFIXES, rows, strict=True)}
            high = rows[4] > self.domain.largest if alias == STATE else False
            found[f"{alias}_flag"] = (flag | np.where(high, FLAGS["at_prior_bound"], 0)).astype(np.uint8)
        return found

    @functools.cached_property
    def _program(self) -> Callable[..., tuple[dict[str, Array], Array | None]]:
        """Compiled: figures `(figure, pixel)` of the state and of heads by full name, and the squared misfit."""
        guide, heads = self.posterior.guide(), None if self.derived is None else self.derived.heads()

        # Takes arrays, not records: those would be moved one by one.
        @functools.partial(jax.jit, static_argnums=(5, 6))
        def figures(
            values: Array,
            mask: Array,
            sun_zenith: Array,
            view_zenith: Array,
            relative_azimuth: Array,
            names: tuple[str, ...],
            state: bool,
            levels: Array,
        ) -> Any:
            angles = SunView(sun_zenith=sun_zenith, view_zenith=view_zenith, relative_azimuth=relative_azimuth)
            data = _observations(values, mask, angles)
            context = guide.encoder(data)  # type: ignore[operator]
            laws = {}
            if state:
                laws[VARIABLES[STATE].name] = guide.local.marginal(context, VARIABLES[STATE].name)  # type: ignore[attr-defined]
            if names and heads is not None:
                laws |= heads.marginal(context, names)
            found = {
                name: jnp.concatenate([law.mean[None], law.std[None], jax.vmap(law.quantile)(levels)])
                for name, law in laws.items()
            }
            return found, chi_square(self.posterior, RECORD, guide, data) if self.misfit else None

        return figures

    def _from_draws(self, data: Observations, names: tuple[str, ...], levels: np.ndarray) -> dict[str, Array]:
        draws = self.draws or 64
        step = max(1, _DRAWS_AT_ONCE // draws)
        size = len(data[RECORD].values)
        parts = []
        for start in range(0, size, step):
            rows = jnp.minimum(jnp.arange(start, start + step), size - 1)
            part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], data)
            # One key for all: a pixel's figures depend on nothing but the pixel.
            posterior = self.posterior(part)
            values = _derived_draws(posterior.sample(jax.random.key(0), draws), part[RECORD].geometry)
            parts.append({name: _statistics(values[name], levels) for name in names})
        return {name: jnp.concatenate([part[name] for part in parts], axis=1)[:, :size] for name in names}


def load_domain(path: str | os.PathLike[str]) -> Domain:
    """The domain alone of a file that `AmortizedRetrieval.save` wrote."""
    stored = storage.read_constants(path, {"domain": Domain(*Domain._fields)})  # type: ignore[arg-type]
    return Domain(*(np.asarray(figure) for figure in stored["domain"]))


SUFFIXES = ("mean", "std", "q05", "q50", "q95", "lower", "upper")

_derived_draws = jax.jit(derived_variables)


def _statistics(draws: Array, levels: np.ndarray) -> Array:
    """Mean, deviation and quantiles `(figure, pixel)` of draws `(draw, pixel)`."""
    quantiles = jnp.quantile(draws, levels, axis=0)
    return jnp.concatenate([draws.mean(0)[None], draws.std(0)[None], quantiles])


def _observations(values: Any, mask: Any, sun_view: SunView) -> Observations:
    return {RECORD: SingleDate(jnp.asarray(values, jnp.float32), jnp.asarray(mask), sun_view)}
