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
# # A simulator of your own, examined
#
# An inversion trusts the values and the slopes of its simulator, in single precision, wherever the prior reaches. The
# harness that examines our models examines yours: a function and a prior are all it needs.

# %%
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from releo_jax.benchmarking import Simulator, benchmark, by_name
from releo_jax.benchmarking.figure import plot_throughput

# %% [markdown]
# ## A canopy of two lines
# Beer's law: leaves hide the soil from view as exp(-k L), and light that falls through gaps comes back from the soil.
# The second output is the mean of the canopy's transmittance over its depth, (1 - exp(-k L)) / (k L).

# %%
prior = {
    "leaf_area_index": dist.Uniform(0.0, 8.0),
    "extinction": dist.Uniform(0.3, 1.0),
    "soil": (0.05, 0.4),  # bounds are a prior, too
}


def as_written(p):
    """The formula as the paper has it."""
    depth = p["extinction"] * p["leaf_area_index"]
    gap = jnp.exp(-depth)
    return jnp.stack([p["soil"] * gap**2 + 0.45 * (1.0 - gap**2), (1.0 - gap) / depth], axis=-1)


def repaired(p):
    """The same, with the limit at no leaves: its value is 1, its slope -1/2."""
    depth = p["extinction"] * p["leaf_area_index"]
    gap = jnp.exp(-depth)
    some = jnp.where(depth > 1e-2, depth, 1.0)  # keeps the division out of the branch that is not taken
    mean = jnp.where(depth > 1e-2, -jnp.expm1(-some) / some, 1.0 - depth / 2.0 + depth**2 / 6.0)
    return jnp.stack([p["soil"] * gap**2 + 0.45 * (1.0 - gap**2), mean], axis=-1)


# %% [markdown]
# A function of NumPy takes part as well. It has no slopes, so only its values and its speed are measured. A `reference`
# says what the outputs should be, if you have something more exact.


# %%
def in_numpy(p):
    """The formula for an array (batch, parameter), with the limit by NumPy's own means."""
    leaves, extinction, soil = p.T
    depth = extinction * leaves
    gap = np.exp(-depth)
    mean = np.divide(-np.expm1(-depth), depth, out=np.ones_like(depth), where=depth > 0)
    return np.stack([soil * gap**2 + 0.45 * (1.0 - gap**2), mean], axis=1)


exact = Simulator(name="NumPy", function=in_numpy, prior=prior, dtype="float64", jax=False)
report = benchmark(
    [
        Simulator(name="as written", function=by_name(as_written, prior), prior=prior, reference=exact),
        Simulator(name="repaired", function=by_name(repaired, prior), prior=prior, reference=exact),
        exact,
    ],
    seed=0,
    batch_sizes=(1, 256, 65536),
    rounds=3,
    slice_seconds=0.05,
)
print(report.to_markdown())

# %% [markdown]
# ## What it found
# The formula as written divides nothing by nothing where there are no leaves, a face of the prior's box, and loses most
# of its digits close to it. Draws from the prior would rarely have met either. The repaired function is right at every
# point that was looked at, on the faces and in the corners too.

# %%
by_entry = {entry.name: entry for entry in report.entries}
for name, entry in by_entry.items():
    print(name, *(entry.flags or ("nothing to complain about",)), sep="\n  ")

assert "leaf_area_index = low" in by_entry["as written"].census.faces
assert by_entry["as written"].values.rounding["near a face"].relative > 1e-4
assert not by_entry["repaired"].flags and not by_entry["NumPy"].flags
assert by_entry["repaired"].values.reference["all"].relative < 1e-5

# %% [markdown]
# ## How fast
# Rows a second against the batch size: where the line flattens, the device is full. `report.to_json()` keeps all
# figures, and the same code runs on a GPU.

# %%
figure = plot_throughput(report)

# %% [markdown]
# Next: put it into [an inversion of your own](own_inversion.py). Our own models, side by side with other people's:
# `python -m benchmarks simulators`.
