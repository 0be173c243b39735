"""PROSPECT: reflectance and transmittance of a leaf from its biochemistry (the generalised plate model).

A leaf is a pile of N identical absorbing plates with rough interfaces; N need not be whole. The first plate is lit
within a cone (40° by default), the others by isotropic light.

References:
    Allen, Gausman, Richardson & Thomas 1969, J. Opt. Soc. Am. 59, 1376 (one plate; pile of plates).
    Stern 1964, Appl. Opt. 3, 111; Allen 1973, Appl. Opt. 12, 2448 (transmissivity of a dielectric interface).
    Jacquemoud & Baret 1990, Remote Sens. Environ. 34, 75 (PROSPECT).
    Féret et al. 2008, Remote Sens. Environ. 112, 3030 (PROSPECT-4 and -5).
    Féret et al. 2017, Remote Sens. Environ. 193, 204 (PROSPECT-D).
    Féret et al. 2021, Remote Sens. Environ. 252, 112173 (PROSPECT-PRO).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physics.data import resolve, table
from physics.numerics import elementary_layer, horner, pointwise, reciprocal, root, stored_spectra
from physics.parameters import Record, param


class Leaf(Record):
    """Structure and biochemistry of a leaf; every field an array `(*batch)`."""

    layers: Array = param(
        unit="1", bounds=(1.0, 4.0), symbol="N", description="leaf structure parameter: number of elementary plates"
    )
    chlorophyll: Array = param(
        unit="ug cm-2", bounds=(0.0, 120.0), symbol="C_ab", description="chlorophyll a + b per leaf area"
    )
    carotenoids: Array = param(
        unit="ug cm-2", bounds=(0.0, 30.0), symbol="C_xc", description="carotenoids per leaf area"
    )
    anthocyanins: Array = param(
        unit="ug cm-2", bounds=(0.0, 40.0), symbol="C_anth", description="anthocyanins per leaf area", default=0.0
    )
    brown_pigment: Array = param(
        unit="1", bounds=(0.0, 4.0), symbol="C_brown", description="brown pigment, arbitrary units", default=0.0
    )
    water: Array = param(
        unit="cm", bounds=(0.0, 0.2), symbol="C_w", description="equivalent water thickness (1 cm = 1 g cm-2)"
    )
    dry_matter: Array = param(
        unit="g cm-2", bounds=(0.0, 0.06), symbol="C_m", description="dry matter per leaf area (LMA)"
    )


class LeafPro(Record):
    """Structure and biochemistry of a leaf whose dry matter is split in two; every field an array `(*batch)`.

    Proteins and carbon-based constituents take the place of dry matter (their sum is the leaf mass per area).
    """

    layers: Array = param(
        unit="1", bounds=(1.0, 4.0), symbol="N", description="leaf structure parameter: number of elementary plates"
    )
    chlorophyll: Array = param(
        unit="ug cm-2", bounds=(0.0, 120.0), symbol="C_ab", description="chlorophyll a + b per leaf area"
    )
    carotenoids: Array = param(
        unit="ug cm-2", bounds=(0.0, 30.0), symbol="C_xc", description="carotenoids per leaf area"
    )
    anthocyanins: Array = param(
        unit="ug cm-2", bounds=(0.0, 40.0), symbol="C_anth", description="anthocyanins per leaf area", default=0.0
    )
    brown_pigment: Array = param(
        unit="1", bounds=(0.0, 4.0), symbol="C_brown", description="brown pigment, arbitrary units", default=0.0
    )
    water: Array = param(
        unit="cm", bounds=(0.0, 0.2), symbol="C_w", description="equivalent water thickness (1 cm = 1 g cm-2)"
    )
    proteins: Array = param(unit="g cm-2", bounds=(0.0, 0.006), symbol="C_p", description="proteins per leaf area")
    carbon_constituents: Array = param(
        unit="g cm-2",
        bounds=(0.0, 0.06),
        symbol="C_cbc",
        description="carbon-based constituents (cellulose, lignin, hemicellulose, starch, sugars) per leaf area",
    )


class LeafOptics(eqx.Module):
    """Optical properties of a leaf, each `(*batch, wavelength)`.

    Attributes:
        reflectance: directional-hemispherical reflectance.
        transmittance: directional-hemispherical transmittance.
        absorptance: the rest. The leaf models form it directly, because the difference 1 - r - t carries no digits
            for a leaf that hardly absorbs; it is that difference when only the first two are given.
    """

    reflectance: Array
    transmittance: Array
    absorptance: Array

    def __init__(self, reflectance: Array, transmittance: Array, absorptance: Array | None = None) -> None:
        self.reflectance = reflectance
        self.transmittance = transmittance
        self.absorptance = 1.0 - reflectance - transmittance if absorptance is None else absorptance


def prospect_5(leaf: Leaf, *, wavelengths: np.ndarray | None = None, surface_angle: float = 40.0) -> LeafOptics:
    """Leaf optical properties by PROSPECT-5 (chlorophyll, carotenoids, brown pigment, water, dry matter).

    Anthocyanins are not part of this version and have no effect.

    Args:
        leaf: leaf parameters, fields `(*batch)`.
        wavelengths: nm, concrete, 1-D, within 400 to 2500; default every nm.
        surface_angle: largest angle of incidence on the leaf surface (degrees, 0 to 90).

    Returns:
        Optical properties `(*batch, wavelength)`.

    References:
        Féret et al. 2008.
    """
    return _leaf_optics(leaf, "prospect_5", wavelengths, surface_angle)


def prospect_d(leaf: Leaf, *, wavelengths: np.ndarray | None = None, surface_angle: float = 40.0) -> LeafOptics:
    """Leaf optical properties by PROSPECT-D, which adds anthocyanins to PROSPECT-5.

    Args:
        leaf: leaf parameters, fields `(*batch)`.
        wavelengths: nm, concrete, 1-D, within 400 to 2500; default every nm.
        surface_angle: largest angle of incidence on the leaf surface (degrees, 0 to 90).

    Returns:
        Optical properties `(*batch, wavelength)`.

    References:
        Féret et al. 2017.
    """
    return _leaf_optics(leaf, "prospect_d", wavelengths, surface_angle)


def prospect_pro(leaf: LeafPro, *, wavelengths: np.ndarray | None = None, surface_angle: float = 40.0) -> LeafOptics:
    """Leaf optical properties by PROSPECT-PRO (proteins and carbon-based constituents instead of dry matter).

    Args:
        leaf: leaf parameters, fields `(*batch)`.
        wavelengths: nm, concrete, 1-D, within 400 to 2500; default every nm.
        surface_angle: largest angle of incidence on the leaf surface (degrees, 0 to 90).

    Returns:
        Optical properties `(*batch, wavelength)`.

    References:
        Féret et al. 2021.
    """
    return _leaf_optics(leaf, "prospect_pro", wavelengths, surface_angle)


def _leaf_optics(leaf: Leaf | LeafPro, name: str, wavelengths: np.ndarray | None, surface_angle: float) -> LeafOptics:
    return _leaf_of_plates(*plates(leaf, name, wavelengths=wavelengths, surface_angle=surface_angle))


class Plates(NamedTuple):
    """What `plate_model` makes a leaf of: see there."""

    absorption: Array
    layers: Array
    t_cone: Array
    t12: Array
    t21: Array


def plates(
    leaf: Leaf | LeafPro, name: str, *, wavelengths: np.ndarray | None = None, surface_angle: float = 40.0
) -> Plates:
    """The plates of a leaf by the coefficients `prospect_5`, `prospect_d` or `prospect_pro`."""
    expected = LeafPro if name == "prospect_pro" else Leaf
    if not isinstance(leaf, expected):
        raise ValueError(f"{name}: expected a {expected.__name__}, got {type(leaf).__name__}")
    if not 0.0 < surface_angle <= 90.0:
        raise ValueError(f"surface_angle: expected degrees within 0 to 90, got {surface_angle}")
    figures = {key: resolve(values, wavelengths) for key, values in table(name).items()}
    index = figures.pop("refractive_index")
    isotropic = interface_transmissivity(index, 90.0)
    surfaces = interface_transmissivity(index, surface_angle), isotropic, isotropic / np.asarray(index, np.float64) ** 2
    # Eq. 2 of Féret et al. 2008: k = sum of contents times specific absorption, over N
    dtype, layers = leaf.layers.dtype, leaf.layers[..., None]
    contents = jnp.stack(jnp.broadcast_arrays(*(getattr(leaf, name) for name in figures)), axis=-1)
    specific = np.stack(list(figures.values())).astype(dtype)
    absorption = jnp.matmul(contents, specific, precision=jax.lax.Precision.HIGHEST)
    return Plates(absorption / layers, layers, *(jnp.asarray(surface, dtype) for surface in surfaces))


def plate_model(absorption: Array, layers: Array, t_cone: Array, t12: Array, t21: Array) -> LeafOptics:
    """Pile of N plates: one lit within a cone, N - 1 lit isotropically.

    Args:
        absorption: absorption of one plate `k`, `(*batch, wavelength)`, >= 0.
        layers: number of plates N >= 1, `(*batch, 1)`.
        t_cone: transmissivity of the surface for light within the cone, `(wavelength,)`.
        t12: the same for isotropic light from outside, `(wavelength,)`.
        t21: the same for isotropic light from inside, t12 over the square of the refractive index, `(wavelength,)`.

    Returns:
        Optical properties `(*batch, wavelength)`; energy is conserved by construction.

    Equation:
        Allen et al. 1969 with Stokes' solution for the pile, written with b = exp(beta), a = exp(gamma):
        R = r/t S T, T = 1 / (C + kappa S), S = sinh((N-1) beta) / sinh(beta), C = cosh((N-1) beta),
        kappa = sinh(beta) coth(gamma). All depend on the absorptance A of one plate without 1 - r - t being formed:
        cosh(beta) - 1 = A (A + 2 r) / (2 t).
    """
    dtype = absorption.dtype
    r21 = 1.0 - t21

    # one plate: light enters, crosses the inside (tau), is reflected inside (r21) any number of times
    tau, absorbed = stored_spectra(*elementary_layer(absorption))
    tiny = 1e6 * float(jnp.finfo(dtype).tiny)
    tau = jnp.where(tau > tiny, tau, tiny)  # its logarithm is taken below
    inside = reciprocal(1.0 - r21 * r21 * tau * tau)
    out = t21 * tau * inside
    caught = absorbed * (1.0 + r21 * tau) * inside
    t, r, a = t12 * out, (1.0 - t12) + t12 * r21 * tau * out, t12 * caught
    t_first, r_first, a_first = t_cone * out, (1.0 - t_cone) + t_cone * r21 * tau * out, t_cone * caught

    r_pile, t_pile, a_pile = _pile(r, t, a, layers - 1.0)
    between = reciprocal(1.0 - r_pile * r)
    return LeafOptics(
        reflectance=r_first + t_first * r_pile * t * between,
        transmittance=t_first * t_pile * between,
        absorptance=a_first + t_first * (a_pile + r_pile * a) * between,
    )


_leaf_of_plates = jax.jit(pointwise(plate_model))


def _pile(r: Array, t: Array, a: Array, count: Array) -> tuple[Array, Array, Array]:
    """Reflectance, transmittance and absorptance of `count` >= 0 plates (r, t, a), `count` not necessarily whole.

    Two forms of the same functions: scaled exponentials in general, even power series in beta where absorption is so
    weak that sinh(beta) and its slope would lose digits. Both are 0, 1, 0 for count = 0.
    """
    half = 0.5 * a * (a + 2.0 * r)  # t (cosh beta - 1)
    # where the exponentials lose digits
    limit = 0.01 if t.dtype == jnp.float32 else 1e-5
    weak = half * jnp.maximum(count * count, 1.0) < limit * t

    # general: everything multiplied by t and by exp(-count beta)
    half_away = jnp.where(weak, 1.0, half)
    q, _ = root(half_away * (half_away + 2.0 * t))  # t sinh(beta)
    decay = jnp.exp(count * jnp.log(t * reciprocal(t + half_away + q)))  # exp(-count beta)
    # 1 - exp(-2 count beta); the compiler would turn a square of the exponential into a second exponential
    gone = (1.0 - decay) * (1.0 + decay)
    scale = reciprocal(q * (2.0 - gone) + (a + r - half_away) * gone)
    r_general = r * gone * scale
    t_general = 2.0 * q * decay * scale
    a_general = (q * (1.0 - decay) ** 2 + (a - half_away) * gone) * scale

    # weak absorption: x = cosh(beta) - 1 small, beta² = x (2 - x/3 + 4 x²/45 - ...)
    inverse = reciprocal(t)
    x = jnp.where(weak, half * inverse, 0.0)
    # what the three terms of each series leave out is below 1e-7 (1e-16)
    arccosh_squared, sinhc, coshm1 = _SERIES
    beta2 = x * horner(arccosh_squared, x)
    y = count * count * beta2
    s = count * horner(sinhc, y) * reciprocal(horner(sinhc, beta2))
    cosh_minus_one = y * horner(coshm1, y)
    t_weak = reciprocal(1.0 + cosh_minus_one + ((a + r) * inverse - x) * s)
    r_weak = r * inverse * s * t_weak
    a_weak = (cosh_minus_one + (a * inverse - x) * s) * t_weak
    return (
        jnp.where(weak, r_weak, r_general),
        jnp.where(weak, t_weak, t_general),
        jnp.where(weak, a_weak, a_general),
    )


def _arccosh_squared(terms: int) -> tuple[float, ...]:
    """Coefficients of arccosh(1 + x)² / x: 2 arcsin²(z) = sum (2 z)^(2n) / (n² C(2n, n)) at z² = -x / 2."""
    coefficients, binomial = [], 1.0
    for n in range(1, terms + 1):
        binomial *= (2.0 * n) * (2.0 * n - 1.0) / (n * n)
        coefficients.append(-2.0 * (-2.0) ** n / (n * n * binomial))
    return tuple(coefficients)


def _even_series(offset: int, terms: int) -> tuple[float, ...]:
    """Coefficients 1 / (2 n + offset)!: offset 1 for sinh(sqrt y) / sqrt y, offset 2 for (cosh(sqrt y) - 1) / y."""
    return tuple(1.0 / float(np.prod(np.arange(1.0, 2 * n + offset + 1))) for n in range(terms))


_SERIES = (_arccosh_squared(3), _even_series(1, 3), _even_series(2, 3))


def interface_transmissivity(refractive_index: np.ndarray, angle: float) -> np.ndarray:
    """Transmissivity of a plane dielectric interface for unpolarised light within a cone.

    Args:
        refractive_index: real index of the denser medium, `(wavelength,)`.
        angle: half angle of the cone (degrees; 90 = isotropic light).

    Returns:
        Transmissivity, float64, `(wavelength,)`.

    Equation:
        Average over the cone of Fresnel's transmissivity, weighted by sin(theta) cos(theta). Stern 1964 and Allen 1973
        give it in closed form; Gauss-Legendre quadrature of the definition reaches 1e-13 and is done once per grid.
    """
    index = np.asarray(refractive_index, np.float64)
    return _cone_average(index.tobytes(), index.size, float(angle)).reshape(index.shape)


@functools.lru_cache(maxsize=64)
def _cone_average(index_bytes: bytes, size: int, angle: float) -> np.ndarray:
    index = np.frombuffer(index_bytes, np.float64, size)[:, None]
    nodes, weights = np.polynomial.legendre.leggauss(96)
    theta = np.radians(angle) * 0.5 * (nodes + 1.0)
    cosine, sine = np.cos(theta), np.sin(theta)
    inner = np.sqrt(index**2 - sine**2)  # n cos(angle of refraction)
    perpendicular = ((cosine - inner) / (cosine + inner)) ** 2
    parallel = ((index**2 * cosine - inner) / (index**2 * cosine + inner)) ** 2
    transmitted = 1.0 - 0.5 * (perpendicular + parallel)
    weight = weights * sine * cosine
    average = (transmitted * weight).sum(axis=1) / weight.sum()
    average.setflags(write=False)
    return average
