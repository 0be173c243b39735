"""Finished blocks of a map that is not finished, kept beside it, so that a run that was killed can go on.

    with BlockStore("maps.nc", {"input": stamps("scene.nc"), "level": 0.9}) as store:
        values = store.read(window)                  # None unless an earlier run of the same request finished it
        store.write(window, values)

Blocks are NumPy archives, without pickles, whose arrays carry checksums. The folder is removed when the map is done.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from releo_jax.cubes.atomic import writing
from releo_jax.cubes.blocks import Window
from releo_jax.errors import ReleoError
from releo_jax.urls import url_of

try:
    import fcntl
except ImportError:  # Windows; there two runs for one map are not kept apart
    fcntl = None  # type: ignore[assignment]

_REQUEST = "request.json"
_LOCK = "lock"

_log = logging.getLogger(__name__)


def stamps(path: str | os.PathLike[str]) -> list[list[Any]]:
    """Name, size and time of change of a file, or of every file of a folder; of what is at a URL the name alone."""
    url = url_of(path)
    if url is not None:
        return [[url]]
    path = Path(path)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found = [(str(file.relative_to(path.parent)), file.stat()) for file in files]
    return [[name, about.st_size, about.st_mtime_ns] for name, about in found]


class BlockStore:
    """A folder of finished blocks; a context that keeps it when it ends badly and removes it when it ends well.

    Args:
        output: the map that is being made; the folder lies beside it, hidden.
        request: what the blocks are blocks of, as JSON. Blocks of another request are removed.

    Raises:
        ReleoError: on entry, if another run is making this map, or the folder is a link or cannot be written.
    """

    def __init__(self, output: str | os.PathLike[str], request: Mapping[str, Any]) -> None:
        self.output = Path(output)
        self.folder = self.output.with_name(f".{self.output.name}.blocks")
        self._request = json.dumps(request, sort_keys=True, default=str)
        self._lock: IO[str] | None = None

    def __enter__(self) -> BlockStore:
        """Takes the folder over, and removes what runs that were killed left behind."""
        lock = self.folder / _LOCK
        if self.folder.is_symlink() or lock.is_symlink():  # what lies there would be emptied
            raise ReleoError(f"{self.folder}: a link in the place of the blocks of a map; remove it")
        with writing(self.output):
            self.folder.mkdir(exist_ok=True)
            self._lock = open(lock, "w")
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._lock.close()
                raise ReleoError(
                    f"{self.output}: another run is making this map; wait for it, or choose another name"
                ) from error
            except OSError:
                _log.warning("%s: this file system knows no locks; start no second run for this map", self.output)
        with writing(self.output):
            self._clean()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the folder if all went well."""
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def _clean(self) -> None:
        stem, suffix = re.escape(self.output.stem), re.escape(self.output.suffix)
        for entry in self.output.parent.iterdir():
            left = re.fullmatch(rf"\.{stem}\.[0-9a-f]{{8}}\.part{suffix}(\.stream|\.old)?(\.aux\.xml)?", entry.name)
            if not left:
                continue
            if left[1] == ".old" and not self.output.exists():
                os.replace(entry, self.output)  # the run ended while it put the new folder in the place of this one
            elif entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        request = self.folder / _REQUEST
        if request.exists() and request.read_text() == self._request:
            for unfinished in self.folder.glob("*.part"):
                unfinished.unlink()
            return
        others = [entry for entry in self.folder.iterdir() if entry.name != _LOCK]
        if others:
            _log.warning("%s: the blocks kept are of another request or input; it begins anew", self.output)
        for entry in others:
            entry.unlink()
        self._put(request, lambda file: file.write(self._request.encode()))

    def holds(self, window: Window) -> bool:
        """Whether a block is there, damaged or not."""
        return self._path(window).exists()

    def read(self, window: Window) -> dict[str, np.ndarray] | None:
        """Values of a block `(pixel,)`; None if it is not there or damaged."""
        path = self._path(window)
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}  # reading compares the checksums
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            _log.warning("%s: a kept block is damaged, it is made again", self.output)
            return None

    def write(self, window: Window, values: Mapping[str, np.ndarray]) -> None:
        """Keeps the values of a block."""
        with writing(self.output):
            self._put(self._path(window), lambda file: np.savez(file, allow_pickle=False, **dict(values)))

    def _path(self, window: Window) -> Path:
        return self.folder / f"{window.time}_{window.row}_{window.column}.npz"

    def _put(self, path: Path, write: Callable[[IO[bytes]], Any]) -> None:
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            write(file)
        os.replace(part, path)
