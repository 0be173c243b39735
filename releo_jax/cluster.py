"""The blocks of a map on other processes: of this machine, or the workers of a Dask cluster.

A block is retrieved by a worker that opens the image itself, so that pixels are read where they are needed and results
alone travel. The process that asks writes them, in their order: a map is the same, byte for byte, as one made alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import dask
import numpy as np
import xarray as xr

from releo_jax.cubes.blocks import Window
from releo_jax.cubes.streaming import Layer
from releo_jax.errors import ReleoError
from releo_jax.results import Report

if TYPE_CHECKING:
    from distributed import Client, Future

_AHEAD = 2  # blocks for each worker: one that it works on, one that waits for it
_one_at_a_time = threading.Lock()


class Planned(Protocol):
    """A map that can be made block by block: `releo_jax.blockwise.Stream`, `releo_jax.seasons.SeasonStream`."""

    windows: list[Window]
    layers: dict[str, Layer]
    report: Report

    def template(self) -> xr.Dataset:
        """Grid and attributes of the result."""

    def results(
        self, windows: Sequence[Window] | None = None
    ) -> Generator[tuple[Window, dict[str, np.ndarray]], None, None]:
        """Blocks with their values."""

    def take(self, values: Mapping[str, np.ndarray]) -> None:
        """Counts a block that was retrieved elsewhere."""

    def together(self, window: Window) -> Window:
        """A block that is read once for this one and others."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Makes the plan of a map in another process: `with plan(**options)`; what it holds travels there once."""

    plan: Callable[..., contextlib.AbstractContextManager[Planned]]
    options: Mapping[str, Any]


@contextlib.contextmanager
def cluster(workers: int | str | Client) -> Iterator[Client]:
    """Processes to work on.

    Args:
        workers: number of processes of this machine, each with its share of the cores; the address of a Dask scheduler
            (`tcp://...`); or a client of one.

    Raises:
        ReleoError: no such number, or nothing answers at the address.
    """
    from distributed import Client, LocalCluster

    if isinstance(workers, Client):
        yield workers
        return
    if isinstance(workers, str) and not workers.isdigit():
        try:
            client = Client(workers, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ReleoError(f"{workers}: no Dask scheduler answers ({error}); start one, or give a number") from error
        with client:
            yield client
        return
    number = int(workers)
    if number < 1:
        raise ReleoError(f"expected at least one worker, got {number}")
    # By itself, Dask has its processes give every freed array back to the system: a fifth of their time on images.
    with dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}):
        local = LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # any free port: without an address Dask asks for 8787, which may be taken
            memory_limit=None,
            silence_logs=50,
        )
    with local, Client(local, set_as_default=False) as client:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if 1 < number <= len(cores):
            # JAX takes every core that it sees when it starts: each process sees its own.
            for index, worker in enumerate(client.scheduler_info(n_workers=-1)["workers"]):
                client.run(os.sched_setaffinity, 0, cores[index::number], workers=[worker])
        yield client


class ClusterStream:
    """A planned map whose blocks are retrieved by workers; the same face.

    Args:
        plan: of the map, in this process.
        recipe: of the same plan, in others.
        client: of the workers.
    """

    def __init__(self, plan: Planned, recipe: Recipe, client: Client) -> None:
        self._plan, self._recipe, self._client = plan, recipe, client
        self.windows, self.layers, self.report = plan.windows, plan.layers, plan.report
        self.template, self.take, self.together = plan.template, plan.take, plan.together

    def results(
        self, windows: Sequence[Window] | None = None
    ) -> Generator[tuple[Window, dict[str, np.ndarray]], None, None]:
        """Blocks with the values of every layer, in their order, while workers retrieve the next ones.

        Args:
            windows: some of `windows`, in their order; None for all.
        """
        from distributed.scheduler import KilledWorker

        # Dates of a season that lie on one another are retrieved together.
        wanted = self.windows if windows is None else windows
        with warnings.catch_warnings():
            # Distributed warns of what is large; it goes to every worker once, not with every block.
            warnings.filterwarnings("ignore", "Sending large graph")
            recipe = self._client.submit(_same, self._recipe, pure=False)
        places = [list(group) for _, group in itertools.groupby(wanted, key=self._plan.together)]
        ahead = iter(places)
        pending: deque[Future] = deque()
        number = max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))
        try:
            for _ in places:
                for group in itertools.islice(ahead, _AHEAD * number - len(pending)):
                    # Without a key of its own, a block that came out of another run of the client would be taken.
                    pending.append(self._client.submit(_work, recipe.key, recipe, group, pure=False))
                try:
                    found, report = pending.popleft().result()
                except KilledWorker as error:
                    raise ReleoError(
                        "workers ended again and again while they retrieved one block; they may lack memory: give a "
                        "smaller --block-size, or fewer workers"
                    ) from error
                for stage in ("starting", "reading", "computing"):
                    setattr(self.report, stage, getattr(self.report, stage) + getattr(report, stage))
                self.report.unread |= report.unread
                for window, values in found:
                    self.take(values)
                    yield window, values
        finally:
            self._client.cancel([*pending, recipe])


def _same(recipe: Recipe) -> Recipe:
    return recipe


def _work(key: str, recipe: Recipe, windows: list[Window]) -> tuple[list[tuple[Window, dict[str, np.ndarray]]], Report]:
    """What a worker does: the blocks, and a report of them alone."""
    # One block at a time, for JAX has threads of its own; and read here, not by tasks that wait for other workers.
    with _one_at_a_time, dask.config.set(scheduler="threads"):
        plan = _planned(key, recipe)
        for name, value in vars(Report()).items():
            setattr(plan.report, name, value)
        found = list(plan.results(windows))
        return found, dataclasses.replace(plan.report, unread=dict(plan.report.unread))


_open = contextlib.ExitStack()
_kept: dict[str, Planned] = {}


def _planned(key: str, recipe: Recipe) -> Planned:
    """The plan of the map that this process works on, made once; the files of another map are closed."""
    if key not in _kept:
        _kept.clear()
        _open.close()
        _kept[key] = _open.enter_context(recipe.plan(**recipe.options))
    return _kept[key]
