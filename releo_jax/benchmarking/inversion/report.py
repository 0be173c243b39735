"""Tasks times algorithms times budgets: measured, written as one table, read back."""

from __future__ import annotations

import dataclasses
import json
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from releo_jax.benchmarking.inversion.algorithms import BUDGETS, Inverter, get_algorithm
from releo_jax.benchmarking.inversion.references import PACKAGES, References, load_references
from releo_jax.benchmarking.inversion.tasks import Task, get_task
from releo_jax.benchmarking.machine import machine
from releo_jax.benchmarking.markdown import measured_on, table
from releo_jax.inference import DrawsPosterior, Posterior
from releo_jax.metrics import RankCheck, c2st, contraction, coverage_curve, crps, energy_score, rank_check
from releo_jax.observations import Observations, check_observations

LEVEL = 0.9
_RANK_DRAWS = 200
_TIMED_DRAWS = 100
_MAPPED = 1 << 14  # pixels of a map that is timed
_LONG = 90.0  # seconds of an inversion that is not repeated to leave compilation out


@dataclasses.dataclass(frozen=True)
class Row:
    """What was found for one task, algorithm and budget. Unknowns are averaged in units of their prior's deviation.

    Attributes:
        task, algorithm, budget: names.
        well_specified: whether the observations come from the model that is inverted.
        c2st: accuracy of a classifier against the reference draws, of each fixed observation; empty without references.
        pixels: fresh simulations behind the scores that follow.
        calibrated: whether the ranks of all unknowns stay within their simultaneous bands (SBC).
        coverage: of central 90 % intervals, mean over unknowns.
        coverages: the same of each unknown.
        width: of these intervals.
        crps: continuous ranked probability score.
        energy_score: of the joint posteriors.
        contraction: 1 - posterior variance / prior variance, mean; this and the scores without pixels that failed.
        simulations: spent in training.
        amortized: whether a trained network gives the posterior in one pass.
        per_pixel: simulations of each inversion (trajectories for nuts).
        training_seconds: compilation included.
        microseconds: of an inversion with 100 draws, many pixels at once, after compilation.
        ranks: of the true values among 200 draws `(pixel, unknown)`.
        sites: names of the unknowns.
        map_microseconds: of an inversion to what a map holds, means and 90 % intervals of all unknowns, many pixels at
            once, after compilation; None unless a trained network gives them.
    """

    task: str
    algorithm: str
    budget: str
    well_specified: bool
    c2st: tuple[float, ...]
    pixels: int
    calibrated: bool
    coverage: float
    coverages: tuple[float, ...]
    width: float
    crps: float
    energy_score: float
    contraction: float
    simulations: int
    amortized: bool
    per_pixel: float
    training_seconds: float
    microseconds: float
    ranks: tuple[tuple[int, ...], ...]
    sites: tuple[str, ...]
    map_microseconds: float | None = None

    @property
    def mean_c2st(self) -> float:
        """Mean over the fixed observations; NaN without references."""
        return float(np.mean(self.c2st)) if self.c2st else math.nan

    @property
    def check(self) -> RankCheck:
        """The ranks within their bands, for a figure."""
        return rank_check(np.array(self.ranks), draws=_RANK_DRAWS)


def draws_of(task: Task, posterior: Any, key: Array, n: int, *, repeat: bool = True) -> np.ndarray:
    """`n` draws `(pixel, n, dimension)`; of a posterior known by fewer, some of them again, or only those it has."""
    if isinstance(posterior, DrawsPosterior):
        every = task.stack(posterior.draws)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        n = n if repeat else min(n, len(every))
        return every[rng.choice(len(every), n, replace=len(every) < n)].swapaxes(0, 1)
    return task.stack(posterior.sample(key, n)).swapaxes(0, 1)


