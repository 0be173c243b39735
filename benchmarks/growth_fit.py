"""SAFY fitted to all trials at once, what differs between trials integrated out by its curvature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpyro.infer import init_to_median
from numpyro.infer.util import constrain_fn, initialize_model
from scipy.optimize import minimize

from releo_jax.inference.structure import Model
from releo_jax.observations import Observations


class Fit(NamedTuple):
    """A normal law on the real line around the mode of all sites of all trials.

    Attributes:
        mode: `(size,)`.
        matrix: curvature `(size, size)`.
        axes: of the curvature `(size, size)`.
        curvature: along them `(size,)`.
        slopes: that stand for what has been integrated out `(size,)`.
        gain: log density that a further Newton step would gain.
    """

    mode: np.ndarray
    matrix: np.ndarray
    axes: np.ndarray
    curvature: np.ndarray
    slopes: np.ndarray
    gain: float


class Engine:
    """Laplace's approximation of the joint posterior of all trials and what they share.

    `fit_laplace` learns what the trials share by expectation maximisation, for many fields; ten trials with as many
    shared sites as one of them has data leave both uncertain together, which one mode and one curvature of all show.
    """

    def __init__(self, model: Model, data: Observations) -> None:
        self.data = data
        start = init_to_median(num_samples=100)
        known: Any = initialize_model(
            jax.random.key(0), model, init_strategy=start, model_args=(data,), dynamic_args=True
        )
        first, self.unravel = ravel_pytree(known.param_info.z)
        self.first = np.asarray(first, np.float64)

        def potential(vector: Any, masks: Any) -> Any:
            return known.potential_fn(self._masked(masks))(self.unravel(vector))

        def curvature(vector: Any, masks: Any) -> Any:
            _, along = jax.linearize(jax.grad(lambda v: potential(v, masks)), vector)
            return jax.lax.map(along, jnp.eye(vector.size))

        def sites(vectors: Any, masks: Any) -> Any:
            def of_draw(vector: Any) -> Any:
                latent = self.unravel(vector)
                return constrain_fn(model, (self._masked(masks),), {}, latent, return_deterministic=True)

            return jax.lax.map(of_draw, vectors, batch_size=50)

        self._value_and_slope = jax.jit(jax.value_and_grad(potential))
        self._curvature, self._sites = jax.jit(curvature), jax.jit(sites)
        self.index = jax.tree.map(np.asarray, self.unravel(jnp.arange(first.size, dtype=first.dtype)))
        self.index = {name: value.astype(int) for name, value in self.index.items()}

    def _masked(self, masks: Mapping[str, Any]) -> Observations:
        def hide(name: str, record: Any) -> Any:
            return eqx.tree_at(lambda r: r.mask, record, record.mask & masks[name]) if name in masks else record

        return {name: hide(name, record) for name, record in self.data.items()}

    def fit(self, masks: Mapping[str, np.ndarray], *, start: Fit | None = None, rounds: int = 3) -> Fit:
        """Searches the mode of what is shared, with the sites of the trials integrated out.

        At the joint mode the deviations between trials would be too large and the noise too small: there each trial
        fits itself. Integrating them out adds half the logarithm of the determinant of the trials' curvatures H;
        its slope along the logarithm of a deviation between trials is the number of trials that know the parameter,
        sum over them of 1 - (H^-1)_kk, and the noise loses as many degrees of freedom (MacKay 1992, Neural Comput. 4,
        415-447). The slopes are kept while the mode is searched, and computed anew `rounds` times.

        Args:
            masks: what is seen, by record `(trial, day)`.
            start: fit of nearly the same data to begin with.
            rounds: of the slopes; 0 keeps those of `start`.
        """
        slopes = np.zeros_like(self.first) if start is None else start.slopes
        found = self._search(masks, self.first if start is None else start.mode, slopes)
        for _ in range(rounds):
            # Half way: large deviations make many trials known, whose slopes make the deviations small.
            found = self._search(masks, found.mode, 0.5 * (found.slopes + self._slopes(found)))
        return found

    def _slopes(self, fit: Fit) -> np.ndarray:
        """Slope of half the logarithm of the determinant of the trials' curvatures."""
        slopes = np.zeros_like(fit.mode)
        bases = [name for name in self.index if name.endswith("_base")]
        known = np.zeros(len(bases))
        blocks = np.stack([self.index[name] for name in bases], -1)  # (trial, site)
        for block in blocks:
            known += np.clip(1.0 - np.diagonal(np.linalg.inv(fit.matrix[np.ix_(block, block)])), 0.0, 1.0)
        for name, number in zip(bases, known, strict=True):
            slopes[self.index[name.replace("_base", "_spread")]] = number
        # Shares of the noise at the leaf area of 3 that most dates have. Growth stages settle the tempo.
        noise = {"relative": 3.0, "absolute": 1.0, "misfit": 3.0}
        variances = {n: (scale * np.exp(fit.mode[self.index[n]])) ** 2 for n, scale in noise.items()}
        degrees = sum(number for name, number in zip(bases, known, strict=True) if name != "tempo_base")
        for name, variance in variances.items():
            slopes[self.index[name]] = -degrees * variance / sum(variances.values())
        return slopes

    def _search(self, masks: Mapping[str, np.ndarray], start: np.ndarray, slopes: np.ndarray) -> Fit:
        """Quasi-Newton steps, then Newton's."""

        def at(vector: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = jax.device_get(self._value_and_slope(jnp.asarray(vector, jnp.float32), masks))
            good = np.isfinite(value) and np.isfinite(slope).all()
            if not good:
                return 1e6, np.zeros_like(vector)
            return float(value) + float(slopes @ vector), slope.astype(np.float64) + slopes

        vector = minimize(at, start, jac=True, method="L-BFGS-B", options={"maxiter": 400, "maxcor": 30}).x
        for _ in range(6):
            value, slope = at(vector)
            matrix = np.asarray(self._curvature(jnp.asarray(vector, jnp.float32), masks), np.float64)
            matrix = 0.5 * (matrix + matrix.T)
            curvature, axes = np.linalg.eigh(matrix)
            step = -axes @ ((axes.T @ slope) / np.maximum(np.abs(curvature), 0.3))
            gain = -0.5 * float(step @ slope)
            if gain < 0.05:
                break
            length = 1.0
            while length > 1e-3 and at(vector + length * step)[0] > value:
                length *= 0.5
            vector = vector + length * step
        # No direction is wider than twice the prior, whose curvature is about one along each.
        return Fit(vector, matrix, axes, np.maximum(curvature, 0.25), slopes, gain)

    def draws(self, fit: Fit, masks: Mapping[str, np.ndarray], n: int, seed: int) -> dict[str, np.ndarray]:
        """Draws of all sites `(n, ...)`."""
        normal = np.random.default_rng(seed).normal(size=(n, fit.mode.size)) / np.sqrt(fit.curvature)
        vectors = jnp.asarray(fit.mode + normal @ fit.axes.T, jnp.float32)
        return {name: np.asarray(value) for name, value in self._sites(vectors, masks).items()}
