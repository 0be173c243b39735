"""Every engine on models whose posterior is known: one table of engines times the properties that all of them have."""

import functools
import re
import sys
import types
from contextlib import nullcontext

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from releo_jax.distributions import TruncatedNormal
from releo_jax.inference import (
    fit_laplace,
    fit_lut,
    fit_map,
    fit_nuts,
    fit_smc,
    fit_svi,
    load_posterior,
    refine,
    save_posterior,
)
from releo_jax.inference.curvature import Expansion
from releo_jax.inference.density import read_target
from releo_jax.inference.newton import _conclude
from releo_jax.inference.nuts import warn
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.observations import SingleDate, observe, take

# As many simulated pixels as the scene has: one compiled program serves both.
ENGINES = {
    "map": functools.partial(fit_map, reference=40),
    "laplace": functools.partial(fit_laplace, reference=40),
    "svi": functools.partial(fit_svi, reference=40),
    "lut": functools.partial(fit_lut, entries=20_000, draws=400, reference=40),
    "nuts": functools.partial(fit_nuts, warmup=200, draws=200, chains=2, max_tree_depth=6, reference=40),
    "smc": functools.partial(fit_smc, particles=512, moves=5, reference=40),
}
# Chains compile long: other engines are enough for the short suite.
NAMES = [pytest.param(name, marks=[pytest.mark.thorough] * (name == "nuts")) for name in ENGINES]
# Error of the mean, in deviations, and of the deviation, relative: exact but for float32 and for the number of draws.
TOLERANCE = {"map": (1e-3, None), "laplace": (1e-3, 1e-3), "svi": (0.01, 0.01)}
SAMPLED = (0.25, 0.25)


@pytest.fixture(autouse=True)
def optimised_where_it_runs_long(request):
    """Programs that compare 20 000 entries with every pixel, or move its particles, run longer than they compile."""
    if request.node.name.endswith(("[lut]", "[smc]")):
        request.getfixturevalue("optimised")


@pytest.fixture(scope="session")
def scene(linear):
    """Forty pixels of the linear model; the last is empty, the last but one has not a number in a band."""
    key = jax.random.key(7)
    acquisitions = linear.acquisitions(key, 40)
    sensor = eqx.tree_at(lambda r: r.geometry, acquisitions["sensor"], None)
    _, data = simulate(read_structure(linear.model, {"sensor": sensor}), linear.model, {"sensor": sensor}, key)
    values, mask = np.array(data["sensor"].values), np.array(data["sensor"].mask)
    mask[:38], mask[38:] = mask[:38] | ~mask[:38].any(1, keepdims=True), True
    values[38, 1], values[39] = np.nan, np.nan
    return {"sensor": SingleDate(values, mask)}


@pytest.fixture(scope="session")
def fitted(linear, scene):
    return functools.cache(lambda name: ENGINES[name](linear.model, scene, key=jax.random.key(3)))


@pytest.mark.parametrize("name", NAMES)
def test_finds_the_exact_posterior_of_a_linear_model(name, fitted, linear, scene):
    mean, covariance = linear.exact(scene["sensor"])
    posterior = fitted(name)
    of_mean, of_std = TOLERANCE.get(name, SAMPLED)
    for i, site in enumerate(("first", "second")):
        std = np.sqrt(covariance[:, i, i])
        assert np.abs((posterior.mean[site] - mean[:, i]) / std).max() < of_mean
        if of_std:
            assert np.abs(posterior.std[site] / std - 1.0).max() < of_std
        else:
            assert np.isnan(posterior.std[site]).all()


@pytest.mark.parametrize("name", NAMES)
def test_result_is_a_described_dataset(name, fitted):
    dataset = fitted(name).to_xarray()
    assert set(dataset.dims) == {"pixel"} and dataset.sizes["pixel"] == 40
    assert {"first_mean", "first_std", "first_q05", "misfit_p_value", "domain_p_value", "usable_bands"} <= set(dataset)


