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
# # Fill a gap honestly
# A pixel is seen on irregular dates, and not at all for two months. A Gaussian process says what the index may have
# been in between, how sure that is, and how sure it is about the weeks to come.

# %%
import matplotlib.pyplot as plt
import numpy as np

from releo_jax.gp import Markov, Matern32, Sites

rng = np.random.default_rng(2)


def season(day):
    """The index of a field without noise."""
    return 0.2 + 0.6 / (1 + np.exp(-(day - 110) / 12)) - 0.6 / (1 + np.exp(-(day - 250) / 15))


days = np.sort(rng.uniform(0, 300, 45)).astype(np.float32)
clear = (rng.random(45) < 0.8) & ((days < 130) | (days > 190))
noise = 0.03
ndvi = (season(days) + noise * rng.normal(size=45)).astype(np.float32)

# %% [markdown]
# The mean of the process is zero, so the mean of the pixel is taken off first. The scale is the one that makes the
# measurements most likely; ten are few enough to try them all.

# %%
mean = ndvi[clear].mean()
sites = Sites(days, ndvi - mean, noise**2, clear)
scales = np.geomspace(5, 200, 10)
evidence = [float(Markov(Matern32(0.06, scale)).log_prob(sites)) for scale in scales]
scale = scales[int(np.argmax(evidence))]
posterior = Markov(Matern32(0.06, scale)).condition(sites)
print(f"scale {scale:.0f} days, log evidence {max(evidence):.1f}")

# %% [markdown]
# Marginals on any day, those after the last date included.

# %%
daily = np.arange(0.0, 340.0)
found = posterior.at(daily)
middle, deviation = mean + np.asarray(found.mean), np.sqrt(np.asarray(found.variance))
for name, day in (("with dates around", 100), ("in the gap", 160), ("a month ahead", 330)):
    print(f"{name}: day {day}, {middle[day]:.2f} +- {1.645 * deviation[day]:.2f} (90 %), truth {season(day):.2f}")
inside = np.abs(season(daily) - middle) < 1.645 * deviation
print(f"the 90 % band holds the truth on {inside.mean():.0%} of the days")
# The band is widest where nothing was seen.
assert deviation[160] > 2 * deviation[100]

# %%
figure, axis = plt.subplots(figsize=(8, 4))
axis.fill_between(daily, middle - 1.645 * deviation, middle + 1.645 * deviation, alpha=0.3, label="90 %")
axis.plot(daily, middle, label="posterior mean")
axis.plot(daily, season(daily), "k:", label="truth")
axis.plot(days[clear], ndvi[clear], "k.", label="clear dates")
axis.set(xlabel="day", ylabel="NDVI")
axis.legend()
plt.show()
