"""`releo run`."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.models import ArgumentInfo

from releo_jax.cli import PROGRAM
from releo_jax.cli.app import app
from releo_jax.configuration import read_configuration
from releo_jax.errors import ReleoError
from releo_jax.urls import url_of


@dataclasses.dataclass(frozen=True)
class _Option:
    """An option of a command, or an argument, which has no switches."""

    kinds: tuple[type, ...]
    switches: tuple[str, ...] = ()


def run_configuration(path: Path, flags: Mapping[str, bool]) -> None:
    """Runs the commands of a file, one after the other; all are read before the first begins.

    Args:
        path: the file.
        flags: switches such as `overwrite` for every command that has them.
    """
    functions = {command.callback.__name__: command.callback for command in app.registered_commands if command.callback}
    commands = {name: _options(function) for name, function in functions.items() if name != "run"}
    lines = []
    for name, options in read_configuration(path):
        if name not in commands:
            raise ReleoError(f"{path}: no command [{name}]; expected one of {', '.join(commands)}")
        given = {flag: True for flag, on in flags.items() if on and flag in commands[name]}
        lines.append([name, *_words(path, name, commands[name], {**options, **given})])
    worst = max(int(app(line, prog_name=PROGRAM, standalone_mode=False) or 0) for line in lines)
    if worst:
        raise typer.Exit(worst)


def _options(function: Callable[..., Any]) -> dict[str, _Option]:
    """Options of a command by their names in a file: long ones without dashes, arguments by their places."""
    found = {}
    for name, hint in typing.get_type_hints(function, include_extras=True).items():
        if name == "return":
            continue
        kind, info = typing.get_args(hint)
        kinds = tuple(one for one in (typing.get_args(kind) or (kind,)) if one is not type(None))
        if isinstance(info, ArgumentInfo):
            found[str(info.metavar).lower()] = _Option(kinds)
            continue
        # Inside Annotated, what stands first is kept as the default.
        told = [words for words in (info.default, *(info.param_decls or ())) if isinstance(words, str)]
        switches = [switch for words in told for switch in words.split("/")]
        long = [switch for switch in switches if switch.startswith("--")] or [f"--{name.replace('_', '-')}"]
        found[long[0].removeprefix("--").replace("-", "_")] = _Option(kinds, tuple(long))
    return found


def _words(path: Path, name: str, known: Mapping[str, _Option], options: Mapping[str, Any]) -> list[str]:
    """The command line that says the same."""
    words: list[str] = []
    places: dict[str, str] = {}
    for key, value in options.items():
        key = key.replace("-", "_")
        if key not in known:
            raise ReleoError(f"{path}: [{name}] has no option {key!r}; expected some of {', '.join(sorted(known))}")
        option = known[key]
        flag = bool in option.kinds
        if flag != isinstance(value, bool) or isinstance(value, dict):
            wanted = "true or false" if flag else "a value or a list of them"
            raise ReleoError(f"{path}: [{name}] {key}: expected {wanted}, got {value!r}")
        if flag:
            words += option.switches[:1] if value else option.switches[1:]
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if Path in option.kinds and url_of(text) is None:
            text = os.path.join(path.parent, text)  # absolute ones stay
        if option.switches:
            words.append(f"{option.switches[0]}={text}")
        else:
            places[key] = text
    # After two dashes a name may begin with one.
    return [*words, "--", *(places[key] for key in known if key in places)]
