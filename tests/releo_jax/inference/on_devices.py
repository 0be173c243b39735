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
from releo_jax.inference.chunks import shared_out
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.observations import observe
from releo_jax.training import Loop

PIXELS = 14


def model(data):
    """Two bounded sites, three bands."""
    with numpyro.plate("pixel", data["sensor"].values.shape[0]):
        share = numpyro.sample("share", dist.Uniform(0.0, 3.0))
        amount = numpyro.sample("amount", dist.Gamma(2.0, 2.0))
        mean = jnp.stack([share * amount, share, amount], -1)
        observe("sensor", dist.Normal(mean, 0.3), data["sensor"])


def main():
    """Prints what every engine finds."""
    acquisitions = synthetic_acquisition("sensor", ("b1", "b2", "b3"), random_drop=0.1)
    structure = read_structure(model, acquisitions(jax.random.key(0), 4))
    _, data = simulate(structure, model, acquisitions(jax.random.key(1), PIXELS), jax.random.key(2))

    encoder = PixelEncoder(data, width=16, depth=1, rngs=nnx.Rngs(0))
    trained = amortize(model, encoder, data, family="full_covariance").fit(
        acquisitions, key=jax.random.key(4), steps=60, batch=64, loop=Loop(parts=2)
    )
    key = jax.random.key(3)
    engines = {
        "map": lambda: fit_map(model, data, key=key, reference=16),
        "laplace": lambda: fit_laplace(model, data, key=key, reference=16),
        "svi": lambda: fit_svi(model, data, key=key, steps=20, reference=16),
        "lut": lambda: fit_lut(model, data, key=key, entries=2000, draws=100, reference=16),
        "smc": lambda: fit_smc(model, data, key=key, particles=128, moves=3, reference=16),
        "nuts": lambda: fit_nuts(model, data, key=key, warmup=20, draws=20, chains=2, max_tree_depth=3, reference=16),
        "amortized": lambda: trained(data),
    }
    found = {name: np.asarray(engines[name]().mean["share"]).tolist() for name in sys.argv[2:] or engines}
    found["losses"] = trained.history[0].tolist()
    found["marginals"] = np.asarray(trained.marginals(data, sites=["share"])["share_std"]).tolist()
    found["devices"] = len(shared_out(data)["sensor"].values.devices())
    print(json.dumps(found))


main()
