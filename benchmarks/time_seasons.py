"""Scores Pheno-VAEs of seasons beside the No-U-Turn sampler and least squares, on simulated series and on real ones.

    python -m benchmarks time_seasons [--data DIR] [--output FILE.json] [--weights DIR] [--parts PART ...] [--pixels N]

The systems are trained on simulations first; with `--weights` they are kept in that folder and read from it the next
time. `calibration` ranks simulated truths among posterior draws, `comparison` is that on simulated series, `real` is
about measurements in the folder that the environment variable RELEO_DATA_DIR names, and left out where it names none.
What another run has written to the output stays there, unless it is done again. Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.time_seasons_fits import LEVEL, compare
from benchmarks.time_seasons_series import compare_real, read_plots, read_sites
from benchmarks.time_seasons_trained import DATES, REAL, SIMULATED, Trained, ranks, simulated, trained
from releo_jax.benchmarking.machine import machine
from releo_jax.inference.calibration import CalibrationReport

FAMILIES = "truncated_normal", "full_covariance", "flow"
PARTS = "calibration", "comparison", "real"
_OF_REAL = "full_covariance"  # chosen before any fit
_ADAPTING = 0.2  # steps on real series, as a share of those on simulations
_SHOWN = "start_of_season", "end_of_season"


def calibration(report: CalibrationReport) -> dict[str, Any]:
    """Of each site and date whether ranks lie within the bands, and if not how far they are from uniform.

    The bands hold for all sites together with 95 %, and so do those of the dates.
    """
    found: dict[str, Any] = {}
    for dates in (False, True):
        names = [name for name in report.ranks if (name in DATES) == dates]
        chosen = CalibrationReport(report.draws, {name: report.ranks[name] for name in names})
        deviations, covered = chosen.deviations(), chosen.coverage(LEVEL)
        for name, check in chosen.checks().items():
            found[name] = {
                "within": check.within,
                "deviation": deviations[name],
                "coverage": covered[name],
                "shift": float(check.shift[0]),
                "spread": float(check.spread[0]),
            }
    return found


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def calibration_table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Sites in rows, families in columns: the largest distance from uniform, bold outside of the bands."""
    lines = [_row("site", *(name.replace("_", " ") for name in records)), _row(*["---"] * (1 + len(records)))]
    for site in next(iter(records.values()))["ranks"]:
        cells = []
        for record in records.values():
            one = record["ranks"][site]
            mark = "" if one["within"] else "**"
            cells.append(f"{mark}{one['deviation']:.3f}{mark} ({one['coverage']:.0%})")
        lines.append(_row(site.replace("_", " "), *cells))
    return "\n".join(lines)


def comparison_table(record: Mapping[str, Any]) -> str:
    """Methods in rows; RMSE, CRPS and intervals of start and end of season, and distance from the sampler."""
    heads = [f"{date.split('_')[0]}: RMSE, CRPS (d) | covered by {LEVEL:.0%} (width, d)" for date in _SHOWN]
    lines = [_row("method", *heads, "medians from NUTS's", "width over NUTS's", "told from NUTS", "s for 1000 pixels")]
    lines.append(_row(*["---"] * lines[0].count(" | "), "---"))
    for name, score in record["scores"].items():
        cells = []
        for date in _SHOWN:
            s = score[date]
            cells.append(f"{s['rmse']:.1f}, {s['crps']:.2f} | {s['coverage']:.0%} ({s['width']:.1f})")
        near = record["agreement"].get(name)
        if near is None:
            cells += ["–"] * 3
        else:
            cells += [", ".join(f"{near[date][what]:.2f}" for date in _SHOWN) for what in ("shift", "spread")]
            cells.append(f"{near['accuracy']:.2f}" if "accuracy" in near else "–")
        lines.append(_row(name, *cells, f"{score['seconds_per_1000']:.3g}"))
    return "\n".join(lines)


