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
# # One model, every engine
#
# A season of a vegetation index, with clouds: green-up and senescence follow two logistic curves. The inverse problem
# is written once, as a NumPyro model function, and goes unchanged to every engine. They differ in what they cost and in
# what they can express, and they say of each pixel how far to trust it.

# %%
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist

from releo_jax.inference import fit_laplace, fit_lut, fit_map, fit_nuts, fit_smc, fit_svi, refine
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.metrics import crps
from releo_jax.noise import student_t
from releo_jax.observations import Series, observe, take
from releo_jax.plots import plot_corner


# %%
def model(data):
    """Two dates (days of the year), the winter's level and the summer's height of a vegetation index."""
    days = data["index"].time
    with numpyro.plate("pixel", days.shape[0]):
        base = numpyro.sample("base", dist.Uniform(0.05, 0.35))
        height = numpyro.sample("height", dist.Uniform(0.2, 0.7))
        start = numpyro.sample("start", dist.Uniform(60.0, 180.0))
        length = numpyro.sample("length", dist.Uniform(40.0, 160.0))
        end = numpyro.deterministic("end", start + length)
        up, down = (jax.nn.sigmoid((days - date[:, None]) / 8.0) for date in (start, end))
        curve = base[:, None] + height[:, None] * (up - down)
        # Clouds that the mask has missed pull single dates down: heavy tails keep them from pulling the curve.
        observe("index", student_t(curve[..., None], 0.04, 4.0), data["index"])


# %% [markdown]
# ## A season to invert
# The same eighteen acquisitions for all pixels, each with its own clouds; one pixel is never seen, and in one somebody
# has ploughed in June.

# %%
key_scene, key_clouds, key_fit = jax.random.split(jax.random.key(0), 3)
n, days = 200, np.arange(10.0, 365.0, 20.0, dtype=np.float32)
clear = np.array(jax.random.bernoulli(key_clouds, 0.7, (n, days.size, 1)))
clear[0] = False
blank = {"index": Series(np.zeros((n, days.size, 1), np.float32), clear, np.broadcast_to(days, (n, days.size)))}
truth, data = simulate(read_structure(model, blank), model, blank, key_scene)
values = np.array(data["index"].values)
values[1, (days > 150) & (days < 230)] = 0.05
data = {"index": Series(values, clear, data["index"].time)}

# %% [markdown]
# ## Every engine
# The call is the same. MAP, Laplace and the look-up table go through a million pixels; the samplers take as many as you
# have time for, and say beforehand how long that is.

# %%
few = take(data, slice(0, 16))
posteriors = {
    "MAP": fit_map(model, data, key=key_fit),
    "Laplace": fit_laplace(model, data, key=key_fit),
    "variational": fit_svi(model, data, key=key_fit),
    "look-up table": fit_lut(model, data, key=key_fit),
    "tempering": fit_smc(model, few, key=key_fit, particles=512, reference=0),
    "NUTS": fit_nuts(model, few, key=key_fit, draws=250, warmup=250, chains=2, reference=0),
}
posteriors["refined"] = refine(posteriors["variational"], key=key_fit)

# %%
seen = np.arange(2, 16)  # without the pixels that are not the model's
for name, posterior in posteriors.items():
    error = np.asarray(posterior.mean["start"])[seen] - np.asarray(truth["start"])[seen]
    line = f"{name:14} start of season: RMSE {np.sqrt(np.mean(error**2)):4.1f} days"
    if name != "MAP":  # a mode has no uncertainty
        draws = np.asarray(posterior.sample(key_fit, 400)["start"])[:, seen]
        line += f", mean deviation {draws.std(0).mean():4.1f}, CRPS {crps(truth['start'][seen], draws.T):4.2f}"
    print(line)

# %% [markdown]
# ## How far to trust it
# Beside each result stand two p-values that are uniform for pixels of the model's own making: the misfit (is the curve
# as far from the points as noise explains?) and the domain (does the prior produce such series at all?). The unseen
# pixel has no bands and gets the prior back.

# %%
found = posteriors["Laplace"].to_xarray()
print(found[["start_mean", "start_std", "usable_bands", "misfit_p_value", "domain_p_value"]].isel(pixel=slice(0, 5)))
assert found["usable_bands"][0] == 0 and found["start_std"][0] > 25.0
assert found["misfit_p_value"][1] < 0.05

# %% [markdown]
# Laplace against NUTS for one pixel: where the posterior is close to normal they agree, and where it leans on a bound
# they do not.

# %%
sites = ("base", "height", "start", "length")
pixel = 3


def draws_of(name):
    drawn = posteriors[name].sample(key_fit, 500)
    return np.stack([np.asarray(drawn[site])[:, pixel] for site in sites], -1)


plot_corner(
    {name: draws_of(name) for name in ("NUTS", "Laplace")},
    labels=["base", "height", "start (day)", "length (days)"],
    truth=[truth[site][pixel] for site in sites],
)
