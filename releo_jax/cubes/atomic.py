"""All or nothing: write beside the target, then rename."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from rasterio._err import CPLE_BaseError  # what rasterio.shutil.copy lets through; it has no public name
from rasterio.errors import RasterioError

from releo_jax.errors import ReleoError

MARKER = "releo.json"
"""File that says that a folder was written by this package, and may be replaced by it."""

_LITTLE_SPACE = 1 << 20
"""Fewer free bytes than this after a failed write are taken for its cause."""


@contextlib.contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path in the target's folder and renames it to the target when the block ends well.

    The temporary file or folder keeps the target's suffix. It is removed if the block raises (an interrupt too), and
    what was there under the target's name stays as it was. Problems of the disk become a `ReleoError`.
    """
    target = Path(target)
    folder = target.parent
    if not folder.is_dir():
        raise ReleoError(f"{target}: cannot write, there is no folder {folder}; create it")
    if target.is_dir() and not is_ours(target):
        raise ReleoError(f"{target}: cannot write, a folder with other files has this name; choose another name")
    temporary = folder / f".{target.stem}.{uuid.uuid4().hex[:8]}.part{target.suffix}"
    try:
        _probe(temporary)
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"expected the writer to have written {temporary}")
        _put(temporary, target)
    except OSError as error:
        message = explain(error, target)
        if message is None:
            raise
        raise ReleoError(message) from error
    finally:
        _remove(temporary)


@contextlib.contextmanager
def writing(target: str | os.PathLike[str]) -> Iterator[None]:
    """Turns whatever a library raises while it writes for a target into a `ReleoError`.

    GDAL and HDF5 tell that a write failed, not why: these calls do nothing but write, so that nothing else is hidden.
    """
    try:
        yield
    except (OSError, RuntimeError, RasterioError, CPLE_BaseError) as error:
        detail = " ".join(str(error).split())[:120]
        message = explain(error, Path(target)) or (
            f"{target}: writing failed, nothing was written ({detail}); the disk may be full or gone: check it"
        )
        raise ReleoError(message) from error


def is_ours(folder: Path) -> bool:
    """Whether a folder may be replaced: empty, a Zarr store, or written by this package."""
    names = {entry.name for entry in folder.iterdir()}
    return not names or bool(names & {"zarr.json", ".zgroup", MARKER})


def explain(error: BaseException, target: Path) -> str | None:
    """One line for a failure to write that the user can remedy, None for any other failure."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error):
        return f"{target}: the disk is full, nothing was written; free some space or choose another disk"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or "Permission denied" in str(error):
        return f"{target}: no permission to write here, nothing was written; choose another folder"
    if number == errno.ENAMETOOLONG:
        return f"{target}: the name is too long; choose a shorter one"
    try:
        free = shutil.disk_usage(target.parent).free
    except OSError:
        return None
    if free < _LITTLE_SPACE:  # GDAL and HDF5 say that a write failed, not why
        return f"{target}: the disk is full, nothing was written; free some space or choose another disk"
    return None


def _probe(temporary: Path) -> None:
    """Raises what creating a file of this name raises: libraries hide the reason."""
    with open(temporary, "xb"):
        pass
    temporary.unlink()


def _put(temporary: Path, target: Path) -> None:
    if temporary.is_dir() and target.is_file():
        raise ReleoError(f"{target}: cannot write a folder, a file has this name; remove it or choose another name")
    if temporary.is_dir() and target.is_dir():
        # A folder cannot replace one that has content in one step: move the old one aside, and back on failure.
        aside = temporary.with_name(f"{temporary.name}.old")
        os.replace(target, aside)
        try:
            os.replace(temporary, target)
        except BaseException:
            os.replace(aside, target)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    elif target.is_dir():
        target.rmdir()  # empty, or `is_ours` would have refused
        os.replace(temporary, target)
    else:
        os.replace(temporary, target)


def _remove(path: Path) -> None:
    """Removes a temporary file or folder and its companions (`.aux.xml`, overviews)."""
    for entry in path.parent.iterdir():
        if not entry.name.startswith(path.name):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
