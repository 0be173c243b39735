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
