"""Training: one optimisation loop for everything that learns, on one device or on many machines."""

from releo_jax.training.devices import Loss
from releo_jax.training.loop import Loop, Stopping, Trained, adam, train
from releo_jax.training.metrics import CsvMetrics, Metrics, TensorBoardMetrics
from releo_jax.training.runs import Runs

__all__ = [
    "CsvMetrics",
    "Loop",
    "Loss",
    "Metrics",
    "Runs",
    "Stopping",
    "TensorBoardMetrics",
    "Trained",
    "adam",
    "train",
]