def measure(
    task: str,
    algorithm: str,
    budget: str,
    *,
    seed: int = 0,
    pixels: int | None = None,
    references: References | None = None,
) -> Row:
    """One row of the table.

    Args:
        task, algorithm, budget: names in the registries.
        seed: of training, fresh simulations and draws.
        pixels: fresh simulations; default what the algorithm has time for.
        references: of the fixed observations; default those stored with the package, if there are any.

    Raises:
        ValueError: an unknown name.
    """
    if budget not in BUDGETS:
        raise ValueError(f"expected a budget among {sorted(BUDGETS)}, got {budget!r}")
    problem, make = get_task(task), get_algorithm(algorithm)
    key_train, key_fixed, key_fresh, key_invert, key_draws = jax.random.split(jax.random.key(seed), 5)
    begin = time.perf_counter()
    inverter = make(problem, BUDGETS[budget], key_train)
    training = inverter.training_seconds
    if training is None:
        training = time.perf_counter() - begin if inverter.simulations else 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of short chains: the scores say what came of them
        references = references or load_references(problem)
        accuracies: list[float] = []
        if references is not None:
            many = references.draws.shape[1]
            posterior = inverter.posterior(problem.fixed[1], key_fixed)
            # A draw that is there twice, in training and test, would be recognised.
            found = draws_of(problem, posterior, key_fixed, many, repeat=False)
            accuracies = [c2st(a, b).accuracy for a, b in zip(found, references.draws, strict=True)]
        size = inverter.pixels if pixels is None else min(pixels, inverter.pixels)
        truth, data = problem.simulate(key_fresh, size)

        def invert() -> tuple[float, Any]:
            begin = time.perf_counter()
            posterior = inverter.posterior(data, key_invert)
            draws_of(problem, posterior, key_draws, _TIMED_DRAWS)
            return time.perf_counter() - begin, posterior

        seconds, posterior = invert()
        if seconds < _LONG:
            seconds, posterior = invert()
    draws = draws_of(problem, posterior, key_draws, _RANK_DRAWS)
    std = problem.prior_std
    ranks = (draws < truth[:, None]).sum(1)
    curve = coverage_curve(truth, draws, levels=(LEVEL,))
    scores = [crps(truth[:, i], draws[..., i]) / std[i] for i in range(std.size)]
    return Row(
        task=task,
        algorithm=algorithm,
        budget=budget,
        well_specified=problem.well_specified,
        c2st=tuple(round(value, 4) for value in accuracies),
        pixels=size,
        calibrated=rank_check(ranks, draws=_RANK_DRAWS).within,
        coverage=float(curve.coverage.mean()),
        coverages=tuple(round(float(value), 4) for value in curve.coverage[:, 0]),
        width=float((curve.width[:, 0] / std).mean()),
        crps=float(np.mean(scores)),
        energy_score=energy_score(truth, draws, scale=std),
        contraction=float(np.nanmean(contraction(draws, prior_std=std))),
        simulations=inverter.simulations,
        amortized=inverter.amortized,
        per_pixel=float(inverter.per_pixel(posterior)),
        training_seconds=training,
        microseconds=1e6 * seconds / size,
        ranks=tuple(tuple(int(rank) for rank in row) for row in ranks),
        sites=problem.sites,
        map_microseconds=_map_microseconds(problem, inverter, key_invert, data, larger=pixels is None)
        if inverter.amortized
        else None,
    )


def _map_microseconds(
    problem: Task, inverter: Inverter, key: Array, data: Observations, *, larger: bool
) -> float | None:
    """Microseconds a pixel for means and intervals; None where the posterior does not state them.

    Args:
        problem: that is inverted.
        inverter: of its observations.
        key: random key.
        data: observations of a few pixels.
        larger: whether a map is simulated, where there is time for one.
    """

    def seconds(data: Observations) -> float:
        begin = time.perf_counter()
        posterior = inverter.posterior(data, key)
        jax.block_until_ready((posterior.mean, *(posterior.quantile(0.5 + side * LEVEL / 2.0) for side in (-1, 1))))
        return time.perf_counter() - begin

    if not isinstance(inverter.posterior(data, key), Posterior):
        return None
    seconds(data)  # compiles
    pixels, found = check_observations(data), seconds(data)
    if larger and found / pixels * _MAPPED < _LONG:
        pixels, data = _MAPPED, problem.simulate(key, _MAPPED)[1]
        seconds(data)
        found = min(seconds(data) for _ in range(3))
    return 1e6 * found / pixels


