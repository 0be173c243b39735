"""Encoders: Flax modules that turn observations into the context `(pixel, feature)` of an amortised posterior."""

from releo_jax.encoders.dates import SetEncoder
from releo_jax.encoders.pixel import PixelEncoder
from releo_jax.encoders.reference_days import ReferenceDays

__all__ = ["PixelEncoder", "ReferenceDays", "SetEncoder"]
