"""The network of GP-prior autoencoders: what a date tells of the latents, and what latents tell of the bands."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from releo_jax.encoders.pixel import Constant, band_statistics
from releo_jax.observations import Series

PARTS = {"sites": 2, "mean_field": 2, "banded": 3}
"""Guides, and the numbers that their encoder says for each latent of each date."""

_AROUND = 2  # usable dates before and after that the encoder of a guide without sites sees
_FLOOR = 1e-3  # of the variance of a latent after one date
_NOISE = 0.03  # variance of the noise that training starts with, of standardised bands
_LEAST = 0.01  # deviation of the noise, of standardised bands
_RANK = 1e-3  # variance of a component without which it is noise


class Bent(nnx.Module):
    """A linear map of the first inputs plus a network of all inputs, which is close to zero at first.

    Args:
        linear: start of the map `(input, output)`.
        bias: start of the constant `(output,)`.
        inputs: of the network, as many as the map has or more.
        width: units of its two hidden layers.
        rngs: random streams of the initial weights.
    """

    def __init__(self, linear: np.ndarray, bias: np.ndarray, *, inputs: int, width: int, rngs: nnx.Rngs) -> None:
        self.linear, self.bias = (nnx.Param(jnp.asarray(x, jnp.float32)) for x in (linear, bias))
        small = nnx.initializers.variance_scaling(1e-2, "fan_in", "normal")
        self.layers = nnx.List(
            [
                nnx.Linear(inputs, width, rngs=rngs),
                nnx.Linear(width, width, rngs=rngs),
                nnx.Linear(width, len(bias), kernel_init=small, rngs=rngs),
            ]
        )

    def __call__(self, x: Array) -> Array:
        """Outputs `(..., output)` of inputs `(..., input)`."""
        linear = self.linear[...]
        straight = jnp.matmul(x[..., : len(linear)], linear, precision="highest") + self.bias[...]
        for layer in self.layers[:-1]:
            x = jax.nn.gelu(layer(x))
        return straight + jnp.asarray(self.layers[-1](x))


def components(record: Series, mean: Array, deviation: Array, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the standardised bands of usable dates.

    Returns:
        Their directions `(band, number)`, zero beyond the number of bands, and variances `(number,)`.
    """
    usable = np.asarray(record.mask)
    bands = np.where(usable, (np.asarray(record.values, np.float64) - np.asarray(mean)) / np.asarray(deviation), 0.0)
    together = np.einsum("pdi,pdj->ij", usable, usable, dtype=float)
    variances, directions = np.linalg.eigh(np.einsum("pdi,pdj->ij", bands, bands) / np.maximum(together, 1.0))
    found, variance = np.zeros((bands.shape[-1], number)), np.full(number, _RANK)
    kept = min(number, len(variances))
    found[:, :kept] = directions[:, ::-1][:, :kept]
    variance[:kept] = np.maximum(variances[::-1][:kept], _RANK)
    return found, variance


