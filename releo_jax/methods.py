"""Methods by their names."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np

from physics import SunView
from releo_jax.cubes.blocks import Block
from releo_jax.cubes.convention import sensor_name
from releo_jax.errors import ReleoError
from releo_jax.systems import Retrieval

METHODS = ("prosail-vae", "sl2p", "optical-radar")
"""Names of the methods that `load_method` knows; the first is the default."""

RADAR_METHOD = METHODS[2]
"""The one that takes radar images too; the default where there are any."""

DEFAULT_SENSOR = "sentinel2a"
"""Taken where nothing says which sensor it was; the responses of the three satellites differ by little."""

_log = logging.getLogger(__name__)


def load_method(
    name: str, sensor: str, *, draws: int | None = None, misfit: bool = True, weights: Path | None = None
) -> Retrieval:
    """A retrieval by its name.

    Those with shipped weights are made once: a second image does not wait for programs to compile again.

    Args:
        name: one of `METHODS`.
        sensor: `sentinel2a`, `sentinel2b` or `sentinel2c`.
        draws: posterior draws a pixel for the derived variables; None for the method's own way.
        misfit: whether to compute the flag `predictive_misfit`, which takes most of the time.
        weights: folder that `releo train` wrote; None for the shipped ones.

    Raises:
        ReleoError: the method is not known, has no posterior to draw from, or no misfit.
    """
    if weights is not None:
        return _load(name, sensor_name(sensor), draws, misfit, weights)
    return _shipped(name, sensor_name(sensor), draws, misfit)


@functools.lru_cache(maxsize=8)
def _shipped(name: str, sensor: str, draws: int | None, misfit: bool) -> Retrieval:
    return _load(name, sensor, draws, misfit, None)


def _load(name: str, sensor: str, draws: int | None, misfit: bool, weights: Path | None) -> Retrieval:
    retrieval: Retrieval
    if name == "sl2p":
        from releo_jax.systems.sl2p import sl2p_retrieval

        if weights is not None:
            raise ReleoError("the method sl2p has no weights to train; leave --weights out")
        retrieval = sl2p_retrieval(sensor)
    elif name == RADAR_METHOD:
        from releo_jax.systems.optical_radar_retrieval import load_optical_radar

        retrieval = load_optical_radar(sensor, weights)
    elif name == "prosail-vae":
        from releo_jax.systems.prosail_vae import load_retrieval

        retrieval = load_retrieval(sensor, weights)
    else:
        raise ReleoError(f"unknown method {name!r}; expected {' or '.join(METHODS)}")
    if draws is not None:
        retrieval = _able(retrieval, "with_draws", "--draws")(draws)
    return retrieval if misfit else _able(retrieval, "without_misfit", "--no-misfit")()


def assumed(sensor: str | None, source: Path) -> str:
    """The sensor to take where a file does not name it; warns where nobody else does."""
    if sensor is not None:
        return sensor_name(sensor)
    _log.warning("%s: does not name its sensor, taken for %s; give --sensor to choose", source, DEFAULT_SENSOR)
    return DEFAULT_SENSOR


def adapted(retrieval: Retrieval, block: Block, seed: int) -> Retrieval:
    """The retrieval after training on the usable pixels of a block, without labels."""
    adapt = _able(retrieval, "adapt", "--adapt")
    block = block[np.flatnonzero(block.mask.any(axis=1))]
    if not len(block):
        raise ReleoError("no usable pixel to adapt to; check the mask, or leave --adapt out")
    sun_view = SunView.from_degrees(block.sun_zenith, block.view_zenith, block.relative_azimuth)
    found: Retrieval = adapt(block.reflectance, block.mask, sun_view, seed=seed)
    return found


def _able(retrieval: Retrieval, what: str, option: str) -> Any:
    if not hasattr(retrieval, what):
        raise ReleoError(f"the method {retrieval.name} cannot do that; leave {option} out or choose {METHODS[0]}")
    return getattr(retrieval, what)
