"""The method of the products with its shipped weights, and the system of the paper."""

import dataclasses
import functools
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics import SunView, sensor
from releo_jax.cubes.ground import water_reflectance
from releo_jax.cubes.scene import cloud_reflectance
from releo_jax.errors import ReleoError
from releo_jax.inference.structure import simulate
from releo_jax.metrics import coverage, rmse
from releo_jax.observations import SingleDate
from releo_jax.systems.land_surface import RECORD, derived_variables
from releo_jax.systems.prosail_vae import (
    MOMENT_MATCHING,
    SENSORS,
    SENTINEL2_BANDS,
    acquisition,
    land_surface_posterior,
    load_retrieval,
    prosail_vae,
)
from releo_jax.systems.retrieval import DERIVED
from releo_jax.systems.train import train_retrieval
from releo_jax.training import Runs
from releo_jax.variables import FLAGS, VARIABLES

SUFFIXES = ("mean", "std", "q05", "q50", "q95", "lower", "upper", "flag")


@functools.cache
def simulated(n=3000, seed=5):
    """Truth by alias, reflectance, mask and angles of pixels drawn from the model, all bands usable."""
    retrieval = load_retrieval("sentinel2a")
    posterior = retrieval.posterior
    seen = acquisition(retrieval.sensor)(jax.random.key(seed), n)
    seen = {RECORD: SingleDate(seen[RECORD].values, jnp.ones((n, 10), bool), seen[RECORD].geometry)}
    run = jax.jit(lambda seen, key: simulate(posterior.structure, posterior.model, seen, key, separately=True))
    sites, found = run(seen, jax.random.key(seed + 1))
    truth = jax.jit(derived_variables)(sites, seen[RECORD].geometry) | sites
    return (
        {alias: np.asarray(truth[VARIABLES[alias].name]) for alias in retrieval.variables},
        np.asarray(found[RECORD].values),
        np.asarray(found[RECORD].mask),
        seen[RECORD].geometry,
    )


@functools.cache
def retrieved():
    _, values, mask, angles = simulated()
    retrieval = load_retrieval("sentinel2a")
    return retrieval(values, mask, angles, variables=retrieval.variables, level=0.9)


def angles(n):
    return SunView.from_degrees(np.full(n, 35.0, np.float32), np.full(n, 5.0, np.float32), np.full(n, 90.0, np.float32))


@pytest.mark.parametrize("name", SENSORS)
def test_every_satellite_gives_ordered_figures_within_bounds(name):
    _, values, mask, _ = simulated()
    retrieval = load_retrieval(name)
    if name != "sentinel2a":  # the misfit of one is enough: it is a run of the model
        retrieval = retrieval.without_misfit()
    found = retrieval(values[:50], mask[:50], angles(50), variables=("lai", *DERIVED), level=0.5)
    assert list(found) == [f"{alias}_{suffix}" for alias in ("lai", *DERIVED) for suffix in SUFFIXES]
    for alias in ("lai", *DERIVED):
        low, high = VARIABLES[alias].bounds
        order = [found[f"{alias}_{suffix}"] for suffix in ("q05", "lower", "q50", "upper", "q95")]
        assert (np.diff([np.full(50, low), *order, np.full(50, high)], axis=0) >= 0).all()
        assert (found[f"{alias}_std"] > 0).all() and found[f"{alias}_flag"].dtype == np.uint8


def test_weights_of_all_satellites_take_less_than_a_megabyte():
    folder = resources.files("releo_jax.data")
    sizes = [len((folder / f"prosail_vae_{name}.safetensors").read_bytes()) for name in SENSORS]
    assert sum(sizes) <= 1_000_000


def test_intervals_hold_on_simulations():
    truth = simulated()[0]
    for alias in ("lai", *DERIVED):
        share = coverage(truth[alias], retrieved()[f"{alias}_lower"], retrieved()[f"{alias}_upper"])
        assert 0.88 <= share <= 0.92, alias
        assert rmse(truth[alias], retrieved()[f"{alias}_mean"]) < 0.75 * truth[alias].std(), alias


