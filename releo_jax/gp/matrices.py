"""Products of matrices so small that they are written out: tuples of rows of scalars, or arrays where they are larger.

A filter that runs over many pixels does a dozen multiplications at each date. As operations on arrays of 2 x 2 they
take XLA ten times longer on a processor than as scalars, which `jax.vmap` turns into long vectors. Zeros and ones that
are numbers of Python are left out of the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array

Vector: TypeAlias = Any
"""`(d,)`: a tuple of scalars, or an array."""

Matrix: TypeAlias = Any
"""`(d, d)`: a tuple of rows, or an array."""

MOST_WRITTEN_OUT = 6
"""Size from which matrices are arrays: the program grows with its third power."""


def _zero(x: Any) -> bool:
    return isinstance(x, float) and x == 0.0


def _times(x: Any, y: Any) -> Any:
    if _zero(x) or _zero(y):
        return 0.0
    if isinstance(x, float) and x == 1.0:
        return y
    return x if isinstance(y, float) and y == 1.0 else x * y


def _sum(terms: Iterable[Any]) -> Any:
    total: Any = 0.0
    for term in terms:
        total = term if _zero(total) else total if _zero(term) else total + term
    return total


def product(a: Array, b: Array) -> Array:
    """a b of arrays, to all digits on every device."""
    return jnp.matmul(a, b, precision="highest")


def dot(x: Vector, y: Vector) -> Any:
    """x · y."""
    return _sum(map(_times, x, y)) if isinstance(x, tuple) else product(x, y)


def apply(a: Matrix, x: Vector) -> Vector:
    """a x."""
    return tuple(dot(row, x) for row in a) if isinstance(a, tuple) else product(a, x)


def transposed(a: Matrix) -> Matrix:
    """aᵀ."""
    return tuple(zip(*a, strict=True)) if isinstance(a, tuple) else a.T


def congruence(a: Matrix, p: Matrix) -> Matrix:
    """a p aᵀ of a symmetric p."""
    if not isinstance(a, tuple):
        return product(product(a, p), a.T)
    half = [apply(p, row) for row in a]
    return symmetric(lambda i, j: dot(half[i], a[j]), len(a))


def symmetric(entry: Any, size: int) -> Matrix:
    """The matrix of `entry(i, j)`, asked for i <= j only."""
    upper = {(i, j): entry(i, j) for i in range(size) for j in range(i, size)}
    return tuple(tuple(upper[min(i, j), max(i, j)] for j in range(size)) for i in range(size))


def add(a: Any, b: Any) -> Any:
    """a + b of matrices or of vectors."""
    if isinstance(a, tuple):
        return tuple(add(x, y) for x, y in zip(a, b, strict=True))
    return b if _zero(a) else a if _zero(b) else a + b


def scaled(a: Any, factor: Any) -> Any:
    """Factor times a matrix or vector."""
    return tuple(scaled(x, factor) for x in a) if isinstance(a, tuple) else _times(a, factor)


def outer(x: Vector, y: Vector) -> Matrix:
    """x yᵀ."""
    return tuple(scaled(y, one) for one in x) if isinstance(x, tuple) else jnp.outer(x, y)


def identity(size: int) -> Matrix:
    """1."""
    return tuple(tuple(1.0 if i == j else 0.0 for j in range(size)) for i in range(size))


def minus_outer(x: Vector, y: Vector) -> Matrix:
    """1 - x yᵀ."""
    if isinstance(x, tuple):
        return add(identity(len(x)), scaled(outer(x, y), -1.0))
    return jnp.eye(len(x), dtype=x.dtype) - jnp.outer(x, y)


def block_diagonal(a: Matrix, b: Matrix) -> Matrix:
    """a and b along the diagonal, both written out."""
    return (*((*row, *(0.0,) * len(b)) for row in a), *(((0.0,) * len(a) + row) for row in b))


def kronecker(a: Matrix, b: Matrix) -> Matrix:
    """a ⊗ b, both written out."""
    return tuple(tuple(_times(x, y) for x in first for y in second) for first in a for second in b)


def as_array(a: Any, dtype: Any) -> Array:
    """A matrix or vector that is written out, as an array."""
    if not isinstance(a, tuple):
        return jnp.asarray(a, dtype)
    entries: Sequence[Any] = [x for row in a for x in row] if isinstance(a[0], tuple) else a
    shape = (len(a), len(a[0])) if isinstance(a[0], tuple) else (len(a),)
    known = [i for i, x in enumerate(entries) if not _zero(x)]
    flat = jnp.zeros(len(entries), dtype)
    if known:
        flat = flat.at[np.array(known)].set(jnp.stack([jnp.asarray(entries[i], dtype) for i in known]))
    return flat.reshape(shape)


def upper(a: Matrix, dtype: Any) -> Any:
    """A symmetric matrix as a loop carries it: its upper triangle, or the array."""
    if not isinstance(a, tuple):
        return a
    return tuple(jnp.asarray(a[i][j], dtype) for i in range(len(a)) for j in range(i, len(a)))


def from_upper(packed: Any, size: int) -> Matrix:
    """The matrix that `upper` packed."""
    if not isinstance(packed, tuple):
        return packed
    entries = iter(packed)
    return symmetric(lambda i, j: next(entries), size)


def cholesky(a: Matrix) -> Matrix:
    """Lower factor of a matrix that is written out; where a pivot is zero or less, its column is zero."""
    size = len(a)
    lower: list[list[Any]] = [[0.0] * size for _ in range(size)]
    for j in range(size):
        pivot = add(a[j][j], scaled(_sum(_times(x, x) for x in lower[j][:j]), -1.0))
        if _zero(pivot):
            continue
        pivot = jnp.asarray(pivot)
        there = pivot > 0.0
        root = jnp.sqrt(jnp.where(there, pivot, 1.0))
        lower[j][j] = jnp.where(there, root, 0.0)
        for i in range(j + 1, size):
            left = add(a[i][j], scaled(_sum(map(_times, lower[i][:j], lower[j][:j])), -1.0))
            lower[i][j] = 0.0 if _zero(left) else jnp.where(there, left / root, 0.0)
    return tuple(map(tuple, lower))
