"""Any number of dates of any number of sensors, in any order: a network on sets with gaps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from releo_jax.encoders.pixel import Constant, band_statistics
from releo_jax.observations import Observations, Record, Series, check_observations

_HEADS = 4  # of the attention that pools the dates


class Dates(nnx.Module):
    """One sensor: each date on its own becomes features, then those of the usable dates are pooled.

    Args:
        record: an example of at least a few hundred pixels, from which the fixed means and standard deviations of the
            transformed bands are taken.
        width: features of a date.
        transform: elementwise, applied to the bands first; None for none.
        time_scale: days.
        rngs: random streams of the initial weights.
    """

    def __init__(
        self,
        record: Record,
        *,
        width: int,
        transform: Callable[[Array], Array] | None,
        time_scale: float,
        rngs: nnx.Rngs,
    ) -> None:
        self.transform, self.time_scale = transform, time_scale
        mean, scale = band_statistics(self._transformed(record.values), record.mask)
        self.mean, self.scale = Constant(mean), Constant(scale)
        inputs = 2 * record.values.shape[-1] + len(jax.tree.leaves(record.geometry)) + isinstance(record, Series)
        self.first = nnx.Linear(inputs, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.weights = nnx.Linear(width, _HEADS, rngs=rngs)

    def _transformed(self, values: Array) -> Array:
        return values if self.transform is None else self.transform(values)

    def __call__(self, record: Record) -> tuple[Array, Array]:
        """Features of each date `(pixel, date, width)`, and of all of them `(pixel, 2 width + 1)`."""
        dated = isinstance(record, Series)
        values, mask = (x if dated else x[:, None] for x in (record.values, record.mask))
        if values.shape[-1:] != self.mean.shape:
            raise ValueError(
                f"expected {self.mean.shape[0]} bands, got {values.shape[-1]}; give all and mask the missing ones"
            )
        bands = (self._transformed(values) - self.mean[...]) / self.scale[...]
        inputs = [jnp.where(mask, bands, 0.0), mask.astype(bands.dtype)]
        angles = [jnp.cos(angle) for angle in jax.tree.leaves(record.geometry)]
        inputs += [(angle if dated else angle[:, None])[..., None] for angle in angles]
        if isinstance(record, Series):
            inputs.append((record.time / self.time_scale)[..., None])
        there = mask.any(-1, keepdims=True)
        features = jax.nn.relu(self.first(jnp.concatenate(inputs, -1)))
        features = jnp.where(there, jax.nn.relu(self.second(features)), 0.0)
        # A softmax over the usable dates: every one has some weight, and none of none is zero, not NaN.
        raw = jnp.where(there, self.weights(features), -1e30)
        share = jnp.where(there, jnp.exp(raw - jax.lax.stop_gradient(raw.max(1, keepdims=True))), 0.0)
        share = share / jnp.maximum(share.sum(1, keepdims=True), 1e-6)
        grouped = features.reshape(*features.shape[:-1], _HEADS, -1)
        mean = (share[..., None] * grouped).sum(1).reshape(len(features), -1)
        number = there.sum(1).astype(bands.dtype)
        # The sum tells how many dates agree, which the mean forgets.
        return features, jnp.concatenate([mean, 0.5 * features.sum(1), number], -1)


class SetEncoder(nnx.Module):
    """From observations of several sensors at unaligned, masked dates to a context.

    The order of the dates does not matter, padded dates leave no trace, and a sensor that is not there is one without
    dates. Nothing is computed across pixels.

    Args:
        example: observations of at least a few hundred pixels, simulated ones as a rule.
        width: features of each layer; a multiple of 4.
        depth: hidden layers after pooling.
        transforms: by name of the record, a function applied to its bands first; e.g. `jnp.log1p`.
        by_date: records of whose dates the model has sites of shape `(date,)`: the context ends with features of each
            of their dates, in the order given, so that a guide can tell one from the other.
        time_scale: days; of the window in which dates lie.
        rngs: random streams of the initial weights.
    """

    def __init__(
        self,
        example: Observations,
        *,
        width: int = 128,
        depth: int = 3,
        transforms: Mapping[str, Callable[[Array], Array]] = MappingProxyType({}),
        by_date: Sequence[str] = (),
        time_scale: float = 10.0,
        rngs: nnx.Rngs,
    ) -> None:
        check_observations(example)
        for what, names in (("transforms", transforms), ("by_date", by_date)):
            unknown = sorted(set(names) - set(example))
            if unknown:
                raise ValueError(f"SetEncoder: expected records among {sorted(example)} in {what}, got {unknown}")
        if width % _HEADS:
            raise ValueError(f"SetEncoder: expected a width that is a multiple of {_HEADS}, got {width}")
        # In one order, whatever that of the mapping: compiled functions give mappings back sorted.
        self.names, self.by_date = tuple(sorted(example)), tuple(by_date)
        self.sensors = nnx.Dict(
            {
                name: Dates(record, width=width, transform=transforms.get(name), time_scale=time_scale, rngs=rngs)
                for name, record in sorted(example.items())
            }
        )
        sizes = [len(example) * (2 * width + 1), *[width] * depth]
        self.layers = nnx.List([nnx.Linear(i, o, rngs=rngs) for i, o in zip(sizes[:-1], sizes[1:], strict=True)])
        self.dates = nnx.Dict({name: nnx.Linear(2 * width, width // 4, rngs=rngs) for name in by_date})

    def __call__(self, observations: Observations) -> Array:
        """Returns the context `(pixel, width + dates of the records by_date * width / 4)`."""
        features: dict[str, Array] = {}
        pooled = []
        for name in self.names:
            try:
                features[name], all_dates = self.sensors[name](observations[name])
            except ValueError as error:
                raise ValueError(f"SetEncoder: {name!r}: {error}") from None
            pooled.append(all_dates)
        context = jnp.concatenate(pooled, -1)
        for layer in self.layers:
            context = jax.nn.relu(layer(context))
        parts = [context]
        for name in self.by_date:
            beside = jnp.broadcast_to(context[:, None], (*features[name].shape[:2], context.shape[-1]))
            each = jax.nn.relu(self.dates[name](jnp.concatenate([features[name], beside], -1)))
            parts.append(each.reshape(len(context), -1))
        return jnp.concatenate(parts, -1)
