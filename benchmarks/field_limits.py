"""What limits the methods of `python -m benchmarks field`, from the estimates of each row that it keeps with --rows.

    python -m benchmarks field --rows FOLDER && python -m benchmarks field_limits FOLDER [--data DIR]

Prints how far methods are from the No-U-Turn sampler, where intervals miss, what the bands leave to the prior, how far
instruments are from each other, and what the assumed angles change. The rows must be those of the default options.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.field import simulated
from benchmarks.measurements import Rows, pixels, plots, swiss_wheat
from physics import SunView
from releo_jax.methods import load_method
from releo_jax.metrics import bias, rmse

_RANGES = (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 9.0)
_Estimates = Mapping[str, np.ndarray]


def by_set(sets: Sequence[Rows]) -> dict[str, tuple[Rows, slice]]:
    """Rows of each set among all."""
    ends = np.cumsum([rows.truth.size for rows in sets])
    return {rows.name: (rows, slice(end - rows.truth.size, end)) for rows, end in zip(sets, ends, strict=True)}


def against(reference: _Estimates, other: _Estimates, sets: Sequence[Rows]) -> str:
    """By set: root mean square difference of the means, ratio of the mean widths, on the rows of the reference."""
    where = {row: i for i, row in enumerate(other["index"])}
    cells = []
    for rows, part in by_set(sets).values():
        mine = np.flatnonzero((reference["index"] >= part.start) & (reference["index"] < part.stop))
        exact = reference[rows.alias][:, mine]
        found = other[rows.alias][:, [where[row] for row in reference["index"][mine]]]
        cells.append(
            f"{rmse(exact[0], found[0]):.2f} ({(found[2] - found[1]).mean() / (exact[2] - exact[1]).mean():.2f})"
        )
    return " | ".join(cells)


def misses(found: _Estimates, rows: Rows, part: slice) -> str:
    """Bias, and rows whose measurement lies below or above the interval, by what was measured."""
    mean, lower, upper = found[rows.alias][:, part]
    ranges = pd.cut(rows.truth, _RANGES)
    frame = pd.DataFrame(
        {"rows": 1, "bias": mean - rows.truth, "below": rows.truth < lower, "above": rows.truth > upper}
    )
    figures = {"rows": "sum", "bias": "mean", "below": "sum", "above": "sum"}
    return frame.groupby(ranges, observed=True).agg(figures).round(2).to_string()


def left_to_prior(found: _Estimates, rows: Rows, part: slice) -> str:
    """Mean posterior mean and interval of what the bands hardly show, effective over leaf area, and the misfit."""
    text = []
    for site in ("clumping", "vegetated_fraction", "brightness"):
        mean, lower, upper = found[site][:, part].mean(1)
        text.append(f"{site} {mean:.2f} ({lower:.2f} to {upper:.2f})")
    ratio = (found["pai"][0, part] / found["lai"][0, part]).mean()
    p_value, error = found["misfit_p_value"][part], np.abs(found[rows.alias][0, part] - rows.truth)
    ranked = spearmanr(p_value, error).statistic
    misfit = f"misfit below 1 %: {np.mean(p_value < 0.01):.0%}, its rank correlation with the error {ranked:.2f}"
    return f"{rows.name}: {', '.join(text)}, pai / lai {ratio:.2f}, {misfit}"


def references(data: Path, found: _Estimates, sets: Sequence[Rows]) -> str:
    """The default's estimates beside every reference method of the plots in France and of those in Spain in 2017."""
    folder, text = data / "s2_lai_plots", []
    measured, matched = pd.read_csv(folder / "insitu_lai.csv"), pd.read_csv(folder / "matchup_interp.csv")
    for name, site in (("France", "france_T31TCJ"), ("Spain 2017", "spain_T30TUM_2017")):
        rows, part = by_set(sets)[name]
        # Both tables list the plots of a site in one order.
        first = matched.loc[matched["site"] == site, "i"].min()
        frame = measured[measured["site"] == site].iloc[rows.field - first]
        for column in frame.columns[frame.columns.str.match("(pai|lai)_.*(?<!std|hod)$")]:
            used = frame[column].notna().to_numpy()
            if not used.any():
                continue
            truth, usual = frame[column].to_numpy()[used], frame["lai_ref"].to_numpy()[used]
            apart = rmse(truth, usual)
            text.append(f"{name}, {column}: {used.sum()} rows, mean {truth.mean():.2f}, RMS to lai_ref {apart:.2f}")
            for alias in ("pai", "lai"):
                mean = found[alias][0, part][used]
                text.append(f"    estimated {alias}: bias {bias(truth, mean):+.2f}, RMSE {rmse(truth, mean):.2f}")
    return "\n".join(text)


def angles(sets: Sequence[Rows]) -> str:
    """Largest root mean square change of the default's estimates when another viewing direction is assumed."""
    retrieval, text = load_method("prosail-vae", "sentinel2a"), []
    for rows in sets:
        reflectance, mask, sun_view = pixels(rows, retrieval.bands)
        usual = retrieval(reflectance, mask, sun_view, variables=(rows.alias,), level=0.9)[f"{rows.alias}_mean"]
        changes = []
        for view in ((0.0, 90.0), (10.0, 0.0), (10.0, 90.0), (10.0, 180.0)):
            columns = (rows.sun_zenith, *(np.full(rows.truth.size, angle) for angle in view))
            other = SunView.from_degrees(*(column.astype(np.float32) for column in columns))
            found = retrieval(reflectance, mask, other, variables=(rows.alias,), level=0.9)[f"{rows.alias}_mean"]
            changes.append(rmse(usual, found))
        text.append(f"{rows.name} {max(changes):.3f}")
    return ", ".join(text)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("RELEO_DATA_DIR"))
    given = parser.parse_args(arguments)
    sets = [*simulated(range(1, 5), 180), *plots(given.data), *swiss_wheat(given.data)]
    found = {path.stem: dict(np.load(path)) for path in sorted(given.rows.glob("*.npz"))}
    print("Difference to nuts (ratio of widths):", " | ".join(by_set(sets)))
    for method, estimates in found.items():
        print(f"{method}: {against(found['nuts'], estimates, sets)}")
    for rows, part in by_set(sets).values():
        print(f"\n{rows.name}, shipped\n{misses(found['shipped'], rows, part)}")
    print()
    for rows, part in by_set(sets).values():
        print(left_to_prior(found["shipped-draws"], rows, part))
    print(f"\n{references(given.data, found['shipped'], sets)}\n\nAngles: {angles(sets[1:])}")


if __name__ == "__main__":
    main()
