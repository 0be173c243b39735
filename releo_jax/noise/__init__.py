"""What separates measured bands from simulated ones: laws of the noise, and of the model's own error.

Each function takes the simulated bands `(*batch, band)` and returns the law that `observe` scores; masked bands are
marginalised there, so that every law here works with missing bands. What is to be learned is sampled once for all
pixels, outside the plate:

    def model(data):
        std = learned_noise("noise", bands=10, median=0.02)
        misfit = learn_discrepancy("misfit", Discrepancy(wavelengths=s2.centres, bias=0.02, amplitude=0.01))
        with numpyro.plate("pixel", data["s2"].values.shape[0]):
            bands = ...
            observe("s2", with_discrepancy(gaussian(bands, std), misfit), data["s2"])

Standard deviations of bands are in the unit of the bands, for reflectance 1.
"""

from releo_jax.noise.discrepancy import Discrepancy, learn_discrepancy, with_discrepancy
from releo_jax.noise.laws import (
    additive_multiplicative,
    common_gain,
    correlated,
    gaussian,
    learned_noise,
    smooth_correlation,
    student_t,
)

__all__ = [
    "Discrepancy",
    "additive_multiplicative",
    "common_gain",
    "correlated",
    "gaussian",
    "learn_discrepancy",
    "learned_noise",
    "smooth_correlation",
    "student_t",
    "with_discrepancy",
]
