"""Tells hidden frames of videos by GP-prior autoencoders: a moving ball and turning digits, for 100 to 10 000 frames.

    python -m benchmarks time_images [--videos ball digits] [--frames 100 1000 10000] [--output FILE.json]

The digits are those of scikit-learn, which this needs. All methods train alike, on videos of 100 frames; hidden frames
are told by what was trained from whole videos, new ones of the same balls and digits where they are longer.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.time_images_data import NOISE, Videos, ball, digits
from releo_jax.benchmarking.machine import machine
from releo_jax.gp import Exact, Matern32, Nearest, Sparse
from releo_jax.systems.gp_vae import GPVAE, ProcessOf, gp_vae, independent, smooth

MAKE: dict[str, Callable[..., Videos]] = {"ball": ball, "digits": digits}
NUMBER = {100: 100, 1000: 10, 10_000: 1}
"""Videos, by their frames: 10 000 frames in all."""

_EVERY = 2.0  # days from one inducing day to the next
_NEIGHBOURS = 4
_CUBIC = 1000  # frames of the longest whole video of which a law of the third power is asked
_TOGETHER = 10_000  # frames told at once


class Settings(NamedTuple):
    """Of the autoencoders."""

    steps: int = 500
    batch: int = 4
    latents: int = 4
    width: int = 64
    scales: tuple[float, float] = (4.0, 40.0)
    learning_rate: float = 1e-2
    draws: int = 50


class Method(NamedTuple):
    """A posterior to compare.

    Attributes:
        process: the prior over days that begin at 0, from the last of them.
        guide: see `gp_vae`.
        cubic: its cost is the third power of the number of frames.
        hidden: share of the frames that training hides.
    """

    process: Callable[[float], ProcessOf]
    guide: str = "sites"
    cubic: bool = False
    hidden: float = 0.3


def _kernel(scales: Array) -> Matern32:
    return Matern32(jnp.ones_like(scales), scales)


def _sparse(last: float) -> ProcessOf:
    inducing = jnp.arange(0.0, last + _EVERY, _EVERY)
    return lambda scales: Sparse(_kernel(scales), inducing)


METHODS: dict[str, Method] = {
    "exact": Method(lambda last: lambda scales: Exact(_kernel(scales)), cubic=True),
    "state space": Method(lambda last: smooth),
    "inducing days": Method(_sparse, cubic=True),  # as many as the video is long
    "nearest frames": Method(lambda last: lambda scales: Nearest(_kernel(scales), _NEIGHBOURS)),
    "banded guide": Method(lambda last: smooth, "banded", cubic=True),
    "mean-field guide": Method(lambda last: smooth, "mean_field", cubic=True),
    # Nothing ties a frame that is hidden to the others: there is nothing to learn from it.
    "frames on their own": Method(lambda last: independent, hidden=0.0),
}
LINES = "frames on their own, lines between"
"""Of the last method's latents."""


def trained(method: Method, videos: Videos, settings: Settings, seed: int) -> GPVAE:
    """The autoencoder of a method, trained on the seen frames of videos."""
    data = {"s2": videos.series()}
    vae = gp_vae(
        data,
        latents=settings.latents,
        scales=settings.scales,
        process=method.process(float(videos.days.max())),
        guide=method.guide,
        width=settings.width,
        seed=seed,
    )
    key, (steps, batch) = jax.random.key(seed), (settings.steps, settings.batch)
    rate = settings.learning_rate
    return vae.fit(data, key=key, steps=steps, batch=batch, learning_rate=rate, hidden=method.hidden)


Told = Callable[[GPVAE, Videos], tuple[np.ndarray, np.ndarray]]
"""From videos to means and log densities of their hidden frames `(video, frame, pixel)`."""


def by_process(draws: int, seed: int) -> Told:
    """Hidden frames by the posterior of the latents."""

    def tell(vae: GPVAE, videos: Videos) -> tuple[np.ndarray, np.ndarray]:
        days, truth = (videos.of(values, hidden=True) for values in (videos.days, videos.frames))
        found = vae({"s2": videos.series()}).predict(days, key=jax.random.key(seed), draws=draws)
        return np.asarray(found.mean), np.asarray(found.log_density(jnp.asarray(truth)))

    return tell


def by_lines(vae: GPVAE, videos: Videos) -> tuple[np.ndarray, np.ndarray]:
    """Hidden frames by lines between the latents of the seen ones. The deviation of a pixel is that of seen frames
    told by the seen ones before and after them."""
    seen, wanted = (videos.of(videos.days, hidden=hidden) for hidden in (False, True))
    latents = np.moveaxis(np.asarray(vae({"s2": videos.series()}).latents.at().mean), 1, -1)
    between = [
        np.stack([np.interp(day, known, course) for course in video.T], -1)
        for day, known, video in zip(wanted, seen, latents, strict=True)
    ]
    share = ((seen[:, 1:-1] - seen[:, :-2]) / (seen[:, 2:] - seen[:, :-2]))[..., None]
    without = (1.0 - share) * latents[:, :-2] + share * latents[:, 2:]
    network = vae.network()
    mean, guess = (np.asarray(network.decode(jnp.asarray(z, jnp.float32))[0]) for z in (np.stack(between), without))
    deviation = np.sqrt(((videos.of(videos.frames, hidden=False)[:, 1:-1] - guess) ** 2).mean((0, 1)))
    truth = videos.of(videos.frames, hidden=True)
    return mean, -0.5 * (((truth - mean) / deviation) ** 2 + np.log(2.0 * np.pi * deviation**2))