@pytest.mark.parametrize("name", NAMES)
def test_file_gives_the_posterior_back(name, fitted, linear, scene, tmp_path):
    posterior = fitted(name)
    save_posterior(posterior, tmp_path / "it.safetensors")
    again = load_posterior(tmp_path / "it.safetensors", model=linear.model, observations=scene)
    assert type(again) is type(posterior)
    for site in posterior.mean:
        np.testing.assert_array_equal(again.mean[site], posterior.mean[site])
        np.testing.assert_array_equal(again.std[site], posterior.std[site])
    assert set(again.diagnostics) == set(posterior.diagnostics)
    for name, value in posterior.diagnostics.items():
        np.testing.assert_array_equal(again.diagnostics[name], value)


@pytest.mark.parametrize("old", [True, False])
def test_draws_go_to_arviz(old, fitted, monkeypatch):
    """Through the call that ArviZ has before and from version 1 on; ArviZ itself need not be installed."""
    seen = types.ModuleType("arviz")
    seen.from_dict = lambda *given, **named: (given, named)
    if old:
        seen.InferenceData = object
    monkeypatch.setitem(sys.modules, "arviz", seen)
    given, named = fitted("laplace").to_arviz(key=jax.random.key(0), n=20)
    draws = named["posterior"] if old else given[0]["posterior"]
    assert draws["first"].shape == (1, 20, 40) and named["dims"]["first"] == ["pixel"]
    assert named["coords"]["pixel"].size == 40
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match="pip install arviz"):
        fitted("laplace").to_arviz(key=jax.random.key(0))


