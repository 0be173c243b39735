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
# # The leaf
#
# A leaf absorbs light with its pigments, its water and its dry matter, and scatters what is left. `prospect_d` says how
# much comes back and how much passes through, at every wavelength. It is a function of a record, so that JAX can
# differentiate it, batch it and compile it.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optimistix

from physics import Leaf, prospect_d
from physics.parameters import check_ranges, parameters

# %% [markdown]
# The fields know their units and bounds. `check_ranges` names the field whose value cannot be right, most often for its
# unit.

# %%
for parameter in parameters(Leaf).values():
    low, high = parameter.bounds
    print(f"{parameter.name:16} {low:g} to {high:g} {parameter.unit}: {parameter.description}")

wrong = Leaf(layers=1.5, chlorophyll=4000.0, carotenoids=10.0, water=0.015, dry_matter=0.006)
try:
    check_ranges(wrong)
except ValueError as error:
    print(error)

# %% [markdown]
# ## From a young leaf to an old one
# A batch is a record whose fields are arrays. Chlorophyll closes the visible; the near infrared does not notice.

# %%
wavelengths = np.arange(400.0, 2501.0)
leaves = Leaf(layers=1.5, chlorophyll=jnp.array([10.0, 30.0, 70.0]), carotenoids=8.0, water=0.015, dry_matter=0.006)
optics = prospect_d(leaves)

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for chlorophyll, reflectance, transmittance in zip(
    leaves.chlorophyll, optics.reflectance, optics.transmittance, strict=True
):
    (line,) = axes.plot(wavelengths, reflectance, label=f"{chlorophyll:.0f} µg cm⁻²")
    axes.plot(wavelengths, 1 - transmittance, color=line.get_color(), linestyle="--")
axes.set(xlabel="wavelength (nm)", ylabel="reflectance (full), 1 − transmittance (dashed)", ylim=(0, 1))
axes.legend(title="chlorophyll")

# %% [markdown]
# ## What a spectrum can tell
# The derivative of reflectance with respect to each parameter, scaled by the parameter's range: where it is zero, the
# spectrum is silent about the parameter.

# %%
leaf = Leaf(layers=1.5, chlorophyll=40.0, carotenoids=8.0, water=0.015, dry_matter=0.006)
slopes = jax.jacfwd(lambda leaf: prospect_d(leaf).reflectance)(leaf)

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for name in ["layers", "chlorophyll", "carotenoids", "water", "dry_matter"]:
    low, high = parameters(Leaf)[name].bounds
    axes.plot(wavelengths, getattr(slopes, name) * (high - low), label=name.replace("_", " "))
axes.set(xlabel="wavelength (nm)", ylabel="change of reflectance over the range")
axes.legend()

# %% [markdown]
# ## And back again
# Least squares on a noisy spectrum. The unknowns live on the real line; a sigmoid takes them to the bounds of each
# field.

# %%
names = ["layers", "chlorophyll", "carotenoids", "water", "dry_matter"]
bounds = jnp.array([parameters(Leaf)[name].bounds for name in names])
measured = prospect_d(leaf).reflectance + 0.002 * jax.random.normal(jax.random.key(0), wavelengths.shape)


def leaf_of(unknowns):
    low, high = bounds.T
    return Leaf(**dict(zip(names, low + (high - low) * jax.nn.sigmoid(unknowns), strict=True)))


def residuals(unknowns, measured):
    return prospect_d(leaf_of(unknowns)).reflectance - measured


solver = optimistix.LevenbergMarquardt(rtol=1e-5, atol=1e-5)
solution = optimistix.least_squares(residuals, solver, jnp.full(len(names), -1.0), args=measured)
found = leaf_of(solution.value)
for name in names:
    print(f"{name:12} true {float(getattr(leaf, name)):8.4f}   found {float(getattr(found, name)):8.4f}")

assert abs(found.chlorophyll - leaf.chlorophyll) < 1.0
assert abs(found.water - leaf.water) < 0.001

# %% [markdown]
# Next: [the canopy](canopy.py), and [an inversion of your own](own_inversion.py) that says how sure it is.
