"""Scores what fills gaps of satellite series: one date of a patch is left out at a time and told from the others.

    python -m benchmarks time_gaps [--data DIR] [--output FILE.json] [--every N]

The measurements are looked for in the folder that the environment variable RELEO_DATA_DIR names. A whole date is
hidden, the parameters are learned anew without it, and its clear pixels are scored. `--every` takes every n-th row and
column of pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import jax
import numpy as np

from benchmarks.time_gaps_methods import METHODS, Method, Normal, Patch
from releo_jax.metrics import bias, coverage, crps_normal, mean_width, rmse

LEVEL = 0.9
CLOUDY = 0.05  # share of clouds above which a date is called cloudy
_DIGITS = NormalDist().inv_cdf(0.5 + 0.5 * LEVEL)


def read_patch(data: Path, *, every: int = 1) -> Patch:
    """The series of the patch of one square kilometre; dates that are all cloud are dropped.

    Args:
        data: folder of the measurements.
        every: takes every n-th row and column of pixels; the share of clouds is that of all.
    """
    with np.load(data / "s2_ndvi_1km" / "eopatch.npz") as stored:
        clear = stored["valid"]
        kept = clear.any((1, 2))
        cut = (kept, slice(every // 2, None, every), slice(every // 2, None, every))
        date = stored["time"].astype("datetime64[s]")
        # orbits of a day differ by minutes
        day = np.round((date - date[0]) / np.timedelta64(1, "D"))[kept]
        index = stored["ndvi"][cut].reshape(kept.sum(), -1) / 1e4
    return Patch(day, index, clear[cut].reshape(kept.sum(), -1), 1.0 - clear[kept].mean((1, 2)))


def hidden(patch: Patch, date: int) -> Patch:
    """The patch without the values of a date; its clouds stay known."""
    seen = np.arange(patch.day.size)[:, None] != date
    return patch._replace(ndvi=np.where(seen, patch.ndvi, np.nan), clear=patch.clear & seen)


def leave_one_date_out(
    patch: Patch, methods: Sequence[Method] = METHODS, *, dates: Iterable[int] | None = None
) -> dict[str, dict[str, Any]]:
    """Tells each date from all others and scores its clear pixels.

    Args:
        patch: series of pixels.
        methods: those to compare.
        dates: those to leave out, one at a time; None means all with clear pixels.

    Returns:
        Scores by method, see `scores`.
    """
    rows = np.flatnonzero(patch.clear.any(1)) if dates is None else list(dates)
    told: dict[str, list[Normal]] = {}
    for date in map(int, rows):
        seen = hidden(patch, date)
        for method in methods:
            for name, law in method(seen, date).items():
                told.setdefault(name, []).append(law)
        print(f"day {patch.day[date]:.0f} told", file=sys.stderr, flush=True)
    return {name: scores(patch, rows, laws) for name, laws in told.items()}


def scores(patch: Patch, dates: Sequence[int] | np.ndarray, laws: Sequence[Normal]) -> dict[str, Any]:
    """Scores of clear pixels of dates that were left out.

    Args:
        patch: with their values.
        dates: that were told.
        laws: what was said of them.

    Returns:
        `rmse`, `bias`, `crps` (the mean absolute error where no deviation is stated), `coverage` and `width` of the
        central 90 %; `rmse_inside` without the first and the last date of the patch, whose values are extrapolated;
        `rmse_clear` of the dates with few clouds; `rmse_within`, after the mean error of each date is taken away;
        `dates`, day, pixels, RMSE and bias of each.
    """
    known = [patch.clear[date] for date in dates]
    truth = [patch.ndvi[date][mask] for date, mask in zip(dates, known, strict=True)]
    mean = [law.mean[mask] for law, mask in zip(laws, known, strict=True)]
    error = [m - y for m, y in zip(mean, truth, strict=True)]

    def root_mean_square(chosen: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.concatenate([error[i] for i in np.flatnonzero(chosen)]) ** 2)))

    rows = np.asarray(dates)
    inside = (rows > 0) & (rows < patch.day.size - 1)
    every, expected = np.concatenate(truth), np.concatenate(mean)
    found: dict[str, Any] = {
        "pixels": every.size,
        "rmse": rmse(every, expected),
        "bias": bias(every, expected),
        "crps": float(np.abs(expected - every).mean()),
        "rmse_inside": root_mean_square(inside) if inside.any() else None,
        "rmse_clear": root_mean_square(patch.cloudy[rows] < CLOUDY) if (patch.cloudy[rows] < CLOUDY).any() else None,
        "rmse_within": float(np.concatenate([e - e.mean() for e in error]).std()),
    }
    stated = [law.std[mask] for law, mask in zip(laws, known, strict=True) if law.std is not None]
    if stated:
        std = np.concatenate(stated)
        lower, upper = expected - _DIGITS * std, expected + _DIGITS * std
        found["crps"] = crps_normal(every, expected, std)
        found["coverage"], found["width"] = coverage(every, lower, upper), mean_width(lower, upper)
    found["dates"] = [
        {
            "day": float(patch.day[date]),
            "cloudy": float(patch.cloudy[date]),
            "pixels": e.size,
            "rmse": float(np.sqrt(np.mean(e**2))),
            "bias": float(e.mean()),
        }
        for date, e in zip(dates, error, strict=True)
    ]
    return found


def table(records: dict[str, dict[str, Any]]) -> str:
    """Methods in rows, scores in columns, as markdown."""
    lines = [
        f"| method | RMSE | without both ends | dates with less than {CLOUDY:.0%} clouds | offset of the date known | "
        f"CRPS | covered by {LEVEL:.0%} | width |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, score in records.items():
        columns = [score[key] for key in ("rmse", "rmse_inside", "rmse_clear", "rmse_within", "crps")]
        numbers = " | ".join("–" if value is None else f"{value:.4f}" for value in columns)
        rest = f"{score['coverage']:.0%} | {score['width']:.3f}" if "coverage" in score else "– | –"
        lines.append(f"| {name} | {numbers} | {rest} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.data is None or not Path(given.data).is_dir():
        raise SystemExit("expected the folder of the measurements; set RELEO_DATA_DIR or give --data")
    patch = read_patch(Path(given.data), every=given.every)
    records = leave_one_date_out(patch)
    print(table(records))
    if given.output:
        report = {
            "dates": int(patch.day.size),
            "pixels": int(patch.ndvi.shape[1]),
            "versions": {"jax": jax.__version__, "numpy": np.__version__},
            "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
            "methods": {name: {k: v for k, v in one.items() if k != "dates"} for name, one in records.items()},
        }
        rounded = json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.4g}"))
        given.output.write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
