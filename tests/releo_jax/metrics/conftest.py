"""A linear Gaussian model, whose posteriors are known, and posteriors that are wrong on purpose."""

import dataclasses

import numpy as np
import pytest

SAMPLES, DRAWS = 600, 127
NOISE = 0.5
MATRIX = np.array([[1.0, 0.5], [0.8, -0.3], [0.2, 1.0], [0.6, 0.6]])  # (band, dimension)


@dataclasses.dataclass(frozen=True)
class Case:
    """Posteriors of a standard normal prior: their deviations multiplied by `width`, their means moved by `offset`."""

    truth: np.ndarray
    draws: np.ndarray
    observed: np.ndarray
    predicted: np.ndarray


def make(width=1.0, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(SAMPLES, 2))
    observed = truth @ MATRIX.T + NOISE * rng.normal(size=(SAMPLES, 4))
    covariance = np.linalg.inv(np.eye(2) + MATRIX.T @ MATRIX / NOISE**2)
    mean = observed @ MATRIX @ covariance / NOISE**2
    factor = np.linalg.cholesky(covariance)
    std = np.sqrt(np.diag(covariance))
    draws = mean[:, None] + offset * std + width * rng.normal(size=(SAMPLES, DRAWS, 2)) @ factor.T
    return Case(truth, draws, observed, draws @ MATRIX.T)


@pytest.fixture(scope="session")
def exact():
    return make()


@pytest.fixture(scope="session")
def narrow():
    return make(width=0.7)


@pytest.fixture(scope="session")
def wide():
    return make(width=1.4)


@pytest.fixture(scope="session")
def cases():
    """Builds further ones."""
    return make
