"""The model function behind the products: mixed, clumped, ageing canopies over many soils, seen with correlated errors.

What a plane-parallel canopy leaves out decides how far a retrieval can be trusted on real fields: gaps between the
plants, leaves that stand in clumps, ripe crops, soils that are not the two of the textbook, and reflectance whose
errors are alike in all bands. Each is a latent site here, and can be switched off:

    model = land_surface(sensor("sentinel2a"))
    model = land_surface(sensor("sentinel2a"), clumping=None, mixing=False)       # closed, random canopies
    model = land_surface(sensor("sentinel2a"), error=ReflectanceError(gain=0.05))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import Distribution

from physics import (
    Canopy,
    Leaf,
    LibrarySoil,
    Sensor,
    SunView,
    fapar,
    fcover,
    library_soil,
    plant_area_effective,
    prosail,
    prospect_d,
    sail,
    to_bands,
)
from releo_jax import priors
from releo_jax.inference.structure import Model
from releo_jax.noise import common_gain, learned_noise
from releo_jax.observations import Observations, SingleDate, observe
from releo_jax.priors import Published, sample_params

RECORD = "s2"
"""Name of the record in the observations."""

LARGEST_LEAF_AREA = 12.0
"""Upper end of the leaf area index of a vegetated patch."""

_PAR = np.arange(405.0, 700.0, 10.0)


class ReflectanceError(NamedTuple):
    """Standard deviations of what separates surface reflectance from the model's.

    Attributes:
        gain: factor common to all bands: residual aerosol, anisotropy, shadows between the plants.
        tilt: factor that grows linearly with the logarithm of wavelength, from -1/2 at the shortest band to 1/2.
        offset: common to all bands, reflectance.
        relative: independent factor in each band.
        noise: independent in each band, reflectance; the median of the site `noise`, which an image can teach.
        noise_spread: deviation of the logarithm of that site.
    """

    gain: float = 0.10
    tilt: float = 0.08
    offset: float = 0.008
    relative: float = 0.04
    noise: float = 0.014
    noise_spread: float = 0.3

    def law(self, bands: Array, noise: Array, centres: np.ndarray) -> Distribution:
        """Joint law of the observed bands `(*batch, band)` around modelled ones; `noise` `(band,)`."""
        return common_gain(
            bands,
            noise,
            wavelengths=centres,
            gain=self.gain,
            tilt=self.tilt,
            offset=self.offset,
            relative=self.relative,
        )


def vegetated_fraction(ground_mixing: Array, leaf_area_index: Array) -> Array:
    """Share of the ground on which plants stand: 1 for 40 % of pixels, down to 0.2 (more where leaves abound)."""
    least = jnp.minimum(0.2 + 0.8 * leaf_area_index / LARGEST_LEAF_AREA, 1.0)
    return 1.0 - jnp.maximum(ground_mixing - 0.4, 0.0) / 0.6 * (1.0 - least)


def land_surface(
    sensor: Sensor,
    *,
    prior: Published = priors.land_surface,
    clumping: tuple[float, float] | None = (0.5, 1.0),
    mixing: bool = True,
    error: ReflectanceError = ReflectanceError(),  # noqa: B008
) -> Model:
    """The NumPyro model function of a sensor's bands over vegetation and soil.

    Args:
        sensor: bands and quadrature.
        prior: of canopy, leaf and soil; `leaf_area_index` is that of the pixel.
        clumping: range of the uniform clumping index; None for leaves placed at random.
        mixing: whether bare ground may lie beside the plants.
        error: observation model.

    Returns:
        A model of observations with the record `s2`.

    Equation:
        band = f prosail(leaf, L_e) + (1 - f) soil, L_e = clumping LAI / f, f the vegetated fraction.
    """

    def model(data: Observations) -> None:
        record = data[RECORD]
        assert isinstance(record, SingleDate)
        noise = learned_noise("noise", bands=len(sensor.bands), median=error.noise, spread=error.noise_spread)
        with numpyro.plate("pixel", record.values.shape[0]):
            surface = sample_surface(sensor, prior=prior, clumping=clumping, mixing=mixing)
            bands = surface_bands(surface, surface.canopy.leaf_area_index, record.geometry, sensor=sensor)
            numpyro.deterministic("bands", bands)
            observe(RECORD, error.law(bands, noise, sensor.centres), record)

    return model


class Surface(NamedTuple):
    """Plants and soil of pixels.

    Attributes:
        leaf: fields `(pixel,)`.
        canopy: fields `(pixel,)`; the leaf area is that of the pixel.
        soil: reflectance `(pixel, node)`.
        clumping: clumping index `(pixel,)`.
        covered: share of the ground on which plants stand `(pixel,)`.
    """

    leaf: Leaf
    canopy: Canopy
    soil: Array
    clumping: Array
    covered: Array


def sample_surface(
    sensor: Sensor, *, prior: Published, clumping: tuple[float, float] | None = (0.5, 1.0), mixing: bool = True
) -> Surface:
    """Samples plants and soil inside a plate of pixels; arguments as of `land_surface`."""
    canopy = sample_params(Canopy, prior=prior.canopy)
    leaf = sample_params(Leaf, prior=prior.leaf, fixed={"anthocyanins": jnp.zeros(())})
    soil = library_soil(sample_params(LibrarySoil, prior=prior.soil), wavelengths=sensor.wavelengths)
    area = canopy.leaf_area_index
    one = jnp.ones_like(area)
    clumped = one if clumping is None else numpyro.sample("clumping", dist.Uniform(*clumping))
    covered = one
    if mixing:
        covered = vegetated_fraction(numpyro.sample("ground_mixing", dist.Uniform(0.0, 1.0)), area)
    numpyro.deterministic("vegetated_fraction", covered)
    return Surface(leaf, canopy, soil, clumped, covered)


def surface_bands(surface: Surface, leaf_area_index: Array, sun_view: SunView, *, sensor: Sensor) -> Array:
    """Reflectance of a surface whose leaf area may be another than at the reference date.

    Args:
        surface: fields `(*batch)`.
        leaf_area_index: `(*batch)`.
        sun_view: `(*batch)`.
        sensor: bands and quadrature.

    Returns:
        Reflectance `(*batch, band)`.
    """
    covered = surface.covered
    area = surface.clumping * leaf_area_index / covered
    patch = eqx.tree_at(lambda record: record.leaf_area_index, surface.canopy, area)
    plants = prosail(surface.leaf, patch, surface.soil, sun_view, sensor=sensor)
    return covered[..., None] * plants + (1.0 - covered[..., None]) * to_bands(surface.soil, sensor)


def derived_variables(
    sites: Mapping[str, Array], sun_view: SunView, *, soil_seen: Callable[[Array, np.ndarray], Array] | None = None
) -> dict[str, Array]:
    """Variables that follow from the sites of the model.

    Args:
        sites: latent and deterministic sites of the model, `(*batch, pixel)`.
        sun_view: angles `(pixel,)`; fAPAR depends on the sun.
        soil_seen: from the reflectance of the soil `(*batch, pixel, wavelength)` and the wavelengths in nm to that on
            the date; None where they are the same.

    Returns:
        `(*batch, pixel)` by full name: `plant_area_effective`, `canopy_chlorophyll` (g m-2),
        `canopy_water` (g m-2), `fapar` (black sky, all leaves), `fcover`.
    """
    area, covered = sites["leaf_area_index"], sites["vegetated_fraction"]
    fields = ("layers", "chlorophyll", "carotenoids", "brown_pigment", "water", "dry_matter")
    leaf = Leaf(**{name: sites[name] for name in fields})
    canopy = Canopy(
        leaf_area_index=sites.get("clumping", 1.0) * area / covered,
        mean_leaf_angle=sites["mean_leaf_angle"],
        hot_spot=sites["hot_spot"],
    )
    soil = LibrarySoil(brightness=sites["brightness"], **{f"shape_{i}": sites[f"shape_{i}"] for i in (1, 2, 3, 4)})
    ground = library_soil(soil, wavelengths=_PAR)
    if soil_seen is not None:
        ground = soil_seen(ground, _PAR)
    visible = sail(canopy, prospect_d(leaf, wavelengths=_PAR), ground, sun_view, hot_spot="exact")
    return {
        "plant_area_effective": plant_area_effective(canopy, covered),
        "canopy_chlorophyll": area * sites["chlorophyll"] * 1e-2,  # ug cm-2 -> g m-2
        "canopy_water": area * sites["water"] * 1e4,  # cm = g cm-2 -> g m-2
        "fapar": covered * fapar(visible, wavelengths=_PAR),
        "fcover": covered * fcover(canopy),
    }
