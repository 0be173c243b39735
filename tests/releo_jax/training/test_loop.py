"""The training loop: where it arrives, and what it does where a loss has no slope."""

import csv
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from releo_jax.training import CsvMetrics, Loop, Stopping, TensorBoardMetrics, adam, train


def _distance(parameters, key, data):
    """Squared distance to (1, -2), of noise."""
    return jnp.sum((parameters - data + 0.1 * jax.random.normal(key, (2,))) ** 2)


def _broken(share):
    """The same, for a share of the keys with an infinite slope."""

    def loss(parameters, key, data):
        breaks = jax.random.uniform(jax.random.fold_in(key, 1)) < share
        return _distance(parameters, key, data) + jnp.where(breaks, 1e30, 0.0) * parameters[0] * 1e30

    return loss


TARGET = np.array([1.0, -2.0], np.float32)


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_step_without_a_finite_gradient_is_left_out(average):
    arguments = {"data": TARGET, "key": jax.random.key(0), "steps": 400, "average": average}
    found = train(_broken(0.05), jnp.ones(2), optimiser=adam(400, learning_rate=0.1), **arguments)
    left_out = np.isnan(found.history)
    assert 5 < left_out.sum() < 60 and np.isfinite(found.history[~left_out]).all()
    np.testing.assert_allclose(found.parameters, TARGET, atol=0.05)
    # Nothing else is changed by it: where no step is left out, the loss is followed as ever.
    whole = train(_distance, jnp.ones(2), optimiser=adam(400, learning_rate=0.1), **arguments)
    assert np.isfinite(whole.history).all()
    np.testing.assert_allclose(whole.parameters, TARGET, atol=0.05)


@pytest.mark.parametrize(
    ("start", "steps", "block", "named"),
    [
        (29.5, 50, 20, "5 steps from step 30 on"),
        (29.5, 50, 3, "5 steps from step 30 on"),
        (-1.0, 2, 20, "2 steps from step 0"),
    ],
)
def test_many_in_a_row_end_it_and_name_the_first(start, steps, block, named):
    def loss(parameters, key, data):
        return jnp.where(parameters > 0.0, parameters, jnp.nan)  # falls by 1 a step

    with pytest.raises(FloatingPointError, match=named):
        train(
            loss,
            jnp.float32(start),
            key=jax.random.key(0),
            steps=steps,
            loop=Loop(block=block),
            optimiser=optax.sgd(1.0),
        )


def test_a_loss_is_traced_once():
    traced = []

    def loss(parameters, key, data):
        traced.append(parameters)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(parameters))

    # Python numbers and `jnp.full` of them have weak types, which the first update makes strong.
    train(loss, {"one": jnp.full(3, -1.5), "other": 2.0}, key=jax.random.key(0), steps=3)
    assert len(traced) == 1


LOSSES = {"data": TARGET, "key": jax.random.key(0), "steps": 200, "average": 0.9}


def _score(parameters, data):
    return jnp.sum((parameters - data) ** 2)


def test_parts_are_means_of_the_loss_under_keys_of_their_own():
    seen = train(_distance, jnp.ones(2), data=TARGET, key=jax.random.key(3), steps=1, loop=Loop(parts=5)).history
    step = jax.random.fold_in(jax.random.key(3), 0)
    each = [_distance(jnp.ones(2), jax.random.fold_in(step, part), TARGET) for part in range(5)]
    np.testing.assert_allclose(seen, [np.mean(each)], rtol=1e-6)


def test_parts_share_the_rows_of_the_data():
    rows = np.arange(12.0, dtype=np.float32)
    of_rows = lambda parameters, key, data: jnp.sum(data[0] * parameters)  # noqa: E731
    one = {"key": jax.random.key(0), "steps": 1, "optimiser": optax.sgd(1.0)}
    assert train(of_rows, jnp.ones(()), rows, loop=Loop(parts=3, split=True), **one).history == [4.0]  # of 0, 4, 8
    with pytest.raises(ValueError, match="5 parts share evenly, got 12; leave 2 out"):
        train(of_rows, jnp.ones(()), rows, loop=Loop(parts=5, split=True), **one)


@pytest.mark.parametrize(
    ("loop", "named"),
    [
        (Loop(parts=0), "at least one part"),
        (Loop(strategy="xmap"), "one of jit, pmap, got 'xmap'"),
        (Loop(devices=()), "at least one device"),
    ],
)
def test_what_cannot_run_is_named(loop, named):
    with pytest.raises(ValueError, match=named):
        train(_distance, jnp.ones(2), **LOSSES, loop=loop)
    with pytest.raises(ValueError, match="3 parts share evenly, got 128"):
        Loop(parts=3).share(128)