@pytest.mark.thorough
def test_heads_agree_with_posterior_draws():
    _, values, mask, seen = simulated()
    some = slice(0, 200)
    seen = jax.tree.map(lambda angle: angle[some], seen)
    heads = {key: array[some] for key, array in retrieved().items()}
    drawing = load_retrieval("sentinel2a").without_misfit().with_draws(300)
    draws = drawing(values[some], mask[some], seen, variables=DERIVED, level=0.9)
    for alias in DERIVED:
        spread = draws[f"{alias}_std"]
        for suffix in ("mean", "q05", "q50", "q95"):
            apart = np.abs(heads[f"{alias}_{suffix}"] - draws[f"{alias}_{suffix}"]) / spread
            # Draws know the joint law as a normal, heads each quantity's own: they differ in the tails.
            assert np.median(apart) < (0.25 if suffix in ("mean", "q50") else 0.5), (alias, suffix)
        np.testing.assert_allclose(np.median(heads[f"{alias}_std"] / spread), 1.0, atol=0.25)


def test_fewer_bands_mean_wider_intervals_and_no_other_bands_value_matters():
    _, values, mask, seen = simulated()
    retrieval = load_retrieval("sentinel2a")
    few = mask & np.isin(SENTINEL2_BANDS, ("B02", "B03", "B04", "B08"))
    found = retrieval(values, few, seen, variables=retrieval.variables, level=0.9)
    assert np.mean(found["lai_std"]) > 1.05 * np.mean(retrieved()["lai_std"])
    other = retrieval(np.where(few, values, 7.0), few, seen, variables=retrieval.variables, level=0.9)
    np.testing.assert_array_equal(other["lai_mean"], found["lai_mean"])


def test_a_bad_pixel_comes_out_masked_and_harms_no_other():
    _, values, mask, _ = simulated()
    values, mask = values[:40].copy(), mask[:40].copy()
    retrieval = load_retrieval("sentinel2a")
    good = retrieval(values, mask, angles(40), variables=retrieval.variables, level=0.9)
    values[7], mask[7] = np.nan, False
    found = retrieval(values, mask, angles(40), variables=retrieval.variables, level=0.9)
    assert found["lai_flag"][7] == FLAGS["input_masked"] and np.isnan(found["fapar_q50"][7])
    others = np.arange(40) != 7
    for key, array in found.items():
        np.testing.assert_array_equal(array[others], good[key][others])


def test_results_do_not_depend_on_the_batch():
    _, values, mask, _ = simulated()
    many, ones = np.tile(values, (3, 1)), np.tile(mask, (3, 1))
    retrieval = load_retrieval("sentinel2a")
    found = retrieval(many, ones, angles(9000), variables=retrieval.variables, level=0.9)
    alone = retrieval(many[8999:], ones[8999:], angles(1), variables=retrieval.variables, level=0.9)
    np.testing.assert_allclose(found["lai_mean"][8999], alone["lai_mean"][0], rtol=1e-5)
    np.testing.assert_allclose(found["lai_mean"][:3000], found["lai_mean"][3000:6000], rtol=1e-5)


