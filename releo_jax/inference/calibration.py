"""Is an amortised posterior calibrated under its own model? Simulation-based calibration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array
from scipy import stats

from releo_jax.acquisitions import from_observations
from releo_jax.inference.structure import simulate
from releo_jax.metrics.ranks import RankCheck, rank_check

if TYPE_CHECKING:
    from releo_jax.inference.amortized import AmortizedPosterior
    from releo_jax.inference.objectives import Source

_CHUNK = 500  # pixels whose draws are in memory at once


@dataclasses.dataclass(frozen=True)
class CalibrationReport:
    """Ranks of true values among posterior draws; uniform on 0 ... draws where the posterior is calibrated.

    Attributes:
        draws: posterior draws per pixel.
        ranks: by site, number of draws below the truth `(n, ...)`.
    """

    draws: int
    ranks: Mapping[str, np.ndarray]

    def histogram(self, site: str, bins: int = 20) -> np.ndarray:
        """Counts `(bins,)` of the ranks of a site in bins of (nearly) equal width; a flat one is calibrated."""
        edges = np.linspace(0, self.draws + 1, bins + 1)
        return np.histogram(self.ranks[site].ravel() + 0.5, edges)[0]

    def p_values(self, bins: int = 20) -> dict[str, float]:
        """By site, probability of a histogram at least as uneven if the ranks are uniform (chi-squared test)."""
        found = {}
        for site in self.ranks:
            # Bins hold different numbers of ranks unless they divide draws + 1: the expectation accounts for it.
            edges = np.linspace(0, self.draws + 1, bins + 1)
            possible = np.histogram(np.arange(self.draws + 1) + 0.5, edges)[0]
            expected = possible / possible.sum() * self.ranks[site].size
            found[site] = float(stats.chisquare(self.histogram(site, bins), expected).pvalue)
        return found

    def checks(self, level: float = 0.95) -> dict[str, RankCheck]:
        """By site, its ranks within simultaneous bands, a dimension for each of the site's elements.

        Args:
            level: probability that a calibrated posterior stays within the bands of all sites together.

        Returns:
            records whose `within` decides and that `releo_jax.plots.plot_ranks` draws.
        """
        of_site = 1.0 - (1.0 - level) / len(self.ranks)
        return {
            site: rank_check(ranks.reshape(ranks.shape[0], -1), draws=self.draws, level=of_site)
            for site, ranks in self.ranks.items()
        }

    def deviations(self) -> dict[str, float]:
        """By site, largest distance of the ranks' cumulative distribution from the uniform one.

        About 1.36 / sqrt(n) is exceeded by chance in 5 % of cases (Kolmogorov and Smirnov); `checks` sees more at the
        ends, where intervals go wrong.
        """
        found = {}
        for site, ranks in self.ranks.items():
            counts = np.bincount(ranks.ravel(), minlength=self.draws + 1)
            uniform = np.arange(1, self.draws + 2) / (self.draws + 1)
            found[site] = float(np.abs(np.cumsum(counts) / ranks.size - uniform).max())
        return found

    def coverage(self, level: float) -> dict[str, float]:
        """By site, share of truths inside the central interval of that probability."""
        edge = 0.5 * (1.0 - level)
        unit = {site: (ranks + 0.5) / (self.draws + 1) for site, ranks in self.ranks.items()}
        return {site: float(np.mean((u >= edge) & (u <= 1.0 - edge))) for site, u in unit.items()}


def simulation_based_calibration(
    amortized: AmortizedPosterior, acquisitions: Source, *, key: Array, n: int, draws: int
) -> CalibrationReport:
    """Simulates pixels from the model and ranks their true local sites among draws of their posteriors.

    Args:
        amortized: what is tested.
        acquisitions: sampler or observations that give angles and masks.
        key: random key.
        n: pixels.
        draws: posterior draws of each.

    References:
        Talts et al. 2018, arXiv 1804.06788.
    """
    sampler = acquisitions if callable(acquisitions) else from_observations(acquisitions)
    names = [site.name for site in amortized.structure.local]
    parts: list[dict[str, np.ndarray]] = []
    for part, chunk_key in enumerate(jax.random.split(key, -(-n // _CHUNK))):
        size = min(_CHUNK, n - part * _CHUNK)
        key_acquisition, key_model, key_draws = jax.random.split(chunk_key, 3)
        seen = sampler(key_acquisition, size)
        truth, data = simulate(amortized.structure, amortized.model, seen, key_model, separately=True)
        drawn = amortized(data).sample(key_draws, draws, sites=names)
        parts.append({name: np.asarray((drawn[name] < truth[name]).sum(0)) for name in names})
    return CalibrationReport(draws=draws, ranks={name: np.concatenate([p[name] for p in parts]) for name in names})
