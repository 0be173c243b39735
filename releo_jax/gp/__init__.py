"""Gaussian processes over time, for irregular dates with gaps.

    process = Markov(Matern32(variance=0.5, scale=40.0))
    posterior = process.condition(Sites(days, ndvi, 0.02**2, clear))
    weekly = posterior.at(jnp.arange(0.0, 365.0, 7.0))           # mean and variance, forecasts included

Four implementations share the protocol `Process`: `Exact` (any kernel, the reference), `Markov` (kernels with a state
space, exact in linear time), `Sparse` and `Nearest` (any kernel, approximate). Means are zero: subtract yours first.
`mean_field` and `banded` are laws of a process at its dates that no sites tell of. `WarpedGP` puts a process under a
bounded or skewed law, for NumPyro models.
"""

from releo_jax.gp.exact import Exact, ExactPosterior
from releo_jax.gp.free import FreeLaw, banded, mean_field
from releo_jax.gp.kernels import Coregionalized, Kernel, Product, StateSpace, Sum
from releo_jax.gp.markov import Markov, MarkovPosterior
from releo_jax.gp.nearest import Nearest, NearestPosterior
from releo_jax.gp.process import Law, Posterior, Process, expected_log_likelihood
from releo_jax.gp.rising import rising
from releo_jax.gp.shared import SharedPosterior, condition_shared, log_likelihood_shared
from releo_jax.gp.sites import Marginals, Sites, sorted_sites
from releo_jax.gp.sparse import Sparse, SparsePosterior
from releo_jax.gp.stationary import (
    Cauchy,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    SquaredExponential,
    Stationary,
)
from releo_jax.gp.warped import WarpedGP

__all__ = [
    "Cauchy",
    "Coregionalized",
    "Exact",
    "ExactPosterior",
    "FreeLaw",
    "Kernel",
    "Law",
    "Marginals",
    "Markov",
    "MarkovPosterior",
    "Matern12",
    "Matern32",
    "Matern52",
    "Nearest",
    "NearestPosterior",
    "Periodic",
    "Posterior",
    "Process",
    "Product",
    "SharedPosterior",
    "Sites",
    "Sparse",
    "SparsePosterior",
    "SquaredExponential",
    "StateSpace",
    "Stationary",
    "Sum",
    "WarpedGP",
    "banded",
    "condition_shared",
    "expected_log_likelihood",
    "log_likelihood_shared",
    "mean_field",
    "rising",
    "sorted_sites",
]
