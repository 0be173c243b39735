"""Models whose posteriors are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from releo_jax.acquisitions import synthetic_acquisition
from releo_jax.observations import observe

BANDS = ("b1", "b2", "b3")
MIXING = np.array([[1.0, 0.3], [0.2, -0.8], [0.5, 0.6]], np.float32)  # (band, latent), well conditioned
NOISE = 0.5


@dataclasses.dataclass(frozen=True)
class LinearGaussian:
    """bands = MIXING (first, second) + NOISE e, with standard normal first, second, e."""

    acquisitions = staticmethod(
        synthetic_acquisition("sensor", BANDS, subsets=[("b1", "b3")], random_drop=0.1, empty=0.05)
    )

    @staticmethod
    def model(data):
        with numpyro.plate("pixel", data["sensor"].values.shape[0]):
            first = numpyro.sample("first", dist.Normal(0.0, 1.0))
            second = numpyro.sample("second", dist.Normal(0.0, 1.0))
            mean = jnp.stack([first, second], -1) @ jnp.asarray(MIXING).T
            observe("sensor", dist.Normal(mean, NOISE), data["sensor"])

    @staticmethod
    def exact(record):
        """Mean `(pixel, 2)` and covariance `(pixel, 2, 2)`, pixel by pixel, with the usable bands only."""
        means, covariances = [], []
        for values, mask in zip(np.asarray(record.values), np.asarray(record.mask), strict=True):
            used = MIXING[mask].astype(np.float64)
            covariance = np.linalg.inv(np.eye(2) + used.T @ used / NOISE**2)
            covariances.append(covariance)
            means.append(covariance @ used.T @ values[mask] / NOISE**2)
        return np.array(means), np.array(covariances)


@pytest.fixture(scope="session")
def linear():
    return LinearGaussian


@pytest.fixture(scope="session")
def bounded():
    """A model with an interval, a half line, a vector site, a deterministic site and learned noise."""

    def model(data):
        noise = numpyro.sample("noise", dist.LogNormal(-1.0, 0.5).expand([3]).to_event(1))
        with numpyro.plate("pixel", data["sensor"].values.shape[0]):
            share = numpyro.sample("share", dist.Uniform(0.0, 3.0))
            amount = numpyro.sample("amount", dist.Gamma(2.0, 2.0))
            pair = numpyro.sample("pair", dist.Uniform(-1.0, 1.0).expand([2]).to_event(1))
            product = numpyro.deterministic("product", share * amount)
            mean = jnp.stack([product, share + pair[:, 0], amount - pair[:, 1]], -1)
            observe("sensor", dist.Normal(mean, noise), data["sensor"])

    return model, synthetic_acquisition("sensor", BANDS)


@pytest.fixture(scope="session")
def intervals():
    """A model whose sites all lie on intervals."""

    def model(data):
        with numpyro.plate("pixel", data["sensor"].values.shape[0]):
            share = numpyro.sample("share", dist.Uniform(0.0, 3.0))
            angle = numpyro.sample("angle", dist.Uniform(30.0, 80.0))
            mean = jnp.stack([share, angle / 40.0, share - angle / 80.0], -1)
            numpyro.deterministic("bands", mean)
            observe("sensor", dist.Normal(mean, 0.2), data["sensor"])

    return model, synthetic_acquisition("sensor", BANDS)


@pytest.fixture
def key():
    return jax.random.key(2024)
