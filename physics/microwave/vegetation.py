"""Backscatter of soil under vegetation: the water cloud, and a layer that scatters once."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from physics.microwave.fresnel import fresnel
from physics.microwave.geometry import Backscatter, RadarView, Roughness, wave_number
from physics.microwave.permittivity import Permittivity
from physics.numerics import safe_power
from physics.parameters import Record, as_float, param


class WaterCloud(Record):
    """Coefficients of a water cloud for one polarisation; every field an array `(*batch)`."""

    scattering: Array = param(
        unit="1", bounds=(0.0, 1.0), symbol="A", description="backscatter of a dense cloud at nadir"
    )
    attenuation: Array = param(
        unit="1", bounds=(0.0, 5.0), symbol="B", description="one-way optical depth per unit of the descriptor"
    )
    exponent: Array = param(
        unit="1", bounds=(0.0, 2.0), symbol="E", description="of the descriptor in the scattering", default=0.0
    )


class WaterCloudBackscatter(NamedTuple):
    """Backscatter of a water cloud above soil, linear, `(*batch)` each.

    Attributes:
        total: of both.
        vegetation: of the cloud.
        soil: of the soil, attenuated by the cloud.
    """

    total: Array
    vegetation: Array
    soil: Array


@dataclasses.dataclass(frozen=True)
class PublishedCloud:
    """Coefficients of a water cloud as published, for one polarisation; they serve as a `WaterCloud`.

    They were fitted on few fields of one region: expect to fit your own.

    Attributes:
        scattering, attenuation, exponent: as in `WaterCloud`.
        descriptor: of the vegetation, with its unit.
        setting: band, polarisation and crop.
        source: publication.
    """

    scattering: float
    attenuation: float
    exponent: float
    descriptor: str
    setting: str
    source: str


_PREVOT = "Prévot, Champion & Guyot 1993, Remote Sens. Environ. 46, 331"
EL_HAJJ_17_VV = PublishedCloud(
    0.095, 0.5513, 1.0, "NDVI", "C band, VV, crops and grassland", "El Hajj et al. 2017, Remote Sens. 9, 1292"
)
PREVOT_93_X = PublishedCloud(0.021, 0.417, 0.99, "leaf area index, m2 m-2", "9 GHz, wheat", _PREVOT)
# The canopy attenuates only.
PREVOT_93_C_HH = PublishedCloud(0.0, 0.089, 0.0, "leaf area index, m2 m-2", "5.3 GHz, HH, 20 degrees, wheat", _PREVOT)
BINDLISH_01_WHEAT = PublishedCloud(
    0.0018,
    0.138,
    1.0,
    "water content, kg m-2",
    "winter wheat",
    "Bindlish & Barros 2001, Remote Sens. Environ. 76, 130",
)


def water_cloud(
    soil: ArrayLike,
    descriptor: ArrayLike,
    cloud: WaterCloud | PublishedCloud,
    view: RadarView,
    *,
    attenuating: ArrayLike | None = None,
) -> WaterCloudBackscatter:
    """Backscatter of soil under vegetation that scatters like a cloud of drops of water.

    Args:
        soil: backscatter of the bare soil in one polarisation, linear, `(*batch)`.
        descriptor: V_1 of the vegetation, in the unit of the coefficients: leaf area index (m² m⁻²), water content
            (kg m⁻²), NDVI, ...; zero or more, `(*batch)`.
        cloud: coefficients of that polarisation, fields `(*batch)`.
        view: direction of the radar, `(*batch)`.
        attenuating: descriptor V_2 of the attenuation, where it is another.

    Returns:
        Backscatter of both, and its two parts, linear.

    Equation:
        sigma = A V_1^E cos(theta) (1 - T²) + T² sigma_soil, T² = exp(-2 B V_2 / cos(theta)).

    Validity:
        Coefficients hold for the crop, sensor and range of incidence that they were fitted on.

    References:
        Attema & Ulaby 1978, Radio Sci. 13, 357.
    """
    dtype = view.incidence.dtype
    v1 = jnp.asarray(descriptor, dtype)
    v2 = v1 if attenuating is None else jnp.asarray(attenuating, dtype)
    cosine = jnp.cos(view.incidence)
    depth = 2.0 * cloud.attenuation * v2 / cosine
    # V^0 is one for bare soil too.
    exponent = jnp.asarray(cloud.exponent, dtype)
    power = jnp.where(exponent == 0.0, 1.0, safe_power(v1, exponent))
    vegetation = cloud.scattering * power * cosine * -jnp.expm1(-depth)
    below = jnp.exp(-depth) * jnp.asarray(soil, dtype)
    return WaterCloudBackscatter(vegetation + below, vegetation, below)


def linear_soil(soil_moisture: ArrayLike, offset: ArrayLike, slope: ArrayLike) -> Array:
    """Backscatter of bare soil that rises linearly, in dB, with its moisture.

    Args:
        soil_moisture: m³ m⁻³, `(*batch)`.
        offset: of dry soil, dB.
        slope: dB per m³ m⁻³.

    Returns:
        Backscatter, linear, `(*batch)`.

    Equation:
        10^((offset + slope m_v) / 10).

    References:
        Ulaby, Batlivala & Dobson 1978, IEEE Trans. Geosci. Electron. 16, 286.
    """
    moisture = as_float(soil_moisture)
    return 10.0 ** (0.1 * (jnp.asarray(offset, moisture.dtype) + jnp.asarray(slope, moisture.dtype) * moisture))


class ScatteringLayer(Record):
    """A layer of vegetation that attenuates and scatters; every field an array `(*batch)`."""

    height: Array = param(unit="m", bounds=(0.0, 30.0), symbol="d", description="height of the layer")
    extinction_vertical: Array = param(
        unit="m-1", bounds=(0.0, 5.0), symbol="kappa_e,v", description="power lost per metre, vertical polarisation"
    )
    extinction_horizontal: Array = param(
        unit="m-1", bounds=(0.0, 5.0), symbol="kappa_e,h", description="power lost per metre, horizontal polarisation"
    )
    albedo: Array = param(
        unit="1",
        bounds=(0.0, 1.0),
        symbol="omega",
        description="share of the lost power that is scattered",
        standard_name="single_scattering_albedo",
    )


class LayerBackscatter(NamedTuple):
    """Parts of the backscatter of soil under a layer.

    Attributes:
        total: sum of the others.
        ground: soil, through the layer and back.
        canopy: layer, straight back.
        ground_canopy_ground: soil, layer, soil.
        canopy_ground: layer and soil, in both orders.
    """

    total: Backscatter
    ground: Backscatter
    canopy: Backscatter
    ground_canopy_ground: Backscatter
    canopy_ground: Backscatter


def single_scattering(
    soil: Backscatter,
    permittivity: Permittivity,
    roughness: Roughness,
    layer: ScatteringLayer,
    view: RadarView,
    *,
    frequency: ArrayLike,
    rayleigh: bool = False,
    coherent: bool = True,
) -> LayerBackscatter:
    """Backscatter of soil under a uniform layer that scatters each wave once at most, by parts.

    Args:
        soil: backscatter of the bare soil, `(*batch)`.
        permittivity: of the soil, fields `(*batch)`.
        roughness: of the soil, fields `(*batch)`.
        layer: fields `(*batch)`.
        view: direction of the radar, `(*batch)`.
        frequency: GHz, broadcasting with the fields.
        rayleigh: scatterers much smaller than the wavelength, which do not depolarise, instead of isotropic ones.
        coherent: whether the two orders of soil and layer add up in phase, which doubles their co-polarised part.

    Returns:
        The four parts; `vh` is None for a soil without it and for Rayleigh scatterers.

    Equation:
        With T_p = exp(-kappa_p d / cos), the reflectivities of the rough soil G_p exp(-4 ks² cos²), the scattering
        coefficient kappa_s = omega (kappa_p + kappa_q) / 2, times 1.5 for Rayleigh scatterers:
        ground: sigma_pq T_p T_q; canopy: kappa_s cos / (kappa_p + kappa_q) (1 - T_p T_q);
        ground-canopy-ground: kappa_s cos / (kappa_p + kappa_q) G_p G_q (T_p T_q - T_p² T_q²);
        canopy-ground: n kappa_s d (G_p + G_q) T_p T_q, n = 2 for coherent co-polarised waves, else 1.

    Validity:
        Albedo below about 0.2.

    References:
        Ulaby & Long 2014, eq. 11.17; De Roo, Du, Ulaby & Dobson 2001, IEEE Trans. Geosci. Remote Sens. 39, 864.
    """
    cosine = jnp.cos(view.incidence)
    damping = jnp.exp(-4.0 * (wave_number(frequency) * roughness.rms_height * cosine) ** 2)
    reflected = fresnel(permittivity, view)
    extinction = {"v": layer.extinction_vertical, "h": layer.extinction_horizontal}
    reflectivity = {"v": reflected.vertical * damping, "h": reflected.horizontal * damping}
    directed = 1.5 if rayleigh else 1.0
    parts: list[dict[str, Array]] = [{}, {}, {}, {}]
    for name in ("vv", "hh") if rayleigh or soil.vh is None else ("vv", "hh", "vh"):
        p, q = name
        both = extinction[p] + extinction[q]
        depth = both * layer.height / cosine
        through, lost = jnp.exp(-depth), -jnp.expm1(-depth)
        # kappa_s / (kappa_p + kappa_q) is half the albedo, without extinction too.
        volume = 0.5 * directed * layer.albedo * cosine
        orders = 2.0 if coherent and p == q else 1.0
        scattering = 0.5 * directed * layer.albedo * both
        parts[0][name] = getattr(soil, name) * through
        parts[1][name] = volume * lost
        parts[2][name] = volume * reflectivity[p] * reflectivity[q] * through * lost
        parts[3][name] = orders * scattering * layer.height * (reflectivity[p] + reflectivity[q]) * through
    scattered = [Backscatter(**part) for part in parts]
    return LayerBackscatter(jax.tree.map(lambda *each: functools.reduce(jnp.add, each), *scattered), *scattered)
