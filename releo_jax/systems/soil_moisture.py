"""Soil moisture from radar backscatter in decibels, under vegetation whose leaf area, NDVI or water content is known.

Two model functions for every engine. The first learns the coefficients of a crop from campaigns that measured soil
moisture; a campaign is one entry of the plate, so that many of them (or one with other fields masked each time) are
fitted together:

    fields = Series(decibels, None, dates, FieldView(view, leaf_area_index, soil_moisture))    # (campaign, field, band)
    crop = fit_smc(calibration(("vv", "vh")), {RECORD: fields}, key=key).mean

The second retrieves the moisture of pixels with them, or with published ones:

    coefficients = {name: value[0] for name, value in crop.items()}
    model = soil_moisture(("vv", "vh"), coefficients, vegetation_error=0.2)
    data = {RECORD: SingleDate(decibels, None, FieldView(view, leaf_area_index))}
    posterior = fit_smc(model, data, key=key)
    flags = moisture_flags(posterior, data)

Every engine takes both. Where radar tells little the posterior is nearly the prior, cut at its ends, which the normal
law of `fit_laplace` does not follow: of simulated pixels its 90 % intervals held 78 % with the default prior.
`fit_smc`, `fit_nuts` and `fit_lut` do not mind. A crop's coefficients share a ridge (much cloud and little of it have
the same backscatter), for which `fit_laplace` is no good at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution

from physics.microwave import (
    Backscatter,
    MoistSoil,
    RadarView,
    Roughness,
    WaterCloud,
    baghdadi16,
    calibrated_iem,
    check_decibels,
    decibel_bias,
    decibel_std,
    linear_soil,
    mironov09,
    oh04,
    to_decibels,
    water_cloud,
)
from physics.microwave.vegetation import WaterCloudBackscatter
from physics.parameters import as_float, check_ranges, expand, floats
from releo_jax.distributions import TruncatedNormal
from releo_jax.inference.posterior import Posterior
from releo_jax.inference.structure import Model
from releo_jax.noise import learned_noise
from releo_jax.observations import Observations, SingleDate, observe
from releo_jax.observations import Record as ObservedRecord
from releo_jax.variables import FLAGS

RECORD = "s1"
"""Name of the record in the observations."""

DRIEST, WETTEST = 0.01, 0.6
"""Ends of the moisture of a mineral soil, m³ m⁻³."""

Surface = Callable[[Array, Array, RadarView], Backscatter]
"""Backscatter of bare soil from moisture (m³ m⁻³), rms height (cm) and view."""

_CLOUD = ("scattering", "attenuation", "exponent")
_LINE = ("offset", "slope")
_POOR = 0.01  # p-value below which the model is not believed
_EDGE = 0.02  # share of the range of moisture next to its ends


class FieldView(eqx.Module):
    """What is known of a field or pixel beside its backscatter: the geometry of a record, arrays of its shape.

    A value that is not finite masks its pixel (or date).

    Attributes:
        view: direction of the radar, radian.
        vegetation: descriptor in the unit of the coefficients: leaf area index, NDVI, water content; zero or more.
        soil_moisture: measured, m³ m⁻³; what a calibration needs.
        coefficients: by name, one array for each band, where they differ between pixels; see `by_pixel`.
        expected: mean and deviation of the moisture's prior, m³ m⁻³, where they differ between pixels: a climatology.
    """

    view: RadarView
    vegetation: ArrayLike
    soil_moisture: ArrayLike | None = None
    coefficients: Mapping[str, tuple[ArrayLike, ...]] | None = None
    expected: tuple[ArrayLike, ArrayLike] | None = None


WEAK: Mapping[str, Distribution] = MappingProxyType(
    {
        "dense_cloud": dist.HalfNormal(0.3),
        "attenuation": dist.HalfNormal(0.5),
        "exponent": dist.Uniform(0.0, 2.0),
        "moist_soil": dist.Normal(-10.0, 5.0),
        "slope": dist.HalfNormal(25.0),
        "rms_height": dist.LogNormal(0.0, 0.5),
        "noise": dist.LogNormal(math.log(1.5), 0.5),
    }
)
"""Prior of a calibration: orders of magnitude at C band, for descriptors like leaf area index.

