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
# # When does the season begin, and how sure is that?
# Three fields have the same season. One is seen often, one seldom, one not at all in spring. The dates of each come
# with intervals that know the difference.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from physics.phenology import OrderedSeason
from releo_jax.inference import fit_laplace
from releo_jax.observations import Series
from releo_jax.plots import plot_series
from releo_jax.systems.phenology import season_index, season_prior, season_series

season = OrderedSeason(minimum=0.2, maximum=0.8, greenup=90.0, maturity=130.0, senescence=210.0, dormancy=260.0)
START, END = 110.0, 235.0  # where the index is halfway
rng = np.random.default_rng(0)
names = ("seen often", "seen seldom", "no spring")
days = np.sort(rng.uniform(0, 365, (3, 70)), axis=1).astype(np.float32)
noise = 0.03
index = np.asarray(season_index(season, jnp.asarray(days[..., None]))[..., 0]) + noise * rng.normal(size=days.shape)
clear = np.stack([rng.random(70) < share for share in (0.9, 0.25, 0.9)])
clear[2] &= (days[2] < 70) | (days[2] > 150)

# %% [markdown]
# The model is a NumPyro function; dates are `float` days from an origin of yours, and may run over the new year.
# `fit_laplace` takes the posterior for a normal law around its peak, and has time for a million pixels; `fit_nuts`, the
# same call but for its name, does not assume that, and takes minutes for these three.

# %%
data = {"index": Series(index[..., None].astype(np.float32), clear[..., None], days)}
model = season_series(season_prior(60.0, 180.0), noise=noise)
posterior = fit_laplace(model, data, key=jax.random.key(1), starts=32, reference=0)
drawn = posterior.sample(jax.random.key(2), 800, sites=["start_of_season", "end_of_season"])

width = {}
for pixel, name in enumerate(names):
    for what, truth in (("start", START), ("end", END)):
        low, middle, high = np.nanquantile(drawn[f"{what}_of_season"][:, pixel], (0.05, 0.5, 0.95))
        width[what, name] = high - low
        print(f"{name:12s} {what:5s} day {middle:.0f}, 90 % from {low:.0f} to {high:.0f} (truth {truth:.0f})")
# What was not seen is not known.
assert width["start", "no spring"] > 3 * width["start", "seen often"]

# %% [markdown]
# The curve has an interval on every day: draws of the season, drawn on a daily axis.

# %%
fields = ("minimum", "maximum", "greenup", "maturity", "senescence", "dormancy")
drawn = posterior.sample(jax.random.key(3), 400, sites=list(fields))
daily = jnp.arange(0.0, 365.0)
figure, axes = plt.subplots(3, 1, figsize=(8, 8), sharex=True)
for pixel, (axis, name) in enumerate(zip(axes, names, strict=True)):
    curves = season_index(OrderedSeason(**{f: drawn[f][:, pixel] for f in fields}), jnp.tile(daily, (400, 1)))
    low, high = np.quantile(curves, (0.05, 0.95), axis=0)
    seen = (days[pixel][clear[pixel]], index[pixel][clear[pixel]])
    plot_series(np.asarray(daily), curves.mean(0), low, high, name="NDVI", unit="1", observed=seen, ax=axis)
    axis.axvline(START, color="black", linestyle=":")
    axis.set_title(name, loc="right")
figure.tight_layout()
plt.show()
