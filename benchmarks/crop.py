"""Our crop models as entries of the benchmark of simulators, and SAFY beside loops over days.

    python -m benchmarks crop        # SAFY at 10 000 fields beside a loop in Python and one over days in NumPy

The loops are written from the equations of the paper, as one writes them who has no JAX; they give the same numbers.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.columns import Columns, of
from benchmarks.one_core import bind_to_one_core

if TYPE_CHECKING:
    from releo_jax.benchmarking import Simulator

Box = dict[str, tuple[float, float]]

DAYS = 160
CROP: Box = {
    "emergence": (10.0, 40.0),
    "light_use_efficiency": (1.0, 3.5),
    "partition_a": (0.05, 0.4),
    "partition_b": (0.001, 0.003),
    "senescence_start": (500.0, 1400.0),
    "senescence_rate": (3000.0, 20000.0),
    "grain_rate": (0.001, 0.01),
    "climatic_efficiency": (0.43, 0.52),
    "light_extinction": (0.4, 0.8),
    "initial_biomass": (1.0, 10.0),
    "specific_leaf_area": (0.01, 0.03),
    "minimum_temperature": (-2.0, 6.0),
    "optimum_temperature": (16.0, 28.0),
    "maximum_temperature": (34.0, 45.0),
    "temperature_exponent": (1.5, 3.0),
}
SOIL: Box = {
    "field_capacity": (0.25, 0.4),
    "wilting_point": (0.05, 0.18),
    "root_depth": (0.4, 1.5),
    "depletion_fraction": (0.35, 0.65),
    "readily_evaporable": (4.0, 9.0),
    "surface_depth": (0.1, 0.15),
    "initial_depletion": (0.0, 20.0),
    "initial_surface_depletion": (0.0, 15.0),
}
USE: Box = {
    "full_coefficient": (0.9, 1.2),
    "height": (0.3, 2.0),
    "minimum_coefficient": (0.1, 0.2),
    "closing": (0.5, 0.9),
}
CLIMATE: Box = {
    "maximum_temperature": (18.0, 38.0),
    "minimum_temperature": (2.0, 16.0),
    "maximum_humidity": (70.0, 100.0),
    "minimum_humidity": (20.0, 60.0),
    "radiation": (12.0, 28.0),
    "wind": (0.5, 6.0),
}
SITE: Box = {"latitude": (35.0, 55.0), "elevation": (0.0, 1500.0), "day_of_year": (120.0, 220.0)}
FOREST: Box = {"ground": (0.03, 0.07), "canopy": (0.12, 0.2), "attenuation": (0.004, 0.008)}


def season(days: int = DAYS, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Weather and water of a spring and summer, `(day,)` by name."""
    rng = np.random.default_rng(seed)
    day = np.arange(days)
    sun = np.sin(np.pi * (day + 40) / (days + 80))
    return {
        "temperature": 6 + 13 * sun + rng.normal(0, 2, days),
        "radiation": np.clip(4 + 18 * sun + rng.normal(0, 3, days), 0.5, None),
        "reference_evapotranspiration": np.clip(0.8 + 4.5 * sun + rng.normal(0, 0.7, days), 0.2, None),
        "rain": np.where(rng.random(days) < 0.15, rng.gamma(1.0, 8.0, days), 0.0),
        "wind": rng.uniform(1.0, 5.0, days),
        "minimum_humidity": rng.uniform(25.0, 75.0, days),
    }


