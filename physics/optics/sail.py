"""SAIL: reflectance of a canopy of leaves above a soil (four streams, hot spot).

References:
    Verhoef 1984, Remote Sens. Environ. 16, 125; 1985, 17, 165 (SAIL).
    Kuusk 1991, in Photon-Vegetation Interactions, Springer, 139 (hot spot).
    Verhoef, Jia, Xiao & Su 2007, IEEE Trans. Geosci. Remote Sens. 45, 1808 (4SAIL, numerically robust).
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from physics.numerics import pointwise, reciprocal, stored_spectra
from physics.optics.geometry import SunView, fold_azimuth
from physics.optics.hot_spot import hot_spot_integral, hot_spot_integral_legacy
from physics.optics.leaf_angles import BeamCoefficients, beam_coefficients, bimodal, ellipsoidal
from physics.optics.prospect import LeafOptics
from physics.optics.two_stream import Beam, Slab, diffuse_slab, direct_beam, multiple_scattering
from physics.parameters import Record, expand, param

HotSpot = Literal["exact", "legacy"]
"""How the single-scattering integral is taken, see `sail`."""


class Canopy(Record):
    """Structure of a canopy with ellipsoidal leaf angles; every field an array `(*batch)`."""

    leaf_area_index: Array = param(
        unit="m2 m-2",
        bounds=(0.0, 15.0),
        symbol="LAI",
        description="one-sided leaf area per ground area",
        standard_name="leaf_area_index",
    )
    mean_leaf_angle: Array = param(
        unit="degree", bounds=(5.0, 85.0), symbol="ALA", description="mean leaf inclination, 0 = horizontal leaves"
    )
    hot_spot: Array = param(
        unit="1", bounds=(0.0, 1.0), symbol="s_L", description="hot spot: size of leaves over height of canopy"
    )


class BimodalCanopy(Record):
    """Structure of a canopy with Verhoef's two-parameter leaf angles; every field an array `(*batch)`."""

    leaf_area_index: Array = param(
        unit="m2 m-2",
        bounds=(0.0, 15.0),
        symbol="LAI",
        description="one-sided leaf area per ground area",
        standard_name="leaf_area_index",
    )
    leaf_angle_a: Array = param(
        unit="1", bounds=(-1.0, 1.0), symbol="a", description="leaf inclination: 1 = planophile, -1 = erectophile"
    )
    leaf_angle_b: Array = param(
        unit="1", bounds=(-1.0, 1.0), symbol="b", description="leaf inclination: bimodality; |a| + |b| <= 1"
    )
    hot_spot: Array = param(
        unit="1", bounds=(0.0, 1.0), symbol="s_L", description="hot spot: size of leaves over height of canopy"
    )


class CanopyTerms(eqx.Module):
    """Optical properties of the canopy alone: letters as in Verhoef et al. 2007 (s sun, o observer, d diffuse).

    Attributes:
        sun_transmittance: direct sun beam, tau_ss `(*batch, 1)`.
        view_transmittance: direct, towards the sensor, tau_oo `(*batch, 1)`.
        sun_view_transmittance: soil both sunlit and seen, with hot spot, tau_ssoo `(*batch, 1)`.
        diffuse_reflectance, diffuse_transmittance: rho_dd, tau_dd.
        sun_diffuse_reflectance, sun_diffuse_transmittance: rho_sd, tau_sd.
        diffuse_view_reflectance, diffuse_view_transmittance: rho_do, tau_do.
        single_scattering, multiple_scattering: the parts of rho_so.
    """

    sun_transmittance: Array
    view_transmittance: Array
    sun_view_transmittance: Array
    diffuse_reflectance: Array
    diffuse_transmittance: Array
    sun_diffuse_reflectance: Array
    sun_diffuse_transmittance: Array
    diffuse_view_reflectance: Array
    diffuse_view_transmittance: Array
    single_scattering: Array
    multiple_scattering: Array


class CanopyReflectance(eqx.Module):
    """What SAIL knows about a canopy above a soil; each `(*batch, wavelength)` unless said otherwise.

    Attributes:
        bidirectional: reflectance, sun beam to sensor (SDR, "rsot").
        directional_hemispherical: sun beam to all directions (black-sky albedo, "rsdt").
        hemispherical_directional: diffuse sky to sensor ("rdot").
        bihemispherical: diffuse sky to all directions (white-sky albedo, "rddt").
        canopy: optical properties of the canopy alone.
        soil: reflectance of the soil.
    """

    bidirectional: Array
    directional_hemispherical: Array
    hemispherical_directional: Array
    bihemispherical: Array
    canopy: CanopyTerms
    soil: Array


