"""Bands of a sensor: spectral responses, and the few wavelengths that stand in for the whole spectrum.

An inversion needs a dozen bands, not 2101 wavelengths. A `Sensor` names the wavelengths at which a model is to be
evaluated (its nodes) and the weights that turn values there into bands: every 1 nm step of the response at
`tolerance=0`, or a fitted quadrature of a few nodes that bands share, with its error stated.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from physics.data import DEFAULT_WAVELENGTHS, table, table_names

_ALIASES = {"sentinel3_olci": "sentinel3a_olci"}
_RESPONSE, _QUADRATURE = "response_", "quadrature_"

NODE_MULTIPLE = 8
"""A reduced quadrature has a multiple of so many nodes.

Eight single-precision numbers fill a vector register: 36 nodes take 1.3 times as long as 40 on a CPU, because XLA
handles what is left over one by one. Nodes without weight are cheap beside that. Work through images in chunks of 256
pixels or more: on fewer, a pixel takes up to twice as long, for XLA repeats what many nodes of one pixel share.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class QuadratureError:
    """Differences of a quadrature to the full convolution, on spectra that served neither to fit nor to choose it.

    Attributes:
        value_max: largest difference of reflectance, shape (band,).
        value_rms: root mean square difference of reflectance, shape (band,).
        jacobian_max: largest difference of the change of reflectance with a parameter, the parameter scaled by the
            width of its prior's support, shape (band,).
        jacobian_rms: root mean square of the same, shape (band,).
    """

    value_max: np.ndarray
    value_rms: np.ndarray
    jacobian_max: np.ndarray
    jacobian_rms: np.ndarray


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Sensor:
    """Spectral bands, and how they are computed from reflectance at a few wavelengths.

    Compared and hashed by identity: the same object always compiles to the same program. Make one with `sensor` or
    `gaussian_bands`.

    Attributes:
        name: name of the sensor.
        bands: names of the bands, in the order of the results.
        centres: mean wavelength of each band's response, nm, shape (band,).
        wavelengths: the nodes at which models are evaluated, nm, ascending, whole numbers, shape (node,).
        weights: weight of each node in each band, non-negative, rows sum to 1, shape (band, node).
        responses: weights of the full convolution on the 400-2500 nm grid, rows sum to 1, shape (band, 2101).
        tolerance: bound that was asked of the quadrature's largest error in reflectance; 0 for the full convolution.
        error: measured error of the quadrature; zeros for the full convolution.
    """

    name: str
    bands: tuple[str, ...]
    centres: np.ndarray
    wavelengths: np.ndarray
    weights: np.ndarray
    responses: np.ndarray = dataclasses.field(repr=False)
    tolerance: float
    error: QuadratureError = dataclasses.field(repr=False)


def sensor_names() -> tuple[str, ...]:
    """Names that `sensor` knows, sorted."""
    stored = (name.removeprefix(_RESPONSE) for name in table_names() if name.startswith(_RESPONSE))
    return tuple(sorted((*stored, *_ALIASES)))


def sensor(name: str, *, bands: Iterable[str] | None = None, tolerance: float = 1e-3) -> Sensor:
    """Bands of a known sensor.

    Args:
        name: `sentinel2a`, `sentinel2b`, `sentinel2c`, `landsat8`, `landsat9`, `sentinel3a_olci`, `sentinel3b_olci`
            (`sentinel3_olci` is the first) or `prisma`.
        bands: names of the bands wanted, in the order wanted; None means all. Nodes that no wanted band needs are
            left out, but some without weight may stand among the nodes: their number is a multiple of 8, at least 32.
        tolerance: largest error of reflectance that the reduced quadrature may make, e.g. 1e-3 or 1e-4: the coarsest
            stored rule that keeps it is taken. 0, or a bound that no stored rule keeps, means the full convolution.

    Returns:
        The sensor; the same object for the same arguments.

    Raises:
        ValueError: unknown sensor or band, or a tolerance that is not a number from 0 up.
    """
    if name not in sensor_names():
        raise ValueError(f"expected the name of a sensor, got {name!r}; use one of {', '.join(sensor_names())}")
    if isinstance(bands, str):
        raise ValueError(f"expected a sequence of band names, got the text {bands!r}; write bands=({bands!r},)")
    if not tolerance >= 0.0:
        raise ValueError(f"expected tolerance >= 0, got {tolerance!r}; use 0 for the full convolution, or 1e-3")
    return _sensor(_ALIASES.get(name, name), None if bands is None else tuple(bands), float(tolerance))


