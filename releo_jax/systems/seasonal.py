"""The model of the products over a season: what grows varies smoothly over the dates, what it grows on stays.

    model = seasonal_surface(sensor("sentinel2a"))               # observations: {"s2": Series(...)}

The model of `releo_jax.systems.land_surface` for every date, with the same marginal prior on every date. What changes
is the canopy, its leaf area and how leaves stand, clump and leave ground bare; the chlorophyll of a green leaf,
senescence (which takes chlorophyll and water with it) and the water of a turgid leaf; and how bright the soil is, dry
or wet. The structure and dry matter of leaves and the colour of the soil are those of the season: dates tell of them
together. So do they share most of what separates the model from the ground: part of the errors of reflectance lasts,
and dates that agree may be wrong together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

from physics import Canopy, Leaf, LibrarySoil, Sensor, library_soil
from physics.parameters import Record
from releo_jax import priors
from releo_jax.gp import Markov, Matern12, Matern32, Process, WarpedGP
from releo_jax.inference.structure import Model
from releo_jax.noise import learned_noise
from releo_jax.observations import Observations, Series, observe
from releo_jax.priors import Prior, Published, sample_params
from releo_jax.systems.land_surface import (
    RECORD,
    ReflectanceError,
    Surface,
    derived_variables,
    surface_bands,
    vegetated_fraction,
)

MOVING = (
    "leaf_area_index",
    "mean_leaf_angle",
    "clumping",
    "ground_mixing",
    "green_chlorophyll",
    "senescence",
    "turgid_water",
    "brightness",
)
"""Sites that change over a season."""

TIME_SCALE = 40.0
"""Days over which they forget: a crop closes within two months, whose ends have a correlation of 0.27."""

ERROR_SCALE = 90.0
"""Days over which lasting errors of reflectance forget: rows, leaf clumps and neighbours change with a crop."""

LASTING = (0.2, 0.95)
"""Share of the variance of those errors that lasts, of one series or another: wide, for it is not the same in the
products of different processors (docs/time.md)."""

_RecordType = TypeVar("_RecordType", bound=Record)


def season_process(scale: float = TIME_SCALE) -> Process:
    """Matérn 3/2 by state space: curves with a slope, as growth has."""
    return Markov(Matern32(1.0, scale))


def seasonal_surface(
    sensor: Sensor,
    *,
    prior: Published = priors.land_surface,
    moving: Collection[str] = MOVING,
    process: Process | None = None,
    clumping: tuple[float, float] | None = (0.5, 1.0),
    mixing: bool = True,
    error: ReflectanceError = ReflectanceError(),  # noqa: B008
    lasting: tuple[float, float] | None = LASTING,
) -> Model:
    """The NumPyro model function of series of a sensor's bands over vegetation and soil.

    Args:
        sensor: bands and quadrature.
        prior: of canopy, leaf and soil on any date.
        moving: sites that change over the season.
        process: how they do; default `season_process()`.
        clumping: range of the uniform clumping index; None for leaves placed at random.
        mixing: whether bare ground may lie beside the plants.
        error: observation model of any date.
        lasting: range of the uniform share of its variance that lasts, one for each pixel; None if every date errs on
            its own.

    Returns:
        A model of observations with the record `s2`, a `Series` whose dates rise (padded ones last). Sites that change,
        and all derived ones that follow them, are `(pixel, date)`, the others `(pixel,)`.

    Equation:
        As `land_surface` on every date; x_t = icdf(Phi(z_t)) for a site that changes, z a Gaussian process. With
        F F' + D the covariance of the errors of a date and s the share that lasts, they are
        sqrt(s) (F u_t + sqrt(D) v_t) + sqrt(1 - s) (F a_t + sqrt(D) b_t): a_t and b_t standard normal on every date,
        u and v processes of variance one with covariance exp(-|t - t'| / 90 days).

    Validity:
        Series of one season and one crop: ploughing and a new crop change what is constant here, and harvest takes days
        where the processes take weeks. 40 and 90 days are choices.
    """
    process = season_process() if process is None else process
    slowly = Markov(Matern12(1.0, ERROR_SCALE))

    def model(data: Observations) -> None:
        record = data[RECORD]
        if not isinstance(record, Series):
            raise ValueError(f"seasonal_surface: expected {RECORD!r} as a Series, got {type(record).__name__}")
        days = jax.lax.cummax(record.time, axis=1)  # padded dates have day 0
        noise = learned_noise("noise", bands=len(sensor.bands), median=error.noise, spread=error.noise_spread)

        def on_dates(name: str, law: dist.Distribution) -> Array:
            if name in moving:
                return numpyro.sample(name, WarpedGP(process, days, law))
            return numpyro.sample(name, law)[..., None]

        def sample(what: type[_RecordType], law: Prior) -> _RecordType:
            extra = {"anthocyanins": jnp.zeros(())} if what is Leaf else {}
            return sample_params(what, prior=law, fixed={name: on_dates(name, law[name]) for name in law} | extra)

        with numpyro.plate("pixel", record.values.shape[0]):
            canopy, leaf, soil = (
                sample(Canopy, prior.canopy),
                sample(Leaf, prior.leaf),
                sample(LibrarySoil, prior.soil),
            )
            area = canopy.leaf_area_index
            clumped = jnp.ones(()) if clumping is None else on_dates("clumping", dist.Uniform(*clumping))
            covered = jnp.ones_like(area)
            if mixing:
                covered = vegetated_fraction(on_dates("ground_mixing", dist.Uniform(0.0, 1.0)), area)
            numpyro.deterministic("vegetated_fraction", covered)
            ground = library_soil(soil, wavelengths=sensor.wavelengths)
            surface = Surface(_wide(leaf, area.shape), _wide(canopy, area.shape), ground, clumped, covered)
            bands = surface_bands(surface, area, record.geometry, sensor=sensor)
            numpyro.deterministic("bands", bands)
            law = error.law(bands, noise, sensor.centres)
            if lasting is not None:
                share = numpyro.sample("lasting_share", dist.Uniform(*lasting))
                kinds = law.cov_factor.shape[-1] + len(sensor.bands)
                standard = dist.Normal(jnp.zeros((kinds, 1)), 1.0)
                scores = numpyro.sample("lasting_error", WarpedGP(slowly, days[:, None], standard).to_event(1))
                law = lasting_errors(law, share[:, None], jnp.swapaxes(scores, 1, 2))
            observe(RECORD, law, record)

    return model


def lasting_errors(law: dist.LowRankMultivariateNormal, share: Array, scores: Array) -> dist.LowRankMultivariateNormal:
    """What is left of a law of errors when part of them is known.

    Args:
        law: of the bands of dates, errors included, batch `(*batch)`.
        share: of their variance that is known, `(*batch)`.
        scores: standard normal, of the factors of the law and then of its bands, `(*batch, factor + band)`.

    Returns:
        The law around the known part; over all scores it is the law that was given.
    """
    factors = law.cov_factor.shape[-1]
    shared = jnp.einsum("...bf,...f->...b", law.cov_factor, scores[..., :factors])
    known = shared + jnp.sqrt(law.cov_diag) * scores[..., factors:]
    share, left = share[..., None], 1.0 - share[..., None]
    return dist.LowRankMultivariateNormal(
        law.loc + jnp.sqrt(share) * known, jnp.sqrt(left)[..., None] * law.cov_factor, left * law.cov_diag
    )


def _wide(record: Any, shape: tuple[int, ...]) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, shape), record)


def seasonal_variables(sites: Mapping[str, Array], record: Series) -> dict[str, Array]:
    """Variables that follow from the sites of the model, on every date.

    Args:
        sites: latent and deterministic sites of the model, `(pixel, date)` or `(pixel,)`.
        record: the series they were drawn for.

    Returns:
        As `land_surface.derived_variables`, `(pixel, date)`.
    """
    shape = record.time.shape
    dated = {
        name: jnp.broadcast_to(value if value.ndim == 2 else value[..., None], shape)
        for name, value in sites.items()
        if value.ndim < 3 and name != "noise"
    }
    return derived_variables(dated, record.geometry)
