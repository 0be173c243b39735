"""A report as tables for a page or a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from releo_jax.benchmarking.accuracy import Error
    from releo_jax.benchmarking.report import Entry, Report

NOTHING = "–"


def markdown(report: Report) -> str:
    """Machine, tables of accuracy, cost and throughput, what is wrong, what was left out."""
    parts = [
        measured_on(report.machine, report.settings["seed"]),
        accuracy_table(report),
        cost_table(report),
        throughput_table(report),
    ]
    notes = [f"* {entry.name}: {entry.note}" for entry in report.entries if entry.note]
    wrong = [f"* **{entry.name}**: {flag}" for entry in report.entries for flag in entry.flags]
    left_out = [f"* {entry.name}, {what}" for entry in report.entries for what in entry.left_out]
    left_out += [f"* {one.name}: {one.reason}" for one in report.skipped]
    for title, lines in (("Entries", notes), ("Flagged", wrong), ("Not measured", left_out)):
        if lines:
            parts.append(f"{title}:\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def measured_on(about: Mapping[str, Any], seed: int) -> str:
    """What `machine` found, as a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['device']} ({about['platform']}), {about['processor']}, {about['usable_cores']} of {about['cores']} "
        f"cores, Python {about['python']}, {versions}; seed {seed}."
    )


def accuracy_table(report: Report) -> str:
    """Errors of values and slopes: as shares of the largest slope, or in the unit of the outputs and per width."""
    head = (
        "accuracy",
        "precision",
        "outputs",
        "rounding of values, max",
        "to the reference: inside, max (rms)",
        "everywhere, max",
        "slopes to own differences, max",
        "to those of the reference: inside, max (rms)",
        "undecided",
        "not finite",
    )
    return table(head, (_accuracy_row(entry) for entry in report.entries))


def cost_table(report: Report) -> str:
    """Seconds to compile and bytes a row, at the batch size nearest to 256."""
    rows = []
    for entry in report.entries:
        row = [entry.name]
        for operation in ("forward", "gradient", "Jacobian"):
            costs = [cost for cost in entry.costs if cost.operation == operation]
            cost = min(costs, key=lambda one: abs(one.batch - 256), default=None)
            needs = cost.memory if cost else None
            size = (needs.temporaries + needs.outputs) / cost.batch / 1024 if cost and needs else None
            row += [_maybe(cost, lambda one: f"{one.compile_seconds:.1f}"), _maybe(size, lambda one: f"{one:.3g}")]
        rows.append(row)
    head = ("cost", "compile forward (s)", "KiB a row", "gradient (s)", "KiB a row", "Jacobian (s)", "KiB a row")
    return table(head, rows)


def throughput_table(report: Report) -> str:
    """Rows a second (median) against the batch size."""
    sizes = sorted({rate.batch for entry in report.entries for rate in entry.rates})
    rows = []
    for entry in report.entries:
        for operation in dict.fromkeys(rate.operation for rate in entry.rates):
            by_size = {rate.batch: rate.median for rate in entry.rates if rate.operation == operation}
            rows.append([entry.name, operation, *(_maybe(by_size.get(n), _count) for n in sizes)])
    return table(("rows a second, batch", "", *(str(size) for size in sizes)), rows)


def _accuracy_row(entry: Entry) -> list[str]:
    values, gradients, census = entry.values, entry.gradients, entry.census
    rounding = values.rounding if values else None
    target = values.reference if values else None
    own = gradients.reverse if gradients else None
    slopes = gradients.reference if gradients else None
    bad = None
    if census is not None:
        total = sum(census.points.values())
        bad = f"{sum(census.values.values())} + {sum(census.gradients.values())} of {total}"
    return [
        entry.name,
        entry.dtype,
        str(entry.outputs),
        _error(rounding, "all", lambda one: f"{one.max:.1e}"),
        _error(target, "inside", lambda one: f"{one.max:.1e} ({one.rms:.1e})"),
        _error(target, "all", lambda one: f"{one.max:.1e}"),
        _error(own, "all", lambda one: f"{one.relative:.1e}"),
        _error(slopes, "inside", lambda one: f"{one.max:.1e} ({one.rms:.1e})"),
        _maybe(gradients if own else None, lambda one: f"{one.undecided:.1%}"),
        bad or NOTHING,
    ]


def _error(errors: dict[str, Error] | None, place: str, text: Callable[[Error], str]) -> str:
    return _maybe((errors or {}).get(place), text)


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _maybe(value: Any, text: Callable[[Any], str]) -> str:
    return NOTHING if value is None else text(value)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown; the first column holds names, the others numbers."""
    head = list(head)
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