@dataclasses.dataclass(frozen=True)
class Report:
    """Rows and what they were measured on.

    Attributes:
        rows: one for each task, algorithm and budget.
        machine: class of the machine and versions.
        seed: of all rows.
        command: that repeats them.
    """

    rows: tuple[Row, ...]
    machine: dict[str, Any]
    seed: int
    command: str = ""

    def with_row(self, row: Row) -> Report:
        """The report with a row more, or another one in the place of the same task, algorithm and budget."""

        def name(row: Row) -> tuple[str, str, str]:
            return row.task, row.algorithm, row.budget

        kept = [one for one in self.rows if name(one) != name(row)]
        return dataclasses.replace(self, rows=tuple(sorted([*kept, row], key=_order)))

    def to_json(self) -> str:
        """As text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    def to_markdown(self) -> str:
        """One table, tasks after one another, with machine and versions above."""
        return f"{measured_on(self.machine, self.seed)}\n\n{table(_HEAD, map(_cells, self.rows))}"


def from_json(text: str) -> Report:
    """Reads what `Report.to_json` wrote."""
    read = json.loads(text)
    rows = []
    for row in read.pop("rows"):
        row |= {name: tuple(row[name]) for name in ("c2st", "coverages", "sites")}
        rows.append(Row(**row | {"ranks": tuple(tuple(ranks) for ranks in row["ranks"])}))
    return Report(rows=tuple(rows), **read)


def new_report(seed: int, command: str = "") -> Report:
    """A report without rows, of this machine."""
    return Report((), machine(PACKAGES), seed, command)


def best_amortized(rows: Sequence[Row]) -> Row | None:
    """The row of the amortised algorithm with the least C2ST."""
    return min((row for row in rows if row.amortized and row.c2st), key=lambda row: row.mean_c2st, default=None)


def _order(row: Row) -> tuple[Any, ...]:
    return row.task, list(BUDGETS).index(row.budget) if row.budget in BUDGETS else 99, row.algorithm


_HEAD = (
    "task", "algorithm", "budget", "C2ST (worst)", "SBC", "coverage 90 % (range)", "width", "CRPS", "energy score",
    "contraction", "pixels", "simulations", "per pixel", "training s", "µs per inversion", "µs to a map",
)  # fmt: skip


def _cells(row: Row) -> list[str]:
    known = bool(row.c2st)
    return [
        row.task,
        row.algorithm,
        row.budget,
        f"{row.mean_c2st:.3f} ({max(row.c2st):.2f})" if known else "–",
        ("within" if row.calibrated else "outside")
        if row.well_specified
        else f"({'within' if row.calibrated else 'outside'})",
        f"{100 * row.coverage:.1f} ({100 * min(row.coverages):.0f}–{100 * max(row.coverages):.0f})",
        f"{row.width:.2f}",
        f"{row.crps:.3f}",
        f"{row.energy_score:.3f}",
        f"{row.contraction:.2f}",
        str(row.pixels),
        f"{row.simulations:,}",
        f"{row.per_pixel:,.0f}",
        f"{row.training_seconds:.0f}",
        f"{row.microseconds:,.0f}",
        "–" if row.map_microseconds is None else f"{row.map_microseconds:,.0f}",
    ]


__all__ = ["LEVEL", "Report", "Row", "best_amortized", "draws_of", "from_json", "measure", "new_report"]
