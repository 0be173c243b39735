"""A small training, to be run in processes of their own: `python on_devices.py REQUEST`, losses to standard output.

The request is JSON: `devices` (fake ones of this process), `runs` (a list of arguments of `Loop`, and `use`, the number
of devices), `steps`, and for several processes `address`, `processes` and `process`.
"""

import json
import os
import sys

request = json.loads(sys.argv[1])
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={request['devices']}"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from releo_jax.training import Loop, adam, train  # noqa: E402

ROWS, BATCH = 64, 8


def rows():
    """Inputs and targets of a curve with noise."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (ROWS, 3)).astype(np.float32)
    return x, (np.sin(3.0 * x).sum(1) + 0.1 * rng.normal(size=ROWS)).astype(np.float32)


def start():
    """A network of one hidden layer."""
    one, two = jax.random.split(jax.random.key(1))
    return {"in": jax.random.normal(one, (3, 16)), "out": 0.3 * jax.random.normal(two, (16,))}


def loss(parameters, key, data):
    """Squared error of some rows, with noise on the inputs, and a loop inside as physical models have them."""
    pick, spoil = jax.random.split(key)
    x, y = jax.tree.map(lambda leaf: leaf[jax.random.randint(pick, (BATCH,), 0, len(leaf))], data)
    hidden = jnp.tanh((x + 0.05 * jax.random.normal(spoil, x.shape)) @ parameters["in"])
    told, _ = jax.lax.scan(
        lambda total, part: (total + part[0] * part[1], None), jnp.zeros(BATCH), (hidden.T, parameters["out"])
    )
    return ((told - y) ** 2).mean()


def main():
    """Runs what is requested."""
    if "processes" in request:
        jax.distributed.initialize(request["address"], request["processes"], request["process"])
    found = []
    for run in request["runs"]:
        use = run.pop("use", None)
        devices = None if use is None else jax.devices()[:use]
        trained = train(
            loss,
            start(),
            rows(),
            key=jax.random.key(0),
            steps=request["steps"],
            optimiser=adam(request["steps"], learning_rate=0.02),
            average=0.9,
            loop=Loop(devices=devices, **run),
        )
        found.append({"history": trained.history.tolist(), "weights": np.asarray(trained.parameters["in"]).tolist()})
    print(json.dumps(found))


main()
