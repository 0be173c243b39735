"""Names of things that are not files: URLs, also where they came through a `Path`."""

from __future__ import annotations

import os
import re

_URL = re.compile(r"^(https?|s3):/+(?=[^/])")


def url_of(source: str | os.PathLike[str]) -> str | None:
    """The URL (`http`, `https`, `s3`) that a name is, None if it names a file.

    A `Path` of a URL has lost one of the two slashes after the scheme; it is put back.
    """
    text = os.fspath(source)
    return _URL.sub(r"\1://", text) if _URL.match(text) else None
