"""Checkpoints of a training, so that one that was stopped goes on as if it had not been."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np

from releo_jax.errors import ReleoError

_log = logging.getLogger(__name__)


class Checkpoints:
    """A folder with the last two states of a training (orbax); arrays and JSON, nothing that is executed when read.

    A state is written beside and renamed when it is whole, so that a kill at any moment leaves the one before.
    On several machines every process opens the same folder, which all of them see.

    Args:
        folder: made where there is none.
        training: what the training is, as JSON. The states of another one are refused, not overwritten.

    Raises:
        ReleoError: the name is that of a file.
    """

    def __init__(self, folder: str | os.PathLike[str], training: Mapping[str, Any]) -> None:
        import orbax.checkpoint as ocp  # takes a second; only needed here

        self._orbax = ocp.args
        self.folder = Path(folder).absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise ReleoError(f"{self.folder}: expected a folder for checkpoints, got a file; name another one")
        self._training = dict(training)
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False),
            item_names=("state", "training"),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()

    def restore(self, state: Any) -> tuple[int, Any] | None:
        """The number of steps done and the state after them; None in an empty folder.

        Where the last state is damaged, the one before is taken.

        Args:
            state: a pytree with the shapes, dtypes and places of the one to read.

        Raises:
            ReleoError: the states are of another training, or none of them can be read; nothing is removed then.
        """
        damaged: list[int] = []
        for steps in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._read(steps, state)
            except _Other:
                raise
            except Exception as error:  # orbax and tensorstore raise many kinds
                told = str(error).split("\n")[0][:120]
                _log.warning("%s: the checkpoint of step %d is damaged (%s)", self.folder, steps, told)
                damaged.append(steps)
            else:
                for place in damaged:
                    self._manager.delete(place)  # or it would be taken when the training comes by again
                return steps, found
        if damaged:
            raise ReleoError(f"{self.folder}: no checkpoint can be read; remove the folder to begin anew")
        return None

    def _read(self, steps: int, state: Any) -> Any:
        there = self._manager.restore(steps, args=self._orbax.Composite(training=self._orbax.JsonRestore()))["training"]
        for name, value in self._training.items():
            if there.get(name) != value:
                raise _Other(
                    f"{self.folder}: holds the checkpoints of another training ({name} {there.get(name)!r} there, "
                    f"{value!r} here); name another folder, or remove this one to begin anew"
                )
        leaves, structure = jax.tree.flatten(state)
        item = self._orbax.StandardRestore(_named(leaves))
        restored = self._manager.restore(steps, args=self._orbax.Composite(state=item))["state"]
        return jax.tree.unflatten(structure, [restored.get(_name(i), leaf) for i, leaf in enumerate(leaves)])

    def save(self, steps: int, state: Any) -> None:
        """Writes the state after a number of steps, and waits until it is there."""
        self._manager.save(
            steps,
            args=self._orbax.Composite(
                state=self._orbax.StandardSave(_named(jax.tree.leaves(state))),
                training=self._orbax.JsonSave(self._training),
            ),
        )


class _Other(ReleoError):
    """Checkpoints of another training."""


def _name(index: int) -> str:
    return f"{index:04d}"


def _named(leaves: list[Any]) -> dict[str, Any]:
    """Leaves by their order, which keeps pytrees of any nodes; empty arrays, which orbax refuses, are left out."""
    return {_name(index): leaf for index, leaf in enumerate(leaves) if np.size(leaf)}


def checksum(tree: Any) -> int:
    """Of the shapes, dtypes and values of a pytree of arrays."""
    found = 0
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        found = zlib.crc32(f"{array.shape} {array.dtype}".encode(), found)
        found = zlib.crc32(np.ascontiguousarray(array).tobytes(), found)
    return found


def layout_of(tree: Any) -> int:
    """Checksum of the shapes and dtypes of a pytree of arrays."""
    return zlib.crc32(repr([(np.shape(leaf), str(leaf.dtype)) for leaf in jax.tree.leaves(tree)]).encode())
