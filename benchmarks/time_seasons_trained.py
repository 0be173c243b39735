"""Pheno-VAEs trained on simulated seasons, and their ranks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from releo_jax.acquisitions import Acquisitions
from releo_jax.inference.amortized import AmortizedPosterior
from releo_jax.inference.calibration import CalibrationReport
from releo_jax.inference.structure import simulate
from releo_jax.observations import Observations, take
from releo_jax.priors import Prior
from releo_jax.systems.pheno_vae import acquisition, pheno_vae
from releo_jax.systems.phenology import season_prior

DATES = ("greenup", "maturity", "senescence", "dormancy", "start_of_season", "end_of_season")
_BATCH = 256
_RATE = 3e-3  # of learning, at its peak; 1e-3 learns less in as many steps
_CHUNK = 250  # pixels whose draws and dates are worked on at once


class Setting(NamedTuple):
    """What a Pheno-VAE is trained for.

    Attributes:
        prior: of the season.
        sampler: of dates and clouds.
        noise: of the index around the curve, known.
    """

    prior: Prior
    sampler: Acquisitions
    noise: float


SIMULATED = Setting(season_prior(60.0, 180.0), acquisition(dates=36), 0.03)
"""A satellite that comes back every ten days; half of the dates are clear on average."""

REAL = Setting(season_prior(0.0, 270.0), acquisition(first=-45.0, last=410.0, dates=46), 0.04)
"""Of real series: the rise lies anywhere in nine months of the axis. Chosen before any fit."""


class Trained(NamedTuple):
    """A trained system.

    Attributes:
        system: that was trained.
        minutes: of the processor that training took.
    """

    system: AmortizedPosterior
    minutes: float


def trained(
    setting: Setting, family: str, *, name: str, weights: Path | None, seed: int, steps: int, width: int = 256
) -> Trained:
    """Trains a Pheno-VAE on simulations, or reads the weights of an earlier training.

    Args:
        setting: what it is for.
        family: of its posterior.
        name: of its weights.
        weights: folder where they are kept, `NAME-FAMILY.safetensors`, and what they took; None keeps none.
        seed: of the weights and of the training.
        steps: of the training.
        width: of the encoder.
    """
    untrained = pheno_vae(
        setting.prior, example=setting.sampler, noise=setting.noise, family=family, width=width, seed=seed
    )
    place = None if weights is None else weights / f"{name}-{family}.safetensors"
    if place is not None and place.exists():
        example = setting.sampler(jax.random.key(seed), 16)
        encoder = untrained.guide().encoder
        system = AmortizedPosterior.load(place, untrained.model, encoder, example)
        return Trained(system, json.loads(place.with_suffix(".json").read_text())["minutes"])
    start = time.process_time()
    system = untrained.fit(setting.sampler, key=jax.random.key(seed), steps=steps, batch=_BATCH, learning_rate=_RATE)
    minutes = (time.process_time() - start) / 60.0
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        system.save(place)
        place.with_suffix(".json").write_text(json.dumps({"minutes": minutes}) + "\n")
    return Trained(system, minutes)


class Simulated(NamedTuple):
    """Series whose seasons are known.

    Attributes:
        truth: sites and dates `(pixel,)`, by name.
        data: what is seen of them.
    """

    truth: dict[str, np.ndarray]
    data: Observations


def simulated(system: AmortizedPosterior, sampler: Acquisitions, key: jax.Array, n: int) -> Simulated:
    """Seasons of the prior, seen on the sampler's dates."""
    key_dates, key_model = jax.random.split(key)
    truth, data = simulate(system.structure, system.model, sampler(key_dates, n), key_model)
    return Simulated({name: np.asarray(value) for name, value in truth.items() if name != "curve"}, data)


def ranks(system: AmortizedPosterior, series: Simulated, key: jax.Array, *, draws: int) -> CalibrationReport:
    """Ranks of simulated truths among posterior draws: of the sites, and of the dates that follow from several.

    A posterior of independent sites can have uniform ranks in every site and not in their sums, the dates.

    Args:
        system: what is tested.
        series: with the truths.
        key: random key.
        draws: of each pixel.
    """
    names = [*(site.name for site in system.structure.local), *DATES]
    n = series.truth[names[0]].size
    parts = []
    for start, one in zip(range(0, n, _CHUNK), jax.random.split(key, -(-n // _CHUNK)), strict=True):
        chosen = np.arange(start, min(start + _CHUNK, n))
        drawn = system(take(series.data, chosen)).sample(one, draws, sites=names)
        parts.append(
            {name: np.asarray((np.asarray(drawn[name]) < series.truth[name][chosen]).sum(0)) for name in names}
        )
    together = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return CalibrationReport(draws=draws, ranks=together)
