"""Optical and radar together, and each alone, on simulated pixels whose state is known.

    python -m benchmarks joint [--pixels N] [--scenes N] [--seed N] [--output FILE.json]

Two kinds of truth. "model": pixels drawn from the model that the weights of `releo invert --radar` were trained on, at
dates of their own, a third of the optical ones under clouds. "scenes": one pixel of each field of many scenes of
`releo simulate --radar`, whose fields, soils, weather and errors are drawn in another way; pixels of one field share
most of what makes their errors, and the fields of one scene their weather. The same weights see both sensors, or one,
the other masked; the soil moisture of "model" also by leaf area, with VH and without. A last table does not rest on the
weights: what leaf area adds to a radar date when draws of the model are weighed (`benchmarks.joint_information`).
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

from benchmarks.joint_information import by_leaf_area, information, information_table
from physics import SunView
from releo_jax.benchmarking.machine import machine
from releo_jax.benchmarking.markdown import table
from releo_jax.cubes.blocks import Window, load_block
from releo_jax.cubes.radar import with_radar
from releo_jax.cubes.radar_files import open_radar
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
BANK = 100_000
"""Draws of each of the two sets that are weighed."""

_BATCH = 2048


class Pixels(NamedTuple):
    """Observations of pixels.

    Attributes:
        data: observations.
        truth: `(pixel,)` by name.
        group: number of the scene, or of the pixel where each is on its own `(pixel,)`.
    """

    data: Observations
    truth: Mapping[str, np.ndarray]
    group: np.ndarray


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
    return Pixels(data, truth, np.arange(pixels))


def from_scenes(retrieval: OpticalRadarRetrieval, scenes: int, seed: int, folder: Path) -> Pixels:
    """One pixel of each field of simulated scenes, without water; those under clouds among them."""
    rng = np.random.default_rng(seed)
    parts: list[dict[str, Series]] = []
    truth: dict[str, list[np.ndarray]] = {name: [] for name in VARIABLES}
    group = []
    for number in range(seed, seed + scenes):
        scene = simulate_scene(seed=number, shape=(120, 120), cloud_cover=0.3, moist=True)
        radar = simulate_radar(scene, seed=number)
        radar.to_netcdf(folder / f"radar_{number}.nc")
        cube = with_radar(scene, open_radar(folder / f"radar_{number}.nc"))
        block = load_block(cube, Window(0, 0, 0, 120, 120), retrieval.bands, radar=retrieval.radar_window)
        cube.close()
        (folder / f"radar_{number}.nc").unlink()
        nearest = int(np.argmin(np.abs(radar["time"].values - scene["time"].values[0])))
        wet = radar["soil_moisture"].values[nearest].reshape(-1)
        pure = (scene["purity"].values[0].reshape(-1) > 0.99) & np.isfinite(wet)
        shuffled = rng.permutation(np.flatnonzero(pure))
        rows = shuffled[np.unique(scene["parcel"].values.reshape(-1)[shuffled], return_index=True)[1]]
        group.append(np.full(rows.size, number))
        chosen = block[rows]
        view = SunView.from_degrees(chosen.sun_zenith, chosen.view_zenith, chosen.relative_azimuth)
        parts.append(as_observations(chosen.reflectance, chosen.mask, view, chosen.radar))
        truth["leaf_area_index"].append(scene["leaf_area_index"].values.reshape(-1)[rows])
        truth["soil_moisture"].append(wet[rows])
    data = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return Pixels(data, {name: np.concatenate(values) for name, values in truth.items()}, np.concatenate(group))


def without_vh(data: Observations) -> dict[str, Record]:
    """Observations whose radar dates hold VV only."""
    vv = data[RADAR].mask & (np.arange(2) == 0)
    return {**data, RADAR: eqx.tree_at(lambda r: (r.values, r.mask), data[RADAR], (data[RADAR].values * vv, vv))}


def scores(retrieval: OpticalRadarRetrieval, pixels: Pixels, seed: int) -> list[dict[str, Any]]:
    """One row for each variable and set of sensors, with what the other sensor gains in paired errors."""
    drawn = {sensors: draws(retrieval, pixels, kept, seed) for sensors, kept in SENSORS.items()}
    return [
        score(name, sensors, pixels, found[name], drawn["both"][name], seed)
        for sensors, found in drawn.items()
        for name in VARIABLES
    ]


def strata(retrieval: OpticalRadarRetrieval, pixels: Pixels, seed: int) -> list[dict[str, Any]]:
    """Rows of the soil moisture by both sensors and by radar alone, with VH and without, by leaf area."""
    name, rows = "soil_moisture", []
    for seen, data in (("as drawn", pixels.data), ("VV", without_vh(pixels.data))):
        one = pixels._replace(data=data)
        drawn = {sensors: draws(retrieval, one, SENSORS[sensors], seed)[name] for sensors in ("both", "radar")}
        for stratum, inside in by_leaf_area(pixels.truth["leaf_area_index"]).items():
            some = one._replace(truth={name: one.truth[name][inside]}, group=one.group[inside])
            for sensors, found in drawn.items():
                row = score(name, sensors, some, found[inside], drawn["both"][inside], seed)
                rows.append({"seen": seen, "stratum": stratum, **row})
    return rows


def draws(retrieval: OpticalRadarRetrieval, pixels: Pixels, kept: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Draws `(pixel, draw)` of the variables by some of the sensors; of soil moisture, at the nearest date."""
    posterior = retrieval.posterior(masked(jax.tree.map(jnp.asarray, pixels.data), kept))
    found = posterior.sample(jax.random.key(seed), DRAWS, sites=tuple(VARIABLES))
    return {name: np.asarray(one if one.ndim == 2 else one[..., 0]).T for name, one in found.items()}