def gaussian_bands(centres: ArrayLike, fwhm: ArrayLike, *, name: str = "gaussian") -> Sensor:
    """Bands of Gaussian response, as instruments with many narrow bands are described.

    Args:
        centres: wavelengths of the peaks, nm, shape (band,).
        fwhm: full width at half maximum, nm, shape (band,) or one number for all.
        name: name of the sensor.

    Returns:
        A sensor with the full convolution, exact for spectra that are linear between the 1 nm steps however narrow
        the bands. Bands are named by their centre in nm.

    Raises:
        ValueError: shapes that do not match, a width that is not positive, or more than 1 % of a response outside
            400-2500 nm.
    """
    centre = np.asarray(centres, dtype=np.float64)
    if centre.ndim != 1 or centre.size == 0:
        raise ValueError(f"expected centres of shape (band,), got shape {centre.shape}; pass a 1-D array in nm")
    width = np.asarray(fwhm, dtype=np.float64)
    if width.ndim > 1 or width.size not in (1, centre.size):
        raise ValueError(f"expected one width or {centre.size}, got shape {width.shape}; pass fwhm of shape (band,)")
    width = np.broadcast_to(width, centre.shape)
    if not np.all((width > 0.0) & np.isfinite(width)):
        raise ValueError(f"expected widths above 0 nm, got {width.min():g}; check `fwhm`")
    names = tuple(f"{nm:g}" for nm in centre)
    return _full_sensor(name, names, _gaussian_responses(centre, width, names), centre)


def to_bands(spectrum: ArrayLike, sensor: Sensor) -> Array:
    """Weighted means of a spectrum over the bands of a sensor.

    Args:
        spectrum: reflectance or any other spectral quantity, shape (*batch, wavelength), on the nodes of the sensor
            (`sensor.wavelengths`) or on the whole 400-2500 nm grid in 1 nm steps. Whole spectra get the full
            convolution whatever the sensor's tolerance.
        sensor: the bands.

    Returns:
        Band values, shape (*batch, band), in the dtype of the spectrum.

    Raises:
        ValueError: the last axis has another length.
    """
    values = jnp.asarray(spectrum)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(jnp.result_type(float))
    length = values.shape[-1] if values.ndim else 0
    if length == sensor.wavelengths.size:
        weights = sensor.weights
    elif length == DEFAULT_WAVELENGTHS.size:
        weights = sensor.responses
    else:
        raise ValueError(
            f"expected a spectrum on the {sensor.wavelengths.size} nodes of {sensor.name} or on the "
            f"{DEFAULT_WAVELENGTHS.size} wavelengths from 400 to 2500 nm, got shape {values.shape}; evaluate the model "
            "with wavelengths=sensor.wavelengths"
        )
    # Accelerators multiply matrices at reduced precision unless told otherwise: 1e-3 would be lost.
    return jnp.matmul(values, jnp.asarray(weights.T, dtype=values.dtype), precision=jax.lax.Precision.HIGHEST)


@functools.cache
def _sensor(name: str, bands: tuple[str, ...] | None, tolerance: float) -> Sensor:
    known, responses, centres = _responses(name)
    wanted = known if bands is None else bands
    unknown = [band for band in wanted if band not in known]
    if unknown or not wanted:
        got = ", ".join(repr(band) for band in unknown) or "none"
        raise ValueError(f"expected bands of {name}, got {got}; use some of {', '.join(known)}")
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"expected every band once, got {', '.join(wanted)}; remove the repeated ones")
    rows = np.array([known.index(band) for band in wanted])
    rule = _stored_rule(name, tolerance)
    if rule is None:
        return _full_sensor(name, wanted, responses[rows], centres[rows])
    stored = table(_QUADRATURE + name)
    weights = stored[f"{rule}_weights"][rows]
    used = np.any(weights > 0.0, axis=0)
    wavelengths, weights = _with_spares(stored[f"{rule}_wavelengths"][used], weights[:, used])
    errors = (stored[f"{rule}_{field.name}"][rows] for field in dataclasses.fields(QuadratureError))
    return Sensor(
        name=name,
        bands=wanted,
        centres=_frozen(centres[rows]),
        wavelengths=_frozen(wavelengths),
        weights=_frozen(weights),
        responses=_frozen(responses[rows]),
        tolerance=float(stored[f"{rule}_tolerance"]),
        error=QuadratureError(*(_frozen(values) for values in errors)),
    )