def scores(vae: GPVAE, videos: Videos, tell: Told) -> dict[str, float]:
    """Of the hidden frames, some videos after the others.

    Returns:
        `nll`, mean negative log density of a pixel as measured, and `mse`, mean square difference from the pixel
        without noise.
    """
    size = max(1, _TOGETHER // videos.days.shape[1])
    densities, squares = [], []
    for start in range(0, len(videos.days), size):
        part = Videos(*(values[start : start + size] for values in videos))
        mean, density = tell(vae, part)
        densities.append(density)
        squares.append((mean - part.of(part.clean, hidden=True)) ** 2)
    return {"nll": -float(np.concatenate(densities).mean(dtype=float)), "mse": float(np.concatenate(squares).mean())}


def epoch(vae: GPVAE, videos: Videos, *, rounds: int = 3) -> float:
    """Seconds of the processor for the slopes of the bound at every seen frame once, whole videos at a time and some
    800 frames at least, without compilation: the median of some steps, times their number."""
    size = min(len(videos.days), max(1, 800 // videos.days.shape[1]))
    record = Videos(*(values[:size] for values in videos)).series()

    @jax.jit
    def slopes(parameters: Any, key: Array, record: Any) -> Any:
        return jax.grad(lambda p: vae.elbo({"s2": record}, key=key, parameters=p).mean())(parameters)

    seconds = []
    for key in jax.random.split(jax.random.key(0), rounds + 1):
        start = time.process_time()
        jax.block_until_ready(slopes(vae.parameters, key, record))
        seconds.append(time.process_time() - start)
    return float(np.median(seconds[1:])) * len(videos.days) / size


def compare(
    train: Videos,
    test: Mapping[str, Videos],
    name: str,
    *,
    settings: Settings | None = None,
    seed: int = 0,
    times: bool = True,
) -> dict[str, dict[str, dict[str, float]]]:
    """Trains a method on some videos and scores it on others.

    Videos of more than 1000 frames are too long for laws of the third power. Their scores are those of parts of 1000
    frames there, and `epoch` is left out.

    Args:
        train: videos to train on.
        test: videos to tell the hidden frames of, by their name.
        name: of the method.
        settings: of the autoencoder.
        seed: of weights, training and draws.
        times: whether to measure epochs.

    Returns:
        `scores`, and seconds of an `epoch`, by the name of the videos, by method.
    """
    settings, method = settings or Settings(), METHODS[name]
    vae = trained(method, train, settings, seed)
    found: dict[str, dict[str, dict[str, float]]] = {key: {} for key in test}
    for key, videos in test.items():
        long = method.cubic and videos.days.shape[1] > _CUBIC
        part = videos.windows(_CUBIC) if long else videos
        vae = dataclasses.replace(vae, process=method.process(float(part.days.max())))
        own = found[key][name] = scores(vae, part, by_process(settings.draws, seed + 1))
        if times and not long:
            own["epoch"] = epoch(vae, videos)
        if name == list(METHODS)[-1]:
            found[key][LINES] = scores(vae, part, by_lines)
        print(f"{key}: {found[key]}", file=sys.stderr, flush=True)
    return found


def table(records: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Methods in rows, scores and seconds of each number of frames in columns, as markdown."""
    times = any("epoch" in one for methods in records.values() for one in methods.values())
    head = " | ".join(f"{frames} frames: NLL | MSE{' | s an epoch' * times}" for frames in records)
    lines = [f"| method | {head} |", "|---|" + "---:|" * ((2 + times) * len(records))]
    for name in dict.fromkeys(name for methods in records.values() for name in methods):
        cells = []
        for methods in records.values():
            one = methods.get(name, {})
            cells.append(f"{one['nll']:.3f} | {one['mse']:.5f}" if one else "– | –")
            if times:
                cells.append(f"{one['epoch']:.2g}" if "epoch" in one else "–")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", nargs="+", choices=tuple(MAKE), default=tuple(MAKE))
    parser.add_argument("--frames", type=int, nargs="+", choices=tuple(NUMBER), default=tuple(NUMBER))
    parser.add_argument("--methods", type=int, nargs="+", help="numbers of those to run; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="a few steps on two videos of 100 frames")
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    names = list(METHODS) if given.methods is None else [list(METHODS)[number] for number in given.methods]
    settings = Settings(steps=3) if given.short else Settings()
    kept = json.loads(given.output.read_text()) if given.output and given.output.exists() else {}
    about = {"machine": machine(("flax", "optax", "scikit-learn")), "seed": given.seed, "noise": NOISE}
    report = kept | about | {"settings": settings._asdict()}
    lengths = [100] if given.short else given.frames
    for kind in given.videos:
        make = MAKE[kind]
        train = make(2 if given.short else NUMBER[100], 100, seed=given.seed)
        test = {str(n): train if n == 100 else make(NUMBER[n], n, seed=given.seed) for n in lengths}
        records = report.setdefault(kind, {})
        for name in names:
            # Methods are kept as they finish: all of them take long.
            # The images of both kinds have the same size, so that epochs of one tell those of the other.
            found = compare(train, test, name, settings=settings, seed=given.seed, times=kind == "ball")
            for frames, one in found.items():
                records[frames] = records.get(frames, {}) | one
            if given.output:
                rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
                given.output.write_text(json.dumps(rounded, indent=1, ensure_ascii=False) + "\n")
        print(f"\n{kind}\n\n{table(records)}\n", flush=True)


if __name__ == "__main__":
    main()
