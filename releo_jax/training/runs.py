"""Several trainings, one after the other, that are stopped and go on together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from releo_jax.training.loop import Loop
from releo_jax.training.metrics import CsvMetrics


@dataclasses.dataclass(frozen=True)
class Runs:
    """How the trainings of a system run.

    Attributes:
        parts: of each step, see `Loop`.
        folder: for a folder of checkpoints and a table of losses (.csv) of each training; None for none.
    """

    parts: int = 1
    folder: Path | None = None

    def loop(self, name: str) -> Loop:
        """That of the training of this name."""
        if self.folder is None:
            return Loop(parts=self.parts)
        self.folder.mkdir(parents=True, exist_ok=True)
        return Loop(
            parts=self.parts,
            checkpoints=self.folder / name,
            metrics=[CsvMetrics(self.folder / f"{name}.csv")],
        )

    def of(self, name: str) -> Runs:
        """Those of a part of the system, in a folder of their own."""
        return self if self.folder is None else dataclasses.replace(self, folder=self.folder / name)