def sail(
    canopy: Canopy | BimodalCanopy,
    leaf_optics: LeafOptics,
    soil_reflectance: Array,
    sun_view: SunView,
    *,
    hot_spot: HotSpot = "exact",
) -> CanopyReflectance:
    """Reflectance of a homogeneous canopy above a Lambertian soil.

    Args:
        canopy: structure, fields `(*batch)`.
        leaf_optics: leaf reflectance and transmittance `(*batch, wavelength)`.
        soil_reflectance: `(*batch, wavelength)`.
        sun_view: directions, fields `(*batch)`; zenith angles below 90°.
        hot_spot: how the single-scattering integral is taken. "exact": Gauss quadrature. "legacy": the 20-step scheme
            of the classical codes, up to 5e-4 off in reflectance, for comparison with them.

    Returns:
        The four reflectances of the scene and the terms of the canopy alone.

    Equation:
        Verhoef et al. 2007. With leaf absorptance alpha = 1 - r - t, the two-stream eigenvalue is
        m² = alpha (1 + b_f (r - t)), formed from alpha itself; the streams are solved in `physics.optics.two_stream`,
        the correlation of both beams in `physics.optics.hot_spot`.

    Validity:
        Turbid medium: leaves small beside the canopy, no clumping, 18 inclination classes of 5°.

    Raises:
        ValueError: soil and leaf spectra of different length.
    """
    _check_spectra(leaf_optics, soil_reflectance)
    return _sail(canopy, leaf_optics, jnp.asarray(soil_reflectance, leaf_optics.reflectance.dtype), sun_view, hot_spot)


def above_soil(terms: CanopyTerms, soil: Array) -> tuple[Array, Array, Array, Array]:
    """The four reflectances of `CanopyReflectance` from the terms of the canopy alone and a Lambertian soil."""
    sun, view = terms.sun_transmittance, terms.view_transmittance
    # light below the canopy is reflected between soil and canopy any number of times
    bounce = soil * reciprocal(1.0 - soil * terms.diffuse_reflectance)
    lit = terms.sun_diffuse_transmittance + sun
    seen = terms.diffuse_view_transmittance + view
    from_soil = (
        lit * terms.diffuse_view_transmittance
        + (terms.sun_diffuse_transmittance + sun * soil * terms.diffuse_reflectance) * view
    ) * bounce
    return (
        terms.single_scattering + terms.multiple_scattering + terms.sun_view_transmittance * soil + from_soil,
        terms.sun_diffuse_reflectance + lit * bounce * terms.diffuse_transmittance,
        terms.diffuse_view_reflectance + terms.diffuse_transmittance * bounce * seen,
        terms.diffuse_reflectance + terms.diffuse_transmittance**2 * bounce,
    )


@functools.partial(jax.jit, static_argnames="hot_spot")
def _sail(
    canopy: Canopy | BimodalCanopy, leaf_optics: LeafOptics, soil: Array, sun_view: SunView, hot_spot: HotSpot
) -> CanopyReflectance:
    def reflectances(*scene: Any) -> tuple[Array, Array, Array, Array]:
        return scene_reflectances(*scene, hot_spot=hot_spot)

    bidirectional, directional_hemispherical, hemispherical_directional, bihemispherical = pointwise(reflectances)(
        leaf_optics, soil, expand(canopy), expand(sun_view)
    )
    return CanopyReflectance(
        bidirectional=bidirectional,
        directional_hemispherical=directional_hemispherical,
        hemispherical_directional=hemispherical_directional,
        bihemispherical=bihemispherical,
        canopy=canopy_terms(canopy, leaf_optics, sun_view, hot_spot=hot_spot),
        soil=soil,
    )


def scene_reflectances(
    leaf_optics: LeafOptics,
    soil: Array,
    canopy: Canopy | BimodalCanopy,
    sun_view: SunView,
    *,
    hot_spot: HotSpot,
) -> tuple[Array, Array, Array, Array]:
    """The four reflectances of `CanopyReflectance`; fields of `canopy` and `sun_view` are `(*batch, 1)` here."""
    canopy, sun_view = jax.tree.map(lambda field: field[..., 0], (canopy, sun_view))
    return above_soil(canopy_terms(canopy, leaf_optics, sun_view, hot_spot=hot_spot), soil)


