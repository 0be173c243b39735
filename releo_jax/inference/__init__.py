"""Inference: one model function in, a posterior per pixel out."""

from releo_jax.inference.amortized import AmortizedPosterior, amortize
from releo_jax.inference.calibration import CalibrationReport
from releo_jax.inference.laplace import fit_laplace, fit_map
from releo_jax.inference.lut import TablePosterior, fit_lut
from releo_jax.inference.nuts import fit_nuts
from releo_jax.inference.objectives import Elbo, ImportanceWeightedElbo, MomentMatching, Simulation
from releo_jax.inference.posterior import DrawsPosterior, GuidePosterior, PointPosterior, Posterior
from releo_jax.inference.posterior_files import load_posterior, save_posterior
from releo_jax.inference.refinement import refine
from releo_jax.inference.smc import fit_smc
from releo_jax.inference.svi import fit_svi

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
    "TablePosterior",
    "amortize",
    "fit_laplace",
    "fit_lut",
    "fit_map",
    "fit_nuts",
    "fit_smc",
    "fit_svi",
    "load_posterior",
    "refine",
    "save_posterior",
]
