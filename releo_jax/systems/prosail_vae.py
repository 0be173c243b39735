"""PROSAIL-VAE: a variational autoencoder whose decoder is the canopy model.

Two things stand here. `prosail_vae` is the system of the paper, as a composition: its model function, an encoder, the
amortised posterior of independent truncated normals; train it on your images with its own loss or the evidence lower
bound:

    vae = prosail_vae(sensor("sentinel2a", bands=SENTINEL2_BANDS))
    vae = vae.fit(observations, key=key, objective="moment_matching", **MOMENT_MATCHING)

`load_retrieval` is the method of the products: the same idea with the model of `land_surface`, a posterior with full
covariance, and weights trained on simulations alone, which come with the package
(`releo train` makes them). `releo_jax.systems.temporal.load_temporal` is its form for all dates
of a season together.

References:
    Zérah, Valero & Inglada 2024, Physics-constrained deep learning for biophysical parameter retrieval from Sentinel-2
    images: inversion of the PROSAIL model, Remote Sens. Environ. 312, 114309.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from flax import nnx

from physics import Canopy, Leaf, Sensor, Soil, prosail, sensor, soil_mixture
from releo_jax import priors
from releo_jax.acquisitions import Acquisitions, placeholder, synthetic_acquisition
from releo_jax.encoders.pixel import PixelEncoder
from releo_jax.errors import ReleoError
from releo_jax.inference.amortized import AmortizedPosterior, amortize
from releo_jax.inference.distillation import untrained
from releo_jax.inference.structure import Model, read_structure, simulate
from releo_jax.observations import Observations, observe
from releo_jax.priors import Published, sample_params
from releo_jax.systems.domain import log_reflectance
from releo_jax.systems.land_surface import RECORD, land_surface
from releo_jax.systems.retrieval import DERIVED, STATE, AmortizedRetrieval
from releo_jax.systems.weights import weights_file
from releo_jax.variables import VARIABLES

SENTINEL2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""The bands of 10 and 20 m, in the order of the last axis."""

SENSORS = ("sentinel2a", "sentinel2b", "sentinel2c")
"""Satellites that trained weights come with the package for."""

MOMENT_MATCHING: Mapping[str, Any] = {
    "mean_sites": {RECORD: "bands"},
    "particles": 70,
    "weights": {VARIABLES[STATE].name: 2.0},
    "exclude": {RECORD: (SENTINEL2_BANDS.index("B02"),)},
}
"""Options of the published loss: B02 is not reconstructed, and leaf area alone has a prior."""

WIDTH, DEPTH = 128, 3
"""Of the encoder that the shipped weights belong to."""


def prosail_vae_model(bands: Sensor, *, prior: Published = priors.prosail_vae_box) -> Model:
    """The decoder of the paper as a NumPyro model: PROSPECT-D, SAIL, a mixture of two soils, noise of each band.

    Args:
        bands: sensor.
        prior: of canopy, leaf and soil; the default is the box in which the paper's encoder searches.

    Returns:
        A model of observations with the record `s2`.
    """

    def model(data: Observations) -> None:
        record = data[RECORD]
        noise = numpyro.sample("noise", dist.LogNormal(-4.0, 0.5).expand([len(bands.bands)]).to_event(1))
        with numpyro.plate("pixel", record.values.shape[0]):
            canopy = sample_params(Canopy, prior=prior.canopy)
            leaf_prior, soil_prior = (part(canopy.leaf_area_index) for part in (prior.leaf, prior.soil))
            leaf = sample_params(Leaf, prior=leaf_prior, fixed={"anthocyanins": jnp.zeros(())})
            soil = soil_mixture(sample_params(Soil, prior=soil_prior), wavelengths=bands.wavelengths)
            reflectance = numpyro.deterministic("bands", prosail(leaf, canopy, soil, record.geometry, sensor=bands))
            observe(RECORD, dist.Normal(reflectance, noise), record)

    return model


def prosail_vae(
    bands: Sensor,
    *,
    prior: Published = priors.prosail_vae_box,
    family: str = "truncated_normal",
    width: int = 128,
    depth: int = 3,
    seed: int = 0,
) -> AmortizedPosterior:
    """The untrained system of the paper.

    Args:
        bands: sensor.
        prior: see `prosail_vae_model`.
        family: of the posterior; the paper's is "truncated_normal".
        width, depth: of the encoder.
        seed: of its initial weights.

    Returns:
        An amortised posterior; `fit` it to acquisitions (simulations) or observations.
    """
    return _untrained(prosail_vae_model(bands, prior=prior), bands, family=family, width=width, depth=depth, seed=seed)


def _untrained(
    model: Model, bands: Sensor, *, family: str, width: int, depth: int, seed: int = 0, blank: bool = False
) -> AmortizedPosterior:
    """Guide of a model, its encoder standardised on simulated pixels; `blank` if weights are loaded into it."""
    acquisitions, key = acquisition(bands), jax.random.key(seed)
    example = placeholder(acquisitions, 64)
    if not blank:
        structure = read_structure(model, example)
        simulated = jax.jit(lambda seen: simulate(structure, model, seen, key, separately=True)[1])
        example = simulated(acquisitions(key, 4096))
    encoder = PixelEncoder(example, width=width, depth=depth, transform=log_reflectance, rngs=nnx.Rngs(seed))
    first = VARIABLES[STATE].name
    return amortize(model, encoder, example, family=family, sites=(first,), at_prior=not blank)


def acquisition(bands: Sensor) -> Acquisitions:
    """Angles and masks that the shipped weights were trained with: any subset of the bands, sun at 15 to 75 degrees."""
    return synthetic_acquisition(RECORD, bands.bands)


def land_surface_posterior(name: str, *, blank: bool = False) -> tuple[Sensor, AmortizedPosterior]:
    """Sensor and untrained posterior of the products for a satellite; `blank` if weights are loaded into it."""
    bands = sensor(name, bands=SENTINEL2_BANDS)
    model = land_surface(bands)
    return bands, _untrained(model, bands, family="full_covariance", width=WIDTH, depth=DEPTH, blank=blank)


def derived_bounds() -> dict[str, tuple[float, float]]:
    """Bounds of the derived variables by full name."""
    return {VARIABLES[alias].name: VARIABLES[alias].bounds for alias in DERIVED}


def load_retrieval(name: str, folder: Path | None = None) -> AmortizedRetrieval:
    """The trained retrieval that comes with the package, or one of `releo train`.

    Args:
        name: `sentinel2a`, `sentinel2b` or `sentinel2c`.
        folder: of other weights than those of the package.

    Returns:
        A retrieval of leaf area, effective plant area, canopy chlorophyll and water, fAPAR and cover from any subset
        of `SENTINEL2_BANDS`.

    Raises:
        ReleoError: no weights for this sensor.
    """
    return _shipped(name) if folder is None else _load(name, folder)


@functools.cache
def _shipped(name: str) -> AmortizedRetrieval:
    return _load(name, None)


def _load(name: str, folder: Path | None) -> AmortizedRetrieval:
    if name not in SENSORS:
        raise ReleoError(
            f"no trained weights for the sensor {name!r}; expected {', '.join(SENSORS)}, or train your own "
            "(releo_jax.inference.amortize)"
        )
    bands, posterior = land_surface_posterior(name, blank=True)
    with weights_file(f"prosail_vae_{name}", folder) as path:
        return AmortizedRetrieval.load(
            path,
            name="prosail-vae",
            sensor=bands,
            posterior=posterior,
            derived=untrained(derived_bounds(), WIDTH),
        )
