"""The amortised posterior of `optical_radar` as a retrieval: what maps of both sensors are made with."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physics import Sensor, SunView, moist_soil, sensor
from physics.microwave import RadarView
from releo_jax.errors import ReleoError
from releo_jax.inference import storage
from releo_jax.inference.amortized import AmortizedPosterior
from releo_jax.inference.distillation import Distilled, distil, untrained
from releo_jax.inference.laws import from_vector
from releo_jax.inference.structure import run, simulate
from releo_jax.observations import Observations, Series
from releo_jax.systems.domain import Domain, limits, log_reflectance, squared_distances
from releo_jax.systems.land_surface import derived_variables
from releo_jax.systems.optical_radar import (
    OPTICAL,
    OPTICAL_DATES,
    RADAR,
    RADAR_DATES,
    WINDOW,
    acquisition,
    optical_radar_posterior,
    within_land,
)
from releo_jax.systems.prosail_vae import SENSORS, SENTINEL2_BANDS
from releo_jax.systems.weights import weights_file
from releo_jax.training.runs import Runs
from releo_jax.variables import FLAGS, VARIABLES

if TYPE_CHECKING:
    from releo_jax.cubes.radar import RadarPixels

SITES = ("lai", "sm")
"""Variables that are sites of the model; all others are derived."""

DERIVED = ("vwc", "pai", "ccc", "cwc", "fapar", "fcover")

_ANGLES = ("sun_zenith", "view_zenith", "relative_azimuth")
_SUFFIXES = ("mean", "std", "q05", "q50", "q95", "lower", "upper")


class JointDomain(NamedTuple):
    """Simulated pixels in brief, all arrays NumPy.

    Attributes:
        optical: of the optical bands.
        decibels: mean of VV and VH `(2,)`.
        covariance: of both `(2, 2)`.
        distance: limits of the squared Mahalanobis distance of the radar by the number of its usable bands `(3,)`.
        misfit: limits of the squared misfit by the number of all usable values.
    """

    optical: Domain
    decibels: np.ndarray
    covariance: np.ndarray
    distance: np.ndarray
    misfit: np.ndarray

    def outside(self, data: Observations) -> np.ndarray:
        """Whether the first optical or the first radar date is unlike the simulated ones `(pixel,)`."""
        optical, radar = (data[name] for name in (OPTICAL, RADAR))
        unlike = self.optical.outside(np.asarray(optical.values[:, 0]), np.asarray(optical.mask[:, 0]))
        mask = np.asarray(radar.mask[:, 0])
        found: np.ndarray = unlike | (self._radar(np.asarray(radar.values[:, 0]), mask) > self.distance[mask.sum(1)])
        return found

    def _radar(self, decibels: np.ndarray, mask: np.ndarray) -> np.ndarray:
        centred = (np.asarray(within_land(decibels)) - self.decibels).astype(np.float32)
        return squared_distances(centred, mask, self.covariance)


@dataclasses.dataclass(frozen=True, eq=False)
class OpticalRadarRetrieval:
    """Retrieves leaf area, soil moisture and what follows from one optical date and the radar dates around it.

    A sensor that did not see a pixel leaves its figures wider. Soil moisture belongs to the radar date nearest to the
    optical one, or to the optical date where there is none.

    Attributes:
        sensor: optical bands.
        posterior: amortised posterior of the model of `optical_radar`.
        derived: heads of the derived variables.
        domain: what the posterior was trained on.
        misfit: whether the predictive misfit is computed, which takes a run of the model for each pixel.
        name: of the method.
    """

    sensor: Sensor
    posterior: AmortizedPosterior
    derived: Distilled
    domain: JointDomain
    misfit: bool = True
    name: str = "optical-radar"

    radar_window = (WINDOW, RADAR_DATES)
    """Days around the optical date, and number of dates, within which radar dates are used."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it uses."""
        return self.sensor.bands

    @property
    def required(self) -> tuple[str, ...]:
        """None: it was trained with any subset of dates and bands."""
        return ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Aliases of what it retrieves."""
        return (*SITES, *DERIVED)

    def without_misfit(self) -> OpticalRadarRetrieval:
        """The same without the flag `predictive_misfit`, which then is never set."""
        return dataclasses.replace(self, misfit=False)

    def __call__(
        self,
        reflectance: np.ndarray,
        mask: np.ndarray,
        sun_view: SunView,
        *,
        variables: Sequence[str],
        level: float,
        radar: RadarPixels | None = None,
    ) -> dict[str, np.ndarray]:
        """Retrieves variables of pixels; arguments and result as in `releo_jax.systems.Retrieval`, with the radar."""
        data = as_observations(reflectance, mask, sun_view, radar)
        levels = np.asarray((0.05, 0.5, 0.95, 0.5 - 0.5 * level, 0.5 + 0.5 * level), np.float32)
        figures, misfit = self._program(data, tuple(variables), levels)
        seen = sum(np.asarray(record.mask).sum(axis=(1, 2)) for record in data.values())
        flag = np.where(self.domain.outside(data), FLAGS["out_of_domain"], 0)
        if self.misfit:
            explained = np.asarray(misfit) <= self.domain.misfit[seen]
            flag |= np.where(explained, 0, FLAGS["predictive_misfit"])
        found: dict[str, np.ndarray] = {}
        for alias in variables:
            rows = np.where(seen > 0, np.asarray(figures[alias]), np.nan).astype(np.float32)
            found |= {f"{alias}_{suffix}": row for suffix, row in zip(_SUFFIXES, rows, strict=True)}
            high = rows[4] > self.domain.optical.largest if alias == "lai" else False
            word = np.where(seen > 0, flag | np.where(high, FLAGS["at_prior_bound"], 0), FLAGS["input_masked"])
            found[f"{alias}_flag"] = word.astype(np.uint8)
        return found

    @functools.cached_property
    def _program(self) -> Callable[..., tuple[dict[str, Array], Array | None]]:
        """Compiled: figures `(figure, pixel)` by alias, and the squared misfit."""
        guide, heads = self.posterior.guide(), self.derived.heads()

        @functools.partial(jax.jit, static_argnums=1)
        def figures(data: Observations, aliases: tuple[str, ...], levels: Array) -> Any:
            context = guide.encoder(data)  # type: ignore[operator]
            found = {}
            derived = tuple(VARIABLES[alias].name for alias in aliases if alias in DERIVED)
            laws: dict[str, Any] = heads.marginal(context, derived) if derived else {}
            for alias in aliases:
                name = VARIABLES[alias].name
                law = laws[name] if name in laws else guide.local.marginal(context, name)  # type: ignore[attr-defined]
                rows = jnp.concatenate([law.mean[None], law.std[None], jax.vmap(law.quantile)(levels)])
                found[alias] = rows if rows.ndim == 2 else rows[..., 0]  # of the first radar date
            return found, squared_misfit(self.posterior, guide, data, optical_dates=1) if self.misfit else None

        return figures

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all trained figures into one safetensors file."""
        header = storage.description(self.posterior.structure, self.posterior.options)
        parameters = {"guide": self.posterior.parameters, "derived": self.derived.parameters}
        constants = {"guide": self.posterior.constants, "derived": self.derived.constants, "domain": self.domain}
        storage.save(path, parameters, constants, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str], bands: Sensor) -> OpticalRadarRetrieval:
        """Reads a file written by `save`."""
        posterior = optical_radar_posterior(bands, blank=True)
        storage.check_structure(path, posterior.structure)
        derived = untrained(derived_bounds(), _features(posterior))
        number = len(bands.bands)
        zeros = np.zeros(number + 1)
        blank = JointDomain(
            Domain(np.zeros(number), np.zeros((number, number)), zeros, zeros, np.zeros(())),
            np.zeros(2),
            np.zeros((2, 2)),
            np.zeros(3),
            np.zeros(OPTICAL_DATES * number + 2 * RADAR_DATES + 1),
        )
        parameters, constants = storage.restore(
            path,
            {"guide": posterior.parameters, "derived": derived.parameters},
            {"guide": posterior.constants, "derived": derived.constants, "domain": blank},
        )
        domain = jax.tree.map(np.asarray, constants["domain"])
        return cls(
            bands,
            dataclasses.replace(posterior, parameters=parameters["guide"], constants=constants["guide"]),
            dataclasses.replace(derived, parameters=parameters["derived"], constants=constants["derived"]),
            domain,
        )


