"""Soil moisture from simulated backscatter: what is put in comes back, with intervals that hold it as often as said."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers

from physics.microwave import MoistSoil, RadarView, Roughness, decibel_bias, decibel_std, mironov09, oh92
from releo_jax.distributions import TruncatedNormal
from releo_jax.inference import fit_laplace, fit_lut, fit_map, fit_smc
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.observations import Series, SingleDate
from releo_jax.systems.soil_moisture import (
    RECORD,
    FieldView,
    bare_soil,
    by_pixel,
    calibration,
    check_fields,
    moisture_flags,
    soil_moisture,
)
from releo_jax.variables import FLAGS

N = 128
COEFFICIENTS = {
    "scattering": np.array([0.1, 0.02]),
    "attenuation": np.array([0.15, 0.2]),
    "exponent": np.array([0.3, 0.5]),
    "offset": np.array([-14.0, -22.0]),
    "slope": np.array([25.0, 25.0]),
    "noise": np.array([0.8, 0.8]),
}
BANDS = ("vv", "vh")
MODEL = soil_moisture(BANDS, COEFFICIENTS, vegetation_error=0.1)


def _view(n=N):
    return FieldView(RadarView.from_degrees(np.full(n, 38.0, np.float32)), np.linspace(0.0, 4.0, n, dtype=np.float32))


@functools.cache
def _scene():
    """Simulated pixels; the first is masked, the second NaN, of the third the vegetation is not known."""
    empty = {RECORD: SingleDate(jnp.zeros((N, 2)), None, _view())}
    sites, data = simulate(read_structure(MODEL, empty), MODEL, empty, jax.random.key(0))
    values = np.array(data[RECORD].values)
    mask = np.ones(values.shape, bool)
    mask[0], values[1] = False, np.nan
    view = eqx.tree_at(lambda one: one.vegetation, _view(), _view().vegetation * np.where(np.arange(N) == 2, np.nan, 1))
    return np.asarray(sites["soil_moisture"]), {RECORD: SingleDate(values, mask, view)}


@pytest.mark.thorough
def test_intervals_hold_the_truth_and_empty_pixels_return_the_prior():
    truth, data = _scene()
    posterior = fit_smc(MODEL, data, key=jax.random.key(1), particles=256, moves=4, reference=N)
    low, high = (np.asarray(posterior.quantile(level)["soil_moisture"]) for level in (0.05, 0.95))
    seen = np.arange(N) > 2
    # 125 pixels: the share has a standard error of 2.7 %
    assert 0.83 < np.mean((low < truth) & (truth < high), where=seen) < 0.97
    assert np.corrcoef(truth[seen], np.asarray(posterior.mean["soil_moisture"])[seen])[0, 1] > 0.5
    width = high - low
    assert width[3:40].mean() < 0.75 * width[:3].mean()  # sparse vegetation hides less
    law = TruncatedNormal(0.2, 0.15, low=0.01, high=0.6)
    for bound, level in ((low, 0.05), (high, 0.95)):
        np.testing.assert_allclose(bound[:3], float(law.icdf(level)), atol=0.05)
    flags = moisture_flags(posterior, data)
    assert (flags[:3] == FLAGS["input_masked"]).all() and np.mean(flags[3:] != 0) < 0.1
    assert np.isfinite(np.asarray(posterior.mean["soil_moisture"])).all()


@pytest.mark.parametrize(
    "engine",
    [
        functools.partial(fit_map, reference=0),
        functools.partial(fit_lut, entries=2000, geometry_step=5.0, reference=0),
        functools.partial(fit_laplace, reference=0),
    ],
    ids=["map", "lut", "laplace"],
)
def test_other_engines_take_the_same_model(engine):
    truth, data = _scene()
    few = {RECORD: jax.tree.map(lambda leaf: leaf[:16], data[RECORD])}
    found = np.asarray(engine(MODEL, few, key=jax.random.key(2)).mean["soil_moisture"])
    # 3 to 15 are almost bare
    assert np.sqrt(np.mean((found[3:] - truth[3:16]) ** 2)) < 0.06 and np.isfinite(found).all()


@pytest.mark.thorough
def test_a_campaign_teaches_the_coefficients_that_made_it():
    fields, rng = 40, np.random.default_rng(3)
    moisture = rng.uniform(0.05, 0.4, (1, fields)).astype(np.float32)
    area = rng.uniform(0.0, 5.0, (1, fields)).astype(np.float32)
    known = FieldView(RadarView.from_degrees(np.full((1, fields), 35.0, np.float32)), area, moisture)
    record = Series(jnp.zeros((1, fields, 1)), None, np.arange(fields, dtype=np.float32)[None], known)
    model = calibration(("vv",))
    truth = {"dense_cloud": 0.12, "attenuation": 0.2, "exponent": 0.4, "moist_soil": -9.0, "slope": 25.0, "noise": 0.3}
    values = {name: jnp.full((1, 1), value) for name, value in truth.items()}
    structure = read_structure(model, {RECORD: record})
    sites, data = simulate(structure, model, {RECORD: record}, jax.random.key(4), values=values)
    posterior = fit_smc(model, data, key=jax.random.key(5), particles=128, moves=4, reference=0)
    fitted = np.asarray(posterior.mean["backscatter"])
    assert np.sqrt(np.mean((fitted - np.asarray(sites["backscatter"])) ** 2)) < 0.15
    assert float(posterior.mean["slope"][0, 0]) == pytest.approx(25.0, abs=3.0)
    assert float(posterior.mean["noise"][0, 0]) == pytest.approx(0.3, abs=0.08)
    np.testing.assert_allclose(sites["offset"], -9.0 - 0.25 * 25.0, rtol=1e-6)
    np.testing.assert_allclose(sites["scattering"], 0.12 * 3.0**-0.4, rtol=1e-5)


def _observed(model, data, **values):
    """Mean and deviation of the observed law, and the log density of the moisture, at values of the sites."""

    @jax.jit
    def look(data, values):
        seeded = handlers.substitute(handlers.seed(model, jax.random.key(0)), data=values)
        trace = handlers.trace(seeded).get_trace(data)
        law, moisture = trace[RECORD]["infer"]["observe"], trace["soil_moisture"]
        return law.loc, law.scale, moisture["fn"].log_prob(moisture["value"])

    return look(data, values)


def test_bare_soil_under_nothing_is_the_surface_model_and_speckle_adds_up():
    known = FieldView(RadarView.from_degrees(np.array([30.0, 40.0])), np.zeros(2))
    data = {RECORD: SingleDate(jnp.full((2, 1), -12.0), None, known)}
    surface = bare_soil(oh92, frequency=5.405, clay=0.3, sand=0.2)
    cloud = {name: COEFFICIENTS[name][:1] for name in ("scattering", "attenuation", "exponent", "noise")}
    moisture, height = jnp.array([0.1, 0.3]), jnp.array([0.8, 1.5])
    model = soil_moisture(("vv",), cloud, surface=surface, looks=16.0)
    mean, deviation, _ = _observed(model, data, soil_moisture=moisture, rms_height=height)

    @jax.jit
    def bare(moisture, height):
        soil = mironov09(MoistSoil(soil_moisture=moisture, clay=0.3, sand=0.2), frequency=5.405)
        rough = Roughness(rms_height=height, correlation_length=6.0)
        return oh92(soil, rough, known.view, frequency=5.405).vv

    expected = 10.0 * np.log10(bare(moisture, height))
    np.testing.assert_allclose(mean[:, 0], expected + float(decibel_bias(16.0)), atol=1e-3)
    np.testing.assert_allclose(deviation, np.hypot(0.8, float(decibel_std(16.0))), rtol=1e-5)


def test_coefficients_and_expectations_may_differ_between_pixels():
    every = {name: np.tile(value, (3, 1)) for name, value in COEFFICIENTS.items()}
    every["offset"][2] += 1.0
    view = RadarView.from_degrees(np.full(3, 38.0))
    plain, own = FieldView(view, np.ones(3)), FieldView(view, np.ones(3), None, by_pixel(every), (0.2, 0.15))
    at = {"soil_moisture": jnp.full(3, 0.2)}
    zeros = jnp.zeros((3, 2))
    one = _observed(soil_moisture(BANDS, COEFFICIENTS), {RECORD: SingleDate(zeros, None, plain)}, **at)
    other = _observed(soil_moisture(BANDS), {RECORD: SingleDate(zeros, None, own)}, **at)
    np.testing.assert_allclose(one[0][:2], other[0][:2], rtol=1e-6)
    assert (other[0][2] > one[0][2] + 0.1).all()
    np.testing.assert_allclose(one[2], other[2], rtol=1e-5)


def _record(decibels=-12.0, incidence=0.6, vegetation=1.0, moisture=0.2):
    known = FieldView(RadarView(incidence=np.full(3, incidence)), np.full(3, vegetation), np.full(3, moisture))
    return SingleDate(np.full((3, 1), decibels), None, known)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"decibels": 0.05}, "backscatter: expected dB .*linear power: convert it with to_decibels"),
        ({"incidence": 38.0}, "incidence: .* radian, .*degrees: use the constructor from_degrees"),
        ({"moisture": 31.0}, "soil_moisture: .* m3 m-3, .*per cent: divide by 100"),
        ({"vegetation": -0.2}, "vegetation: expected zero or more, got -0.2 in 3 of 3 values; NDVI"),
    ],
)
def test_wrong_units_are_named(changed, words):
    with pytest.raises(ValueError, match=words):
        check_fields(_record(**changed))


def test_what_is_missing_is_named():
    check_fields(_record())
    with pytest.raises(ValueError, match="expected a FieldView"):
        check_fields(SingleDate(np.full((3, 1), -12.0)))
    with pytest.raises(ValueError, match="got no exponent, slope"):
        soil_moisture(BANDS, dict.fromkeys(("scattering", "attenuation", "offset"), 1.0))
    with pytest.raises(ValueError, match="got none; give them to the model"):
        _observed(soil_moisture(("vv",)), {RECORD: _record()})
    with pytest.raises(ValueError, match=r"calibration: expected priors of .*noise, got \['roughness'\]"):
        calibration(BANDS, prior={"roughness": None})
    with pytest.raises(ValueError, match="clay [+] sand"):
        bare_soil(oh92, frequency=5.405, clay=0.7, sand=0.6)
