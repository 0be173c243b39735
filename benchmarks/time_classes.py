"""Crops from frozen latents of autoencoders of series, beside the series themselves, by one small classifier.

    python -m benchmarks time_classes [--sets formosat ucr] [--data DIR] [--output FILE.json]

The series are looked for in the folder that the environment variable RELEO_DATA_DIR names. Autoencoders learn without
labels. The classifier is scikit-learn's logistic regression on standardised inputs, the same everywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.time_images import METHODS
from releo_jax.benchmarking.machine import machine
from releo_jax.observations import Series
from releo_jax.systems.gp_vae import gp_vae

RAW = "the series itself"
PUBLISHED = {
    "formosat": {"random forest, published": 0.715},
    "ucr": {"random forest, published": 0.7515, "nearest series, published": 0.713},
}
_BINS = 10


class Settings(NamedTuple):
    """Of autoencoders and classifier, chosen before any score was seen."""

    steps: int = 300
    batch: int = 8
    latents: int = 3
    width: int = 64
    scales: tuple[float, float] = (4.0, 40.0)
    learning_rate: float = 1e-2
    penalty: float = 1.0  # C of the logistic regression
    iterations: int = 500


class Labelled(NamedTuple):
    """Series and their classes.

    Attributes:
        values: `(series, date, band)`.
        days: `(date,)`.
        labels: `(series,)`.
        folds: rows to train the classifier on, rows to test it on.
        unlabelled: rows that autoencoders learn from.
    """

    values: np.ndarray
    days: np.ndarray
    labels: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]
    unlabelled: np.ndarray


def formosat(data: Path, *, seed: int = 0) -> Labelled:
    """Polygons of 13 classes, split as given; every third of 149 days, between which the series are interpolated."""
    with np.load(data / "crop_formosat2" / "formosat2_sits.npz") as held:
        parts = [(held[f"x_{part}"][:, ::3], held[f"y_{part}"]) for part in ("train", "test")]
    values, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    number = len(parts[0][1])
    train, test = np.arange(number), np.arange(number, len(labels))
    return Labelled(values, np.arange(0.0, 149.0, 3.0), labels, [(train, test)], train)


def ucr(data: Path, *, seed: int = 0, unlabelled: int = 1500) -> Labelled:
    """7200 series of one band on 46 dates, taken for days; 24 classes, five folds. Autoencoders learn once, from rows
    of the first fold's training part: of them the other folds' test rows are not free."""
    from sklearn.model_selection import StratifiedKFold

    with np.load(data / "ucr_crop" / "crop_train.npz") as held:
        values, labels = held["x"][..., None], held["y"]
    folds = list(StratifiedKFold(5, shuffle=True, random_state=seed).split(values, labels))
    chosen = np.random.default_rng(seed).permutation(folds[0][0])[:unlabelled]
    return Labelled(values, np.arange(values.shape[1], dtype=float), labels, folds, chosen)


SETS: dict[str, Callable[..., Labelled]] = {"formosat": formosat, "ucr": ucr}


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error.

    Args:
        probabilities: of the classes that were told, `(row,)`.
        right: whether they were, `(row,)`.

    Equation:
        sum over ten equal bins of probability: share of the rows in it times |share right - mean probability|.

    References:
        Naeini, Cooper & Hauskrecht 2015, Obtaining well calibrated probabilities using Bayesian binning, AAAI.
    """
    place = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(place, right.astype(float) - probabilities, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(right))


def scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Of probabilities `(row, class)` and classes `(row,)`, numbers from 0: `accuracy`, `calibration_error` and
    `log_loss`, mean negative logarithm of the right class's probability."""
    right = probabilities.argmax(1) == labels
    own = np.clip(probabilities[np.arange(len(labels)), labels], 1e-15, None)
    return {
        "accuracy": float(right.mean()),
        "calibration_error": calibration_error(probabilities.max(1), right),
        "log_loss": -float(np.log(own).mean()),
    }


