"""Optical and radar together, and each alone, on simulated pixels whose state is known.

    python -m benchmarks joint [--pixels N] [--scenes N] [--seed N] [--output FILE.json]

Two kinds of truth. "model": pixels drawn from the model that the weights of `releo invert --radar` were trained on, at
dates of their own, a third of the optical ones under clouds. "scenes": fields of `releo simulate --radar`, whose
fields, soils and errors are drawn in another way. The same weights see both sensors, or one, the other masked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from physics import SunView
from releo_jax.benchmarking.machine import machine
from releo_jax.benchmarking.markdown import table
from releo_jax.cubes.blocks import Window, load_block
from releo_jax.cubes.radar import open_radar, with_radar
from releo_jax.cubes.radar_scene import simulate_radar
from releo_jax.cubes.scene import simulate_scene
from releo_jax.inference.structure import simulate
from releo_jax.metrics import bias, coverage, crps, mean_width, rmse
from releo_jax.observations import Observations, Record, Series
from releo_jax.systems.optical_radar import OPTICAL, RADAR, acquisition
from releo_jax.systems.optical_radar_retrieval import OpticalRadarRetrieval, as_observations, load_optical_radar

LEVEL = 0.9
SENSORS = {"both": (OPTICAL, RADAR), "optical": (OPTICAL,), "radar": (RADAR,)}
VARIABLES = {"leaf_area_index": "LAI, m² m⁻²", "soil_moisture": "soil moisture, m³ m⁻³"}
DRAWS = 400
_BATCH = 2048


class Pixels(NamedTuple):
    """Observations of pixels and their truth `(pixel,)` by name."""

    data: Observations
    truth: Mapping[str, np.ndarray]


def masked(data: Observations, kept: Sequence[str]) -> dict[str, Record]:
    """Observations in which the other sensors saw nothing."""
    return {
        name: record
        if name in kept
        else eqx.tree_at(lambda r: (r.values, r.mask), record, (0.0 * record.values, record.mask & False))
        for name, record in data.items()
    }


def from_model(retrieval: OpticalRadarRetrieval, pixels: int, seed: int) -> Pixels:
    """Pixels drawn from the model; both sensors saw each of them on one date or more."""
    posterior = retrieval.posterior
    sampler = acquisition(retrieval.sensor, missing=0.0)
    run = jax.jit(
        lambda key: simulate(
            posterior.structure, posterior.model, sampler(key, _BATCH), jax.random.fold_in(key, 1), separately=True
        )
    )
    parts = [run(key) for key in jax.random.split(jax.random.key(seed), -(-pixels // _BATCH))]
    sites, data = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:pixels], *parts)
    truth = {"leaf_area_index": sites["leaf_area_index"], "soil_moisture": sites["soil_moisture"][:, 0]}
    return Pixels(data, truth)


def from_scenes(retrieval: OpticalRadarRetrieval, scenes: int, pixels: int, seed: int, folder: Path) -> Pixels:
    """Vegetated and bare pixels of simulated scenes, those under clouds among them."""
    rng = np.random.default_rng(seed)
    parts: list[dict[str, Series]] = []
    truth: dict[str, list[np.ndarray]] = {name: [] for name in VARIABLES}
    for number in range(seed, seed + scenes):
        scene = simulate_scene(seed=number, shape=(120, 120), cloud_cover=0.3)
        radar = simulate_radar(scene, seed=number)
        radar.to_netcdf(folder / f"radar_{number}.nc")
        cube = with_radar(scene, open_radar(folder / f"radar_{number}.nc"))
        block = load_block(cube, Window(0, 0, 0, 120, 120), retrieval.bands, radar=retrieval.radar_window)
        nearest = int(np.argmin(np.abs(radar["time"].values - scene["time"].values[0])))
        wet = radar["soil_moisture"].values[nearest].reshape(-1)
        pure = (scene["purity"].values[0].reshape(-1) > 0.99) & np.isfinite(wet)
        rows = rng.choice(np.flatnonzero(pure), pixels // scenes, replace=False)
        chosen = block[rows]
        view = SunView.from_degrees(chosen.sun_zenith, chosen.view_zenith, chosen.relative_azimuth)
        parts.append(as_observations(chosen.reflectance, chosen.mask, view, chosen.radar))
        truth["leaf_area_index"].append(scene["leaf_area_index"].values.reshape(-1)[rows])
        truth["soil_moisture"].append(wet[rows])
    data = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return Pixels(data, {name: np.concatenate(values) for name, values in truth.items()})


def scores(retrieval: OpticalRadarRetrieval, pixels: Pixels, seed: int) -> list[dict[str, Any]]:
    """One row for each variable and set of sensors, with what the other sensor gains in paired errors."""
    rows: list[dict[str, Any]] = []
    means: dict[tuple[str, str], np.ndarray] = {}
    for sensors, kept in SENSORS.items():
        data = masked(jax.tree.map(jnp.asarray, pixels.data), kept)
        posterior = retrieval.posterior(data)
        draws = posterior.sample(jax.random.key(seed), DRAWS, sites=tuple(VARIABLES))
        for name in VARIABLES:
            found = np.asarray(draws[name])
            found = (found if found.ndim == 2 else found[..., 0]).T
            lower, upper = np.quantile(found, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2), axis=1)
            truth, mean = pixels.truth[name], found.mean(1)
            means[name, sensors] = mean
            rows.append(
                {
                    "variable": name,
                    "sensors": sensors,
                    "pixels": int(truth.size),
                    "rmse": rmse(truth, mean),
                    "bias": bias(truth, mean),
                    "crps": crps(truth, found),
                    "coverage": coverage(truth, lower, upper),
                    "width": mean_width(lower, upper),
                    "lost": lost(truth, means[name, "both"], mean, seed),
                }
            )
    return rows


def lost(truth: np.ndarray, both: np.ndarray, alone: np.ndarray, seed: int) -> list[float]:
    """RMSE of one sensor less that of both, as a share of the latter, with its 90 % interval over pixels drawn anew."""
    rng = np.random.default_rng(seed)
    squares = np.stack([(both - truth) ** 2, (alone - truth) ** 2])
    drawn = squares[:, rng.integers(0, truth.size, (400, truth.size))].mean(-1)
    ratio = np.sqrt(drawn[1] / drawn[0]) - 1.0
    estimate = float(np.sqrt(squares[1].mean() / squares[0].mean()) - 1.0)
    return [estimate, *map(float, np.quantile(ratio, (0.05, 0.95)))]


def tables(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    parts = []
    for kind, rows in report["scores"].items():
        for name, title in VARIABLES.items():
            lines = [
                [
                    row["sensors"],
                    *(f"{row[key]:.4f}" for key in ("rmse", "bias", "crps")),
                    f"{100 * row['coverage']:.1f} %",
                    f"{row['width']:.3f}",
                    "–" if row["sensors"] == "both" else "{:+.1%} ({:+.1%} to {:+.1%})".format(*row["lost"]),
                ]
                for row in rows
                if row["variable"] == name
            ]
            heading = [
                "sensors",
                "RMSE",
                "bias",
                "CRPS",
                f"in {100 * LEVEL:.0f} % intervals",
                "mean width",
                "RMSE beside both",
            ]
            count = next(row["pixels"] for row in rows)
            parts.append(f"### {title}, {kind} ({count} pixels)\n\n{table(heading, lines)}")
    return "\n\n".join(parts) + "\n"


def compare(retrieval: OpticalRadarRetrieval, *, pixels: int, scenes: int, seed: int, folder: Path) -> dict[str, Any]:
    """The whole comparison as plain data."""
    found = {"model": scores(retrieval, from_model(retrieval, pixels, seed + 100), seed)}
    if scenes:
        found["scenes"] = scores(retrieval, from_scenes(retrieval, scenes, pixels, seed + 1, folder), seed)
    return {"seed": seed, "level": LEVEL, "draws": DRAWS, "machine": machine(("numpyro", "flax")), "scores": found}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=6000)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file; tables (.md) go beside it")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        report = compare(
            load_optical_radar("sentinel2a"),
            pixels=given.pixels,
            scenes=given.scenes,
            seed=given.seed,
            folder=Path(folder),
        )
    print(tables(report))
    if given.output:
        given.output.write_text(json.dumps(report, indent=1) + "\n")
        given.output.with_suffix(".md").write_text(tables(report))


if __name__ == "__main__":
    main()
