"""The ways to invert a row that `python -m benchmarks field` compares: one model, many engines.

Every method takes a `Task` and returns a `Found`. Engines that fit each row by itself are given the median of the
noise, so that they approximate the same posterior and no row influences another; what else is known of the noise is
learned from the unlabelled development series.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from scipy.stats import norm

from physics import Canopy, Sensor, plant_area_effective
from releo_jax import priors
from releo_jax.distributions import TruncatedNormal
from releo_jax.encoders.pixel import PixelEncoder
from releo_jax.inference import (
    AmortizedPosterior,
    Posterior,
    amortize,
    fit_laplace,
    fit_lut,
    fit_map,
    fit_nuts,
    fit_smc,
    fit_svi,
    refine,
)
from releo_jax.inference.checks import assess
from releo_jax.inference.chunks import MEMORY
from releo_jax.inference.density import read_target
from releo_jax.inference.posterior import PointPosterior
from releo_jax.inference.structure import Model, read_structure, simulate
from releo_jax.methods import load_method
from releo_jax.observations import Observations, take
from releo_jax.priors import Published
from releo_jax.systems.domain import log_reflectance
from releo_jax.systems.land_surface import RECORD, ReflectanceError, land_surface
from releo_jax.systems.prosail_vae import acquisition, load_retrieval
from releo_jax.systems.sl2p import RMSE
from releo_jax.variables import FLAGS, VARIABLES

FAMILIES = ("full_covariance", "truncated_normal", "logit_normal", "mixture", "flow")
DRAWS = 400
_LEVELS = (np.arange(DRAWS) + 0.5) / DRAWS  # of quantiles that stand for draws
_SITES = (
    "leaf_area_index",
    "mean_leaf_angle",
    "hot_spot",
    "chlorophyll",
    "vegetated_fraction",
    "clumping",
    "brightness",
)

_CANOPY, _LEAF, _SOIL = priors.land_surface.canopy, priors.land_surface.leaf, priors.land_surface.soil
OTHERWISE: dict[str, dict[str, Any]] = {
    "leaves at random": {"clumping": (0.999, 1.0)},
    "no bare ground": {"mixing": False},
    "independent errors": {"error": ReflectanceError(gain=0.0, tilt=0.0, offset=0.0)},
    "dark soils": {
        "prior": Published(canopy=_CANOPY, leaf=_LEAF, soil=_SOIL | {"brightness": dist.Uniform(0.06, 0.2)})
    },
    "any leaf area": {
        "prior": Published(canopy=_CANOPY | {"leaf_area_index": dist.Uniform(0.0, 12.0)}, leaf=_LEAF, soil=_SOIL)
    },
    "green leaves": {
        "prior": Published(canopy=_CANOPY, leaf=_LEAF | {"senescence": dist.Uniform(0.0, 0.3)}, soil=_SOIL)
    },
}
"""Models that differ from `field_model` in one assumption."""


class Budget(NamedTuple):
    """How much each method may do: table entries, reference rows of the misfit, steps and pixels of the trainings."""

    entries: int = 10_000
    reference: int = 128
    bank: int = 50_000
    simulation_steps: int = 1500
    elbo_steps: int = 600
    width: int = 128
    depth: int = 3
    svi_steps: int = 60
    nuts: tuple[int, int, int] = (150, 100, 2)
    particles: int = 200


SHORT = Budget(2000, 0, 2000, 40, 10, 16, 1, 5, (20, 20, 2), 32)


class Task(NamedTuple):
    """What is inverted.

    Attributes:
        sensor: bands.
        data: all rows.
        series: unlabelled pixels of the development series.
        subset: rows for the slowest engines.
        budget: of each method.
        seed: of everything random.
    """

    sensor: Sensor
    data: Observations
    series: Observations
    subset: np.ndarray
    budget: Budget
    seed: int

    @property
    def key(self) -> Array:
        """Random key of every method."""
        return jax.random.key(self.seed)


class Found(NamedTuple):
    """What a method says.

    Attributes:
        rows: that it inverted.
        draws: by product, `(row, draw)`; one draw of a method without uncertainty.
        p_values: by name `(row,)`.
        noise: learned standard deviation of each band, empty where none was.
        diagnostics: medians over the rows.
    """

    rows: np.ndarray
    draws: dict[str, np.ndarray]
    p_values: dict[str, np.ndarray]
    noise: tuple[float, ...] = ()
    diagnostics: dict[str, float] = {}


@functools.cache
def field_model(sensor: Sensor, *, bounded: bool = False) -> Model:
    """The model of the shipped weights, one function for all engines so that programs are shared.

    Truncated normals need bounded sites: `bounded` cuts the coordinates of the soil at four deviations.
    """
    if not bounded:
        return land_surface(sensor)
    cut = {name: TruncatedNormal(0.0, 1.0, low=-4.0, high=4.0) for name in _SOIL if name.startswith("shape")}
    return land_surface(sensor, prior=Published(canopy=_CANOPY, leaf=_LEAF, soil=_SOIL | cut))


def products(sites: dict[str, Array]) -> dict[str, Array]:
    """`lai`, `pai` and `ccc` (g m-2) from draws of the sites, beside them."""
    area, covered = sites["leaf_area_index"], sites["vegetated_fraction"]
    canopy = Canopy(
        leaf_area_index=sites["clumping"] * area / covered,
        mean_leaf_angle=sites["mean_leaf_angle"],
        hot_spot=sites["hot_spot"],
    )
    return sites | {
        "lai": area,
        "pai": plant_area_effective(canopy, covered),
        "ccc": area * sites["chlorophyll"] * 1e-2,  # ug cm-2 -> g m-2
    }


def _drawn(posterior: Posterior, key: Array) -> dict[str, np.ndarray]:
    """Products `(row, draw)`."""
    if isinstance(posterior, PointPosterior):
        sites = {name: posterior.mean[name][None] for name in _SITES}
    else:
        sites = posterior.sample(key, DRAWS, sites=_SITES)
    return {name: np.asarray(values, float).T for name, values in jax.jit(products)(sites).items()}


def _found(task: Task, posterior: Posterior) -> Found:
    """What a posterior says of all rows."""
    noticed = {name: np.asarray(value, float) for name, value in posterior.diagnostics.items()}
    p_values = {name: value for name, value in noticed.items() if name.endswith("p_value")}
    medians = {name: float(np.nanmedian(value)) for name, value in noticed.items() if name not in p_values}
    return Found(_all_rows(task), _drawn(posterior, task.key), p_values, diagnostics=medians)


def _all_rows(task: Task) -> np.ndarray:
    return np.arange(len(task.data[RECORD].values))


def _engine(task: Task, fit: Callable[..., Posterior], model: Model | None = None, **options: Any) -> Found:
    """All rows by an engine."""
    noise = {"noise": jnp.full(len(task.sensor.bands), ReflectanceError().noise)}
    options = {"key": task.key, "shared": noise, "reference": task.budget.reference} | options
    return _found(task, fit(model or field_model(task.sensor), task.data, **options))


def _slow_engine(task: Task, fit: Callable[..., Posterior], **options: Any) -> Found:
    """The subset by an engine."""
    part = task._replace(data=take(task.data, task.subset))
    return _engine(part, fit, reference=0, **options)._replace(rows=task.subset)


def _table(task: Task, model: Model | None = None, **options: Any) -> Found:
    return _engine(task, fit_lut, model, entries=task.budget.entries, geometry_step=0.07, **options)


def _otherwise(task: Task, assumption: str) -> Found:
    """A table of a model with one assumption exchanged."""
    return _table(task, land_surface(task.sensor, **OTHERWISE[assumption]), draws=DRAWS, reference=0)


def learned_noise(task: Task, pixels: int = 256) -> np.ndarray:
    """Noise that expectation maximisation finds on pixels of the development series `(band,)`."""
    chosen = np.random.default_rng(task.seed).permutation(len(task.series[RECORD].values))[:pixels]
    posterior = fit_laplace(field_model(task.sensor), take(task.series, chosen), key=task.key, reference=0)
    return np.asarray(posterior.mean["noise"])


def _laplace_learned(task: Task) -> Found:
    noise = learned_noise(task)
    return _engine(task, fit_laplace, shared={"noise": jnp.asarray(noise)})._replace(noise=tuple(map(float, noise)))


def untrained(task: Task, family: str) -> AmortizedPosterior:
    """Guide of the model, its encoder standardised on simulated pixels."""
    model = field_model(task.sensor, bounded=family == "truncated_normal")
    acquisitions, key = acquisition(task.sensor), task.key
    example = acquisitions(key, 64)
    structure = read_structure(model, example)
    seen = acquisitions(key, 2048)
    example = jax.jit(lambda seen: simulate(structure, model, seen, key, separately=True)[1])(seen)
    encoder = PixelEncoder(
        example,
        width=task.budget.width,
        depth=task.budget.depth,
        transform=log_reflectance,
        rngs=nnx.Rngs(task.seed),
    )
    return amortize(model, encoder, example, family=family, sites=("leaf_area_index",))


@functools.lru_cache(maxsize=1)
def _simulated(sensor: Sensor, budget: Budget, seed: int, family: str) -> AmortizedPosterior:
    """Guide trained by simulation."""
    task = Task(sensor, {}, {}, np.zeros(0, int), budget, seed)
    return untrained(task, family).fit(
        acquisition(sensor),
        key=task.key,
        n_simulations=budget.bank,
        steps=budget.simulation_steps,
        batch=512,
        learning_rate=2e-3,
        average=0.99,
    )


def _adapted(task: Task, amortized: AmortizedPosterior) -> AmortizedPosterior:
    """Trained (further) by the evidence bound on the development series."""
    return amortized.fit(
        task.series,
        key=task.key,
        objective="elbo",
        steps=task.budget.elbo_steps,
        batch=128,
        learning_rate=1e-3,
        particles=2,
    )


def _amortised(task: Task, family: str, objective: str) -> Found:
    if objective == "elbo":
        return _applied(task, _adapted(task, untrained(task, family)), learned=True)
    amortized = _simulated(task.sensor, task.budget, task.seed, family)
    if objective == "both":
        return _applied(task, _adapted(task, amortized), learned=True)
    return _applied(task, amortized)


def _applied(task: Task, amortized: AmortizedPosterior, *, learned: bool = False) -> Found:
    """What an amortised posterior says, and its misfit given the noise, if that was learned."""
    posterior = amortized(task.data)
    noise = posterior.mean["noise"] if learned else None
    posterior.diagnostics = assess(
        read_target(amortized.model, task.data),
        task.data,
        posterior,
        amortized,
        {} if noise is None else {"noise": noise},
        key=task.key,
        reference=task.budget.reference,
        memory=MEMORY,
    )
    return _found(task, posterior)._replace(noise=() if noise is None else tuple(map(float, noise)))


def _shipped(task: Task) -> Found:
    """The default of `releo invert`: derived variables come from heads of their own."""
    retrieval, aliases = load_retrieval("sentinel2a"), ("lai", "pai", "ccc")
    names = tuple(VARIABLES[alias].name for alias in aliases)
    assert retrieval.derived is not None
    guide, heads = retrieval.posterior.guide(), retrieval.derived.heads()

    @jax.jit
    def invert(data: Observations) -> list[Array]:
        context = guide.encoder(data)  # type: ignore[operator]
        laws = [guide.local.marginal(context, names[0]), *heads.marginal(context, names[1:]).values()]  # type: ignore[attr-defined]
        return [jax.vmap(law.quantile, out_axes=-1)(_LEVELS) for law in laws]

    return Found(_all_rows(task), dict(zip(aliases, map(np.asarray, invert(task.data)), strict=True)), {})


def _shipped_draws(task: Task, change: str = "") -> Found:
    """Draws instead of heads, after importance weights ("refined") or `releo invert --adapt` ("adapted")."""
    retrieval = load_retrieval("sentinel2a")
    if change == "refined":
        return _found(task, refine(retrieval.posterior(task.data), key=task.key, draws=1000, keep=DRAWS))
    if change == "adapted":
        seen = task.series[RECORD]
        retrieval = retrieval.adapt(np.asarray(seen.values), np.asarray(seen.mask), seen.geometry, seed=task.seed)
    return _applied(task, retrieval.posterior, learned=change == "adapted")


def _sl2p(task: Task) -> Found:
    """The networks; their error on simulations stands for a posterior, their domain for a p-value of 0 or 1."""
    retrieval, record = load_method("sl2p", "sentinel2a"), task.data[RECORD]
    used = [task.sensor.bands.index(band) for band in retrieval.bands]
    values, mask = np.asarray(record.values)[:, used], np.asarray(record.mask)[:, used]
    found = retrieval(values, mask, record.geometry, variables=("lai", "ccc"), level=0.9)
    draws = {alias: found[f"{alias}_mean"][:, None] + RMSE[alias] * norm.ppf(_LEVELS) for alias in ("lai", "ccc")}
    outside = (found["lai_flag"] & FLAGS["out_of_domain"]) > 0
    draws["pai"] = draws["lai"]  # one output for both
    return Found(_all_rows(task), draws, {"domain_p_value": np.where(outside, 0.0, 1.0)})


METHODS: dict[str, Callable[[Task], Found]] = {
    "sl2p": _sl2p,
    "shipped": _shipped,
    "shipped, draws": _shipped_draws,
    "shipped, refined": functools.partial(_shipped_draws, change="refined"),
    "shipped, adapted": functools.partial(_shipped_draws, change="adapted"),
    "lut": lambda task: _table(task, draws=DRAWS),
    "lut, rmse": lambda task: _table(task, draws=task.budget.entries // 100, cost="rmse"),
    **{f"lut, {assumption}": functools.partial(_otherwise, assumption=assumption) for assumption in OTHERWISE},
    "map": lambda task: _engine(task, fit_map),
    "laplace": lambda task: _engine(task, fit_laplace),
    "laplace, learned noise": _laplace_learned,
    "svi": lambda task: _slow_engine(task, fit_svi, steps=task.budget.svi_steps),
    "smc": lambda task: _slow_engine(task, fit_smc, particles=task.budget.particles),
    "nuts": lambda task: _slow_engine(
        task,
        fit_nuts,
        warmup=task.budget.nuts[0],
        draws=task.budget.nuts[1],
        chains=task.budget.nuts[2],
    ),
    **{
        f"{family}, {objective}": functools.partial(_amortised, family=family, objective=objective)
        for family in FAMILIES
        for objective in ("simulation", "elbo", "both")
    },
}
