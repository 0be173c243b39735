"""The benchmark of inversions: its registries, its stored references, a row of each kind, and its report."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from flax import nnx

from releo_jax.benchmarking import inversion
from releo_jax.benchmarking.inversion import (
    ALGORITHMS,
    TASKS,
    Inverter,
    References,
    Task,
    algorithm,
    best_amortized,
    from_json,
    get_task,
    load_references,
    make_references,
    measure,
    new_report,
    plot_c2st,
    plot_calibration,
    save_references,
    task,
)
from releo_jax.benchmarking.inversion.newton_flow import NewtonEncoder
from releo_jax.observations import SingleDate, observe


@pytest.fixture
def registries(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(inversion.tasks, "TASKS", tasks := dict(TASKS))
    monkeypatch.setattr(inversion.algorithms, "ALGORITHMS", algorithms := dict(ALGORITHMS))
    yield tasks, algorithms
    inversion.tasks._made.cache_clear()


def scale_model(data):
    with numpyro.plate("pixel", data["scale"].values.shape[0]):
        weight = numpyro.sample("weight", dist.Normal(0.0, 1.0))
        observe("scale", dist.Normal(weight[..., None], 1.0), data["scale"])


def scale_nature(data):
    with numpyro.plate("pixel", data["scale"].values.shape[0]):
        weight = numpyro.sample("weight", dist.Normal(0.0, 1.0))
        observe("scale", dist.Normal(weight[..., None] + 2.0, 1.0), data["scale"])


def one_reading(key, n):
    return {"scale": SingleDate(jnp.zeros((n, 1)), jnp.ones((n, 1), bool))}


class Exact:
    """The posterior of a weight with a normal prior and one reading, wrong by a shift and a factor if asked for."""

    def __init__(self, data, shift=0.0, factor=1.0):
        self.mean = 0.5 * np.asarray(data["scale"].values)[:, 0] + shift
        self.std = factor * np.sqrt(0.5)

    def sample(self, key, n):
        noise = np.random.default_rng(np.asarray(jax.random.key_data(key))).normal(size=(n, self.mean.size))
        return {"weight": self.mean + self.std * noise}


@pytest.fixture
def weighing(registries):
    @task
    def weighing():
        return Task(model=scale_model, acquisitions=one_reading)

    @task
    def weighing_misspecified():
        return Task(model=scale_model, acquisitions=one_reading, nature=scale_nature)

    @algorithm
    def exact(task, budget, key):
        return Inverter(lambda data, key: Exact(data))

    @algorithm
    def narrow(task, budget, key):
        return Inverter(lambda data, key: Exact(data, factor=0.5), simulations=7)

    problem = get_task("weighing")
    draws = Exact(problem.fixed[1]).sample(jax.random.key(5), 400)["weight"].T[..., None]
    some = np.ones(len(draws))
    return References(draws, some, 400 * some, 0 * some, 0.5 * some, {"chains": 4, "draws": 100})


@pytest.mark.long
@pytest.mark.usefixtures("optimised")  # the classifier of C2ST
def test_an_own_task_and_an_own_algorithm_meet(weighing):
    right = measure("weighing", "exact", "tiny")
    wrong = measure("weighing", "narrow", "tiny", references=weighing)
    assert right.sites == ("weight",) and right.pixels == 1000 and right.c2st == () and len(wrong.c2st) == 10
    # sampling noise of 1000 pixels is 1 %; normal laws a factor of two apart are told apart with accuracy 0.66
    assert right.coverage == pytest.approx(0.9, abs=0.03) and right.calibrated
    assert wrong.coverage == pytest.approx(0.59, abs=0.05) and not wrong.calibrated and 0.6 < wrong.mean_c2st < 0.7
    # variance 1/2 of a prior variance 1; the width is that of a central 90 % interval
    assert right.contraction == pytest.approx(0.5, abs=0.03)
    assert right.width == pytest.approx(2 * 1.645 * np.sqrt(0.5), rel=0.05)
    assert right.crps < wrong.crps
    assert (right.simulations, right.training_seconds) == (0, 0.0) and wrong.simulations == 7


def test_a_twin_is_inverted_by_the_model_that_did_not_make_it(weighing):
    twin = get_task("weighing_misspecified")
    truth, data = twin.simulate(jax.random.key(0), 4000)
    offset = np.asarray(data["scale"].values)[:, 0] - truth[:, 0]
    assert offset.mean() == pytest.approx(2.0, abs=0.06)
    assert not twin.well_specified and get_task("weighing").well_specified
    row = measure("weighing_misspecified", "exact", "tiny")
    # the posterior's mean is half of the reading, hence one too high
    assert not row.calibrated and row.coverage < 0.7 and row.c2st == () and np.isnan(row.mean_c2st)


def test_a_guide_that_takes_newton_steps_knows_a_normal_posterior_untrained(weighing):
    problem = get_task("weighing")
    _, data = problem.simulate(jax.random.key(0), 50)
    encoder = NewtonEncoder(problem.target, data, steps=4, width=8, depth=1, rngs=nnx.Rngs(0))
    mean, factor = encoder(data)[:, :2].T
    # The prior counts as the normal law of its simulated moments; single precision leaves 1e-5 of a deviation.
    prior, spread = problem.target.location[0], problem.target.scale[0]
    precision = 1.0 + spread**-2.0
    seen = np.asarray(data["scale"].values)[:, 0]
    np.testing.assert_allclose(mean, (seen + prior * spread**-2.0) / precision, atol=1e-4)
    np.testing.assert_allclose(factor, precision**-0.5, rtol=1e-5)
    assert prior == pytest.approx(0.0, abs=0.05) and spread == pytest.approx(1.0, abs=0.05)


def test_references_come_back_from_their_file_and_refuse_other_observations(weighing, tmp_path):
    problem = get_task("weighing")
    assert load_references(problem, tmp_path) is None
    save_references(problem, weighing, tmp_path)
    back = load_references(problem, tmp_path)
    step = np.ptp(weighing.draws) / 65535
    np.testing.assert_allclose(back.draws, weighing.draws, atol=step)
    assert back.origin == weighing.origin
    other = dataclasses.replace(get_task("weighing_misspecified"), name="weighing")
    with pytest.raises(ValueError, match="make them anew"):
        load_references(other, tmp_path)


def test_observations_whose_chains_are_poor_are_walked_again(weighing):
    assert not weighing.poor.size
    r_hat, divergences, check = weighing.r_hat.copy(), weighing.divergences.copy(), weighing.check.copy()
    r_hat[3], divergences[7], check[9] = 1.02, 5, 0.7
    assert dataclasses.replace(weighing, check=check).poor.tolist() == [9]
    stored = dataclasses.replace(weighing, r_hat=r_hat, divergences=divergences)
    assert stored.poor.tolist() == [3, 7]
    # Five of a thousand are fewer than five of four hundred.
    longer = {name: getattr(weighing, name)[[3, 7]] for name in ("draws", "effective_sample_size", "check")}
    origin = {"chains": 4, "draws": 250}
    made = References(r_hat=np.ones(2), divergences=np.array([0.0, 5.0]), origin=origin, **longer)
    renewed = stored.renewed(stored.poor, made)
    assert not renewed.poor.size and renewed.origin["again"] == [origin | {"observations": [3, 7]}]
    assert stored.r_hat[3] == 1.02 and renewed.r_hat[3] == 1.0


def test_references_weigh_no_draws_of_a_flow_that_is_not_there(weighing):
    with pytest.raises(ValueError, match="'weighing' with a flow to go through"):
        make_references(get_task("weighing"), key=jax.random.key(0), check="weighing")


@pytest.mark.long
def test_every_stored_file_belongs_to_a_task_and_was_made_by_chains_that_agree(monkeypatch):
    # Operation by operation: tasks share these, and each has a whole program of its own.
    monkeypatch.setattr(inversion.tasks, "_simulate", inversion.tasks._simulate.__wrapped__)
    paths = sorted(inversion.references.FOLDER.glob("*.npz"))
    assert {path.stem for path in paths} == set(TASKS)
    for path in paths:
        references = load_references(get_task(path.stem))  # refuses those of other observations
        assert references.draws.shape[:2] == (10, 1000) and not references.poor.size, path
        assert references.check.mean() < 0.53, path
        assert path.stat().st_size < 400_000


def test_the_fixed_observations_are_those_of_the_references():
    problem = get_task("double_logistic")
    references = load_references(problem)
    truth, _ = problem.fixed
    low, high = np.quantile(references.draws, (0.0005, 0.9995), axis=1)
    # sixty true values, all within the central 99.9 % of their draws
    assert ((low < truth) & (truth < high)).all()


def test_a_row_and_a_report_of_a_trained_guide(weighing):
    row = measure("weighing", "full_covariance", "tiny", pixels=300)
    assert row.pixels == 300 and row.simulations > 0 and row.training_seconds > 0 and row.microseconds > 0
    # the family holds the posterior, and a hundred steps come near it; sampling noise of 300 pixels is 2 %
    assert row.coverage == pytest.approx(0.9, abs=0.06) and row.contraction == pytest.approx(0.5, abs=0.1)
    row = dataclasses.replace(row, c2st=(0.52, 0.58))  # the classifier has its own tests
    report = new_report(3, "a command").with_row(row)
    again = report.with_row(dataclasses.replace(row, crps=9.0))
    assert len(again.rows) == 1 and again.rows[0].crps == 9.0
    assert from_json(report.to_json()) == report
    table = report.to_markdown()
    assert "seed 3" in table and f"{row.mean_c2st:.3f}" in table
    head, line, *rows = [text for text in table.splitlines() if text.startswith("|")]
    assert {text.count("|") for text in (head, line, *rows)} == {head.count("|")}
    assert best_amortized(report.rows) == row
    assert plot_c2st(report, "weighing").axes and plot_calibration(report, "weighing").axes


@pytest.mark.thorough
@pytest.mark.usefixtures("optimised")
def test_a_row_of_the_double_logistic():
    row = measure("double_logistic", "full_covariance", "tiny", pixels=300)
    assert row.pixels == 300 and row.simulations > 0 and row.training_seconds > 0 and row.microseconds > 0
    # a hundred steps leave the prior behind, and no more
    assert 0.5 < row.mean_c2st < 1.0 and 0.7 < row.coverage < 0.98 and 0.05 < row.contraction < 1.0


def test_names_that_do_not_exist_are_answered_with_those_that_do():
    with pytest.raises(ValueError, match="expected a task among.*double_logistic.*'tripple_logistic'.*@task"):
        measure("tripple_logistic", "nuts", "tiny")
    with pytest.raises(ValueError, match="expected an algorithm among.*nuts.*'nots'.*@algorithm"):
        measure("double_logistic", "nots", "tiny")
    with pytest.raises(ValueError, match="expected a budget among.*short.*'huge'"):
        measure("double_logistic", "nuts", "huge")
    with pytest.raises(ValueError, match="make references first"):
        plot_c2st(new_report(0), "double_logistic")
