"""Inverse problems with ten fixed observations each; a user adds one by writing one function.

    @task
    def my_field() -> Task:
        def model(data): ...                    # prior, simulator, noise
        return Task(model=model, acquisitions=acquisitions)

A task is made once, when it is first asked for by `get_task`. Its twin has the same unknowns and is inverted by the
same model, but its observations come from another one: what a method says about them shows how it fails.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array

from physics import Canopy, Leaf, LibrarySoil, Sensor, Soil, gaussian_bands, library_soil, prosail, sensor, soil_mixture
from releo_jax.acquisitions import Acquisitions, synthetic_acquisition
from releo_jax.distributions import TruncatedNormal
from releo_jax.inference.density import Target, read_target
from releo_jax.inference.structure import Model, Structure, read_structure, simulate
from releo_jax.noise import additive_multiplicative, gaussian, student_t
from releo_jax.observations import Observations, SingleDate, observe, take
from releo_jax.priors import prosail_vae, sample_params

FIXED = 10
"""Observations of a task for which reference draws are stored."""

_DATES = np.linspace(9.0, 361.0, 20)  # days of the year


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """An inverse problem.

    Attributes:
        model: NumPyro model function that is inverted; its sites inside the plate are the unknowns, and scalars.
        acquisitions: sampler of masks and angles.
        nature: model function that makes the observations, with the unknowns under the same names; None for `model`.
        name: filled in by `get_task`.
    """

    model: Model
    acquisitions: Acquisitions
    nature: Model | None = None
    name: str = ""

    @property
    def well_specified(self) -> bool:
        """Whether the observations come from the model that is inverted."""
        return self.nature is None

    @functools.cached_property
    def target(self) -> Target:
        """The model as the engines read it."""
        # Angles come first: a simulation with placeholders for values is not needed to read the sites.
        return read_target(self.model, self.acquisitions(jax.random.key(0), 64))

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the unknowns, in the order of all arrays `(..., dimension)`."""
        return tuple(site.name for site in self.target.structure.local)

    def simulate(self, key: Array, n: int) -> tuple[np.ndarray, Observations]:
        """True values `(n, dimension)` and observations of `n` new pixels."""
        key_seen, key_model = jax.random.split(key)
        seen = self.acquisitions(key_seen, n)
        model = self.model if self.nature is None else self.nature
        structure = self.target.structure
        if self.nature is not None:
            structure = read_structure(self.nature, take(seen, slice(0, FIXED)))
        truth, data = _simulate(structure, model, bool(structure.shared), seen, key_model)
        return self.stack(truth), data

    def stack(self, values: dict[str, Array]) -> np.ndarray:
        """Values of the unknowns `(*batch)` as one array `(*batch, dimension)`."""
        return np.stack([np.asarray(values[name]) for name in self.sites], -1)

    @functools.cached_property
    def prior_std(self) -> np.ndarray:
        """Standard deviations of the unknowns under the prior `(dimension,)`."""
        return Task(self.model, self.acquisitions).simulate(jax.random.key(1), 4096)[0].std(0)

    @functools.cached_property
    def fixed(self) -> tuple[np.ndarray, Observations]:
        """True values and observations of the ten fixed pixels, the same in every run."""
        return self.simulate(jax.random.key(zlib.crc32(self.name.encode())), FIXED)


TASKS: dict[str, Callable[[], Task]] = {}
"""By name, the function that makes a task; `task` adds to it."""


def task(make: Callable[[], Task]) -> Callable[[], Task]:
    """Registers a function that makes a task, under the function's name."""
    TASKS[make.__name__] = make
    _made.cache_clear()
    return make


def get_task(name: str) -> Task:
    """The task of that name, always the same object, so that programs compile once.

    Raises:
        ValueError: no such task.
    """
    if name not in TASKS:
        raise ValueError(f"expected a task among {sorted(TASKS)}, got {name!r}; add yours with @task")
    return _made(name)


@functools.cache
def _made(name: str) -> Task:
    return dataclasses.replace(TASKS[name](), name=name)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _simulate(
    structure: Structure, model: Model, separately: bool, seen: Observations, key: Array
) -> tuple[dict[str, Array], Observations]:
    return simulate(structure, model, seen, key, separately=separately)


def _clear_dates(key: Array, n: int) -> Observations:
    """Each date of each pixel is clear with the pixel's own probability, 0.5 to 1."""
    key_rate, key_clear = jax.random.split(key)
    rate = jax.random.uniform(key_rate, (n, 1), minval=0.5, maxval=1.0)
    mask = jax.random.uniform(key_clear, (n, _DATES.size)) < rate
    return {"index": SingleDate(jnp.zeros(mask.shape), mask)}


def _season() -> Array:
    """Samples a season and returns the index `(pixel, date)`: two logistic curves, one up and one down."""
    base = numpyro.sample("base", TruncatedNormal(0.15, 0.05, low=0.0, high=0.35))
    amplitude = numpyro.sample("amplitude", TruncatedNormal(0.5, 0.12, low=0.15, high=0.85))
    start = numpyro.sample("start", TruncatedNormal(120.0, 20.0, low=50.0, high=180.0))
    end = numpyro.sample("end", TruncatedNormal(270.0, 20.0, low=200.0, high=340.0))
    rise = numpyro.sample("rise", TruncatedNormal(0.08, 0.03, low=0.02, high=0.2))
    fall = numpyro.sample("fall", TruncatedNormal(0.06, 0.025, low=0.02, high=0.2))
    day = jnp.asarray(_DATES, jnp.float32)

    def column(value: Array) -> Array:
        return jnp.asarray(value)[..., None]

    up = jax.nn.sigmoid(column(rise) * (day - column(start)))
    down = jax.nn.sigmoid(column(fall) * (day - column(end)))
    return column(base) + column(amplitude) * (up - down)