def test_laws_are_read_with_their_own_model_only(fitted, scene, skewed, tmp_path):
    save_posterior(fitted("laplace"), tmp_path / "it.safetensors")
    with pytest.raises(ValueError, match="expected model= and observations= beside a GuidePosterior"):
        load_posterior(tmp_path / "it.safetensors")
    with pytest.raises(ValueError, match="expected a model with the sites"):
        load_posterior(tmp_path / "it.safetensors", model=skewed[0], observations=skewed[1])
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="expected a safetensors file"):
        load_posterior(tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_empty_pixel_is_flagged_and_gets_the_prior(name, fitted):
    posterior = fitted(name)
    assert posterior.diagnostics["usable_bands"][39] == 0 and posterior.diagnostics["usable_bands"][38] == 2
    assert np.isnan(posterior.diagnostics["misfit_p_value"][39])
    assert np.isfinite(posterior.diagnostics["misfit_p_value"][:39]).all()
    assert abs(float(posterior.mean["first"][39])) < 0.2


def test_modes_within_bounds_and_at_them_are_the_best_of_a_grid():
    """Bands that saturate, seen with much noise: many modes lie at a bound, and others where the prior pulls."""
    prior = {
        "amount": TruncatedNormal(2.0, 2.0, low=0.0, high=8.0),
        "share": TruncatedNormal(0.8, 0.1, low=0.0, high=1.0),
    }

    def bands(amount, share):
        return jnp.stack([share * jnp.exp(-0.5 * amount), 1.0 - share * jnp.exp(-amount)], -1)

    def model(data):
        with numpyro.plate("pixel", data["s2"].values.shape[0]):
            state = {name: numpyro.sample(name, law) for name, law in prior.items()}
            observe("s2", dist.Normal(bands(**state), 0.1), data["s2"])

    seen = np.random.default_rng(0).uniform(-0.2, 1.2, (200, 2)).astype(np.float32)
    found = fit_map(model, {"s2": SingleDate(seen)}, key=jax.random.key(0), reference=0)

    @jax.jit
    def highest(seen):
        """The log density at the best point of a grid, pixel after pixel."""
        grid = {"amount": np.linspace(0.0, 8.0, 401)[:, None], "share": np.linspace(0.0, 1.0, 401)}
        height = sum(law.log_prob(grid[name]) for name, law in prior.items())
        law = dist.Normal(bands(*jnp.broadcast_arrays(*grid.values())), 0.1)
        return jax.lax.map(lambda pixel: (height + law.log_prob(pixel).sum(-1)).max(), seen)

    assert (found.diagnostics["log_density"] > highest(seen) - 0.02).mean() > 0.98  # others have two modes
    assert found.diagnostics["converged"].mean() > 0.98
    edge = (found.mean["amount"] < 0.01) | (found.mean["amount"] > 7.99) | (found.mean["share"] > 0.999)
    assert 0.2 < edge.mean() < 0.8


def test_a_mode_that_is_none_keeps_a_finite_law_and_is_marked(linear, scene):
    """A good curvature, a weakly negative one, which the prior mends, a strongly negative one, and none at all."""
    target = read_target(linear.model, scene)
    size = np.array([[4.0], [-0.5], [-100.0], [np.nan]], np.float32)
    curved = Expansion(
        np.zeros(4, np.float32), np.zeros((4, 2), np.float32), size[..., None] * np.eye(2, dtype=np.float32)
    )
    found = _conclude(target, True, (), (np.zeros((4, 2), np.float32), curved))
    assert found.converged.tolist() == [True, False, False, False]
    prior = target.scale[0] ** -2.0
    np.testing.assert_allclose(found.rows[:, 0] ** -2.0, [4.0, prior - 0.5, prior, prior], rtol=1e-4)
    assert np.isfinite(found.rows).all() and np.isfinite(found.log_evidence).all()


@pytest.mark.parametrize("name", ["laplace", "svi", "lut", pytest.param("smc", marks=pytest.mark.thorough)])
def test_neither_key_nor_memory_nor_neighbours_change_what_is_found(name, linear, scene):
    """The same key gives the same numbers, in chunks of any size, and a broken pixel does not touch the others."""
    engine = functools.partial(ENGINES[name], linear.model, key=jax.random.key(5), **{"reference": 0})
    first, again = engine(scene), engine(scene)
    np.testing.assert_array_equal(first.mean["first"], again.mean["first"])
    broken = np.array(scene["sensor"].values)
    broken[3] = 1e4
    other = engine({"sensor": SingleDate(broken, np.array(scene["sensor"].mask))})
    rest = np.arange(40) != 3
    np.testing.assert_allclose(other.mean["first"][rest], first.mean["first"][rest], rtol=1e-4, atol=1e-4)
    assert np.isfinite(other.mean["first"]).all()


def test_misfit_and_domain_are_uniform_under_the_model_and_flag_what_it_cannot_make(linear):
    """Two of 2000 are not its: twenty deviations away from the plane that the bands span, and far out on that plane."""
    key, n = jax.random.key(11), 2000
    sensor = eqx.tree_at(lambda r: r.geometry, linear.acquisitions(key, n)["sensor"], None)
    _, data = simulate(read_structure(linear.model, {"sensor": sensor}), linear.model, {"sensor": sensor}, key)
    values, mask = np.array(data["sensor"].values), np.array(data["sensor"].mask)
    values[0], values[1], mask[:2] = (5.0, -5.0, -8.0), (20.0, 4.0, 10.0), True
    found = fit_laplace(linear.model, {"sensor": SingleDate(values, mask)}, key=key, reference=n).diagnostics
    assert found["misfit_p_value"][0] < 0.005 and found["domain_p_value"][1] < 0.005
    for name in ("misfit_p_value", "domain_p_value"):
        p = np.asarray(found[name])[2:]
        p = np.sort(p[~np.isnan(p)])
        # Kolmogorov's distance of 2000 values from 2000 references: 0.052 is exceeded once in a hundred.
        assert np.abs(p - (np.arange(p.size) + 0.5) / p.size).max() < 0.055, name


@pytest.fixture(scope="session")
def skewed():
    """One bounded site seen through a curve, once, with noise as wide as the slope allows: no normal law fits."""

    def model(data):
        with numpyro.plate("pixel", data["sensor"].values.shape[0]):
            share = numpyro.sample("share", dist.Uniform(0.0, 3.0))
            numpyro.deterministic("square", share**2)
            observe("sensor", dist.Normal((share - 1.2)[:, None] ** 2, 0.3), data["sensor"])

    seen = np.array([[0.0], [0.3], [1.0], [3.0]], np.float32)
    grid = np.linspace(0.0, 3.0, 4001)[1:-1]
    weight = np.exp(-0.5 * ((seen - (grid - 1.2) ** 2) / 0.3) ** 2)
    mean = weight @ grid / weight.sum(1)
    std = np.sqrt(weight @ grid**2 / weight.sum(1) - mean**2)
    return model, {"sensor": SingleDate(seen)}, mean, std, np.log(weight.mean(1) / 0.3 / np.sqrt(2.0 * np.pi))


@pytest.mark.parametrize("name", ["lut", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("nuts", "smc"))])
def test_samplers_find_a_posterior_with_two_modes(name, skewed):
    model, data, mean, std, evidence = skewed
    # Chains that stay in one mode each say so.
    expected = (
        pytest.warns(UserWarning, match="of 4 pixels .* chains that disagree") if name == "nuts" else nullcontext()
    )
    with expected:
        options = {"chains": 6} if name == "nuts" else {}
        posterior = ENGINES[name](model, data, key=jax.random.key(1), reference=0, **options)
    alone = np.asarray(posterior.diagnostics["r_hat"]) < 1.05 if name == "nuts" else np.ones(4, bool)
    assert alone[0] and alone[3]
    assert np.abs(posterior.mean["share"] - mean)[alone].max() < 0.1
    assert np.abs(posterior.std["share"] / std - 1.0)[alone].max() < 0.15
    np.testing.assert_allclose(
        posterior.mean["square"], posterior.std["share"] ** 2 + posterior.mean["share"] ** 2, atol=0.02
    )
    if name == "smc":
        np.testing.assert_allclose(posterior.diagnostics["log_evidence"], evidence, atol=0.2)