def classified(inputs: np.ndarray, given: Labelled, settings: Settings) -> dict[str, float]:
    """Scores of the classifier over the test rows of all folds, and its seconds of the processor.

    Args:
        inputs: `(series, number)`.
        given: classes and folds.
        settings: of the classifier.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = np.unique(given.labels, return_inverse=True)[1]
    told = np.zeros((len(labels), labels.max() + 1))
    start = time.process_time()
    for train, test in given.folds:
        regression = LogisticRegression(C=settings.penalty, max_iter=settings.iterations)
        classifier = make_pipeline(StandardScaler(), regression)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is part of the settings
            classifier.fit(inputs[train], labels[train])
        told[test[:, None], regression.classes_] = classifier.predict_proba(inputs[test])
    rows = np.concatenate([test for _, test in given.folds])
    return scores(told[rows], labels[rows]) | {"classifier": time.process_time() - start}


def compare(name: str, given: Labelled, *, settings: Settings | None = None, seed: int = 0) -> dict[str, float]:
    """Scores of a method's latents (posterior means at all dates), or of the series, as inputs; seconds of the
    processor of `training` and `encoding`, compilation included, and of the `classifier`."""
    settings = settings or Settings()
    if name == RAW:
        return classified(given.values.reshape(len(given.values), -1), given, settings)
    start = time.process_time()
    method, last = METHODS[name], float(given.days.max())
    every = Series(given.values, None, np.broadcast_to(given.days, given.values.shape[:2]))
    data = {"s2": jax.tree.map(lambda leaf: leaf[given.unlabelled], every)}
    vae = gp_vae(
        data,
        latents=settings.latents,
        scales=settings.scales,
        process=method.process(last),
        guide=method.guide,
        width=settings.width,
        seed=seed,
    )
    key, (steps, batch) = jax.random.key(seed), (settings.steps, settings.batch)
    rate = settings.learning_rate
    vae = vae.fit(data, key=key, steps=steps, batch=batch, learning_rate=rate, hidden=method.hidden)
    middle = time.process_time()
    latents = np.asarray(vae({"s2": every}).latents.at().mean)
    end = time.process_time()
    found = classified(latents.reshape(len(latents), -1), given, settings)
    return found | {"training": middle - start, "encoding": end - middle}


def table(records: Mapping[str, Mapping[str, float]], published: Mapping[str, float]) -> str:
    """Inputs in rows, scores and seconds in columns, as markdown."""
    columns = ("accuracy", "calibration_error", "log_loss", "training", "encoding", "classifier")
    formats = (".1%", ".3f", ".3f", ".0f", ".1f", ".1f")
    heads = ("accuracy", "calibration error", "log loss", "s of training", "of encoding", "of the classifier")
    lines = [f"| input | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    every: dict[str, Mapping[str, float]] = {**records, **{name: {"accuracy": x} for name, x in published.items()}}
    for name, one in every.items():
        cells = (
            format(one[column], style) if column in one else "–" for column, style in zip(columns, formats, strict=True)
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=tuple(SETS))
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    parser.add_argument("--inputs", type=int, nargs="+", help="numbers of those to run; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="a few steps and iterations")
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    if given.data is None or not Path(given.data).is_dir():
        raise SystemExit("expected the folder of the measurements; set RELEO_DATA_DIR or give --data")
    inputs = [RAW, *METHODS]
    names = inputs if given.inputs is None else [inputs[number] for number in given.inputs]
    settings = Settings(steps=3, iterations=20) if given.short else Settings()
    kept = json.loads(given.output.read_text()) if given.output and given.output.exists() else {}
    about = {"machine": machine(("flax", "optax", "scikit-learn")), "seed": given.seed}
    report: dict[str, Any] = kept | about | {"settings": settings._asdict()}
    for kind in given.sets:
        labelled = SETS[kind](Path(given.data), seed=given.seed)
        records = report.setdefault(kind, {})
        for name in names:
            # Inputs are kept as they finish: all of them take long.
            records[name] = compare(name, labelled, settings=settings, seed=given.seed)
            print(f"{kind}, {name}: {records[name]}", file=sys.stderr, flush=True)
            if given.output:
                rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
                given.output.write_text(json.dumps(rounded, indent=1, ensure_ascii=False) + "\n")
        print(f"\n{kind}\n\n{table(records, PUBLISHED[kind])}\n", flush=True)


if __name__ == "__main__":
    main()