def crop() -> list[Simulator]:
    """All of them."""
    import jax
    import jax.numpy as jnp

    from physics.crop import (
        DailyClimate,
        DailyWater,
        DailyWeather,
        Forest,
        RootZone,
        SafyCrop,
        Site,
        WaterUse,
        basal_coefficient,
        canopy_backscatter,
        forest_backscatter,
        forest_volume,
        grain_yield,
        harvest_index_yield,
        komiyama05_above_ground,
        komiyama05_roots,
        reference_evapotranspiration,
        safy,
        safy_water,
        temperature_response,
        water_balance,
    )
    from releo_jax.benchmarking import Simulator, by_name

    columns = season()
    shown = (DAYS // 3, DAYS // 2, DAYS - 15)

    def weather(dtype: Any) -> tuple[DailyWeather, DailyWater]:
        arrays = {name: jnp.asarray(value, dtype) for name, value in columns.items()}
        seen = DailyWeather(temperature=arrays.pop("temperature"), radiation=arrays.pop("radiation"))
        return seen, DailyWater(**arrays)

    def each(one: Callable[[Columns], tuple[Any, ...]]) -> Callable[[Columns], Any]:
        """A model of one field, over fields."""
        return lambda fields: jax.vmap(lambda row: jnp.stack(one(row)))(dict(fields))

    def grown(p: Columns) -> tuple[Any, ...]:
        growth = safy(of(SafyCrop, p, CROP), weather(p["emergence"].dtype)[0])
        by_index = harvest_index_yield(growth.biomass[-1], harvest_index=p["harvest_index"])
        return *(growth.leaf_area_index[day] for day in shown), growth.biomass[-1], by_index, grain_yield(growth)

    def balanced(p: Columns) -> tuple[Any, ...]:
        use = of(WaterUse, p, USE)
        moist = weather(p["height"].dtype)[1]
        leaves = 5.0 * jnp.sin(jnp.linspace(0.0, math.pi, DAYS, dtype=p["height"].dtype)) ** 2
        found = water_balance(of(RootZone, p, SOIL), use, moist, coefficient=basal_coefficient(use, leaves))
        flows = (found.transpiration, found.evaporation, found.percolation)
        return *(flow.sum() for flow in flows), *(found.depletion[day] for day in shown), found.stress.mean()

    def coupled(p: Columns) -> tuple[Any, ...]:
        seen, moist = weather(p["emergence"].dtype)
        field = (of(SafyCrop, p, CROP), of(RootZone, p, SOIL), of(WaterUse, p, USE))
        growth, found = safy_water(*field, seen, moist)
        return growth.leaf_area_index[shown[1]], growth.grain[-1], found.transpiration.sum(), found.depletion[-1]

    def needed(p: Columns) -> Any:
        site = Site.from_degrees(p["latitude"], p["elevation"], p["day_of_year"])
        return reference_evapotranspiration(of(DailyClimate, p, CLIMATE), site)[:, None]

    def warmed(p: Columns) -> Any:
        given = {name: p[name] for name in CROP if "temperature" in name}
        return temperature_response(
            SafyCrop(emergence=p["temperature"], light_use_efficiency=p["temperature"], **given), p["temperature"]
        )[:, None]

    def inverted(p: Columns) -> Any:
        errors = {"backscatter_std": 0.004, "ground_std": 0.002, "canopy_std": 0.003}
        found = forest_volume(p["backscatter"], of(Forest, p, FOREST), largest=300.0, **errors)
        return jnp.stack([found.volume, found.std], -1)

    def opaque(p: Columns) -> Any:
        beta = p["attenuation"]
        return canopy_backscatter(p["dense"], p["ground"], dense_volume=p["dense_volume"], attenuation=beta)[:, None]

    def trees(p: Columns) -> Any:
        found = [weight(p["diameter"], p["density"]) for weight in (komiyama05_above_ground, komiyama05_roots)]
        return jnp.stack(found, -1)

    temperatures = {name: bounds for name, bounds in CROP.items() if "temperature" in name}
    models: list[tuple[str, Callable[[Columns], Any], Box]] = [
        ("safy", each(grown), CROP | {"harvest_index": (0.3, 0.6)}),
        ("water_balance", each(balanced), SOIL | USE),
        ("safy_water", each(coupled), CROP | SOIL | USE),
        ("reference_evapotranspiration", needed, CLIMATE | SITE),
        ("temperature_response", warmed, temperatures | {"temperature": (7.0, 33.0)}),
        (
            "forest_backscatter",
            lambda p: forest_backscatter(p["volume"], of(Forest, p, FOREST))[:, None],
            FOREST | {"volume": (0.0, 400.0)},
        ),
        ("forest_volume", inverted, FOREST | {"backscatter": (0.02, 0.22)}),
        (
            "canopy_backscatter",
            opaque,
            {"dense": (0.1, 0.2), "dense_volume": (120.0, 350.0)}
            | {name: FOREST[name] for name in ("ground", "attenuation")},
        ),
        ("komiyama05", trees, {"diameter": (0.0, 50.0), "density": (0.3, 1.0)}),
    ]
    return [Simulator(name=name, function=by_name(function, prior), prior=prior) for name, function, prior in models]


def python_season(crop: Columns, temperature: np.ndarray, radiation: np.ndarray) -> tuple[list[float], ...]:
    """SAFY of one field by a plain loop over days: leaf area, biomass, grain, degree days, absorbed light by day."""
    days = len(temperature)
    found = tuple([0.0] * days for _ in range(5))
    leaf_area, mass, grains, sums, lights = found
    first, complete = math.floor(crop["emergence"]), False
    low, best, high = (crop[f"{name}_temperature"] for name in ("minimum", "optimum", "maximum"))
    few = crop["initial_biomass"] * crop["specific_leaf_area"]
    leaves, biomass, grain, total = few, crop["initial_biomass"], 0.0, 0.0
    for day in range(days):
        if day < first:
            continue
        warmth = temperature[day]
        total += max(warmth - low, 0.0)
        light = 0.0
        if day > first:
            light = crop["climatic_efficiency"] * radiation[day] * (1.0 - math.exp(-crop["light_extinction"] * leaves))
            if warmth <= low or warmth >= high:
                response = 0.0
            else:
                end = low if warmth < best else high
                response = 1.0 - ((warmth - best) / (end - best)) ** crop["temperature_exponent"]
            more = crop["light_use_efficiency"] * light * response
            biomass += more
            share = max(1.0 - crop["partition_a"] * math.exp(crop["partition_b"] * total), 0.0)
            lost = 0.0
            if total > crop["senescence_start"]:
                lost = leaves * (total - crop["senescence_start"]) / crop["senescence_rate"]
            leaves += more * share * crop["specific_leaf_area"] - lost
            if share == 0.0:
                if complete:
                    grain += crop["grain_rate"] * biomass
                complete = True
        leaf_area[day], mass[day], grains[day], sums[day], lights[day] = leaves, biomass, grain, total, light
        if day > first and leaves < few:
            break
    return found


def numpy_seasons(crop: Columns, temperature: np.ndarray, radiation: np.ndarray) -> tuple[np.ndarray, ...]:
    """The same of all fields at once, `(day, field)`: a loop over days with NumPy inside, days first as suits it."""
    days, fields = temperature.shape
    found = tuple(np.zeros((days, fields), temperature.dtype) for _ in range(5))
    first = np.floor(crop["emergence"])
    low, best, high = (crop[f"{name}_temperature"] for name in ("minimum", "optimum", "maximum"))
    few = crop["initial_biomass"] * crop["specific_leaf_area"]
    leaves, biomass = few.copy(), crop["initial_biomass"].copy()
    grain, total = np.zeros_like(few), np.zeros_like(few)
    complete, ended = np.zeros(fields, bool), np.zeros(fields, bool)
    for day in range(days):
        alive = (day >= first) & ~ended
        grows = alive & (day > first)
        warmth = temperature[day]
        total += np.where(alive, np.maximum(warmth - low, 0.0), 0.0)
        light = crop["climatic_efficiency"] * radiation[day] * -np.expm1(-crop["light_extinction"] * leaves)
        light = np.where(grows, light, 0.0)
        away = np.minimum(np.abs((warmth - best) / (np.where(warmth < best, low, high) - best)), 1.0)
        more = crop["light_use_efficiency"] * light * (1.0 - away ** crop["temperature_exponent"])
        biomass += more
        share = np.maximum(1.0 - crop["partition_a"] * np.exp(crop["partition_b"] * total), 0.0)
        lost = leaves * np.maximum(total - crop["senescence_start"], 0.0) / crop["senescence_rate"]
        leaves = np.where(grows, leaves + more * share * crop["specific_leaf_area"] - lost, leaves)
        full = grows & (share == 0.0)
        grain += np.where(full & complete, crop["grain_rate"] * biomass, 0.0)
        complete |= full
        for place, value in zip(found, (leaves, biomass, grain, total, light), strict=True):
            place[day] = np.where(alive, value, 0.0)
        ended |= grows & (leaves < few)
    return found


CALIBRATED = ("emergence", "light_use_efficiency", "senescence_start", "senescence_rate")


def fields_of(number: int, days: int, *, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """What calibration varies of wheat, `(field,)` by name; temperature and radiation `(day, field)`; all float32."""
    rng = np.random.default_rng(seed)
    ranges = ((5.0, 60.0), (1.5, 3.0), (900.0, 1300.0), (5000.0, 15000.0))
    crops = {
        name: rng.uniform(low, high, number).astype(np.float32)
        for name, (low, high) in zip(CALIBRATED, ranges, strict=True)
    }
    day = np.arange(days)[:, None]
    temperature = 12 - 8 * np.cos(2 * np.pi * day / 300) + rng.normal(0, 2, (days, number))
    radiation = np.clip(14 - 9 * np.cos(2 * np.pi * day / 330) + rng.normal(0, 2, (days, number)), 0.5, None)
    return crops, temperature.astype(np.float32), radiation.astype(np.float32)


def day_loop_comparison(fields: int = 10_000, days: int = 300, *, rounds: int = 9, few: int = 40) -> dict[str, float]:
    """SAFY compiled over all fields beside the two loops: prints a line for each of ours, returns seconds and ratios.

    Seconds are those of the processor, so that other work on the machine counts little. Bind the process to one core
    before JAX is loaded; `python -m benchmarks.crop` does. The loops run the published whole-day steps and give the
    five series of `Growth`, which costs them little more than leaf area alone; what is not asked of ours is not
    computed. Five series of constants show what writing alone takes. The plain loop reads NumPy arrays, as the public
    codes do, or lists, the quickest that Python can.

    Args:
        fields: number of fields, which differ in four parameters and in their weather.
        days: of the season.
        rounds: turns that the sides take; the median of the ratios of each turn counts.
        few: fields that the plain loop runs in a turn, scaled to all.
    """
    import jax
    import jax.numpy as jnp

    from physics.crop import DailyWeather, SafyCrop, safy

    crops, temperature, radiation = fields_of(fields, days)
    wheat = SafyCrop(emergence=jnp.zeros(()), light_use_efficiency=jnp.ones(()))
    constant = {name: float(getattr(wheat, name)) for name in CROP if name not in CALIBRATED}
    blank = jax.jit(lambda values: tuple(jnp.full((days, fields), value) for value in values))
    zeros = [jnp.asarray(float(i), jnp.float32) for i in range(5)]
    every = {name: np.full(fields, value, np.float32) for name, value in constant.items()} | crops
    weather = DailyWeather(temperature=jnp.asarray(temperature), radiation=jnp.asarray(radiation))
    varied = tuple(jnp.asarray(crops[name]) for name in CALIBRATED)

    def compiled(legacy: bool, wanted: slice) -> Any:
        def field(values: Any, seen: DailyWeather) -> Any:
            same = {name: jnp.asarray(value, jnp.float32) for name, value in constant.items()}
            wheat = SafyCrop(**same, **dict(zip(CALIBRATED, values, strict=True)))
            return safy(wheat, seen, legacy=legacy)[wanted]

        # Days first: weather and results stay in the order in which they are used.
        run = jax.jit(jax.vmap(field, in_axes=(0, 1), out_axes=1))
        return lambda: jax.block_until_ready(run(varied, weather))

    def loop(series: Callable[[np.ndarray], Any]) -> Callable[[], Any]:
        given = [
            (
                constant | {name: float(crops[name][i]) for name in CALIBRATED},
                series(temperature[:, i].astype(float)),
                series(radiation[:, i].astype(float)),
            )
            for i in range(few)
        ]
        return lambda: [python_season(*one) for one in given]

    ours = {
        f"{kind}, {what}": compiled(legacy, wanted)
        for kind, legacy in (("whole-day steps", True), ("soft steps", False))
        for what, wanted in (("all series", slice(None)), ("leaf area", slice(1)))
    }
    loops: dict[str, Callable[[], Any]] = {
        "plain loop": loop(lambda values: values),
        "plain loop, lists": loop(np.ndarray.tolist),
        "NumPy over fields": lambda: numpy_seasons(every, temperature, radiation),
    }
    sides = ours | loops | {"five blank series": lambda: jax.block_until_ready(blank(zeros))}
    scale = dict.fromkeys(("plain loop", "plain loop, lists"), fields / few)
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            start = time.process_time()
            side()
            if turn:  # the first compiles
                turns[name].append((time.process_time() - start) * scale.get(name, 1.0))
    seconds = {name: np.array(values) for name, values in turns.items()}
    result = {f"{name}, s": float(np.median(values)) for name, values in seconds.items()}
    print(
        f"SAFY, {fields} fields x {days} days, one core; " + ", ".join(f"{n} {result[f'{n}, s']:.3g} s" for n in loops)
    )
    for name in ours:
        for other in loops:
            result[f"{other} / {name}"] = float(np.median(seconds[other] / seconds[name]))
        ratios = ", ".join(f"{result[f'{other} / {name}']:.3g} x {other}" for other in loops)
        print(f"  {name}: {1e3 * result[f'{name}, s']:.0f} ms, {ratios}")
    print(f"  five blank series, written without computing: {1e3 * result['five blank series, s']:.0f} ms")
    return result


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=300)
    given = parser.parse_args(arguments)
    bind_to_one_core()
    day_loop_comparison(given.fields, given.days)


if __name__ == "__main__":
    main()
