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
# # Write your own kernel
# A pond is filled and emptied in turns of five weeks, and not to the day: its area swings, but where it stands in half
# a year cannot be told from today. The kernel for that is a damped oscillation. Its correlation makes it work with
# `Exact`, `Sparse` and `Nearest`; its state space, with `Markov`, whose cost is linear in the number of dates.

# %%
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from releo_jax.gp import Exact, Markov, Matern32, Sites, StateSpace, Stationary


class DampedOscillation(Stationary):
    """variance exp(-lag / scale) cos(2 pi lag / period), lag and period in days."""

    period: jax.Array = eqx.field(converter=jnp.asarray, default=30.0)

    def correlation(self, lag):
        return jnp.exp(-lag / self.scale) * jnp.cos(2 * jnp.pi * lag / self.period)

    def state_space(self):
        # Two states that turn around each other and forget; what they forget comes back as noise.
        variance = self.variance

        def step(days):
            decay, angle = jnp.exp(-days / self.scale), 2 * jnp.pi * days / self.period
            cosine, sine = decay * jnp.cos(angle), decay * jnp.sin(angle)
            new = -variance * jnp.expm1(-2 * days / self.scale)
            return ((cosine, sine), (-sine, cosine)), ((new, 0.0), (0.0, new))

        return StateSpace(((variance, 0.0), (0.0, variance)), ((1.0, 0.0),), step)


# %% [markdown]
# It is seen on irregular dates, with a month of clouds. A turn takes 36 days, give or take a few.

# %%
rng = np.random.default_rng(0)
drift = np.cumsum(rng.normal(0, 0.06, 400))  # of the phase, from day to day


def area(day):
    """Hectares of water."""
    return 1.0 + 0.4 * np.sin(2 * np.pi * day / 36 + np.interp(day, np.arange(400), drift))


days = np.sort(rng.uniform(60, 300, 70)).astype(np.float32)
clear = (days < 180) | (days > 212)
noise = 0.06
values = (area(days) + noise * rng.normal(size=days.size)).astype(np.float32)
mean = values[clear].mean()
sites = Sites(days, values - mean, noise**2, clear)

# %% [markdown]
# Both processes give the same density, one in linear time. Over many pixels and long series the difference counts.

# %%
kernel = DampedOscillation(0.1, 60.0, 36.0)
print(f"log density: {Exact(kernel).log_prob(sites):.3f} (Exact), {Markov(kernel).log_prob(sites):.3f} (Markov)")
np.testing.assert_allclose(Exact(kernel).log_prob(sites), Markov(kernel).log_prob(sites), rtol=1e-3)

pixels = 200
many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (pixels, *leaf.shape)), sites)
for process in (Exact(kernel), Markov(kernel)):
    run = eqx.filter_jit(lambda sites, process=process: process.log_prob(sites))
    run(many).block_until_ready()
    start = time.perf_counter()
    run(many).block_until_ready()
    print(f"{type(process).__name__}: {1e6 * (time.perf_counter() - start) / pixels:.1f} us a pixel")

# %% [markdown]
# Parameters are learned on the line of their logarithms, by gradients through the filter. The density has many hills,
# one for each period: start from several.

# %%
optimiser = optax.adam(0.05)


def process_of(logarithms):
    """A process from the logarithms of variance, scale and period."""
    return Markov(DampedOscillation(*jnp.exp(logarithms)))


@jax.jit
def learn(start):
    """Logarithms after 200 steps uphill, and the log density there."""
    loss = jax.value_and_grad(lambda p: -process_of(p).log_prob(sites))

    def step(carry, _):
        parameters, state = carry
        updates, state = optimiser.update(loss(parameters)[1], state)
        return (optax.apply_updates(parameters, updates), state), None

    (found, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), None, length=200)
    return found, -loss(found)[0]


starts = [jnp.log(jnp.array([0.1, 60.0, period])) for period in (20.0, 30.0, 45.0)]
learned, density = max((learn(start) for start in starts), key=lambda found: float(found[1]))
variance, scale, period = np.exp(learned)
print(f"learned: variance {variance:.3f}, scale {scale:.0f} days, period {period:.1f} days; log density {density:.1f}")
assert 33 < period < 39

# %% [markdown]
# In the gap the oscillation goes on; a Matérn process returns to the mean.

# %%
daily = np.arange(60.0, 320.0)
figure, axes = plt.subplots(2, 1, figsize=(8, 5), sharex=True, sharey=True)
matern = max((Markov(Matern32(0.1, scale)) for scale in np.geomspace(5, 60, 12)), key=lambda p: p.log_prob(sites))
for axis, (name, process) in zip(
    axes, {"damped oscillation": process_of(learned), "Matérn 3/2": matern}.items(), strict=True
):
    found = process.condition(sites).at(daily)
    middle, deviation = mean + np.asarray(found.mean), np.sqrt(np.asarray(found.variance))
    gap = (daily > 180) & (daily < 212)
    print(f"{name}: RMSE in the gap {np.sqrt(np.mean((middle - area(daily))[gap] ** 2)):.3f}")
    axis.fill_between(daily, middle - 1.645 * deviation, middle + 1.645 * deviation, alpha=0.3, label="90 %")
    axis.plot(daily, middle, label=name)
    axis.plot(daily, area(daily), "k:", label="truth")
    axis.plot(days[clear], values[clear], "k.", label="clear dates")
    axis.legend(ncols=4, fontsize="small")
    axis.set(ylabel="area (ha)")
axis.set(xlabel="day")
plt.show()
