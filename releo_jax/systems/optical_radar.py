"""Sentinel-1 and Sentinel-2 explained by one state of the land: leaves, water in the plants, moisture of the soil.

PROSAIL explains the reflectance of every optical date, a water cloud over a rough soil the backscatter of every radar
date. They share the leaf area, the water in the leaves, and the moisture of the soil, which darkens it; each has what
the other does not see. Dates need not be the same, and a sensor that is not there leaves a wider posterior:

    model = optical_radar(sensor("sentinel2a"))
    posterior = fit_laplace(model, {"s2": Series(...), "s1": Series(...)}, key=key)
    posterior = fit_laplace(model, {"s1": Series(...)}, key=key)

Times are days from the date that the state is wanted for; dates lie within `WINDOW` of it. The radar record holds VV
and VH in dB; its dates stand in the order of their distance from the date wanted.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution

from physics import Sensor, moist_soil
from physics.microwave import (
    MoistSoil,
    RadarView,
    Roughness,
    WaterCloud,
    decibel_bias,
    decibel_std,
    mironov09,
    oh92,
    to_decibels,
    water_cloud,
)
from releo_jax import priors
from releo_jax.acquisitions import Acquisitions, placeholder, synthetic_acquisition
from releo_jax.distributions import NormalScore
from releo_jax.encoders import SetEncoder
from releo_jax.inference.amortized import AmortizedPosterior, amortize
from releo_jax.inference.structure import Model, read_structure, simulate
from releo_jax.noise import learned_noise
from releo_jax.observations import Observations, Record, Series, observe
from releo_jax.priors import Published
from releo_jax.systems.domain import log_reflectance
from releo_jax.systems.land_surface import (
    LARGEST_LEAF_AREA,
    ReflectanceError,
    Surface,
    sample_surface,
    surface_bands,
)

OPTICAL, RADAR = "s2", "s1"
"""Names of the records in the observations."""

POLARISATIONS = ("VV", "VH")

WINDOW = 10.0
"""Days on either side of the date wanted within which the leaf area grows or falls at a constant rate."""

MOISTURE = (0.03, 0.45)
"""Range of the soil moisture, m³ m⁻³."""

OPTICAL_DATES, RADAR_DATES = 3, 4
"""Most dates of each sensor in the window that the amortised posterior is trained with."""

_C_BAND = 5.405  # GHz, Sentinel-1
_NUGGET = 0.02  # of the variance of soil moisture: what two looks on one day differ by


class RadarScene(NamedTuple):
    """What is known of soil and radar, and the medians and spreads of what is not.

    Attributes:
        clay, sand: of the soil, mass fractions.
        looks: equivalent number of looks of a value (`physics.microwave.SENTINEL1_LOOKS` times the averaged pixels).
        error: standard deviation of what the model leaves unexplained in each polarisation, dB.
        memory: days over which the moisture of the top soil forgets.
        attenuation: of the water cloud, for water content of the plants in kg m⁻²: winter wheat, Bindlish & Barros
            2001, for both polarisations.
        scattering_vv, scattering_vh: medians of what a closed canopy scatters, linear, at nadir.
        scattering_spread: standard deviation of the logarithm of both.
        plant_water: median of the water of the whole plants in terms of that of their leaves.
        plant_water_spread: standard deviation of its logarithm.
        film_capacity: median of the moisture at which a soil bears one film of water, m³ m⁻³ (`physics.moist_soil`).
        film_capacity_spread: standard deviation of its logarithm.
    """

    clay: float = 0.25
    sand: float = 0.35
    looks: float = 40.0
    error: float = 0.7
    memory: float = 8.0
    attenuation: float = 0.138
    scattering_vv: float = 0.07
    scattering_vh: float = 0.022
    scattering_spread: float = 0.7
    plant_water: float = 3.0
    plant_water_spread: float = 0.25
    film_capacity: float = 0.25
    film_capacity_spread: float = 0.3


class RadarState(NamedTuple):
    """What the radar sees of pixels, fields `(*batch)`.

    Attributes:
        rms_height: of the soil, cm.
        soil_moisture: m³ m⁻³.
        plant_water: water in the plants, kg m⁻².
        scattering_vv, scattering_vh: of the water cloud.
    """

    rms_height: Array
    soil_moisture: Array
    plant_water: Array
    scattering_vv: Array
    scattering_vh: Array


def backscatter(state: RadarState, view: RadarView, *, scene: RadarScene = RadarScene()) -> Array:  # noqa: B008
    """Backscatter of a crop.

    Args:
        state: fields `(*batch)`.
        view: direction of the radar, `(*batch)`.
        scene: what is known of it.

    Returns:
        VV and VH, dB, `(*batch, 2)`.

    Equation:
        sigma = A cos(theta) (1 - T²) + T² sigma_soil, T² = exp(-2 B W / cos(theta)), W the water in the plants;
        sigma_soil of `oh92` over the permittivity of `mironov09`.

    Validity:
        That of `oh92`; crops with leaves and stems without a preferred direction.

    References:
        Attema & Ulaby 1978; Oh, Sarabandi & Ulaby 1992; Mironov, Kosolapova & Fomin 2009 (see `physics.microwave`).
    """
    moisture = state.soil_moisture
    soil = MoistSoil(
        soil_moisture=moisture, clay=jnp.full_like(moisture, scene.clay), sand=jnp.full_like(moisture, scene.sand)
    )
    # Of the two lengths of the surface the model takes the height alone.
    rough = Roughness(rms_height=state.rms_height, correlation_length=jnp.full_like(state.rms_height, 6.0))
    bare = oh92(mironov09(soil, frequency=_C_BAND), rough, view, frequency=_C_BAND)
    assert bare.vh is not None
    found = [
        water_cloud(below, state.plant_water, _cloud(scattering, scene), view).total
        for below, scattering in ((bare.vv, state.scattering_vv), (bare.vh, state.scattering_vh))
    ]
    return to_decibels(jnp.stack(found, -1))


def _cloud(scattering: Array, scene: RadarScene) -> WaterCloud:
    return WaterCloud(
        scattering=scattering,
        attenuation=jnp.full_like(scattering, scene.attenuation),
        exponent=jnp.zeros_like(scattering),
    )


def moisture_law(time: Array, *, memory: float) -> Distribution:
    """Prior of the soil moisture at dates: uniform on each, alike on close ones.

    Args:
        time: days, `(*batch, date)`.
        memory: days over which it forgets.

    Returns:
        Law over m³ m⁻³ with event shape `(date,)`.

    Equation:
        A Gaussian copula with the correlation exp(-|t_i - t_j| / memory) between dates.
    """
    apart = jnp.abs(time[..., :, None] - time[..., None, :])
    same = jnp.eye(time.shape[-1], dtype=time.dtype)
    correlation = (1.0 - _NUGGET) * jnp.exp(-apart / memory) + _NUGGET * same
    scores = dist.MultivariateNormal(jnp.zeros(time.shape), correlation)
    return dist.TransformedDistribution(scores, NormalScore(*MOISTURE))


def optical_radar(
    sensor: Sensor,
    *,
    prior: Published = priors.land_surface_dry,
    error: ReflectanceError = ReflectanceError(),  # noqa: B008
    scene: RadarScene = RadarScene(),  # noqa: B008
) -> Model:
    """The NumPyro model function of optical and radar dates.

    Args:
        sensor: optical bands and quadrature.
        prior: of canopy, leaf and the spectrum of the dry soil.
        error: of the optical bands.
        scene: of soil and radar.

    Returns:
        A model of observations with the records `s2` (`Series`, geometry `SunView`) and `s1` (`Series` of VV and VH in
        dB, geometry `RadarView`), or one of them. Sites beside those of `land_surface`: `growth` (relative rate of the
        leaf area, day-1), `soil_moisture` `(date,)` at the radar dates and then the optical ones (m3 m-3); of optical
        dates `film_capacity` (m3 m-3); of radar dates `rms_height` (cm), `plant_water_ratio`, `vegetation_water`
        (kg m-2), `scattering_vv`, `scattering_vh`.

    Equation:
        LAI(t) = LAI exp(growth t).
    """

    def model(data: Observations) -> None:
        seen = {name: data[name] for name in (OPTICAL, RADAR) if name in data}
        if not seen:
            raise ValueError(f"optical_radar: expected the record 's2' or 's1', got {sorted(data)}")
        wrong = [name for name, record in seen.items() if not isinstance(record, Series)]
        if wrong:
            raise ValueError(f"optical_radar: expected Series records, got another kind for {wrong}; give them time")
        if OPTICAL in seen:
            noise = learned_noise("noise", bands=len(sensor.bands), median=error.noise, spread=error.noise_spread)
        with numpyro.plate("pixel", next(iter(seen.values())).values.shape[0]):
            surface = sample_surface(sensor, prior=prior)
            area = surface.canopy.leaf_area_index
            growth = numpyro.sample("growth", dist.Normal(0.0, 0.02))
            times = [_days(seen[name]) for name in (RADAR, OPTICAL) if name in seen]
            moisture = numpyro.sample("soil_moisture", moisture_law(jnp.concatenate(times, 1), memory=scene.memory))
            if OPTICAL in seen:
                record = seen[OPTICAL]
                capacity = numpyro.sample(
                    "film_capacity", dist.LogNormal(jnp.log(scene.film_capacity), scene.film_capacity_spread)
                )
                dated = _dated(surface)
                ground = moist_soil(
                    dated.soil,
                    moisture[:, -record.values.shape[1] :],
                    capacity=capacity[:, None],
                    wavelengths=sensor.wavelengths,
                )
                bands = surface_bands(
                    dated._replace(soil=ground), _leaf_area(area, growth, record), record.geometry, sensor=sensor
                )
                observe(OPTICAL, error.law(bands, noise, sensor.centres), record)
            if RADAR in seen:
                _observe_radar(surface, growth, moisture, seen[RADAR], scene)

    return model


def _observe_radar(surface: Surface, growth: Array, moisture: Array, record: Record, scene: RadarScene) -> None:
    area = surface.canopy.leaf_area_index
    height = numpyro.sample("rms_height", dist.LogNormal(0.0, 0.4))
    ratio = numpyro.sample("plant_water_ratio", dist.LogNormal(jnp.log(scene.plant_water), scene.plant_water_spread))
    vv = numpyro.sample("scattering_vv", dist.LogNormal(jnp.log(scene.scattering_vv), scene.scattering_spread))
    vh = numpyro.sample("scattering_vh", dist.LogNormal(jnp.log(scene.scattering_vh), scene.scattering_spread))
    per_leaf_area = 10.0 * ratio * surface.leaf.water  # cm = g cm-2 -> kg m-2
    numpyro.deterministic("vegetation_water", per_leaf_area * area)
    water = per_leaf_area[:, None] * _leaf_area(area, growth, record)
    state = RadarState(height[:, None], moisture[:, : record.values.shape[1]], water, vv[:, None], vh[:, None])
    expected = backscatter(state, record.geometry, scene=scene) + decibel_bias(scene.looks)
    spread = jnp.sqrt(decibel_std(scene.looks) ** 2 + scene.error**2)
    observe(RADAR, dist.Normal(expected, spread), record)


def _days(record: Record) -> Array:
    assert isinstance(record, Series)
    return record.time


def _leaf_area(area: Array, growth: Array, record: Record) -> Array:
    """Leaf area index `(pixel, date)`."""
    days = jnp.clip(_days(record), -WINDOW, WINDOW)
    return jnp.minimum(area[:, None] * jnp.exp(growth[:, None] * days), LARGEST_LEAF_AREA)


def _dated(surface: Surface) -> Surface:
    """The surface with an axis of dates after that of pixels."""
    dated: Surface = jax.tree.map(lambda leaf: leaf[:, None] if jnp.ndim(leaf) else leaf, surface)
    return dated


class _Dates(eqx.Module):
    optical: Acquisitions
    optical_dates: int = eqx.field(static=True)
    radar_dates: int = eqx.field(static=True)
    clear: float
    missing: float

    @eqx.filter_jit
    def __call__(self, key: Array, n: int) -> Observations:
        keys = jax.random.split(key, 6)
        # A date is seen under angles and with bands of its own.
        flat = self.optical(keys[0], n * self.optical_dates)[OPTICAL]
        optical = jax.tree.map(lambda leaf: leaf.reshape(n, self.optical_dates, *leaf.shape[1:]), flat)
        clear = jax.random.uniform(keys[1], (n, self.optical_dates)) < self.clear
        lost = jax.random.uniform(keys[2], (2, n, 1)) < self.missing
        time, there = _times(keys[3], n, self.optical_dates)
        seen = optical.mask & (there & clear & ~lost[0])[..., None]
        records: dict[str, Record] = {OPTICAL: Series(optical.values, seen, time, optical.geometry)}
        time, there = _times(keys[4], n, self.radar_dates)
        degrees, alone = jax.random.uniform(keys[5], (2, n, self.radar_dates))
        # Some images hold VV only.
        held = jnp.stack([jnp.ones_like(there), jnp.broadcast_to(alone[:, :1] > 0.1, there.shape)], -1)
        seen = held & (there & ~lost[1])[..., None]
        view = RadarView.from_degrees(29.0 + 17.0 * degrees)
        return records | {RADAR: Series(jnp.zeros(seen.shape), seen, time, view)}


def _times(key: Array, n: int, dates: int) -> tuple[Array, Array]:
    """Days `(pixel, date)`, the nearest first, and which of the dates there are: one at least."""
    one, other = jax.random.split(key)
    time = jax.random.uniform(one, (n, dates), minval=-WINDOW, maxval=WINDOW)
    time = jnp.take_along_axis(time, jnp.argsort(jnp.abs(time), axis=1), axis=1)
    there = jnp.arange(dates) < jax.random.randint(other, (n, 1), 1, dates + 1)
    return jnp.where(there, time, 0.0), there


def acquisition(
    sensor: Sensor,
    *,
    optical_dates: int = OPTICAL_DATES,
    radar_dates: int = RADAR_DATES,
    clear: float = 0.7,
    missing: float = 0.1,
) -> Acquisitions:
    """A sampler of invented dates of both sensors, unaligned, with clouds, gaps and missing sensors.

    Args:
        sensor: optical bands.
        optical_dates, radar_dates: most dates of each in the window.
        clear: share of the optical dates without clouds.
        missing: share of the pixels that have lost a sensor, of each sensor.

    Returns:
        `sampler(key, n) -> Observations`.
    """
    return _Dates(synthetic_acquisition(OPTICAL, sensor.bands), optical_dates, radar_dates, clear, missing)


def within_land(decibels: ArrayLike) -> Array:
    """dB kept within what land sends back, so that what is far outside counts as its edge."""
    return jnp.clip(decibels, -35.0, 5.0)


def optical_radar_posterior(
    sensor: Sensor,
    *,
    family: str = "full_covariance",
    width: int = 128,
    depth: int = 3,
    seed: int = 0,
    blank: bool = False,
) -> AmortizedPosterior:
    """The untrained amortised posterior of `optical_radar`: a set encoder over the dates of both sensors.

    Args:
        sensor: optical bands and quadrature.
        family: of the posterior.
        width, depth: of the encoder.
        seed: of its initial weights.
        blank: whether weights are loaded into it, so that nothing need be simulated.

    Returns:
        An amortised posterior; `fit` it to `acquisition(sensor)`.
    """
    model, sampler, key = optical_radar(sensor), acquisition(sensor), jax.random.key(seed)
    example = placeholder(sampler, 64)
    if not blank:
        structure = read_structure(model, example)
        simulated = jax.jit(lambda seen: simulate(structure, model, seen, key, separately=True)[1])
        example = simulated(sampler(key, 4096))
    encoder = SetEncoder(
        example,
        width=width,
        depth=depth,
        transforms={OPTICAL: log_reflectance, RADAR: within_land},
        by_date=(RADAR, OPTICAL),
        time_scale=WINDOW,
        rngs=nnx.Rngs(seed),
    )
    first = ("leaf_area_index", "soil_moisture")
    return amortize(model, encoder, example, family=family, sites=first, at_prior=not blank)


__all__ = [
    "MOISTURE",
    "OPTICAL",
    "OPTICAL_DATES",
    "POLARISATIONS",
    "RADAR",
    "RADAR_DATES",
    "WINDOW",
    "RadarScene",
    "RadarState",
    "acquisition",
    "backscatter",
    "moisture_law",
    "optical_radar",
    "optical_radar_posterior",
    "within_land",
]
