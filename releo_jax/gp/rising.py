"""Quantities that only rise: sums of positive rates that vary smoothly."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, TransformedDistribution, constraints
from numpyro.distributions.transforms import Transform

from releo_jax.gp.process import Process
from releo_jax.gp.warped import WarpedGP

_SHORTEST = 1e-3  # days, between two dates of one day


class Accumulated(Transform):
    """From rates on dates to what has come together by then.

    Args:
        days: since the date before, above zero, `(*batch, date)`.

    Equation:
        x_k = sum_{i <= k} rate_i days_i
    """

    domain = constraints.independent(constraints.positive, 1)
    codomain = constraints.positive_ordered_vector

    def __init__(self, days: Array) -> None:
        self.days = days

    def __call__(self, x: Array) -> Array:
        return jnp.cumsum(x * self.days, -1)

    def _inverse(self, y: Array) -> Array:
        return jnp.diff(y, axis=-1, prepend=0.0) / self.days

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: object = None) -> Array:
        return jnp.broadcast_to(jnp.log(self.days).sum(-1), x.shape[:-1])

    def tree_flatten(self) -> Any:
        return (self.days,), (("days",), {})


def rising(process: Process, time: ArrayLike, rate: Distribution, *, origin: ArrayLike = 0.0) -> Distribution:
    """A quantity that is zero on a day and rises from then on: thermal time, rain, biomass.

        rate = dist.HalfNormal(0.02)                                      # kg m-2 a day
        biomass = numpyro.sample("biomass", rising(Markov(Matern32(1.0, 20.0)), days, rate, origin=60.0))

    Args:
        process: of the rate on the line of its normal score; see `WarpedGP`.
        time: rising days `(*batch, date)`.
        rate: law of the rate a day, positive, on every date, batch shape `()` or `(*batch, 1)`, with `cdf` and `icdf`.
        origin: day on which the quantity is zero, before the first date, `(*batch)`.

    Returns:
        Law of the quantity, event shape `(date,)`; NumPyro's engines keep its values in order.

    Equation:
        x_k = sum_{i <= k} r_i (t_i - t_{i-1}), t_0 the origin, r a `WarpedGP`.

    Validity:
        The rate between two dates is that of the later one. Dates less than 1e-3 days apart count as that far apart.

    Raises:
        ValueError: the law of the rate is not positive.
    """
    if not _positive(rate):
        raise ValueError(f"rising: expected a law of positive rates, got one on {rate.support}")
    warped = WarpedGP(process, time, rate)
    first = jnp.broadcast_to(jnp.asarray(origin, warped.time.dtype), warped.time.shape[:-1])
    days = jnp.diff(warped.time, axis=-1, prepend=first[..., None])
    return TransformedDistribution(warped, Accumulated(jnp.maximum(days, _SHORTEST)))


def _positive(law: Distribution) -> bool:
    least = getattr(law.support, "lower_bound", None)
    return least is not None and bool(jnp.all(jnp.asarray(least) >= 0.0))
