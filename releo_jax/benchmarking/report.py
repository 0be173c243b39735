"""The benchmark of simulators, side by side in one run, and what it found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from releo_jax.benchmarking.accuracy import (
    Census,
    Error,
    GradientAccuracy,
    ValueAccuracy,
    accuracy_of_gradients,
    accuracy_of_values,
    examined,
    nan_census,
)
from releo_jax.benchmarking.machine import machine
from releo_jax.benchmarking.markdown import markdown
from releo_jax.benchmarking.simulator import OPERATIONS, Simulator, Skipped, differentiable, evaluate
from releo_jax.benchmarking.space import names_of
from releo_jax.benchmarking.timing import (
    BATCH_SIZES,
    Memory,
    Prepared,
    Rate,
    offers,
    prepare_sizes,
    rate,
    throughput,
)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds to compile an operation at a batch size, and the memory it asks for; None where nobody says."""

    operation: str
    batch: int
    compile_seconds: float
    memory: Memory | None


@dataclasses.dataclass(frozen=True)
class Entry:
    """What was found about one simulator.

    Attributes:
        name: of the simulator.
        note: of the simulator.
        dtype: precision in which it was used.
        parameters: number of columns, conditions included.
        slopes: number of parameters with derivatives; 0 where it offers none.
        outputs: number of columns.
        values: errors of values.
        gradients: errors of slopes; None where there are none.
        census: points without finite values or slopes.
        costs: compile times and memory.
        rates: throughput.
        flags: what is wrong, a sentence each.
        left_out: what was not measured, and why.
    """

    name: str
    note: str
    dtype: str
    parameters: int
    slopes: int
    outputs: int
    values: ValueAccuracy | None
    gradients: GradientAccuracy | None
    census: Census | None
    costs: tuple[Cost, ...]
    rates: tuple[Rate, ...]
    flags: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that one run found.

    Attributes:
        machine: what it ran on, with versions.
        settings: seed, tolerances, rounds.
        entries: one for each simulator.
        skipped: entries that this machine lacks.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]

    def to_markdown(self) -> str:
        """Tables of accuracy, cost and throughput, then what is wrong and what was left out."""
        return markdown(self)

    def to_json(self) -> str:
        """All figures; `from_json` reads them."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)


def from_json(text: str) -> Report:
    """The report that `Report.to_json` wrote."""
    raw = json.loads(text)
    entries = []
    for one in raw["entries"]:
        values, gradients, census = one["values"], one["gradients"], one["census"]
        one["values"] = values and ValueAccuracy(**{key: _errors(part) for key, part in values.items()})
        if gradients:
            read = {mode: _errors(gradients.pop(mode)) for mode in ("reverse", "forward", "reference")}
            one["gradients"] = GradientAccuracy(**(gradients | read))
        one["census"] = census and Census(**census)
        costs = [cost | {"memory": cost["memory"] and Memory(**cost["memory"])} for cost in one["costs"]]
        one["costs"] = tuple(Cost(**cost) for cost in costs)
        one["rates"] = tuple(Rate(**part) for part in one["rates"])
        one["flags"], one["left_out"] = tuple(one["flags"]), tuple(one["left_out"])
        entries.append(Entry(**one))
    skipped = tuple(Skipped(**one) for one in raw["skipped"])
    return Report(raw["machine"], raw["settings"], tuple(entries), skipped)


def benchmark(
    simulators: Sequence[Simulator | Skipped],
    *,
    seed: int,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    operations: Sequence[str] = OPERATIONS,
    value_tolerance: float = 1e-4,
    gradient_tolerance: float = 1e-3,
    rounds: int = 5,
    slice_seconds: float = 0.1,
    memory_limit: float = 2.0**30,
    longest_call: float = 1.0,
    inside: int = 64,
    packages: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Measures simulators side by side on the device that JAX uses.

    Args:
        simulators: what to measure; entries that are `Skipped` are listed with their reason.
        seed: of all points and parameters.
        batch_sizes: rows a call, ascending.
        operations: which of `OPERATIONS` are timed, where a simulator offers them.
        value_tolerance: relative error of values in single precision above which a simulator is flagged.
        gradient_tolerance: relative error of slopes, likewise.
        rounds: turns that every simulator takes while rates are measured.
        slice_seconds: length of a turn.
        memory_limit: bytes of temporaries and outputs above which a batch size is left out.
        longest_call: seconds of a call above which a batch size is left out.
        inside: number of points inside the box at which errors are looked for.
        packages: distributions whose versions the report states.
        progress: is told what is being measured.

    Returns:
        The report. A measurement that raises is left out of it with the message; the others go on.
    """
    unknown = sorted(set(operations) - set(OPERATIONS))
    if unknown:
        raise ValueError(f"expected operations among {OPERATIONS}, got {unknown}")
    chosen = [one for one in simulators if isinstance(one, Simulator)]
    twice = sorted({one.name for one in chosen if sum(other.name == one.name for other in chosen) > 1})
    if twice:
        raise ValueError(f"expected different names, got {twice} more than once")
    say = progress or (lambda text: None)
    found: dict[str, dict[str, Any]] = {}
    ready: list[Prepared] = []
    for one in chosen:
        say(f"{one.name}: accuracy")
        part = found[one.name] = _accuracy(one, seed, inside, gradient_tolerance)
        for operation in [name for name in OPERATIONS if name in operations and name in offers(one)]:
            say(f"{one.name}: compiling, {operation}")
            try:
                made, why = prepare_sizes(
                    one,
                    operation,
                    sorted(batch_sizes),
                    seed=seed,
                    memory_limit=memory_limit,
                    longest_call=longest_call,
                )
            except Exception as error:  # an own simulator may raise anything; the others are still wanted
                made, why = [], _first_line(error)
            ready += made
            if why:
                part["left_out"].append(f"{operation}: {why}")
    say("throughput")
    throughput(ready, rounds=rounds, slice_seconds=slice_seconds)
    entries = []
    for one in chosen:
        mine = [made for made in ready if made.simulator == one.name]
        part = found[one.name]
        entries.append(
            Entry(
                name=one.name,
                note=one.note,
                dtype=one.dtype,
                parameters=len(names_of(one.prior)),
                slopes=len(differentiable(one)) if one.jax or one.vjp else 0,
                costs=tuple(Cost(made.operation, made.batch, made.compile_seconds, made.memory) for made in mine),
                rates=tuple(rate(made) for made in mine),
                flags=tuple(_flags(part, value_tolerance, gradient_tolerance)),
                left_out=tuple(part.pop("left_out")),
                **part,
            )
        )
    settings = {
        "seed": seed,
        "value_tolerance": value_tolerance,
        "gradient_tolerance": gradient_tolerance,
        "rounds": rounds,
        "slice_seconds": slice_seconds,
        "inside": inside,
    }
    skipped = tuple(one for one in simulators if isinstance(one, Skipped))
    return Report(machine(packages), settings, tuple(entries), skipped)