def as_observations(
    reflectance: np.ndarray, mask: np.ndarray, sun_view: SunView, radar: RadarPixels | None
) -> dict[str, Series]:
    """Records of one optical date and the radar dates around it; arguments as of `OpticalRadarRetrieval`."""
    pixels = len(reflectance)
    shape = (pixels, OPTICAL_DATES)  # those that the posterior knows; all but the first are padding
    mask = np.asarray(mask, bool)
    seen_on = np.zeros((*shape, mask.shape[-1]), bool)
    seen_on[:, 0] = mask
    values = np.zeros(seen_on.shape, np.float32)
    values[:, 0] = np.where(mask, np.asarray(reflectance, np.float32), 0.0)
    angles = [
        np.broadcast_to(np.reshape(np.asarray(getattr(sun_view, name), np.float32), (-1, 1)), shape) for name in _ANGLES
    ]
    seen = SunView(**dict(zip(_ANGLES, map(jnp.asarray, angles), strict=True)))
    optical = Series(values, seen_on, np.zeros(shape, np.float32), seen)
    if radar is None:
        empty = np.zeros((pixels, RADAR_DATES), np.float32)
        pair = np.zeros((*empty.shape, 2), np.float32)
        unseen = Series(pair, pair > 0.0, empty, RadarView.from_degrees(empty))
        return {OPTICAL: optical, RADAR: unseen}
    view = RadarView.from_degrees(radar.incidence)
    return {OPTICAL: optical, RADAR: Series(radar.decibels, radar.mask, radar.days, view)}


