"""What `benchmarks.fuzz` does to inputs: each mutation changes files in place and says what it did.

A mutation takes a source of randomness and the path of an input, and returns words; None where it does not apply.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np

from benchmarks.fuzz_mutations_data import DATASET, TABLE
from benchmarks.fuzz_mutations_rasters import RASTER, Mutation, Rng, drawn, files_of

# Bytes


def _any_file(rng: Rng, path: Path) -> Path | None:
    found = files_of(path)
    return drawn(rng, found) if found else None


def flip(rng: Rng, path: Path) -> str | None:
    """1 to 30 bytes at random places become others."""
    file = _any_file(rng, path)
    if file is None or not file.stat().st_size:
        return None
    content = bytearray(file.read_bytes())
    # Half of them in the first part, where headers are.
    end = min(len(content), 600) if rng.random() < 0.5 else len(content)
    for place in rng.integers(0, end, int(rng.choice([1, 3, 30]))):
        content[place] = int(rng.integers(256))
    file.write_bytes(content)
    return f"bytes of {file.name} changed"


def cut(rng: Rng, path: Path) -> str | None:
    """A file ends early."""
    file = _any_file(rng, path)
    if file is None:
        return None
    os.truncate(file, int(file.stat().st_size * rng.uniform(0.0, 1.0)))
    return f"{file.name} cut"


def zero(rng: Rng, path: Path) -> str | None:
    """A stretch of a file becomes zeros."""
    file = _any_file(rng, path)
    if file is None or file.stat().st_size < 10:
        return None
    content = bytearray(file.read_bytes())
    start, length = int(rng.integers(len(content))), int(rng.integers(1, len(content)))
    content[start : start + length] = bytes(len(content[start : start + length]))
    file.write_bytes(content)
    return f"zeros in {file.name}"


def replaced(rng: Rng, path: Path) -> str | None:
    """A file is empty, gone, a folder, unreadable, noise, a link to nothing, or has bytes appended."""
    file = _any_file(rng, path)
    if file is None:
        return None
    how = drawn(rng, ["empty", "gone", "a folder", "without permission", "noise", "a dead link", "with more behind"])
    content = file.read_bytes()
    if how == "with more behind":
        file.write_bytes(content + rng.bytes(100))
    elif how == "without permission":
        file.chmod(0)
    else:
        file.unlink()
        if how == "empty":
            file.touch()
        elif how == "a folder":
            file.mkdir()
        elif how == "noise":
            file.write_bytes(rng.bytes(2000))
        elif how == "a dead link":
            file.symlink_to(file.with_name("nowhere"))
    return f"{file.name} {how}"


BYTES: tuple[Mutation, ...] = (flip, cut, zero, replaced)


# Names and texts


def rename(rng: Rng, path: Path) -> str | None:
    """A file of a folder gets another name, or is there twice."""
    if not path.is_dir():
        return None
    found = [file for file in files_of(path) if file.suffix in (".tif", ".TIF", ".jp2", ".xml", ".json")]
    if not found:
        return None
    file = drawn(rng, found)
    name = drawn(rng, [f"copy_of_{file.name}", file.name.lower(), f"B99{file.suffix}", f"B04{file.suffix}", "x.tif"])
    target = file.with_name(name)
    if target.exists():
        return None
    if rng.random() < 0.5:
        shutil.copy(file, target)
        return f"{file.name} copied to {name}"
    file.rename(target)
    return f"{file.name} renamed to {name}"


def text(rng: Rng, path: Path) -> str | None:
    """An element of XML or a value of JSON is changed, removed, repeated or emptied; entities; another encoding."""
    found = [file for file in files_of(path) if file.suffix in (".xml", ".json") and file.stat().st_size]
    if not found:
        return None
    file = drawn(rng, found)
    try:
        content = file.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    how = drawn(rng, ["value", "value", "value", "element", "attribute", "entity", "encoding", "empty", "other"])
    if how == "entity":
        attack = '<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">]>'
        content = content.replace("?>", "?>" + attack, 1) if "?>" in content else attack + content
    elif how == "encoding":
        file.write_bytes(b"\xff\xfe" + content.encode("utf-16-le"))
        return f"{file.name} in UTF-16"
    elif how == "empty":
        content = drawn(rng, ["", "   \n", "{}", "<a/>", "null", "[]"])
    else:
        patterns = {
            "value": r">([^<>\s][^<>]*)<|: *\"?([\w.:+-]+)\"?",
            "attribute": r'="([^"]*)"',
            "element": r"<(\w+)[^<>]*>[^<>]*</\1>|\"\w+\": [^,{}]+,?",
            "other": r"<(/?\w+)|\{|\"",
        }
        spots = list(re.finditer(patterns[how], content))
        # Angle grids are most of an element's numbers: drawn by different texts, not by how often they occur.
        if how != "other":
            spots = list({spot.group(0): spot for spot in spots}.values())
        if not spots:
            return None
        spot = drawn(rng, spots)
        if how in ("element", "other"):
            new = drawn(rng, ["", spot.group(0) * 2])
        else:
            old = next(part for part in spot.groups() if part is not None)
            values = ["", "nan", "inf", "-1", "0", "1e400", "abc", "2022-13-45T00:00:00Z", "9" * 30, "\u00e9", "null"]
            new = spot.group(0).replace(old, drawn(rng, values), 1) if old else spot.group(0)
        content = content[: spot.start()] + new + content[spot.end() :]
    file.write_text(content)
    return f"{how} in {file.name}"


def side_car(rng: Rng, path: Path) -> str | None:
    """Angles of `angles.json`: missing, in radians, NaN, beyond the horizon, azimuths, a list, text, another time."""
    file = (path if path.is_dir() else path.parent) / "angles.json"
    if not file.is_file():
        return None
    try:
        note = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict):
        return None
    how = drawn(rng, ["missing", "radians", "nan", "horizon", "azimuths", "list", "text", "time", "sensor", "true"])
    name = drawn(rng, ["sun_zenith", "view_zenith", "relative_azimuth"])
    old = note.get(name, 30.0)
    old = old if isinstance(old, float) else 30.0
    if how == "missing":
        note.pop(name, None)
    elif how == "radians":
        note |= {key: float(np.radians(value)) for key, value in note.items() if isinstance(value, float)}
    elif how == "azimuths":
        note.pop("relative_azimuth", None)
        note |= {"sun_azimuth": 150.0, "view_azimuth": float(drawn(rng, [270.0, -90.0, 630.0]))}
    elif how == "time":
        note["time"] = drawn(
            rng, ["2022-02-30", "", 20220605, None, "0000-00-00T00:00:00", "2022-06-05T10:36:00+02:00"]
        )
    elif how == "sensor":
        note["sensor"] = drawn(rng, ["Terra", "", 7, None, "Sentinel-2B", ["S2A"]])
    else:
        values = {"nan": float("nan"), "horizon": 95.0, "list": [old], "text": str(old), "true": True}
        note[name] = values[how]
    file.write_text(json.dumps(note))
    return f"angles.json: {how} {name if how not in ('time', 'sensor', 'radians', 'azimuths') else ''}".strip()


MUTATIONS: dict[str, tuple[tuple[Mutation, ...], ...]] = {
    "GeoTIFF folder": (BYTES, RASTER, RASTER, RASTER, (rename, side_car, side_car, text)),
    "GeoTIFF file": (BYTES, RASTER, RASTER, RASTER, (side_car,)),
    "NetCDF": (BYTES, DATASET, DATASET, DATASET, DATASET),
    "NetCDF of others": (BYTES, DATASET, DATASET, DATASET, DATASET),
    "Zarr": (BYTES, DATASET, DATASET, DATASET),
    "Zarr of others": (BYTES, DATASET, DATASET, DATASET),
    "SAFE": (BYTES, RASTER, RASTER, (text, rename)),
    "Theia": (BYTES, RASTER, RASTER, (text, rename)),
    "Landsat": (BYTES, RASTER, RASTER, (text, rename)),
    "Sentinel-1": (BYTES, RASTER, RASTER, (rename,)),
    "CSV": (BYTES, TABLE, TABLE, TABLE, TABLE, TABLE),
    "Parquet": (BYTES, TABLE, TABLE, TABLE, TABLE, TABLE),
}
"""Groups of mutations by kind: a group is drawn, then one of it."""


def spoil(rng: Rng, kind: str, path: Path) -> list[str]:
    """Applies one to three drawn mutations and says what they did; none in one case of fifteen."""
    if rng.random() < 1 / 15:
        return []
    done: list[str] = []
    for _ in range(int(rng.integers(1, 4))):
        for _ in range(8):  # not every one applies
            words = None
            with contextlib.suppress(Exception):  # what was spoilt before may be beyond what these libraries read
                words = drawn(rng, drawn(rng, MUTATIONS[kind]))(rng, path)
            if words is not None:
                done.append(words)
                break
    return done
