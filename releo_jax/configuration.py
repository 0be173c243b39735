"""What was asked for, as TOML: kept with a result, and read by `releo run`.

    [invert]
    input = "scene.nc"
    output = "maps.nc"
    variables = ["lai", "ccc"]
    level = 0.9

A table for each command, in the order in which they run; its keys are the options of the command by their long names.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from releo_jax.errors import ReleoError


def configuration(command: str, options: Mapping[str, Any]) -> str:
    """The table of a command; options that are None are left out.

    Args:
        command: `invert`, ...
        options: text, numbers, truth values, paths, or sequences of text.
    """
    lines = [f"[{command}]"]
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        elif not isinstance(value, str | bool | int | float):
            value = [str(item) for item in value]
        # Text, numbers and lists of them are written alike in JSON and in TOML.
        lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def read_configuration(path: str | os.PathLike[str]) -> list[tuple[str, dict[str, Any]]]:
    """Commands with their options, in their order; several of one command stand as `[[invert]]`.

    Raises:
        ReleoError: the file is not there, or not such a file.
    """
    path = Path(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReleoError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ReleoError(f"{path}: not a TOML file that can be read ({error})") from error
    commands = []
    for name, tables in found.items():
        for table in tables if isinstance(tables, list) else [tables]:
            if not isinstance(table, dict):
                raise ReleoError(f"{path}: expected a table such as [invert], got {name} = {tables!r}")
            commands.append((name, table))
    if not commands:
        raise ReleoError(f"{path}: no command in it; expected a table such as [invert]")
    return commands
