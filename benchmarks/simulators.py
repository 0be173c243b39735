"""Rates of the optical models on one core, beside the package `prosail`, in one run.

    python -m benchmarks simulators [--quick] [--seed N] [--output FILE.json]

Every configuration is a loop of one compiled call over arrays that lie ready, of several chunk sizes; configurations
take turns, and the best of the rounds counts. Absolute rates depend on the machine and its other work: quote ratios.
Errors are differences to our full spectra in float64, and of those to `prosail` with its classical hot spot. `prosail`
(GPL) comes with the extra `releo-jax[benchmark]`; it is called for comparison only.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# jax and physics are imported inside functions: the process is bound to one core before.
LEAF = ("layers", "chlorophyll", "carotenoids", "anthocyanins", "brown_pigment", "water", "dry_matter")
PARAMETERS = (*LEAF, "leaf_area_index", "mean_leaf_angle", "hot_spot", "brightness", "wetness")
LOW = np.array([1.2, 20.0, 5.0, 0.0, 0.0, 0.0075, 0.003, 0.1, 30.0, 0.1, 0.3, 0.0])
HIGH = np.array([1.8, 90.0, 23.0, 5.0, 1.0, 0.05, 0.011, 8.0, 80.0, 0.5, 1.2, 1.0])
LAND_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SAMPLE = 64
"""Spectra on which errors are measured; a quarter of them in a quick run."""


@dataclasses.dataclass
class Case:
    """One configuration.

    Attributes:
        name: of the configuration; cases that differ in chunk size share it.
        chunk: spectra per call.
        call: runs one chunk and returns its arrays.
        seconds: best time of a call.
        compiled: seconds of the first call.
    """

    name: str
    chunk: int
    call: Callable[[], Any]
    seconds: float = float("inf")
    compiled: float = 0.0


@dataclasses.dataclass(frozen=True)
class Bar:
    """A figure that is compared with what is asked of it: a quotient of two rates, or a fraction.

    Attributes:
        what: description.
        value: measured figure.
        at_least: bound to keep.
        aim: bound to wish for.
        upwards: whether large values are good.
    """

    what: str
    value: float
    at_least: float
    aim: float
    upwards: bool = True

    @property
    def verdict(self) -> str:
        """Which of the two bounds is kept."""
        sign = 1.0 if self.upwards else -1.0
        if sign * self.value >= sign * self.aim:
            return "aim"
        return "at least" if sign * self.value >= sign * self.at_least else "not reached"


def bind_to_one_core() -> int:
    """Binds the process to the last core it may use, before the numerical libraries start their threads."""
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["NUMBA_NUM_THREADS"] = "1"
    return core


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (12, n) uniform between LOW and HIGH, and angles (3, n) in degrees."""
    rng = np.random.default_rng(seed)
    parameters = rng.uniform(LOW[:, None], HIGH[:, None], (12, n))
    angles = rng.uniform([[15.0], [0.0], [0.0]], [[65.0], [12.0], [180.0]], (3, n))
    # Single precision from the start: both precisions simulate the same canopies.
    return tuple(values.astype(np.float32).astype(np.float64) for values in (parameters, angles))  # type: ignore


def records(parameters: Any, angles: Any) -> tuple[Any, ...]:
    """Leaf, canopy, soil and directions from arrays (12, n) and (3, n)."""
    from physics import Canopy, Leaf, Soil, SunView

    fields = dict(zip(PARAMETERS, parameters, strict=True))
    return (
        Leaf(**{name: fields[name] for name in LEAF}),
        Canopy(**{name: fields[name] for name in PARAMETERS[7:10]}),
        Soil(brightness=fields["brightness"], wetness=fields["wetness"]),
        SunView.from_degrees(*angles),
    )


