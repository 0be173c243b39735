"""The command `releo`: one clear line for every problem, and no traceback unless asked for.

Exit status: 0 done, 1 a problem with the input, the output or the program, 2 a wrong command line, 3 a map of an input
that could not be read everywhere, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

PROGRAM = "releo"
PARTIAL = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    Args:
        arguments: words after the program's name; None for those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words  # wherever it stands
    words = [word for word in words if word != "--debug"]
    try:
        from releo_jax.cli.app import app  # not at the top: Ctrl-C may come while it loads

        # GDAL would keep a twentieth of the machine's memory for tiles that nobody asks for again.
        os.environ.setdefault("GDAL_CACHEMAX", "256")
        if not debug:
            _quieten()
        status = app(words or ["--help"], prog_name=PROGRAM, standalone_mode=False)
        # Typer answers Ctrl-C with this status.
        return _interrupted(words) if status == 130 else int(status or 0)
    except KeyboardInterrupt:
        return _interrupted(words)
    except BrokenPipeError:
        # The reader of the output (`| head`) has gone. Python would complain once more when it closes it.
        sys.stdout = None  # type: ignore[assignment]
        return 1
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def _quieten() -> None:
    """Keeps the warnings of libraries, which the user can do nothing about, off the screen."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    for name in ("jax", "rasterio", "distributed"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _interrupted(words: Sequence[str]) -> int:
    kept = "finished blocks are kept: give the same command again to go on" if "--resume" in words else None
    _say(f"interrupted; {kept or 'nothing was written'}")
    return 130


def _explain(error: Exception) -> int:
    """Says in one line what is wrong, and returns the exit status."""
    from releo_jax.errors import ReleoError

    if isinstance(error, ReleoError):
        _say(str(error))
        return 1
    if hasattr(error, "format_message"):  # Typer's own: a wrong option, a missing argument
        context = getattr(error, "ctx", None)
        command = PROGRAM if context is None else context.command_path
        _say(f"{error.format_message().rstrip('.')}; see {command} --help")
        return 2
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror.lower()}; check the name, the permissions and the disk")
        return 1
    if isinstance(error, MemoryError):
        _say("out of memory; give a smaller --block-size, or fewer --variables")
        return 1
    _say(f"unexpected {type(error).__name__}: {error}; add --debug to see where, and report it")
    return 1


def _say(text: str) -> None:
    print(f"{PROGRAM}: {' '.join(text.split())}", file=sys.stderr, flush=True)