def squared_misfit(
    amortized: AmortizedPosterior, guide: Any, data: Observations, *, optical_dates: int = OPTICAL_DATES
) -> Array:
    """Squared misfit `(pixel,)` of all usable values at the centre of the posterior, in terms of their errors.

    The model runs for the first `optical_dates`; later ones must not have been seen.
    """
    local = guide.local(guide.encoder(data))
    sites = dict(from_vector(local.sites, local.location)[0])
    sites["soil_moisture"] = sites["soil_moisture"][:, : RADAR_DATES + optical_dates]
    data = {**data, OPTICAL: jax.tree.map(lambda leaf: leaf[:, :optical_dates], data[OPTICAL])}
    shared = guide.shared()
    sites |= from_vector(shared.sites, shared.location)[0]
    trace = run(amortized.model, data, None, sites)
    found = jnp.zeros(len(data[OPTICAL].values))
    for name in (OPTICAL, RADAR):
        law, expected = trace[name]["fn"], trace[name]["infer"]["observe"].mean
        record = data[name]
        found = found + 2.0 * (law.log_prob(jnp.where(record.mask, expected, 0.0)) - law.log_prob(record.values))
    return found


def derived_bounds() -> dict[str, tuple[float, float]]:
    """Bounds of the derived variables by full name."""
    return {VARIABLES[alias].name: VARIABLES[alias].bounds for alias in DERIVED}


def _derived(sites: Mapping[str, Array], data: Observations) -> dict[str, Array]:
    first = jax.tree.map(lambda angle: angle[:, 0], data[OPTICAL].geometry)
    moisture = sites["soil_moisture"][..., data[RADAR].values.shape[1]]  # of the first optical date

    def moist(dry: Array, wavelengths: np.ndarray) -> Array:
        return moist_soil(dry, moisture, capacity=sites["film_capacity"], wavelengths=wavelengths)

    low, high = derived_bounds()["vegetation_water"]
    water = jnp.clip(sites["vegetation_water"], low + 1e-4, high - 1e-3)
    return derived_variables(sites, first, soil_seen=moist) | {"vegetation_water": water}


def _features(posterior: AmortizedPosterior) -> int:
    sampler, encoder = acquisition(sensor(SENSORS[0], bands=SENTINEL2_BANDS)), posterior.guide().encoder
    features: int = jax.eval_shape(lambda key: encoder(sampler(key, 2)), jax.random.key(0)).shape[1]  # type: ignore[operator]
    return features


