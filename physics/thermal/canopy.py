"""Thermal SAIL: what a canopy of leaves above a soil emits, with leaves and soil sunlit or shaded.

A band sees the black-body radiances of four temperatures and of the sky, each with a weight of its own. The weights are
those of the optical model (`physics.optics.sail`): leaves emit what they absorb, in the same streams.

References:
    Verhoef, Jia, Xiao & Su 2007, IEEE Trans. Geosci. Remote Sens. 45, 1808 (4SAIL, optical and thermal).
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.numerics import reciprocal
from physics.optics.geometry import SunView, fold_azimuth
from physics.optics.hot_spot import bounded_hot_spot_integral
from physics.optics.prospect import LeafOptics
from physics.optics.sail import BimodalCanopy, Canopy, ScatteringLayer, beam_in, scattering_layer
from physics.optics.two_stream import Beam, direct_beam, multiple_scattering
from physics.parameters import Record, as_float, param, parameters
from physics.thermal.planck import ThermalBand


class ThermalOptics(Record):
    """Leaves and soil in thermal bands; every field an array `(*batch, band)`, or a number for all bands.

    What a leaf neither reflects nor transmits it emits.
    """

    leaf_reflectance: Array = param(
        unit="1", bounds=(0.0, 0.2), symbol="rho_l", description="reflectance of a leaf: 0.01 to 0.05 at 8 to 14 um"
    )
    leaf_transmittance: Array = param(
        unit="1", bounds=(0.0, 0.2), symbol="tau_l", description="transmittance of a leaf", default=0.0
    )
    soil_emissivity: Array = param(unit="1", bounds=(0.6, 1.0), symbol="e_s", description="emissivity of the soil")


class CanopyTemperatures(Record):
    """Temperatures of leaves and soil; every field an array `(*batch)`."""

    sunlit_leaf: Array = param(
        unit="K", bounds=(200.0, 370.0), symbol="T_lh", description="temperature of leaves in the sun"
    )
    shaded_leaf: Array = param(
        unit="K", bounds=(200.0, 370.0), symbol="T_lc", description="temperature of leaves in the shade"
    )
    sunlit_soil: Array = param(
        unit="K", bounds=(200.0, 370.0), symbol="T_sh", description="temperature of the soil in the sun"
    )
    shaded_soil: Array = param(
        unit="K", bounds=(200.0, 370.0), symbol="T_sc", description="temperature of the soil in the shade"
    )

    @classmethod
    def of_leaf_and_soil(cls, leaf: ArrayLike, soil: ArrayLike) -> CanopyTemperatures:
        """One temperature of all leaves and one of all soil, K, `(*batch)` each: at night, or with no more known."""
        return cls(sunlit_leaf=leaf, shaded_leaf=leaf, sunlit_soil=soil, shaded_soil=soil)  # type: ignore[arg-type]


class EmissionWeights(eqx.Module):
    """How much of each black-body radiance reaches the sensor, each `(*batch, band)`; the five add up to one.

    Attributes:
        sunlit_leaf, shaded_leaf, sunlit_soil, shaded_soil: of what leaves and soil emit.
        sky: of the sky's radiance, reflected: the hemispherical-directional reflectance r_do of the scene.
    """

    sunlit_leaf: Array
    shaded_leaf: Array
    sunlit_soil: Array
    shaded_soil: Array
    sky: Array


def emission_weights(canopy: Canopy | BimodalCanopy, optics: ThermalOptics, sun_view: SunView) -> EmissionWeights:
    """Weights of sunlit and shaded leaves, sunlit and shaded soil, and the sky in the radiance above a canopy.

    Args:
        canopy: structure, fields `(*batch)`.
        optics: of leaves and soil, fields `(*batch, band)`.
        sun_view: directions, fields `(*batch)`; zenith angles below 90°. The sun decides what is sunlit, nothing else.

    Returns:
        Five weights `(*batch, band)`, not below zero (but for rounding), with sum one.

    Equation:
        Soil: (1 - r_s) (tau_oo + tau_do) / (1 - r_s rho_dd). Leaves: 1 - r_do less the soil's (Kirchhoff).
        Sunlit soil: (1 - r_s) {tau_ssoo + tau_ss [tau_do + r_s rho_dd (tau_oo + tau_do) / (1 - r_s rho_dd)]}.
        Sunlit leaves with emissivity e: e k_o times the leaf area both sunlit and seen, plus what the canopy scatters
        towards the sensor of a source e exp(-k_s L x), upwards and downwards, plus what the soil reflects of it. Such a
        source is the sun beam of the two-stream equations with e in place of both scattering coefficients.
        Shaded: the rest of each. Letters as in `physics.optics.sail`.

    Validity:
        Turbid medium, see `physics.sail`. What is both sunlit and seen is Kuusk's probability, kept below that of being
        sunlit and that of being seen (`physics.optics.hot_spot`), or weights of the shade could be negative.

    References:
        Verhoef, Jia, Xiao & Su 2007, IEEE Trans. Geosci. Remote Sens. 45, 1808.
    """
    return _weights(canopy, optics, sun_view)


@jax.jit
def _weights(canopy: Canopy | BimodalCanopy, optics: ThermalOptics, sun_view: SunView) -> EmissionWeights:
    emissivity, soil, sky, layer, view = _scene(canopy, optics, sun_view)
    slab, beams = layer.slab, layer.beams
    k_s, k_o = beams.sun_extinction, beams.view_extinction
    lit_seen_leaves, lit_seen_soil = bounded_hot_spot_integral(
        k_s,
        k_o,
        canopy.leaf_area_index,
        canopy.hot_spot,
        sun_view,
        fold_azimuth(sun_view.relative_azimuth),
    )
    between = reciprocal(1.0 - soil * slab.reflectance)
    seen = view.transmittance + view.direct
    whole_soil = (1.0 - soil) * seen * between
    # sunlit leaves shine like light that the sun beam would have lost to diffuse light
    shine = direct_beam(slab, k_s[..., None], emissivity, emissivity)
    sunlit_leaf = (
        emissivity * (k_o * lit_seen_leaves)[..., None]
        + multiple_scattering(slab, shine, view)
        + shine.transmittance * soil * between * seen
    )
    indirect = view.transmittance + soil * slab.reflectance * between * seen
    sunlit_soil = (1.0 - soil) * (lit_seen_soil[..., None] + shine.direct * indirect)
    shape = jnp.broadcast_shapes(sky.shape, sunlit_leaf.shape, sunlit_soil.shape)
    weights = (sunlit_leaf, 1.0 - sky - whole_soil - sunlit_leaf, sunlit_soil, whole_soil - sunlit_soil, sky)
    return EmissionWeights(*(jnp.broadcast_to(weight, shape) for weight in weights))


def _scene(
    canopy: Canopy | BimodalCanopy, optics: ThermalOptics, sun_view: SunView
) -> tuple[Array, Array, Array, ScatteringLayer, Beam]:
    """Emissivity of leaves, reflectances of the soil and of the whole (r_do), the layer, and the view beam in it."""
    fields = (optics.leaf_reflectance, optics.leaf_transmittance, optics.soil_emissivity)
    reflectance, transmittance, soil_emissivity = jnp.broadcast_arrays(*map(jnp.atleast_1d, fields))
    leaf = LeafOptics(reflectance, transmittance)
    layer = scattering_layer(canopy, leaf, sun_view)
    slab, soil = layer.slab, 1.0 - soil_emissivity
    view = beam_in(layer, layer.beams.view_extinction)
    bounce = soil * reciprocal(1.0 - soil * slab.reflectance)
    sky = view.reflectance + slab.transmittance * bounce * (view.transmittance + view.direct)
    return leaf.absorptance, soil, sky, layer, view


def canopy_emissivity(canopy: Canopy | BimodalCanopy, optics: ThermalOptics, view_zenith: ArrayLike) -> Array:
    """Emissivity of a canopy above a soil towards the sensor, from the model.

    Args:
        canopy: structure, fields `(*batch)`; the hot spot does not enter.
        optics: of leaves and soil, fields `(*batch, band)`.
        view_zenith: radian, `(*batch)`.

    Returns:
        `(*batch, band)`.

    Equation:
        1 - r_do, with r_do the reflectance of diffuse light towards the sensor (Kirchhoff).

    Validity:
        Leaves and soil of one temperature; with several, emissivity depends on what is meant by temperature.

    References:
        Verhoef, Jia, Xiao & Su 2007, IEEE Trans. Geosci. Remote Sens. 45, 1808.
    """
    return _emissivity(canopy, optics, as_float(view_zenith))


@jax.jit
def _emissivity(canopy: Canopy | BimodalCanopy, optics: ThermalOptics, view_zenith: Array) -> Array:
    zero = jnp.zeros_like(view_zenith)
    any_sun = SunView(sun_zenith=zero, view_zenith=view_zenith, relative_azimuth=zero)
    return 1.0 - _scene(canopy, optics, any_sun)[2]


def canopy_radiance(
    weights: EmissionWeights, temperatures: CanopyTemperatures, sky_radiance: ArrayLike, *, bands: Sequence[ThermalBand]
) -> Array:
    """Radiance above a canopy from the weights of its parts.

    Args:
        weights: `(*batch, band)`.
        temperatures: fields `(*batch)`.
        sky_radiance: mean radiance of the sky on the ground, which is its irradiance over pi,
            W m⁻² sr⁻¹ µm⁻¹, `(*batch, band)`.
        bands: of the sensor, in the order of the last axis.

    Returns:
        W m⁻² sr⁻¹ µm⁻¹, `(*batch, band)`; `band_temperature` makes a brightness temperature of a band.

    Equation:
        The sum over the four parts of weight B(T), plus r_do L_sky.

    Raises:
        ValueError: weights or sky for another number of bands.

    References:
        Verhoef, Jia, Xiao & Su 2007, IEEE Trans. Geosci. Remote Sens. 45, 1808.
    """
    dtype = weights.sky.dtype
    sky = jnp.asarray(sky_radiance, dtype)
    _check_bands("canopy_radiance", len(bands), {"weights": weights.sky, "sky_radiance": sky})
    k1, k2 = jnp.array([[band.k1, band.k2] for band in bands], dtype).T

    def emitted(temperature: Array) -> Array:
        return k1 / jnp.expm1(k2 / temperature.astype(dtype)[..., None])

    return (
        weights.sunlit_leaf * emitted(temperatures.sunlit_leaf)
        + weights.shaded_leaf * emitted(temperatures.shaded_leaf)
        + weights.sunlit_soil * emitted(temperatures.sunlit_soil)
        + weights.shaded_soil * emitted(temperatures.shaded_soil)
        + weights.sky * sky
    )


def thermal_sail(
    canopy: Canopy | BimodalCanopy,
    optics: ThermalOptics,
    temperatures: CanopyTemperatures,
    sky_radiance: ArrayLike,
    sun_view: SunView,
    *,
    bands: Sequence[ThermalBand],
) -> Array:
    """Radiance above a canopy of leaves over a soil in thermal bands: `canopy_radiance` of `emission_weights`.

    Args:
        canopy: structure, fields `(*batch)`.
        optics: of leaves and soil, fields `(*batch, band)`.
        temperatures: of sunlit and shaded leaves and soil, fields `(*batch)`.
        sky_radiance: irradiance of the sky over pi, W m⁻² sr⁻¹ µm⁻¹, `(*batch, band)`.
        sun_view: directions, fields `(*batch)`.
        bands: of the sensor, in the order of the last axis.

    Returns:
        W m⁻² sr⁻¹ µm⁻¹, `(*batch, band)`.

    Equation:
        See `emission_weights` and `canopy_radiance`. With one temperature of leaves and one of the soil it is
        eps_v B(T_v) + eps_s B(T_s) + r_do L_sky.

    Validity:
        See `emission_weights`. The air between canopy and sensor is not part of it.

    Raises:
        ValueError: optics or sky for another number of bands.

    References:
        Verhoef, Jia, Xiao & Su 2007, IEEE Trans. Geosci. Remote Sens. 45, 1808.
    """
    fields = {name: getattr(optics, name) for name in parameters(optics)} | {"sky_radiance": jnp.asarray(sky_radiance)}
    _check_bands("thermal_sail", len(bands), fields)
    return canopy_radiance(emission_weights(canopy, optics, sun_view), temperatures, sky_radiance, bands=bands)


def _check_bands(caller: str, count: int, fields: dict[str, Array]) -> None:
    for name, field in fields.items():
        if field.ndim and field.shape[-1] not in (1, count):
            raise ValueError(
                f"{caller}: expected {name} with a last axis of {count} bands (or 1 for all of them), got shape "
                f"{field.shape}; add the axis to values per pixel with [..., None]"
            )
