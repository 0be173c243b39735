"""What the guide families share: linear heads, positive numbers, Cholesky factors from raw entries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from releo_jax.inference.structure import Site

_FLOOR = 1e-4  # smallest scale, in units of the prior's


class Head(nnx.Module):
    """Linear map whose outputs can be computed in part. It starts at zero: the law starts at the prior's moments."""

    def __init__(self, features: int, outputs: int) -> None:
        self.kernel = nnx.Param(jnp.zeros((features, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, context: Array, columns: np.ndarray | slice = slice(None)) -> Array:
        return context @ self.kernel[...][:, columns] + self.bias[...][columns]


def positive(raw: Array) -> Array:
    """Softplus moved so that 0 gives 1, above a floor."""
    return jax.nn.softplus(raw + math.log(math.e - 1.0)) + _FLOOR


def factor_rows(raw: Array, scale: Array, components: Sequence[int]) -> Array:
    """Rows of a Cholesky factor from their raw entries, one after the other; zeros give the diagonal of `scale`."""
    row = np.concatenate([np.full(i + 1, i) for i in components])
    diagonal = np.concatenate([np.arange(i + 1) == i for i in components])
    return jnp.where(diagonal, positive(raw), raw) * scale[row]


def row_entries(components: Sequence[int]) -> np.ndarray:
    """Where the rows of these components lie in a factor given row after row."""
    return np.concatenate([np.arange(i * (i + 1) // 2, (i + 1) * (i + 2) // 2) for i in components])


def total_size(sites: tuple[Site, ...]) -> int:
    """Real numbers that the values of all sites take."""
    return sum(site.size for site in sites)


def find(sites: tuple[Site, ...], name: str) -> Site:
    """The site of that name."""
    return next(site for site in sites if site.name == name)
