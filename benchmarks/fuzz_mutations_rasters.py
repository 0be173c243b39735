"""Mutations of the headers and numbers of raster files; see `benchmarks.fuzz_mutations`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

Rng = np.random.Generator
Mutation = Callable[[Rng, Path], str | None]


def files_of(path: Path, pattern: str = "*") -> list[Path]:
    """The files of an input, sorted; a file stands for its folder where that holds nothing but the input."""
    if path.is_file():
        return [path] if path.match(pattern) else []
    return sorted(file for file in path.rglob(pattern) if file.is_file() and file.name != "truth.nc")


def drawn(rng: Rng, items: Sequence[Any]) -> Any:
    """One of some things."""
    return items[int(rng.integers(len(items)))]


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
        file = drawn(rng, found)
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
    crs = drawn(rng, [None, "EPSG:32633", "EPSG:4326", "EPSG:3035", "EPSG:2154"])

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> None:
        profile["crs"] = crs

    return f"CRS {crs}", change


def _transform(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """Other transforms: y upwards, x to the left, rotated, none, shifted, degrees, oblong pixels, GCPs instead."""
    how = drawn(
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
    how = drawn(
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
    how = drawn(rng, ["none", "no scale", "no offset", "doubled", "zero", "negative", "nan", "of one band", "offset"])

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
    value = drawn(rng, [None, 0, 1, -9999, 65535, 255, float("nan"), 1500, -1e38])

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> np.ndarray | None:
        profile["nodata"] = value
        return None

    return f"nodata {value}", change


def _numbers(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """Numbers: 65535, NaN, infinity, the lowest and highest of the type, all of one number."""
    what = drawn(rng, ["65535", "nan", "inf", "lowest", "highest", "constant", "nodata", "zero"])
    share = drawn(rng, [0.05, 0.5, 1.0])
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
    how = drawn(rng, ["one pixel", "one row", "one column", "fewer rows"])
    height = {"one pixel": 1, "one row": 1, "fewer rows": 5}.get(how)
    width = {"one pixel": 1, "one column": 1}.get(how)

    def change(profile: dict[str, Any], values: np.ndarray, tags: dict[str, Any]) -> np.ndarray:
        return values[:, :height, :width]

    return how, change


def _names(rng: Rng) -> tuple[str, Callable[..., Any]]:
    """Descriptions of bands: none, twice the same, odd ones, lower case, and an odd date tag."""
    how = drawn(rng, ["none", "twice", "odd", "lower case", "date"])

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