def test_importance_weights_repair_what_the_approximation_missed(skewed):
    model, data, mean, std, evidence = skewed
    start = fit_svi(model, data, key=jax.random.key(2), reference=0)
    better = refine(start, key=jax.random.key(3), draws=4000, keep=2000)
    one_mode = np.array([0, 3])
    error = np.abs(start.std["share"] / std - 1.0)[one_mode]
    assert (np.abs(better.mean["share"] - mean)[one_mode] < 0.05).all()
    assert (np.abs(better.std["share"] / std - 1.0)[one_mode] < np.maximum(error, 0.05)).all()
    np.testing.assert_allclose(better.diagnostics["log_evidence"][one_mode], evidence[one_mode], atol=0.1)
    assert (better.diagnostics["effective_sample_size"] <= 4000.5).all()


@pytest.mark.parametrize("method", ["laplace", "svi"])
def test_refined_posterior_does_not_remember_a_wrong_start(method, linear, scene, fitted):
    exact = fitted("laplace")
    wrong = eqx.tree_at(lambda law: law.location, exact.law, exact.law.location + 0.5)
    start = type(exact)(
        model=exact.model, structure=exact.structure, observations=exact.observations, law=wrong, shared=None
    )
    better = refine(start, key=jax.random.key(0), method=method, steps=200)
    assert np.abs(better.mean["first"] - exact.mean["first"]).max() < 0.02
    assert float(better.diagnostics["effective_sample_size"].min()) > 900.0  # of 1000: the new law is the posterior


@pytest.fixture(scope="session")
def noisy():
    """A noise that all pixels share, and that they teach."""

    def model(data):
        noise = numpyro.sample("noise", dist.LogNormal(-1.0, 1.0).expand([3]).to_event(1))
        with numpyro.plate("pixel", data["sensor"].values.shape[0]):
            level = numpyro.sample("level", dist.Normal(0.0, 1.0))
            observe("sensor", dist.Normal(jnp.stack([level, 2.0 * level, -level], -1), noise), data["sensor"])

    true = np.array([0.1, 0.5, 1.0], np.float32)
    structure = read_structure(model, {"sensor": SingleDate(np.zeros((2, 3), np.float32))})
    empty = {"sensor": SingleDate(np.zeros((300, 3), np.float32))}
    truth, data = simulate(structure, model, empty, jax.random.key(5), values={"noise": jnp.asarray(true)})
    return model, data, true, truth["level"]


