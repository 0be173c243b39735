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
# # A map
#
# From an image to a map with its uncertainty, in Python; `releo invert` does the same from the command line. The image
# is simulated, so that the truth is known: fields at several growth stages, woods, water, bare soil, clouds.

# %%
import pathlib
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from releo_jax.cubes.opening import open_cube
from releo_jax.cubes.scene import simulate_scene
from releo_jax.cubes.scene_files import write_scene
from releo_jax.maps import invert_file, predict
from releo_jax.methods import load_method

scene = simulate_scene(seed=4, shape=(96, 96))
print({name: variable.dims for name, variable in scene.data_vars.items()})

# %% [markdown]
# ## In memory
# Every method has the same form: reflectance, masks and angles in; mean, deviation, quantiles and flags out.

# %%
maps = predict(scene, load_method("prosail-vae", scene.attrs["sensor"]), variables=["lai"], level=0.9).isel(time=0)
truth = scene["leaf_area_index"].isel(time=0)

figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
for axis, title, values, top in [
    (axes[0], "true leaf area index", truth, 7),
    (axes[1], "retrieved", maps["leaf_area_index_mean"], 7),
    (axes[2], "standard deviation", maps["leaf_area_index_std"], 2),
    (axes[3], "flags", maps["leaf_area_index_flag"], 15),
]:
    figure.colorbar(axis.imshow(values, vmin=0, vmax=top), ax=axis, shrink=0.8)
    axis.set(title=title, xticks=[], yticks=[])

# %% [markdown]
# ## How good is it?
# Where the retrieval raises no flag, and where the pixel holds one kind of cover, the interval should hold the truth
# nine times of ten. Mixed pixels at the edges of fields are harder: no homogeneous canopy looks like them.

# %%
unflagged = (maps["leaf_area_index_flag"] == 0).values
whole = scene["purity"].isel(time=0).values > 0.99
inside = ((truth >= maps["leaf_area_index_lower"]) & (truth <= maps["leaf_area_index_upper"])).values
error = (maps["leaf_area_index_mean"] - truth).values
for name, chosen in {"whole pixels": unflagged & whole, "mixed pixels": unflagged & ~whole}.items():
    rmse = np.sqrt(np.mean(error[chosen] ** 2))
    print(f"{name}: {chosen.sum()} pixels, RMSE {rmse:.2f}, 90 % intervals cover {inside[chosen].mean():.0%}")

assert np.sqrt(np.mean(error[unflagged & whole] ** 2)) < 1.5

# %% [markdown]
# ## From file to file
# A large image passes through in blocks; memory does not grow with it, and the result appears when it is complete.

# %%
with tempfile.TemporaryDirectory() as folder:
    source, target = pathlib.Path(folder, "scene.nc"), pathlib.Path(folder, "maps.nc")
    write_scene(scene, source)
    print(open_cube(source).sizes)
    invert_file(source, target, method="prosail-vae", variables=["lai", "ccc"])
    with xr.open_dataset(target) as result:
        print(result["canopy_chlorophyll_mean"].attrs)
        np.testing.assert_allclose(
            result["leaf_area_index_mean"].squeeze("time"), maps["leaf_area_index_mean"], atol=1e-3
        )
