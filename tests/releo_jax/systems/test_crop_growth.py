"""Growth models inverted: what is simulated is found again with honest intervals, and what is not seen is the prior."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import log_density

from releo_jax.inference import fit_laplace, fit_map, fit_nuts, fit_svi
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.metrics import coverage
from releo_jax.observations import take
from releo_jax.systems.crop_growth import (
    RECORD,
    STAGE,
    WEATHER,
    WINTER_WHEAT,
    FieldLaw,
    SeriesError,
    StageCurve,
    condition_series,
    crop_growth,
    draw_series,
    growth_observations,
)

FIELDS, DAYS = 160, 170
PRIOR = {name: WINTER_WHEAT[name] for name in ("initial_biomass", "light_use_efficiency")} | {
    "senescence_start": FieldLaw(200.0, 3000.0, 1200.0, 0.3)
}
NOISE = {"relative": jnp.float32(0.08), "absolute": jnp.float32(0.15), "misfit": jnp.float32(0.15)}


def season(fields=FIELDS, every=11, **more):
    """Weather of a spring with its own noise in every field, and a mask of measured dates."""
    rng, day = np.random.default_rng(0), np.arange(DAYS)
    temperature = 3.0 + 0.1 * day + 2.0 * rng.normal(size=(fields, DAYS))
    radiation = (8.0 + 0.08 * day) * rng.uniform(0.6, 1.3, (fields, DAYS))
    area = np.full((fields, DAYS), np.nan)
    area[:, 5::every] = 1.0
    return growth_observations(area, temperature=temperature, radiation=radiation, **more)


# A smooth error of the model leaves more room for the efficiency: the share is that found, 0.38, and some more.
@pytest.mark.thorough
@pytest.mark.parametrize(("discrepancy", "share"), [(0.0, 0.35), (0.15, 0.45)])
@pytest.mark.usefixtures("optimised")
def test_simulated_fields_are_recovered_with_their_grain(discrepancy, share):
    """Of 160 fields with 15 dates each, 90 % intervals cover 90 %; an unseen field keeps its prior."""
    model = crop_growth(prior=PRIOR, hierarchical=False, error=SeriesError(discrepancy=discrepancy))
    noise = {name: value for name, value in NOISE.items() if discrepancy or name != "misfit"}
    data = season()
    truth, seen = simulate(read_structure(model, data), model, data, jax.random.key(1), values=noise)
    hidden = eqx.tree_at(lambda r: r.mask, seen[RECORD], seen[RECORD].mask.at[-1].set(False))
    posterior = fit_laplace(model, {**seen, RECORD: hidden}, key=jax.random.key(2), shared=noise, reference=0)
    assert np.asarray(posterior.diagnostics["converged"]).all()
    draws = posterior.sample(jax.random.key(3), 400, sites=[*PRIOR, "biomass", "grain", "senescence_start_base"])
    found = {}
    for name in (*PRIOR, "biomass", "grain"):
        lower, upper = np.quantile(draws[name][:, :-1], (0.05, 0.95), axis=0)
        found[name] = coverage(truth[name][:-1], lower, upper)
    # 159 fields: two deviations of a share of 0.9 are 0.048; of the mean of three weakly dependent ones 0.03.
    assert all(0.84 <= covered <= 0.96 for covered in found.values()), found
    assert np.mean([found[name] for name in PRIOR]) == pytest.approx(0.9, abs=0.035), found
    spread = np.std(draws["light_use_efficiency"], 0)
    assert np.median(spread[:-1]) < share * spread[-1]
    unseen = posterior.quantile(0.95)["senescence_start_base"][-1], posterior.mean["senescence_start_base"][-1]
    assert unseen == pytest.approx((1.645, 0.0), abs=0.01)


@pytest.fixture(scope="module")
def few():
    """Ten simulated fields, the last without a measurement, and Laplace's posterior of them."""
    model, data = crop_growth(prior=PRIOR, hierarchical=False), season(fields=10)
    truth, seen = simulate(read_structure(model, data), model, data, jax.random.key(4), values=NOISE)
    hidden = eqx.tree_at(lambda r: r.mask, seen[RECORD], seen[RECORD].mask.at[-1].set(False))
    seen = {**seen, RECORD: hidden}
    near = fit_laplace(model, seen, key=jax.random.key(5), shared=NOISE, reference=0)
    return model, seen, truth, near


@pytest.mark.long
@pytest.mark.parametrize(
    ("fit", "how"),
    [
        (fit_laplace, {}),
        (fit_map, {}),
        (fit_svi, {}),
        pytest.param(
            fit_nuts,
            {"warmup": 100, "draws": 150, "chains": 2, "max_tree_depth": 5},
            marks=pytest.mark.thorough,
        ),
    ],
)
@pytest.mark.usefixtures("optimised")
def test_every_engine_finds_the_fields(fit, how, few):
    """Errors are those that the deviations announce: of 27, none above four, and their mean square near one."""
    model, data, truth, near = few
    posterior = fit(model, data, key=jax.random.key(6), shared=NOISE, reference=0, **how)
    np.testing.assert_array_equal(posterior.diagnostics["usable_bands"], [15] * 9 + [0])
    away = []
    for name in PRIOR:
        site = f"{name}_base"
        spread = near.std[site] if fit is fit_map else posterior.std[site]
        found = np.asarray(posterior.mean[site])
        assert np.isfinite(found).all() and found[-1] == pytest.approx(0.0, abs=0.2), name
        # The field without a measurement keeps its prior.
        assert spread[-1] == pytest.approx(1.0, abs=0.15) and np.all(np.asarray(spread) > 0.0)
        away.append((found - truth[site])[:-1] / spread[:-1])
    assert np.abs(away).max() < 4.0 and 0.5 < np.mean(np.square(away)) < 1.8, away
    if fit is not fit_map:
        drawn = posterior.sample(jax.random.key(7), 100, sites=["grain", "leaf_area_index"])
        assert np.isfinite(drawn["grain"]).all() and np.isfinite(drawn["leaf_area_index"]).all()


