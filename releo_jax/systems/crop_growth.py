"""Growth of crops from weather, calibrated on series of leaf area, with biomass and grain that have intervals.

Many fields of one crop share what they have in common: each parameter of SAFY has a value of the crop and one of the
field around it, so that a field that nobody has measured is predicted by the others and its own weather.

    data = growth_observations(leaf_area, temperature=temperature, radiation=radiation)     # (field, day); NaN: no date
    posterior = fit_laplace(crop_growth(), data, key=key)                                   # any engine
    draws = posterior.sample(key, 500, sites=["leaf_area_index", "grain"])                  # every day, every field

SAFY as the prior mean of a series: `condition_series` ties draws of its curve to the dates on which leaf area is known.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike

from physics.crop.safy import DailyWeather, Growth, SafyCrop, safy
from releo_jax.gp import Matern32
from releo_jax.inference.structure import Model
from releo_jax.marginals import LowRankNormal
from releo_jax.observations import Observations, Record, Series, SingleDate, observe

RECORD = "lai"
"""Name of the record of leaf area in the observations."""

STAGE = "stage"
"""Name of the record of growth stages."""

WEATHER = "weather"
"""Name of the record, without bands, whose geometry is the weather."""

_SPREAD = 0.3  # deviation of the logarithm of a deviation between fields: a dozen fields say little about it
_NUGGET = 1e-5  # share of the variance of the discrepancy that is not smooth: it keeps factors finite in float32


class FieldLaw(NamedTuple):
    """What is known of a parameter before its crop and its field are seen: normal in the logit of its interval.

    Attributes:
        low, high: ends of the interval.
        middle: median.
        doubt: deviation of the crop's value around the median, in the logit.
        between: median of the deviation of fields around their crop's value, in the logit; 0: all fields have that of
            the crop.
    """

    low: float
    high: float
    middle: float
    doubt: float
    between: float = 0.0

    def value(self, logit: ArrayLike) -> Array:
        """The value at a distance from the median in the logit `(*batch)`."""
        share = (self.middle - self.low) / (self.high - self.low)
        return self.low + (self.high - self.low) * jax.nn.sigmoid(np.log(share / (1.0 - share)) + logit)


WINTER_WHEAT: Mapping[str, FieldLaw] = {
    "initial_biomass": FieldLaw(0.1, 50.0, 4.5, 0.7, 0.7),
    "light_use_efficiency": FieldLaw(0.5, 6.0, 2.2, 0.5, 0.2),
    "partition_a": FieldLaw(0.01, 0.9, 0.1573, 0.7),
    "leaf_end": FieldLaw(300.0, 2000.0, 944.0, 0.4),
    "senescence_start": FieldLaw(200.0, 3000.0, 1008.0, 0.5),
    "senescence_rate": FieldLaw(1000.0, 100000.0, 6875.0, 0.7),
    "tempo": FieldLaw(0.5, 2.0, 1.0, 0.0, 0.2),
}
"""Winter wheat from the end of winter on. The medians are the defaults of `SafyCrop` (Duchemin et al. 2008), 944 degree
days those at which their share of leaves is zero; light-use efficiency and all spreads are weak statements of ours.

