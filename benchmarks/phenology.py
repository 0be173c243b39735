"""Scores models of spring dates on PhenoCam sites and years that they have not seen.

    python -m benchmarks phenology [--data DIR] [--output FILE.json] [--by GROUP ...] [--all] [--series] [--figure FILE]

The measurements are looked for in the folder that the environment variable RELEO_DATA_DIR names. Every model is
calibrated on all rows but those of one site (one year, one place: sites within a third of a degree), and predicts them
with intervals. The model that the evidence of the other rows prefers is chosen anew in each fold. With `--all` chill
and a trend with the climate of the sites take part. `--series` fits seasons to series of a satellite instead and scores
them on clear dates that were held out; `--figure` draws some of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.phenology_series import SITES, fit_seasons, plot_seasons, read_series, score_seasons, series_table
from benchmarks.phenology_spring import CANDIDATES, DEAR, LEVEL, OTHERS, VEGETATION, compare_spring, read_spring

GROUPS = ("site", "year", "place")


def table(scores: dict[str, Any]) -> str:
    """Methods in rows, scores in columns, as markdown."""
    lines = [
        f"| model | RMSE (d), {LEVEL:.0%} over sites | bias (d) | CRPS (d) | covered by {LEVEL:.0%} | width (d) |",
        "|---|---|---|---|---|---|",
    ]
    for name, score in scores.items():
        error = f"{score['rmse']:.2f}"
        rest = "– | –"
        if "coverage" in score:
            error += " ({:.2f}–{:.2f})".format(*score["rmse_interval"])
            rest = f"{score['coverage']:.0%} | {score['width']:.1f}"
        lines.append(f"| {name} | {error} | {score['bias']:+.2f} | {score['crps']:.2f} | {rest} |")
    return "\n".join(lines)


def tables(report: dict[str, Any]) -> str:
    """All tables, with their headings."""
    return "\n\n".join(
        f"{VEGETATION[code]}, one {group} left out, {entry['rows']} rows of {entry['sites']} sites\n\n"
        f"{table(entry[group])}"
        for code, entry in report["spring"].items()
        for group in GROUPS
        if group in entry
    )


def _write(place: Path, report: dict[str, Any], markdown: str) -> None:
    """The numbers with four digits, and the tables beside them."""
    rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
    place.write_text(json.dumps(rounded, indent=1) + "\n")
    place.with_suffix(".md").write_text(markdown + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    parser.add_argument("--by", nargs="+", choices=GROUPS, default=("site",), help="what is left out")
    parser.add_argument("--all", action="store_true", help="also the models that take minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file; tables (.md) go beside it")
    parser.add_argument("--series", action="store_true", help="seasons of a satellite's series instead")
    parser.add_argument("--figure", type=Path, help="with --series: image of some seasons")
    parser.add_argument("--site", choices=SITES, default="IT-Col", help="of the image")
    given = parser.parse_args(arguments)
    if given.data is None or not Path(given.data).is_dir():
        raise SystemExit("expected the folder of the measurements; set RELEO_DATA_DIR or give --data")
    if given.series:
        fitted = fit_seasons(read_series(Path(given.data)), seed=given.seed)
        scored = score_seasons(fitted, seed=given.seed)
        print(f"{series_table(scored)}\n\nconverged: {fitted.converged:.0%}")
        if given.output:
            _write(given.output, {"seed": given.seed, "series": scored}, series_table(scored))
        if given.figure:
            plot_seasons(fitted, given.site).savefig(given.figure)
        return
    spring: dict[str, Any] = {}
    report = {
        "seed": given.seed,
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "spring": spring,
    }
    for code, rows in read_spring(Path(given.data)).items():
        entry: dict[str, Any] = {"rows": int(rows.date.size), "sites": int(np.unique(rows.site).size)}
        candidates = OTHERS
        if code == "DB":
            candidates = {name: one for name, one in CANDIDATES.items() if given.all or name not in DEAR}
        for group in given.by if code == "DB" else ("site",):
            entry[group] = compare_spring(rows, getattr(rows, group), candidates, seed=given.seed)
            print(f"{VEGETATION[code]}, one {group} left out\n\n{table(entry[group])}\n", file=sys.stderr, flush=True)
        spring[code] = entry
        if given.output:
            _write(given.output, report, tables(report))
    print(tables(report))


if __name__ == "__main__":
    main()
