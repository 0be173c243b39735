"""Covariances of one quantity over time, and the state spaces of those that have one.

    kernel = Matern32(variance=0.8, scale=30.0) + Periodic(variance=0.3, scale=1.0, period=365.25)

Times and scales are days. Parameters are scalars, or `(*batch)` where each pixel has its own. A kernel of your own is
a `Stationary` with a `correlation`; it works with `Exact`, `Sparse` and `Nearest`, and with `Markov`, too, if it has a
`state_space`.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from releo_jax.gp import matrices
from releo_jax.gp.kernels import Kernel, StateSpace, as_float
from releo_jax.gp.matrices import Matrix


def _positive(kernel: str, **values: Array) -> None:
    """Looks at parameters whose values are known."""
    for name, value in values.items():
        if not isinstance(value, jax.core.Tracer) and not np.all(np.asarray(value) > 0.0):
            raise ValueError(f"{kernel}: expected {name} above zero, got {value}; learn its logarithm instead")


class Stationary(Kernel):
    """A kernel of the time between two dates.

    Attributes:
        variance: of the process.
        scale: days over which it forgets.
    """

    # Arrays, made of whatever converts to them: type checkers do not know converters.
    variance: Any = eqx.field(converter=as_float, default=1.0)
    scale: Any = eqx.field(converter=as_float, default=30.0)

    def __check_init__(self) -> None:
        _positive(type(self).__name__, variance=self.variance, scale=self.scale)

    @abc.abstractmethod
    def correlation(self, lag: Array) -> Array:
        """Correlation at lags of zero or more, days."""

    def __call__(self, first: Array, second: Array) -> Array:
        return self.variance * self.correlation(jnp.abs(first[:, None] - second[None, :]))

    def variances(self, time: Array) -> Array:
        return jnp.broadcast_to(self.variance, time.shape)


def _gamma_p(order: int, y: Array, decay: Array) -> list[Array]:
    """Regularised lower incomplete gamma functions P(1..order, y), exact to the last digit of one; decay = exp(-y).

    P(n, y) = 1 - exp(-y) sum_{k<n} y^k / k! loses all digits for small y: there the last is summed as a series, and
    P(n) = P(n + 1) + exp(-y) y^n / n! adds the others.
    """
    terms = 9 if y.dtype == jnp.float32 else 17
    small = y < 1.0
    low = jnp.where(small, y, 1.0)
    series = jnp.ones_like(y)
    for j in range(terms, 0, -1):
        series = 1.0 + low * (1.0 / (order + j)) * series
    partial = jnp.ones_like(y)
    for k in range(order - 1, 0, -1):
        partial = 1.0 + y * (1.0 / k) * partial
    found = [jnp.where(small, decay * low**order * (1.0 / math.factorial(order)) * series, 1.0 - decay * partial)]
    for n in range(order - 1, 0, -1):
        found.append(found[-1] + decay * y**n * (1.0 / math.factorial(n)))
    return found[::-1]


class Matern12(Stationary):
    """Matérn 1/2: an autoregression of first order, the Ornstein-Uhlenbeck process.

    Equation:
        variance exp(-lag / scale).

    References:
        Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, section 4.2.1.
    """

    def correlation(self, lag: Array) -> Array:
        return jnp.exp(-lag / self.scale)

    def state_space(self) -> StateSpace:
        variance = self.variance

        def step(days: Array) -> tuple[Matrix, Matrix]:
            x = days / self.scale
            decay = jnp.exp(-x)
            return ((decay,),), ((variance * _gamma_p(1, 2.0 * x, decay * decay)[0],),)

        return StateSpace(((variance,),), ((1.0,),), step)


class Matern32(Stationary):
    """Matérn 3/2: once differentiable.

    Equation:
        variance (1 + x) exp(-x), x = sqrt(3) lag / scale.

    References:
        Rasmussen & Williams 2006, section 4.2.1; state space: Hartikainen & Särkkä 2010.
    """

    def correlation(self, lag: Array) -> Array:
        x = math.sqrt(3.0) * lag / self.scale
        return (1.0 + x) * jnp.exp(-x)

    def state_space(self) -> StateSpace:
        variance = self.variance

        # The state is f and f' / rate, so that it has no unit.
        def step(days: Array) -> tuple[Matrix, Matrix]:
            x = math.sqrt(3.0) * days / self.scale
            decay = jnp.exp(-x)
            y = 2.0 * x
            third = variance * _gamma_p(3, y, decay * decay)[2]
            cross = variance * (0.5 * y * y * decay * decay)
            change = ((decay * (1.0 + x), decay * x), (-decay * x, decay * (1.0 - x)))
            return change, ((third, cross), (cross, third + variance * (2.0 * y * decay * decay)))

        return StateSpace(((variance, 0.0), (0.0, variance)), ((1.0, 0.0),), step)


class Matern52(Stationary):
    """Matérn 5/2: twice differentiable.

    Equation:
        variance (1 + x + x²/3) exp(-x), x = sqrt(5) lag / scale.

    References:
        Rasmussen & Williams 2006, section 4.2.1; state space: Hartikainen & Särkkä 2010.
    """

    def correlation(self, lag: Array) -> Array:
        x = math.sqrt(5.0) * lag / self.scale
        return (1.0 + x + x * x / 3.0) * jnp.exp(-x)

    def state_space(self) -> StateSpace:
        variance = self.variance
        third = variance / 3.0

        # The state is f, f' / rate, f'' / rate². What is new in it is the integral of exp(-2 s) p pᵀ over s up to x,
        # p = (s²/2, s - s²/2, 1 - 2 s + s²/2), from integrals of exp(-2 s) sⁿ.
        def step(days: Array) -> tuple[Matrix, Matrix]:
            x = math.sqrt(5.0) * days / self.scale
            decay = jnp.exp(-x)
            powers = _gamma_p(5, 2.0 * x, decay * decay)
            i0, i1, i2, i3, i4 = (
                (16.0 / 3.0) * variance * (math.factorial(n) / 2.0 ** (n + 1)) * p for n, p in enumerate(powers)
            )
            half = 0.5 * x * x
            change = (
                (decay * (1.0 + x + half), decay * (x + x * x), decay * half),
                (-decay * half, decay * (1.0 + x - x * x), decay * (x - half)),
                (decay * (half - x), decay * (x * x - 3.0 * x), decay * (1.0 - 2.0 * x + half)),
            )
            new = {
                (0, 0): 0.25 * i4,
                (0, 1): 0.5 * i3 - 0.25 * i4,
                (0, 2): 0.5 * i2 - i3 + 0.25 * i4,
                (1, 1): i2 - i3 + 0.25 * i4,
                (1, 2): i1 - 2.5 * i2 + 1.5 * i3 - 0.25 * i4,
                (2, 2): i0 - 4.0 * i1 + 5.0 * i2 - 2.0 * i3 + 0.25 * i4,
            }
            return change, matrices.symmetric(lambda i, j: new[i, j], 3)

        stationary = ((variance, 0.0, -third), (0.0, third, 0.0), (-third, 0.0, variance))
        return StateSpace(stationary, ((1.0, 0.0, 0.0),), step)


class SquaredExponential(Stationary):
    """Infinitely differentiable; without a state space.

    Equation:
        variance exp(-lag² / (2 scale²)).
    """

    def correlation(self, lag: Array) -> Array:
        return jnp.exp(-0.5 * (lag / self.scale) ** 2)


class Cauchy(Stationary):
    """Of many scales at once; without a state space. The prior of GP-VAE.

    Equation:
        variance / (1 + lag² / scale²).

    References:
        Fortuin, Baranchuk, Rätsch & Mandt 2020, GP-VAE, AISTATS.
    """

    def correlation(self, lag: Array) -> Array:
        return 1.0 / (1.0 + (lag / self.scale) ** 2)


class Periodic(Kernel):
    """Repeats itself, every year for instance.

    Attributes:
        variance: of the process.
        scale: smoothness within a period; 1 or more is one gentle swing, 0.5 several.
        period: days.
        harmonics: number of sines and cosines; what MacKay's kernel has beyond them is left out, and the others are
            raised to keep the variance (1e-8 of it at a scale of 1 and 8 harmonics, 0.1 % at 0.5).

    Equation:
        variance sum_j w_j cos(2 pi j lag / period), w_j the Fourier series of exp(-2 sin²(pi lag / period) / scale²).

    References:
        MacKay 1998; Solin & Särkkä 2014, Explicit link between periodic covariance functions and state space models.
    """

    variance: Any = eqx.field(converter=as_float, default=1.0)
    scale: Any = eqx.field(converter=as_float, default=1.0)
    period: Any = eqx.field(converter=as_float, default=365.25)
    harmonics: int = eqx.field(static=True, default=8)

    def __check_init__(self) -> None:
        _positive("Periodic", variance=self.variance, scale=self.scale, period=self.period)
        if self.harmonics < 1:
            raise ValueError(f"Periodic: expected one harmonic at least, got {self.harmonics}")

    def weights(self) -> Array:
        """Variance of each harmonic, from the mean on, `(harmonics + 1,)`."""
        points = 64  # of the trapezoidal rule, exact to all digits for scales above 0.25
        phase = 2.0 * np.pi * np.arange(points) / points
        shape = jnp.exp((jnp.cos(jnp.asarray(phase, self.scale.dtype)) - 1.0) / self.scale**2)
        each = np.cos(np.arange(self.harmonics + 1)[:, None] * phase) / points
        found = (jnp.asarray(each, self.scale.dtype) * shape).sum(1)
        found = found * jnp.asarray([1.0] + [2.0] * self.harmonics, found.dtype)
        return self.variance * found / found.sum()

    def __call__(self, first: Array, second: Array) -> Array:
        lag = 2.0 * math.pi * (first[:, None] - second[None, :]) / self.period
        order = jnp.arange(self.harmonics + 1, dtype=lag.dtype)
        return (self.weights() * jnp.cos(lag[..., None] * order)).sum(-1)

    def variances(self, time: Array) -> Array:
        return jnp.broadcast_to(self.variance, time.shape)

    def state_space(self) -> StateSpace:
        weights = self.weights()
        stationary: Matrix = ((weights[0],),)
        for j in range(1, self.harmonics + 1):
            stationary = matrices.block_diagonal(stationary, ((weights[j], 0.0), (0.0, weights[j])))
        size = 2 * self.harmonics + 1

        def step(days: Array) -> tuple[Matrix, Matrix]:
            change: Matrix = ((1.0,),)
            for j in range(1, self.harmonics + 1):
                angle = 2.0 * math.pi * j * days / self.period
                cos, sin = jnp.cos(angle), jnp.sin(angle)
                change = matrices.block_diagonal(change, ((cos, -sin), (sin, cos)))
            return change, ((0.0,) * size,) * size

        return StateSpace(stationary, ((1.0, *(1.0, 0.0) * self.harmonics),), step)
