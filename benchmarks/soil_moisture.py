"""Calibrates water clouds on real fields, and retrieves soil moisture from radar with the vegetation known.

    python -m benchmarks soil_moisture [--data DIR] [--output FILE.json] [--parts crops station] [--short]

The measurements are looked for in the folder that the environment variable RELEO_DATA_DIR names. Crops: fits with weak
priors beside free least squares, by all rows and leaving one out. Station: moisture of the dates that a method has not
seen, by years, beside the mean of those it has.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.radar import crops, station
from benchmarks.soil_moisture_crops import LEVEL, SHORT, Budget, fit_crops
from benchmarks.soil_moisture_figure import plot_fits
from benchmarks.soil_moisture_station import score_station
from releo_jax.benchmarking.machine import machine


def fits_table(report: dict[str, Any]) -> str:
    """Crops and bands in rows, as markdown."""
    head = "crop, band | rows | deviation | free, quoted | free | posterior mean | more than quoted | covered · width"
    head += " | left out: free | posterior mean | covered · width"
    lines = [f"| {head} |", "|---" * 11 + "|"]
    for crop, entry in report["crops"].items():
        for band, b in entry["bands"].items():
            quoted = b["quoted"] or b["free"]
            cells = [
                f"{crop}, {band}",
                str(b["fit"]["rows"]),
                f"{b['deviation']:.2f}",
                "–" if b["quoted"] is None else f"{b['quoted']:.2f}",
                f"{b['free']:.3f}",
                f"{b['rmse']:.3f}",
                f"{b['rmse'] / quoted - 1.0:+.1%}" + ("" if b["quoted"] else " (own)"),
                f"{b['fit']['coverage']:.0%} · {b['fit']['width']:.1f}",
                f"{b['free_left_out']:.2f}",
                f"{b['left_out_rmse']:.2f}",
                f"{b['left_out']['coverage']:.0%} · {b['left_out']['width']:.1f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def moisture_table(groups: dict[str, dict[str, Any]]) -> str:
    """Methods in rows by group, as markdown."""
    lines = ["| | rows | RMSE | bias | correlation | CRPS | covered · width |", "|---" * 7 + "|"]
    for group, methods in groups.items():
        for name, s in methods.items():
            inside = f"{s['coverage']:.0%} · {s['width']:.3f}" if "coverage" in s else "–"
            correlation = "–" if np.isnan(s["correlation"]) else f"{s['correlation']:+.2f}"
            lines.append(
                f"| {group}: {name} | {s['rows']} | {s['rmse']:.4f} | {s['bias']:+.4f} | {correlation} | "
                f"{s['crps']:.4f} | {inside} |"
            )
    return "\n".join(lines)


def tables(report: dict[str, Any]) -> str:
    """All tables, with their headings."""
    text = []
    if "crops" in report:
        text.append(f"Backscatter, dB; intervals of {LEVEL:.0%}\n\n{fits_table(report)}")
        groups = {crop: entry["moisture"] for crop, entry in report["crops"].items()}
        text.append(f"Moisture of the fields, each left out, m³ m⁻³\n\n{moisture_table(groups)}")
    for scheme, methods in report.get("station", {}).items():
        for part in ("all", "not frozen"):
            group = {f"{scheme} years": {name: score[part] for name, score in methods.items()}}
            text.append(f"Moisture of the station, {scheme} years teach, {part}, m³ m⁻³\n\n{moisture_table(group)}")
    return "\n\n".join(text) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    parser.add_argument("--parts", nargs="+", choices=("crops", "station"), default=("crops", "station"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="few particles, to see that it runs")
    parser.add_argument("--check", action="store_true", help="fit the crops by NUTS too, which takes minutes")
    parser.add_argument("--output", type=Path, help="JSON file; tables (.md) and figure (.png) go beside it")
    given = parser.parse_args(arguments)
    if given.data is None or not given.data.is_dir():
        raise SystemExit("expected the folder of the measurements; set RELEO_DATA_DIR or give --data")
    budget = SHORT if given.short else Budget()
    report: dict[str, Any] = {}
    if given.output is not None and given.output.exists():
        report = json.loads(given.output.read_text())
    report |= {"seed": given.seed, "budget": budget._asdict(), "machine": machine(["numpyro", "scipy"])}
    if "crops" in given.parts:
        fits = fit_crops(crops(given.data), budget, given.seed, check=given.check)
        report["crops"] = {name: fit.report for name, fit in fits.items()}
        if given.output is not None:
            plot_fits(fits).savefig(given.output.with_suffix(".png"))
    if "station" in given.parts:
        report["station"] = score_station(station(given.data), budget, given.seed)
    print(tables(report))
    if given.output is not None:
        rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
        given.output.write_text(json.dumps(rounded, indent=1) + "\n")
        given.output.with_suffix(".md").write_text(tables(report))


if __name__ == "__main__":
    main()