def spectra(parameters: Any, angles: Any, *, hot_spot: str = "exact") -> Any:
    """Bidirectional reflectance (n, 2101)."""
    from physics import prospect_d, sail, soil_mixture

    leaf, canopy, soil, directions = records(parameters, angles)
    return sail(canopy, prospect_d(leaf), soil_mixture(soil), directions, hot_spot=hot_spot).bidirectional  # type: ignore


def bands(parameters: Any, angles: Any, *, sensor: Any) -> Any:
    """Reflectance in bands (n, band) by the quadrature of a sensor."""
    from physics import prosail, soil_mixture

    leaf, canopy, soil, directions = records(parameters, angles)
    return prosail(leaf, canopy, soil_mixture(soil, wavelengths=sensor.wavelengths), directions, sensor=sensor)


def misfit(parameters: Any, angles: Any, observed: Any, *, sensor: Any) -> Any:
    """Sum of squared differences between simulated and observed bands."""
    return ((bands(parameters, angles, sensor=sensor) - observed) ** 2).sum()


def jacobian(model: Callable[[Any], Any], parameters: Any) -> Any:
    """Derivatives (n, band, 12) by twelve forward-mode products, written out one after the other."""
    import jax
    import jax.numpy as jnp

    columns = []
    for row in range(len(PARAMETERS)):
        direction = jnp.zeros_like(parameters).at[row].set(1.0)
        columns.append(jax.jvp(model, (parameters,), (direction,))[1])
    return jnp.stack(columns, axis=-1)