Scattering of a cloud at the reference descriptor (linear), its attenuation and exponent; backscatter of a soil of
0.25 m³ m⁻³ (dB) and its slope (dB per m³ m⁻³), or its rms height (cm); deviation of the noise (dB)."""

_MOIST = 0.25  # moisture that data tell the backscatter of, unlike that of soil without any water


def bare_soil(
    model: Callable[..., Backscatter],
    *,
    frequency: float,
    clay: ArrayLike = 0.25,
    sand: ArrayLike = 0.35,
    correlation_length: float = 6.0,
    **options: Any,
) -> Surface:
    """A physical model of bare soil as a `Surface`, with the permittivity of `mironov09` where it takes one.

    Args:
        model: `oh92`, `oh04`, `dubois95`, `baghdadi16`, `iem`, `iem_fung92` or `calibrated_iem`.
        frequency: GHz.
        clay: share of the mass of the dry soil, a number or `(*batch)`.
        sand: the same.
        correlation_length: cm; enters `iem` and `iem_fung92`.
        **options: of the model.

    Raises:
        ValueError: clay or sand are out of range, together or each.
    """
    texture = dict(zip(("clay", "sand"), floats(clay, sand), strict=True))
    check_ranges(MoistSoil(soil_moisture=as_float(0.2), **texture))

    def surface(soil_moisture: Array, rms_height: Array, view: RadarView) -> Backscatter:
        roughness = Roughness(rms_height=rms_height, correlation_length=jnp.asarray(correlation_length))
        if model in (oh04, baghdadi16):
            return model(soil_moisture, roughness, view, frequency=frequency, **options)
        soil = mironov09(MoistSoil(soil_moisture=soil_moisture, **texture), frequency=frequency)
        rough = rms_height if model is calibrated_iem else roughness
        return model(soil, rough, view, frequency=frequency, **options)

    return surface


def by_pixel(coefficients: Mapping[str, ArrayLike]) -> dict[str, tuple[Array, ...]]:
    """Coefficients `(*batch, band)` by name as `FieldView` takes them."""
    arrays = {name: jnp.asarray(value) for name, value in coefficients.items()}
    return {name: tuple(jnp.moveaxis(value, -1, 0)) for name, value in arrays.items()}


def _scattered(
    moisture: Array,
    vegetation: Array,
    view: RadarView,
    coefficients: Mapping[str, Array],
    bands: Sequence[str],
    surface: Surface | None,
    rms_height: Array | None,
) -> WaterCloudBackscatter:
    """Backscatter `(*batch, band)` from what is known `(*batch)`; coefficients broadcast to `(*batch, band)`."""
    if surface is None:
        soil = linear_soil(moisture[..., None], coefficients["offset"], coefficients["slope"])
    else:
        assert rms_height is not None
        found = surface(moisture, rms_height, view)
        soil = jnp.stack([getattr(found, "vh" if band == "hv" else band) for band in bands], -1)
    cloud = WaterCloud(**{name: coefficients[name] for name in _CLOUD})
    return water_cloud(soil, vegetation[..., None], cloud, expand(view))


def _law(found: WaterCloudBackscatter, noise: Array, looks: float | None) -> tuple[Distribution, Array]:
    """Law of measured decibels, and the decibels of the mean power."""
    decibels = to_decibels(found.total)
    if looks is None:
        return dist.Normal(decibels, jnp.broadcast_to(noise, decibels.shape)), decibels
    # The logarithm of speckle is skewed below about four looks; the normal law has its mean and deviation.
    spread = jnp.sqrt(noise**2 + decibel_std(looks) ** 2)
    return dist.Normal(decibels + decibel_bias(looks), jnp.broadcast_to(spread, decibels.shape)), decibels


def _wanted(surface: Surface | None) -> tuple[str, ...]:
    return _CLOUD + (_LINE if surface is None else ("rms_height",))


def calibration(
    bands: Sequence[str],
    *,
    surface: Surface | None = None,
    prior: Mapping[str, Distribution] | None = None,
    reference: float = 3.0,
    looks: float | None = None,
) -> Model:
    """The NumPyro model function that learns a water cloud over soil from fields whose moisture is known.

    Args:
        bands: polarisations `vv`, `hh`, `vh` or `hv`, in the order of the record's last axis.
        surface: backscatter of the bare soil, see `bare_soil`; None for a line in decibels, whose two coefficients are
            learned for each band.
        prior: of some latent sites, in place of those of `WEAK`; laws of one number, the same for all bands.
        reference: descriptor of a dense canopy, in its unit, at which the prior states the scattering.
        looks: equivalent number of looks, whose speckle then adds to the learned noise; None where the noise is all.

    Returns:
        A model of observations with the record `s1`, a `Series` `(campaign, field, band)` in dB whose geometry is a
        `FieldView` with soil moisture. Sites by campaign: the coefficients `scattering`, `attenuation`, `exponent`
        `(band,)`, `offset` and `slope` `(band,)` or `rms_height`, `noise` `(band,)`, and `backscatter` `(field, band)`
        in dB. Scattering and offset follow from the latent `dense_cloud` and `moist_soil`, of which data tell more.

    Equation:
        dB = 10 log10(A V^E cos(theta) (1 - T²) + T² soil) + e, T² = exp(-2 B V / cos(theta)).

    Raises:
        ValueError: `prior` names other coefficients.

    References:
        Attema & Ulaby 1978, Radio Sci. 13, 357.
    """
    names: tuple[str, ...] = ("dense_cloud", "attenuation", "exponent")
    names += ("moist_soil", "slope", "noise") if surface is None else ("rms_height", "noise")
    laws = {**{name: WEAK[name] for name in names}, **(prior or {})}
    if set(laws) != set(names):
        raise ValueError(f"calibration: expected priors of {', '.join(names)}, got {sorted(set(laws) - set(names))}")

    def model(data: Observations) -> None:
        record = data[RECORD]
        known: FieldView = record.geometry
        with numpyro.plate("pixel", record.values.shape[0]):
            drawn = {
                name: numpyro.sample(name, law if name == "rms_height" else law.expand((len(bands),)).to_event(1))
                for name, law in laws.items()
            }
            # V^E is one at the reference
            dense, exponent = drawn.pop("dense_cloud"), drawn["exponent"]
            drawn["scattering"] = numpyro.deterministic("scattering", dense * reference**-exponent)
            if surface is None:
                drawn["offset"] = numpyro.deterministic("offset", drawn.pop("moist_soil") - _MOIST * drawn["slope"])
            # to meet the fields
            height = drawn["rms_height"][:, None] if surface is not None else None
            coefficients = {name: value[:, None] for name, value in drawn.items() if name != "rms_height"}
            measured = jnp.asarray(known.soil_moisture)
            found = _scattered(
                measured, jnp.asarray(known.vegetation), known.view, coefficients, bands, surface, height
            )
            law, decibels = _law(found, coefficients["noise"], looks)
            numpyro.deterministic("backscatter", decibels)
            observe(RECORD, law, record)

    return model


def soil_moisture(
    bands: Sequence[str],
    coefficients: Mapping[str, ArrayLike] | None = None,
    *,
    surface: Surface | None = None,
    prior: Distribution | None = None,
    rms_height: Distribution | None = None,
    vegetation_error: float = 0.0,
    looks: float | None = None,
) -> Model:
    """The NumPyro model function of soil moisture under known vegetation.

    Args:
        bands: polarisations, in the order of the record's last axis.
        coefficients: of the water cloud (and of the soil's line) by the names of `calibration`, numbers or `(band,)`;
            with `noise`, dB, or without it, which then is learned. None where the `FieldView` has them pixel by pixel.
        surface: backscatter of the bare soil, see `bare_soil`; None for the line in decibels.
        prior: of the moisture, m³ m⁻³, on a fixed interval; default: normal, from 0.01 to 0.6, as the `FieldView`
            expects it or 0.2 ± 0.15.
        rms_height: law of it, cm, for a physical `surface` where the coefficients do not have it; default: of `WEAK`.
        vegetation_error: deviation of the logarithm of the descriptor, 1; 0.2 is 20 %.
        looks: equivalent number of looks, whose speckle adds to the noise; None where the noise is all.

    Returns:
        A model of observations with the record `s1`, a `SingleDate` `(pixel, band)` in dB whose geometry is a
        `FieldView`. Sites by pixel: `soil_moisture`, `vegetation_shift` and `rms_height` where they are not known,
        `backscatter` (dB) and `soil_share` of the backscattered power, `(band,)`.

    Equation:
        That of `calibration`; V is the descriptor times exp(`vegetation_shift`).

    Raises:
        ValueError: coefficients are missing.
    """
    if coefficients is not None:
        missing = [n for n in _wanted(surface) if n != "rms_height" and n not in coefficients]
        if missing:
            raise ValueError(
                f"soil_moisture: expected the coefficients {', '.join(_wanted(surface))} (and noise, dB), got no "
                f"{', '.join(missing)}; take them from fit_nuts(calibration(...)) or a publication"
            )
    rough = WEAK["rms_height"] if rms_height is None else rms_height

    def model(data: Observations) -> None:
        record = data[RECORD]
        known: FieldView = record.geometry
        fixed = _coefficients(known, coefficients)
        noise = fixed["noise"] if "noise" in fixed else learned_noise("noise", bands=len(bands), median=1.0)
        with numpyro.plate("pixel", record.values.shape[0]):
            vegetation = jnp.asarray(known.vegetation)
            moisture = numpyro.sample("soil_moisture", _expected(known) if prior is None else prior)
            if vegetation_error:
                vegetation = vegetation * jnp.exp(
                    numpyro.sample("vegetation_shift", dist.Normal(0.0, vegetation_error))
                )
            height = None
            if surface is not None and "rms_height" in fixed:
                height = jnp.broadcast_to(fixed["rms_height"], (*vegetation.shape, 1))[..., 0]
            elif surface is not None:
                height = numpyro.sample("rms_height", rough)
            found = _scattered(moisture, vegetation, known.view, fixed, bands, surface, height)
            law, decibels = _law(found, noise, looks)
            numpyro.deterministic("backscatter", decibels)
            numpyro.deterministic("soil_share", found.soil / found.total)
            observe(RECORD, law, record)

    return model


def _expected(known: FieldView) -> Distribution:
    """The prior of the moisture, as the view expects it pixel by pixel or the same for all."""
    if known.expected is None:
        return TruncatedNormal(0.2, 0.15, low=DRIEST, high=WETTEST)
    mean, deviation = map(jnp.asarray, known.expected)
    # Engines read the bounds from the law, pixel by pixel as its mean.
    low, high = (jnp.full_like(mean, end) for end in (DRIEST, WETTEST))
    return TruncatedNormal(mean, deviation, low=low, high=high)


def _coefficients(known: FieldView, coefficients: Mapping[str, ArrayLike] | None) -> dict[str, Array]:
    """Of every pixel `(pixel, band)`, or of all."""
    if coefficients is not None:
        return {name: jnp.asarray(value) for name, value in coefficients.items()}
    if known.coefficients is None:
        raise ValueError(
            "soil_moisture: expected coefficients of the water cloud, got none; give them to the model, or by pixel to "
            "FieldView(coefficients=by_pixel(...))"
        )
    return {name: jnp.stack([jnp.asarray(one) for one in values], -1) for name, values in known.coefficients.items()}


def check_fields(record: ObservedRecord) -> None:
    """Raises where a record cannot be what the models take, most often for its units. For use outside `jit`.

    Args:
        record: backscatter in dB with a `FieldView`.

    Raises:
        ValueError: linear power for dB, degrees for radians, per cent for m³ m⁻³, or vegetation below zero; says what
            to do.
    """
    known = record.geometry
    if not isinstance(known, FieldView):
        raise ValueError(f"expected a FieldView as the record's geometry, got {type(known).__name__}")
    mask = np.asarray(record.mask)
    if mask.any():
        check_decibels(np.asarray(record.values)[mask])
    check_ranges(known.view)
    if known.soil_moisture is not None:
        none = as_float(0.0)
        check_ranges(MoistSoil(soil_moisture=jnp.asarray(known.soil_moisture), clay=none, sand=none))
    vegetation = np.asarray(known.vegetation)
    if (vegetation < 0.0).any():
        raise ValueError(
            f"vegetation: expected zero or more, got {vegetation.min():g} in {(vegetation < 0.0).sum()} of "
            f"{vegetation.size} values; NDVI of water and snow is negative: mask these pixels or set them to 0"
        )


def moisture_flags(posterior: Posterior, data: Observations) -> np.ndarray:
    """Flag words `(pixel,)` of a posterior of `soil_moisture`, the bits of `releo_jax.variables.FLAGS`.

    Args:
        posterior: by any engine.
        data: what it was fitted to.

    Returns:
        `input_masked` where no band was usable (the estimate is the prior's), `predictive_misfit` and `out_of_domain`
        where the engine's p-values are below 0.01, `at_prior_bound` where the mean lies within 2 % of an end of the
        moistures from 0.01 to 0.6 m³ m⁻³.
    """
    record = data[RECORD]
    assert isinstance(record, SingleDate)
    mean = np.asarray(posterior.mean["soil_moisture"])
    flag = np.where(np.asarray(record.mask).any(-1), 0, FLAGS["input_masked"])
    for name, p_value in (("predictive_misfit", "misfit_p_value"), ("out_of_domain", "domain_p_value")):
        if p_value in posterior.diagnostics:
            # pixels without any band have no p-value
            flag |= np.where(np.asarray(posterior.diagnostics[p_value]) < _POOR, FLAGS[name], 0)
    margin = _EDGE * WETTEST
    flag |= np.where((mean < DRIEST + margin) | (mean > WETTEST - margin), FLAGS["at_prior_bound"], 0)
    return flag.astype(np.uint8)
