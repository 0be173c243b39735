"""The cube convention in code: names, flags, checks, and the assembly of a cube from its parts.

`releo_jax.cubes` states the convention in words.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (registers the `.rio` accessor)
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine

from releo_jax.errors import ReleoError

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Names of the Sentinel-2 bands, in the order of their wavelengths."""

SENSORS = ("sentinel2a", "sentinel2b", "sentinel2c")
"""Names of the Sentinel-2 sensors, those of `physics.sensor`; the retrievals that come with the package know these."""

LANDSAT_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7")
"""Names of the Landsat-8 and 9 bands, as in their products and in `physics.sensor`: `B5` is the near infrared."""

LANDSAT_SENSORS = ("landsat8", "landsat9")
"""Names of the Landsat sensors that cubes may carry, those of `physics.sensor`."""

ANGLES = ("sun_zenith", "view_zenith", "relative_azimuth")

PRODUCT_ATTRS = (
    "product",
    "processing_baseline",
    "product_version",
    "correction",
    "reflectance_coding",
    "clear_scene_classes",
    "cloud_bits",
    "geophysical_bits",
    "cloudy_bits",
)
"""Attributes in which a cube says what it was read from."""

HIGHEST_REFLECTANCE = 1.5
"""Reflectance factors above are not a land surface: fresh snow towards the hot spot reaches 1.2."""


class Flag(enum.IntFlag):
    """Bits of `mask`: why a value is not usable."""

    NODATA = 1
    SATURATED = 2
    CLOUD_OR_SHADOW_OR_SNOW = 4
    INVALID_VALUE = 8


_ANGLE_ATTRS = {
    "sun_zenith": {
        "units": "degree",
        "long_name": "zenith angle of the sun",
        "standard_name": "solar_zenith_angle",
    },
    "view_zenith": {
        "units": "degree",
        "long_name": "zenith angle of the sensor",
        "standard_name": "sensor_zenith_angle",
    },
    "relative_azimuth": {
        "units": "degree",
        "long_name": "azimuth of the sensor minus azimuth of the sun",
    },
}

_BAND = re.compile(r"(?:^|[^A-Za-z0-9])B(8A|08A|0?[1-9]|1[0-2])(?=$|[^A-Za-z0-9])", re.IGNORECASE)


def mask_attrs() -> dict[str, Any]:
    """CF attributes of `mask`."""
    return {
        "long_name": "why a value is not usable; 0 = usable",
        "standard_name": "quality_flag",
        "flag_masks": np.array([flag.value for flag in Flag], dtype=np.uint8),
        "flag_meanings": " ".join(str(flag.name).lower() for flag in Flag),
    }


def band_name(text: str, known: Sequence[str] = BANDS) -> str | None:
    """The band that a name speaks of (`B2`, `S2-L2A-B02`, `T32TNT_20220305_B8A_20m`), None if it names none.

    Args:
        text: the name.
        known: `BANDS` or `LANDSAT_BANDS`.
    """
    found = _BAND.search(str(text))
    if found is None:
        return None
    digits = found.group(1).upper().lstrip("0")
    names = (f"B{digits}", f"B{digits.zfill(2)}")
    return next((name for name in names if name in known), None)


def bands_known(sensor: object) -> tuple[str, ...]:
    """The bands of the sensor of a cube, those of Sentinel-2 where nothing says which it is."""
    return LANDSAT_BANDS if sensor in LANDSAT_SENSORS else BANDS


def sort_bands(names: Iterable[str], known: Sequence[str] = BANDS) -> tuple[str, ...]:
    """The bands in the order of their wavelengths."""
    return tuple(sorted(names, key=known.index))


def choose_bands(
    available: Sequence[str], wanted: Sequence[str] | None, where: str, known: Sequence[str] = BANDS
) -> tuple[str, ...]:
    """The bands to read: those wanted, or all that there are; `known` are those of the sensor.

    Raises:
        ReleoError: names the bands that are missing, those that are there, and unknown names.
    """
    if not available:
        raise ReleoError(f"{where}: expected bands with names such as {known[1]}, found none; name the bands")
    if wanted is None:
        return sort_bands(available, known)
    names = [band_name(name, known) for name in wanted]
    unknown = [given for given, name in zip(wanted, names, strict=True) if name is None]
    if unknown:
        raise ReleoError(f"unknown band {', '.join(map(repr, unknown))}; expected names among {', '.join(known)}")
    chosen = tuple(dict.fromkeys(name for name in names if name))
    missing = [name for name in chosen if name not in available]
    if missing:
        raise ReleoError(
            f"{where}: missing band {', '.join(missing)}; found {', '.join(sort_bands(available, known))}; "
            "ask for fewer bands or add the missing ones"
        )
    return chosen


