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
# # Your task and your algorithm in the benchmark of inversions
#
# `python -m benchmarks inversion` puts algorithms side by side on tasks whose posteriors are known from long chains. A
# task of yours is one function, an algorithm of yours another; each then meets everything that is there.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import numpyro

from releo_jax.acquisitions import synthetic_acquisition
from releo_jax.benchmarking.inversion import (
    Inverter,
    Task,
    algorithm,
    measure,
    new_report,
    task,
)
from releo_jax.distributions import TruncatedNormal
from releo_jax.noise import gaussian
from releo_jax.observations import observe
from releo_jax.plots import plot_ranks

# %% [markdown]
# ## A task: leaves counted through their gaps
# A camera that looks upwards sees the sky through gaps, fewer of them the closer to the horizon. Five rings around the
# zenith tell how many leaves there are and how much they clump, and the two are hard to tell apart. The function makes
# the task: a NumPyro model of the pixels, and a sampler of masks (and angles, if there were any).

# %%
ZENITH = np.deg2rad([10.0, 23.0, 38.0, 53.0, 68.0])


@task
def canopy_gaps():
    """Leaf area index and clumping from the gaps in five rings of the sky."""

    def model(data):
        with numpyro.plate("pixel", data["sky"].values.shape[0]):
            leaves = numpyro.sample("leaf_area_index", TruncatedNormal(2.0, 1.5, low=0.0, high=7.0))
            clumping = numpyro.sample("clumping", TruncatedNormal(0.8, 0.15, low=0.3, high=1.0))
            # Leaves clump less along slanted paths; half of each faces the ray.
            index = clumping[..., None] ** jnp.cos(ZENITH)
            gaps = jnp.exp(-0.5 * index * leaves[..., None] / jnp.cos(ZENITH))
            observe("sky", gaussian(gaps, 0.02), data["sky"])

    rings = [f"{angle:.0f}" for angle in np.rad2deg(ZENITH)]
    angles = {"sun_zenith": (30.0, 30.0), "view_zenith": (0.0, 0.0), "relative_azimuth": (0.0, 0.0)}  # not used
    return Task(
        model=model, acquisitions=synthetic_acquisition("sky", rings, subsets=(), random_drop=0.0, empty=0.0, **angles)
    )


# %% [markdown]
# ## An algorithm: the nearest of many simulations
# What is done once stands in the function itself, and is timed as training; what is done for each observation stands in
# the function that it hands over. Approximate Bayesian computation keeps the simulations that look most like what was
# seen. It never asks for a likelihood, and pays for that.


# %%
@algorithm
def nearest(task, budget, key):
    """The hundredth part of a table of simulations that lies nearest to the observation."""
    truths, table = task.simulate(key, budget.entries)
    (name,) = table  # one record, all of whose bands are there
    seen = np.asarray(table[name].values)
    keep = max(budget.entries // 100, 20)

    def invert(data, key):
        distance = np.stack([np.sum((seen - row) ** 2, -1) for row in np.asarray(data[name].values)])
        chosen = np.argpartition(distance, keep, axis=1)[:, :keep]
        vectors = truths[chosen]  # (pixel, draw, unknown)
        return Draws({site: vectors[..., i].T for i, site in enumerate(task.sites)})

    return Inverter(invert, simulations=budget.entries)


class Draws:
    """Anything with `sample(key, n)` will do."""

    def __init__(self, every):
        self.every = every

    def sample(self, key, n):
        there = len(next(iter(self.every.values())))
        picked = jax.random.randint(key, (n,), 0, there)
        return {site: values[np.asarray(picked)] for site, values in self.every.items()}


# %% [markdown]
# ## The table
# The newcomer beside a table of simulations weighted by the likelihood, and a network that has learned the posterior.

# %%
report = new_report(seed=0)
for name in ("nearest", "lut", "full_covariance"):
    report = report.with_row(measure("canopy_gaps", name, "tiny", pixels=300))
print(report.to_markdown())

# %% [markdown]
# Intervals of the nearest simulations are wider than those of the weighted table, as what lies within a distance of the
# observation is more than what the noise allows; that they cover 90 % of the true values does not show it, their ranks
# and their score (CRPS) do. A hundred steps have taught the network too little.

# %%
rows = {row.algorithm: row for row in report.rows}
figure = plot_ranks(
    {name.replace("_", " "): row.check for name, row in rows.items()}, names=["leaf area index", "clumping"]
)

assert rows["nearest"].width > rows["lut"].width
assert rows["nearest"].crps > rows["lut"].crps

# %% [markdown]
# Against long chains: `references = make_references(get_task("canopy_gaps"), key=jax.random.key(0))` makes reference
# draws of ten fixed observations in minutes, `measure(..., references=references)` says by C2ST how well a classifier
# tells an algorithm's draws from them, and `save_references` stores them.
#
# The command line's table takes the same: import your module, then call `benchmarks.inversion.main` with
# `["--tasks", "canopy_gaps"]`. Next: [an inversion of your own](own_inversion.py).
