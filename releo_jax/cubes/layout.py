"""Where things are in a simulated scene: fields, tracks, trees, water, clouds and their shadows."""

from __future__ import annotations

import dataclasses

import numpy as np

FINE = 3
"""Sub-pixels along the side of a pixel: what mixed pixels are mixed of."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A crop at a growth stage, or another cover: the range of its fields' means.

    Attributes:
        name: land cover class.
        share: share of the fields.
        leaf_area_index: lowest and highest mean of a field.
        chlorophyll: likewise, ug cm-2.
        mean_leaf_angle: likewise, degrees.
        brown_pigment: likewise.
    """

    name: str
    share: float
    leaf_area_index: tuple[float, float]
    chlorophyll: tuple[float, float]
    mean_leaf_angle: tuple[float, float]
    brown_pigment: tuple[float, float] = (0.0, 0.1)


# Ranges in the order of the literature on temperate crops; they need only span what a retrieval will meet.
STAGES = (
    Stage("cereal_tillering", 0.12, (0.2, 1.5), (30.0, 60.0), (45.0, 70.0)),
    Stage("cereal_stem_elongation", 0.13, (1.0, 4.0), (30.0, 65.0), (45.0, 75.0)),
    Stage("cereal_heading", 0.12, (3.0, 7.0), (35.0, 70.0), (45.0, 75.0)),
    Stage("cereal_ripening", 0.09, (1.0, 4.0), (8.0, 32.0), (40.0, 70.0), (0.2, 1.8)),
    Stage("cereal_ripe", 0.08, (0.5, 3.5), (1.5, 10.0), (35.0, 70.0), (1.2, 3.4)),
    Stage("maize_young", 0.10, (0.2, 1.5), (30.0, 60.0), (30.0, 60.0)),
    Stage("maize_closed", 0.08, (2.5, 5.5), (35.0, 70.0), (35.0, 65.0)),
    Stage("beet", 0.08, (1.5, 5.0), (30.0, 60.0), (25.0, 50.0)),
    Stage("grassland", 0.10, (0.8, 4.5), (15.0, 55.0), (45.0, 75.0), (0.0, 1.0)),
    Stage("bare_soil", 0.10, (0.0, 0.3), (30.0, 50.0), (35.0, 65.0)),
)
TREES = Stage("trees", 0.0, (3.0, 7.0), (30.0, 65.0), (35.0, 65.0))
TRACK = Stage("track", 0.0, (0.0, 0.3), (30.0, 40.0), (50.0, 60.0))
WATER = Stage("water", 0.0, (0.0, 0.0), (30.0, 40.0), (50.0, 60.0))
COVERS = (*STAGES, TREES, TRACK, WATER)
"""Land cover classes; their index is the number in `land_cover`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """What lies where. Objects (fields, woods, tracks, water bodies) are numbered from 0.

    Attributes:
        cover: (object,) index into `COVERS`.
        first: (row, column) object with the largest share of the pixel.
        second: (row, column) object with the second largest share; `first` again in a pure pixel.
        fraction: (row, column) share of the first of the two.
    """

    cover: np.ndarray
    first: np.ndarray
    second: np.ndarray
    fraction: np.ndarray


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], length: float) -> np.ndarray:
    """A Gaussian random field of zero mean and unit variance, periodic, with a Gaussian spectrum.

    Args:
        rng: source of randomness.
        shape: (row, column).
        length: correlation length in pixels.
    """
    rows, columns = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    spectrum = np.exp(-((np.pi * length) ** 2) * (rows**2 + columns**2))
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * spectrum, s=shape)
    noise -= noise.mean()
    deviation = noise.std()
    return noise / deviation if deviation > 0 else noise


def farmland(rng: np.random.Generator, shape: tuple[int, int], pixel: float) -> Layout:
    """Rectangular fields in strips, turned by a random angle, with tracks, woods, a pond or two and a river.

    Args:
        rng: source of randomness.
        shape: (row, column) in pixels.
        pixel: size of a pixel in metres.
    """
    fine = (shape[0] * FINE, shape[1] * FINE)
    step = pixel / FINE
    y, x = (np.arange(fine[0]) * step)[:, None], (np.arange(fine[1]) * step)[None, :]
    angle = rng.uniform(0.1, 0.6)
    across, along = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    objects, edge = _parcels(rng, across, along)
    count = int(objects.max()) + 1
    shares = np.array([stage.share for stage in STAGES])
    # Every class is there before chance has its say.
    cover = np.concatenate([rng.permutation(len(STAGES)), rng.choice(len(STAGES), count, p=shares / shares.sum())])
    cover = cover[:count]
    rng.shuffle(cover)
    extra = [COVERS.index(TRACK), COVERS.index(TREES), COVERS.index(WATER), COVERS.index(WATER)]
    track, trees, pond, river = range(count, count + len(extra))
    objects[edge] = track
    extent = max(y[-1, 0], x[0, -1])
    woods = smooth_field(rng, shape, max(6.0, 0.06 * max(shape))).repeat(FINE, 0).repeat(FINE, 1)
    objects[woods > 1.4] = trees
    middle = np.array([rng.uniform(0.2, 0.8) * y[-1, 0], rng.uniform(0.2, 0.8) * x[0, -1]])
    radius = 0.05 * extent
    objects[((y - middle[0]) / 0.6) ** 2 + (x - middle[1]) ** 2 < radius**2] = pond
    bend = rng.uniform(0.1, 0.9) * along.max() + 0.06 * extent * np.sin(across / extent * rng.uniform(4, 9))
    objects[np.abs(along - bend) < rng.uniform(12, 25)] = river
    return Layout(np.concatenate([cover, extra]), *_two_largest(objects, shape))


def _parcels(rng: np.random.Generator, across: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the fields, and where a track of five metres runs between two strips."""
    cuts = across.min() - 1 + np.cumsum(rng.uniform(120, 320, size=int(np.ptp(across) / 120) + 2))
    strip = np.searchsorted(cuts, across)
    objects = np.zeros(across.shape, dtype=np.int32)
    start = 0
    for number in np.unique(strip):
        inside = strip == number
        ends = along.min() - 1 + np.cumsum(rng.uniform(120, 500, size=int(np.ptp(along) / 120) + 2))
        found, numbers = np.unique(np.searchsorted(ends, along[inside]), return_inverse=True)
        objects[inside] = start + numbers
        start += len(found)
    low, high = cuts[np.maximum(strip - 1, 0)], cuts[np.minimum(strip, len(cuts) - 1)]
    return objects, np.minimum(np.abs(across - low), np.abs(high - across)) < 2.5


