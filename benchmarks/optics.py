"""Our optical models as entries of the benchmark of simulators, and the box that all entries share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from physics import Canopy, Leaf, Soil, SunView, prosail, prospect_d, sail, sensor, soil_mixture
from releo_jax.benchmarking import Simulator, by_name

LEAF = ("layers", "chlorophyll", "carotenoids", "anthocyanins", "brown_pigment", "water", "dry_matter")
CANOPY = ("leaf_area_index", "mean_leaf_angle", "hot_spot")
ANGLES = ("sun_zenith", "view_zenith", "relative_azimuth")
PRIOR = {
    "layers": (1.2, 1.8),
    "chlorophyll": (20.0, 90.0),
    "carotenoids": (5.0, 23.0),
    "anthocyanins": (0.0, 5.0),
    "brown_pigment": (0.0, 1.0),
    "water": (0.0075, 0.05),
    "dry_matter": (0.003, 0.011),
    "leaf_area_index": (0.1, 8.0),
    "mean_leaf_angle": (30.0, 80.0),
    "hot_spot": (0.1, 0.5),
    "brightness": (0.3, 1.2),
    "wetness": (0.0, 1.0),
    "sun_zenith": (15.0, 65.0),
    "view_zenith": (0.0, 12.0),
    "relative_azimuth": (0.0, 180.0),
}
LAND_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def records(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    """Leaf, canopy, soil and directions from columns (batch,) by name."""
    return (
        Leaf(**{name: fields[name] for name in LEAF}),
        Canopy(**{name: fields[name] for name in CANOPY}),
        Soil(brightness=fields["brightness"], wetness=fields["wetness"]),
        SunView.from_degrees(*(fields[name] for name in ANGLES)),
    )


def spectra(fields: Mapping[str, Any], *, hot_spot: str = "exact") -> Any:
    """Bidirectional reflectance (batch, 2101)."""
    leaf, canopy, soil, directions = records(fields)
    return sail(canopy, prospect_d(leaf), soil_mixture(soil), directions, hot_spot=hot_spot).bidirectional  # type: ignore


def classical_spectra(fields: Mapping[str, Any]) -> Any:
    """Bidirectional reflectance (batch, 2101) with the classical hot spot."""
    return spectra(fields, hot_spot="legacy")


def spectra_on_one_soil(fields: Mapping[str, Any]) -> Any:
    """The same with a soil as bright as its library."""
    return classical_spectra({**fields, "brightness": jnp.ones_like(fields["brightness"])})


def bands(fields: Mapping[str, Any], *, device: Any) -> Any:
    """Reflectance in bands (batch, band) by the quadrature of a sensor."""
    leaf, canopy, soil, directions = records(fields)
    return prosail(leaf, canopy, soil_mixture(soil, wavelengths=device.wavelengths), directions, sensor=device)


def convolved(fields: Mapping[str, Any], *, device: Any) -> Any:
    """Reflectance in bands (batch, band) by the convolution of the full spectra with the responses."""
    return jnp.matmul(spectra(fields), jnp.asarray(device.responses.T), precision=jax.lax.Precision.HIGHEST)


def entry(name: str, function: Callable[[Any], Any], **fields: Any) -> Simulator:
    """A simulator over the shared box; the angles have no derivatives."""
    shared: dict[str, Any] = {"prior": PRIOR, "conditions": ANGLES}
    return Simulator(name=name, function=function, **(shared | fields))


def model(name: str, function: Callable[[Mapping[str, Any]], Any], **fields: Any) -> Simulator:
    """An entry whose function takes columns by name."""
    return entry(name, by_name(function, PRIOR), **fields)


@functools.cache
def exact_bands(bands: tuple[str, ...] | None) -> Simulator:
    """Bands of Sentinel-2 by convolution: what quadratures and emulators are compared with."""
    device = sensor("sentinel2a", bands=bands) if bands else sensor("sentinel2a")
    return model("convolution", functools.partial(convolved, device=device), dtype="float64")


def ours() -> list[Simulator]:
    """Full spectra in both precisions, and bands by quadrature."""
    forward = ("forward",)
    ten = functools.partial(bands, device=sensor("sentinel2a", bands=LAND_BANDS))
    every = functools.partial(bands, device=sensor("sentinel2a"))
    finer = functools.partial(bands, device=sensor("sentinel2a", bands=LAND_BANDS, tolerance=1e-4))
    return [
        model("full spectra float32", spectra, operations=("forward", "gradient")),
        model("full spectra float64", spectra, dtype="float64", operations=forward),
        model("ten bands", ten, reference=exact_bands(LAND_BANDS), note="quadrature to 1e-3"),
        model("all bands", every, reference=exact_bands(None), operations=forward, note="quadrature to 1e-3"),
        model("ten bands at 1e-4", finer, reference=exact_bands(LAND_BANDS), operations=forward),
    ]
