"""Trains the weights that come with the package, from simulations alone.

    python -m releo_jax.systems.train [--method prosail-vae] [--sensors sentinel2a ...] [--output DIR] [--steps N]
    python -m releo_jax.systems.train --method optical-radar
    python -m releo_jax.systems.train --method temporal
    python -m releo_jax.systems.train --checkpoints DIR          # given again, it goes on where it was stopped
    python -m releo_jax.systems.train --parts 8                  # of each step, shared out over devices

Every step simulates its pixels anew, so that no pair is seen twice. The same seed, versions and kind of machine give
the same weights. The first sensor is trained in full; the others start from it and take a fifth of the steps, for the
responses of the satellites differ by little. The temporal retrieval serves all three; its seasons are simulated before
the training, their clouds anew in every step. With `--checkpoints` the losses are written to tables (.csv) beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import releo_jax
from physics import Sensor, sensor
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

STEPS = 12_000
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


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=("prosail-vae", "optical-radar", "temporal"), default="prosail-vae")
    parser.add_argument("--sensors", nargs="+", choices=SENSORS, default=list(SENSORS))
    parser.add_argument("--output", type=Path, default=Path(releo_jax.__file__).parent / "data")
    parser.add_argument("--steps", type=int, help=f"default: {STEPS}, temporal {TEMPORAL_STEPS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1, help="of each step, shared out over devices")
    parser.add_argument("--checkpoints", type=Path, help="folder to go on from when the training was stopped")
    given = parser.parse_args(arguments)
    given.output.mkdir(parents=True, exist_ok=True)
    runs = Runs(given.parts, given.checkpoints)
    if given.method == "temporal":
        _train_temporal(given.output, given.steps or TEMPORAL_STEPS, given.seed, runs)
        return
    first: AmortizedPosterior | None = None
    for name in given.sensors:
        start = time.perf_counter()
        bands, posterior = _untrained(given.method, name)
        steps = given.steps or STEPS
        if first is not None:
            posterior = dataclasses.replace(posterior, parameters=first.parameters, constants=first.constants)
            steps = max(steps // 5, 1)
        how: Any = {"steps": steps, "seed": given.seed, "runs": runs.of(name), "progress": sys.stderr.isatty()}
        retrieval: AmortizedRetrieval | optical_radar_retrieval.OpticalRadarRetrieval
        if given.method == "optical-radar":
            retrieval = optical_radar_retrieval.train_retrieval(bands, posterior, **how)
        else:
            retrieval = train_retrieval(bands, posterior, **how)
        first = first or retrieval.posterior
        path = given.output / f"{given.method.replace('-', '_')}_{name}.safetensors"
        retrieval.save(path)
        loss = np.nanmean(retrieval.posterior.history[-1][-200:])
        print(
            f"{path}: {path.stat().st_size / 1e3:.0f} kB, {steps} steps, loss {loss:.3f}, "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )


def _train_temporal(output: Path, steps: int, seed: int, runs: Runs) -> None:
    start = time.perf_counter()
    bands = sensor(SENSORS[0], bands=SENTINEL2_BANDS)
    path = output / "prosail_vae_temporal.safetensors"
    loop = runs.loop("temporal")
    train_temporal(bands, steps=steps, seed=seed, loop=loop, progress=sys.stderr.isatty()).save(path)
    took = time.perf_counter() - start
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB, {steps} steps, {took:.0f} s", flush=True)


def _untrained(method: str, name: str) -> tuple[Sensor, AmortizedPosterior]:
    if method == "prosail-vae":
        return land_surface_posterior(name)
    bands = sensor(name, bands=SENTINEL2_BANDS)
    return bands, optical_radar_posterior(bands)


if __name__ == "__main__":
    main()
