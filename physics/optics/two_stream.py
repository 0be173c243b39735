"""Diffuse light in a plane canopy layer and its coupling to a sun or view beam, right at every limit.

The two-stream equations for downward E- and upward E+ at depth t (0 to L, in leaf area) with a beam exp(-k t),

    dE-/dt = -a E- + b E+ + s_f exp(-k t),    -dE+/dt = -a E+ + b E- + s_b exp(-k t),    m² = a² - b²,

have homogeneous solutions made of C = cosh(m t) and S = sinh(m t) / m. Both are analytic in m², so a canopy that
absorbs nothing (m = 0) is no special case. The particular solution exp(-k t) (A, B) is singular only at m = k; around
m = k the solution is written with Verhoef's J functions, which are singular only at m = 0.

References:
    Verhoef 1985, Remote Sens. Environ. 17, 165; Verhoef et al. 2007, IEEE Trans. Geosci. Remote Sens. 45, 1808.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from physics.numerics import horner, one_minus_exp_over, reciprocal, root


class Slab(NamedTuple):
    """The layer as diffuse light sees it, `(*batch, wavelength)`.

    Attributes:
        reflectance, transmittance: of diffuse light.
        m2, m: eigenvalue, squared and itself (m not below 1e-3, where nothing uses it).
        attenuation, backward: a and b of the equations above.
        inverse_m: 1 / m.
        decay: exp(-m L).
        gain: transmittance over decay.
        depth: L, leaf area index, `(*batch, 1)`.
    """

    reflectance: Array
    transmittance: Array
    m2: Array
    m: Array
    inverse_m: Array
    attenuation: Array
    backward: Array
    decay: Array
    gain: Array
    depth: Array


class Beam(NamedTuple):
    """A sun beam (or, by reciprocity, a view beam) and what the layer makes of it, `(*batch, wavelength)`.

    Attributes:
        extinction: k, `(*batch, 1)`.
        direct: exp(-k L), `(*batch, 1)`.
        back, forward: scattering coefficients of the beam into diffuse light (s_b, s_f).
        reflectance, transmittance: beam to diffuse light, out of the top and out of the bottom.
        resonant: m within a quarter of k.
        downward, upward: particular solution A, B (where not resonant).
        inverse_sum: 1 / (k + m).
        j1, j2: Verhoef's J1(k, m) and J2(k, m).
    """

    extinction: Array
    direct: Array
    back: Array
    forward: Array
    reflectance: Array
    transmittance: Array
    resonant: Array
    downward: Array
    upward: Array
    inverse_sum: Array
    j1: Array
    j2: Array


def diffuse_slab(m2: Array, attenuation: Array, backward: Array, depth: Array) -> Slab:
    """Reflectance b S / (C + a S) and transmittance 1 / (C + a S) of the layer for diffuse light."""
    x2 = m2 * depth * depth
    weak = x2 < (0.0025 if m2.dtype == jnp.float64 else 0.05)  # sinh(m L) / m loses digits
    series = jnp.where(weak, x2, 0.0)
    cosh = horner(tuple(1.0 / math.factorial(2 * n) for n in range(4)), series)
    sinh = depth * horner(tuple(1.0 / math.factorial(2 * n + 1) for n in range(4)), series)
    m, inverse_m = root(jnp.where(m2 > 1e-6, m2, 1e-6))
    decay = jnp.exp(-m * depth)
    gone = (1.0 - decay) * (1.0 + decay)
    # both scaled by exp(-m L) away from m = 0
    cosh = jnp.where(weak, cosh, 1.0 - 0.5 * gone)
    sinh = jnp.where(weak, sinh, 0.5 * gone * inverse_m)
    inverse = reciprocal(cosh + attenuation * sinh)
    return Slab(
        reflectance=backward * sinh * inverse,
        transmittance=jnp.where(weak, 1.0, decay) * inverse,
        m2=m2,
        m=m,
        inverse_m=inverse_m,
        attenuation=attenuation,
        backward=backward,
        decay=decay,
        gain=jnp.where(weak, cosh + m * sinh, 1.0) * inverse,
        depth=depth,
    )


def direct_beam(slab: Slab, extinction: Array, back: Array, forward: Array) -> Beam:
    """Diffuse reflectance and transmittance of the layer for a beam with extinction k, `(*batch, 1)`."""
    k, a, b, m, depth = extinction, slab.attenuation, slab.backward, slab.m, slab.depth
    direct = jnp.exp(-k * depth)
    resonant = (slab.m2 > 0.5625 * k * k) & (slab.m2 < 1.5625 * k * k)

    inverse = reciprocal(jnp.where(resonant, 1.0, slab.m2 - k * k))
    downward = (forward * (a + k) + back * b) * inverse
    upward = (back * (a - k) + forward * b) * inverse
    reflectance = upward * (1.0 - direct * slab.transmittance) - downward * slab.reflectance
    transmittance = downward * (direct - slab.transmittance) - upward * direct * slab.reflectance

    # J1 = (exp(-m L) - exp(-k L)) / (k - m), J2 = (1 - exp(-(k + m) L)) / (k + m): both exponentials are at hand
    x = (k - m) * depth
    small = jnp.abs(x) < (0.01 if x.dtype == jnp.float64 else 0.2)
    series = horner(tuple((-1.0) ** n / math.factorial(n + 1) for n in range(6)), jnp.where(small, x, 0.0))
    apart = reciprocal(jnp.where(small, 1.0, k - m))
    j1 = jnp.where(small, depth * slab.decay * series, (slab.decay - direct) * apart)
    inverse_sum = reciprocal(k + m)
    j2 = (1.0 - direct * slab.decay) * inverse_sum
    scale = 0.5 * slab.gain
    cross = (back * a + forward * b) * slab.inverse_m
    reflectance_resonant = scale * ((back + cross) * j2 + (back - cross) * slab.decay * j1)
    cross = (forward * a + back * b) * slab.inverse_m
    transmittance_resonant = scale * ((forward + cross) * j1 + (forward - cross) * slab.decay * j2)
    return Beam(
        extinction=k,
        direct=direct,
        back=back,
        forward=forward,
        reflectance=jnp.where(resonant, reflectance_resonant, reflectance),
        transmittance=jnp.where(resonant, transmittance_resonant, transmittance),
        resonant=resonant,
        downward=downward,
        upward=upward,
        inverse_sum=inverse_sum,
        j1=j1,
        j2=j2,
    )


def multiple_scattering(slab: Slab, sun: Beam, view: Beam) -> Array:
    """Sun light scattered at least twice into the direction of the view beam: the integral of
    exp(-k_o t) (v_b E- + v_f E+) over the depth of the layer.

    With the particular solution it is A (v_b z - rho_do) + B (v_f z - tau_ss tau_do), z the overlap of both beams;
    around m = k_s it is Verhoef's formula (Verhoef et al. 2007) with 1 - r_inf² = 2 m / (a + m).
    """
    a, m = slab.attenuation, slab.m
    overlap = slab.depth * one_minus_exp_over((sun.extinction + view.extinction) * slab.depth)
    general = sun.downward * (view.back * overlap - view.reflectance) + sun.upward * (
        view.forward * overlap - sun.direct * view.transmittance
    )
    infinite = slab.backward * reciprocal(a + m)  # reflectance of an infinitely deep layer
    down, up = sun.forward + sun.back * infinite, sun.forward * infinite + sun.back
    first = (view.forward * infinite + view.back) * down * (overlap - sun.j1 * view.direct) * view.inverse_sum
    second = (view.forward + view.back * infinite) * up * (overlap - view.j1 * sun.direct) * sun.inverse_sum
    third = (view.reflectance * up * sun.j2 + view.transmittance * down * sun.j1) * infinite
    resonant = (first + second - third) * (a + m) * (0.5 * slab.inverse_m)
    return jnp.where(sun.resonant, resonant, general)
