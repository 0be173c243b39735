"""Kernels and series that all Gaussian processes are tested with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from releo_jax.gp import (
    Coregionalized,
    Kernel,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    Sites,
)

KERNELS: dict[str, Kernel] = {
    "matern12": Matern12(0.7, 20.0),
    "matern32": Matern32(0.7, 20.0),
    "matern52": Matern52(0.7, 25.0),
    "periodic": Periodic(0.5, 0.8, harmonics=4),
    "sum": Matern32(0.7, 20.0) + Matern12(0.2, 3.0),
    "quasi-periodic": Matern32(0.7, 300.0) * Periodic(1.0, 0.9, harmonics=2),
    "coregionalised": Coregionalized((Matern32(1.0, 20.0), Matern12(1.0, 60.0)), np.array([[0.5, 0.2], [-0.3, 0.8]])),
}


SEVERAL = pytest.param("coregionalised", marks=pytest.mark.thorough)
SEASONS = pytest.param("quasi-periodic", marks=pytest.mark.thorough)
"""Kernels whose programs take long to compile."""


def in_double(tree):
    """The tree with its arrays in double precision."""
    return jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else jnp.asarray(leaf, jnp.float64), tree)


def in_single(tree):
    """The tree with its arrays in single precision."""
    return jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else jnp.asarray(leaf, jnp.float32), tree)


@jax.jit
def covariance(kernel, first, second):
    """Of a kernel between days, by one program."""
    return kernel(first, second)


def make_sites(kernel: Kernel, *, dates: int = 30, pixels: int = 3, seed: int = 0) -> Sites:
    """Irregular dates of two years with gaps, of which the second pixel has none, and two are the same; float32."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.uniform(0.0, 700.0, (pixels, dates)), -1).astype(np.float32)
    time[:, 5] = time[:, 6]
    shape = (pixels, dates) if kernel.outputs is None else (pixels, dates, kernel.outputs)
    value = rng.normal(0.0, 0.8, shape).astype(np.float32)
    variance = rng.uniform(0.01, 0.3, shape).astype(np.float32)
    mask = rng.random(shape) < 0.7
    mask[1] = False
    return Sites(time, value, variance, mask)