@pytest.mark.parametrize("name", ["laplace", "svi"])
def test_global_sites_are_learned_from_all_pixels(name, noisy, monkeypatch):
    model, data, true, level = noisy
    posterior = ENGINES[name](model, data, key=jax.random.key(0), reference=0)
    assert (np.abs(posterior.mean["noise"] - true) < 3.5 * posterior.std["noise"]).all()
    assert (np.asarray(posterior.std["noise"]) < 0.03 + 0.1 * true).all()
    inside = (level > posterior.quantile(0.05)["level"]) & (level < posterior.quantile(0.95)["level"])
    assert 0.84 < inside.mean() < 0.985  # 300 pixels, and the small noise is overestimated
    # Figures of many pixels are computed block by block.
    whole = posterior.mean, posterior.std, posterior.quantile(0.05)
    del posterior._moments
    monkeypatch.setattr("releo_jax.inference.posterior._BLOCK", 128)
    for expected, got in zip(whole, (posterior.mean, posterior.std, posterior.quantile(0.05)), strict=True):
        for site in ("level", "noise"):
            np.testing.assert_allclose(got[site], expected[site], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="session")
def few(noisy):
    """The first of the pixels; what their state is where the noise is known, and where it is learned from them."""
    model, data, true, _ = noisy
    few, key = take(data, slice(0, 16)), jax.random.key(0)
    known = fit_laplace(model, few, key=key, shared={"noise": jnp.asarray(true)}, reference=0)
    return few, known, fit_laplace(model, few, key=key, reference=0)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:fit_nuts")  # short chains
def test_joint_chains_agree_with_the_known_noise(noisy, few):
    model, _, true, _ = noisy
    data, _, learned = few
    joint = fit_nuts(model, data, key=jax.random.key(0), warmup=500, draws=300, chains=2, reference=0)
    assert (np.abs(joint.mean["noise"] - true) < 3.5 * joint.std["noise"]).all()
    assert joint.draws["noise"].shape == (600, 3) and joint.draws["level"].shape == (600, 16)
    assert (np.abs(joint.mean["noise"] - learned.mean["noise"]) < 0.5 * joint.std["noise"]).all()
    assert np.abs((joint.mean["level"] - learned.mean["level"]) / joint.std["level"]).max() < 0.6


@pytest.mark.parametrize("name", ["lut", pytest.param("smc", marks=pytest.mark.thorough)])
def test_global_sites_are_integrated_out_or_given(name, noisy, few):
    model, _, true, _ = noisy
    data, known, _ = few
    fit = functools.partial(ENGINES[name], model, data, key=jax.random.key(0), reference=16)
    given, wide = fit(shared={"noise": jnp.asarray(true)}), fit()
    assert np.abs((given.mean["level"] - known.mean["level"]) / known.std["level"]).max() < 0.4
    assert np.mean(wide.std["level"]) > np.mean(known.std["level"])
    assert wide.mean["noise"].shape == (16, 3)
    for posterior in (given, wide):
        assert np.isfinite(posterior.diagnostics["misfit_p_value"]).all()


@pytest.mark.parametrize("cost", ["rmse", "relative", "l1"])
def test_costs_of_the_literature_find_the_state(cost, linear, scene):
    mean, _ = linear.exact(scene["sensor"])
    posterior = fit_lut(linear.model, scene, key=jax.random.key(0), cost=cost, entries=20_000, draws=50, reference=0)
    assert np.corrcoef(posterior.mean["second"][:38], mean[:38, 1])[0, 1] > 0.8