def score(name: str, sensors: str, pixels: Pixels, found: np.ndarray, both: np.ndarray, seed: int) -> dict[str, Any]:
    """One row, from draws `(pixel, draw)` and those of both sensors."""
    truth = pixels.truth[name]
    lower, upper = np.quantile(found, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2), axis=1)
    mean = found.mean(1)
    again = redrawn(pixels.group, seed)
    inside = (truth >= lower) & (truth <= upper)
    return {
        "variable": name,
        "sensors": sensors,
        "pixels": int(truth.size),
        "rmse": rmse(truth, mean),
        "bias": bias(truth, mean),
        "crps": crps(truth, found),
        "coverage": coverage(truth, lower, upper),
        "coverage_error": float(np.std(again @ inside / again.sum(1))),
        "width": mean_width(lower, upper),
        "lost": lost(truth, both.mean(1), mean, again),
    }


def redrawn(group: np.ndarray, seed: int) -> np.ndarray:
    """How often each pixel is among those of groups drawn anew, with replacement `(draw, pixel)`."""
    _, place = np.unique(group, return_inverse=True)
    number = int(place.max()) + 1
    times = np.random.default_rng(seed).multinomial(number, np.full(number, 1.0 / number), 400)
    return np.asarray(times[:, place], np.float32)


def lost(truth: np.ndarray, both: np.ndarray, alone: np.ndarray, again: np.ndarray) -> list[float]:
    """RMSE of one sensor less that of both, as a share of the latter, with its 90 % interval over groups drawn anew."""
    squares = np.stack([(both - truth) ** 2, (alone - truth) ** 2])
    ratio = np.sqrt((again @ squares[1]) / (again @ squares[0])) - 1.0
    estimate = float(np.sqrt(squares[1].mean() / squares[0].mean()) - 1.0)
    return [estimate, *map(float, np.quantile(ratio, (0.05, 0.95)))]


def tables(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    heading = ["RMSE", "bias", "CRPS", f"in {100 * LEVEL:.0f} % intervals", "mean width", "RMSE beside both"]
    parts = []
    for kind, rows in report["scores"].items():
        for name, title in VARIABLES.items():
            lines = [[row["sensors"], *_cells(row)] for row in rows if row["variable"] == name]
            parts.append(f"### {title}, {kind} ({rows[0]['pixels']} pixels)\n\n{table(['sensors', *heading], lines)}")
    lines = [
        [f"{row['seen']}, LAI {row['stratum']}: {row['sensors']}", str(row["pixels"]), *_cells(row)]
        for row in report["strata"]
    ]
    parts.append(
        f"### {VARIABLES['soil_moisture']}, strata of model\n\n{table(['sensors', 'pixels', *heading], lines)}"
    )
    rows = report["information"]
    parts.append(
        f"### Soil moisture of one radar date, by weighing ({rows[0]['pixels']} pixels)\n\n{information_table(rows)}"
    )
    return "\n\n".join(parts) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        *(f"{row[key]:.4f}" for key in ("rmse", "bias", "crps")),
        f"{100 * row['coverage']:.1f} ± {100 * row['coverage_error']:.1f} %",
        f"{row['width']:.3f}",
        "–" if row["sensors"] == "both" else "{:+.1%} ({:+.1%} to {:+.1%})".format(*row["lost"]),
    ]


def compare(retrieval: OpticalRadarRetrieval, *, pixels: int, scenes: int, seed: int, folder: Path) -> dict[str, Any]:
    """The whole comparison as plain data."""
    drawn = from_model(retrieval, pixels, seed + 100)
    found = {"model": scores(retrieval, drawn, seed)}
    if scenes:
        found["scenes"] = scores(retrieval, from_scenes(retrieval, scenes, seed + 1, folder), seed)
    return {
        "seed": seed,
        "level": LEVEL,
        "draws": DRAWS,
        "machine": machine(("numpyro", "flax")),
        "scores": found,
        "strata": strata(retrieval, drawn, seed),
        # gains are small beside the errors of the pixels, which cost little here
        "information": information(pixels=2 * pixels, draws=BANK, seed=seed),
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=6000)
    parser.add_argument("--scenes", type=int, default=300)
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