def test_flags_name_what_the_model_does_not_know():
    flags = retrieved()["lai_flag"]
    for name in ("out_of_domain", "predictive_misfit", "at_prior_bound"):
        assert np.mean(flags & FLAGS[name] > 0) < 0.006, name
    device = sensor("sentinel2a", bands=SENTINEL2_BANDS)
    snow = np.array([0.9, 0.9, 0.88, 0.88, 0.87, 0.86, 0.85, 0.84, 0.1, 0.08])
    strange = np.stack([water_reflectance(device.centres), cloud_reflectance(device.centres), snow]).astype(np.float32)
    retrieval = load_retrieval("sentinel2a")
    variables = retrieval.variables
    found = retrieval(strange, np.ones((3, 10), bool), angles(3), variables=variables, level=0.9)
    assert (found["lai_flag"] & (FLAGS["out_of_domain"] | FLAGS["predictive_misfit"])).all()
    assert (found["lai_flag"][[0, 2]] & FLAGS["out_of_domain"]).all()
    near = dataclasses.replace(retrieval, domain=retrieval.domain._replace(largest=np.float32(6.0)))
    found = near(*simulated()[1:], variables=variables, level=0.9)
    np.testing.assert_array_equal(found["lai_flag"] & FLAGS["at_prior_bound"] > 0, found["lai_q95"] > 6.0)
    assert 0 < np.mean(found["lai_q95"] > 6.0) < 0.5
    # A red edge turned round is within the range of every band, but no canopy reflects so.
    turned = simulated()[1].copy()
    turned[:, [3, 4, 5]] = turned[:, [5, 3, 4]]
    found = retrieval(turned, np.ones((3000, 10), bool), angles(3000), variables=variables, level=0.9)
    assert np.mean(found["lai_flag"] & FLAGS["predictive_misfit"] > 0) > 0.3
    quick = retrieval.without_misfit()
    found = quick(turned, np.ones((3000, 10), bool), angles(3000), variables=("lai",), level=0.9)
    assert not (found["lai_flag"] & FLAGS["predictive_misfit"]).any()


@pytest.mark.long
def test_adaptation_learns_from_an_image_and_then_draws():
    _, values, mask, seen = simulated()
    some = slice(0, 256)
    seen = jax.tree.map(lambda angle: angle[some], seen)
    adapted = load_retrieval("sentinel2a").adapt(values[some], mask[some], seen, steps=4)
    assert adapted.derived is None and np.isfinite(adapted.posterior.history[-1]).all()
    found = adapted(values[:5], mask[:5], angles(5), variables=("lai", "ccc"), level=0.9)
    retrieval = load_retrieval("sentinel2a")
    before = retrieval(values[:5], mask[:5], angles(5), variables=retrieval.variables, level=0.9)
    assert not np.allclose(found["lai_mean"], before["lai_mean"], rtol=1e-6)
    np.testing.assert_allclose(found["lai_mean"], before["lai_mean"], atol=0.5)
    with pytest.raises(ValueError, match="that draws"):
        adapted.save("never")


@pytest.mark.long
def test_training_in_small_and_its_file(tmp_path):
    bands, posterior = land_surface_posterior("sentinel2b")
    trained = train_retrieval(bands, posterior, steps=3, pixels=4000, runs=Runs(2, tmp_path / "runs"))
    trained.save(tmp_path / "prosail_vae_sentinel2b.safetensors")
    again = load_retrieval("sentinel2b", tmp_path)
    values, mask = np.random.default_rng(0).uniform(0.02, 0.5, (9, 10)).astype(np.float32), np.ones((9, 10), bool)
    one, two = (r(values, mask, angles(9), variables=r.variables, level=0.9) for r in (trained, again))
    for key, array in one.items():
        np.testing.assert_array_equal(array, two[key])
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"posterior", "posterior.csv", "heads", "heads.csv"}


def test_unknown_satellite_is_named():
    with pytest.raises(ReleoError, match="no trained weights for the sensor 'landsat8'; expected sentinel2a"):
        load_retrieval("landsat8")


@pytest.mark.thorough
def test_the_system_of_the_paper_trains_by_its_own_loss():
    bands = sensor("sentinel2a", bands=SENTINEL2_BANDS)
    vae = prosail_vae(bands, width=32, depth=2)
    _, values, mask, seen = simulated()
    some = slice(0, 256)
    data = {RECORD: SingleDate(values[some], mask[some], jax.tree.map(lambda angle: angle[some], seen))}
    options = dict(MOMENT_MATCHING) | {"particles": 8}
    trained = vae.fit(data, key=jax.random.key(0), objective="moment_matching", steps=40, batch=64, **options)
    losses = trained.history[-1]
    assert losses[-10:].mean() < losses[:10].mean()
    posterior = trained(data)
    mean, low, high = posterior.mean, posterior.quantile(0.05), posterior.quantile(0.95)
    for name in ("leaf_area_index", "chlorophyll", "wetness"):
        assert (low[name] < mean[name]).all() and (mean[name] < high[name]).all()
