"""Hidden frames of videos: how many, that nothing of them is used, scores by hand, and a training in small."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.time_images import LINES, METHODS, Settings, by_lines, compare, main, scores, table
from benchmarks.time_images_data import NOISE, SIDE, Videos, ball, digits, turned
from releo_jax.systems.gp_vae import gp_vae


@pytest.fixture(scope="module")
def balls():
    return ball(3, 200)


def test_thirty_of_each_hundred_frames_are_hidden(balls):
    assert balls.frames.shape == (3, 200, SIDE**2)
    assert (balls.hidden.reshape(3, 2, 100).sum(-1) == 30).all()
    assert balls.series().values.shape == (3, 140, SIDE**2)
    gaps = np.diff(balls.days)
    assert 0.49 < gaps.min() < 0.6 and 1.4 < gaps.max() < 1.51
    assert (balls.frames - balls.clean).std() == pytest.approx(NOISE, rel=0.02)
    with pytest.raises(ValueError, match="multiple of 100"):
        ball(1, 150)


def test_hidden_frames_are_not_seen(balls):
    changed = balls._replace(frames=np.where(balls.hidden[..., None], 9.0, balls.frames))
    np.testing.assert_array_equal(changed.series().values, balls.series().values)


def test_windows_are_the_same_frames_from_day_0(balls):
    windows = balls.windows(100)
    np.testing.assert_array_equal(windows.frames[3], balls.frames[1, 100:])
    np.testing.assert_allclose(windows.days[3], balls.days[1, 100:] - balls.days[1, 100])
    with pytest.raises(ValueError, match="parts of 200 frames"):
        balls.windows(300)


def test_a_ball_is_round_and_moves(balls):
    image = balls.clean[0].reshape(-1, SIDE, SIDE)
    np.testing.assert_allclose(image.sum((1, 2)), np.pi * 2.5**2, rtol=0.15)  # of radius 2.5, never cut
    centre = (image * np.arange(SIDE)[:, None]).sum((1, 2)) / image.sum((1, 2))
    assert np.ptp(centre) > 5.0 and np.abs(np.diff(centre)).max() < 4.0


def test_a_quarter_turn_is_that_of_the_array():
    image = np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)
    np.testing.assert_allclose(turned(jnp.asarray(image), jnp.pi / 2), np.rot90(image, -1), atol=1e-4)
    np.testing.assert_allclose(turned(jnp.asarray(image), 0.0), image, atol=1e-5)


def test_digits_turn_several_times():
    pytest.importorskip("sklearn")
    videos = digits(2, 100)
    assert videos.clean.min() >= 0.0 and 0.8 < videos.clean.max() <= 1.0
    # Frames half a turn apart differ, and those of the longest period or more come back to what was seen.
    far = ((videos.clean[:, :50, None] - videos.clean[:, None, 50:]) ** 2).mean(-1)
    assert (far.min(2).mean(1) < 0.2 * far.max(2).mean(1)).all()
    with pytest.raises(ValueError, match="at most 183"):
        digits(184, 100)


def test_scores_by_hand(balls):
    def tell(vae, videos):
        truth = videos.of(videos.clean, hidden=True)
        return truth + 0.2, np.full(truth.shape, 1.5)

    assert scores(None, balls, tell) == {"nll": -1.5, "mse": pytest.approx(0.04, rel=1e-5)}
    one = {"nll": -0.5, "mse": 0.01}
    told = table({"100": {"a": one | {"epoch": 1.0}, "b": one}, "1000": {"a": one}})
    assert told.splitlines()[2:] == [
        "| a | -0.500 | 0.01000 | 1 | -0.500 | 0.01000 | – |",
        "| b | -0.500 | 0.01000 | – | – | – | – |",
    ]


class _Straight:
    """An autoencoder of one latent, that of the first pixel, which decodes to it."""

    def __call__(self, data):
        return self

    @property
    def latents(self):
        return self

    def network(self):
        return self

    def at(self):
        return self


def test_lines_between_latents_are_exact_where_they_move_so():
    days = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, (2, 100)), 1)
    hidden = np.zeros((2, 100), bool)
    hidden[:, 10:70:2] = True
    line = (3.0 + 0.5 * days)[..., None]
    noisy = line + np.random.default_rng(1).normal(0.0, 0.1, line.shape)
    videos = Videos(days, noisy, line, hidden)
    vae = _Straight()
    vae.mean = jnp.asarray(np.moveaxis(videos.of(line, hidden=False), -1, 1))
    vae.decode = lambda latents: (latents, None)
    mean, density = by_lines(vae, videos)
    np.testing.assert_allclose(mean, videos.of(line, hidden=True), rtol=1e-5)
    # Their deviation is that of the noise: -log N over the hidden frames is log(0.1) + 1.419 on average.
    assert -density.mean() == pytest.approx(np.log(0.1) + 1.419, abs=0.15)


@pytest.mark.thorough
def test_the_process_tells_hidden_frames_better_than_frames_on_their_own(optimised):
    videos = ball(40, 100)
    settings = Settings(steps=300, batch=4)
    found = {}
    for name in ("state space", "frames on their own"):
        found |= compare(videos, {"100": videos}, name, settings=settings, times=False)["100"]
    assert set(found) == {"state space", "frames on their own", LINES}
    assert found["state space"]["mse"] < 0.3 * found["frames on their own"]["mse"]
    assert "epoch" not in found["state space"]


@pytest.mark.parametrize(("name", "squares"), [("exact", True), ("state space", False), ("nearest frames", False)])
def test_methods_of_the_third_power_hold_matrices_of_all_frames(balls, name, squares):
    vae = gp_vae(
        {"s2": balls.series()}, latents=2, scales=(4.0, 40.0), process=METHODS[name].process(200.0), width=8, seed=0
    )

    def bound(parameters):
        return vae.elbo({"s2": balls.series()}, key=jax.random.key(0), parameters=parameters).mean()

    program = jax.jit(jax.grad(bound)).lower(vae.parameters).as_text()
    assert "x140x" in program and ("x140x140x" in program) == squares  # of 200 frames, 140 are seen
    assert METHODS[name].cubic == squares


@pytest.mark.thorough
def test_the_command_writes_what_it_finds(tmp_path, optimised):
    output = tmp_path / "images.json"
    main(["--short", "--videos", "ball", "--methods", "6", "--output", str(output)])
    report = json.loads(output.read_text())
    assert set(report["ball"]["100"]) == {"frames on their own", LINES}
    assert report["ball"]["100"]["frames on their own"]["epoch"] > 0.0
    assert report["machine"]["versions"]["jax"] == jax.__version__ and report["settings"]["steps"] == 3
