"""Bounded, skewed quantities that vary smoothly over time, as laws for NumPyro models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from releo_jax.gp.batches import one_by_one
from releo_jax.gp.kernels import Kernel
from releo_jax.gp.process import Process
from releo_jax.gp.sites import Sites

_NUGGET = 1e-3


class WarpedGP(Distribution):
    """A Gaussian process under any marginal law: a Gaussian copula between dates.

        lai = numpyro.sample("lai", WarpedGP(Markov(Matern32(1.0, 40.0)), days, TruncatedNormal(2, 3, low=0, high=10)))

    Args:
        process: of the standardised quantity; its own variance does not matter, its correlation does.
        time: rising days `(*batch, date)`.
        marginal: univariate law of every date with `cdf` and `icdf`, batch shape `()` or `(*batch, 1)`; a sequence of
            such laws, on bounded intervals, for a kernel of several outputs.
        nugget: share of the variance in which every date is on its own; keeps close dates apart.
        validate_args: see NumPyro.

    Event shape:
        `(date,)`, or `(date, variable)`.

    Equation:
        x = icdf(Phi(z)), z a Gaussian process of variance one with the correlation of the kernel.

    Validity:
        In float32 a marginal beyond 5 deviations of z is cut (probability 3e-7).

    Raises:
        ValueError: numbers of laws and outputs differ, or laws that have no cdf and icdf.

    References:
        Wilson & Ghahramani 2010, Copula processes; Snelson, Rasmussen & Ghahramani 2004, Warped Gaussian processes.
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("process", "time", "marginal")
    pytree_aux_fields = ("nugget",)

    def __init__(
        self,
        process: Process,
        time: ArrayLike,
        marginal: Distribution | Sequence[Distribution],
        *,
        nugget: float = _NUGGET,
        validate_args: bool | None = None,
    ) -> None:
        several = not isinstance(marginal, Distribution)
        laws = tuple(marginal) if several else (marginal,)
        outputs = process.kernel.outputs
        if several != (outputs is not None) or len(laws) != (outputs or 1):
            raise ValueError(
                f"WarpedGP: expected {'one law' if outputs is None else f'{outputs} laws, one for each output'}, got "
                f"{f'{len(laws)} laws' if several else 'one law'}"
            )
        dated = [law.batch_shape for law in laws if law.batch_shape and law.batch_shape[-1] != 1]
        if dated:
            raise ValueError(
                f"WarpedGP: expected laws that hold for every date, batch shape () or (*batch, 1), got {dated}"
            )
        lacking = [type(law).__name__ for law in laws if law.event_shape or not _has_quantiles(law)]
        if lacking:
            raise ValueError(f"WarpedGP: expected univariate laws with cdf and icdf, got {lacking}")
        if not 0.0 < nugget < 1.0:
            raise ValueError(f"WarpedGP: expected a nugget between 0 and 1, got {nugget}")
        time = jnp.asarray(time)
        self.process = process
        self.time = time if jnp.issubdtype(time.dtype, jnp.floating) else time.astype(jnp.float32)
        self.marginal: Any = laws if several else laws[0]
        self.nugget = nugget
        shape = jnp.broadcast_shapes(self.time.shape, *(law.batch_shape for law in laws))
        self.time = jnp.broadcast_to(self.time, shape)
        event = shape[-1:] if outputs is None else (shape[-1], outputs)
        super().__init__(batch_shape=shape[:-1], event_shape=event, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> constraints.Constraint:
        if isinstance(self.marginal, Distribution):
            return constraints.independent(self.marginal.support, 1)
        ends = [(law.support.lower_bound, law.support.upper_bound) for law in self.marginal]
        low, high = (jnp.stack(jnp.broadcast_arrays(*side), -1) for side in zip(*ends, strict=True))
        return constraints.independent(constraints.interval(low, high), 2)

    def _deviation(self, time: Array) -> Array:
        """Of the process before it is standardised, `(*batch, date)` or `(*batch, date, variable)`."""

        def pixel(kernel: Kernel, time: Array) -> Array:
            return jnp.sqrt(kernel.variances(time))

        found: Array = one_by_one(pixel, self.process.kernel, time, batch=time.shape[:-1])
        return found

    def warp(self, standard: Array) -> Array:
        """Values of standard normal quantities `(..., *batch, *event)`."""
        share = _inside(ndtr(standard))
        if isinstance(self.marginal, Distribution):
            return self.marginal.icdf(share)
        return jnp.stack([law.icdf(share[..., i]) for i, law in enumerate(self.marginal)], -1)

    def standardise(self, value: Array) -> Array:
        """Standard normal quantities of values: undoes `warp`."""
        if isinstance(self.marginal, Distribution):
            share = self.marginal.cdf(value)
        else:
            share = jnp.stack([law.cdf(value[..., i]) for i, law in enumerate(self.marginal)], -1)
        return ndtri(_inside(share))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        smooth_key, own_key = jax.random.split(key)
        smooth = self.process.sample(smooth_key, self.time, sample_shape) / self._deviation(self.time)
        own = jax.random.normal(own_key, smooth.shape, smooth.dtype)
        return self.warp(math.sqrt(1.0 - self.nugget) * smooth + math.sqrt(self.nugget) * own)

    def _seen(self, value: Array) -> Sites:
        """A draw, as the process sees it."""
        outer = value.shape[: value.ndim - self.event_dim]
        time = jnp.broadcast_to(self.time, (*outer, self.time.shape[-1]))
        deviation = self._deviation(time)
        variance = deviation**2 * (self.nugget / (1.0 - self.nugget))
        return Sites(time, self.standardise(value) * deviation / math.sqrt(1.0 - self.nugget), variance)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: object = None) -> Array:
        value = jnp.asarray(value)
        seen, standard = self._seen(value), self.standardise(value)
        if isinstance(self.marginal, Distribution):
            own = self.marginal.log_prob(value)
        else:
            own = jnp.stack([law.log_prob(value[..., i]) for i, law in enumerate(self.marginal)], -1)
        # Of the marginal, less that of a standard normal law, and of the step from standard to the process.
        each = own + 0.5 * (standard**2 + math.log(2.0 * math.pi)) + 0.5 * jnp.log(seen.variance / self.nugget)
        return self.process.log_prob(seen) + each.reshape(*seen.time.shape[:-1], -1).sum(-1)

    def predict(self, key: Array, value: ArrayLike, time: ArrayLike) -> Array:
        """Draws at other days, given values at those of the law.

        Args:
            key: random.
            value: `(*sample, *batch, *event)`, posterior draws for instance.
            time: days `(*batch, day)` in any order.

        Returns:
            One draw for each value, `(*sample, *batch, day)` or `(*sample, *batch, day, variable)`.
        """
        seen = self._seen(jnp.asarray(value))
        days = jnp.asarray(time, self.time.dtype)
        days = jnp.broadcast_to(days, (*seen.time.shape[:-1], days.shape[-1]))
        smooth_key, own_key = jax.random.split(key)
        smooth = self.process.condition(seen).sample(smooth_key, days) / self._deviation(days)
        # Conditioned on the draws with their nugget, the process is scaled as they were.
        own = jax.random.normal(own_key, smooth.shape, smooth.dtype)
        return self.warp(math.sqrt(1.0 - self.nugget) * smooth + math.sqrt(self.nugget) * own)


def _has_quantiles(law: Distribution) -> bool:
    return type(law).icdf is not Distribution.icdf and type(law).cdf is not Distribution.cdf


def _inside(share: Array) -> Array:
    """Probabilities that are neither 0 nor 1."""
    edge = jnp.finfo(share.dtype).eps
    return jnp.clip(share, edge, 1.0 - edge)