def _check_spectra(leaf_optics: LeafOptics, soil_reflectance: Array) -> None:
    length, soil_length = leaf_optics.reflectance.shape[-1], jnp.shape(soil_reflectance)[-1:]
    if soil_length not in ((length,), (1,)):
        raise ValueError(
            f"sail: expected a soil spectrum of {length} wavelengths like the leaf's, got shape "
            f"{jnp.shape(soil_reflectance)}; compute both with the same wavelengths= argument"
        )


def canopy_terms(
    canopy: Canopy | BimodalCanopy,
    leaf_optics: LeafOptics,
    sun_view: SunView,
    *,
    hot_spot: HotSpot = "exact",
) -> CanopyTerms:
    """Optical properties of the canopy without soil; arguments as in `sail`."""
    layer = scattering_layer(canopy, leaf_optics, sun_view)
    beams = layer.beams
    scattering = {"exact": hot_spot_integral, "legacy": hot_spot_integral_legacy}[hot_spot]
    azimuth = fold_azimuth(sun_view.relative_azimuth)
    path, both_ways = scattering(
        beams.sun_extinction, beams.view_extinction, canopy.leaf_area_index, canopy.hot_spot, sun_view, azimuth
    )
    w = (
        beams.bidirectional_back[..., None] * layer.reflectance
        + beams.bidirectional_forward[..., None] * layer.transmittance
    )
    slab = layer.slab
    sun, view = beam_in(layer, beams.sun_extinction), beam_in(layer, beams.view_extinction)
    return CanopyTerms(
        sun_transmittance=sun.direct,
        view_transmittance=view.direct,
        sun_view_transmittance=both_ways[..., None],
        diffuse_reflectance=slab.reflectance,
        diffuse_transmittance=slab.transmittance,
        sun_diffuse_reflectance=sun.reflectance,
        sun_diffuse_transmittance=sun.transmittance,
        diffuse_view_reflectance=view.reflectance,
        diffuse_view_transmittance=view.transmittance,
        single_scattering=w * path[..., None],
        multiple_scattering=multiple_scattering(slab, sun, view),
    )


class ScatteringLayer(NamedTuple):
    """Leaves of a canopy as light meets them, before any beam.

    Attributes:
        beams: extinction and scattering per leaf area, fields `(*batch)`.
        slab: the layer under diffuse light.
        reflectance, transmittance, absorptance: of a leaf, `(*batch, wavelength)`.
    """

    beams: BeamCoefficients
    slab: Slab
    reflectance: Array
    transmittance: Array
    absorptance: Array


def scattering_layer(canopy: Canopy | BimodalCanopy, leaf_optics: LeafOptics, sun_view: SunView) -> ScatteringLayer:
    """The canopy as a layer that extinguishes and scatters; arguments as in `sail`."""
    azimuth = fold_azimuth(sun_view.relative_azimuth)
    if isinstance(canopy, BimodalCanopy):
        share = bimodal(canopy.leaf_angle_a, canopy.leaf_angle_b)
    else:
        share = ellipsoidal(canopy.mean_leaf_angle)
    beams = beam_coefficients(share, sun_view.sun_zenith, sun_view.view_zenith, azimuth)
    b_f = beams.inclination[..., None]
    # Or XLA computes the leaf again and again, which doubles the time of the whole.
    r, t, absorptance = stored_spectra(leaf_optics.reflectance, leaf_optics.transmittance, leaf_optics.absorptance)
    # scattering of diffuse light (Verhoef et al. 2007, Table 1)
    backward = 0.5 * ((1.0 + b_f) * r + (1.0 - b_f) * t)
    m2 = absorptance * (1.0 + b_f * (r - t))
    slab = diffuse_slab(m2, absorptance + backward, backward, canopy.leaf_area_index[..., None])
    return ScatteringLayer(beams, slab, r, t, absorptance)


def beam_in(layer: ScatteringLayer, extinction: Array) -> Beam:
    """A sun beam (or a view beam) in the layer, from its extinction `(*batch)`."""
    k, b_f, r, t = extinction[..., None], layer.beams.inclination[..., None], layer.reflectance, layer.transmittance
    # scattering backward and forward of direct light (Verhoef et al. 2007, Table 1)
    back, forward = 0.5 * ((k + b_f) * r + (k - b_f) * t), 0.5 * ((k - b_f) * r + (k + b_f) * t)
    return direct_beam(layer.slab, k, back, forward)
