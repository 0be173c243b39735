"""A retrieval whose answers are known, and small images: what maps, figures and the command line are tested with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from rasterio.transform import Affine

from physics import SunView
from releo_jax.cubes.convention import Flag, assemble

BANDS = ("B02", "B03", "B04", "B08", "B8A", "B11")


@dataclasses.dataclass
class VegetationIndex:
    """Leaf area index and fapar as simple functions of two bands and the sun; B02 only flags.

    `calls` holds the number of pixels of every call, `traces` counts the compilations.
    """

    name: str = "index"
    bands: tuple[str, ...] = ("B02", "B04", "B8A")
    required: tuple[str, ...] = ("B04", "B8A")
    variables: tuple[str, ...] = ("lai", "fapar")
    calls: list[int] = dataclasses.field(default_factory=list)
    traces: int = 0

    def __post_init__(self) -> None:
        def formula(reflectance: jax.Array, sun_zenith: jax.Array) -> jax.Array:
            self.traces += 1
            red, infrared = reflectance[:, 1], reflectance[:, 2]
            return 6.0 * (infrared - red) / (infrared + red + 1e-3) * jnp.cos(sun_zenith)

        self._formula = jax.jit(formula)

    def __call__(
        self, reflectance: np.ndarray, mask: np.ndarray, sun_view: SunView, *, variables: Sequence[str], level: float
    ) -> dict[str, np.ndarray]:
        assert np.isfinite(reflectance).all() and mask.any(axis=1).all()
        self.calls.append(len(reflectance))
        mean = np.asarray(self._formula(reflectance, sun_view.sun_zenith))
        result = {}
        for alias in variables:
            value = mean if alias == "lai" else 1.0 - np.exp(-0.5 * mean)
            std = 0.1 + 0.1 * np.abs(value)
            half = 1.6449 * std
            result |= {f"{alias}_mean": value, f"{alias}_std": std, f"{alias}_q50": value}
            result |= {f"{alias}_q05": value - half, f"{alias}_q95": value + half}
            result |= {f"{alias}_lower": value - level * half, f"{alias}_upper": value + level * half}
            result[f"{alias}_flag"] = np.where(reflectance[:, 0] > 0.2, 2, 0).astype(np.uint8)
        return result


def make_cube(
    height: int = 30, width: int = 40, *, dates: int = 1, seed: int = 0, sensor: str | None = None
) -> xr.Dataset:
    """A cube of random reflectance with a cloud in its upper left corner, and no B02 at its lower right pixel."""
    rng = np.random.default_rng(seed)
    shape = (dates, len(BANDS), height, width)
    low = np.array([0.05, 0.08, 0.05, 0.25, 0.25, 0.15], np.float32)[:, None, None]
    values = (low * rng.uniform(0.8, 1.6, shape)).astype(np.float32)
    values[:, 0, -1, -1] = np.nan
    flags = np.where(np.isnan(values), np.uint8(Flag.NODATA), np.uint8(0))
    flags[:, :, : height // 3, : width // 4] |= np.uint8(Flag.CLOUD_OR_SHADOW_OR_SNOW)
    coordinates = {
        "time": np.datetime64("2022-06-05T10:36:00", "ns") + np.arange(dates) * np.timedelta64(5, "D"),
        "band": list(BANDS),
        "y": 5_300_000.0 - 10.0 * np.arange(height) - 5.0,
        "x": 600_000.0 + 10.0 * np.arange(width) + 5.0,
    }
    dims = ("time", "band", "y", "x")
    zenith = np.broadcast_to(np.linspace(30, 31, width, dtype=np.float32), (dates, height, width))
    return assemble(
        xr.DataArray(values, coords=coordinates, dims=dims),
        xr.DataArray(flags, coords=coordinates, dims=dims),
        {"sun_zenith": xr.DataArray(zenith, dims=("time", "y", "x")), "view_zenith": 5.0, "relative_azimuth": 100.0},
        crs="EPSG:32632",
        transform=Affine(10.0, 0.0, 600_000.0, 0.0, -10.0, 5_300_000.0),
        attrs={} if sensor is None else {"sensor": sensor},
    )
