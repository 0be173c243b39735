"""Irregular series seen from reference days: a network that resolves when something happened."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from releo_jax.encoders.pixel import Constant, band_statistics
from releo_jax.observations import Observations, Record, Series, check_observations

_SPREADS = 0.75, 2.5  # deviations of the kernels, in spacings: one for detail, one that reaches over gaps
_FEW = 0.1  # density below which a mean goes to that of all pixels: nothing was seen around that day


def _series(record: Record) -> Series:
    if not isinstance(record, Series):
        raise ValueError(f"expected a Series, got {type(record).__name__}; SetEncoder takes single dates")
    return record


class AroundDays(nnx.Module):
    """One sensor: means of the usable values around each reference day, and how many dates there are.

    Args:
        record: an example of at least a few hundred pixels: its dates lie where those to come do, and from its values
            the fixed means and standard deviations of the bands are taken.
        spacing: days between reference days.
    """

    def __init__(self, record: Record, *, spacing: float) -> None:
        record = _series(record)
        mean, scale = band_statistics(record.values, record.mask)
        self.mean, self.scale = Constant(mean), Constant(scale)
        seen = np.asarray(record.time)[np.asarray(record.mask).any(-1)]
        if not seen.size:
            raise ValueError("expected an example with usable dates, got none; their range places the reference days")
        number = int(np.ceil((seen.max() - seen.min()) / spacing)) + 1
        self.days = Constant(jnp.asarray(seen.min() + spacing * np.arange(number), record.time.dtype))
        self.spreads = Constant(spacing * jnp.asarray(_SPREADS, record.time.dtype))

    def __call__(self, record: Record) -> Array:
        """Means and densities `(pixel, feature)`."""
        record = _series(record)
        bands = self.mean.shape[0]
        if record.values.shape[-1] != bands:
            raise ValueError(
                f"expected {bands} bands, got {record.values.shape[-1]}; give all and mask the missing ones"
            )
        values = [(record.values - self.mean[...]) / self.scale[...]]
        values += [jnp.cos(angle)[..., None] for angle in jax.tree.leaves(record.geometry)]
        usable = [record.mask, *[record.mask.any(-1, keepdims=True)] * (len(values) - 1)]
        seen, there = jnp.concatenate(values, -1), jnp.concatenate(usable, -1)
        away = (record.time[:, None] - self.days[...][:, None])[:, None] / self.spreads[...][:, None, None]
        near = jnp.exp(-0.5 * away**2)
        total = jnp.einsum("pkrd,pdf->pkrf", near, jnp.where(there, seen, 0.0))
        density = jnp.einsum("pkrd,pdf->pkrf", near, there.astype(near.dtype))
        return jnp.concatenate([total / (density + _FEW), density], -1).reshape(len(seen), -1)


class ReferenceDays(nnx.Module):
    """From irregular, masked series of one or several sensors to a context, by what is seen around fixed days.

    The dates are not read one by one: at reference days, evenly spaced over the range of the example's dates, a mean
    of the values nearby and the density of usable dates are formed with Gaussian weights of fixed width, and a
    multi-layer perceptron reads these. `SetEncoder` is handed days as numbers instead, and has to learn to tell them
    apart; it takes single dates too.

    The order of the dates does not matter, masked and padded dates leave no trace, and a sensor that is not there is
    one without dates. Nothing is computed across pixels. Dates far outside the example's range leave no trace either.

    Args:
        example: observations of at least a few hundred pixels, simulated ones as a rule; `Series` only.
        spacing: days between reference days.
        width: features of each layer.
        depth: hidden layers.
        rngs: random streams of the initial weights.

    Equation:
        density = sum over usable dates of exp(-((date - day) / spread)^2 / 2)
        mean = sum over usable dates of the same weights times x / (density + 0.1)
        for x each standardised band and the cosine of each angle, spread 0.75 and 2.5 times the spacing

    Raises:
        ValueError: a record that is not a series, or one without usable dates.

    References:
        Gordon et al. 2020, Convolutional Conditional Neural Processes, ICLR (arXiv 1910.13556); Shukla & Marlin 2021,
        Multi-Time Attention Networks, ICLR (arXiv 2101.10318), where the kernel of time is learned.
    """

    def __init__(
        self, example: Observations, *, spacing: float = 7.0, width: int = 128, depth: int = 3, rngs: nnx.Rngs
    ) -> None:
        check_observations(example)
        self.names = tuple(sorted(example))  # compiled functions give mappings back sorted
        self.sensors: nnx.Dict[AroundDays] = nnx.Dict()
        inputs = 0
        for name in self.names:
            record = example[name]
            try:
                self.sensors[name] = AroundDays(record, spacing=spacing)
                inputs += jax.eval_shape(self.sensors[name], record).shape[1]
            except ValueError as error:
                raise ValueError(f"ReferenceDays: {name!r}: {error}") from None
        sizes = [inputs, *[width] * depth]
        self.layers = nnx.List([nnx.Linear(i, o, rngs=rngs) for i, o in zip(sizes[:-1], sizes[1:], strict=True)])

    def __call__(self, observations: Observations) -> Array:
        """Returns the context `(pixel, width)`."""
        parts = []
        for name in self.names:
            try:
                parts.append(self.sensors[name](observations[name]))
            except ValueError as error:
                raise ValueError(f"ReferenceDays: {name!r}: {error}") from None
        context = jnp.concatenate(parts, -1)
        for layer in self.layers:
            context = jax.nn.relu(layer(context))
        return context
