"""Writes the parts of the site that follow from the code: tables of parameters, the API pages, the commands' help.

A page asks for them with a comment on its own line:

    <!-- parameters: physics.Leaf physics.Canopy -->
    <!-- help: releo invert -->
"""

import importlib
import os
import pathlib
import re
import subprocess
import sys

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from physics.parameters import parameters

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("physics", "releo_jax")


def on_files(files, config):
    """Adds one API page for each package, with a section for each public module."""
    for package in PACKAGES:
        files.append(File.generated(config, f"api/{package}.md", content=_api_page(package)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Replaces the comments by what they ask for."""
    markdown = re.sub(
        r"^<!-- parameters: (.+) -->$", lambda match: "\n\n".join(map(_table, match[1].split())), markdown, flags=re.M
    )
    return re.sub(r"^<!-- help: releo ?(.*) -->$", lambda match: _help(match[1].split()), markdown, flags=re.M)


def _api_page(package: str) -> str:
    lines = [f"# `{package}`", "", f"::: {package}", "    options:", "      members: false", ""]
    for path in sorted((ROOT / package).rglob("*.py")):
        module = path.relative_to(ROOT).with_suffix("")
        parts = module.parts[:-1] if module.name == "__init__" else module.parts
        script = any(part.startswith("_") or part == "build_tables" for part in parts)
        if len(parts) == 1 or script or not path.read_text().strip():
            continue
        lines += [f"## `{'.'.join(parts)}`", "", f"::: {'.'.join(parts)}", ""]
    return "\n".join(lines)


def _table(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    record = getattr(importlib.import_module(module), attribute)
    rows = ["| field | unit | from | to | symbol | what it is |", "|---|---|---:|---:|---|---|"]
    for parameter in parameters(record).values():
        low, high = parameter.bounds
        unit = "–" if parameter.unit == "1" else parameter.unit
        rows.append(
            f"| `{parameter.name}` | {unit} | {low:g} | {high:g} | {parameter.symbol} | {parameter.description} |"
        )
    if len(rows) == 2:
        raise PluginError(f"{name} declares no parameters")
    return f"### `{attribute}`\n\n" + "\n".join(rows)


def _help(arguments: list[str]) -> str:
    command = [str(pathlib.Path(sys.executable).with_name("releo")), *arguments, "--help"]
    environment = os.environ | {"COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        raise PluginError(f"{' '.join(command)} failed: {result.stderr.strip()}")
    text = "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())
    return f"```text\n{text}\n```"