def _flags(part: dict[str, Any], value_tolerance: float, gradient_tolerance: float) -> list[str]:
    """What is wrong with a simulator, a sentence each. Distance from a reference is a figure, not a fault."""
    values, gradients, census = part["values"], part["gradients"], part["census"]
    said = []
    if census is not None:
        for what, counts in (("values", census.values), ("slopes", census.gradients)):
            bad = {place: n for place, n in counts.items() if n}
            if bad:
                where = ", ".join(f"{place} {n} of {census.points[place]}" for place, n in bad.items())
                faces = f"; on the faces {', '.join(census.faces)}" if census.faces else ""
                said.append(f"{what} are not finite: {where}{faces}")
    rounding = values.rounding.get("all") if values and values.rounding else None
    if rounding and rounding.relative > value_tolerance:
        said.append(f"single precision loses {rounding.relative:.1e} of the values ({rounding.where})")
    for mode in ("reverse", "forward"):
        errors = getattr(gradients, mode) if gradients else None
        worst = errors.get("all") if errors else None
        if worst and worst.relative > gradient_tolerance:
            said.append(f"{mode}-mode slopes are off by {worst.relative:.1e} of the largest ({worst.where})")
    return said


def _accuracy(one: Simulator, seed: int, inside: int, tolerance: float) -> dict[str, Any]:
    part: dict[str, Any] = {"values": None, "gradients": None, "census": None, "outputs": 0, "left_out": []}
    at = examined(one, seed=seed, inside=inside)
    for key, measure in (
        ("outputs", lambda: evaluate(one, at.values[:1], one.dtype).shape[1]),
        ("values", lambda: accuracy_of_values(one, at)),
        ("gradients", lambda: accuracy_of_gradients(one, at, tolerance=tolerance)),
        ("census", lambda: nan_census(one, at)),
    ):
        try:
            part[key] = measure()
        except Exception as error:  # likewise
            part["left_out"].append(f"{key}: {_first_line(error)}")
    return part


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _errors(part: dict[str, Any] | None) -> dict[str, Error] | None:
    return None if part is None else {place: Error(**error) for place, error in part.items()}
