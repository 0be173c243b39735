"""Many pixels through one compiled program, a chunk at a time, within a memory budget, on all devices at hand."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from releo_jax.observations import rows

LARGEST_CHUNK, SMALLEST_CHUNK = 2048, 8  # more would leave the cache of a core
_USUAL = 512  # fewer pixels are filled up to so many: that costs less than another program
MEMORY = 1 << 30
"""Bytes that the temporaries and results of one chunk may take by default."""


def fitted(
    program: Callable[..., Any],
    static: tuple[Any, ...],
    constants: Any,
    pixels: Any,
    *,
    memory: int,
    description: str,
    largest: int = LARGEST_CHUNK,
    least: int = _USUAL,
) -> tuple[Callable[..., Any], int]:
    """Compiles `program(*static, constants, pixels)` for the largest chunk whose plan fits the budget.

    Calls with the same program, static arguments and shapes compile once. Fewer pixels than `least` are filled up to
    so many, which pays for programs that compile for longer than they run. A chunk is shared out over the devices of
    this process; the budget and all these sizes are those of one device.

    Returns:
        The compiled function of constants and one chunk, and the chunk's number of pixels.

    Raises:
        ValueError: the smallest chunk does not fit.
    """
    number = jax.local_device_count()
    total = -(-jax.tree.leaves(pixels)[0].shape[0] // number)
    size = min(largest, max(least if largest > least else SMALLEST_CHUNK, 1 << (total - 1).bit_length()))
    while True:
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((number * size, *leaf.shape[1:]), leaf.dtype),  # noqa: B023
            pixels,
        )
        compiled = _compiled(program, static, _Shapes(constants), _Shapes(shapes), number)
        plan = compiled.memory_analysis()
        used = 0 if plan is None else plan.temp_size_in_bytes + plan.output_size_in_bytes
        if used <= memory:
            return compiled, number * size
        if size == SMALLEST_CHUNK:
            raise ValueError(
                f"{description}: expected {size} pixels to fit into memory={memory} bytes, they take {used}; allow "
                "more, or ask for fewer draws"
            )
        size = max(SMALLEST_CHUNK, size // 2)


def over_chunks(
    program: Callable[..., Any],
    static: tuple[Any, ...],
    constants: Any,
    pixels: Any,
    *,
    memory: int = MEMORY,
    progress: bool = False,
    description: str = "pixels",
    largest: int = LARGEST_CHUNK,
) -> Any:
    """Applies `program(*static, constants, pixels)` to all pixels.

    The last chunk is filled up with copies of its first pixel, so that one program serves all.

    Args:
        program: pure function; what it returns has the pixels first in every leaf.
        static: hashable arguments.
        constants: pytree of arrays that every chunk sees.
        pixels: pytree of arrays, the pixels first in every leaf.
        memory: bytes for one chunk on one device.
        progress: show a bar.
        description: beside the bar.
        largest: pixels of a chunk on one device, at most.

    Returns:
        Pytree of arrays on the host, all pixels first.
    """
    total = jax.tree.leaves(pixels)[0].shape[0]
    how: Any = {"memory": memory, "description": description, "largest": largest}
    compiled, size = fitted(program, static, constants, pixels, **how)
    parts = []
    with pixel_bar(total, description, progress) as advance:
        for start in range(0, total, size):
            chosen = np.arange(start, min(start + size, total))
            part = jax.device_get(compiled(constants, chunk(pixels, chosen, size)))
            parts.append(jax.tree.map(lambda leaf: leaf[: chosen.size], part))  # noqa: B023
            advance(chosen.size)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def at_once(program: Callable[..., Any], static: tuple[Any, ...], constants: Any, items: Any) -> Any:
    """Applies `program(*static, constants, items)` to all items, such as chains, at once.

    They are shared out over as many devices of this process as can share them evenly.

    Args:
        program: pure function; what it returns has the items first in every leaf.
        static: hashable arguments.
        constants: pytree of arrays that every item sees.
        items: pytree of arrays, the items first in every leaf.

    Returns:
        Pytree of arrays on the host, all items first.
    """
    total = jax.tree.leaves(items)[0].shape[0]
    number = max(number for number in range(1, jax.local_device_count() + 1) if total % number == 0)
    compiled = _compiled(program, static, _Shapes(constants), _Shapes(items), number)
    return jax.device_get(compiled(constants, items))


def chunk(pixels: Any, chosen: np.ndarray, size: int) -> Any:
    """The chosen pixels, and copies of the first of them up to `size`."""
    filled = np.concatenate([chosen, np.full(size - chosen.size, chosen[0])])
    # What is on the host stays there but for the chunk.
    host, device = eqx.partition(pixels, lambda leaf: isinstance(leaf, np.ndarray))
    return eqx.combine(jax.tree.map(lambda leaf: leaf[filled], host), rows(device, filled))


class _Shapes:
    """Shapes and dtypes of a pytree, as a key of the cache of programs."""

    def __init__(self, tree: Any) -> None:
        self.tree = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), tree)
        leaves, structure = jax.tree.flatten(self.tree)
        self.key = (structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shapes) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@functools.lru_cache(maxsize=64)
def _compiled(
    program: Callable[..., Any], static: tuple[Any, ...], constants: _Shapes, pixels: _Shapes, devices: int
) -> Any:
    own = functools.partial(program, *static)
    if devices == 1:
        return jax.jit(own).lower(constants.tree, pixels.tree).compile()
    return _Spread(own, constants.tree, pixels.tree, devices)


class _Spread:
    """A program whose pixels are shared out over the devices: each goes through its own, and waits for no other."""

    def __init__(self, own: Callable[..., Any], constants: Any, pixels: Any, devices: int) -> None:
        everywhere, shared_out = _places(devices)
        specs = (everywhere.spec, shared_out.spec)
        # Not checked: the loops of programs may begin with constants that are on no device yet.
        mapped = jax.shard_map(own, mesh=everywhere.mesh, in_specs=specs, out_specs=shared_out.spec, check_vma=False)
        self._places = (everywhere, shared_out)
        self._compiled = jax.jit(mapped, in_shardings=self._places).lower(constants, pixels).compile()
        self.memory_analysis = self._compiled.memory_analysis  # of one device

    def __call__(self, *arguments: Any) -> Any:
        return self._compiled(*map(jax.device_put, arguments, self._places))


def _places(devices: int) -> tuple[NamedSharding, NamedSharding]:
    """Whole on each of the first devices of this process, and shared out over them."""
    mesh = Mesh(np.array(jax.local_devices()[:devices]), ("pixel",))
    return NamedSharding(mesh, P()), NamedSharding(mesh, P("pixel"))


def shared_out(pixels: Any) -> Any:
    """A pytree of arrays, the pixels first in every leaf, shared out over the devices of this process.

    It is left as it is where there is one device, where the devices do not share the pixels evenly, and while tracing.
    """
    leaves = jax.tree.leaves(pixels)
    if jax.local_device_count() == 1 or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return pixels
    if any(leaf.shape[0] % jax.local_device_count() for leaf in leaves):
        return pixels
    return jax.device_put(pixels, _places(jax.local_device_count())[1])


@contextlib.contextmanager
def pixel_bar(total: int, description: str, visible: bool) -> Iterator[Callable[[int], None]]:
    """A bar that counts pixels."""
    if not visible:
        yield lambda pixels: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("pixels"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda pixels: bar.advance(task, pixels)