@pytest.mark.usefixtures("optimised")
@pytest.mark.thorough
def test_many_fields_with_a_discrepancy_are_searched_to_the_end():
    """The joint laws of forty series, by factors of LAPACK, waited here for each other for ever (two cores)."""
    model, data = crop_growth(prior=PRIOR, hierarchical=False), season(fields=40)
    _, seen = simulate(read_structure(model, data), model, data, jax.random.key(1), values=NOISE)
    posterior = fit_laplace(model, seen, key=jax.random.key(2), shared=NOISE, reference=0)
    assert np.asarray(posterior.diagnostics["converged"]).all()


def test_slopes_of_the_log_density_are_those_of_double_precision():
    """All sites of the hierarchical model with growth stages; single precision beside central differences."""
    stage = np.full((2, DAYS), np.nan)
    stage[:, 20::30] = np.array([24.0, 30.0, 37.0, 60.0, 80.0])
    data = season(fields=2, stage=stage)
    model = crop_growth(stages=StageCurve())
    structure = read_structure(model, data)
    values, seen = simulate(structure, model, data, jax.random.key(0))
    latent = {site.name: values[site.name] for site in (*structure.local, *structure.shared)}
    known = seen[STAGE].mask
    assert int(known.sum()) == 10

    def density(latent, data):
        return log_density(model, (data,), {}, latent)[0]

    slopes = jax.jit(jax.grad(density))(latent, seen)
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, seen
        )
        compiled = jax.jit(density)
        exact = {name: np.asarray(value, np.float64) for name, value in latent.items()}
        for name, value in exact.items():
            step = np.zeros(value.shape)
            step[(0,) * value.ndim] = 1e-5 * max(1.0, float(np.abs(value).max()))
            up, down = (compiled({**exact, name: value + sign * step}, wide) for sign in (1.0, -1.0))
            slope = float(up - down) / (2.0 * step.max())
            assert float(np.ravel(slopes[name])[0]) == pytest.approx(slope, rel=5e-3, abs=2e-2), name


def test_conditioned_series_is_the_textbook_formula():
    rng = np.random.default_rng(2)
    time, mask = np.array([0.0, 4.0, 11.0, 30.0], np.float32), np.array([True, False, True, False])
    curve = rng.uniform(1.0, 4.0, (3, 4)).astype(np.float32)
    values = np.array([2.0, np.inf, 3.0, 0.0], np.float32)
    deviations = {n: np.full(3, v, np.float32) for n, v in (("relative", 0.1), ("absolute", 0.2), ("misfit", 0.3))}
    values = np.where(mask, values, 0.0)
    law = condition_series(curve, values, mask, time=time, length=15.0, **deviations)
    lag = np.sqrt(3.0) * np.abs(time[:, None] - time).astype(float) / 15.0
    rho = (1.0 + lag) * np.exp(-lag)
    density = []
    for i, mean in enumerate(curve.astype(float)):
        prior = 0.09 * rho * np.outer(mean, mean)
        noisy = prior[np.ix_(mask, mask)] + np.diag(0.04 + 0.01 * mean[mask] ** 2)
        gain = prior[:, mask] @ np.linalg.inv(noisy)
        residual = (values - mean)[mask]
        np.testing.assert_allclose(law.mean[i], mean + gain @ residual, rtol=1e-5)
        np.testing.assert_allclose(law.covariance[i], prior - gain @ prior[mask], atol=1e-5)
        density.append(-0.5 * residual @ np.linalg.solve(noisy, residual) - 0.5 * np.linalg.slogdet(noisy)[1])
    weight = np.exp(density) / np.exp(density).sum()
    np.testing.assert_allclose(law.weight, weight, rtol=1e-4)
    drawn = np.asarray(draw_series(law, jax.random.key(0), 20000))
    np.testing.assert_allclose(drawn.mean(0), weight @ np.asarray(law.mean), atol=0.02)
    noisy = np.asarray(draw_series(law, jax.random.key(0), 20000, measured=True))
    np.testing.assert_allclose(noisy.var(0) - drawn.var(0), weight @ np.asarray(law.noise) ** 2, atol=0.02)


def test_what_is_wrong_is_named():
    area = np.full((2, 5), np.nan)
    weather = np.full((2, 5), 10.0)
    gap = weather.copy()
    gap[1, 3:] = np.nan
    with pytest.raises(ValueError, match="no radiation on 2 days, the first is day 3 of field 1"):
        growth_observations(area, temperature=weather, radiation=gap)
    with pytest.raises(ValueError, match="the same shape for all"):
        growth_observations(area, temperature=weather[:, :4], radiation=weather)
    data = growth_observations(area, temperature=weather, radiation=weather)
    assert data[WEATHER].values.shape == (2, 5, 0) and not data[RECORD].mask.any()
    assert take(data, slice(1, 2))[WEATHER].geometry.temperature.shape == (1, 5)
    with pytest.raises(ValueError, match=r"unknown ones \['speed'\]"):
        crop_growth(fixed={"speed": 1.0, "emergence": 0.0})
    with pytest.raises(ValueError, match="light_use_efficiency"):
        crop_growth(prior={}, fixed={"emergence": 0.0})
