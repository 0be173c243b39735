"""Functions of one pixel over batches of pixels, whose kernels are shared or their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from releo_jax.gp.kernels import Kernel, own_axes
from releo_jax.gp.sites import Marginals, Sites

TOGETHER = 4096
"""Pixels whose filter runs at once: their states fit the cache of a processor."""


def one_by_one(
    function: Callable[[Kernel, Any], Any],
    kernel: Kernel,
    given: Any,
    *,
    batch: tuple[int, ...] | None = None,
    together: bool = True,
) -> Any:
    """A function of a kernel and one pixel's arrays, over a batch.

    Args:
        function: of one pixel.
        kernel: parameters are scalars, or have the last axes of the batch.
        given: tree of arrays `(*batch, ...)`; `Sites` tell the batch.
        batch: its shape, where `given` is not `Sites`.
        together: False runs one pixel after the other. Factors of many large matrices at once, and their derivatives,
            share the threads of XLA's CPU client with their callers, and can wait for each other for ever (jaxlib
            0.10.2).

    Returns:
        The function's results, `(*batch, ...)`.
    """
    if batch is None:
        batch = given.time.shape[:-1]
    if not batch:
        return function(kernel, given)
    pixels = math.prod(batch)
    leaves, structure = jax.tree.flatten(kernel)
    parameters: list[Array] = []
    axes: list[int | None] = []
    for leaf, number in zip(leaves, own_axes(kernel), strict=True):
        outer, inner = leaf.shape[: leaf.ndim - number], leaf.shape[leaf.ndim - number :]
        if outer and outer != batch[len(batch) - len(outer) :]:
            raise ValueError(
                f"{type(kernel).__name__}: expected parameters that are scalars or of the pixels' shape {batch}, got "
                f"{outer}"
            )
        parameters.append(jnp.broadcast_to(leaf, (*batch, *inner)).reshape(pixels, *inner) if outer else leaf)
        axes.append(0 if outer else None)
    flat = jax.tree.map(lambda leaf: leaf.reshape(pixels, *leaf.shape[len(batch) :]), given)

    def pixel(parameters: list[Array], given: Any) -> Any:
        return function(jax.tree.unflatten(structure, parameters), given)

    each = jax.vmap(pixel, in_axes=(axes, 0))
    if not together:
        own = [leaf for leaf, axis in zip(parameters, axes, strict=True) if axis is not None]

        def one(given: tuple[list[Array], Any]) -> Any:
            rest = iter(given[0])
            return pixel(
                [leaf if axis is None else next(rest) for leaf, axis in zip(parameters, axes, strict=True)], given[1]
            )

        found = jax.lax.map(one, (own, flat))
    elif pixels <= TOGETHER:
        found = each(parameters, flat)
    else:
        found = _in_parts(each, parameters, axes, flat, pixels)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), found)


def _in_parts(each: Callable[..., Any], parameters: list[Array], axes: list[int | None], flat: Any, pixels: int) -> Any:
    """Some pixels after the others; the last part begins early rather than being short."""
    starts = jnp.asarray([min(start, pixels - TOGETHER) for start in range(0, pixels, TOGETHER)])

    def part(start: Array) -> Any:
        def cut(leaf: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(leaf, start, TOGETHER)

        own = [leaf if axis is None else cut(leaf) for leaf, axis in zip(parameters, axes, strict=True)]
        return each(own, jax.tree.map(cut, flat))

    found = jax.lax.map(part, starts)
    last = TOGETHER * len(starts) - pixels

    def joined(leaf: Array) -> Array:
        whole = leaf[:-1].reshape(-1, *leaf.shape[2:])
        return jnp.concatenate([whole, leaf[-1, last:]])

    return jax.tree.map(joined, found)


def with_outputs(sites: Sites) -> Sites:
    """Sites with an axis of outputs."""
    if sites.value.ndim > sites.time.ndim:
        return sites
    wide = (sites.value[..., None], sites.variance[..., None], sites.mask[..., None])
    return eqx.tree_at(lambda s: (s.value, s.variance, s.mask), sites, wide)


def without_outputs(marginals: Marginals, kernel: Kernel) -> Marginals:
    """Marginals as a kernel of one output has them."""
    if kernel.outputs is not None:
        return marginals
    return Marginals(marginals.mean[..., 0], marginals.variance[..., 0])
