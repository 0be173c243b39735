"""The model behind the products: what can be switched off, and what follows from its sites."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers

from physics import SunView, sensor
from releo_jax.observations import SingleDate
from releo_jax.systems.land_surface import RECORD, ReflectanceError, derived_variables, land_surface, vegetated_fraction

S2 = sensor("sentinel2a", bands=("B03", "B04", "B8A", "B11"))


def data(n=4000):
    return {RECORD: SingleDate(jnp.zeros((n, 4)), None, SunView.from_degrees(jnp.full(n, 40.0), 5.0, 90.0))}


@functools.cache
def sites_of(**options):
    seeded = handlers.seed(handlers.uncondition(land_surface(S2, **options)), jax.random.key(0))
    trace = handlers.trace(seeded).get_trace(data())
    return {name: site["value"] for name, site in trace.items() if site["type"] in ("sample", "deterministic")}


def test_clumps_and_gaps_can_be_switched_off():
    assert {"clumping", "ground_mixing", "noise", "senescence"} <= set(sites_of())
    closed = sites_of(clumping=None, mixing=False)
    assert not {"clumping", "ground_mixing"} & set(closed)
    np.testing.assert_array_equal(closed["vegetated_fraction"], 1.0)
    derived = derived_variables(closed, data()[RECORD].geometry)
    # Randomly placed leaves: the gap fraction at 57.5 degrees gives the leaf area back, whatever their angles.
    np.testing.assert_allclose(derived["plant_area_effective"], closed["leaf_area_index"], rtol=0.08)


def test_gaps_and_clumps_lower_what_is_seen_of_the_leaves():
    sites = sites_of()
    derived = derived_variables(sites, data()[RECORD].geometry)
    assert (derived["plant_area_effective"] < 1.06 * sites["leaf_area_index"]).all()
    assert np.mean(derived["plant_area_effective"] / sites["leaf_area_index"]) < 0.75
    for name in ("fapar", "fcover"):
        assert (derived[name] >= 0).all() and (derived[name] <= sites["vegetated_fraction"] + 1e-5).all()
    np.testing.assert_allclose(
        derived["canopy_chlorophyll"], 0.01 * sites["leaf_area_index"] * sites["chlorophyll"], rtol=1e-5
    )


def test_patches_hold_no_more_leaves_than_the_largest_leaf_area():
    mixing, area = jnp.meshgrid(jnp.linspace(0, 1, 21), jnp.linspace(0, 12, 25))
    covered = vegetated_fraction(mixing, area)
    assert (covered >= 0.2 - 1e-6).all() and (covered <= 1).all()
    assert (area / covered <= 12 + 1e-4).all()
    np.testing.assert_array_equal(covered[:, :8], 1.0)


def test_senescence_takes_the_green_and_brings_the_brown():
    sites = sites_of()
    old, young = sites["senescence"] > 0.95, sites["senescence"] < 0.3
    np.testing.assert_allclose(sites["chlorophyll"][young], sites["green_chlorophyll"][young], rtol=1e-5)
    assert sites["chlorophyll"][old].max() < 25 < sites["chlorophyll"][young].mean()
    assert sites["brown_pigment"][young].max() < 0.31 < sites["brown_pigment"][old].mean()
    assert sites["water"][old].mean() < 0.6 * sites["water"][young].mean()


@pytest.mark.parametrize("part", ["gain", "tilt", "offset", "relative"])
def test_errors_have_the_deviations_they_state(part):
    alone = ReflectanceError(**dict.fromkeys(ReflectanceError._fields, 0.0) | {part: 0.1, "noise": 1e-4})
    bands = jnp.array([0.1, 0.2, 0.3, 0.4])
    draws = alone.law(bands, jnp.full(4, 1e-4), S2.centres).sample(jax.random.key(1), (20_000,)) - bands
    covariance = np.cov(np.asarray(draws).T)
    correlation = covariance[0, 3] / np.sqrt(covariance[0, 0] * covariance[3, 3])
    expected = {"gain": 0.1 * bands, "offset": np.full(4, 0.1), "relative": 0.1 * bands}
    if part in expected:
        np.testing.assert_allclose(np.sqrt(np.diag(covariance)), expected[part], rtol=0.03)
    assert correlation == pytest.approx({"gain": 1.0, "tilt": -1.0, "offset": 1.0, "relative": 0.0}[part], abs=0.03)
