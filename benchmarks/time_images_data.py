"""Videos with frames hidden: a ball that moves along Gaussian processes, and digits that turn."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jax.scipy.stats import norm

from releo_jax.gp import Markov, Matern52
from releo_jax.observations import Series

NOISE = 0.1  # of a pixel, whose range is 0 to 1
WINDOW = 100  # frames
HIDDEN = 30  # of each window
SIDE = 16  # pixels of an image
_RADIUS = 2.5  # of the ball, pixels


class Videos(NamedTuple):
    """Frames at irregular days, one a day on average.

    Attributes:
        days: rising, `(video, frame)`.
        frames: as measured, with noise, `(video, frame, pixel)`.
        clean: without it.
        hidden: frames that methods are scored on, 30 of each 100 that follow each other, `(video, frame)`.
    """

    days: np.ndarray
    frames: np.ndarray
    clean: np.ndarray
    hidden: np.ndarray

    def of(self, values: np.ndarray, *, hidden: bool) -> np.ndarray:
        """Values `(video, frame, ...)` of the hidden frames, or of the seen ones: every video has the same number."""
        return values[self.hidden == hidden].reshape(len(values), -1, *values.shape[2:])

    def series(self) -> Series:
        """What methods may look at: the seen frames, their pixels as bands."""
        return Series(self.of(self.frames, hidden=False), None, self.of(self.days, hidden=False))

    def windows(self, frames: int = WINDOW) -> Videos:
        """The same frames as shorter videos, each of which begins on day 0.

        Raises:
            ValueError: parts that are no whole number of windows, or do not fill the videos.
        """
        if frames % WINDOW or self.days.shape[1] % frames:
            raise ValueError(f"windows: expected parts of {self.days.shape[1]} frames and of {WINDOW}, got {frames}")
        cut = Videos(*(values.reshape(-1, frames, *values.shape[2:]) for values in self))
        return cut._replace(days=cut.days - cut.days[:, :1])


def _days_and_hidden(videos: int, frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if frames % WINDOW:
        raise ValueError(f"expected videos of a multiple of {WINDOW} frames, got {frames}")
    rng = np.random.default_rng(seed)
    days = np.cumsum(rng.uniform(0.5, 1.5, (videos, frames)), 1)
    order = rng.random((videos, frames // WINDOW, WINDOW)).argsort(-1).argsort(-1)
    return (days - days[:, :1]).astype(np.float32), (order < HIDDEN).reshape(videos, frames)


def _measured(clean: Array, days: np.ndarray, hidden: np.ndarray, key: Array) -> Videos:
    noisy = clean + NOISE * jax.random.normal(key, clean.shape)
    return Videos(days, np.asarray(noisy), np.asarray(clean), hidden)


def ball(videos: int, frames: int, *, seed: int = 0) -> Videos:
    """A soft ball of 2.5 pixels' radius on 16 x 16 pixels.

    Equation:
        centre = 7.5 + 5 (2 Phi(f) - 1) for each axis, f Matern 5/2 of variance one and 6 days; brightness =
        sigmoid(2 (radius - distance)).
    """
    days, hidden = _days_and_hidden(videos, frames, seed)
    key, noise = jax.random.split(jax.random.key(seed))
    path = Markov(Matern52(1.0, 6.0)).sample(key, jnp.asarray(days)[:, None].repeat(2, 1))
    centre = jnp.moveaxis(0.5 * (SIDE - 1) + 5.0 * (2.0 * norm.cdf(path) - 1.0), 1, -1)
    place = jnp.stack(jnp.meshgrid(jnp.arange(SIDE), jnp.arange(SIDE), indexing="ij"), -1).reshape(-1, 2)
    distance = jnp.sqrt(((centre[..., None, :] - place) ** 2).sum(-1))
    return _measured(jax.nn.sigmoid(2.0 * (_RADIUS - distance)), days, hidden, noise)


def digits(videos: int, frames: int, *, seed: int = 0) -> Videos:
    """A handwritten three for each video, of scikit-learn's digits, enlarged from 8 x 8 to 16 x 16 pixels, turned
    about its centre.

    Equation:
        angle = 2 pi (t / period + phase) + f: a period of 15 to 25 days, f Matern 5/2 of deviation 0.3 and 10 days.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(images[labels == 3])[:videos].reshape(-1, 8, 8) / 16.0
    if len(chosen) < videos:
        raise ValueError(f"digits: expected at most {len(chosen)} videos, one a three, got {videos}")
    days, hidden = _days_and_hidden(videos, frames, seed)
    key, noise = jax.random.split(jax.random.key(seed))
    turns = days / rng.uniform(15.0, 25.0, (videos, 1)) + rng.random((videos, 1))
    angle = jnp.asarray(2.0 * np.pi * (turns % 1.0)) + Markov(Matern52(0.09, 10.0)).sample(key, days)
    clean = jax.vmap(jax.vmap(turned, (None, 0)))(jnp.asarray(chosen, jnp.float32), angle)
    return _measured(clean.reshape(*days.shape, -1), days, hidden, noise)


def turned(image: Array, angle: Array) -> Array:
    """A square image `(row, column)` turned about its centre by an angle in radians, and enlarged to 16 x 16 pixels,
    linear between pixels, 0 outside."""
    side = image.shape[0]
    offsets = (jnp.arange(SIDE) - 0.5 * (SIDE - 1)) * (side / SIDE)
    rows, columns = jnp.meshgrid(offsets, offsets, indexing="ij")
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    there = [0.5 * (side - 1) + cosine * rows - sine * columns, 0.5 * (side - 1) + sine * rows + cosine * columns]
    return jnp.asarray(map_coordinates(image, there, order=1))
