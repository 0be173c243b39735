"""Posteriors in a process of its own: `python on_devices.py DEVICES [ENGINE ...]`, means of a site as JSON."""

import json
import os
import sys

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={sys.argv[1]}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from flax import nnx

from releo_jax.acquisitions import synthetic_acquisition
from releo_jax.encoders import PixelEncoder
from releo_jax.inference import amortize, fit_laplace, fit_lut, fit_map, fit_nuts, fit_smc, fit_svi
from releo_jax.inference.chunks import at_once, shared_out
from releo_jax.observations import observe, with_values
from releo_jax.training import Loop

PIXELS = 14


def model(data):
    """Two bounded sites, three bands."""
    with numpyro.plate("pixel", data["sensor"].values.shape[0]):
        share = numpyro.sample("share", dist.Uniform(0.0, 3.0))
        amount = numpyro.sample("amount", dist.LogNormal(-0.3, 0.6))
        mean = jnp.stack([share * amount, share, amount], -1)
        observe("sensor", dist.Normal(mean, 0.3), data["sensor"])


def regional(data):
    """A site of each pixel and one of all of them."""
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    with numpyro.plate("pixel", data["sensor"].values.shape[0]):
        share = numpyro.sample("share", dist.Uniform(0.0, 3.0))
        mean = jnp.stack([share * level, share, share + level], -1)
        observe("sensor", dist.Normal(mean, 0.3), data["sensor"])


def simulated(acquisitions):
    """Pixels of the first model; by NumPy, which compiles nothing."""
    rng = np.random.default_rng(2)
    share, amount = rng.uniform(0.0, 3.0, PIXELS), rng.lognormal(-0.3, 0.6, PIXELS)
    values = np.stack([share * amount, share, amount], -1) + rng.normal(0.0, 0.3, (PIXELS, 3))
    record = acquisitions(jax.random.key(1), PIXELS)["sensor"]
    return {"sensor": with_values(record, jnp.asarray(values, jnp.float32))}


def together(constants, items):
    """How many items are on a device."""
    return jnp.full_like(items, items.shape[0])


def main():
    """Prints what every engine finds."""
    acquisitions = synthetic_acquisition("sensor", ("b1", "b2", "b3"), random_drop=0.1)
    data = simulated(acquisitions)
    encoder = PixelEncoder(data, width=16, depth=1, rngs=nnx.Rngs(0))
    trained = amortize(model, encoder, data, family="full_covariance").fit(
        acquisitions, key=jax.random.key(4), steps=60, batch=64, loop=Loop(parts=2)
    )
    key = jax.random.key(3)
    # So short that the last digits of the chains have no time to part.
    short = {"warmup": 5, "draws": 5, "chains": 4, "max_tree_depth": 3, "reference": 0}
    engines = {
        "map": lambda: fit_map(model, data, key=key, reference=16),
        "laplace": lambda: fit_laplace(model, data, key=key, reference=16),
        "svi": lambda: fit_svi(model, data, key=key, steps=20, reference=16),
        "lut": lambda: fit_lut(model, data, key=key, entries=2000, draws=100, reference=16),
        "smc": lambda: fit_smc(model, data, key=key, particles=128, moves=3, reference=16),
        "nuts": lambda: fit_nuts(model, data, key=key, **short),
        "jointly": lambda: fit_nuts(regional, data, key=key, **short),
        "amortized": lambda: trained(data),
    }
    posteriors = {name: engines[name]() for name in sys.argv[2:] or engines}
    found = {name: np.asarray(posterior.mean["share"]).tolist() for name, posterior in posteriors.items()}
    found["draws"] = {
        f"{name} {site}": np.asarray(draws).tolist()
        for name in posteriors.keys() & {"nuts", "jointly"}
        for site, draws in posteriors[name].draws.items()
    }
    found["together"] = [at_once(together, (), (), jnp.zeros(number)).tolist() for number in (3, 4)]
    found["losses"] = trained.history[0].tolist()
    found["marginals"] = np.asarray(trained.marginals(data, sites=["share"])["share_std"]).tolist()
    found["devices"] = len(shared_out(data)["sensor"].values.devices())
    print(json.dumps(found))


main()
