"""What `benchmarks.fuzz` does to inputs: each mutation changes files in place and says what it did.

A mutation takes a source of randomness and the path of an input, and returns words; None where it does not apply.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from benchmarks.fuzz_mutations_data import DATASET, TABLE

Rng = np.random.Generator
Mutation = Callable[[Rng, Path], str | None]


def files_of(path: Path, pattern: str = "*") -> list[Path]:
    """The files of an input, sorted; a file stands for its folder where that holds nothing but the input."""
    if path.is_file():
        return [path] if path.match(pattern) else []
    return sorted(file for file in path.rglob(pattern) if file.is_file() and file.name != "truth.nc")


def _drawn(rng: Rng, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]


# Bytes


def _any_file(rng: Rng, path: Path) -> Path | None:
    found = files_of(path)
    return _drawn(rng, found) if found else None


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
    how = _drawn(rng, ["empty", "gone", "a folder", "without permission", "noise", "a dead link", "with more behind"])
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


# Rasters


def _rewrite(file: Path, change: Callable[[dict[str, Any], np.ndarray, dict[str, Any]], np.ndarray | None]) -> bool:
    """Writes a raster file anew after `change(profile, values (band, y, x), tags)`; whether it could be read."""
    try:
        with rasterio.open(file) as source:
            values = source.read()
            profile = {"crs": source.crs, "transform": source.transform, "nodata": source.nodata}
            tags: dict[str, Any] = {
                "scales": source.scales,
                "offsets": source.offsets,
                "descriptions": source.descriptions,
                "tags": {},
                "gcps": None,
            }
    except (OSError, rasterio.errors.RasterioError):
        return False
    changed = change(profile, values, tags)
    values = values if changed is None else changed
    nodata = profile["nodata"]
    if nodata is not None and not rasterio.dtypes.in_dtype_range(nodata, values.dtype):
        profile["nodata"] = None
    profile |= {"driver": "GTiff", "count": values.shape[0], "height": values.shape[1], "width": values.shape[2]}
    file.unlink()
    with rasterio.open(file, "w", dtype=values.dtype, **profile) as target:
        target.write(values)
        target.scales, target.offsets = tags["scales"], tags["offsets"]
        target.descriptions = tags["descriptions"]
        target.update_tags(**tags["tags"])
        if tags["gcps"]:
            target.gcps = tags["gcps"]
    return True


def _rasters(rng: Rng, path: Path) -> tuple[list[Path], str]:
    """One raster file of an input, all of one kind, or all."""
    found = [file for file in files_of(path) if file.suffix.lower() in (".tif", ".jp2") and file.stat().st_size]
    if not found:
        return [], ""
    how = rng.random()
    if how < 0.35:
        file = _drawn(rng, found)
        return [file], file.name
    if how < 0.5:
        bands = [file for file in found if re.search(r"B\d|_v[vh]_", file.name)]
        return (bands, "all bands") if bands else (found, "all files")
    return found, "all files"


def _header(say: Callable[[Rng], tuple[str, Callable[..., Any]]]) -> Mutation:
    """The mutation that changes headers and numbers of rasters as `say` tells, with the words for it."""

    def mutate(rng: Rng, path: Path) -> str | None:
        files, which = _rasters(rng, path)
        words, change = say(rng)
        if not files or not all(_rewrite(file, change) for file in files):
            return None
        return f"{words} ({which})"

    return mutate


def _crs(rng: Rng) -> tuple[str, Callable[..., Any]]:
    crs = _drawn(rng, [None, "EPSG:32633", "EPSG:4326", "EPSG:3035", "EPSG:2154"])

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> None:
        profile["crs"] = crs

    return f"CRS {crs}", change


def _transform(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """Other transforms: y upwards, x to the left, rotated, none, shifted, degrees, oblong pixels, GCPs instead."""
    how = _drawn(
        rng, ["ascending", "descending x", "rotated", "none", "shifted", "degrees", "oblong", "gcps", "sheared", "huge"]
    )

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> np.ndarray | None:
        t, (height, width) = profile["transform"], values.shape[1:]
        if how == "ascending":
            profile["transform"] = Affine(t.a, 0, t.c, 0, -t.e, t.f + height * t.e)
            return values[:, ::-1]
        if how == "descending x":
            profile["transform"] = Affine(-t.a, 0, t.c + width * t.a, 0, t.e, t.f)
            return values[:, :, ::-1]
        if how in ("none", "gcps"):
            profile.pop("transform")
        if how == "gcps":
            corners = [(0, 0), (0, width), (height, 0), (height, width)]
            tags["gcps"] = ([GroundControlPoint(r, c, *(t * (c, r))) for r, c in corners], profile.pop("crs"))
        changed = {
            "rotated": t * Affine.rotation(17.0),
            "shifted": Affine.translation(t.a * 3.4, 0) * t,
            "degrees": Affine(1e-4, 0, 9.0, 0, -1e-4, 47.0),
            "oblong": Affine(t.a, t.b, t.c, t.d, t.e * 2, t.f),
            "sheared": t * Affine.shear(0.0, 5.0),
            "huge": Affine(t.a * 1e9, 0, t.c, 0, t.e * 1e9, t.f),
        }
        if how in changed:
            profile["transform"] = changed[how]
        return None

    return f"transform {how}", change


def _dtype(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """Other types, with the same meaning by scale and offset where the type allows it."""
    how = _drawn(
        rng,
        ["uint8", "int8", "int16 with offset", "uint16", "int32", "float32", "float64", "complex64", "packed floats"],
    )

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> np.ndarray:
        scales = np.array(tags["scales"])[:, None, None]
        offsets = np.array(tags["offsets"])[:, None, None]
        real = values * scales + offsets
        ones, zeros = (1.0,) * len(values), (0.0,) * len(values)
        if how == "int16 with offset":
            tags["scales"], tags["offsets"] = (1e-4,) * len(values), (0.3,) * len(values)
            profile["nodata"] = -32768
            return np.clip(np.rint((np.nan_to_num(real) - 0.3) * 1e4), -32767, 32767).astype(np.int16)
        if how in ("float32", "float64", "complex64"):
            tags["scales"], tags["offsets"] = ones, zeros
            profile["nodata"] = None
            return real.astype(how)
        if how == "packed floats":
            return values.astype(np.float32)
        return np.clip(np.nan_to_num(values), *_limits(how)).astype(how)

    return how, change


def _limits(name: str) -> tuple[float, float]:
    info = np.iinfo(name)
    return float(info.min), float(info.max)


def _scale(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """Scale and offset in the header: none, only one of them, doubled, zero, negative, NaN, of one band another."""
    how = _drawn(rng, ["none", "no scale", "no offset", "doubled", "zero", "negative", "nan", "of one band", "offset"])

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> None:
        scales, offsets = np.array(tags["scales"]), np.array(tags["offsets"])
        if how in ("none", "no scale"):
            scales[:] = 1.0
        if how in ("none", "no offset"):
            offsets[:] = 0.0
        factor = {"doubled": 2.0, "zero": 0.0, "negative": -1.0, "nan": np.nan}.get(how, 1.0)
        scales *= factor
        if how == "of one band":
            scales[-1] *= 0.5
        if how == "offset":
            offsets[0] += 0.05
        tags["scales"], tags["offsets"] = tuple(scales), tuple(offsets)

    return f"scale: {how}", change


def _nodata(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """No data that is missing, wrong, or there in many pixels."""
    value = _drawn(rng, [None, 0, 1, -9999, 65535, 255, float("nan"), 1500, -1e38])

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> np.ndarray | None:
        profile["nodata"] = value
        return None

    return f"nodata {value}", change


def _numbers(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """Numbers: 65535, NaN, infinity, the lowest and highest of the type, all of one number."""
    what = _drawn(rng, ["65535", "nan", "inf", "lowest", "highest", "constant", "nodata", "zero"])
    share = _drawn(rng, [0.05, 0.5, 1.0])
    seed = int(rng.integers(1 << 31))

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> np.ndarray:
        values = values.copy()
        floats = values.dtype.kind == "f"
        info = np.finfo(values.dtype) if floats else None if values.dtype.kind == "c" else np.iinfo(values.dtype)
        number = {
            "65535": 65535,
            "nan": np.nan if floats else 0,
            "inf": np.inf if floats else 0,
            "lowest": 0 if info is None else info.min,
            "highest": 0 if info is None else info.max,
            "constant": values.flat[0],
            "nodata": profile["nodata"] or 0,
            "zero": 0,
        }[what]
        if info is not None and not floats:
            number = int(np.clip(number, info.min, info.max))
        values[:, np.random.default_rng(seed).random(values.shape[1:]) < share] = number
        return values

    return f"{what} in {100 * share:.0f} %", change


def _size(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """One pixel, one row, one column, some rows fewer."""
    how = _drawn(rng, ["one pixel", "one row", "one column", "fewer rows"])
    height = {"one pixel": 1, "one row": 1, "fewer rows": 5}.get(how)
    width = {"one pixel": 1, "one column": 1}.get(how)

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> np.ndarray:
        return values[:, :height, :width]

    return how, change


def _names(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """Descriptions of bands: none, twice the same, odd ones, lower case, and an odd date tag."""
    how = _drawn(rng, ["none", "twice", "odd", "lower case", "date"])

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> None:
        names = [text or "" for text in tags["descriptions"]]
        if how == "date":
            tags["tags"] = {"TIFFTAG_DATETIME": "2022:13:45 10:00:00"}
        tags["descriptions"] = {
            "none": tuple(None for _ in names),
            "twice": tuple(names[:1] * len(names)),
            "odd": tuple(f"channel \u00e9 {index}" for index in range(len(names))),
            "lower case": tuple(text.lower() for text in names),
        }.get(how, tuple(names))

    return f"names: {how}", change


def _more_bands(rng: Rng) -> tuple[str, Callable[..., Any]]:
    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> np.ndarray:
        for name in ("scales", "offsets", "descriptions"):
            tags[name] = tuple(tags[name]) * 2
        return np.concatenate([values, values])

    return "every band twice in a file", change


RASTER: tuple[Mutation, ...] = tuple(
    map(_header, (_crs, _transform, _dtype, _scale, _nodata, _numbers, _size, _names, _more_bands, _transform, _crs))
)


# Names and texts


def rename(rng: Rng, path: Path) -> str | None:
    """A file of a folder gets another name, or is there twice."""
    if not path.is_dir():
        return None
    found = [file for file in files_of(path) if file.suffix in (".tif", ".TIF", ".jp2", ".xml", ".json")]
    if not found:
        return None
    file = _drawn(rng, found)
    name = _drawn(rng, [f"copy_of_{file.name}", file.name.lower(), f"B99{file.suffix}", f"B04{file.suffix}", "x.tif"])
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
    file = _drawn(rng, found)
    try:
        content = file.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    how = _drawn(rng, ["value", "value", "value", "element", "attribute", "entity", "encoding", "empty", "other"])
    if how == "entity":
        attack = '<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">]>'
        content = content.replace("?>", "?>" + attack, 1) if "?>" in content else attack + content
    elif how == "encoding":
        file.write_bytes(b"\xff\xfe" + content.encode("utf-16-le"))
        return f"{file.name} in UTF-16"
    elif how == "empty":
        content = _drawn(rng, ["", "   \n", "{}", "<a/>", "null", "[]"])
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
        spot = _drawn(rng, spots)
        if how in ("element", "other"):
            new = _drawn(rng, ["", spot.group(0) * 2])
        else:
            old = next(part for part in spot.groups() if part is not None)
            values = ["", "nan", "inf", "-1", "0", "1e400", "abc", "2022-13-45T00:00:00Z", "9" * 30, "\u00e9", "null"]
            new = spot.group(0).replace(old, _drawn(rng, values), 1) if old else spot.group(0)
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
    how = _drawn(rng, ["missing", "radians", "nan", "horizon", "azimuths", "list", "text", "time", "sensor", "true"])
    name = _drawn(rng, ["sun_zenith", "view_zenith", "relative_azimuth"])
    old = note.get(name, 30.0)
    old = old if isinstance(old, float) else 30.0
    if how == "missing":
        note.pop(name, None)
    elif how == "radians":
        note |= {key: float(np.radians(value)) for key, value in note.items() if isinstance(value, float)}
    elif how == "azimuths":
        note.pop("relative_azimuth", None)
        note |= {"sun_azimuth": 150.0, "view_azimuth": float(_drawn(rng, [270.0, -90.0, 630.0]))}
    elif how == "time":
        note["time"] = _drawn(
            rng, ["2022-02-30", "", 20220605, None, "0000-00-00T00:00:00", "2022-06-05T10:36:00+02:00"]
        )
    elif how == "sensor":
        note["sensor"] = _drawn(rng, ["Terra", "", 7, None, "Sentinel-2B", ["S2A"]])
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
                words = _drawn(rng, _drawn(rng, MUTATIONS[kind]))(rng, path)
            if words is not None:
                done.append(words)
                break
    return done
