"""`releo score`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from releo_jax import metrics
from releo_jax.cli.screen import aligned
from releo_jax.cubes.atomic import replacing
from releo_jax.cubes.scene_files import open_truth
from releo_jax.errors import ReleoError
from releo_jax.planning import TABLES
from releo_jax.results import INPUT_MASKED, open_result, result_variables
from releo_jax.variables import VARIABLES

_COLUMNS = ("pixels", "RMSE", "bias", "R2", "coverage", "width")


def run_score(result: Path, truth: Path, *, json_file: Path | None) -> None:
    """Prints the scores of a result, and writes them as JSON if asked to."""
    pairs, level = _tables(result, truth) if result.suffix.lower() in TABLES else _images(result, truth)
    if not pairs:
        raise ReleoError(f"{truth}: no truth for the variables in {result}; give the scene that the result was made of")
    scores: dict[str, Any] = {}
    for alias, arrays in pairs.items():
        retrieved = np.isfinite(arrays["truth"]) & np.isfinite(arrays["mean"]) & (arrays["flag"] & INPUT_MASKED == 0)
        if not retrieved.any():
            raise ReleoError(f"{result}: no pixel of {alias} was retrieved; nothing to score")
        unflagged = retrieved & (arrays["flag"] == 0)
        scores[alias] = {"all": scores_of({key: value[retrieved] for key, value in arrays.items()})}
        if unflagged.any():
            scores[alias]["unflagged"] = scores_of({key: value[unflagged] for key, value in arrays.items()})
    rows = [("variable", "pixels used", *_COLUMNS)]
    for alias, parts in scores.items():
        for which, values in parts.items():
            rows.append((alias, which, *(_number(values[name], name) for name in _COLUMNS)))
    print(aligned(rows))
    units = ", ".join(f"{alias} in {VARIABLES[alias].units}" for alias in scores if VARIABLES[alias].units != "1")
    what = "intervals" if level is None else f"{100 * level:g} % intervals"
    print(f"coverage and mean width of the {what}{'; ' + units if units else ''}")
    if json_file is not None:
        content = {"result": result.name, "truth": truth.name, "level": level, "scores": scores}
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


def scores_of(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Scores of arrays `(sample,)` named `truth`, `mean`, `lower`, `upper`."""
    truth, mean, lower, upper = (arrays[key] for key in ("truth", "mean", "lower", "upper"))
    return {
        "pixels": int(truth.size),
        "RMSE": metrics.rmse(truth, mean),
        "bias": metrics.bias(truth, mean),
        "R2": metrics.r2(truth, mean),
        "coverage": metrics.coverage(truth, lower, upper),
        "width": metrics.mean_width(lower, upper),
    }


def _number(value: float, name: str) -> str:
    if name == "pixels":
        return f"{value:d}"
    if name == "coverage":
        return f"{100 * value:.1f} %"
    return f"{value:+.3g}" if name == "bias" else f"{value:.3g}"


@contextlib.contextmanager
def truth_on_grid(path: Path, result: xr.Dataset) -> Iterator[xr.Dataset]:
    """The truth of a simulated scene on the grid of a result, while the context lasts.

    Raises:
        ReleoError: there is none, or its grid is another one.
    """
    with contextlib.closing(open_truth(path)) as truth:
        for name in ("y", "x"):
            same = truth.sizes[name] == result.sizes[name] and np.allclose(truth[name], result[name], rtol=0, atol=1e-3)
            if not same:
                raise ReleoError(
                    f"{path}: its grid is not that of the result ({truth.sizes['y']} x {truth.sizes['x']} pixels, not "
                    f"{result.sizes['y']} x {result.sizes['x']}, or shifted); give the scene that it was made of"
                )
        if truth.sizes.get("time", 1) != result.sizes["time"]:
            raise ReleoError(f"{path}: {truth.sizes['time']} dates, but the result has {result.sizes['time']}")
        yield truth


def _images(result: Path, truth: Path) -> tuple[dict[str, dict[str, np.ndarray]], float | None]:
    with contextlib.closing(open_result(result)) as maps:
        found = result_variables(maps)
        if not found:
            held = ", ".join(map(str, maps.data_vars))[:80]
            raise ReleoError(f"{result}: not a result of releo invert; found {held}")
        pairs = {}
        with truth_on_grid(truth, maps) as true:
            for alias in found:
                name = VARIABLES[alias].name
                if name in true:
                    keys = ("mean", "lower", "upper", "flag")
                    pairs[alias] = {key: maps[f"{name}_{key}"].values.ravel() for key in keys}
                    pairs[alias]["truth"] = true[name].values.ravel()
        return pairs, float(maps.attrs["level"]) if "level" in maps.attrs else None


def _tables(result: Path, truth: Path) -> tuple[dict[str, dict[str, np.ndarray]], float | None]:
    frames = [_frame(path) for path in (result, truth)]
    if len(frames[0]) != len(frames[1]):
        raise ReleoError(f"{truth}: {len(frames[1])} rows, but the result has {len(frames[0])}; give the same rows")
    pairs = {}
    for alias, variable in VARIABLES.items():
        names = [name for name in (f"{alias}_true", variable.name, alias) if name in frames[1]]
        if f"{alias}_mean" in frames[0] and names:
            pairs[alias] = {key: frames[0][f"{alias}_{key}"].to_numpy() for key in ("mean", "lower", "upper", "flag")}
            pairs[alias]["truth"] = frames[1][names[0]].to_numpy(dtype=np.float64)
    return pairs, frames[0].attrs.get("level")  # a CSV does not tell


def _frame(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ReleoError(f"{path}: no such file")
    if path.suffix.lower() not in TABLES:
        raise ReleoError(f"{path}: expected a table ({', '.join(TABLES)}) beside a table")
    try:
        return pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ReleoError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]}); make it again") from error
