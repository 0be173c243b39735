"""Pheno-VAE: a variational autoencoder of vegetation index series whose decoder is a season with ordered dates.

    vae = pheno_vae(season_prior(60.0, 180.0))
    vae = vae.fit(acquisition(), key=key, steps=10_000)                  # pairs drawn from the model itself
    vae = vae.fit(data, key=key, objective="elbo", steps=2_000)          # and then on series, without labels
    vae(data).sample(key, 500, sites=["start_of_season", "end_of_season"])

The model is that of `releo_jax.systems.phenology`: the seasons' dates are sums of positive spans, so that they stay in
order, and all latents live on intervals. Irregular series with gaps, of any number of dates and in any
order, are read from reference days every week (`releo_jax.encoders.ReferenceDays`).

References:
    Zérah, Valero & Inglada 2023, IEEE Trans. Geosci. Remote Sens. 61, doi 10.1109/TGRS.2023.3284992.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from releo_jax.acquisitions import Acquisitions
from releo_jax.encoders import ReferenceDays
from releo_jax.inference.amortized import AmortizedPosterior, amortize
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.observations import Observations, Series
from releo_jax.priors import Prior
from releo_jax.systems.phenology import RECORD, season_series


class _Dates(eqx.Module):
    first: float
    last: float
    dates: int = eqx.field(static=True)
    gap: float

    @eqx.filter_jit
    def __call__(self, key: Array, n: int) -> Observations:
        keys = jax.random.split(key, 5)
        # One orbit for each pixel, some days off.
        revisit = (self.last - self.first) / self.dates
        place = jnp.arange(self.dates) + jax.random.uniform(keys[0], (n, 1))
        time = self.first + revisit * place
        clear = jax.random.uniform(keys[1], time.shape) < jax.random.uniform(keys[2], (n, 1), minval=0.15, maxval=1.0)
        begin, length = jax.random.uniform(keys[3], (2, n, 1))
        begin = self.first + (self.last - self.first) * begin
        length = jnp.where(jax.random.uniform(keys[4], (n, 1)) < 0.5, self.gap * length, 0.0)
        clear = clear & ~((time >= begin) & (time < begin + length))
        return {RECORD: Series(jnp.zeros((*time.shape, 1)), clear[..., None], time)}


def acquisition(*, first: float = 0.0, last: float = 365.0, dates: int = 73, gap: float = 90.0) -> Acquisitions:
    """A sampler of invented dates: one orbit, 15 to 100 % of its dates clear, a long gap in half of the pixels.

    Args:
        first, last: days between which the series lie.
        dates: of an orbit between them.
        gap: longest gap, days.

    Returns:
        `sampler(key, n) -> Observations`.

    Raises:
        ValueError: an interval that ends before it begins, or no dates.
    """
    if not first < last or dates < 1:
        raise ValueError(f"acquisition: expected first < last and one date at least, got {first}, {last} and {dates}")
    return _Dates(first, last, dates, gap)


def pheno_vae(
    prior: Prior,
    *,
    example: Acquisitions | None = None,
    noise: float | None = None,
    family: str = "truncated_normal",
    width: int = 256,
    depth: int = 3,
    seed: int = 0,
) -> AmortizedPosterior:
    """The untrained system.

    Args:
        prior: of the seasons, as made by `season_prior`.
        example: sampler of the dates to come; default `acquisition()`.
        noise: standard deviation of the index around the curve; None to learn one for all pixels.
        family: of the posterior; the paper's is "truncated_normal", independent ones on their intervals;
            "full_covariance", "mixture" and "flow" know that the dates of a season depend on each other.
        width, depth: of the encoder.
        seed: of its initial weights.

    Returns:
        An amortised posterior of `season_series`; `fit` it to acquisitions (simulations) or to series.
    """
    model = season_series(prior, noise=noise)
    sampler = acquisition() if example is None else example
    key = jax.random.key(seed)
    structure = read_structure(model, sampler(key, 16))
    simulated = jax.jit(lambda seen: simulate(structure, model, seen, key, separately=True)[1])
    series = simulated(sampler(key, 2048))
    encoder = ReferenceDays(series, width=width, depth=depth, rngs=nnx.Rngs(seed))
    return amortize(model, encoder, series, family=family, sites=("first_rise",))


__all__ = ["acquisition", "pheno_vae"]
