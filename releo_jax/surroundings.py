"""Blocks with the pixels around them, for methods that look at more than one pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from physics import SunView
from releo_jax.cubes.blocks import Block, Window
from releo_jax.errors import ReleoError
from releo_jax.systems import Method, SpatialRetrieval


def halo_of(method: Method) -> int | None:
    """Pixels that a method looks at around each of its own; None for a method of single pixels.

    Raises:
        ReleoError: it is not a number of pixels.
    """
    halo = getattr(method, "halo", None)
    if halo is not None and (not isinstance(halo, int) or halo < 0):
        raise ReleoError(f"the method {method.name}: expected a halo of 0 or more pixels, got {halo!r}")
    return halo


def surrounded(window: Window, halo: int, height: int, width: int) -> Window:
    """A window with so many pixels more on each side, as far as an image of `height` x `width` has them."""
    top, left = max(window.row - halo, 0), max(window.column - halo, 0)
    bottom, right = min(window.y.stop + halo, height), min(window.x.stop + halo, width)
    return Window(window.time, top, left, bottom - top, right - left)


def retrieve(
    method: SpatialRetrieval,
    block: Block,
    outer: Window,
    inner: Window,
    shape: tuple[int, int],
    *,
    variables: Sequence[str],
    level: float,
) -> Mapping[str, np.ndarray]:
    """Results `(pixel,)` of a window, from a block with the pixels around it.

    Args:
        method: takes arrays `(row, column, ...)`.
        block: pixels of `outer`.
        outer: the window with its surroundings.
        inner: the window.
        shape: rows and columns of the largest window, which all are filled up to with masked pixels, as they are
            beyond the edges of the image: so that the method's program compiles once.
        variables: what to retrieve.
        level: probability of the intervals.

    Raises:
        ReleoError: the method returns arrays of another shape.
    """
    halo = method.halo
    rows, columns = shape[0] + 2 * halo, shape[1] + 2 * halo
    top, left = outer.row - inner.row + halo, outer.column - inner.column + halo

    def spread(array: np.ndarray) -> np.ndarray:
        canvas = np.zeros((rows, columns, *array.shape[1:]), array.dtype)
        canvas[top : top + outer.height, left : left + outer.width] = array.reshape(*outer.shape, *array.shape[1:])
        return canvas

    sun_view = SunView.from_degrees(*map(spread, (block.sun_zenith, block.view_zenith, block.relative_azimuth)))
    found = method(spread(block.reflectance), spread(block.mask), sun_view, variables=variables, level=level)
    results = {}
    for key, array in found.items():
        if np.shape(array) != (rows, columns):
            raise ReleoError(
                f"the method {method.name}: expected {key} of shape {(rows, columns)}, the surroundings included, "
                f"got {np.shape(array)}"
            )
        results[key] = np.asarray(array)[halo : halo + inner.height, halo : halo + inner.width].reshape(-1)
    return results