def _pixels(data: Observations) -> numpyro.plate:
    return numpyro.plate("pixel", next(iter(data.values())).values.shape[0])


def _season_model(data: Observations) -> None:
    with _pixels(data):
        observe("index", gaussian(_season(), 0.03), data["index"])


@task
def double_logistic() -> Task:
    """A vegetation index over a year: base, amplitude, two dates and two slopes from up to twenty clear dates."""
    return Task(model=_season_model, acquisitions=_clear_dates)


@task
def double_logistic_misspecified() -> Task:
    """The same, where noise has heavy tails and twice the scale: thin clouds that no mask has found."""

    def nature(data: Observations) -> None:
        with _pixels(data):
            observe("index", student_t(_season(), 0.06, 3.0), data["index"])

    return Task(model=_season_model, acquisitions=_clear_dates, nature=nature)


def _reflectance(seen: Sensor, data: Observations, *, elsewhere: bool) -> Array:
    """Samples leaf, canopy and soil and returns the bands; `elsewhere`: other soils, and a share of them uncovered."""
    canopy = sample_params(Canopy, prior=prosail_vae.canopy.independent())
    leaf = sample_params(Leaf, prior=prosail_vae.leaf.independent())
    soil = sample_params(Soil, prior=prosail_vae.soil.independent())
    geometry, nodes = data["bands"].geometry, seen.wavelengths
    ground = soil_mixture(soil, wavelengths=nodes)
    if not elsewhere:
        return prosail(leaf, canopy, ground, geometry, sensor=seen)
    shapes = {f"shape_{i}": numpyro.sample(f"shape_{i}", dist.Normal(0.0, 1.0)) for i in (1, 2, 3, 4)}
    # As bright as the soil of the model, of another colour.
    ground = library_soil(LibrarySoil(brightness=ground.mean(-1), **shapes), wavelengths=nodes)
    share = numpyro.sample("uncovered", dist.Uniform(0.0, 0.3))[..., None]
    covered = prosail(leaf, canopy, ground, geometry, sensor=seen)
    bare = Canopy(
        leaf_area_index=jnp.zeros_like(canopy.leaf_area_index),
        mean_leaf_angle=canopy.mean_leaf_angle,
        hot_spot=canopy.hot_spot,
    )
    return (1.0 - share) * covered + share * prosail(leaf, bare, ground, geometry, sensor=seen)


@functools.cache
def _prosail_model(seen: Sensor, *, elsewhere: bool) -> Model:
    """Once for each sensor: twins share the model that is inverted, and what was trained on it."""
    additive, relative = (0.015, 0.05) if elsewhere else (0.01, 0.03)

    def model(data: Observations) -> None:
        with _pixels(data):
            bands = _reflectance(seen, data, elsewhere=elsewhere)
            observe("bands", additive_multiplicative(bands, additive=additive, relative=relative), data["bands"])

    return model


def _prosail(seen: Sensor, *, misspecified: bool) -> Task:
    # One geometry, as a look-up table needs one table for each.
    fixed = {"sun_zenith": (35.0, 35.0), "view_zenith": (5.0, 5.0), "relative_azimuth": (90.0, 90.0)}
    acquisitions = synthetic_acquisition("bands", seen.bands, subsets=(), random_drop=0.0, empty=0.0, **fixed)
    nature = _prosail_model(seen, elsewhere=True) if misspecified else None
    return Task(model=_prosail_model(seen, elsewhere=False), acquisitions=acquisitions, nature=nature)


@functools.cache
def _sentinel2() -> Sensor:
    return sensor("sentinel2a", bands=("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"))


@functools.cache
def _hyperspectral() -> Sensor:
    """Sixty-four narrow bands outside the water vapour absorption, each at one wavelength."""
    centres = np.concatenate(
        [np.arange(430, 930, 14), np.arange(980, 1100, 28), np.arange(1180, 1330, 28), np.arange(1480, 1790, 30),
         np.arange(2050, 2400, 44)]
    )  # fmt: skip
    return gaussian_bands(centres[:64].astype(float), np.full(min(centres.size, 64), 0.1), name="hyperspectral")


@task
def prosail_sentinel2() -> Task:
    """Leaf, canopy and soil, eleven unknowns, from the ten land bands of Sentinel-2."""
    return _prosail(_sentinel2(), misspecified=False)


@task
def prosail_sentinel2_misspecified() -> Task:
    """The same, where noise is larger, the soil has another colour, and up to 30 % of the pixel are bare."""
    return _prosail(_sentinel2(), misspecified=True)


@task
def prosail_hyperspectral() -> Task:
    """Leaf, canopy and soil, eleven unknowns, from sixty-four narrow bands."""
    return _prosail(_hyperspectral(), misspecified=False)


@task
def prosail_hyperspectral_misspecified() -> Task:
    """The same, where noise is larger, the soil has another colour, and up to 30 % of the pixel are bare."""
    return _prosail(_hyperspectral(), misspecified=True)


__all__ = ["FIXED", "TASKS", "Task", "get_task", "task"]