class GPNetwork(nnx.Module):
    """Everything of a GP-prior autoencoder that has weights.

    It starts as probabilistic principal components: latents of variance one, a linear decoder, and the encoder that
    belongs to it.

    Args:
        record: example series, for the means and deviations of the bands, which stay, and the components.
        guide: a key of `PARTS`.
        latents: number of processes.
        scales: first guess of their time scales, days, `(latent,)`.
        width: units of the two hidden layers of encoder and decoder.
        rngs: random streams of the initial weights.

    References:
        Tipping & Bishop 1999, Probabilistic principal component analysis.
    """

    def __init__(self, record: Series, *, guide: str, latents: int, scales: Array, width: int, rngs: nnx.Rngs) -> None:
        bands = record.values.shape[-1]
        self.parts, self.around = PARTS[guide], 0 if guide == "sites" else _AROUND
        mean, deviation = band_statistics(record.values, record.mask)
        self.mean, self.deviation = Constant(mean), Constant(deviation)
        directions, variances = components(record, mean, deviation, latents)
        rest = np.zeros((bands, (self.parts - 1) * latents))
        certainty = np.zeros((self.parts - 1, latents))
        certainty[0] = _before_softplus(_NOISE / variances)
        self.encoder = Bent(
            np.concatenate([directions / np.sqrt(variances), rest], -1),
            np.concatenate([np.zeros(latents), certainty.reshape(-1)]),
            inputs=2 * bands + 2 * self.around * (2 * bands + 1),
            width=width,
            rngs=rngs,
        )
        self.decoder = Bent(
            np.concatenate([(directions * np.sqrt(variances)).T, np.zeros((latents, bands))], -1),
            np.concatenate([np.zeros(bands), np.full(bands, _before_softplus(np.sqrt(_NOISE)))]),
            inputs=latents,
            width=width,
            rngs=rngs,
        )
        self.log_scales = nnx.Param(jnp.log(scales))

    def encode(self, record: Series) -> list[Array]:
        """What each date tells of each latent: a value, a variance and, where the guide has three parts, a coupling
        without bounds, `(pixel, latent, date)` each."""
        return _encode(*nnx.split(self), record)

    def decode(self, latents: Array) -> tuple[Array, Array]:
        """Bands of latents `(..., latent)` and the deviation of their noise, `(..., band)` each."""
        return _decode(*nnx.split(self), latents)

    def _encode(self, record: Series) -> list[Array]:
        bands = jnp.where(record.mask, (record.values - self.mean[...]) / self.deviation[...], 0.0)
        inputs = jnp.concatenate([bands, record.mask.astype(bands.dtype)], -1)
        if self.around:
            inputs = _with_neighbours(inputs, record, self.around)
        value, certainty, *coupling = jnp.split(jnp.moveaxis(self.encoder(inputs), -1, 1), self.parts, 1)
        return [value, _FLOOR + jax.nn.softplus(certainty), *coupling]

    def _decode(self, latents: Array) -> tuple[Array, Array]:
        bands, noise = jnp.split(self.decoder(latents), 2, -1)
        deviation = self.deviation[...]
        return self.mean[...] + deviation * bands, deviation * (_LEAST + jax.nn.softplus(noise))


@functools.partial(jax.jit, static_argnums=0)
def _encode(graph: nnx.GraphDef, state: nnx.State, record: Series) -> list[Array]:
    network: GPNetwork = nnx.merge(graph, state)
    return network._encode(record)


@functools.partial(jax.jit, static_argnums=0)
def _decode(graph: nnx.GraphDef, state: nnx.State, latents: Array) -> tuple[Array, Array]:
    network: GPNetwork = nnx.merge(graph, state)
    return network._decode(latents)


def _before_softplus(x: Any) -> Any:
    return np.log(np.expm1(x))


def _with_neighbours(inputs: Array, record: Series, number: int) -> Array:
    """Inputs `(pixel, date, input)` beside those of the usable dates before and after, and the days in between."""
    seen = record.mask.any(-1)
    # Usable dates side by side; what lies beyond their ends is masked, with no days in between.
    order = jnp.argsort(~seen, axis=1, stable=True)
    every = jnp.concatenate([inputs, record.time[..., None]], -1)
    every = jnp.take_along_axis(jnp.where(seen[..., None], every, 0.0), order[..., None], 1)
    there = jnp.take_along_axis(seen, order, 1)
    parts = [every[..., :-1]]
    for step in (*range(-number, 0), *range(1, number + 1)):
        index = jnp.arange(seen.shape[1]) + step
        inside = (index >= 0) & (index < seen.shape[1])
        index = jnp.clip(index, 0, seen.shape[1] - 1)
        known = there & there[:, index] & inside
        other = jnp.where(known[..., None], every[:, index], 0.0)
        days = jnp.where(known, jnp.abs(other[..., -1] - every[..., -1]), 0.0)
        parts += [other[..., :-1], jnp.log1p(days)[..., None]]
    return jnp.take_along_axis(jnp.concatenate(parts, -1), jnp.argsort(order, axis=1)[..., None], 1)
