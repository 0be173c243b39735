"""Trains the weights that come with the package, from simulations alone: `releo train`.

Every step simulates its pixels anew, so that no pair is seen twice. The same seed, versions and kind of machine give
the same weights. The first sensor is trained in full; the others start from it and take a fifth of the steps, for the
responses of the satellites differ by little. The temporal retrieval serves all three; its seasons are simulated before
the training, their clouds anew in every step.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from physics import Sensor, sensor
from releo_jax.errors import ReleoError
from releo_jax.inference.amortized import AmortizedPosterior
from releo_jax.inference.distillation import distil
from releo_jax.systems import optical_radar_retrieval
from releo_jax.systems.domain import learn_domain
from releo_jax.systems.land_surface import RECORD, derived_variables
from releo_jax.systems.optical_radar import optical_radar_posterior
from releo_jax.systems.prosail_vae import (
    SENSORS,
    SENTINEL2_BANDS,
    acquisition,
    derived_bounds,
    land_surface_posterior,
)
from releo_jax.systems.retrieval import STATE, AmortizedRetrieval
from releo_jax.systems.season_training import train_temporal
from releo_jax.training.runs import Runs
from releo_jax.variables import VARIABLES

METHODS = ("prosail-vae", "optical-radar", "temporal")
STEPS = {"prosail-vae": 12_000, "optical-radar": 6_000}
TEMPORAL_STEPS = 6_000
BATCH = 1024


def train_retrieval(
    bands: Sensor,
    posterior: AmortizedPosterior,
    *,
    steps: int,
    seed: int = 0,
    pixels: int = 100_000,
    runs: Runs | None = None,
    progress: bool = False,
) -> AmortizedRetrieval:
    """Trains posterior, heads and domain for one sensor.

    Args:
        bands: sensor.
        posterior: to start from.
        steps: of the posterior; the heads take a quarter of them.
        seed: of everything random.
        pixels: simulated to learn the domain.
        runs: parts of each step and checkpoints.
        progress: show bars.
    """
    runs = Runs() if runs is None else runs
    fit_key, distil_key, domain_key = jax.random.split(jax.random.key(seed), 3)
    acquisitions = acquisition(bands)
    how: Any = {"batch": BATCH, "learning_rate": 2e-3, "progress": progress}
    posterior = posterior.fit(acquisitions, key=fit_key, steps=steps, average=0.998, loop=runs.loop("posterior"), **how)
    derived = distil(
        posterior,
        lambda sites, data: derived_variables(sites, data[RECORD].geometry),
        derived_bounds(),
        acquisitions,
        key=distil_key,
        steps=max(steps // 4, 1),
        loop=runs.loop("heads"),
        **how,
    )
    domain = learn_domain(posterior, RECORD, VARIABLES[STATE].name, acquisitions, key=domain_key, n=pixels)
    return AmortizedRetrieval("prosail-vae", bands, posterior, derived, domain)


def train_weights(
    output: Path,
    *,
    method: str = METHODS[0],
    sensors: Sequence[str] = SENSORS,
    steps: int | None = None,
    seed: int = 0,
    runs: Runs | None = None,
    progress: bool = False,
) -> Iterator[str]:
    """Trains the weights of a method and writes them, a file for each sensor.

    Args:
        output: folder of the files, made where there is none.
        method: one of `METHODS`.
        sensors: `sentinel2a`, ...; not for `temporal`, whose weights serve all.
        steps: of the first sensor; None for those of the shipped weights.
        seed: of everything random.
        runs: parts of each step and checkpoints.
        progress: show bars.

    Yields:
        What was done for each file, in a line.

    Raises:
        ReleoError: unknown method or sensor, or less than one step.
    """
    if method not in METHODS:
        raise ReleoError(f"unknown method {method!r}; expected {', '.join(METHODS)}")
    unknown = [name for name in sensors if name not in SENSORS]
    if unknown or not sensors:
        raise ReleoError(f"unknown sensor {', '.join(unknown) or '(none)'}; expected some of {', '.join(SENSORS)}")
    if steps is not None and steps < 1:
        raise ReleoError(f"expected at least one step, got {steps}")
    output.mkdir(parents=True, exist_ok=True)
    runs = Runs() if runs is None else runs
    if method == "temporal":
        yield _train_temporal(output, steps or TEMPORAL_STEPS, seed, runs, progress)
        return
    first: AmortizedPosterior | None = None
    for name in sensors:
        start = time.perf_counter()
        bands, posterior = _untrained(method, name, blank=first is not None)
        number = steps or STEPS[method]
        if first is not None:
            posterior = dataclasses.replace(posterior, parameters=first.parameters, constants=first.constants)
            number = max(number // 5, 1)
        how: Any = {"steps": number, "seed": seed, "runs": runs.of(name), "progress": progress}
        retrieval: AmortizedRetrieval | optical_radar_retrieval.OpticalRadarRetrieval
        if method == "optical-radar":
            retrieval = optical_radar_retrieval.train_retrieval(bands, posterior, **how)
        else:
            retrieval = train_retrieval(bands, posterior, **how)
        first = first or retrieval.posterior
        path = output / f"{method.replace('-', '_')}_{name}.safetensors"
        if jax.process_index() == 0:  # all have the same
            retrieval.save(path)
        loss = np.nanmean(retrieval.posterior.history[-1][-200:])
        yield f"{path}: {number} steps, {time.perf_counter() - start:.0f} s, loss {loss:.3f}"


def _train_temporal(output: Path, steps: int, seed: int, runs: Runs, progress: bool) -> str:
    start = time.perf_counter()
    bands = sensor(SENSORS[0], bands=SENTINEL2_BANDS)
    path = output / "prosail_vae_temporal.safetensors"
    retrieval = train_temporal(bands, steps=steps, seed=seed, loop=runs.loop("temporal"), progress=progress)
    if jax.process_index() == 0:
        retrieval.save(path)
    return f"{path}: {steps} steps, {time.perf_counter() - start:.0f} s"


def _untrained(method: str, name: str, *, blank: bool) -> tuple[Sensor, AmortizedPosterior]:
    """Sensor and posterior; nothing need be simulated for one that is `blank`, as it starts from another."""
    if method == "prosail-vae":
        return land_surface_posterior(name, blank=blank)
    bands = sensor(name, bands=SENTINEL2_BANDS)
    return bands, optical_radar_posterior(bands, blank=blank)
