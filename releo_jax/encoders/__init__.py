"""Encoders: Flax modules that turn observations into the context `(pixel, feature)` of an amortised posterior."""

from releo_jax.encoders.dates import SetEncoder
from releo_jax.encoders.pixel import PixelEncoder

__all__ = ["PixelEncoder", "SetEncoder"]
