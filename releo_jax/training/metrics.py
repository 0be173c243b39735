"""Where a training writes what it measures: a table, or TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Metrics(Protocol):
    """What the training loop asks of a writer; on several machines, the first process alone writes."""

    def begin(self, step: int) -> None:
        """A training begins after so many steps; what an earlier run wrote of later ones is void."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Values after a number of steps: `loss`, the mean since the last ones; `seconds`; at times `validation`."""

    def close(self) -> None:
        """The training has ended, or broke off."""


class CsvMetrics:
    """A table with the columns `step`, `loss`, `seconds` (of this run) and `validation`, a row for each block of steps.

    Args:
        path: of the file; an older one is replaced when a training begins, and kept when it goes on.
    """

    COLUMNS = ("step", "loss", "seconds", "validation")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: Any = None

    def begin(self, step: int) -> None:
        """Keeps the rows up to this step, and drops later ones: their steps are made again."""
        kept = []
        if step and self.path.exists():
            with self.path.open(newline="") as file:
                for row in csv.DictReader(file):
                    # The last row of a run that was killed may be half a row.
                    with contextlib.suppress(TypeError, ValueError):
                        if int(row["step"]) <= step and None not in row.values():
                            kept.append([row[name] for name in self.COLUMNS])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.part")
        with beside.open("w", newline="") as file:
            csv.writer(file).writerows([self.COLUMNS, *kept])
        os.replace(beside, self.path)
        self._file = self.path.open("a", newline="")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row."""
        cells = [values.get(name, math.nan) for name in self.COLUMNS[1:]]
        csv.writer(self._file).writerow([step, *("" if math.isnan(cell) else repr(float(cell)) for cell in cells)])
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


class TensorBoardMetrics:
    """Curves for TensorBoard; needs `pip install 'releo-jax[tensorboard]'`.

    Args:
        folder: of the event files.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoardMetrics needs tensorboardX: pip install 'releo-jax[tensorboard]'; CsvMetrics needs nothing"
            ) from error
        self._make = SummaryWriter
        self._folder = Path(folder)
        self._writer: Any = None

    def begin(self, step: int) -> None:
        """Later points of an earlier run are hidden by TensorBoard."""
        self._writer = self._make(str(self._folder), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
