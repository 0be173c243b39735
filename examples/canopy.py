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
# # The canopy
#
# `sail` puts leaves above a soil, lights them with a sun and looks at them from a direction. Composition is ordinary
# Python: a leaf model, a soil, a canopy model, a sensor, each a function that you can replace with your own.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from physics import (
    Canopy,
    Leaf,
    Soil,
    SunView,
    fapar,
    fcover,
    prosail,
    prospect_d,
    sail,
    sensor,
    soil_mixture,
    to_bands,
)

wavelengths = np.arange(400.0, 2501.0)
leaf = Leaf(layers=1.5, chlorophyll=45.0, carotenoids=9.0, water=0.015, dry_matter=0.005)
soil = soil_mixture(Soil(brightness=0.8, wetness=0.3))
sun_view = SunView.from_degrees(sun_zenith=35.0, view_zenith=5.0, relative_azimuth=90.0)

# %% [markdown]
# ## Growth
# From bare soil to a closed canopy: red falls until it saturates, near infrared keeps rising. That is why dense
# canopies are hard.

# %%
growth = Canopy(leaf_area_index=jnp.array([0.0, 0.5, 1.5, 3.0, 6.0]), mean_leaf_angle=57.0, hot_spot=0.1)
scene = sail(growth, prospect_d(leaf), soil, sun_view)

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for leaf_area_index, spectrum in zip(growth.leaf_area_index, scene.bidirectional, strict=True):
    axes.plot(wavelengths, spectrum, label=f"{leaf_area_index:g}")
axes.set(xlabel="wavelength (nm)", ylabel="reflectance")
axes.legend(title="leaf area index")

for leaf_area_index, absorbed, cover in zip(growth.leaf_area_index, fapar(scene), fcover(growth), strict=True):
    print(f"LAI {leaf_area_index:3.1f}: absorbs {absorbed:4.0%} of 400 to 700 nm, covers {cover:4.0%} of the ground")

# %% [markdown]
# ## The hot spot
# With the sun behind the sensor no shadow is seen. Fields broadcast: here one canopy meets 161 view directions.

# %%
view = jnp.linspace(-80.0, 80.0, 161)
plane = SunView.from_degrees(
    sun_zenith=35.0, view_zenith=jnp.abs(view), relative_azimuth=jnp.where(view >= 0, 0.0, 180.0)
)
red_and_infrared = np.array([665.0, 842.0])
optics = prospect_d(leaf, wavelengths=red_and_infrared)
ground = soil_mixture(Soil(brightness=0.8, wetness=0.3), wavelengths=red_and_infrared)
canopy = Canopy(leaf_area_index=2.0, mean_leaf_angle=57.0, hot_spot=0.1)
principal_plane = sail(canopy, optics, ground, plane).bidirectional

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.plot(view, principal_plane / principal_plane[80], label=["665 nm", "842 nm"])
axes.set(xlabel="view zenith angle in the plane of the sun (°)", ylabel="reflectance relative to nadir")
axes.legend()

assert int(jnp.argmax(principal_plane[:140, 0])) == 115  # 35° towards the sun

# %% [markdown]
# ## What Sentinel-2 sees
# An inversion needs a dozen bands, not 2101 wavelengths. A sensor carries a few quadrature nodes for each band;
# `prosail` computes those only, some thirty times less work, with a stated error.

# %%
sentinel2 = sensor("sentinel2a")
ground = soil_mixture(Soil(brightness=0.8, wetness=0.3), wavelengths=sentinel2.wavelengths)
bands = prosail(leaf, canopy, ground, sun_view, sensor=sentinel2)

full = sensor("sentinel2a", tolerance=0)
reference = to_bands(sail(canopy, prospect_d(leaf), soil, sun_view).bidirectional, full)
difference = float(jnp.abs(bands - reference).max())
print(f"{len(sentinel2.wavelengths)} nodes instead of {wavelengths.size}; largest difference {difference:.1e}")

assert difference < 1e-3

# %% [markdown]
# ## How much the bands say
# The Jacobian of the bands gives the Fisher information, and with the noise the best precision that any unbiased
# retrieval can reach for each parameter alone.

# %%
slopes = jax.jacfwd(lambda canopy, leaf: prosail(leaf, canopy, ground, sun_view, sensor=sentinel2), argnums=(0, 1))(
    canopy, leaf
)
noise = 0.01
for name, slope in [
    ("leaf_area_index", slopes[0].leaf_area_index),
    ("mean_leaf_angle", slopes[0].mean_leaf_angle),
    ("chlorophyll", slopes[1].chlorophyll),
    ("water", slopes[1].water),
]:
    print(f"{name:16} ± {noise / jnp.linalg.norm(slope):.3g} if all the rest were known")

# %% [markdown]
# The rest is not known: [an inversion of your own](own_inversion.py) says what remains.
