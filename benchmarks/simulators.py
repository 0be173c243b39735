"""Our optical models beside `prosail`, `torchrtm` and an emulator: accuracy, costs and rates, in one run.

    python -m benchmarks simulators [--quick] [--seed N] [--only NAME ...] [--batch-sizes N ...]
        [--all-cores] [--output FILE.json] [--markdown FILE.md] [--figure FILE.png]

It rests on `releo_jax.benchmarking`, runs on the device that JAX uses, a GPU if there is one (`JAX_PLATFORMS=cpu` for
the processor), and binds the process to one core. Configurations take turns; the best of the rounds counts for ratios.
Absolute rates depend on the machine and its other work: quote ratios. Bands are compared with the convolution of full
spectra in float64, `prosail` with our full spectra with its classical hot spot. `prosail` comes with the extra
`releo-jax[benchmark]`, `torchrtm` with PyTorch; they are called for comparison only, and skipped where they are absent.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.one_core import bind_to_one_core

if TYPE_CHECKING:
    from releo_jax.benchmarking import Report

# jax and what rests on it are imported inside functions: the process is bound to one core before.
PACKAGES = ("flax", "prosail", "numba", "torch", "torchrtm")
SIZES = {False: (1, 32, 256, 4096, 65536), True: (32, 256)}
EMULATOR = "MLP emulator of ten bands"


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


def entries(quick: bool, seed: int, only: Sequence[str]) -> list[Any]:
    """What is measured: our optics, the emulator trained on our bands, peers as far as they are installed, and those of
    our other models that are named."""
    from benchmarks.crop import crop
    from benchmarks.emulator import emulator
    from benchmarks.microwave import microwave
    from benchmarks.optics import ours
    from benchmarks.peers import prosail_entry, torchrtm_entry
    from benchmarks.phenology_models import phenology
    from benchmarks.thermal import thermal

    optics: list[Any] = [prosail_entry(), torchrtm_entry(), *ours()]
    others = [*microwave(), *thermal(), *phenology(), *crop()]
    known = [one.name for one in (*optics, *others)] + [EMULATOR]
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise SystemExit(f"expected names among {known}, got {unknown}")
    chosen = [one for one in (*optics, *others) if one.name in only] if only else optics
    if not only or EMULATOR in only:
        say(f"{EMULATOR}: training")
        exact = next(one for one in optics if one.name == "ten bands")
        chosen.append(emulator(exact, seed=seed, steps=1000 if quick else 4000))
    return chosen


def best_seconds(report: Report) -> dict[tuple[str, str], float]:
    """Seconds a row by entry and operation, at the best batch size."""
    found: dict[tuple[str, str], float] = {}
    for entry in report.entries:
        for rate in entry.rates:
            key = (entry.name, rate.operation)
            found[key] = min(found.get(key, float("inf")), 1.0 / rate.best)
    return found


def bars(report: Report, seed: int) -> tuple[list[Bar], float | None]:
    """Ratios that we hold ourselves to, where both sides were measured, and the op-mix bound; on a processor only."""
    if report.machine["platform"] != "cpu":
        return [], None
    from benchmarks.ceiling import op_mix_seconds
    from benchmarks.optics import PRIOR, spectra
    from releo_jax.benchmarking.space import draw

    seconds = best_seconds(report)
    peer, ten, full = ("prosail", "forward"), ("ten bands", "forward"), ("full spectra float32", "forward")
    compared = [
        ("full spectra float32 / prosail", peer, full, 20, 30, True),
        ("full spectra float64 / prosail", peer, ("full spectra float64", "forward"), 8, 12, True),
        ("ten Sentinel-2 bands / prosail", peer, ten, 300, 700, True),
        ("all Sentinel-2 bands / prosail", peer, ("all bands", "forward"), 300, 700, True),
        ("value and gradient / forward", ("ten bands", "gradient"), ten, 5, 3, False),
        ("Jacobian / forward", ("ten bands", "Jacobian"), ten, 8, 6, False),
    ]
    found = [
        Bar(what, seconds[over] / seconds[under], at_least, aim, upwards)
        for what, over, under, at_least, aim, upwards in compared
        if over in seconds and under in seconds
    ]
    if full not in seconds:
        return found, None
    ceiling = op_mix_seconds(
        lambda *columns: spectra(dict(zip(PRIOR, columns, strict=True))), *draw(PRIOR, 32, seed=seed).T
    )
    return [*found, Bar("fraction of the op-mix ceiling", ceiling / seconds[full], 0.35, 0.6)], ceiling


def configurations(report: Report) -> str:
    """A line for each entry, operation and batch size: rate, its ratio to `prosail`, errors, compile time."""
    seconds = best_seconds(report)
    peer = seconds.get(("prosail", "forward"), float("nan"))
    head = f"{'configuration':38}{'chunk':>6}{'spectra/s':>12}{'/ prosail':>11}"
    lines = [f"{head}{'max error':>11}{'rms':>10}{'compile s':>11}"]
    for entry in report.entries:
        values, slopes = entry.values, entry.gradients
        of_values = values and (values.reference or values.rounding)
        of_slopes = slopes and (slopes.reference or slopes.reverse)
        for rate, cost in zip(entry.rates, entry.costs, strict=True):
            off = ((of_values if rate.operation == "forward" else of_slopes) or {}).get("inside")
            error = f"{off.max:11.1e}{off.rms:10.1e}" if off else f"{'–':>11}{'–':>10}"
            mark = " *" if 1.0 / rate.best == seconds[entry.name, rate.operation] else ""
            name = entry.name if rate.operation == "forward" else f"{entry.name}, {rate.operation}"
            rates = f"{rate.batch:6}{rate.best:12.0f}{peer * rate.best:11.3g}"
            lines.append(f"{name:38}{rates}{error}{cost.compile_seconds:11.1f}{mark}")
    return "\n".join(lines)


def say(text: str) -> None:
    """Progress on the standard error."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; `argv` without the program's name, None for the arguments of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks simulators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="two batch sizes, few rounds: a few minutes")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated canopies and of the emulator")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="entries to measure; default all")
    parser.add_argument("--batch-sizes", nargs="+", type=int, metavar="N", help="rows a call")
    parser.add_argument("--all-cores", action="store_true", help="do not bind the process to one core")
    parser.add_argument("--output", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--figure", type=Path, help="draw the rates against the batch size into this file")
    given = parser.parse_args(argv)
    if not given.all_cores:
        bind_to_one_core()
    from releo_jax.benchmarking import benchmark

    report = benchmark(
        entries(given.quick, given.seed, given.only),
        seed=given.seed,
        batch_sizes=given.batch_sizes or SIZES[given.quick],
        rounds=3 if given.quick else 10,
        slice_seconds=0.1 if given.quick else 0.2,
        inside=16 if given.quick else 64,
        packages=PACKAGES,
        progress=say,
    )
    asked, ceiling = bars(report, given.seed)
    text = report.to_markdown()
    print(text)
    print(configurations(report))
    if asked:
        print("\nfigure                            measured  at least   aim")
        for bar in asked:
            print(f"{bar.what:33}{bar.value:9.3g}{bar.at_least:10.3g}{bar.aim:6.3g}  {bar.verdict}")
    if given.markdown:
        given.markdown.write_text(text)
    if given.figure:
        from releo_jax.benchmarking.figure import plot_throughput

        plot_throughput(report).savefig(given.figure)
    if given.output:
        figures = json.loads(report.to_json())
        figures["bars"] = [dataclasses.asdict(bar) | {"verdict": bar.verdict} for bar in asked]
        figures["op_mix_seconds_per_spectrum"] = ceiling
        given.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
