"""Covariance matrices of dates, and their roots in working precision."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from releo_jax.gp.kernels import Kernel


def flat(kernel: Kernel, first: Array, second: Array) -> Array:
    """Covariance with outputs beside each other: `(n output, m output)`."""
    found = kernel(first, second)
    return found if kernel.outputs is None else found.reshape(found.shape[0] * found.shape[1], -1)


def jitter(variance: Array, size: int) -> Array:
    """Variance of an error that gives the covariance of `size` dates a Cholesky factor.

    Variance times 2 size eps: 4e-16 size of it in double precision, 2e-7 size in single. Half of that was enough for
    10, 40 and 100 days of all kernels here, however close the days; an eighth was not.
    """
    return 2.0 * size * jnp.finfo(variance.dtype).eps * variance


def singular_root(covariance: Array) -> Array:
    """R with R Rᵀ = covariance `(n, n)`, which smooth kernels leave singular in working precision.

    By eigenvalues: a root whatever they are.
    """
    values, vectors = jnp.linalg.eigh(covariance)
    return vectors * jnp.sqrt(jnp.maximum(values, 0.0))