def real_table(record: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Places and methods in rows, scores of dates that were held out in columns."""
    lines = [
        _row("place", "method", "RMSE", "bias", f"covered by {LEVEL:.0%} (width)", "start (width, d)", "end (width, d)")
    ]
    lines.append(_row(*["---"] * 7))
    for place, first in next(iter(record.values())).items():
        where = f"{place}: {first['seasons']} seasons, {first['held_out']} dates"
        lines.append(_row(where, "straight lines", f"{first['line']:.3f}", *["–"] * 4))
        for method, of in record.items():
            s = of[place]
            dates = [f"{s[date]:.0f} ({s[f'{date}_width']:.0f})" for date in _SHOWN]
            scores = f"{s['rmse']:.3f}", f"{s['bias']:+.3f}", f"{s['coverage']:.0%} ({s['width']:.2f})"
            lines.append(_row("", method, *scores, *dates))
    return "\n".join(lines)


def tables(report: Mapping[str, Any]) -> str:
    """All tables, with their headings."""
    parts = []
    if "calibration" in report:
        parts += ["Ranks of simulated truths", calibration_table(report["calibration"])]
    if "comparison" in report:
        parts += ["Simulated series", comparison_table(report["comparison"])]
    for name, record in report.get("real", {}).items():
        parts += [name, real_table(record)]
    return "\n\n".join(parts)


def run(
    *,
    families: Sequence[str] = FAMILIES,
    parts: Sequence[str] = PARTS,
    data: Path | None,
    weights: Path | None,
    output: Path | None,
    seed: int = 0,
    steps: int = 5000,
    truths: int = 2000,
    pixels: int = 200,
    draws: int = 1000,
    width: int = 256,
) -> dict[str, Any]:
    """Trains, tests and compares; writes what is there after each part.

    Args:
        families: of the posteriors.
        parts: to do, of `PARTS`.
        data: folder of the measurements; None leaves real series out.
        weights: folder of trained systems.
        output: JSON file; other parts and families in it are kept.
        seed: of everything.
        steps: of the training on simulations.
        truths: whose ranks are looked at.
        pixels: of the comparison.
        draws: of every posterior there.
        width: of the encoders.
    """
    report: dict[str, Any] = json.loads(output.read_text()) if output is not None and output.exists() else {}
    report |= {"seed": seed, "steps": steps, "width": width, "truths": truths}

    def write() -> None:
        report["machine"] = machine(("flax", "numpyro", "scipy"))
        if output is not None:
            rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
            output.write_text(json.dumps(rounded, indent=1) + "\n")
            output.with_suffix(".md").write_text(tables(report) + "\n")

    def learn(family: str, name: str) -> Trained:
        setting = REAL if name == "real" else SIMULATED
        return trained(setting, family, name=name, weights=weights, seed=seed, steps=steps, width=width)

    key_truths, key_ranks, key_series = jax.random.split(jax.random.key(seed + 1), 3)
    systems = {}
    for family in families if {"calibration", "comparison"} & set(parts) else ():
        system, minutes = learn(family, "simulated")
        systems[family] = system
        if "calibration" in parts:
            known = simulated(system, SIMULATED.sampler, key_truths, truths)
            found = calibration(ranks(system, known, key_ranks, draws=199))
            report.setdefault("calibration", {})[family] = {"minutes": minutes, "ranks": found}
            print(f"{family}: ranks", file=sys.stderr, flush=True)
            write()
    if "comparison" in parts:
        series = simulated(systems[families[0]], SIMULATED.sampler, key_series, pixels)
        report["comparison"] = compare(systems, SIMULATED, series, seed=seed, draws=draws)
        write()
    if "real" in parts and data is not None:
        system, _ = learn(_OF_REAL, "real")
        for name, read in (("MOD13A1", read_sites), ("Sentinel-2", read_plots)):
            seasons = read(data, seed=seed)
            adapting = max(1, round(_ADAPTING * steps))
            report.setdefault("real", {})[name] = compare_real(system, seasons, seed=seed, steps=adapting)
            print(f"{name}: fitted", file=sys.stderr, flush=True)
            write()
    return report


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    parser.add_argument("--output", type=Path, help="JSON file; tables (.md) go beside it")
    parser.add_argument("--weights", type=Path, help="folder of the trained systems")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--steps", type=int, default=5000, help="of the training")
    parser.add_argument("--pixels", type=int, default=200, help="of the comparison with the sampler")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    data = None if given.data is None else Path(given.data)
    if data is not None and not data.is_dir():
        raise SystemExit(f"expected the folder of the measurements, got {data}; set RELEO_DATA_DIR or give --data")
    report = run(
        families=given.families,
        parts=given.parts,
        data=data,
        weights=given.weights,
        output=given.output,
        seed=given.seed,
        steps=given.steps,
        pixels=given.pixels,
    )
    print(tables(report))


if __name__ == "__main__":
    main()
