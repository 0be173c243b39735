"""Training: one optimisation loop for everything that learns."""

from releo_jax.training.loop import Trained, train

__all__ = ["Trained", "train"]