def _two_largest(objects: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two objects with the largest shares of every pixel, and the share of the first in the two."""
    parts = objects.reshape(shape[0], FINE, shape[1], FINE).transpose(0, 2, 1, 3).reshape(*shape, FINE * FINE)
    counts = (parts[..., :, None] == parts[..., None, :]).sum(axis=-1)
    best = counts.argmax(axis=-1)[..., None]
    first = np.take_along_axis(parts, best, -1)
    most = np.take_along_axis(counts, best, -1)[..., 0]
    rest = np.where(parts == first, 0, counts)
    best = rest.argmax(axis=-1)[..., None]
    more = np.take_along_axis(rest, best, -1)[..., 0]
    second = np.where(more > 0, np.take_along_axis(parts, best, -1)[..., 0], first[..., 0])
    return first[..., 0], second, most / (most + more)


def clouds(
    rng: np.random.Generator, shape: tuple[int, int], cover: float, shift: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Opacity of clouds and depth of their shadows, both 0 to 1.

    Args:
        rng: source of randomness.
        shape: (row, column) in pixels.
        cover: share of the image under cloud.
        shift: rows and columns from a cloud to its shadow.
    """
    if cover <= 0:
        return np.zeros(shape), np.zeros(shape)
    thickness = smooth_field(rng, shape, max(8.0, 0.08 * max(shape))) + 0.15 * smooth_field(rng, shape, 3.0)
    opacity = np.clip((thickness - np.quantile(thickness, 1 - min(cover, 1.0))) / 0.35, 0, 1)
    shadow = np.zeros(shape)
    down, right = round(shift[0]), round(shift[1])
    if abs(down) < shape[0] and abs(right) < shape[1]:
        to = slice(max(down, 0), shape[0] + min(down, 0)), slice(max(right, 0), shape[1] + min(right, 0))
        since = slice(max(-down, 0), shape[0] + min(-down, 0)), slice(max(-right, 0), shape[1] + min(-right, 0))
        shadow[to] = opacity[since]
    return opacity, shadow * (1 - opacity)
