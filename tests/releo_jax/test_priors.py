"""Priors, co-distribution, and sampling of records."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

from physics.optics.prospect import Leaf
from physics.optics.sail import Canopy
from physics.optics.soil import Soil
from physics.parameters import check_ranges, parameters
from releo_jax.priors import Prior, atbd, prosail_vae, prosail_vae_box, sample_params, uniform


def _sites(function, key=0):
    return handlers.trace(handlers.seed(function, jax.random.key(key))).get_trace()


def _all(published, pixels):
    def model():
        with numpyro.plate("pixel", pixels):
            canopy = sample_params(Canopy, prior=published.canopy)
            leaf = sample_params(Leaf, prior=published.leaf(canopy.leaf_area_index))
            soil = sample_params(Soil, prior=published.soil(canopy.leaf_area_index))
        return canopy, leaf, soil

    return model


@pytest.mark.parametrize("published", [atbd, prosail_vae, prosail_vae_box])
def test_published_priors_stay_inside_the_fields_bounds(published):
    records = handlers.seed(_all(published, 2000), jax.random.key(0))()
    for record in records:
        check_ranges(record)
    assert all(np.ptp(leaf) > 0 for leaf in jax.tree.leaves(records[0]))


def test_codistribution_follows_the_published_formula():
    sites = _sites(_all(atbd, 500))
    leaf_area = np.asarray(sites["leaf_area_index"]["value"])
    # Chlorophyll: 20 to 90, at LAI 15 45 to 90; wetness = 1 - p_soil with p_soil 0 to 0.4 there.
    low = 20.0 + leaf_area / 15.0 * 25.0
    base = np.asarray(sites["chlorophyll_base"]["value"])
    np.testing.assert_allclose(sites["chlorophyll"]["value"], (base - 20.0) * (90.0 - low) / 70.0 + low, rtol=1e-5)
    base = np.asarray(sites["wetness_base"]["value"])
    low = leaf_area / 15.0 * 0.6
    np.testing.assert_allclose(sites["wetness"]["value"], base * (1.0 - low) + low, rtol=1e-5, atol=1e-6)
    assert sites["mean_leaf_angle"]["type"] == "deterministic"
    assert sites["hot_spot"]["type"] == "sample"


def test_atbd_water_and_carotenoids_follow_dry_matter_and_chlorophyll():
    sites = _sites(_all(atbd, 100))
    value = {name: np.asarray(site["value"], np.float64) for name, site in sites.items() if site["type"] != "plate"}
    np.testing.assert_allclose(value["carotenoids"], 0.25 * value["chlorophyll"], rtol=1e-6)
    share = value["water"] / (value["water"] + value["dry_matter"])
    np.testing.assert_allclose(share, value["relative_water"], rtol=1e-5)
    assert value["relative_water"].min() >= 0.6 and value["relative_water"].max() <= 0.85


def test_without_leaf_area_the_prior_is_independent():
    sites = _sites(lambda: sample_params(Soil, prior=atbd.soil))
    assert sites["brightness"]["type"] == "sample"
    assert "brightness_base" not in sites
    sites = _sites(lambda: sample_params(Canopy, prior=atbd.canopy.independent()))
    assert sites["mean_leaf_angle"]["type"] == "sample"


def test_fixed_leaf_area_drives_the_codistribution_of_its_record():
    sites = _sites(lambda: sample_params(Canopy, prior=atbd.canopy, fixed={"leaf_area_index": 15.0}))
    assert "leaf_area_index" not in sites
    assert 55.0 <= sites["mean_leaf_angle"]["value"] <= 65.0


def test_replacing_a_field_drops_its_ties():
    prior = atbd.leaf(jnp.asarray(5.0)) | {
        "carotenoids": dist.Uniform(1.0, 2.0),
        "chlorophyll": dist.Uniform(1.0, 90.0),
    }
    sites = _sites(lambda: sample_params(Leaf, prior=prior))
    assert sites["carotenoids"]["type"] == "sample"
    assert sites["chlorophyll"]["type"] == "sample"
    assert sites["layers"]["type"] == "deterministic"
    assert "layers_base" in sites


def test_fixed_values_are_not_sampled():
    sites = _sites(lambda: sample_params(Leaf, prior=atbd.leaf, fixed={"water": 0.01, "brown_pigment": 0.0}))
    assert not {"water", "brown_pigment"} & set(sites)
    assert "relative_water" in sites  # auxiliary of a field that is fixed: still a site, harmless
    leaf = handlers.seed(lambda: sample_params(Leaf, prior=atbd.leaf, fixed={"water": 0.01}), jax.random.key(0))()
    assert leaf.water == np.float32(0.01)


def test_default_is_uniform_over_the_declared_bounds():
    prior = uniform(Canopy)
    bounds = {name: parameter.bounds for name, parameter in parameters(Canopy).items()}
    assert {name: (law.low, law.high) for name, law in prior.items()} == bounds
    assert set(_sites(lambda: sample_params(Canopy))) == set(bounds)


def test_missing_and_unknown_fields_are_named_with_units():
    with pytest.raises(ValueError, match=r"no prior for chlorophyll \[ug cm-2\].*dry_matter \[g cm-2\]"):
        sample_params(Leaf, prior={"layers": dist.Uniform(1.0, 2.0)})
    with pytest.raises(ValueError, match="unknown or unavailable names lai"):
        sample_params(Canopy, prior=uniform(Canopy), fixed={"lai": 3.0})
    with pytest.raises(ValueError, match="fixed="):
        Prior({"layers": 1.5})
    with pytest.raises(ValueError, match="two bounds"):
        Prior({"layers": dist.Normal(0.0, 1.0)}, dense={"layers": (0.0, 1.0)})


def test_published_numbers_are_those_of_the_publications():
    # min, max, mean, sd of the normal before truncation.
    expected = {
        ("leaf", "layers"): (1.2, 1.8, 1.5, 0.3),
        ("leaf", "water"): (0.0075, 0.075, 0.025, 0.02),
        ("leaf", "carotenoids"): (5.0, 23.0, 11.0, 5.0),
        ("canopy", "leaf_area_index"): (0.0, 15.0, 2.0, 3.0),
        ("soil", "brightness"): (0.5, 3.5, 1.2, 2.0),
    }
    for (record, name), (low, high, mean, deviation) in expected.items():
        law = getattr(prosail_vae, record)[name]
        x = np.linspace(low, high, 20001)
        density = np.exp(-0.5 * ((x - mean) / deviation) ** 2)
        density /= np.trapezoid(density, x)
        np.testing.assert_allclose(np.exp(law.log_prob(jnp.asarray(x[1:-1:2000]))), density[1:-1:2000], rtol=1e-4)
