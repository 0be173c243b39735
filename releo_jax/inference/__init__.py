"""Inference: one model function in, a posterior per pixel out."""

from releo_jax.inference.amortized import AmortizedPosterior, amortize
from releo_jax.inference.calibration import CalibrationReport
from releo_jax.inference.laplace import fit_laplace, fit_map
from releo_jax.inference.objectives import Elbo, ImportanceWeightedElbo, MomentMatching, Simulation
from releo_jax.inference.posterior import DrawsPosterior, GuidePosterior, PointPosterior, Posterior

__all__ = [
    "AmortizedPosterior",
    "CalibrationReport",
    "DrawsPosterior",
    "Elbo",
    "GuidePosterior",
    "ImportanceWeightedElbo",
    "MomentMatching",
    "PointPosterior",
    "Posterior",
    "Simulation",
    "amortize",
    "fit_laplace",
    "fit_map",
]
