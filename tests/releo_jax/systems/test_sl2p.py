"""SL2P: the official test cases, the domain, and what maps are made with."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro import handlers
from scipy import stats

from physics import (
    Canopy,
    Leaf,
    Soil,
    SunView,
    fapar,
    fcover,
    prosail,
    prospect_d,
    sail,
    sensor,
    soil_mixture,
)
from releo_jax.priors import atbd, sample_params
from releo_jax.systems.sl2p import (
    BANDS,
    PRODUCTS,
    RMSE,
    in_domain,
    limits,
    sl2p,
    sl2p_retrieval,
    within_limits,
)
from releo_jax.variables import FLAGS, VARIABLES

# A wheat-like, a sparse and a dry spectrum; the first two within the domain.
SPECTRA = np.array(
    [
        [0.060, 0.035, 0.095, 0.280, 0.350, 0.380, 0.180, 0.095],
        [0.090, 0.100, 0.150, 0.230, 0.260, 0.290, 0.270, 0.200],
        [0.300, 0.010, 0.500, 0.100, 0.600, 0.050, 0.400, 0.020],
    ],
    np.float32,
)
ANGLES = SunView.from_degrees([40.0, 30.0, 30.0], [5.0, 3.0, 3.0], [120.0, 20.0, 20.0])


def _cases(data_dir, name):
    with np.load(data_dir / "sl2p_reference" / "s2toolbox_2_1_nets_testcases.npz") as archive:
        cases = archive[f"{name}_TestCases"]
    cases = cases[np.isfinite(cases).all(1)]
    view, sun, azimuth = (np.arccos(np.clip(cases[:, i], -1.0, 1.0)) for i in (8, 9, 10))
    return cases[:, :8], SunView(sun_zenith=sun, view_zenith=view, relative_azimuth=azimuth), cases[:, 11]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "variable", "unit", "tolerance"),
    [("LAI", "lai", 1.0, 2.4e-4), ("LAI_Cab", "ccc", 0.01, 4.8e-3), ("FAPAR", "fapar", 1.0, 6.7e-3)],
)
def test_official_test_cases(data_dir, name, variable, unit, tolerance):
    """Largest differences of a plain network to the official cases, in the units of the toolbox."""
    with jax.enable_x64(True):
        reflectance, sun_view, expected = _cases(data_dir, name)
        found = np.asarray(sl2p(reflectance, sun_view, variable=variable)) / unit
        assert len(expected) >= 25  # the others hold no figure
        assert np.abs(found - expected).max() <= 1.05 * tolerance
        assert np.all(in_domain(reflectance))
    single = sl2p(reflectance.astype(np.float32), jax.tree.map(jnp.float32, sun_view), variable=variable)
    np.testing.assert_allclose(np.asarray(single) / unit, found, rtol=1e-4, atol=1e-4)


def _by_hand(bands, cosines, variable):
    """The network, written with loops; bands and cosines are numbers, or arrays over pixels."""
    from importlib import resources

    with (
        resources.files("releo_jax.data").joinpath("sl2p.npz").open("rb") as stream,
        np.load(stream) as tables,
    ):
        t = {name: tables[name] for name in tables.files}
    i = PRODUCTS.index(variable)
    inputs = [*bands, *cosines]
    scaled = [2 * (x - a) / (b - a) - 1 for x, a, b in zip(inputs, *t["input_range"], strict=True)]
    y = t["output_bias"][i]
    for unit in range(5):
        y = y + t["output_weight"][i, unit] * np.tanh(
            sum(w * x for w, x in zip(t["hidden_weight"][i, unit], scaled, strict=True)) + t["hidden_bias"][i, unit]
        )
    return 0.5 * (y + 1) * (t["output_range"][i, 1] - t["output_range"][i, 0]) + t["output_range"][i, 0]


@pytest.mark.parametrize(
    ("variable", "unit"), [("lai", 1.0), ("ccc", 0.01), ("cwc", 1e4), ("fapar", 1.0), ("fcover", 1.0)]
)
def test_products_are_the_network_in_our_units(variable, unit):
    found = sl2p(SPECTRA[:2], jax.tree.map(lambda x: x[:2], ANGLES), variable=variable)
    for row in range(2):
        cosines = [float(jnp.cos(x[row])) for x in (ANGLES.view_zenith, ANGLES.sun_zenith, ANGLES.relative_azimuth)]
        np.testing.assert_allclose(found[row], unit * _by_hand(SPECTRA[row], cosines, variable), rtol=1e-5)
    assert found[0] > found[1] > 0.0  # the denser canopy has more of everything


def test_products_are_differentiable_and_batched():
    one = jax.tree.map(lambda x: x[0], ANGLES)
    slope = jax.grad(lambda r: sl2p(r, one, variable="lai"))(jnp.asarray(SPECTRA[0]))
    assert np.all(np.isfinite(slope)) and slope[5] > 0.0  # more near infrared, more leaves
    image = jnp.broadcast_to(SPECTRA[0], (4, 3, 8))
    found = jax.jit(lambda r: sl2p(r, one, variable="lai"))(image)
    np.testing.assert_allclose(found, sl2p(SPECTRA[0], one, variable="lai"), rtol=1e-6)
    assert found.shape == (4, 3)


def test_small_excess_is_set_to_the_limit():
    """Spectra between bare and dense: where the network exceeds a limit by less than the tolerance, it is the limit."""
    rng = np.random.default_rng(0)
    share = rng.uniform(-0.6, 2.0, (4000, 1)).astype(np.float32)
    spectra = SPECTRA[1] + share * (SPECTRA[0] - SPECTRA[1])
    angles = jax.tree.map(lambda x: x[0], ANGLES)
    value = np.asarray(sl2p(spectra, angles, variable="fapar"))
    cosines = [float(jnp.cos(x)) for x in (angles.view_zenith, angles.sun_zenith, angles.relative_azimuth)]
    raw = _by_hand(spectra.T, cosines, "fapar")
    near_limit = ((raw > 0.9401) & (raw < 1.0399)) | ((raw < -1e-4) & (raw > -0.0999))  # tolerance 0.1
    assert near_limit.any()
    assert np.all(np.isin(value[near_limit], np.float32([0.0, 0.94])))
    assert np.all(within_limits(value[near_limit], variable="fapar"))
    untouched = (raw > 1e-4) & (raw < 0.9399)
    np.testing.assert_allclose(value[untouched], raw[untouched], rtol=1e-4, atol=1e-5)


def test_domain():
    assert np.array_equal(in_domain(SPECTRA), [True, True, False])
    assert not in_domain(np.full(8, 0.9, np.float32))
    assert not in_domain(np.full(8, np.nan, np.float32))
    assert not in_domain(-SPECTRA[0])


@pytest.mark.parametrize("size", [3, 40_000])
def test_retrieval(size):
    retrieval = sl2p_retrieval("sentinel2b")
    assert retrieval.bands == retrieval.required == BANDS
    reflectance = np.resize(SPECTRA, (size, 8))
    mask = np.ones(reflectance.shape, bool)
    mask[1, 4] = False
    angles = jax.tree.map(lambda x: np.resize(np.asarray(x), size), ANGLES)
    found = retrieval(reflectance, mask, angles, variables=PRODUCTS, level=0.8)
    for alias in PRODUCTS:
        mean, flag = found[f"{alias}_mean"], found[f"{alias}_flag"]
        assert mean.shape == flag.shape == (size,) and mean.dtype == np.float32 and flag.dtype == np.uint8
        single = sl2p(SPECTRA[0], jax.tree.map(lambda x: x[0], ANGLES), variable=alias)
        np.testing.assert_allclose(mean[0], single, rtol=1e-5)
        assert np.isnan(mean[1]) and flag[1] == FLAGS["input_masked"]
        assert flag[0] == 0 and flag[2] & FLAGS["out_of_domain"]
        low, high = VARIABLES[alias].bounds
        expected = np.clip(stats.norm.ppf([0.05, 0.5, 0.95, 0.1, 0.9], mean[0], RMSE[alias]), low, high)
        figures = [found[f"{alias}_{key}"][0] for key in ("q05", "q50", "q95", "lower", "upper")]
        np.testing.assert_allclose(figures, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[f"{alias}_std"][0], RMSE[alias], rtol=1e-6)
        beyond = ~np.asarray(within_limits(mean[2], variable=alias))
        assert not beyond or flag[2] & FLAGS["at_prior_bound"]
        assert limits(alias)[1] <= 1.1 * high
    np.testing.assert_array_equal(found["lai_mean"][3::3], found["lai_mean"][0])


def test_bad_requests_say_what_to_do():
    with pytest.raises(ValueError, match="expected a variable among lai, .* got 'ndvi'"):
        sl2p(SPECTRA, ANGLES, variable="ndvi")
    with pytest.raises(ValueError, match="B03, B04, B05, B06, B07, B8A, B11, B12 in this order"):
        sl2p(SPECTRA[:, :7], ANGLES, variable="lai")
    with pytest.raises(ValueError, match="expected a sensor among sentinel2a"):
        sl2p_retrieval("landsat8")


@pytest.mark.thorough
def test_stated_errors_are_those_on_simulations_of_the_toolbox_prior():
    """PROSAIL with the prior, the soils and the noise of the ATBD."""
    n, par = 1500, np.arange(405.0, 700.0, 10.0)
    device = sensor("sentinel2a", bands=BANDS)
    keys = jax.random.split(jax.random.key(0), 5)
    ends = ((20.0, 60.0), (0.0, 10.0), (0.0, 180.0))
    drawn = [jax.random.uniform(key, (n,), minval=a, maxval=b) for key, (a, b) in zip(keys[:3], ends, strict=True)]
    angles = SunView.from_degrees(*drawn)

    def model():
        with numpyro.plate("pixel", n):
            canopy = sample_params(Canopy, prior=atbd.canopy)
            area = canopy.leaf_area_index
            leaf = sample_params(Leaf, prior=atbd.leaf(area), fixed={"anthocyanins": jnp.zeros(())})
            return canopy, leaf, sample_params(Soil, prior=atbd.soil(area))

    @jax.jit
    def simulate():
        canopy, leaf, soil = handlers.seed(model, keys[3])()
        bands = prosail(leaf, canopy, soil_mixture(soil, wavelengths=device.wavelengths), angles, sensor=device)
        noise = jax.random.normal(keys[4], (2, *bands.shape))
        light = sail(canopy, prospect_d(leaf, wavelengths=par), soil_mixture(soil, wavelengths=par), angles)
        truth = {
            "lai": canopy.leaf_area_index,
            "ccc": canopy.leaf_area_index * leaf.chlorophyll * 0.01,
            "cwc": canopy.leaf_area_index * leaf.water * 1e4,
            "fapar": fapar(light, wavelengths=par),
            "fcover": fcover(canopy),
        }
        return bands * (1.0 + 0.02 * noise[0]) + 0.01 * noise[1], truth

    bands, truth = simulate()
    inside = np.asarray(in_domain(bands))
    assert 0.3 < inside.mean() < 1.0
    for alias in PRODUCTS:
        error = np.asarray(sl2p(bands, angles, variable=alias) - truth[alias])[inside]
        np.testing.assert_allclose(np.sqrt(np.mean(error**2)), RMSE[alias], rtol=0.15, err_msg=alias)
