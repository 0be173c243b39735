"""What the commands show: lines, tables, a progress bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

from releo_jax.cli import PROGRAM
from releo_jax.results import Progress


def say(text: str) -> None:
    """One line on the error output, as problems are told."""
    print(f"{PROGRAM}: {text}", file=sys.stderr, flush=True)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as columns, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


@contextlib.contextmanager
def progress_bar(text: str, quiet: bool = False) -> Iterator[Progress | None]:
    """A bar with the rate and the time left, on a terminal; nothing elsewhere.

    Args:
        text: what is going on.
        quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        """Millions of pixels a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed / 1e6:.3g} Mpx/s")

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Rate(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
