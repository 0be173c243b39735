"""Temperature of the land surface from one or two thermal bands, with its uncertainty.

The split-window coefficients here were fitted to simulations of TIRS, Landsat-8. The bands of TIRS-2, Landsat-9, lie
elsewhere (effective wavelengths 10.82 and 12.01 µm beside 10.89 and 11.98 µm). Coefficients of its own are published
(Su, Meng & Sun 2024, Remote Sens. 16, 3633, fit eleven algorithms), but their figures could not be confirmed in a
public text and are not here: with Landsat-9, `jimenez_munoz14` and `du15` are approximations whose error their authors
do not state. Its brightness temperatures come from its own constants (`LANDSAT9_B10`, `LANDSAT9_B11`), and with these
`single_channel` needs no coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from physics.parameters import Record, as_float, floats, param
from physics.thermal.planck import ThermalBand, band_radiance, band_temperature


class SplitWindow(Record):
    """What a split-window algorithm takes; every field an array `(*batch)`, in this order if not by name."""

    temperature10: Array = param(
        unit="K",
        bounds=(200.0, 370.0),
        symbol="T_10",
        description="brightness temperature near 10.9 um",
        standard_name="brightness_temperature",
        positional=True,
    )
    temperature11: Array = param(
        unit="K",
        bounds=(200.0, 370.0),
        symbol="T_11",
        description="brightness temperature near 12.0 um",
        standard_name="brightness_temperature",
        positional=True,
    )
    emissivity10: Array = param(
        unit="1",
        bounds=(0.8, 1.0),
        symbol="e_10",
        description="emissivity of the surface near 10.9 um",
        standard_name="surface_longwave_emissivity",
        positional=True,
    )
    emissivity11: Array = param(
        unit="1",
        bounds=(0.8, 1.0),
        symbol="e_11",
        description="emissivity of the surface near 12.0 um",
        standard_name="surface_longwave_emissivity",
        positional=True,
    )
    water_vapour: Array = param(
        unit="g cm-2",
        bounds=(0.0, 7.0),
        symbol="w",
        description="water vapour of the air column, 1 g cm-2 = 10 kg m-2 = 10 mm",
        standard_name="atmosphere_mass_content_of_water_vapor",
        positional=True,
    )


def jimenez_munoz14(given: SplitWindow) -> Array:
    """Surface temperature from two thermal bands, with the coefficients of Landsat-8.

    Args:
        given: brightness temperatures, emissivities and water vapour, `(*batch)`.

    Returns:
        K, `(*batch)`.

    Equation:
        T10 + 1.378 d + 0.183 d² - 0.268 + (54.30 - 2.238 w) (1 - e) + (-129.20 + 16.40 w) de, with d = T10 - T11, the
        mean e and the difference de of the emissivities, and water vapour w.

    Validity:
        Water vapour 0 to 6 g cm⁻². About 1 K, from simulations. A public code that quotes the paper's equation has
        1.378 as here (gips, issue 221), others have 1.387; the two differ by 0.03 K for d = 3 K. Simulated for TIRS,
        Landsat-8: for Landsat-9 see `physics.thermal.surface_temperature`.

    References:
        Jiménez-Muñoz, Sobrino, Skoković, Mattar & Cristóbal 2014, IEEE Geosci. Remote Sens. Lett. 11, 1840.
    """
    first, second, one, two, vapour = _arrays(given)
    d, mean, difference = first - second, 0.5 * (one + two), one - two
    return (
        first
        + d * (1.378 + 0.183 * d)
        - 0.268
        + (54.30 - 2.238 * vapour) * (1.0 - mean)
        + (-129.20 + 16.40 * vapour) * difference
    )


# fmt: off
# b0 to b7 of Du et al. 2015, table 3, for classes of water vapour (g cm⁻²) that overlap, and the error of each (K).
_DU_CLASSES = np.array([[0.0, 2.5], [2.0, 3.5], [3.0, 4.5], [4.0, 5.5], [5.0, 6.3]])
_DU = np.array([
    [-2.78009, 1.01408, 0.15833, -0.34991, 4.04487, 3.55414, -8.88394, 0.09152],
    [11.00824, 0.95995, 0.17243, -0.28852, 7.11492, 0.42684, -6.62025, -0.06381],
    [9.62610, 0.96202, 0.13834, -0.17262, 7.87883, 5.17910, -13.26611, -0.07603],
    [0.61258, 0.99124, 0.10051, -0.09664, 7.85758, 6.86626, -15.00742, -0.01185],
    [-0.34808, 0.98123, 0.05599, -0.03518, 11.96444, 9.06710, -14.74085, -0.20471],
])
_DU_ERRORS = np.array([0.34, 0.60, 0.71, 0.86, 0.93])
# fmt: on


def _du_shares(vapour: Array) -> Array:
    """Weights `(*batch, class)` of the classes: one within a class alone, linear from one to the next in overlaps."""
    from_low, to_high = _DU_CLASSES[1:, 0], _DU_CLASSES[:-1, 1]  # each overlap
    rise = jnp.clip((vapour[..., None] - from_low) / (to_high - from_low), 0.0, 1.0).astype(vapour.dtype)
    one = jnp.ones_like(vapour[..., None])
    return jnp.concatenate([one, rise], -1) - jnp.concatenate([rise, 0.0 * one], -1)


def du15(given: SplitWindow) -> Array:
    """Surface temperature from two thermal bands, with the coefficients of Landsat-8 by classes of water vapour.

    Args:
        given: brightness temperatures, emissivities and water vapour, `(*batch)`.

    Returns:
        K, `(*batch)`.

    Equation:
        b0 + [b1 + b2 (1 - e) / e + b3 de / e²] (T10 + T11) / 2 + [b4 + b5 (1 - e) / e + b6 de / e²] (T10 - T11) / 2
        + b7 (T10 - T11)², with the mean e and the difference de of the emissivities. The published classes of water
        vapour overlap; from one to the next the temperature goes linearly, where the authors take the mean of both.

    Validity:
        Water vapour 0 to 6.3 g cm⁻²; `du15_error` says how good. Beyond, the last class goes on: `within_ranges` says
        where. Simulated for TIRS, Landsat-8: for Landsat-9 see `physics.thermal.surface_temperature`.

    References:
        Du, Ren, Qin, Meng & Zhao 2015, Remote Sens. 7, 647.
    """
    first, second, one, two, vapour = _arrays(given)
    mean, difference = 0.5 * (one + two), one - two
    dark, contrast = (1.0 - mean) / mean, difference / mean**2
    middle, half = 0.5 * (first + second), 0.5 * (first - second)
    terms = (
        jnp.ones_like(middle),
        middle,
        dark * middle,
        contrast * middle,
        half,
        dark * half,
        contrast * half,
        4.0 * half**2,
    )
    table = jnp.asarray(_DU, middle.dtype)
    weights = jnp.tensordot(_du_shares(vapour), table, axes=1, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(weights * jnp.stack(jnp.broadcast_arrays(*terms), -1), -1)


def du15_error(water_vapour: ArrayLike) -> Array:
    """Root mean square error of `du15` over the authors' simulations.

    Args:
        water_vapour: g cm⁻², `(*batch)`.

    Returns:
        K, `(*batch)`, linear where classes overlap.

    References:
        Du, Ren, Qin, Meng & Zhao 2015, Remote Sens. 7, 647, table 3.
    """
    vapour = as_float(water_vapour)
    return jnp.sum(_du_shares(vapour) * jnp.asarray(_DU_ERRORS, vapour.dtype), -1)


def _arrays(given: SplitWindow) -> tuple[Array, ...]:
    return given.temperature10, given.temperature11, given.emissivity10, given.emissivity11, given.water_vapour


def slstr(
    temperature11: ArrayLike,
    temperature12: ArrayLike,
    view_zenith: ArrayLike,
    *,
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    angle_divisor: float,
) -> Array:
    """Surface temperature from the two thermal bands of SLSTR, Sentinel-3, in the form of the operational product.

    Args:
        temperature11: brightness temperature of band S8, near 10.9 µm, K, `(*batch)`.
        temperature12: brightness temperature of band S9, near 12.0 µm, K, `(*batch)`.
        view_zenith: radian, `(*batch)`.
        a, b, c: coefficients (a in K) for the biome, share of vegetation and water vapour of each pixel, `(*batch)`.
            The table of the product is not public text: take them from its auxiliary files.
        angle_divisor: m of the exponent, of the version of the product that the coefficients belong to.

    Returns:
        K, `(*batch)`.

    Equation:
        a + b (T11 - T12)^(1 / cos(theta / m)) + (b + c) T12. A negative difference keeps its sign: the exponent acts
        on its size. At nadir it is a + b T11 + c T12.

    Validity:
        View zenith up to 60°. What ESA's technical guide says in words: three coefficients, by water vapour, viewing
        angle and, through biome and share of vegetation, emissivity, act on both brightness temperatures. The exponent
        is quoted from memory of the basis document and was found in no public text, hence no default for m.

    References:
        Prata 2002, Land surface temperature measurement from space: AATSR algorithm theoretical basis document.
        ESA, Sentinel-3 SLSTR technical guide, LST processing; S3-L2-SD-03-T03-ULNILU-ATBD-L2LST, issue 4.0, 2021.
    """
    first, second, zenith, offset, slope, rest = floats(temperature11, temperature12, view_zenith, a, b, c)
    d = first - second
    beyond = 1.0 / jnp.cos(zenith / angle_divisor) - 1.0  # of the exponent above one
    apart = d != 0.0
    # |d|^beyond; at d = 0 it is 0, but 1 at nadir, where the whole is linear in d
    size = jnp.exp(beyond * jnp.log(jnp.abs(jnp.where(apart, d, 1.0))))
    bent = d * jnp.where(apart, size, jnp.where(beyond > 0.0, 0.0, 1.0))
    return offset + slope * bent + (slope + rest) * second


class Atmosphere(Record):
    """Of the air column in a band, from a radiative transfer code; every field an array `(*batch)`."""

    transmittance: Array = param(
        unit="1",
        bounds=(0.05, 1.0),
        symbol="tau",
        description="transmittance of the path to the sensor",
        positional=True,
    )
    upwelling: Array = param(
        unit="W m-2 sr-1 um-1",
        bounds=(0.0, 15.0),
        symbol="L_up",
        description="radiance of the air towards the sensor",
        positional=True,
    )
    downwelling: Array = param(
        unit="W m-2 sr-1 um-1",
        bounds=(0.0, 15.0),
        symbol="L_down",
        description="mean radiance of the sky on the ground: its irradiance over pi",
        positional=True,
    )


def _air(atmosphere: Atmosphere) -> tuple[Array, Array, Array]:
    return atmosphere.transmittance, atmosphere.upwelling, atmosphere.downwelling


def at_sensor(temperature: ArrayLike, emissivity: ArrayLike, atmosphere: Atmosphere, band: ThermalBand) -> Array:
    """Radiance at the sensor of a surface of known temperature.

    Args:
        temperature: K, `(*batch)`.
        emissivity: `(*batch)`.
        atmosphere: fields `(*batch)`.
        band: of the sensor.

    Returns:
        W m⁻² sr⁻¹ µm⁻¹, `(*batch)`.

    Equation:
        tau [e B(T) + (1 - e) L_down] + L_up.

    References:
        Jiménez-Muñoz & Sobrino 2003, J. Geophys. Res. 108, 4688, eq. 1.
    """
    emitted = band_radiance(temperature, band)
    dtype = emitted.dtype
    e, tau, up, down = (jnp.asarray(value, dtype) for value in (emissivity, *_air(atmosphere)))
    return tau * (e * emitted + (1.0 - e) * down) + up


def single_channel(radiance: ArrayLike, emissivity: ArrayLike, atmosphere: Atmosphere, band: ThermalBand) -> Array:
    """Surface temperature from one thermal band: the inverse of `at_sensor`.

    Args:
        radiance: at the sensor, W m⁻² sr⁻¹ µm⁻¹, `(*batch)`.
        emissivity: `(*batch)`.
        atmosphere: fields `(*batch)`.
        band: of the sensor.

    Returns:
        K, `(*batch)`; not a number where the air alone, with the sky reflected, is far brighter than the radiance.

    Equation:
        B(T) = [(L - L_up) / tau - (1 - e) L_down] / e.

    Validity:
        Any band whose air is known. Errors grow as 1 / tau: `propagated` carries those of radiance, emissivity and air.

    References:
        Jiménez-Muñoz & Sobrino 2003, J. Geophys. Res. 108, 4688, eq. 1.

    Example:
        propagated(lambda radiance, e, *air: single_channel(radiance, e, Atmosphere(*air), LANDSAT8_B10),
                   (radiance, emissivity, tau, up, down), (0.04, 0.01, 0.02, 0.15, 0.2))
    """
    value = as_float(radiance)
    e, tau, up, down = (jnp.asarray(other, value.dtype) for other in (emissivity, *_air(atmosphere)))
    return band_temperature(((value - up) / tau - (1.0 - e) * down) / e, band)


class Uncertain(NamedTuple):
    """A value and its standard deviation, `(*batch)` each."""

    value: Array
    std: Array


def propagated(
    function: Callable[..., Array],
    values: tuple[ArrayLike, ...],
    stds: tuple[ArrayLike, ...],
    *,
    error: ArrayLike = 0.0,
) -> Uncertain:
    """A function of uncertain numbers, with errors propagated to first order.

    Args:
        function: of as many arrays `(*batch)` as there are values, element by element.
        values: of its arguments, `(*batch)` each.
        stds: their standard deviations, independent of each other.
        error: standard deviation of what the function itself leaves unexplained, e.g. `du15_error`.

    Returns:
        Value and standard deviation `(*batch)`.

    Equation:
        var = sum over i of (df/dx_i std_i)² + error².

    References:
        Joint Committee for Guides in Metrology 2008, Guide to the expression of uncertainty in measurement, 5.1.2.

    Example:
        propagated(lambda *given: du15(SplitWindow(*given)), (t10, t11, e10, e11, w), (0.1, 0.1, 0.01, 0.01, 0.3),
                   error=du15_error(w))
    """
    if len(values) != len(stds):
        raise ValueError(f"propagated: expected a standard deviation for each of {len(values)} values, got {len(stds)}")
    means = jnp.broadcast_arrays(*floats(*values))
    dtype = means[0].dtype
    value = function(*means)
    variance = jnp.asarray(error, dtype) ** 2
    for place, std in enumerate(stds):
        directions = [jnp.zeros_like(mean) for mean in means]
        directions[place] = jnp.ones_like(means[place])
        slope = jax.jvp(function, tuple(means), tuple(directions))[1]
        variance = variance + (slope * jnp.asarray(std, dtype)) ** 2
    return Uncertain(value, jnp.sqrt(jnp.broadcast_to(variance, value.shape)))
