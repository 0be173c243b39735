"""Tables of published figures and their interpolation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physics.data import DEFAULT_WAVELENGTHS, resolve, table, table_names

LEAF = {"refractive_index", "chlorophyll", "carotenoids", "brown_pigment", "water"}


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("prospect_5", {"dry_matter"}),
        ("prospect_d", {"anthocyanins", "dry_matter"}),
        ("prospect_pro", {"anthocyanins", "proteins", "carbon_constituents"}),
    ],
)
def test_leaf_tables_are_complete_and_physical(name, others):
    columns = table(name)
    assert set(columns) == LEAF | others
    for column, values in columns.items():
        assert values.shape == (2101,) and values.dtype == np.float64
        assert np.all(values >= (1.0 if column == "refractive_index" else 0.0))


def test_leaf_tables_hold_the_published_figures():
    """First rows of dataSpec_PDB (Féret et al. 2017) and dataSpec_P5 (Féret et al. 2008)."""
    leaf = table("prospect_d")
    assert leaf["chlorophyll"][0] == 6.48815e-02 and leaf["anthocyanins"][0] == 6.66747e-02
    assert leaf["water"][-1] == 95.3 and leaf["dry_matter"][-1] == 38.71
    assert table("prospect_5")["chlorophyll"][0] == np.float32(0.02676)
    # Water absorbs most near 1940 nm; chlorophyll not at all beyond 780 nm.
    assert abs(DEFAULT_WAVELENGTHS[np.argmax(leaf["water"][:1700])] - 1930) < 15
    assert np.all(leaf["chlorophyll"][DEFAULT_WAVELENGTHS > 780] == 0.0)


def test_soils_are_reflectances():
    soil = table("soil_dry_wet")
    assert set(soil) == {"dry", "wet"}
    assert np.all((soil["wet"] > 0.0) & (soil["wet"] < soil["dry"]) & (soil["dry"] < 0.6))


def test_tables_are_shared_and_read_only():
    assert table("prospect_d") is table("prospect_d")
    with pytest.raises(ValueError, match="read-only"):
        table("prospect_d")["water"][0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        DEFAULT_WAVELENGTHS[0] = 0.0


def test_every_table_can_be_read():
    assert {"prospect_5", "prospect_d", "prospect_pro", "soil_dry_wet"} <= set(table_names())
    for name in table_names():
        assert all(np.all(np.isfinite(v)) for v in table(name).values() if v.dtype.kind == "f")


def test_unknown_table_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'prospect_x'.*prospect_d"):
        table("prospect_x")


def test_resolve_is_exact_on_the_grid_in_any_order():
    water = table("prospect_d")["water"]
    assert np.array_equal(resolve(water), water)
    wanted = np.array([2500.0, 400.0, 1234.0])
    assert np.array_equal(resolve(water, wanted), water[[2100, 0, 834]])


def test_resolve_interpolates_linearly():
    lines = np.stack([3.0 * DEFAULT_WAVELENGTHS - 7.0, -DEFAULT_WAVELENGTHS])
    wanted = np.array([400.25, 999.9, 2499.5])
    np.testing.assert_allclose(resolve(lines, wanted), np.stack([3.0 * wanted - 7.0, -wanted]), rtol=1e-14)
    assert resolve(lines, jnp.asarray(wanted)).dtype == np.float64


@pytest.mark.parametrize(
    ("wavelengths", "message"),
    [
        ([399.0, 500.0], r"within 400-2500 nm, got 399-500"),
        ([500.0, 2500.5], r"got 500-2500.5"),
        ([0.49, 0.56], r"micrometres"),
        ([500.0, np.nan], r"with NaN"),
        ([[500.0]], r"shape \(1, 1\)"),
        ([], r"shape \(0,\)"),
    ],
)
def test_resolve_refuses_bad_wavelengths(wavelengths, message):
    with pytest.raises(ValueError, match=message):
        resolve(table("prospect_d")["water"], wavelengths)


def test_resolve_refuses_values_on_another_grid():
    with pytest.raises(ValueError, match=r"2101\), got shape \(10,\)"):
        resolve(np.ones(10), [500.0])


def test_resolve_refuses_traced_wavelengths():
    with pytest.raises(ValueError, match="concrete wavelengths"):
        jax.jit(lambda w: resolve(table("prospect_d")["water"], w))(jnp.array([500.0]))