def _refusals(linear, scene):
    empty = {"sensor": SingleDate(np.full((3, 3), np.nan, np.float32))}
    many = {"sensor": SingleDate(np.zeros((300, 3), np.float32))}
    turning = {"sensor": SingleDate(np.zeros((300, 3), np.float32), geometry=np.linspace(0.0, 20.0, 300))}
    return [
        (fit_laplace, empty, {}, "at least one usable band, got 3 pixels of ['sensor'] with every band masked"),
        (fit_nuts, many, {}, "fit_nuts: expected at most max_pixels=256, got 300"),
        (fit_smc, many, {"max_pixels": 10}, "fit_smc: expected at most max_pixels=10, got 300"),
        (fit_lut, turning, {}, "at most 256 bins of angles and dates, got 300"),
        (fit_lut, scene, {"cost": "median"}, "cost: expected 'likelihood' or one of ['l1', 'relative', 'rmse']"),
        (fit_laplace, scene, {"shared": {"noise": 1.0}}, "shared: expected values of all global sites, {}, got"),
        (fit_laplace, scene, {"steps": 0}, "steps: expected at least one"),
        (fit_svi, scene, {"particles": 0}, "particles of at least one"),
        (fit_laplace, scene, {"memory": 1000}, "expected 8 pixels to fit into memory=1000 bytes"),
    ]


@pytest.mark.parametrize("case", range(9))
def test_bad_input_is_named(case, linear, scene):
    engine, data, options, message = _refusals(linear, scene)[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        engine(linear.model, data, key=jax.random.key(0), **options)


def test_laws_without_known_information_are_refused_by_name(scene):
    def model(data):
        with numpyro.plate("pixel", data["sensor"].values.shape[0]):
            level = numpyro.sample("level", dist.Normal(0.0, 1.0))
            observe("sensor", dist.Cauchy(level[:, None], 1.0), data["sensor"])

    with pytest.raises(ValueError, match="observe 'sensor': expected a law whose Fisher information is known"):
        fit_laplace(model, scene, key=jax.random.key(0))
    assert np.isfinite(fit_lut(model, scene, key=jax.random.key(0), entries=500, reference=0).mean["level"]).all()


def _square_root_of(lowest):
    """A model whose second band is not a number where the level is below `lowest`."""

    def model(data):
        with numpyro.plate("pixel", data["sensor"].values.shape[0]):
            level = numpyro.sample("level", dist.Uniform(0.0, 1.0))
            bands = jnp.stack([level, jnp.sqrt(level - lowest), 1.0 - level], -1)
            observe("sensor", dist.Normal(bands, 0.05), data["sensor"])

    return model


def test_predictions_that_are_never_finite_are_named(scene):
    with pytest.raises(
        ValueError, match=r"observe 'sensor': expected finite predictions, got none at 4120 draws.*\[1\]"
    ):
        fit_laplace(_square_root_of(2.0), scene, key=jax.random.key(0))


@pytest.mark.long
@pytest.mark.parametrize("name", ["laplace", "lut", "smc"])
def test_states_without_predictions_are_never_chosen(name):
    level = np.linspace(0.4, 0.9, 6, dtype=np.float32)
    data = {"sensor": SingleDate(np.stack([level, np.sqrt(level - 0.3), 1.0 - level], -1))}
    with pytest.warns(
        UserWarning, match="observe 'sensor': at .* of the draws from the prior the predictions are not fi"
    ):
        posterior = ENGINES[name](_square_root_of(0.3), data, key=jax.random.key(0))
    np.testing.assert_allclose(posterior.mean["level"], level, atol=0.05)
    for p_value in ("misfit_p_value", "domain_p_value"):
        assert np.isfinite(posterior.diagnostics[p_value]).all()


def test_divergent_draws_warn_with_the_number_of_pixels():
    found = {"divergences": np.array([0, 30, 12]), "r_hat": np.array([1.0, 1.01, 1.3])}
    with pytest.warns(UserWarning, match="of 3 pixels 2 have more than 1 % divergent draws and 1 chains that disagree"):
        warn(found, 1000)
