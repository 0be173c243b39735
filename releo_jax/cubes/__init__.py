"""Images in, images out: the cube convention, its readers, writers, blocks and simulated scenes.

The cube
--------
Every reader returns, and every writer takes, an `xarray.Dataset` with dimensions `(time, band, y, x)`:

=====================  ==========================  ====================================================================
variable               dimensions                  content
=====================  ==========================  ====================================================================
`reflectance`          (time, band, y, x)          float32, unit 1, surface reflectance factor; dask-backed (lazy);
                                                   NaN where the file holds nothing
`mask`                 (time, band, y, x)          uint8 CF flags, 0 = usable; bits 1 `nodata`, 2 `saturated`,
                       or (time, y, x)             4 `cloud_or_shadow_or_snow`, 8 `invalid_value`
                                                   (NaN, negative or above 1.5, or without angles)
`sun_zenith`           (time,) or (time, y, x)     float32, degrees from the vertical
`view_zenith`          (time,) or (time, y, x)     float32, degrees from the vertical
`relative_azimuth`     (time,) or (time, y, x)     float32, degrees, azimuth of the sensor minus azimuth of the sun
=====================  ==========================  ====================================================================

Coordinates: `time` (datetime64, UTC), `band` (names `B01` ... `B12`, `B8A`; of Landsat `B1` ... `B7`), `y` and `x`
(centres of the pixels, in the unit of the CRS), `spatial_ref` (CRS and transform as rioxarray writes them:
`cube.rio.crs`, `cube.rio.transform()`). Where the dates come from different satellites, `sensor` is a coordinate along
`time`.

Attributes: `sensor` (`sentinel2a`, `sentinel2b`, `sentinel2c`, `landsat8`, `landsat9`; absent if nothing says which),
and where the source tells them those of `releo_jax.cubes.convention.PRODUCT_ATTRS`, `resampling`, `source`.

Results carry the same `time`, `y`, `x` and `spatial_ref`, one variable `(time, y, x)` a figure:
`leaf_area_index_mean`, `leaf_area_index_std`, `leaf_area_index_q05`, ..., `leaf_area_index_flag`.

From a file to a file, one block at a time
------------------------------------------
    cube = open_cube("S2A_MSIL2A_....SAFE", bands=("B03", "B04", "B8A"))
    layers = {"leaf_area_index_mean": Layer(attrs={"units": "1", "long_name": "leaf area index"})}
    with BlockWriter("lai.tif", cube, layers) as writer:
        for window in blocks(cube):
            block = load_block(cube, window)            # (pixel, band) arrays
            writer.write(window, {"leaf_area_index_mean": retrieve(block)})

Nothing appears under the name of the target before the last block is in it. Every problem that the user can solve is
a `releo_jax.errors.ReleoError`.
"""

from __future__ import annotations

from releo_jax.cubes.blocks import Block, Window, blocks, load_block, missing_bands
from releo_jax.cubes.convention import ANGLES, BANDS, LANDSAT_BANDS, LANDSAT_SENSORS, SENSORS, Flag, sensor_name
from releo_jax.cubes.declared import from_dataset
from releo_jax.cubes.landsat import CLOUDY_BITS, PIXEL_QUALITY, open_landsat
from releo_jax.cubes.opening import open_cube
from releo_jax.cubes.radar import with_radar
from releo_jax.cubes.radar_files import open_radar
from releo_jax.cubes.safe import CLEAR, SCENE_CLASSES, open_safe
from releo_jax.cubes.scene import simulate_scene
from releo_jax.cubes.scene_files import open_truth, write_scene
from releo_jax.cubes.sentinel1 import open_sentinel1
from releo_jax.cubes.sentinel2 import open_sentinel2
from releo_jax.cubes.series import join_dates
from releo_jax.cubes.stac import open_stac
from releo_jax.cubes.stacking import observations, stack, unstack
from releo_jax.cubes.streaming import BlockWriter, Layer
from releo_jax.cubes.tables import read_table
from releo_jax.cubes.theia import CLOUD_BITS, GEOPHYSICAL_BITS, GEOPHYSICAL_MASK, open_theia
from releo_jax.cubes.writing import write_cog, write_cube, write_table

__all__ = [
    "ANGLES",
    "BANDS",
    "CLEAR",
    "CLOUDY_BITS",
    "CLOUD_BITS",
    "GEOPHYSICAL_BITS",
    "GEOPHYSICAL_MASK",
    "LANDSAT_BANDS",
    "LANDSAT_SENSORS",
    "PIXEL_QUALITY",
    "SCENE_CLASSES",
    "SENSORS",
    "Block",
    "BlockWriter",
    "Flag",
    "Layer",
    "Window",
    "blocks",
    "from_dataset",
    "join_dates",
    "load_block",
    "missing_bands",
    "observations",
    "open_cube",
    "open_landsat",
    "open_radar",
    "open_safe",
    "open_sentinel1",
    "open_sentinel2",
    "open_stac",
    "open_theia",
    "open_truth",
    "read_table",
    "sensor_name",
    "simulate_scene",
    "stack",
    "unstack",
    "with_radar",
    "write_cog",
    "write_cube",
    "write_scene",
    "write_table",
]