def test_an_early_end_returns_the_best():
    # The score is best at 0.5 and the loss draws on to 0: the way there passes the best.
    def loss(parameters, key, data):
        return parameters**2

    stopping = Stopping(lambda parameters, data: (parameters - data) ** 2, np.float32(0.5), every=5, patience=3)
    kept = {"key": jax.random.key(0), "steps": 500, "optimiser": optax.sgd(0.01), "loop": Loop(stopping=stopping)}
    found = train(loss, jnp.ones(()), **kept)
    path = 0.98 ** np.arange(5, 500, 5)
    best = int(((path - 0.5) ** 2).argmin())
    assert len(found.validation) == best + 1 + 3 and len(found.history) == 5 * len(found.validation)
    np.testing.assert_allclose(found.parameters, path[best], rtol=1e-4)
    np.testing.assert_allclose(found.validation, (path[: best + 4] - 0.5) ** 2, rtol=1e-2, atol=1e-6)
    # A score that is never a number stops nothing worth keeping: the last parameters come back.
    nowhere = Stopping(lambda parameters, data: parameters * jnp.nan, every=5, patience=3)
    lost = train(loss, jnp.ones(()), **{**kept, "loop": Loop(stopping=nowhere)})
    assert len(lost.history) == 20 and lost.parameters == pytest.approx(0.98**20, rel=1e-4)


class _Break:
    """Breaks a training off after a step, where its metrics are written."""

    def __init__(self, at):
        self.at, self.begun = at, None

    def begin(self, step):
        self.begun = step

    def write(self, step, values):
        if step == self.at:
            raise KeyboardInterrupt

    def close(self):
        pass


@pytest.fixture
def stopping():
    return Stopping(_score, TARGET, every=20)


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not(tmp_path, stopping):
    whole = train(_distance, jnp.ones(2), **LOSSES, loop=Loop(stopping=stopping))
    folder, table = tmp_path / "state", tmp_path / "table" / "losses.csv"

    def loop(at):
        return Loop(checkpoints=folder, checkpoint_every=30, stopping=stopping, metrics=[CsvMetrics(table), _Break(at)])

    for at, begun in ((60, 0), (140, 30), (-1, 120)):
        here = loop(at)
        if at > 0:
            with pytest.raises(KeyboardInterrupt):
                train(_distance, jnp.ones(2), **LOSSES, loop=here)
        else:
            found = train(_distance, jnp.ones(2), **LOSSES, loop=here)
        assert here.metrics[1].begun == begun
    np.testing.assert_array_equal(found.history, whole.history)
    np.testing.assert_array_equal(found.validation, whole.validation)
    np.testing.assert_array_equal(found.parameters, whole.parameters)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    # Each block once, and a score where there was a look.
    assert [int(row["step"]) for row in rows] == sorted({*range(20, 201, 20), *range(30, 201, 30)})
    scores = [float(row["validation"]) for row in rows if row["validation"]]
    np.testing.assert_allclose(scores, whole.validation, rtol=1e-6)
    assert float(rows[0]["loss"]) == pytest.approx(whole.history[:20].mean(), rel=1e-5)
    # What is done is not done again; another training is refused.
    done = loop(-1)
    np.testing.assert_array_equal(train(_distance, jnp.ones(2), **LOSSES, loop=done).history, whole.history)
    assert done.metrics[1].begun == 200
    with pytest.raises(ValueError, match=r"another training \(key \[0, 0\] there, \[0, 1\] here\); name another"):
        train(_distance, jnp.ones(2), **{**LOSSES, "key": jax.random.key(1)}, loop=done)
    # So is one with another optimiser, whose state has another form; what is there stays.
    with pytest.raises(ValueError, match=r"another training \(state"):
        train(_distance, jnp.ones(2), **LOSSES, optimiser=optax.sgd(0.1), loop=done)
    np.testing.assert_array_equal(train(_distance, jnp.ones(2), **LOSSES, loop=done).history, whole.history)


def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    whole = train(_distance, jnp.ones(2), **LOSSES, loop=Loop(checkpoints=tmp_path / "state", checkpoint_every=90))
    (tmp_path / "state" / "200" / "training" / "metadata").write_text('{"steps": 2')
    broken = _Break(-1)
    loop = Loop(checkpoints=tmp_path / "state", checkpoint_every=90, metrics=[broken])
    found = train(_distance, jnp.ones(2), **LOSSES, loop=loop)
    assert broken.begun == 180 and "step 200 is damaged" in caplog.text
    np.testing.assert_array_equal(found.history, whole.history)
    for path in (tmp_path / "state").glob("*/training/metadata"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        train(_distance, jnp.ones(2), **LOSSES, loop=loop)
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"180", "200"}
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="expected a folder for checkpoints, got a file"):
        train(_distance, jnp.ones(2), **LOSSES, loop=Loop(checkpoints=tmp_path / "file"))


def test_half_a_row_of_a_run_that_was_killed_is_dropped(tmp_path):
    path = tmp_path / "losses.csv"
    path.write_text("step,loss,seconds,validation\n20,1.5,0.1,\n40,1.4,0.2,0.7\n60,1.3,0.3,\n80,1.")
    metrics = CsvMetrics(path)
    metrics.begin(80)
    metrics.write(100, {"loss": 1.0, "seconds": 0.5})
    metrics.close()
    assert path.read_text().split() == [
        "step,loss,seconds,validation",
        "20,1.5,0.1,",
        "40,1.4,0.2,0.7",
        "60,1.3,0.3,",
        "100,1.0,0.5,",
    ]


def test_curves_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    train(_distance, jnp.ones(2), **LOSSES, loop=Loop(metrics=[TensorBoardMetrics(tmp_path)]))
    (events,) = tmp_path.glob("events*")
    assert events.stat().st_size > 500 and b"loss" in events.read_bytes()


def test_tensorboard_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'releo-jax\[tensorboard\]'"):
        TensorBoardMetrics(tmp_path)
