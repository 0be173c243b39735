"""What Gaussian processes over time cost: exact, by state space, and by a library, in one run on one core.

    python -m benchmarks time_costs [--peers DIR] [--output FILE.json]

Sides take turns; seconds are those of the processor, so that other work on the machine counts little, and the median of
the turns counts. `tinygp`, whose quasiseparable kernels are exact in linear time, too, is measured where it is found:
--peers names the site-packages of another environment of the same Python.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.one_core import bind_to_one_core

if TYPE_CHECKING:
    from releo_jax.gp import Kernel, Sites

DATES = 73  # a year of Sentinel-2 from one orbit
NOISE = 0.1


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one pixel.

    Attributes:
        process: how it is computed.
        kernel: of the process.
        dates: of a pixel.
        log_density: microseconds.
        slopes: microseconds of the log density with its slopes to the kernel's parameters and the values; None where
            it was not measured.
        marginals: microseconds of mean and variance at all dates, the log density with them.
    """

    process: str
    kernel: str
    dates: int
    log_density: float
    slopes: float | None
    marginals: float


def series(pixels: int, dates: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Irregular dates of five days each on average, values, and a mask of 70 %, `(pixel, date)`."""
    rng = np.random.default_rng(seed)
    days = np.sort(rng.uniform(0.0, 5.0 * dates, (pixels, dates)), -1).astype(np.float32)
    value = (np.sin(2.0 * np.pi * days / 365.25) + rng.normal(0.0, NOISE**0.5, days.shape)).astype(np.float32)
    return {"time": days, "value": value, "mask": rng.random(days.shape) < 0.7}


def turns(sides: Mapping[str, Callable[[], Any]], pixels: Mapping[str, int], rounds: int) -> dict[str, np.ndarray]:
    """Microseconds a pixel of each side in each of several turns, after one that compiles."""
    import jax

    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            start = time.process_time()
            jax.block_until_ready(side())
            if turn:
                found[name].append((time.process_time() - start) / pixels[name] * 1e6)
    return {name: np.array(values) for name, values in found.items()}


def costs(
    *, rounds: int = 7, pixels: int = 4096, few: int = 64, lengths: tuple[int, ...] = (256, 1024, 4096)
) -> dict[str, Any]:
    """Measures and prints.

    Args:
        rounds: turns of each side.
        pixels: of the processes by state space; a quarter of them for other lengths and for `tinygp`.
        few: of the exact process.
        lengths: numbers of dates beside `DATES` that the state space is measured with.

    Returns:
        Records: `costs`, `ratios` (exact over state space at `DATES`) and `agreement` with the exact process.
    """
    from releo_jax.gp import Exact, Markov, Matern12, Matern32, Matern52

    kernels: dict[str, Kernel] = {"Matern12": Matern12(0.7, 30.0), "Matern32": Matern32(0.7, 30.0)}
    kernels["Matern52"] = Matern52(0.7, 30.0)
    sides: dict[str, Callable[[], Any]] = {}
    sizes: dict[str, int] = {}

    def add(process: str, kernel: str, dates: int, number: int, steps: Mapping[str, Callable[[], Any]]) -> None:
        for step, side in steps.items():
            name = f"{process}|{kernel}|{dates}|{step}"
            sides[name], sizes[name] = side, number

    for kernel in kernels:
        add("Markov", kernel, DATES, pixels, _steps(Markov, kernels[kernel], pixels, DATES))
        add("Exact", kernel, DATES, few, _steps(Exact, kernels[kernel], few, DATES))
    for length in lengths:
        add("Markov", "Matern32", length, pixels // 4, _steps(Markov, kernels["Matern32"], pixels // 4, length))
    if importlib.util.find_spec("tinygp") is None:
        print("tinygp: not found, left out")
    else:
        add("tinygp", "Matern32", DATES, pixels // 4, _tinygp_steps(pixels // 4, DATES))
    measured = turns(sides, sizes, rounds)
    rows: list[Cost] = []
    for key in dict.fromkeys(name.rsplit("|", 1)[0] for name in sides):
        process, kernel, dates = key.split("|")
        steps = {
            name.rsplit("|", 1)[1]: float(np.median(measured[name])) for name in sides if name.startswith(f"{key}|")
        }
        slopes = steps.get("slopes")
        rows.append(Cost(process, kernel, int(dates), steps["log_density"], slopes, steps["marginals"]))
    ratios = {
        f"{kernel}, {step}": float(
            np.median(measured[f"Exact|{kernel}|{DATES}|{step}"] / measured[f"Markov|{kernel}|{DATES}|{step}"])
        )
        for kernel in kernels
        for step in ("log_density", "slopes", "marginals")
    }
    agreed = {name: agreement(kernel) for name, kernel in kernels.items()}
    _print(rows, ratios, agreed)
    return {"costs": [dataclasses.asdict(row) for row in rows], "ratios": ratios, "agreement": agreed}


def _sites(data: Mapping[str, np.ndarray]) -> Sites:
    from releo_jax.gp import Sites

    return Sites(data["time"], data["value"], np.float32(NOISE), data["mask"])


def _steps(process: Any, kernel: Kernel, pixels: int, dates: int) -> dict[str, Callable[[], Any]]:
    import jax

    from releo_jax.gp import Sites

    data = series(pixels, dates)
    sites = _sites(data)
    density = jax.jit(lambda sites: process(kernel).log_prob(sites))

    def total(kernel: Kernel, value: jax.Array) -> jax.Array:
        return process(kernel).log_prob(Sites(sites.time, value, sites.variance, sites.mask)).sum()

    slopes = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))

    @jax.jit
    def marginals(sites: Sites) -> Any:
        posterior = process(kernel).condition(sites)
        return posterior.log_evidence, posterior.at()

    return {
        "log_density": lambda: density(sites),
        "slopes": lambda: slopes(kernel, sites.value),
        "marginals": lambda: marginals(sites),
    }


def _tinygp_steps(pixels: int, dates: int) -> dict[str, Callable[[], Any]]:
    import jax
    import jax.numpy as jnp
    import tinygp  # type: ignore[import-not-found]
    from tinygp.kernels.quasisep import Matern32  # type: ignore[import-not-found]

    data = {name: jnp.asarray(value) for name, value in series(pixels, dates).items()}

    def process(days: Any, mask: Any) -> Any:
        # It has no masks: a masked date has a noise that leaves nothing of it.
        kernel = Matern32(scale=jnp.float32(30.0), sigma=jnp.float32(0.7**0.5))
        return tinygp.GaussianProcess(kernel, days, diag=jnp.where(mask, NOISE, 1e6), assume_sorted=True)

    def density(days: Any, value: Any, mask: Any) -> Any:
        return process(days, mask).log_probability(value)

    def marginals(days: Any, value: Any, mask: Any) -> Any:
        found = process(days, mask).condition(value)
        return found.log_probability, found.gp.loc, found.gp.variance

    compiled = [jax.jit(jax.vmap(one)) for one in (density, marginals)]
    given = (data["time"], data["value"], data["mask"])
    return {"log_density": lambda: compiled[0](*given), "marginals": lambda: compiled[1](*given)}


def agreement(kernel: Kernel, *, pixels: int = 16, dates: int = DATES) -> dict[str, float]:
    """Largest differences of the state space from the exact process in float64: of means and variances in units of the
    prior's deviation and variance, of log densities relative to the largest."""
    import jax

    from releo_jax.gp import Exact, Markov

    with jax.enable_x64(True):
        data = series(pixels, dates)
        wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), kernel)
        double = _sites({name: v if v.dtype == bool else v.astype(np.float64) for name, v in data.items()})
        reference = Exact(wide).condition(double)
        expected, largest = reference.at(), float(np.abs(reference.log_evidence).max())
        found = {}
        for name, one, sites in (("float32", kernel, _sites(data)), ("float64", wide, double)):
            posterior = Markov(one).condition(sites)
            variance = float(kernel.variances(sites.time[0, :1])[0])
            for part, scale in (("mean", variance**0.5), ("variance", variance)):
                difference = np.abs(np.asarray(getattr(posterior.at(), part)) - np.asarray(getattr(expected, part)))
                found[f"{name}, {part}"] = float(difference.max() / scale)
            difference = np.abs(np.asarray(posterior.log_evidence) - np.asarray(reference.log_evidence))
            found[f"{name}, log density"] = float(difference.max() / largest)
    return found


def _print(rows: list[Cost], ratios: Mapping[str, float], agreed: Mapping[str, Mapping[str, float]]) -> None:
    print("| process | kernel | dates | log density, us | with slopes, us | marginals, us | ns a date |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for row in rows:
        slopes = "–" if row.slopes is None else f"{row.slopes:.3g}"
        nanoseconds = 1e3 * row.log_density / row.dates
        print(
            f"| {row.process} | {row.kernel} | {row.dates} | {row.log_density:.3g} | {slopes} | {row.marginals:.3g} | "
            f"{nanoseconds:.3g} |"
        )
    print("\nexact over state space: " + ", ".join(f"{name} {value:.3g}x" for name, value in ratios.items()))
    for kernel, parts in agreed.items():
        print(f"{kernel}, differences: " + ", ".join(f"{name} {value:.1e}" for name, value in parts.items()))


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="site-packages of an environment with tinygp")
    parser.add_argument("--output", type=Path, help="JSON file of all figures")
    given = parser.parse_args(arguments)
    if given.peers:
        sys.path.append(str(given.peers))
    bind_to_one_core()
    result = costs()
    if given.output:
        import jax

        result["versions"] = {"python": platform.python_version(), "jax": jax.__version__, "numpy": np.__version__}
        given.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
