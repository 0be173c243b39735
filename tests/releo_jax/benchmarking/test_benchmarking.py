"""Simulators with planted faults: each is found, at the place where it was planted, and a sound one is not flagged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from releo_jax.benchmarking import (
    Simulator,
    Skipped,
    accuracy_of_gradients,
    accuracy_of_values,
    benchmark,
    by_name,
    compile_time,
    examined,
    from_json,
    memory,
    nan_census,
)
from releo_jax.benchmarking.space import box_of, draw, points
from releo_jax.benchmarking.timing import prepare

BOUNDS = {"x": (0.0, 1.0), "y": (-2.0, 2.0)}


def sound(p):
    return jnp.stack([jnp.sin(p["x"]) * p["y"], jnp.exp(p["x"]) + p["y"] ** 2, p["x"] * 3.0], axis=-1)


def simulator(function, **fields):
    return Simulator(**({"name": function.__name__, "prior": BOUNDS, "function": by_name(function, BOUNDS)} | fields))


def nan_at_a_face(p):
    # 0 log 0: the value is made right where x is 0, the slope of the branch that is not taken is not
    x = p["x"]
    return jnp.stack([jnp.where(x > 0, x**2 * jnp.log(x), 0.0), p["y"]], axis=-1)


def cancels(p):
    return jnp.stack([1.0 - jnp.cos(0.01 * p["x"]), p["y"]], axis=-1)


def cancels_near_a_face(p):
    x = p["x"]
    safe = jnp.where(x > 0, x, 1.0)
    return jnp.stack([jnp.where(x > 0, (1.0 - jnp.cos(safe)) / safe**2, 0.5), p["y"]], axis=-1)


@jax.custom_jvp
def cube(x):
    return x**3


@cube.defjvp
def _(primals, tangents):
    return primals[0] ** 3, 3.1 * primals[0] ** 2 * tangents[0]


def wrong_slope(p):
    return jnp.stack([cube(p["x"]), p["y"] ** 2], axis=-1)


@pytest.fixture(scope="module")
def report():
    every = [simulator(f) for f in (sound, nan_at_a_face, cancels, cancels_near_a_face, wrong_slope)]
    absent = Skipped("another", "needs a package that is not installed")
    return benchmark([*every, absent], seed=0, batch_sizes=(1, 16), rounds=2, slice_seconds=0.002)


def entry(report, name):
    return next(one for one in report.entries if one.name == name)


def test_a_sound_simulator_is_not_flagged(report):
    one = entry(report, "sound")
    assert one.flags == () and one.left_out == ()
    assert 0 < one.values.rounding["all"].relative < 1e-6
    assert one.gradients.reverse["all"].relative < 1e-5
    assert one.gradients.forward["all"].relative < 1e-5
    assert one.gradients.undecided == 0
    assert set(one.gradients.parameters) == {"x", "y"}


def test_a_slope_that_is_not_a_number_is_found_on_its_face(report):
    one = entry(report, "nan_at_a_face")
    assert sum(one.census.values.values()) == 0
    assert one.census.gradients["face"] == one.census.faces["x = low"] == 4
    # half of the corners lie on that face as well
    assert 0 < one.census.gradients["corner"] < one.census.points["corner"]
    assert one.census.gradients["inside"] == 0
    (flag,) = one.flags
    assert "slopes are not finite" in flag and "x = low" in flag


def test_a_cancellation_in_single_precision_is_found(report):
    one = entry(report, "cancels")
    # below 1 single precision has steps of 2^-24, and the output is at most 5e-5
    assert 0.8 * 2.0**-25 < one.values.rounding["all"].max < 2.1 * 2.0**-25
    assert one.values.rounding["all"].relative == pytest.approx(one.values.rounding["all"].max / 5e-5, rel=1e-3)
    assert any("single precision loses" in flag for flag in one.flags)


def test_a_cancellation_near_a_face_is_found_there(report):
    one = entry(report, "cancels_near_a_face")
    assert one.values.rounding["inside"].relative < 1e-2
    assert one.values.rounding["near a face"].relative > 0.5
    assert any("near a face x = low" in flag for flag in one.flags)


def test_a_wrong_slope_is_found_and_named(report):
    one = entry(report, "wrong_slope")
    # 3.1 instead of 3 times the square, which is largest at x = 1
    assert one.gradients.reverse["all"].relative == pytest.approx(0.1 / 3, rel=1e-3)
    assert one.gradients.parameters["x"] == pytest.approx(0.1 / 3, rel=1e-3)
    assert one.gradients.parameters["y"] < 1e-5
    assert any("reverse-mode" in flag and "slope of x" in flag for flag in one.flags)
    assert any("forward-mode" in flag for flag in one.flags)


def test_rates_costs_and_tables(report):
    for one in report.entries:
        assert {(rate.operation, rate.batch) for rate in one.rates} == {
            (operation, batch) for operation in ("forward", "gradient", "Jacobian") for batch in (1, 16)
        }
        assert all(rate.best >= rate.median > 0 for rate in one.rates)
        assert all(cost.compile_seconds > 0 for cost in one.costs)
    text = report.to_markdown()
    assert "* another: needs a package that is not installed" in text
    assert all(one.name in text for one in report.entries)


def test_the_report_survives_json(report):
    assert from_json(report.to_json()) == report


def test_the_figure_has_a_panel_for_each_operation_and_a_line_for_each_simulator(report):
    from releo_jax.benchmarking.figure import plot_throughput

    axes = plot_throughput(report).axes
    assert [one.get_title() for one in axes] == ["forward", "gradient", "Jacobian"]
    assert all(len(one.lines) == len(report.entries) for one in axes)


def test_a_kink_is_undecided_and_not_wrong():
    def kinked(p):
        return jnp.abs(p["x"] - p["y"])[:, None]

    at = examined(simulator(kinked), seed=0)
    at = dataclasses.replace(at, values=np.where(np.arange(len(at.values))[:, None] < 10, 0.5, at.values))
    found = accuracy_of_gradients(simulator(kinked), at)
    assert found.undecided >= 10 / len(at.values)
    assert found.reverse["all"].relative < 1e-4


def test_conditions_have_no_slopes():
    one = simulator(sound, conditions=("y",))
    found = accuracy_of_gradients(one, examined(one, seed=0))
    assert set(found.parameters) == {"x"}
    assert found.reverse["all"].relative < 1e-5


def test_the_reference_measures_what_rounding_does_not():
    def coarse(p):
        return sound(p) * 1.01

    one = simulator(coarse, reference=simulator(sound))
    at = examined(one, seed=0)
    values, slopes = accuracy_of_values(one, at), accuracy_of_gradients(one, at)
    assert values.rounding["all"].relative < 1e-6
    assert values.reference["all"].relative == pytest.approx(0.01, rel=1e-3)
    assert slopes.reverse["all"].relative < 1e-5
    assert slopes.reference["all"].relative == pytest.approx(0.01, rel=1e-3)


def test_a_function_of_numpy_is_measured_with_the_slopes_it_offers():
    def function(p):
        return np.stack([p[:, 0] * p[:, 1], p[:, 1] ** 2], axis=1)

    def vjp(p, weight):
        gradient = np.stack([weight[:, 0] * p[:, 1], weight[:, 0] * p[:, 0] + 2.2 * weight[:, 1] * p[:, 1]], axis=1)
        return function(p), gradient

    plain = Simulator(name="plain", function=function, prior=BOUNDS, dtype="float64", jax=False)
    offers = dataclasses.replace(plain, name="with slopes", vjp=vjp)
    found = benchmark([plain, offers], seed=0, batch_sizes=(1, 16), rounds=1, slice_seconds=0.0)
    without, with_slopes = found.entries
    assert without.gradients is None and without.slopes == 0
    assert {rate.operation for rate in without.rates} == {"forward"}
    assert {rate.operation for rate in with_slopes.rates} == {"forward", "gradient"}
    assert with_slopes.gradients.reverse["all"].relative == pytest.approx(0.1, rel=1e-3)
    assert with_slopes.values.rounding is None  # it is used in float64


def test_a_simulator_that_raises_leaves_the_others_alone():
    def broken(p):
        raise RuntimeError("no table for this sensor")

    found = benchmark([simulator(broken), simulator(sound)], seed=0, batch_sizes=(1,), rounds=1, slice_seconds=0.0)
    assert all("no table for this sensor" in why for why in found.entries[0].left_out)
    assert found.entries[0].rates == () and found.entries[1].rates
    assert "no table" in found.to_markdown() and from_json(found.to_json()) == found


def test_batches_that_need_too_much_are_left_out():
    def wide(p):
        return p["x"][:, None] * jnp.arange(1000.0)

    one = simulator(wide)
    found = benchmark(
        [one], seed=0, batch_sizes=(1, 16, 256, 4096), operations=("forward",), memory_limit=2e6, rounds=1
    ).entries[0]
    assert [rate.batch for rate in found.rates] == [1, 16, 256]
    assert "batch 4096 and above left out" in found.left_out[0]
    assert memory(one, batch=16, seed=0).outputs == 16 * 1000 * 4
    assert compile_time(one, seed=0) > 0


@pytest.mark.parametrize("width", [1, 3])  # one output of three parameters: backward products; else forward ones
@pytest.mark.parametrize("conditions", [(), ("z",)])
@pytest.mark.parametrize("named", [True, False])
def test_what_is_timed_computes_slopes(width, conditions, named):
    bounds = BOUNDS | {"z": (0.0, 1.0)}
    function = by_name(lambda p: sound(p)[:, :width], bounds)
    given = function if named else (lambda x: function(x))
    one = Simulator(name="sound", function=given, prior=bounds, conditions=conditions)
    x = jnp.asarray(draw(bounds, 5, seed=3), jnp.float32)
    exact = jax.vmap(jax.jacfwd(lambda row: function(row[None])[0]))(x)[:, :, : 3 - len(conditions)]

    found = np.asarray(prepare(one, "Jacobian", 5, seed=3).call())
    # backward: (output, parameter, batch); forward: (parameter, batch, output)
    found = found.transpose(2, 0, 1) if 2 * width < exact.shape[2] else found.transpose(1, 2, 0)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)

    value, slope = prepare(one, "gradient", 5, seed=3).call()
    misses = -0.05 * function(x)  # the observations lie 5 % above
    np.testing.assert_allclose(value, (misses**2).sum(), rtol=1e-4)
    expected = 2 * jnp.einsum("no,nop->pn", misses, exact)
    np.testing.assert_allclose(np.asarray(slope), expected, rtol=1e-3, atol=1e-4)


def test_priors_as_bounds_distributions_and_models():
    def model():
        a = numpyro.sample("a", dist.Uniform(1.0, 3.0))
        numpyro.sample("b", dist.Normal(a, 0.1))

    box = box_of(model)
    assert box.names == ("a", "b")
    assert (box.low[0], box.high[0]) == (1.0, 3.0)
    assert 0.6 < box.low[1] < 1.1 and 2.9 < box.high[1] < 3.4
    drawn = draw(model, 500, seed=1)
    assert np.corrcoef(drawn.T)[0, 1] > 0.9

    mixed = {"a": dist.LogNormal(0.0, 1.0), "b": (2.0, 5.0)}
    box = box_of(mixed)
    assert box.low[0] == 0.0 and 10.0 < box.high[0] < 60.0
    assert draw(mixed, 300, seed=1)[:, 1].min() >= 2.0
    np.testing.assert_array_equal(draw(mixed, 300, seed=1), draw(mixed, 300, seed=1))


def test_points_lie_in_the_box_and_on_its_faces():
    # bounds that single precision does not hold
    box = box_of({"a": (0.7, 1.1), "b": (-0.3, 0.1)})
    assert box.low[0] >= 0.7 and box.high[0] <= 1.1 and box.low[1] >= -0.3 and box.high[1] <= 0.1
    at = points(box, seed=0)
    assert (at.values >= box.low).all() and (at.values <= box.high).all()
    on_a_face = ((at.values == box.low) | (at.values == box.high)).sum(axis=1)
    assert (on_a_face[at.places == "face"] >= 1).all()
    assert (on_a_face[at.places == "corner"] == 2).all()
    assert (on_a_face[at.places == "inside"] == 0).all()


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"conditions": ("z",)}, "expected conditions among"),
        ({"dtype": "float16"}, "expected dtype float32 or float64"),
        ({"operations": ("hessian",)}, "expected operations among"),
        ({"vjp": lambda p, w: (p, p)}, "leave out vjp"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        simulator(sound, **fields)


def test_wrong_shapes_bounds_and_operations_are_refused():
    flat = simulator(lambda p: p["x"], name="flat")
    with pytest.raises(ValueError, match=r"flat: expected outputs \(batch, output\)"):
        accuracy_of_values(flat, examined(flat, seed=0))
    with pytest.raises(ValueError, match="expected a lower bound below"):
        box_of({"a": (1.0, 1.0)})
    with pytest.raises(ValueError, match="expected operations among"):
        benchmark([simulator(sound)], seed=0, operations=("hessian",))
    with pytest.raises(ValueError, match="expected different names"):
        benchmark([simulator(sound), simulator(sound)], seed=0)


def test_a_function_that_ignores_double_precision_has_no_rounding():
    def single(p):
        return sound({name: values.astype(jnp.float32) for name, values in p.items()})

    one = simulator(single)
    at = examined(one, seed=0)
    assert accuracy_of_values(one, at).rounding is None
    assert accuracy_of_gradients(one, at).reverse is None
    assert sum(nan_census(one, at).values.values()) == 0
