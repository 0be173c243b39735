"""Spring dates of many sites and years from a model of thermal time: calibration, and prediction with intervals.

    calibration = calibrate(dates, prior, observed, usable, site, key=key)
    draws = predict(calibration, key=key, n=500)                # (draw, row); rows that were not usable are predicted

A row is a site in a year. `dates` maps parameters, by the names of the prior, to the model's date of each row, with any
model of `physics.phenology.thermal_time`. Sites differ by more than temperature says, and years by more still:

    observed = dates(parameters) + effect of the site + error.

The effects of the sites are integrated out, so that only a handful of parameters is searched, for many sets of usable
rows at once: cross-validation costs little more than one fit. `spring_series` states the same as a NumPyro model with a
plate of sites, for every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, biject_to

from releo_jax.inference.structure import Model
from releo_jax.observations import Observations, Series, observe

Dates = Callable[[Mapping[str, Array]], Array]

SPREADS: Mapping[str, Distribution] = {
    "site_spread": dist.LogNormal(np.log(6.0), 0.7),
    "noise": dist.LogNormal(np.log(5.0), 0.5),
}
"""Prior of the standard deviations of the effects of sites and of the errors, days."""

RECORD = "spring"
"""Name of the record of dates in the observations of `spring_series`."""

_STEPS = 30
_REACHED = 0.01  # log density still to be gained
_FLAT = 0.05  # least curvature on the real line: a deviation of 4.5, wider than any prior of use
_STUCK = 1e4  # damping at which a step no longer changes anything: the days' bends are not smooth
_LOG_2PI = float(np.log(2.0 * np.pi))


class Calibration(NamedTuple):
    """Normal law of the parameters on the real line, for one set of usable rows or several `(*batch)`.

    Attributes:
        dates: the model.
        prior: laws of all parameters, deviations included.
        observed: dates, 0 where no set has them, `(row,)`.
        usable: `(*batch, row)`.
        site: number of the site of each row `(row,)`.
        location: mode on the real line `(*batch, parameter)`, in the order of the prior.
        factor: lower Cholesky factor of the covariance there `(*batch, parameter, parameter)`.
        log_evidence: Laplace's `(*batch)`: compares models on the same rows.
        converged: whether less than a hundredth of log density was left to gain `(*batch)`.
    """

    dates: Dates
    prior: Mapping[str, Distribution]
    observed: Array
    usable: Array
    site: np.ndarray
    location: Array
    factor: Array
    log_evidence: Array
    converged: Array

    @property
    def median(self) -> dict[str, Array]:
        """Medians of the parameters `(*batch)`."""
        return _values(self.prior, self.location)


def calibrate(
    dates: Dates,
    prior: Mapping[str, Distribution],
    observed: ArrayLike,
    usable: ArrayLike,
    site: np.ndarray,
    *,
    key: Array,
    starts: int = 512,
) -> Calibration:
    """Posterior of the parameters of a model of spring dates.

    Args:
        dates: from parameters, numbers by name, to dates `(row,)`, days; differentiable.
        prior: law of each parameter; the deviations `site_spread` and `noise` have those of `SPREADS` unless given.
        observed: dates of the rows `(row,)`; what stands where no row is usable does not matter.
        usable: rows to learn from `(*batch, row)`; several sets are worked on at once.
        site: number of the site of each row `(row,)`.
        key: random key, for the starts.
        starts: draws from the prior; the search begins at the best of them.

    Returns:
        A normal law on the real line around the mode, found by Levenberg-Marquardt with the Fisher information.

    Raises:
        ValueError: shapes disagree.

    Equation:
        observed ~ N(dates, noise^2 I + site_spread^2 B), B_ij = 1 where i and j are of one site.

    References:
        Pinheiro & Bates 2000, Mixed-Effects Models in S and S-PLUS, chapter 7 (nonlinear mixed effects).
    """
    observed, usable, site = jnp.asarray(observed, float), jnp.asarray(usable, bool), np.asarray(site)
    if observed.ndim != 1 or site.shape != observed.shape or usable.shape[-1:] != observed.shape:
        raise ValueError(
            "calibrate: expected observed (row,), site (row,) and usable (*batch, row), got "
            f"{observed.shape}, {site.shape} and {usable.shape}"
        )
    number = np.unique(site, return_inverse=True)[1]
    everywhere = dict(SPREADS) | dict(prior)
    batch = usable.shape[:-1]
    # Held-out dates take no part, whatever stands there.
    known = jnp.where(usable.any(tuple(range(len(batch)))), observed, 0.0)
    model = _Collapsed(dates, everywhere, known, number)
    draws = np.stack(
        [
            np.asarray(biject_to(law.support).inv(law.sample(one, (starts,))))
            for one, law in zip(jax.random.split(key, len(everywhere)), everywhere.values(), strict=True)
        ],
        -1,
    )
    predicted = _in_chunks(model.dates_at, draws)
    modes = [model.climb(draws, predicted, one) for one in np.asarray(usable).reshape(-1, observed.size)]
    location, information, height, gain = (np.stack(part) for part in zip(*modes, strict=True))
    size = len(everywhere)
    covariance = np.linalg.inv(information)
    evidence = height + 0.5 * size * _LOG_2PI - 0.5 * np.linalg.slogdet(information)[1]
    return Calibration(
        dates,
        everywhere,
        known,
        usable,
        number,
        jnp.asarray(location.reshape(*batch, size), float),
        jnp.asarray(np.linalg.cholesky(covariance).reshape(*batch, size, size), float),
        jnp.asarray(evidence.reshape(batch), float),
        jnp.asarray((gain < _REACHED).reshape(batch)),
    )


def predict(calibration: Calibration, *, key: Array, n: int, observation: bool = True) -> np.ndarray:
    """Predictive draws of the dates of all rows.

    Args:
        calibration: of one or several sets of rows.
        key: random key.
        n: draws.
        observation: whether with the error of an observation; otherwise dates of the site itself.

    Returns:
        Days `(*batch, draw, row)`. A site with usable rows has the effect that they tell; another one's is drawn.
    """
    number, rows = calibration.site, calibration.observed.size
    batch, size = calibration.usable.shape[:-1], calibration.location.shape[-1]
    factor = np.asarray(calibration.factor).reshape(-1, size, size)
    location = np.asarray(calibration.location).reshape(-1, size)
    usable = np.asarray(calibration.usable).reshape(-1, rows)
    keys = jax.random.split(key, 3)
    standard, effects, errors = (
        np.asarray(jax.random.normal(one, (len(location), n, wide)))
        for one, wide in zip(keys, (size, int(number.max()) + 1, rows), strict=True)
    )
    found = np.empty((len(location), n, rows))
    vectors = location[:, None] + np.einsum("fij,fnj->fni", factor, standard)
    dates = _in_chunks(lambda one: calibration.dates(_values(calibration.prior, one)), vectors.reshape(-1, size))
    for index, learn in enumerate(usable):
        date = dates.reshape(len(location), n, rows)[index]
        values = _values(calibration.prior, jnp.asarray(vectors[index]))
        variance, spread = (np.asarray(values[name])[:, None] ** 2 for name in ("noise", "site_spread"))
        belongs = (learn & (number == np.arange(number.max() + 1)[:, None])).astype(float)
        residual = np.asarray(calibration.observed) - date
        total = variance + spread * belongs.sum(1)
        mean = spread * (residual @ belongs.T) / total
        effect = mean + np.sqrt(spread * variance / total) * effects[index]
        found[index] = date + effect[:, number] + (np.sqrt(variance) * errors[index] if observation else 0.0)
    return found.reshape(*batch, n, rows)


def spring_series(
    dates: Callable[[Mapping[str, Array], Observations], Array], prior: Mapping[str, Distribution]
) -> Model:
    """The NumPyro model function of the dates of sites over the years, for every engine.

    Args:
        dates: from parameters and observations to dates `(site, year)`, days. The drivers of the sites are records
            beside the dates that no site observes: daily temperature as a `Series` `(site, year, day)`, say.
        prior: as for `calibrate`.

    Returns:
        A model of observations with the record `spring`, a `Series` `(site, year, 1)`, in the plate `site`. Sites: the
        parameters, `site_spread` and `noise` for all, `site_effect` for each site, and `spring_date` `(site, year)`. A
        year without a date is predicted, and a site without any.
    """

    def model(data: Observations) -> None:
        record = data[RECORD]
        if not isinstance(record, Series) or record.values.shape[-1] != 1:
            raise ValueError(
                f"spring_series: expected the record {RECORD!r} to be a Series (site, year, 1), got "
                f"{type(record).__name__} of shape {record.values.shape}; give the dates as values[..., None]"
            )
        values = {name: numpyro.sample(name, law) for name, law in (dict(SPREADS) | dict(prior)).items()}
        expected = dates(values, data)
        with numpyro.plate("site", record.values.shape[0]):
            effect = numpyro.sample("site_effect", dist.Normal(0.0, 1.0))
            date = expected + (values["site_spread"] * effect)[:, None]
            numpyro.deterministic("spring_date", date)
            observe(RECORD, dist.Normal(date[..., None], values["noise"]), record)

    return model


class _Collapsed:
    """Log density of the parameters where the effects of the sites are integrated out."""

    def __init__(self, dates: Dates, prior: Mapping[str, Distribution], observed: Array, site: np.ndarray) -> None:
        self.dates, self.prior, self.observed, self.site = dates, prior, observed, site
        names = list(prior)
        self.noise, self.spread = names.index("noise"), names.index("site_spread")
        self._expand = jax.jit(self.expand)
        self._heights = jax.jit(jax.vmap(self.height, (0, 0, None)))

    def dates_at(self, vector: Array) -> Array:
        return self.dates(_values(self.prior, vector))

    def log_prior(self, vector: Array) -> Array:
        density = jnp.zeros((), vector.dtype)
        for place, law in enumerate(self.prior.values()):
            transform = biject_to(law.support)
            value = transform(vector[place])
            density += law.log_prob(value) + transform.log_abs_det_jacobian(vector[place], value)
        return density

    def weigh(self, vector: Array, usable: Array) -> tuple[Array, Array, Array]:
        """Variance of the errors, that of the effects, and of every site the sum of both that its mean has."""
        values = _values(self.prior, vector)
        variance, spread = values["noise"] ** 2, values["site_spread"] ** 2
        return variance, spread, variance + _by_site(usable.astype(vector.dtype), self.site) * spread

    def height(self, vector: Array, dates: Array, usable: Array) -> Array:
        """Log density of the vector, with the model's dates there."""
        variance, spread, total = self.weigh(vector, usable)
        residual = jnp.where(usable, self.observed - dates, 0.0)
        sums = _by_site(residual, self.site)
        square = (jnp.sum(residual**2) - jnp.sum(spread / total * sums**2)) / variance
        count = jnp.sum(usable)
        determinant = count * jnp.log(variance) + jnp.sum(jnp.log(total / variance))
        return -0.5 * (square + determinant + count * _LOG_2PI) + self.log_prior(vector)

    def expand(self, vector: Array, usable: Array) -> tuple[Array, Array, Array]:
        """Log density, its slope and its curvature (Fisher information of the data, curvature of the prior)."""

        def along(direction: Array) -> tuple[Array, Array]:
            return jax.jvp(self.dates_at, (vector,), (direction,))

        every = jnp.eye(vector.size, dtype=vector.dtype)
        dates, moved = jax.vmap(along, out_axes=(None, 0))(every)
        # The dates as a straight function: the slope is that of the density, without another pass backwards.
        value, slope = jax.value_and_grad(lambda v: self.height(v, dates + (v - vector) @ moved, usable))(vector)
        variance, spread, total = self.weigh(vector, usable)
        moved = jnp.where(usable, moved, 0.0)
        sums = jax.vmap(lambda one: _by_site(one, self.site))(moved)
        exact = jax.lax.Precision.HIGHEST
        within = jnp.matmul(moved, moved.T, precision=exact)
        between = jnp.matmul(sums * (spread / total), sums.T, precision=exact)
        means = (within - between) / variance
        counts = _by_site(usable.astype(vector.dtype), self.site)
        # Of the deviations' logarithms: a site has n - 1 contrasts with the error's variance, and one mean.
        share = variance / total, counts * spread / total
        noise = 2.0 * jnp.sum(jnp.maximum(counts - 1.0, 0.0) + (counts > 0) * share[0] ** 2)
        mixed, spreads = 2.0 * jnp.sum(share[0] * share[1]), 2.0 * jnp.sum(share[1] ** 2)
        i, j = self.noise, self.spread
        deviations = jnp.zeros_like(means).at[i, i].set(noise).at[j, j].set(spreads).at[i, j].set(mixed)
        deviations = deviations.at[j, i].set(mixed)
        prior = -jax.hessian(self.log_prior)(vector)
        return value, slope, means + deviations + 0.5 * (prior + prior.T)

    def climb(
        self, draws: np.ndarray, predicted: np.ndarray, usable: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Mode, curvature and height there, and the log density that is left to gain.

        The steps are taken outside of the compiled program: inside of a loop of its own XLA is many times slower on a
        CPU, and a few parameters are better solved for in double precision.
        """
        learn = jnp.asarray(usable)
        heights = np.asarray(self._heights(jnp.asarray(draws), jnp.asarray(predicted), learn))
        vector = draws[np.argmax(np.where(np.isfinite(heights), heights, -np.inf))].astype(float)

        def expand(vector: np.ndarray) -> tuple[np.ndarray, ...]:
            value, slope, curvature = (np.asarray(p, float) for p in self._expand(jnp.asarray(vector, float), learn))
            return value, slope, _positive(curvature) if np.isfinite(curvature).all() else curvature

        value, slope, curvature = expand(vector)
        damping, gain = 1e-2, np.inf
        for _ in range(_STEPS):
            gain = 0.5 * float(slope @ np.linalg.solve(curvature, slope))
            if gain < 0.1 * _REACHED or damping > _STUCK:
                break
            added = damping * np.diag(np.maximum(np.diagonal(curvature), 1.0))
            move = np.linalg.solve(curvature + added, slope)
            tried = vector + move * min(1.0, 2.0 / max(float(np.abs(move).max()), 1e-6))
            there = expand(tried)
            if (
                np.isfinite(there[0])
                and np.isfinite(there[1]).all()
                and np.isfinite(there[2]).all()
                and there[0] >= value
            ):
                vector, value, slope, curvature = tried, *there
                damping = max(0.2 * damping, 1e-6)
            else:
                damping *= 4.0
        return vector, curvature, float(value), gain


def _positive(curvature: np.ndarray) -> np.ndarray:
    """The curvature without directions in which it is hollow: next to a bound a prior may be, seen on the real line."""
    values, axes = np.linalg.eigh(curvature)
    return np.asarray((axes * np.maximum(np.abs(values), _FLAT)) @ axes.T)


def _in_chunks(function: Callable[[Array], Array], vectors: np.ndarray, width: int = 8) -> np.ndarray:
    """A function of every vector `(vector, ...)`, a few at once: what they need stays in the processor's cache."""
    few = jax.jit(jax.vmap(function))
    padded = np.concatenate([vectors, np.repeat(vectors[-1:], -len(vectors) % width, 0)]).astype(np.float32)
    parts = [np.asarray(few(jnp.asarray(part))) for part in padded.reshape(-1, width, vectors.shape[-1])]
    return np.concatenate(parts)[: len(vectors)]


def _values(prior: Mapping[str, Distribution], vector: Array) -> dict[str, Array]:
    return {name: biject_to(law.support)(vector[..., place]) for place, (name, law) in enumerate(prior.items())}


def _by_site(rows: Array, site: np.ndarray) -> Array:
    """Sums over the rows of every site."""
    return jax.ops.segment_sum(rows, site, int(site.max()) + 1)