def sensor_name(text: str, known: Sequence[str] = SENSORS, where: object = None) -> str:
    """The convention's name of a sensor (`sentinel2a` for `S2A`, `Sentinel-2A`, ...), one of those known.

    `where` is the file that says so, for the message.

    Raises:
        ReleoError: the sensor is not known.
    """
    squeezed = re.sub(r"[^a-z0-9]", "", str(text).lower())
    squeezed = re.sub(r"^s2(?=[abc])", "sentinel2", squeezed)
    squeezed = re.sub(r"msi$", "", squeezed)
    if squeezed not in known:
        alone = (
            "; the retrievals that come with the package know Sentinel-2 only" if squeezed in LANDSAT_SENSORS else ""
        )
        told = "" if where is None else f"{where}: "
        raise ReleoError(f"{told}unknown sensor {text!r}; expected {', '.join(known[:-1])} or {known[-1]}{alone}")
    return squeezed


def choose_angles(
    found: Mapping[str, Any], given: Mapping[str, Any], where: str
) -> dict[str, Any]:  # values: numbers, arrays or data arrays
    """Sun zenith, view zenith and relative azimuth from what a file holds and what the caller gives (which wins).

    Either mapping may hold `sun_azimuth` and `view_azimuth` in place of `relative_azimuth`.

    Raises:
        ReleoError: names the angles that neither holds.
    """
    angles = {**found, **{name: value for name, value in given.items() if value is not None}}
    if given.get("relative_azimuth") is None and "relative_azimuth" not in found:
        if "sun_azimuth" in angles and "view_azimuth" in angles:
            angles["relative_azimuth"] = fold_degrees(angles["view_azimuth"] - angles["sun_azimuth"])
    missing = [name for name in ANGLES if name not in angles]
    if missing:
        raise ReleoError(
            f"{where}: no {', '.join(missing)} in the file; give "
            + " ".join(f"--{name.replace('_', '-')} DEGREES" for name in missing)
            + f" (in Python {', '.join(name + '=...' for name in missing)})"
        )
    return {name: angles[name] for name in ANGLES}


def fold_degrees(difference: Any) -> Any:
    """The angle between two azimuths, 0 to 180 degrees, from their difference."""
    return abs((difference + 180.0) % 360.0 - 180.0)


def usable_angles(sun_zenith: Any, view_zenith: Any, relative_azimuth: Any) -> Any:
    """True where the three angles describe directions above the horizon."""
    return (
        (sun_zenith >= 0) & (sun_zenith < 90) & (view_zenith >= 0) & (view_zenith < 90) & (abs(relative_azimuth) <= 360)
    )


