"""Published retrieval systems, each a composition of the parts of this package.

`prosail_vae` is the method of the products, `sl2p` the operational networks to compare it with. Both offer what maps
are made with: a `Retrieval`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from physics.optics.geometry import SunView


class Method(Protocol):
    """What every method says of itself.

    Attributes:
        name: of the method.
        bands: names of the bands it uses, in the order of the last axis of `reflectance`.
        required: bands that it cannot do without.
        variables: aliases of what it retrieves (`releo_jax.variables.VARIABLES`).
    """

    @property
    def name(self) -> str: ...
    @property
    def bands(self) -> tuple[str, ...]: ...
    @property
    def required(self) -> tuple[str, ...]: ...
    @property
    def variables(self) -> tuple[str, ...]: ...


class Retrieval(Method, Protocol):
    """A method that turns the bands of pixels into variables with their uncertainty. Any such object makes maps."""

    def __call__(
        self, reflectance: np.ndarray, mask: np.ndarray, sun_view: SunView, *, variables: Sequence[str], level: float
    ) -> Mapping[str, np.ndarray]:
        """Retrieves variables of pixels.

        Args:
            reflectance: `(pixel, band)`, finite; 0 where masked.
            mask: `(pixel, band)`, True = usable.
            sun_view: angles `(pixel,)` in radians.
            variables: aliases of the variables wanted.
            level: probability of the interval from `lower` to `upper`.

        Returns:
            Arrays `(pixel,)` by `<alias>_<suffix>` with the suffixes mean, std, q05, q50, q95, lower, upper, flag.
        """


class SpatialRetrieval(Method, Protocol):
    """A method that looks at the pixels around each one, such as a convolutional network; makes maps like the others.

    Attributes:
        halo: how many pixels around its own a result depends on.
    """

    @property
    def halo(self) -> int: ...

    def __call__(
        self, reflectance: np.ndarray, mask: np.ndarray, sun_view: SunView, *, variables: Sequence[str], level: float
    ) -> Mapping[str, np.ndarray]:
        """Retrieves variables of a part of an image.

        Args:
            reflectance: `(row, column, band)`, finite; of no meaning where masked.
            mask: `(row, column, band)`, True = usable; nothing is beyond the edges of the image.
            sun_view: angles `(row, column)` in radians; 0 beyond the edges.
            variables: aliases of the variables wanted.
            level: probability of the interval from `lower` to `upper`.

        Returns:
            Arrays `(row, column)`, of which the outermost `halo` pixels are not used, by name as of `Retrieval`.
        """
