"""PROSPECT, SAIL and the bands of a sensor in one call: what an inversion evaluates."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array

from physics.data import DEFAULT_WAVELENGTHS
from physics.numerics import pointwise
from physics.optics.geometry import SunView
from physics.optics.prospect import Leaf, LeafPro, Plates, plate_model, plates
from physics.optics.sail import BimodalCanopy, Canopy, HotSpot, scene_reflectances
from physics.optics.sensor import to_bands
from physics.parameters import expand

if TYPE_CHECKING:
    from physics.optics.sensor import Sensor


def prosail(
    leaf: Leaf | LeafPro,
    canopy: Canopy | BimodalCanopy,
    soil_reflectance: Array,
    sun_view: SunView,
    *,
    sensor: Sensor,
    hot_spot: HotSpot = "exact",
) -> Array:
    """Bidirectional reflectance in the bands of a sensor, computed on the sensor's quadrature nodes only.

    Args:
        leaf: fields `(*batch)`; `Leaf` runs PROSPECT-D, `LeafPro` PROSPECT-PRO.
        canopy: fields `(*batch)`.
        soil_reflectance: `(*batch, node)` on `sensor.wavelengths`, or `(*batch, 2101)` on the default grid.
        sun_view: fields `(*batch)`.
        sensor: as returned by `sensor(name)`; its `tolerance` bounds the error of the spectral quadrature.
        hot_spot: as in `sail`.

    Returns:
        Reflectance `(*batch, band)`.

    Raises:
        ValueError: soil spectrum on another grid.
    """
    nodes = len(sensor.wavelengths)
    soil_reflectance = jnp.asarray(soil_reflectance)
    given = soil_reflectance.shape[-1] if soil_reflectance.ndim else 0
    if given != nodes:
        if given != DEFAULT_WAVELENGTHS.size:
            raise ValueError(
                f"prosail: expected a soil spectrum on the {nodes} nodes of {sensor.name} or on the default grid of "
                f"{DEFAULT_WAVELENGTHS.size} wavelengths, got shape {soil_reflectance.shape}; compute it with "
                "wavelengths=sensor.wavelengths"
            )
        soil_reflectance = soil_reflectance[..., sensor.wavelengths.astype(int) - int(DEFAULT_WAVELENGTHS[0])]
    coefficients = "prospect_pro" if isinstance(leaf, LeafPro) else "prospect_d"
    leaves = plates(leaf, coefficients, wavelengths=sensor.wavelengths)
    soil_reflectance = soil_reflectance.astype(leaves.layers.dtype)
    return to_bands(_spectrum(leaves, soil_reflectance, canopy, sun_view, hot_spot), sensor)


@functools.partial(jax.jit, static_argnames="hot_spot")
def _spectrum(
    leaves: Plates,
    soil: Array,
    canopy: Canopy | BimodalCanopy,
    sun_view: SunView,
    hot_spot: HotSpot,
) -> Array:
    """As `sail` of `prospect`, in one piece, of which fewer derivatives are taken than of the two."""

    def bidirectional(leaves: Plates, *scene: Any) -> Array:
        return scene_reflectances(plate_model(*leaves), *scene, hot_spot=hot_spot)[0]

    found: Array = pointwise(bidirectional)(leaves, soil, expand(canopy), expand(sun_view))
    return found
