"""What knowing the plants adds to the soil moisture of one radar date: draws of the model, weighed by what was seen.

No network and no normal law: the posterior mean of each simulated pixel is that of all draws of the prior, weighed by
the density of its measurements. Beside the radar a pixel may have its leaf area and leaf water, or its roughness,
measured with an error; what this gains is what another sensor with that error would give. Part of
`python -m benchmarks joint`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physics import sensor
from physics.microwave import RadarView, decibel_std
from releo_jax.benchmarking.markdown import table
from releo_jax.inference.structure import read_structure, simulate
from releo_jax.observations import Series
from releo_jax.systems.optical_radar import POLARISATIONS, RADAR, RadarScene, RadarState, backscatter, optical_radar

QUANTITIES = (*POLARISATIONS, "leaf area", "leaf water", "roughness")
"""What may be measured of a pixel; the last three as logarithms."""

ERRORS = {"leaf area": 0.35, "leaf water": 0.30, "roughness": 0.10}
"""Deviations of these logarithms."""

SEEN = {"VV and VH": ("VV", "VH"), "VV": ("VV",)}
KNOWN = {"leaf area and leaf water": ("leaf area", "leaf water"), "roughness": ("roughness",)}
SPREADS = (0.7, 0.3, 0.1)
"""Deviations of the logarithm of what a closed canopy scatters."""

LEAF_AREAS = {"all": (0.0, math.inf), "below 1": (0.0, 1.0), "1 to 3": (1.0, 3.0), "above 3": (3.0, math.inf)}
"""Strata of the true leaf area, m² m⁻²."""

_INCIDENCE = 38.0  # degrees, the middle of Sentinel-1's swaths


def by_leaf_area(area: np.ndarray) -> dict[str, np.ndarray]:
    """Which pixels `(pixel,)` lie in each of the strata."""
    return {name: (area >= low) & (area < high) for name, (low, high) in LEAF_AREAS.items()}


class Draws(NamedTuple):
    """Draws of the prior.

    Attributes:
        signals: `QUANTITIES` without errors, in terms of their deviations `(draw, quantity)`.
        soil_moisture: `(draw,)`, m³ m⁻³.
        leaf_area_index: `(draw,)`, m² m⁻².
    """

    signals: Array
    soil_moisture: Array
    leaf_area_index: Array


def draw(number: int, scene: RadarScene, key: Array) -> Draws:
    """Draws of `optical_radar` seen by radar on one date."""
    model = optical_radar(sensor("sentinel2a"), scene=scene)

    def dates(n: int) -> dict[str, Series]:
        view = RadarView.from_degrees(jnp.full((n, 1), _INCIDENCE))
        return {RADAR: Series(jnp.zeros((n, 1, 2)), None, jnp.zeros((n, 1)), view)}

    structure = read_structure(model, dates(2))

    @jax.jit
    def run(key: Array) -> Draws:
        sites, _ = simulate(structure, model, dates(number), key)
        moisture, area = sites["soil_moisture"][:, 0], sites["leaf_area_index"]
        plants = (sites[name] for name in ("vegetation_water", "scattering_vv", "scattering_vh"))
        state = RadarState(sites["rms_height"], moisture, *plants)
        decibels = backscatter(state, RadarView.from_degrees(jnp.full(number, _INCIDENCE)), scene=scene)
        logarithms = jnp.log(jnp.stack([area, sites["water"], sites["rms_height"]], -1))
        radar_error = jnp.sqrt(decibel_std(scene.looks) ** 2 + scene.error**2)
        errors = jnp.stack([radar_error, radar_error, *map(jnp.asarray, ERRORS.values())])
        return Draws(jnp.concatenate([decibels, logarithms], -1) / errors, moisture, area)

    return run(key)


@jax.jit
def weighed(observed: Array, signals: Array, values: Array) -> tuple[Array, Array]:
    """Posterior means of values, and the number of draws that bear them.

    Args:
        observed: measurements with errors of 1 `(pixel, quantity)`.
        signals: without errors `(draw, quantity)`.
        values: `(draw,)`.

    Returns:
        Means `(pixel,)` and effective numbers of draws `(pixel,)`.
    """
    middle = signals.mean(0)
    centred = (signals - middle).T
    half = 0.5 * (centred**2).sum(0)

    def one(row: Array) -> tuple[Array, Array]:
        logarithm = row @ centred - half  # and a constant
        weight = jnp.exp(logarithm - logarithm.max())
        total = weight.sum()
        return weight @ values / total, total**2 / (weight @ weight)

    return jax.lax.map(one, observed - middle)


class Errors(NamedTuple):
    """Squared errors of the soil moisture.

    Attributes:
        squares: `(pixel,)`.
        draws: that bear an estimate, the harmonic mean over pixels.
    """

    squares: np.ndarray
    draws: float


def squared_errors(pixels: Draws, banks: Sequence[Draws], names: Sequence[str]) -> Errors:
    """Errors of the pixels' posterior means from some of their measurements.

    Args:
        pixels: with measured signals.
        banks: two sets of other draws. The product of the errors that each of them leaves is free of their own noise.
        names: of the quantities that were measured.
    """
    use = np.array([QUANTITIES.index(name) for name in names])
    found = [weighed(pixels.signals[:, use], bank.signals[:, use], bank.soil_moisture) for bank in banks]
    means, numbers = (np.asarray(part, np.float64) for part in zip(*found, strict=True))
    errors = means - np.asarray(pixels.soil_moisture)
    return Errors(errors[0] * errors[1], float(1.0 / np.mean(1.0 / numbers)))


def gain(alone: np.ndarray, known: np.ndarray) -> list[float]:
    """RMSE alone as a share of that with what is known, less 1, and its standard error over pixels.

    Args:
        alone: squared errors `(pixel,)`.
        known: those of the same pixels.
    """
    ratio = np.sqrt(alone.mean() / known.mean())
    relative = alone / alone.mean() - known / known.mean()  # delta method
    return [float(ratio - 1.0), float(0.5 * ratio * relative.std(ddof=1) / np.sqrt(alone.size))]


def information(*, pixels: int, draws: int, seed: int) -> list[dict[str, Any]]:
    """Gains for each spread of the coefficients and polarisations seen, as plain data; `draws` in each of two banks."""
    rows = []
    first, second = jax.random.split(jax.random.key(seed))  # the same for every spread
    for spread in SPREADS:
        scene = RadarScene(scattering_spread=spread)
        drawn, ends = draw(pixels + 2 * draws, scene, first), (0, pixels, pixels + draws, pixels + 2 * draws)
        found, *banks = (jax.tree.map(lambda leaf, a=a, b=b: leaf[a:b], drawn) for a, b in itertools.pairwise(ends))
        found = found._replace(signals=found.signals + jax.random.normal(second, found.signals.shape))
        strata = by_leaf_area(np.asarray(found.leaf_area_index))
        for seen, polarisations in SEEN.items():
            alone = squared_errors(found, banks, polarisations)
            row: dict[str, Any] = {
                "spread": spread,
                "seen": seen,
                "pixels": pixels,
                "rmse": float(np.sqrt(alone.squares.mean())),
                "draws": alone.draws,
            }
            for known, names in KNOWN.items():
                also = squared_errors(found, banks, (*polarisations, *names))
                gains = {name: gain(alone.squares[inside], also.squares[inside]) for name, inside in strata.items()}
                row[known] = {"draws": also.draws, "gains": gains}
            rows.append(row)
    return rows


def information_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Gains as Markdown."""
    plants, rough = KNOWN
    head = ["scattering known to", "seen", "RMSE", *(f"plants, LAI {name}" for name in LEAF_AREAS), "roughness"]
    lines = [
        [
            f"{row['spread']:.0%}",
            row["seen"],
            f"{row['rmse']:.4f}",
            *("{:+.1%} ± {:.1%}".format(*row[plants]["gains"][name]) for name in LEAF_AREAS),
            "{:+.1%} ± {:.1%}".format(*row[rough]["gains"]["all"]),
        ]
        for row in rows
    ]
    return table(head, lines)
