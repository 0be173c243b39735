"""Rows of a box as records of the models: what the entries of every field of physics have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Columns = Mapping[str, Any]
"""Values `(batch,)` by the name of the parameter."""


def of(record: Any, fields: Columns, names: Iterable[str]) -> Any:
    """A record from the columns of some names, fields `(batch,)`."""
    return record(**{name: fields[name] for name in names})