`leaf_end` (°C day) stands for `partition_b` = -ln(partition_a) / leaf_end. `tempo` slows the thermal clock of a field:
`leaf_end` and `senescence_start` are multiplied by it, and so are the degree days of the growth stages."""


class StageCurve(NamedTuple):
    """Growth stage over degree days of the crop: linear between knots that are learned.

    Attributes:
        stages: at the knots, BBCH.
        degree_days: medians at which they are reached, °C day since the first day.
        doubt: deviation of the logarithm of each step between knots.
        noise: median of the deviation of observed stages, BBCH.
    """

    stages: tuple[float, ...] = (10.0, 25.0, 30.0, 39.0, 55.0, 65.0, 75.0, 85.0, 92.0)
    degree_days: tuple[float, ...] = (0.0, 250.0, 450.0, 750.0, 1000.0, 1150.0, 1450.0, 1750.0, 2000.0)
    doubt: float = 0.3
    noise: float = 3.0


class SeriesError(NamedTuple):
    """What separates measured leaf area from the curve of the model.

    Attributes:
        relative: median of the deviation of single measurements, share of leaf area.
        absolute: the same, m² m⁻².
        discrepancy: median of the deviation of the model's own smooth error, share of leaf area; 0: it has none.
        length: correlation length of that error, day.
        spread: deviation of the logarithms of the three deviations.
    """

    relative: float = 0.08
    absolute: float = 0.15
    discrepancy: float = 0.15
    length: float = 20.0
    spread: float = 0.5


def growth_observations(
    leaf_area_index: ArrayLike, *, temperature: ArrayLike, radiation: ArrayLike, stage: ArrayLike | None = None
) -> dict[str, Record]:
    """Observations of fields on a daily axis.

    Args:
        leaf_area_index: measured, m² m⁻², NaN on days without a measurement `(field, day)`.
        temperature: mean of each day, °C `(field, day)`.
        radiation: global radiation, MJ m⁻² day⁻¹ `(field, day)`.
        stage: observed growth stages, BBCH, NaN on days without one `(field, day)`; None: without that record.

    Returns:
        Records `lai` and, if given, `stage`, whose bands are the days; and `weather`, which has no bands: its geometry
        is the weather of every day.

    Raises:
        ValueError: shapes differ, or the weather has a gap: growth needs every day.
    """
    values = np.asarray(leaf_area_index, np.float32)
    given = {"temperature": temperature, "radiation": radiation}
    arrays = {name: np.asarray(value, np.float32) for name, value in given.items()}
    others = arrays if stage is None else arrays | {"stage": np.asarray(stage, np.float32)}
    wrong = {name: value.shape for name, value in others.items() if value.shape != values.shape}
    if values.ndim != 2 or wrong:
        raise ValueError(
            f"growth_observations: expected leaf_area_index (field, day) and the same shape for all, got "
            f"{values.shape} and {wrong}; give every field the same days and NaN where nothing was measured"
        )
    for name, value in arrays.items():
        gaps = np.argwhere(~np.isfinite(value))
        if gaps.size:
            field, day = gaps[0]
            raise ValueError(
                f"growth_observations: expected the weather of every day, got no {name} on {len(gaps)} days, the first "
                f"is day {day} of field {field}; fill it, for example by the mean of other years"
            )
    days = np.broadcast_to(np.arange(values.shape[1], dtype=np.float32), values.shape)
    weather = Series(np.zeros((*values.shape, 0), np.float32), time=days, geometry=DailyWeather(**arrays))  # type: ignore[arg-type]
    seen = {RECORD: SingleDate(values)} | ({} if stage is None else {STAGE: SingleDate(others["stage"])})
    return {**seen, WEATHER: weather}


def crop_growth(
    *,
    prior: Mapping[str, FieldLaw] = WINTER_WHEAT,
    fixed: Mapping[str, float] | None = None,
    hierarchical: bool = True,
    error: SeriesError = SeriesError(),  # noqa: B008
    stages: StageCurve | None = None,
    harvest: int = -1,
) -> Model:
    """The NumPyro model function of series of leaf area over fields of one crop.

    Args:
        prior: by parameter, of `SafyCrop` or `leaf_end` and `tempo` as in `WINTER_WHEAT`.
        fixed: parameters that are known, by name; default: growth begins on the first day of the weather. What is in
            neither has the default of `SafyCrop`.
        hierarchical: whether the crop's values and the deviations between fields are learned (global sites); else every
            field stands alone, with both deviations in its prior.
        error: observation model.
        stages: curve of growth stages, for observations with the record `stage`; None leaves them out.
        harvest: day on which `biomass` and `grain` are stated, counted like an index of Python.

    Returns:
        A model of `growth_observations`, with the deterministic sites `leaf_area_index` and
        `degree_days` (field, day), `biomass` and `grain` (field,), g m⁻², dry.

    Equation:
        y = L (1 + s_d delta) + e, L the leaf area of SAFY, e ~ N(0, s_a^2 + (s_r L)^2), delta a Matérn-3/2 process of
        unit variance, integrated out: exact at knots, what is left between them counts as noise.

    Validity:
        One crop from its growth in spring on; grain as in SAFY grows at its rate until the day of harvest.

    Raises:
        ValueError: a parameter that SAFY does not have, or one that is needed and absent.

    References:
        Duchemin, Maisongrande, Boulet & Benhadj 2008, Environ. Model. Softw. 23, 876. Snelson & Ghahramani 2006,
        Advances in Neural Information Processing Systems 18 (knots and what is left between them).
    """
    known = {"emergence": 0.0} if fixed is None else dict(fixed)
    _check_names(prior, known)

    def model(data: Observations) -> None:
        record, weather = data[RECORD], data[WEATHER].geometry
        fields = record.values.shape[0]
        crop = {name: _crop_level(name, law, hierarchical) for name, law in prior.items()}
        relative, absolute = (
            _deviation("relative", error.relative, error),
            _deviation("absolute", error.absolute, error),
        )
        misfit = _deviation("misfit", error.discrepancy, error) if error.discrepancy else jnp.zeros(())
        knots = None if stages is None else _stage_knots(stages)
        with numpyro.plate("pixel", fields):
            values = {name: _field_level(name, law, *crop[name], hierarchical, fields) for name, law in prior.items()}
            growth = grow(values, weather, fixed=known)
            area = numpyro.deterministic("leaf_area_index", growth.leaf_area_index)
            numpyro.deterministic("degree_days", growth.degree_days)
            numpyro.deterministic("biomass", growth.biomass[:, harvest])
            numpyro.deterministic("grain", growth.grain[:, harvest])
            observe(RECORD, _series_law(area, relative, absolute, misfit, error), record)
            if stages is not None and knots is not None:
                clock = growth.degree_days / values["tempo"][:, None] if "tempo" in values else growth.degree_days
                expected = numpyro.deterministic("stage_expected", jnp.interp(clock, knots[0], np.array(stages.stages)))
                observe(STAGE, dist.Normal(expected, knots[1]), data[STAGE])

    return model


def grow(values: Mapping[str, Array], weather: DailyWeather, *, fixed: Mapping[str, float] | None = None) -> Growth:
    """Growth of fields at values of the sites of `crop_growth`.

    Args:
        values: by parameter, `(field,)`; `leaf_end` and `tempo` as in `WINTER_WHEAT`.
        weather: `(field, day)`.
        fixed: parameters that all fields share.

    Returns:
        Growth `(field, day)`.
    """
    given = dict(values)
    tempo = given.pop("tempo", jnp.ones(()))
    fields = weather.temperature.shape[0]
    if "senescence_start" in given:
        given["senescence_start"] = given["senescence_start"] * tempo
    if "leaf_end" in given:
        given["partition_b"] = -jnp.log(given["partition_a"]) / (given.pop("leaf_end") * tempo)
    crop = SafyCrop(**given, **{name: jnp.asarray(v) for name, v in (fixed or {}).items()})
    dtype = weather.temperature.dtype
    crop = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, dtype), (fields,)), crop)
    return jax.vmap(safy)(crop, weather)


class Conditioned(NamedTuple):
    """A series of leaf area given some of its dates: a mixture of normal laws, one for each draw of the curve.

    Attributes:
        mean: of leaf area `(draw, date)`, m² m⁻².
        covariance: of it `(draw, date, date)`.
        noise: deviation of a measurement around it `(draw, date)`.
        weight: of each draw, in sum one `(draw,)`.
    """

    mean: Array
    covariance: Array
    noise: Array
    weight: Array


def condition_series(
    curve: Array,
    values: Array,
    mask: Array,
    *,
    time: Array,
    relative: Array,
    absolute: Array,
    misfit: Array,
    length: float = SeriesError().length,
    informed: bool = False,
) -> Conditioned:
    """SAFY as the prior mean of a series of leaf area: its law on every date, given the measured ones.

    Exact for every draw of the curve, and over the draws as exact as their number.

    Args:
        curve: leaf area of the model at draws of its parameters `(draw, date)`.
        values: measured leaf area `(date,)`; what stands where the mask is False does not matter.
        mask: where it was measured `(date,)`.
        time: days since any origin `(date,)`.
        relative, absolute, misfit: deviations as in `SeriesError`, `(draw,)`: sites of `crop_growth`.
        length: correlation length of the discrepancy, day.
        informed: whether the draws come from a posterior that has seen the measurements: then all count alike, else
            each by the density of the measurements under it.

    Returns:
        Law of the leaf area.

    Equation:
        y ~ N(L, s_d^2 L L' rho + diag(s_a^2 + (s_r L)^2)), rho the Matérn-3/2 correlation, conditioned on measured y.

    References:
        Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, section 2.7 (mean functions).
    """
    given = (jnp.asarray(part) for part in (curve, relative, absolute, misfit))
    return _condition(Matern32(1.0, length), values, mask, time, tuple(given), informed)


@functools.partial(jax.jit, static_argnames="informed")
def _condition(
    kernel: Matern32, values: Array, mask: Array, time: Array, given: tuple[Array, ...], informed: bool
) -> Conditioned:
    correlation = kernel(time, time)
    both, exact = mask[:, None] & mask[None, :], jax.lax.Precision.HIGHEST

    def of_draw(curve: Array, relative: Array, absolute: Array, misfit: Array) -> tuple[Array, ...]:
        scale = misfit * curve
        noise = absolute**2 + (relative * curve) ** 2
        prior = correlation * scale[:, None] * scale[None, :]
        # Dates without a measurement stand apart from all others, with variance one: they say nothing.
        factor = jnp.linalg.cholesky(jnp.where(both, prior, 0.0) + jnp.diag(jnp.where(mask, noise, 1.0)))
        residual = jnp.where(mask, values - curve, 0.0)
        across = jnp.where(mask[:, None], prior, 0.0)
        solved = jax.scipy.linalg.solve_triangular(factor, jnp.c_[residual, across], lower=True)
        mean = curve + jnp.matmul(solved[:, 1:].T, solved[:, 0], precision=exact)
        covariance = prior - jnp.matmul(solved[:, 1:].T, solved[:, 1:], precision=exact)
        density = -0.5 * jnp.sum(solved[:, 0] ** 2) - jnp.sum(jnp.log(jnp.diagonal(factor)))
        return mean, covariance, jnp.sqrt(noise), density

    # One draw after the other: batches of factors can wait for each other for ever (see `releo_jax.marginals`).
    mean, covariance, noise, density = jax.lax.map(lambda one: of_draw(*one), given)
    weight = jnp.full_like(density, 1.0 / density.size) if informed else jax.nn.softmax(density)
    return Conditioned(mean, covariance, noise, weight)


def draw_series(law: Conditioned, key: Array, n: int, *, measured: bool = False) -> Array:
    """`n` draws `(n, date)` of leaf area, or of measurements of it.

    Args:
        law: of the series.
        key: random key.
        n: draws.
        measured: whether with the noise of a measurement.

    Returns:
        m² m⁻²; as the laws are normal, a few may lie below zero where leaves are few.
    """
    drawn, noise = _drawn(law, key, n)
    return drawn + noise if measured else drawn


@functools.partial(jax.jit, static_argnames="n")
def _drawn(law: Conditioned, key: Array, n: int) -> tuple[Array, Array]:
    """Draws of the series, and of the noise of a measurement, `(n, date)` each."""
    key_draw, key_series, key_noise = jax.random.split(key, 3)
    chosen = jax.random.choice(key_draw, law.weight.size, (n,), p=law.weight)
    values, axes = jax.lax.map(lambda one: tuple(jnp.linalg.eigh(one)), law.covariance)
    root = jnp.sqrt(jnp.maximum(values, 0.0))  # of a singular matrix: rounding leaves values below zero
    normal, noise = (jax.random.normal(key, (n, law.mean.shape[-1])) for key in (key_series, key_noise))
    drawn = law.mean[chosen] + jnp.einsum(
        "nij,nj->ni", axes[chosen], root[chosen] * normal, precision=jax.lax.Precision.HIGHEST
    )
    return drawn, law.noise[chosen] * noise


def _series_law(area: Array, relative: Array, absolute: Array, misfit: Array, error: SeriesError) -> dist.Distribution:
    """Joint law of the days of a series around the curve `(field, day)`."""
    noise = absolute**2 + (relative * area) ** 2
    if not error.discrepancy:
        return dist.Normal(area, jnp.sqrt(noise))
    basis, left = _basis(area.shape[-1], error.length)
    scale = misfit * area
    return LowRankNormal(area, jnp.asarray(basis), scale, noise + scale**2 * left)


def _basis(days: int, length: float) -> tuple[np.ndarray, np.ndarray]:
    """What weights `(knot,)` of unit variance make of the discrepancy `(day, knot)`, and the variance left `(day,)`."""

    def correlation(lag: np.ndarray) -> np.ndarray:
        a = np.sqrt(3.0) * np.abs(lag) / length
        return (1.0 + a) * np.exp(-a)

    knots = np.linspace(0.0, days - 1.0, 1 + int(np.ceil((days - 1.0) / (0.75 * length))))
    factor = np.linalg.cholesky(correlation(knots[:, None] - knots) + _NUGGET * np.eye(knots.size))
    basis = np.linalg.solve(factor, correlation(knots[:, None] - np.arange(days))).T
    return basis.astype(np.float32), np.maximum(1.0 - (basis**2).sum(1), 0.0).astype(np.float32)


def _check_names(prior: Mapping[str, FieldLaw], fixed: Mapping[str, Any]) -> None:
    known = set(SafyCrop.__dataclass_fields__) | {"leaf_end", "tempo"}
    stray, twice = sorted((set(prior) | set(fixed)) - known), sorted(set(prior) & set(fixed))
    absent = sorted({"emergence", "light_use_efficiency"} - set(prior) - set(fixed))
    absent += ["partition_a"] if "leaf_end" in prior and "partition_a" not in prior else []
    twice += ["partition_b and leaf_end"] if "leaf_end" in prior and {"partition_b"} & (set(prior) | set(fixed)) else []
    if stray or twice or absent:
        raise ValueError(
            f"crop_growth: expected each parameter once, in prior or fixed, among {sorted(known)}, got unknown ones "
            f"{stray}, twice {twice}, none of {absent}"
        )


def _deviation(name: str, median: float, error: SeriesError) -> Array:
    return numpyro.sample(name, dist.LogNormal(np.log(median), error.spread))


def _crop_level(name: str, law: FieldLaw, hierarchical: bool) -> tuple[Array, Array]:
    """Distance of the crop's value from the median, and deviation of its fields, both in the logit."""
    if not hierarchical:
        return jnp.zeros(()), jnp.asarray(np.hypot(law.doubt, law.between))
    middle = law.doubt * numpyro.sample(f"{name}_crop", dist.Normal(0.0, 1.0)) if law.doubt else jnp.zeros(())
    spread = numpyro.sample(f"{name}_spread", dist.LogNormal(np.log(law.between), _SPREAD)) if law.between else None
    return middle, jnp.zeros(()) if spread is None else spread


def _field_level(name: str, law: FieldLaw, middle: Array, spread: Array, hierarchical: bool, fields: int) -> Array:
    if hierarchical and not law.between:
        return numpyro.deterministic(name, jnp.broadcast_to(law.value(middle), (fields,)))
    base = numpyro.sample(f"{name}_base", dist.Normal(0.0, 1.0))
    return numpyro.deterministic(name, law.value(middle + spread * base))


def _stage_knots(stages: StageCurve) -> tuple[Array, Array]:
    """Degree days of the knots, and the deviation of observed stages."""
    steps = np.diff(np.array(stages.degree_days))
    moved = numpyro.sample("stage_steps", dist.Normal(0.0, 1.0).expand([steps.size]).to_event(1))
    degree_days = stages.degree_days[0] + jnp.cumsum(steps * jnp.exp(stages.doubt * moved))
    noise = numpyro.sample("stage_noise", dist.LogNormal(np.log(stages.noise), 0.4))
    return jnp.concatenate([jnp.full((1,), stages.degree_days[0]), degree_days]), noise