def assemble(
    reflectance: xr.DataArray,
    mask: xr.DataArray,
    angles: Mapping[str, Any],
    *,
    crs: Any = None,
    transform: Affine | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A cube from its parts.

    Args:
        reflectance: (time, band, y, x) with its coordinates.
        mask: (time, band, y, x) or (time, y, x) flags.
        angles: the three angles in degrees: numbers, arrays (time,), or data arrays (time,) or (time, y, x).
        crs: whatever rasterio takes for a CRS; None for none.
        transform: affine transform of the grid; None to derive it from the coordinates.
        attrs: attributes of the cube.
    """
    time = reflectance.sizes["time"]
    reflectance, mask = _bare(reflectance), _bare(mask)
    variables: dict[str, Any] = {
        "reflectance": reflectance.assign_attrs(
            units="1", long_name="surface reflectance", standard_name="surface_bidirectional_reflectance"
        ),
        "mask": mask,
    }
    for name in ANGLES:
        value = angles[name]
        if not isinstance(value, xr.DataArray):
            value = xr.DataArray(np.broadcast_to(np.asarray(value, np.float32), (time,)).copy(), dims="time")
        value = _bare(value)
        if "time" not in value.dims:
            value = value.expand_dims(time=time)
        value = value.astype(np.float32).assign_attrs(_ANGLE_ATTRS[name])
        variables[name] = value.compute() if value.dims == ("time",) else value
    directed = usable_angles(*(variables[name] for name in ANGLES))
    invalid = xr.where(directed, np.uint8(0), np.uint8(Flag.INVALID_VALUE))
    variables["mask"] = (mask | invalid).transpose(*mask.dims).assign_attrs(mask_attrs())
    cube = xr.Dataset(variables, attrs={"Conventions": "CF-1.11", **(attrs or {})})
    cube["y"].attrs.update(axis="Y", long_name="y coordinate of the pixel centre")
    cube["x"].attrs.update(axis="X", long_name="x coordinate of the pixel centre")
    return set_grid(cube.transpose("time", "band", "y", "x"), crs, transform)


def _bare(array: xr.DataArray) -> xr.DataArray:
    """The array with the coordinates of the convention only, without what its source said about it."""
    others = [name for name in array.coords if name not in ("time", "band", "y", "x")]
    return array.drop_vars(others).drop_attrs().drop_encoding()


def set_grid(cube: xr.Dataset, crs: Any, transform: Affine | None) -> xr.Dataset:
    """The dataset with `spatial_ref`, which every gridded variable refers to."""
    if crs is not None:
        cube = cube.rio.write_crs(CRS.from_user_input(crs))
    if transform is not None:
        cube = cube.rio.write_transform(transform)
    if "spatial_ref" in cube.coords:
        for name, variable in cube.data_vars.items():
            if {"y", "x"} <= set(variable.dims):
                # In the encoding, not the attributes: this is where xarray's writers look for it.
                variable.attrs.pop("grid_mapping", None)
                cube[name].encoding["grid_mapping"] = "spatial_ref"
    return cube


def grid_of(dataset: xr.Dataset, where: str = "the image") -> tuple[CRS | None, Affine]:
    """CRS and affine transform (upper left corner) of a dataset on a grid; `where` is its name, for messages.

    Raises:
        ReleoError: the coordinates are not evenly spaced.
    """
    crs = dataset.rio.crs if "spatial_ref" in dataset.coords else None
    stored = dataset.coords["spatial_ref"].attrs.get("GeoTransform") if "spatial_ref" in dataset.coords else None
    # From the coordinates where they tell: the stored transform is that of the image before anything was cut from it.
    step = {name: _step(dataset[name].values, name, where) for name in ("x", "y")}
    for name, first, sign in (("x", 0, 1.0), ("y", 3, -1.0)):
        if not step[name]:  # a single pixel, which does not tell its size
            known = [float(part) for part in stored.split()] if stored else [0.0] * 6
            size = _size(float(dataset[name].values[0]), known[first], known[5 if first else 1])
            step[name] = size or sign * (abs(step["y" if name == "x" else "x"]) or 1.0)
    corner = {name: float(dataset[name].values[0]) - size / 2 for name, size in step.items()}
    return crs, Affine(step["x"], 0.0, corner["x"], 0.0, step["y"], corner["y"])


def _size(centre: float, corner: float, size: float) -> float:
    """The size of the pixels of a grid with this corner if a pixel of it has this centre, else 0."""
    apart = (centre - corner) / size - 0.5 if size else 0.5
    return size if abs(apart - round(apart)) < 1e-3 else 0.0


def _step(centres: np.ndarray, name: str, where: str) -> float:
    """Distance of evenly spaced coordinates; 0 if there is only one."""
    if centres.ndim != 1 or centres.dtype.kind not in "iuf" or not np.isfinite(centres).all():
        raise ReleoError(f"{where}: expected finite numbers (pixel,) as coordinates {name}; add those of the pixels")
    if len(centres) < 2:
        return 0.0
    step = float(centres[-1] - centres[0]) / (len(centres) - 1)
    if not step or np.abs(np.diff(centres) - step).max() > 1e-3 * abs(step):
        raise ReleoError(f"{where}: the coordinates {name} are not evenly spaced; resample the image to a regular grid")
    return step
