"""Corners of daily models, rounded so that every parameter has a slope on both sides of them."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def ramp(x: Array, width: float) -> Array:
    """`max(x, 0)`, rounded over a few `width` around zero: `width log(1 + exp(x / width))`, any shape.

    As `jax.nn.softplus`, without its care for infinite numbers, which takes half of its time.
    """
    scaled = x / width
    positive = scaled >= 0.0  # one choice for both terms: at zero their slopes then add up to a half
    tail = jnp.log(1.0 + jnp.exp(jnp.where(positive, -scaled, scaled)))
    return width * (jnp.where(positive, scaled, 0.0) + tail)


def capped(x: Array, cap: ArrayLike, width: float) -> Array:
    """`min(x, cap)` for `x >= 0`, `cap > 0`, rounded over a few `width` around the cap and exactly 0 at 0."""
    limit = jnp.asarray(cap, x.dtype)
    return x - ramp(x - limit, width) + ramp(-limit, width)


def hyperbola(x: Array, width: float) -> tuple[Array, Array]:
    """`max(x, 0)` rounded by a branch of a hyperbola, and its slope, any shape: a third of the time of `ramp`.

    `(x + r) / 2` and `(1 + x / r) / 2` with `r² = x² + (2 ln 2 width)²`: as high as `ramp` at zero. It comes down more
    slowly, `(ln 2 width)² / |x|` far below.
    """
    square = (2.0 * 0.6931471805599453 * width) ** 2
    distance = jnp.sqrt(x * x + square)
    # Below zero the sum would lose its digits.
    positive = x >= 0.0
    far = distance + jnp.where(positive, x, -x)
    small = square / far
    above = jnp.where(positive, far, small)
    return 0.5 * above, 0.5 * above / distance
