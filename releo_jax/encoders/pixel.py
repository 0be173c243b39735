"""One pixel, one date: a small network on bands, mask and angles."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from releo_jax.observations import Observations, SingleDate, check_observations


class Constant(nnx.Variable):
    """A number that is stored with the weights and never trained."""


def band_statistics(values: Array, mask: Array) -> tuple[Array, Array]:
    """Mean and standard deviation `(band,)` of the usable values `(*batch, band)`."""
    numbers, usable = np.asarray(values, np.float64), np.asarray(mask)
    axes = tuple(range(numbers.ndim - 1))
    count = np.maximum(usable.sum(axes), 1)
    mean = np.where(usable, numbers, 0.0).sum(axes) / count
    scale = np.sqrt(np.where(usable, (numbers - mean) ** 2, 0.0).sum(axes) / count)
    # A band that is constant or never usable in the example is left as it is.
    scale = np.where(scale > 0.0, scale, 1.0)
    return jnp.asarray(mean, values.dtype), jnp.asarray(scale, values.dtype)


class PixelEncoder(nnx.Module):
    """Multi-layer perceptron from single-date observations to a context.

    The inputs of each record are its bands, transformed and standardised, with 0 for the masked ones; the mask; and
    the cosines of the angles of its geometry. Nothing is computed across pixels: a bad pixel cannot touch another.

    Args:
        example: observations of at least a few hundred pixels, simulated ones as a rule, from which the fixed means
            and standard deviations of the transformed bands are taken.
        width: units of each hidden layer, and features of the context.
        depth: number of hidden layers.
        activation: between the layers.
        transform: elementwise, applied to the bands first; e.g. `jnp.log1p`.
        rngs: random streams of the initial weights.
    """

    def __init__(
        self,
        example: Observations,
        *,
        width: int = 128,
        depth: int = 3,
        activation: Callable[[Array], Array] = jax.nn.relu,
        transform: Callable[[Array], Array] | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_observations(example)
        self.activation, self.transform = activation, transform
        self.names = tuple(sorted(example))  # compiled functions give mappings back sorted
        self.means: nnx.Dict[Constant] = nnx.Dict()
        self.scales: nnx.Dict[Constant] = nnx.Dict()
        inputs = 0
        for name, record in sorted(example.items()):
            if not isinstance(record, SingleDate):
                raise ValueError(f"PixelEncoder: expected SingleDate records, got {type(record).__name__} for {name!r}")
            mean, scale = band_statistics(self._transformed(record.values), record.mask)
            self.means[name], self.scales[name] = Constant(mean), Constant(scale)
            inputs += 2 * record.values.shape[1] + len(jax.tree.leaves(record.geometry))
        sizes = [inputs, *[width] * depth]
        self.layers = nnx.List([nnx.Linear(i, o, rngs=rngs) for i, o in zip(sizes[:-1], sizes[1:], strict=True)])

    def _transformed(self, values: Array) -> Array:
        return values if self.transform is None else self.transform(values)

    def __call__(self, observations: Observations) -> Array:
        """Returns the context `(pixel, width)`."""
        inputs = []
        for name in self.names:
            record = observations[name]
            if record.values.shape[-1:] != self.means[name].shape:
                raise ValueError(
                    f"PixelEncoder: expected {self.means[name].shape[0]} bands in {name!r}, got "
                    f"{record.values.shape[-1]}; give all bands and mask the missing ones"
                )
            bands = (self._transformed(record.values) - self.means[name][...]) / self.scales[name][...]
            inputs += [jnp.where(record.mask, bands, 0.0), record.mask.astype(bands.dtype)]
            inputs += [jnp.cos(angle)[:, None] for angle in jax.tree.leaves(record.geometry)]
        context = jnp.concatenate(inputs, axis=-1)
        for layer in self.layers:
            context = self.activation(layer(context))
        return context
