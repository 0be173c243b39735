"""Maps that go on where a run was killed: the blocks of a stream, kept in a store as they are retrieved."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from releo_jax.cluster import Planned
from releo_jax.cubes.block_store import BlockStore
from releo_jax.cubes.blocks import Window


def made(stream: Planned, template: xr.Dataset) -> dict[str, Any]:
    """What the kept blocks of a map have to be of, beside its input."""
    grid = {name: hashlib.sha256(template[name].values.tobytes()).hexdigest() for name in ("time", "y", "x")}
    return {"attributes": template.attrs, "grid": grid, "layers": list(stream.layers), "blocks": stream.windows}


def resumed(
    stream: Planned, store: BlockStore | None
) -> Generator[tuple[Window, Mapping[str, np.ndarray]], None, None]:
    """All blocks in their order: those that are kept from the store, the others as they are retrieved, then kept."""
    if store is None:
        yield from stream.results()
        return
    kept = {window for window in stream.windows if store.holds(window)}
    with contextlib.closing(stream.results([window for window in stream.windows if window not in kept])) as fresh:
        for window in stream.windows:
            values = store.read(window) if window in kept else None
            if values is not None:
                stream.take(values)
                yield window, values
                continue
            if window in kept:  # damaged
                with contextlib.closing(stream.results([window])) as again:
                    found = next(again)[1]
            else:
                found = next(fresh)[1]
            if not any(_beneath(window, unread) for unread in list(stream.report.unread)):
                store.write(window, found)
            yield window, found


def _beneath(window: Window, unread: Window) -> bool:
    """Whether a block is made from one that could not be read: it may be readable the next time."""
    return (window.row, window.column) == (unread.row, unread.column)