def train_retrieval(
    bands: Sensor,
    posterior: AmortizedPosterior,
    *,
    steps: int,
    batch: int = 512,
    seed: int = 0,
    pixels: int = 100_000,
    runs: Runs | None = None,
    progress: bool = False,
) -> OpticalRadarRetrieval:
    """Trains posterior, heads and domain for one sensor.

    Args:
        bands: sensor.
        posterior: to start from.
        steps: of the posterior; the heads take a quarter of them.
        batch: pixels simulated for each step.
        seed: of everything random.
        pixels: simulated to learn the domain.
        runs: parts of each step and checkpoints.
        progress: show bars.
    """
    runs = Runs() if runs is None else runs
    fit_key, distil_key, domain_key = jax.random.split(jax.random.key(seed), 3)
    sampler = acquisition(bands)
    how: Any = {"batch": batch, "learning_rate": 2e-3, "progress": progress}
    posterior = posterior.fit(sampler, key=fit_key, steps=steps, average=0.998, loop=runs.loop("posterior"), **how)
    derived = distil(
        posterior,
        _derived,
        derived_bounds(),
        sampler,
        key=distil_key,
        steps=max(steps // 4, 1),
        loop=runs.loop("heads"),
        **how,
    )
    return OpticalRadarRetrieval(bands, posterior, derived, _learn_domain(posterior, bands, domain_key, pixels))


def _learn_domain(posterior: AmortizedPosterior, bands: Sensor, key: Array, pixels: int) -> JointDomain:
    guide, sampler = posterior.guide(), acquisition(bands)

    @jax.jit
    def batch(key: Array) -> Any:
        one, other = jax.random.split(key)
        sites, data = simulate(posterior.structure, posterior.model, sampler(one, 2000), other, separately=True)
        first = [(data[name].values[:, 0], data[name].mask[:, 0]) for name in (OPTICAL, RADAR)]
        number = sum(record.mask.sum((1, 2)) for record in data.values())
        return *first[0], *first[1], squared_misfit(posterior, guide, data), number, sites["leaf_area_index"]

    parts = [jax.device_get(batch(one)) for one in jax.random.split(key, -(-pixels // 2000))]
    values, mask, decibels, there, misfit, number, area = (np.concatenate(c) for c in zip(*parts, strict=True))
    count = len(bands.bands)
    logs, whole = np.asarray(log_reflectance(values[mask.all(1)]), np.float64), decibels[there.all(1)].astype(float)
    zeros = np.zeros(count + 1)
    optical = Domain(logs.mean(0), np.cov(logs.T), zeros, zeros, np.quantile(area, 0.999))
    optical = optical._replace(distance=limits(optical.distances(values, mask), mask.sum(1), count))
    domain = JointDomain(optical, whole.mean(0), np.cov(whole.T), np.zeros(3), np.zeros(0))
    most = OPTICAL_DATES * count + 2 * RADAR_DATES
    known = np.isfinite(misfit)  # the centre of a posterior can lie where the model overflows
    return domain._replace(
        distance=limits(domain._radar(decibels, there), there.sum(1), 2),
        misfit=limits(misfit[known], number[known], most),
    )


def load_optical_radar(name: str, folder: Path | None = None) -> OpticalRadarRetrieval:
    """The trained retrieval that comes with the package, or one of `releo train`.

    Args:
        name: `sentinel2a`, `sentinel2b` or `sentinel2c`.
        folder: of other weights than those of the package.

    Raises:
        ReleoError: no weights for this sensor.
    """
    return _shipped(name) if folder is None else _load(name, folder)


@functools.cache
def _shipped(name: str) -> OpticalRadarRetrieval:
    return _load(name, None)


def _load(name: str, folder: Path | None) -> OpticalRadarRetrieval:
    if name not in SENSORS:
        raise ReleoError(f"no trained weights for the sensor {name!r}; expected {', '.join(SENSORS)}")
    with weights_file(f"optical_radar_{name}", folder) as path:
        return OpticalRadarRetrieval.load(path, sensor(name, bands=SENTINEL2_BANDS))