def peer_spectrum(parameters: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Spectrum (2101,) by the package `prosail`, for one canopy: parameters (12,), angles (3,)."""
    import prosail as peer

    n, cab, car, ant, brown, cw, cm, lai, angle, hot_spot, brightness, wetness = parameters.tolist()
    return peer.run_prosail(
        n,
        cab,
        car,
        brown,
        cw,
        cm,
        lai,
        angle,
        hot_spot,
        *angles.tolist(),
        ant=ant,
        prospect_version="D",
        typelidf=2,
        rsoil=brightness,
        psoil=1.0 - wetness,
    )


def cases(quick: bool, seed: int) -> list[Case]:
    """All configurations of the run."""
    import jax
    import jax.numpy as jnp

    from physics import sensor

    made = []
    parameters, angles = draw(16, seed)

    def peer() -> None:
        for row in range(16):
            peer_spectrum(parameters[:, row], angles[:, row])

    made.append(Case("prosail", 16, peer))

    def add(name: str, function: Any, chunk: int, dtype: Any, sensor: Any = None) -> None:
        with jax.enable_x64(dtype == np.float64):
            inputs = [jnp.asarray(values, dtype) for values in draw(chunk, seed)]
            if "gradient" in name:
                inputs.append(1.05 * jax.jit(functools.partial(bands, sensor=sensor))(*inputs))
        compiled = jax.jit(function)

        def call() -> Any:
            with jax.enable_x64(dtype == np.float64):
                return compiled(*inputs)

        made.append(Case(name, chunk, call))

    for chunk in (32,) if quick else (8, 32, 100):
        add("full spectra float32", spectra, chunk, np.float32)
        add("full spectra float64", spectra, chunk, np.float64)
    for label, device in (
        ("ten bands", sensor("sentinel2a", bands=LAND_BANDS)),
        ("all bands", sensor("sentinel2a")),
        ("ten bands at 1e-4", sensor("sentinel2a", bands=LAND_BANDS, tolerance=1e-4)),
    ):
        model = functools.partial(bands, sensor=device)
        for chunk in (256,) if quick else (128, 256, 512):
            add(label, model, chunk, np.float32, device)
        if label != "ten bands":
            continue
        for chunk in (256,) if quick else (128, 256, 512):
            gradient = jax.value_and_grad(functools.partial(misfit, sensor=device))
            add("ten bands, value and gradient", gradient, chunk, np.float32, device)
            slopes = functools.partial(_slopes, model=model)
            add("ten bands, Jacobian", slopes, chunk, np.float32, device)
    return made


def _slopes(parameters: Any, angles: Any, *, model: Any) -> Any:
    return jacobian(lambda p: model(p, angles), parameters)


def time_all(all_cases: Sequence[Case], rounds: int, slice_seconds: float) -> None:
    """Fills in the best seconds of a call; configurations take turns in every round."""
    import jax

    for case in all_cases:
        start = time.perf_counter()
        jax.block_until_ready(case.call())
        case.compiled = time.perf_counter() - start
        jax.block_until_ready(case.call())
    for _ in range(rounds):
        for case in all_cases:
            # A few short stretches: the best is the one that other work on the machine disturbed least.
            until = time.perf_counter() + slice_seconds
            while time.perf_counter() < until:
                start = time.perf_counter()
                for _ in range(4):
                    result = case.call()
                jax.block_until_ready(result)
                case.seconds = min(case.seconds, (time.perf_counter() - start) / 4)


def errors(all_cases: Sequence[Case], seed: int, n: int) -> dict[str, dict[str, float]]:
    """Largest and rms error of each configuration; of derivatives, parameters scaled by the width of their range.

    Args:
        all_cases: of the run; its derivatives are looked at again instead of being compiled a second time.
        seed: as in `cases`.
        n: number of spectra compared, the first of a chunk of 256.
    """
    import jax
    import jax.numpy as jnp

    from physics import sensor

    parameters, angles = (values[:, :n] for values in draw(256, seed))
    ten = sensor("sentinel2a", bands=LAND_BANDS)
    with jax.enable_x64(True):
        double = [jnp.asarray(values) for values in (parameters, angles)]
        exact = np.asarray(jax.jit(spectra)(*double))
        legacy = np.asarray(jax.jit(functools.partial(spectra, hot_spot="legacy"))(*double))
        responses = jnp.asarray(ten.responses.T)

        def column(row: Any) -> Any:
            direction = jnp.zeros((12, n)).at[row].set(1.0)
            return jax.jvp(lambda p: spectra(p, double[1]) @ responses, (double[0],), (direction,))[1]

        exact_slopes = np.moveaxis(np.asarray(jax.jit(lambda rows: jax.lax.map(column, rows))(jnp.arange(12))), 0, -1)
    single = [jnp.asarray(values, jnp.float32) for values in (parameters, angles)]
    peer = np.array([peer_spectrum(*pair) for pair in zip(parameters.T, angles.T, strict=True)])
    found = {
        "prosail": legacy - peer,
        "full spectra float32": np.asarray(jax.jit(spectra)(*single)) - exact,
        "full spectra float64": legacy - peer,
        "exact against classical hot spot": exact - legacy,
    }
    for label, device in (
        ("ten bands", ten),
        ("all bands", sensor("sentinel2a")),
        ("ten bands at 1e-4", sensor("sentinel2a", bands=LAND_BANDS, tolerance=1e-4)),
    ):
        reduced = np.asarray(jax.jit(functools.partial(bands, sensor=device))(*single))
        found[label] = reduced - exact @ device.responses.T
    width = HIGH - LOW
    again = {case.name: case for case in all_cases if case.chunk == 256}
    slopes = np.asarray(again["ten bands, Jacobian"].call())[:n]
    found["ten bands, Jacobian"] = (slopes - exact_slopes) * width
    # The gradient of the misfit to observations 5 % above the simulation, over twice the root of the misfit.
    gradient = np.asarray(again["ten bands, value and gradient"].call()[1])[:, :n].T
    misses = exact @ ten.responses.T - 1.05 * (found["ten bands"] + exact @ ten.responses.T)
    root = np.sqrt(np.sum(misses**2, axis=1))[:, None]
    expected = 2.0 * np.einsum("nb,nbp->np", misses, exact_slopes)
    found["ten bands, value and gradient"] = (gradient - expected) * width / (2.0 * root)
    return {
        name: {"max": float(np.abs(values).max()), "rms": float(np.sqrt(np.mean(values**2)))}
        for name, values in found.items()
    }


def machine(core: int) -> dict[str, Any]:
    """Class of the machine and versions of what ran."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {
        name: importlib.metadata.version(name) for name in ("releo-jax", "jax", "jaxlib", "numpy", "prosail", "numba")
    }
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "bound_to_core": core,
        "load": load,
        "python": platform.python_version(),
        **versions,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; `argv` without the program's name, None for the arguments of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks simulators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one chunk size, few rounds: about a minute")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated canopies")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    given = parser.parse_args(argv)
    core = bind_to_one_core()
    try:
        import prosail  # noqa: F401
    except ImportError as error:
        raise SystemExit(f"{error}; install the extra releo-jax[benchmark]") from None
    from benchmarks.ceiling import op_mix_seconds

    all_cases = cases(given.quick, given.seed)
    time_all(all_cases, rounds=3 if given.quick else 12, slice_seconds=0.1 if given.quick else 0.2)
    accuracy = errors(all_cases, given.seed, SAMPLE // 4 if given.quick else SAMPLE)
    best = {
        name: min((c for c in all_cases if c.name == name), key=lambda c: c.seconds / c.chunk)
        for name in dict.fromkeys(case.name for case in all_cases)
    }
    seconds = {name: case.seconds / case.chunk for name, case in best.items()}
    ceiling = op_mix_seconds(spectra, *draw(32, given.seed))
    forward, peer = seconds["ten bands"], seconds["prosail"]
    bars = [
        Bar("full spectra float32 / prosail", peer / seconds["full spectra float32"], 20, 30),
        Bar("full spectra float64 / prosail", peer / seconds["full spectra float64"], 8, 12),
        Bar("ten Sentinel-2 bands / prosail", peer / forward, 300, 700),
        Bar("all Sentinel-2 bands / prosail", peer / seconds["all bands"], 300, 700),
        Bar("value and gradient / forward", seconds["ten bands, value and gradient"] / forward, 5, 3, upwards=False),
        Bar("Jacobian / forward", seconds["ten bands, Jacobian"] / forward, 8, 6, upwards=False),
        Bar("fraction of the op-mix ceiling", ceiling / seconds["full spectra float32"], 0.35, 0.6),
    ]
    about = machine(core)
    print("  ".join(f"{key} {value}" for key, value in about.items()), f" seed {given.seed}\n")
    print(
        f"{'configuration':32}{'chunk':>6}{'spectra/s':>12}{'/ prosail':>11}{'max error':>11}{'rms':>10}"
        f"{'compile s':>11}"
    )
    for case in sorted(all_cases, key=lambda case: list(best).index(case.name)):
        each = case.seconds / case.chunk
        off = accuracy[case.name]
        mark = " *" if case is best[case.name] else ""
        print(
            f"{case.name:32}{case.chunk:6}{1.0 / each:12.0f}{peer / each:11.3g}{off['max']:11.1e}{off['rms']:10.1e}"
            f"{case.compiled:11.1f}{mark}"
        )
    print("\nfigure                            measured  at least   aim")
    for bar in bars:
        print(f"{bar.what:33}{bar.value:9.3g}{bar.at_least:10.3g}{bar.aim:6.3g}  {bar.verdict}")
    if given.output:
        figures = {
            "machine": about,
            "seed": given.seed,
            "quick": given.quick,
            "cases": [
                {"name": c.name, "chunk": c.chunk, "seconds_per_spectrum": c.seconds / c.chunk, "compile": c.compiled}
                for c in all_cases
            ],
            "errors": accuracy,
            "op_mix_seconds_per_spectrum": ceiling,
            "bars": [dataclasses.asdict(bar) | {"verdict": bar.verdict} for bar in bars],
        }
        given.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
