"""`releo invert`."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from releo_jax.cli import PARTIAL
from releo_jax.cli.screen import progress_bar, say
from releo_jax.maps import invert_file
from releo_jax.planning import TABLES
from releo_jax.results import Report


def run_invert(
    source: Path,
    output: Path,
    *,
    variables: Sequence[str] | None,
    quiet: bool,
    reading: Mapping[str, Any],
    **options: Any,
) -> None:
    """Inverts a file, with a progress bar and a summary."""
    given = {name: value for name, value in reading.items() if value is not None}
    if source.suffix.lower() in TABLES:
        if given.pop("resolution", None) is not None:
            raise typer.BadParameter("--resolution is for Sentinel-2 folders, not for tables")
    bar = progress_bar(f"retrieving {source.name}", quiet)
    with _warnings_shown(), _terminated_like_interrupted(), bar as progress:
        report = invert_file(source, output, variables=variables, progress=progress, **options, **given)
    if not quiet:
        print(summary(report, output))
    if report.unread:
        raise typer.Exit(PARTIAL)


def summary(report: Report, output: Path) -> str:
    """What was done, in two lines."""
    share = report.retrieved / max(report.pixels, 1)
    flags = [
        f"{name.replace('_', ' ')} {100 * count / max(report.pixels, 1):.3g} %"
        for name, count in report.flagged.items()
        if count
    ]
    rate = report.pixels / max(report.elapsed, 1e-9)
    return (
        f"{output}: {report.pixels:,} pixels, {100 * share:.3g} % retrieved; flags: {', '.join(flags) or 'none'}\n"
        f"{report.elapsed:.1f} s, {rate / 1e6:.3g} million pixels a second (together: reading {report.reading:.1f} s, "
        f"first batch with compilation {report.starting:.1f} s, computing {report.computing:.1f} s, "
        f"writing {report.writing:.1f} s)"
    )


@contextlib.contextmanager
def _warnings_shown() -> Iterator[None]:
    """What the library warns of, as lines of the command."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    handler, logger = Lines(level=logging.WARNING), logging.getLogger("releo_jax")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """A request to terminate (`kill`, a batch system) cleans up as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may take signals
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
