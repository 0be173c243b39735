"""Mutations of datasets (NetCDF, Zarr) and of tables; see `benchmarks.fuzz_mutations`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from rasterio.crs import CRS

from benchmarks.fuzz_inputs import load, read_frame, save

Rng = np.random.Generator


def _drawn(rng: Rng, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]


def _changed(change: Callable[[Rng, xr.Dataset], tuple[str, xr.Dataset] | None]) -> Callable[[Rng, Path], str | None]:
    """The mutation that loads a dataset as it is stored, changes it and writes it anew."""

    def mutate(rng: Rng, path: Path) -> str | None:
        try:
            found = change(rng, load(path))
            if found is None:
                return None
            words, dataset = found
            fresh = path.with_name(f"fresh{path.suffix}")
            save(dataset, fresh)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, IndexError, FileNotFoundError):
            shutil.rmtree(path.with_name(f"fresh{path.suffix}"), ignore_errors=True)
            path.with_name(f"fresh{path.suffix}").unlink(missing_ok=True)
            return None  # spoilt before, or nothing that these libraries write
        if path.is_dir():
            shutil.rmtree(path)
        fresh.replace(path)
        return words

    return mutate


def _planes(dataset: xr.Dataset) -> list[str]:
    """Names of the variables that hold reflectance."""
    return [str(name) for name in dataset.data_vars if name == "reflectance" or str(name).startswith("B")]


def axes(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """y upwards, x to the left, other orders of the dimensions, or of those of one variable."""
    how = _drawn(rng, ["y", "x", "order", "order", "order of one"])
    if how in ("y", "x"):
        return f"{how} reversed", dataset.isel({how: slice(None, None, -1)})
    names = [str(name) for name in rng.permutation([str(dim) for dim in dataset.sizes])]
    if how == "order":
        return f"order {' '.join(names)}", dataset.transpose(*names, missing_dims="ignore")
    one = _drawn(rng, [name for name in dataset.data_vars if dataset[name].ndim > 1])
    dataset[one] = dataset[one].transpose(*names, missing_dims="ignore")
    return f"order {' '.join(names)} of {one}", dataset


def types(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """Reflectance in another type, with the same meaning where the type allows it."""
    how = _drawn(rng, ["int16", "uint16", "uint8", "float64", "complex64", "bool", "int64", "S4", "int16 of one"])
    names = _planes(dataset)
    names = names[-1:] if how == "int16 of one" else names
    for name in names:
        attrs = dict(dataset[name].attrs)
        values = dataset[name].values * attrs.pop("scale_factor", 1.0) + attrs.pop("add_offset", 0.0)
        attrs.pop("_FillValue", None)
        if how in ("int16", "uint16", "int16 of one"):
            dtype = how.split(" ")[0]
            shift = 0.5 if dtype == "int16" else -0.1
            numbers = np.rint((np.nan_to_num(values) - shift) * 2e4)
            numbers = np.clip(numbers, np.iinfo(dtype).min + 1, np.iinfo(dtype).max)
            attrs |= {"scale_factor": 5e-5, "add_offset": shift}
            values = numbers
        else:
            dtype = how
        dataset[name] = (dataset[name].dims, values.astype(dtype), attrs)
    if rng.random() < 0.7:
        dataset = dataset.drop_vars("mask", errors="ignore")
    return f"reflectance as {how}", dataset


def packing(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """Attributes of the packing: absent, doubled, alone, text, zero, of one band another; fill values."""
    how = _drawn(rng, ["no scale", "no offset", "doubled", "text", "zero", "nan", "of one", "offset", "list"])
    names = _planes(dataset)
    for name in names[-1:] if how == "of one" else names:
        attrs = dataset[name].attrs
        if how == "no scale":
            attrs.pop("scale_factor", None)
        elif how == "no offset":
            attrs.pop("add_offset", None)
        elif how == "offset":
            attrs["add_offset"] = attrs.get("add_offset", 0.0) + 0.05
        else:
            old = attrs.get("scale_factor", 1.0)
            attrs["scale_factor"] = {
                "doubled": 2 * old, "text": "1e-4", "zero": 0.0, "nan": np.nan, "of one": 0.5 * old, "list": [old, old]
            }[how]  # fmt: skip
    if rng.random() < 0.5:
        dataset = dataset.drop_vars("mask", errors="ignore")
    return f"packing: {how}", dataset


def fills(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """Fill values: absent, wrong, there under another name, text; 65535, NaN, infinity, -9999 in some pixels."""
    names = _planes(dataset)
    if rng.random() < 0.5:
        how = _drawn(rng, ["absent", "missing_value", "wrong", "zero"])
        for name in names:
            attrs, dtype = dataset[name].attrs, dataset[name].dtype
            old = attrs.pop("_FillValue", None)
            if how == "missing_value" and old is not None:
                attrs["missing_value"] = old
            elif how in ("wrong", "zero"):
                attrs["_FillValue"] = dtype.type(0 if how == "zero" else 1500 if dtype.kind in "iu" else 0.05)
        return f"fill value {how}", dataset
    number = _drawn(rng, [65535, np.nan, np.inf, -np.inf, -9999, 0, 1.7, -0.2])
    share = _drawn(rng, [0.05, 0.5, 1.0])
    for name in names:
        values = dataset[name].values
        if values.dtype.kind in "iu":
            info = np.iinfo(values.dtype)
            number = int(np.clip(number, info.min, info.max)) if np.isfinite(number) else info.max
        values[rng.random(values.shape) < share] = number
    return f"{number} in {100 * share:.0f} %", dataset


def grids(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """CRS and coordinates: absent, others, damaged, in contradiction, uneven, by other names."""
    how = _drawn(
        rng,
        ["no CRS", "other CRS", "CF only", "bad CRS", "CRS attribute", "no transform", "other transform",
         "bad transform", "rotated", "uneven", "nan", "no x", "names", "degrees", "km", "single",
         "shifted coordinates", "kilo"],
    )  # fmt: skip
    held = [name for name in dataset.variables if name == "spatial_ref"]
    attrs = dataset["spatial_ref"].attrs if held else {}
    if how == "no CRS":
        dataset = dataset.drop_vars("spatial_ref", errors="ignore")
    elif how in ("other CRS", "CF only"):
        crs = CRS.from_epsg(_drawn(rng, [32633, 4326, 3035] if how == "other CRS" else [32632, 3035]))
        fresh = xr.Dataset(coords={"x": [0.0], "y": [0.0]}).rio.write_crs(crs)["spatial_ref"].attrs
        if how == "CF only":
            fresh = {key: value for key, value in fresh.items() if key not in ("crs_wkt", "spatial_ref")}
            dataset = dataset.drop_vars("spatial_ref", errors="ignore")
            dataset["projection"] = ((), 0, fresh)
            for name in [*dataset.data_vars]:
                if {"y", "x"} <= set(dataset[name].dims):
                    dataset[name].attrs["grid_mapping"] = "projection"
        elif held:
            kept = {key: value for key, value in attrs.items() if key == "GeoTransform"}
            dataset["spatial_ref"].attrs = {**fresh, **kept}
    elif how == "bad CRS" and held:
        attrs["crs_wkt"] = attrs["spatial_ref"] = str(attrs.get("crs_wkt", ""))[:40]
    elif how == "CRS attribute":
        dataset = dataset.drop_vars("spatial_ref", errors="ignore")
        dataset.attrs["crs"] = _drawn(rng, ["EPSG:32632", "no such", 32632, "+init=epsg:32632", ""])
    elif how == "no transform":
        attrs.pop("GeoTransform", None)
    elif how in ("other transform", "rotated", "bad transform"):
        attrs["GeoTransform"] = {
            "other transform": "500000 20 0 5200000 0 -20", "rotated": "600000 10 3 5300040 3 -10",
            "bad transform": _drawn(rng, ["", "abc", "1 2 3", "nan nan nan nan nan nan"])}[how]  # fmt: skip
    elif how == "uneven":
        name = _drawn(rng, ["x", "y"])
        values = dataset[name].values.copy()
        values[len(values) // 2 :] += 4.0
        dataset[name] = (name, values, dataset[name].attrs)
    elif how == "nan":
        name = _drawn(rng, ["x", "y"])
        dataset[name] = (name, np.full(dataset.sizes[name], np.nan))
    elif how == "single":
        name = _drawn(rng, ["x", "y"])
        dataset[name] = (name, np.full(dataset.sizes[name], 600_005.0))
    elif how == "no x":
        dataset = dataset.drop_vars(_drawn(rng, ["x", "y"]))
    elif how == "names":
        old, new = _drawn(rng, [("x", "lon"), ("x", "easting"), ("y", "latitude"), ("time", "t"), ("y", "row")])
        dataset = dataset.rename({old: new})
    elif how == "degrees":
        dataset = dataset.drop_vars("spatial_ref", errors="ignore")
        dataset["x"] = ("x", 9.0 + 1e-4 * np.arange(dataset.sizes["x"]), {"units": "degrees_east"})
        dataset["y"] = ("y", 47.0 - 1e-4 * np.arange(dataset.sizes["y"]), {"units": "degrees_north"})
        if rng.random() < 0.7:
            for name, standard in (("x", "longitude"), ("y", "latitude")):
                dataset[name].attrs["standard_name"] = standard
            dataset = dataset.rename(x="lon", y="lat")
    elif how in ("km", "kilo"):
        for name in ("x", "y"):
            dataset[name] = (name, dataset[name].values / 1e3, {"units": "km" if how == "km" else "m"})
    elif how == "shifted coordinates":
        dataset["x"] = ("x", dataset["x"].values + 7.0, dataset["x"].attrs)
    return f"grid: {how}", dataset


def dates(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """Several dates, unsorted or twice the same; no date, no time, numbers instead, not-a-time, odd units."""
    how = _drawn(rng, ["several", "unsorted", "twice", "none", "scalar", "numbers", "nat", "units", "calendar"])
    if how in ("several", "unsorted", "twice"):
        steps = {"several": [0, 5, 10], "unsorted": [5, 0, 10], "twice": [0, 0]}[how]
        parts = []
        for step in steps:
            part = dataset.copy(deep=True)
            part["time"] = ("time", dataset["time"].values + step, dataset["time"].attrs)
            for name in _planes(part):
                if "time" in part[name].dims and part[name].dtype.kind in "iuf":
                    part[name].values[...] = (part[name].values * (1 + 0.01 * step)).astype(part[name].dtype)
            parts.append(part)
        units = [str(part["time"].attrs.get("units", "")) for part in parts]
        if len(set(units)) != 1 or "days" not in units[0]:
            return None
        return f"dates {how}", xr.concat(parts, "time", data_vars="minimal", coords="minimal", compat="override")
    if how == "none":
        dataset = dataset.isel(time=0, drop=True)
    elif how == "scalar":
        dataset = dataset.isel(time=0)
    elif how == "numbers":
        dataset["time"] = ("time", [20220605])
    elif how == "nat":
        dataset["time"] = ("time", [np.iinfo(np.int64).min], dataset["time"].attrs)
    elif how == "units":
        dataset["time"].attrs["units"] = _drawn(
            rng, ["days since yesterday", "fortnights since 2022-01-01", "days", ""]
        )
    else:
        dataset["time"].attrs["calendar"] = _drawn(rng, ["360_day", "julian", "mayan"])
    return f"dates {how}", dataset


def bands(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """Bands with odd names, twice the same, missing, without names, of other types or sizes."""
    how = _drawn(rng, ["odd", "twice", "missing", "unneeded", "numbers", "lower case", "coarser", "reordered"])
    if "reflectance" in dataset:
        labels = [value.decode() if isinstance(value, bytes) else str(value) for value in dataset["band"].values]
        if how in ("missing", "unneeded", "reordered"):
            gone = {"missing": "B05", "unneeded": "B08"}.get(how)
            kept = [index for index, label in enumerate(labels) if label != gone]
            kept = list(reversed(kept)) if how == "reordered" else kept
            return f"bands {how}", dataset.isel(band=kept)
        if how in ("odd", "twice", "lower case"):
            new = {"odd": [f"channel {i}" for i in range(len(labels))], "twice": [labels[0], *labels[:-1]]}
            dataset["band"] = ("band", new.get(how, [label.lower() for label in labels]))
        elif how == "numbers":
            dataset["band"] = ("band", np.arange(len(labels)))
            if rng.random() < 0.5:
                dataset["reflectance"].attrs["long_name"] = labels
        else:
            return None
        return f"bands {how}", dataset
    if how in ("missing", "unneeded"):
        return f"bands {how}", dataset.drop_vars("B05" if how == "missing" else "B08", errors="ignore")
    if how == "reordered":
        return "bands reordered", dataset[list(dataset.data_vars)[::-1]]
    if how in ("odd", "twice", "lower case"):
        new_name = {"odd": "red", "twice": "copy_of_B8A", "lower case": "b4"}[how]
        return f"bands {how}", dataset.rename({"B04": new_name})
    if how == "coarser":
        part = dataset["B05"].isel(x=slice(None, None, 2), y=slice(None, None, 2))
        dataset["B05"] = (tuple(f"{d}2" if d in "xy" else d for d in map(str, part.dims)), part.values, part.attrs)
        return "a band coarser", dataset
    return None


def angles(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """Angles missing, in radians, NaN, beyond the horizon, of every pixel, text, azimuths, with a scale."""
    how = _drawn(rng, ["missing", "radians", "nan", "horizon", "pixels", "text", "azimuths", "scaled", "some nan"])
    names = [name for name in ("sun_zenith", "view_zenith", "relative_azimuth") if name in dataset]
    if not names:
        return None
    name = _drawn(rng, names)
    if how == "missing":
        dataset = dataset.drop_vars(name)
    elif how == "radians":
        for each in names:
            dataset[each] = (dataset[each].dims, np.radians(dataset[each].values), {"units": "radian"})
    elif how in ("nan", "horizon", "text"):
        value: Any = {"nan": np.nan, "horizon": 95.0, "text": "low"}[how]
        dataset[name] = (dataset[name].dims, np.full(dataset[name].shape, value))
    elif how in ("pixels", "some nan"):
        shape = tuple(dataset.sizes.get(dim, 1) for dim in ("time", "y", "x"))
        values = np.full(shape, float(np.nanmean(dataset[name].values))) + np.linspace(0, 3, shape[2])
        if how == "some nan":
            values[..., ::3] = np.nan
        dims = ("time", "y", "x") if "time" in dataset.dims else ("y", "x")
        dataset[name] = (dims, values.reshape([dataset.sizes[dim] for dim in dims]).astype(np.float32))
    elif how == "azimuths":
        dataset = dataset.drop_vars("relative_azimuth", errors="ignore")
        dataset["sun_azimuth"] = ((), 150.0)
        dataset["view_azimuth"] = ((), _drawn(rng, [270.0, -90.0]))
    else:
        numbers = np.rint(dataset[name].values * 100).astype(np.int16)
        dataset[name] = (dataset[name].dims, numbers, {"scale_factor": 0.01, "add_offset": 0.0})
    return f"angles: {how} {name}", dataset


def sizes(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """One pixel, one row, one column, nothing."""
    how = _drawn(rng, ["one pixel", "one row", "one column", "no row", "no date"])
    cuts: dict[str, dict[str, slice]] = {
        "one pixel": {"y": slice(1), "x": slice(1)},
        "one row": {"y": slice(1)},
        "one column": {"x": slice(1)},
        "no row": {"y": slice(0)},
        "no date": {"time": slice(0)},
    }
    return how, dataset.isel(cuts[how])


def others(rng: Rng, dataset: xr.Dataset) -> tuple[str, xr.Dataset] | None:
    """Sensor, classes and mask: absent, odd, of another type or size."""
    how = _drawn(rng, ["sensor", "no sensor", "no mask", "mask", "scl", "scl type"])
    if how == "sensor":
        dataset.attrs["sensor"] = _drawn(rng, ["Terra", "", 7, "S2B", "landsat8", ["S2A", "S2B"]])
    elif how == "no sensor":
        dataset.attrs.pop("sensor", None)
    elif how == "no mask":
        dataset = dataset.drop_vars("mask", errors="ignore")
    elif how == "mask" and "mask" in dataset:
        dataset["mask"] = dataset["mask"].isel(band=0, drop=True) if "band" in dataset["mask"].dims else dataset["mask"]
    elif "scl" in dataset:
        values = rng.choice([0, 1, 3, 4, 9, 200], dataset["scl"].shape)
        kind = "float32" if how == "scl type" else "uint8"
        dataset["scl"] = (dataset["scl"].dims, values.astype(kind), dataset["scl"].attrs)
    else:
        return None
    return f"others: {how}", dataset


DATASET: tuple[Callable[[Rng, Path], str | None], ...] = tuple(
    _changed(change) for change in (axes, types, packing, fills, grids, grids, dates, bands, angles, sizes, others)
)


def table(rng: Rng, path: Path) -> str | None:
    """Columns, cells and rows of a table: missing, twice, odd, of other types, scaled."""
    try:
        frame = read_frame(path)
    except (OSError, ValueError, KeyError, TypeError, MemoryError):
        return None
    name = _drawn(rng, ["B04", "B05", "B8A", "sun_zenith", "view_zenith", "relative_azimuth", "SCL"])
    if name not in frame or not len(frame):
        return None
    how = _drawn(
        rng,
        ["missing", "twice", "lower case", "spaces", "nan", "inf", "text", "numbers", "scaled", "scaled all", "radians",
         "bool", "complex", "one row", "no row", "65535", "-9999", "taken", "dates", "objects", "huge", "comma",
         "index"],
    )  # fmt: skip
    rows = rng.random(len(frame)) < _drawn(rng, [0.1, 1.0])
    if how == "missing":
        frame = frame.drop(columns=name)
    elif how == "twice":
        frame[f"{name[0]}{name[-1]}" if name.startswith("B0") else f"{name} "] = frame[name]
    elif how == "lower case":
        frame.columns = [column.lower() for column in frame]
    elif how == "spaces":
        frame.columns = [f" {column} " for column in frame]
    elif how in ("nan", "inf", "65535", "-9999", "huge"):
        number = {"nan": np.nan, "inf": np.inf, "65535": 65535, "-9999": -9999, "huge": 1e300}[how]
        frame[name] = frame[name].astype(float).mask(rows, number)
    elif how in ("text", "complex", "comma", "objects"):
        cells = {"text": "cloud", "complex": "1+2j", "comma": "0,25", "objects": ""}
        frame[name] = frame[name].astype(object).mask(rows, cells[how])
        if path.suffix == ".parquet":
            frame[name] = frame[name].astype(str)
    elif how == "numbers":
        frame[name] = np.rint(frame[name].fillna(0) * 10).astype(int)
    elif how in ("scaled", "scaled all"):
        for each in [c for c in frame if str(c).startswith("B")] if how == "scaled all" else [name]:
            frame[each] = frame[each] * 1e4
    elif how == "radians":
        for each in ("sun_zenith", "view_zenith", "relative_azimuth"):
            if each in frame:
                frame[each] = np.radians(frame[each])
    elif how == "bool":
        frame[name] = frame[name] > frame[name].mean()
    elif how in ("one row", "no row"):
        frame = frame.iloc[: how == "one row"]
    elif how == "taken":
        frame["lai_mean"] = 1.0
    elif how == "dates":
        frame[name] = pd.Timestamp("2022-06-05")
    elif how == "index":
        frame = frame.sample(frac=1.0, random_state=3)
    try:
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
    except (OSError, ValueError):
        return None
    return f"{how} {name}"


def csv_text(rng: Rng, path: Path) -> str | None:
    """How a CSV is written: separators, decimal commas, quotes, marks, encodings, line ends, ragged rows, comments."""
    if path.suffix != ".csv":
        return None
    try:
        content = path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    how = _drawn(
        rng, ["semicolon", "tab", "mark", "latin", "utf16", "crlf", "ragged", "comment", "blank", "nul", "quote"]
    )
    if how == "utf16":
        path.write_bytes(content.encode("utf-16"))
        return how
    changed = {
        "semicolon": content.replace(",", ";"),
        "tab": content.replace(",", "\t"),
        "mark": "\ufeff" + content,
        "latin": content.replace("SCL", "Fl\u00e4che"),
        "crlf": content.replace("\n", "\r\n"),
        "ragged": content.replace("\n", ",9,9\n", 2).replace(",9,9\n", "\n", 1),
        "comment": "# pixels of a field\n" + content,
        "blank": content.replace("\n", "\n\n"),
        "nul": content[: len(content) // 2] + "\0" + content[len(content) // 2 :],
        "quote": content[: len(content) // 2] + '"' + content[len(content) // 2 :],
    }[how]
    path.write_bytes(changed.encode("latin-1" if how == "latin" else "utf-8", "replace"))
    return how


TABLE: tuple[Callable[[Rng, Path], str | None], ...] = (table, table, table, csv_text)