def _with_spares(wavelengths: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (node,) and weights (band, node), with further nodes of no weight up to a convenient number."""
    missing = -wavelengths.size % NODE_MULTIPLE
    free = np.setdiff1d(DEFAULT_WAVELENGTHS, wavelengths)
    spare = free[np.linspace(0, free.size - 1, missing).astype(int)]
    nodes = np.concatenate([wavelengths, spare])
    order = np.argsort(nodes)
    return nodes[order], np.pad(weights, ((0, 0), (0, missing)))[:, order]


def _stored_rule(name: str, tolerance: float) -> str | None:
    """Prefix of the coarsest stored quadrature within a tolerance, if there is one."""
    if _QUADRATURE + name not in table_names():
        return None
    stored = table(_QUADRATURE + name)
    bounds = {key.removesuffix("_tolerance"): float(stored[key]) for key in stored if key.endswith("_tolerance")}
    # The bounds are decimal texts in floating point: let 1e-3 match 0.001 however it was computed.
    kept = {rule: bound for rule, bound in bounds.items() if bound <= tolerance * (1.0 + 1e-6)}
    return max(kept, key=lambda rule: kept[rule]) if kept else None


@functools.cache
def _responses(name: str) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Band names, normalised responses (band, 2101) and centres (band,) of a stored sensor."""
    stored = table(_RESPONSE + name)
    bands = tuple(str(band) for band in stored["bands"])
    if "fwhm" in stored:
        return bands, _gaussian_responses(stored["centres"], stored["fwhm"], bands), stored["centres"]
    responses = stored["response"] / np.sum(stored["response"], axis=1, keepdims=True)
    return bands, responses, responses @ DEFAULT_WAVELENGTHS


def _full_sensor(name: str, bands: Sequence[str], responses: np.ndarray, centres: np.ndarray) -> Sensor:
    used = np.any(responses > 0.0, axis=0)
    nothing = _frozen(np.zeros(len(bands)))
    return Sensor(
        name=name,
        bands=tuple(bands),
        centres=_frozen(np.array(centres)),
        wavelengths=_frozen(DEFAULT_WAVELENGTHS[used]),
        weights=_frozen(responses[:, used]),
        responses=_frozen(responses),
        tolerance=0.0,
        error=QuadratureError(nothing, nothing, nothing, nothing),
    )


def _gaussian_responses(centres: np.ndarray, fwhm: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Integrals of unit Gaussians against the hat functions of the 1 nm grid, shape (band, 2101).

    The integral of a function against a hat is the second difference of its second antiderivative, for a Gaussian
    F(x) = x Phi(x / s) + s phi(x / s).
    """
    sigma = (fwhm / (2.0 * math.sqrt(2.0 * math.log(2.0))))[:, None]
    start, stop = DEFAULT_WAVELENGTHS[0], DEFAULT_WAVELENGTHS[-1]
    offset = np.arange(start - 1.0, stop + 2.0) - centres[:, None]
    # Beyond 5 standard deviations the antiderivative is 0 or x to 1e-7; a response there would only add nodes.
    near = np.abs(offset) < 5.0 * sigma + 2.0
    normal = offset / sigma
    probability = np.where(normal > 0.0, 1.0, 0.0)
    probability[near] = [0.5 * math.erfc(-value / math.sqrt(2.0)) for value in normal[near]]
    density = np.exp(-0.5 * np.minimum(normal**2, 1400.0)) / math.sqrt(2.0 * math.pi)
    antiderivative = offset * probability + sigma * density
    responses = np.diff(antiderivative, n=2, axis=1)
    responses[~near[:, 1:-1]] = 0.0
    inside = responses.sum(axis=1)
    cut = [f"{name} ({1.0 - share:.0%} outside)" for name, share in zip(names, inside, strict=True) if share < 0.99]
    if cut:
        raise ValueError(
            f"expected bands within {start:g}-{stop:g} nm, got {', '.join(cut)}; leave these bands out (centres and "
            "widths are in nm)"
        )
    responses = np.where(responses > 1e-6 * responses.max(axis=1, keepdims=True), responses, 0.0)
    return responses / responses.sum(axis=1, keepdims=True)


def _frozen(array: np.ndarray) -> np.ndarray:
    copy = np.array(array)
    copy.setflags(write=False)
    return copy
