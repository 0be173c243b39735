# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # An inversion of your own
#
# You know more about your fields than a global product can: the crop, the soil, the sensor. Say it in a NumPyro model,
# a Python function that samples what you do not know, simulates what you would see, and scores what you saw. The rest
# follows from the function's trace.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from flax import nnx

from physics import Canopy, Leaf, Soil, prosail, sensor, soil_mixture
from releo_jax.acquisitions import synthetic_acquisition
from releo_jax.encoders import PixelEncoder
from releo_jax.inference import amortize
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.observations import observe
from releo_jax.priors import prosail_vae, sample_params

s2 = sensor("sentinel2a", bands=("B03", "B04", "B05", "B07", "B8A", "B11", "B12"))

# %% [markdown]
# ## The model
# Wheat on one kind of soil: leaves more upright than the published prior has them, and a soil whose brightness was
# measured, so that only its wetness is unknown. Any stage may be a function of your own; here the soil is one, and the
# noise is learned for each band.


# %%
def soil_of_the_farm(wetness):
    """Reflectance of the farm's soil on the nodes of the sensor."""
    return soil_mixture(Soil(brightness=0.9, wetness=wetness), wavelengths=s2.wavelengths)


wheat = prosail_vae.canopy.independent() | {
    "leaf_area_index": dist.Uniform(0.0, 8.0),
    "mean_leaf_angle": dist.Uniform(50.0, 75.0),
}


def model(data):
    """What is not known about a pixel of wheat, and how a satellite sees it."""
    noise = numpyro.sample("noise", dist.LogNormal(-4.6, 0.3).expand([len(s2.bands)]).to_event(1))
    with numpyro.plate("pixel", data["s2"].values.shape[0]):
        canopy = sample_params(Canopy, prior=wheat)
        leaf = sample_params(Leaf, prior=prosail_vae.leaf(canopy.leaf_area_index), fixed={"brown_pigment": 0.0})
        wetness = numpyro.sample("wetness", dist.Uniform(0.0, 1.0))
        bands = prosail(leaf, canopy, soil_of_the_farm(wetness), data["s2"].geometry, sensor=s2)
        observe("s2", dist.Normal(bands, noise), data["s2"])


# %% [markdown]
# ## The posterior of every pixel, at once
# `amortize` reads the unknowns from the model and builds a network that maps bands, masks and angles to their joint
# posterior. It learns from pairs drawn from the model itself. Random bands are missing in training, so that a cloud
# edge or a broken detector later costs precision and nothing else.

# %%
seen = synthetic_acquisition("s2", s2.bands, view_zenith=(0.0, 10.0), random_drop=0.1)
key_example, key_fit, key_test, key_draws = jax.random.split(jax.random.key(0), 4)

structure = read_structure(model, seen(key_example, 2))
_, example = simulate(structure, model, seen(key_example, 512), key_example)

encoder = PixelEncoder(example, width=64, depth=2, rngs=nnx.Rngs(0))
untrained = amortize(model, encoder, example, family="full_covariance")
trained = untrained.fit(seen, key=key_fit, objective="simulation", n_simulations=20_000, steps=3000, batch=512)

# %% [markdown]
# ## What it says
# A posterior has means, deviations, quantiles and draws. What you derive from the unknowns, you derive from the draws,
# because leaf area and chlorophyll are not known independently of each other.

# %%
truth, observations = simulate(structure, model, seen(key_test, 1000), key_test, separately=True)
posterior = trained(observations)
chlorophyll = {"canopy_chlorophyll": lambda draws: 0.01 * draws["leaf_area_index"] * draws["chlorophyll"]}
derived = posterior.derive(chlorophyll, key=key_draws, n=100)
true_chlorophyll = 0.01 * truth["leaf_area_index"] * truth["chlorophyll"]

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for axis, name, true, one in [
    (axes[0], "leaf area index", truth["leaf_area_index"], posterior),
    (axes[1], "canopy chlorophyll (g m⁻²)", true_chlorophyll, derived),
]:
    site = "leaf_area_index" if one is posterior else "canopy_chlorophyll"
    axis.errorbar(true, one.mean[site], yerr=one.std[site], fmt=".", alpha=0.3)
    axis.axline((0, 0), slope=1, color="black", linewidth=0.8)
    axis.set(xlabel=f"true {name}", ylabel=f"retrieved {name}")

# %% [markdown]
# ## Is it honest?
# An interval of 90 % should hold nine truths of ten: no fewer, and no more than a little. Coverage alone is not enough,
# for the prior covers as well; the width says what was learned.


# %%
def coverage_and_width(true, one, site):
    low, high = one.quantile(0.05)[site], one.quantile(0.95)[site]
    return float(jnp.mean((true >= low) & (true <= high))), float(jnp.mean(high - low))


for site, true, one in [
    ("leaf_area_index", truth["leaf_area_index"], posterior),
    ("wetness", truth["wetness"], posterior),
    ("canopy_chlorophyll", true_chlorophyll, derived),
]:
    covered, width = coverage_and_width(true, one, site)
    spread = float(jnp.quantile(true, 0.95) - jnp.quantile(true, 0.05))
    print(f"{site:20} 90 % intervals cover {covered:4.0%}; mean width {width:.2f}, of the prior {spread:.2f}")
    assert 0.8 < covered < 0.97

# %% [markdown]
# Simulation-based calibration asks the same of every unknown and every level: ranks of the truth among posterior draws
# must be uniform.

# %%
report = trained.sbc(key=key_test, n=1000, draws=100)
covered = report.coverage(0.9)
print({name: round(value, 2) for name, value in covered.items()})
assert np.mean(list(covered.values())) > 0.8

# %% [markdown]
# The same function goes to every other engine, and `fit(..., objective="elbo")` continues on real pixels without
# labels. Next: [a map](map.py).
