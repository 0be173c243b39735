"""Where the steps of a training run: one device, all that there are, several machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from releo_jax.errors import ReleoError

Loss: TypeAlias = Callable[[Any, Array, Any], Array]
Strategy: TypeAlias = Literal["jit", "pmap"]

_AXIS = "device"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the parts of a step are laid out over devices.

    Attributes:
        devices: in the order of their parts, an equal number for each.
        parts: of a step.
        split: each part sees its own rows of the data.
        strategy: "jit" or "pmap".
    """

    devices: tuple[jax.Device, ...]
    parts: int = 1
    split: bool = False
    strategy: Strategy = "jit"

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (_AXIS,))

    def everywhere(self, tree: Any) -> Any:
        """A pytree of arrays, whole on every device."""
        return jax.device_put(tree, NamedSharding(self._mesh, P()))

    def data(self, tree: Any) -> Any:
        """The data as `program` takes them: whole on every device, or the rows of its parts."""
        if not self.split:
            return self.everywhere(tree)
        for leaf in jax.tree.leaves(tree):
            if len(leaf) % self.parts:
                raise ReleoError(
                    f"expected rows of the data that {self.parts} parts share evenly, got {len(leaf)}; "
                    f"leave {len(leaf) % self.parts} out, or choose another number of parts"
                )
        return jax.tree.map(self._shared_out, tree)

    def _shared_out(self, leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        if self.strategy == "pmap":
            rows = leaf.reshape(len(self.devices), -1, *leaf.shape[1:])
            return rows[[device.process_index == jax.process_index() for device in self.devices]]
        sharding = NamedSharding(self._mesh, P(_AXIS))
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    def slope(self, loss: Loss) -> Callable[[Any, Array, Any], tuple[Array, Any]]:
        """Value and gradient of the loss, the means over the parts of a step; to be called inside `program`."""
        parts, number = self.parts, len(self.devices)
        here = parts // number

        def of_part(parameters: Any, key: Array, part: Any, data: Any) -> tuple[Array, Any]:
            return jax.value_and_grad(loss)(parameters, jax.random.fold_in(key, part) if parts > 1 else key, data)

        def mean(parameters: Any, key: Array, data: Any) -> tuple[Array, Any]:
            first = jax.lax.axis_index(_AXIS) * here if number > 1 else 0
            if here == 1:
                found = of_part(parameters, key, first, data)
            else:
                rows = jax.tree.map(lambda leaf: leaf.reshape(here, -1, *leaf.shape[1:]), data) if self.split else None
                each = jax.lax.map(
                    lambda one: of_part(parameters, key, one[0], one[1] if self.split else data),
                    (first + np.arange(here), rows),
                )
                found = jax.tree.map(lambda leaf: leaf.mean(0), each)
            return jax.lax.pmean(found, _AXIS) if number > 1 else found

        return mean

    def program(self, step: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
        """Compiles `step(state, number, data)`; state and number are the same on every device, as is what comes out."""
        if len(self.devices) == 1:
            return jax.jit(step)
        if self.strategy == "jit":
            specs = (P(), P(), P(_AXIS) if self.split else P())
            # Not checked: the loss is not ours, and its loops may begin with constants that are on no device yet.
            return jax.jit(jax.shard_map(step, mesh=self._mesh, in_specs=specs, out_specs=P(), check_vma=False))
        # Something has to be mapped, or the devices are not counted.
        mapped = jax.pmap(
            lambda state, number, data, _: step(state, number, data),
            _AXIS,
            in_axes=(None, None, 0 if self.split else None, 0),
            out_axes=None,
            devices=self.devices,
        )
        counted = np.zeros(sum(device.process_index == jax.process_index() for device in self.devices), bool)
        return lambda state, number, data: mapped(state, number, data, counted)


def layout(parts: int, devices: Sequence[jax.Device] | None, split: bool, strategy: Strategy) -> Layout:
    """As many of the devices as share the parts evenly; all there are where none are named.

    Raises:
        ReleoError: no part, another strategy, or parts that the devices of several processes cannot share.
    """
    if parts < 1:
        raise ReleoError(f"expected at least one part of a step, got {parts}")
    if strategy not in get_args(Strategy):
        raise ReleoError(f"strategy: expected one of {', '.join(get_args(Strategy))}, got {strategy!r}")
    found = tuple(jax.devices() if devices is None else devices)
    if not found:
        raise ReleoError("expected at least one device, got none")
    # Every process has to take part: one that has nothing to do would go on without the others.
    if jax.process_count() > 1 and parts % len(found):
        raise ReleoError(
            f"expected parts of a step that the {len(found)} devices of {jax.process_count()} processes share evenly, "
            f"got {parts}; choose a multiple of {len(found)}"
        )
    number = max(n for n in range(1, min(parts, len(found)) + 1) if parts % n == 0)
    return Layout(found[:number], parts, split, strategy)
