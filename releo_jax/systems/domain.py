"""What a retrieval was trained on, and whether a pixel is like it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from releo_jax.inference.amortized import AmortizedPosterior
from releo_jax.inference.laws import from_vector
from releo_jax.inference.objectives import Source
from releo_jax.inference.structure import run, simulate
from releo_jax.observations import Observations

_SHARE = 0.999
"""Share of the simulated pixels that are within a limit."""


def log_reflectance(values: ArrayLike) -> Array:
    """log(r + 0.02), r clipped to 0.002 to 1.5: even steps from shadow to snow, finite where noise makes r negative."""
    return jnp.log(jnp.clip(values, 0.002, 1.5) + 0.02)


class Domain(NamedTuple):
    """Simulated pixels in brief, all arrays NumPy.

    Attributes:
        mean: of the logarithm of reflectance `(band,)`, see `log_reflectance`.
        covariance: of the same `(band, band)`.
        distance: limits of the squared Mahalanobis distance by the number of usable bands `(band + 1,)`.
        misfit: limits of the squared misfit of the bands, likewise.
        largest: value of the state that the same share of its prior does not exceed, `()`.
    """

    mean: np.ndarray
    covariance: np.ndarray
    distance: np.ndarray
    misfit: np.ndarray
    largest: np.ndarray

    def distances(self, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance `(pixel,)` of the usable bands from the simulated ones.

        Args:
            values: reflectance `(pixel, band)`.
            mask: `(pixel, band)`, True = usable.
        """
        centred = np.log(np.clip(values, 0.002, 1.5) + 0.02, dtype=np.float32) - self.mean.astype(np.float32)
        return squared_distances(centred, mask, self.covariance)

    def outside(self, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Whether pixels are unlike the simulated ones `(pixel,)`."""
        return self.distances(values, mask) > self.distance[mask.sum(axis=1)]


def squared_distances(centred: np.ndarray, mask: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances `(pixel,)` of usable bands from their mean.

    Args:
        centred: bands less their mean `(pixel, band)` float32.
        mask: `(pixel, band)`, True = usable.
        covariance: `(band, band)`.
    """
    found = np.zeros(len(centred), np.float32)
    words = mask @ (1 << np.arange(mask.shape[1]))
    patterns = np.unique(words)
    for pattern in patterns:
        used = (pattern >> np.arange(mask.shape[1])) & 1 == 1
        if not used.any():
            continue
        rows = slice(None) if patterns.size == 1 else words == pattern
        factor = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(used, used)])).astype(np.float32)
        found[rows] = np.square(centred[rows][:, used] @ factor).sum(axis=1)
    return found


def chi_square(amortized: AmortizedPosterior, record: str, guide: object, data: Observations) -> Array:
    """Squared misfit `(pixel,)` of the usable bands at the centre of the posterior, weighted by the observation model.

    Args:
        amortized: posterior of a model whose observations of the record are normal.
        record: name of the record.
        guide: the guide to use.
        data: pixels.
    """
    local = guide.local(guide.encoder(data))  # type: ignore[attr-defined]
    sites = dict(from_vector(local.sites, local.location)[0])
    shared = guide.shared() if guide.shared is not None else None  # type: ignore[attr-defined]
    if shared is not None:
        sites |= from_vector(shared.sites, shared.location)[0]
    observed = run(amortized.model, data, None, sites)[record]["fn"]
    return 2.0 * (observed.log_prob(observed.reduced.loc) - observed.log_prob(data[record].values))


def learn_domain(
    amortized: AmortizedPosterior, record: str, state: str, acquisitions: Source, *, key: Array, n: int = 100_000
) -> Domain:
    """Simulates `n` pixels and keeps what `Domain` says of them.

    Args:
        amortized: trained posterior.
        record: name of the record of bands.
        state: site whose largest usual value is kept.
        acquisitions: sampler of angles and masks, with all numbers of missing bands.
        key: random key.
        n: pixels.
    """
    assert callable(acquisitions)
    guide = amortized.guide()

    @jax.jit
    def batch(key: Array) -> tuple[Array, Array, Array, Array]:
        one, other = jax.random.split(key)
        seen = acquisitions(one, 2000)
        sites, simulated = simulate(
            amortized.structure, amortized.model, seen, other, separately=bool(amortized.structure.shared)
        )
        everything = simulated[record]
        return everything.values, everything.mask, chi_square(amortized, record, guide, simulated), sites[state]

    parts = [jax.device_get(batch(one)) for one in jax.random.split(key, -(-n // 2000))]
    values, mask, misfit, drawn = (np.concatenate(column) for column in zip(*parts, strict=True))
    whole = np.asarray(log_reflectance(values[mask.all(axis=1)]), np.float64)
    bands = mask.shape[1]
    blank = np.zeros(bands + 1)
    domain = Domain(whole.mean(axis=0), np.cov(whole.T), blank, blank, np.quantile(drawn, _SHARE))
    count = mask.sum(axis=1)
    return domain._replace(
        distance=limits(domain.distances(values, mask), count, bands), misfit=limits(misfit, count, bands)
    )


def limits(score: np.ndarray, count: np.ndarray, bands: int) -> np.ndarray:
    """Quantiles of a score by the number of bands; few pixels of a number borrow from those with more bands."""
    found = np.full(bands + 1, np.inf)
    for number in range(bands, 0, -1):
        mine = score[count == number]
        largest = found[number + 1] if number < bands else np.inf
        found[number] = min(np.quantile(mine, _SHARE), largest) if mine.size > 500 else largest
    return found
