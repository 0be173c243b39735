"""Inverts every task by every algorithm with every budget, and writes one table.

    python -m benchmarks inversion [--tasks ...] [--algorithms ...] [--budgets short] [--output DIR] [--seed 0]
    python -m benchmarks inversion --references [--tasks ...]

The folder holds inversion.json, inversion.md and figures. Rows of earlier runs with the same seed are kept, those that
are measured again replaced. The second command makes the reference draws that C2ST compares with, which takes minutes
for each task.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import jax

from releo_jax.benchmarking.inversion import (
    ALGORITHMS,
    BUDGETS,
    CHECKS,
    TASKS,
    from_json,
    get_task,
    load_references,
    make_references,
    measure,
    new_report,
    save_figures,
    save_references,
    train,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=list(ALGORITHMS), metavar="NAME")
    parser.add_argument("--budgets", nargs="+", default=["short"], choices=list(BUDGETS), metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("figures"), help="folder of the table and figures")
    parser.add_argument("--pixels", type=int, help="fresh simulations at most, instead of each algorithm's own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--references", action="store_true", help="make reference draws instead")
    parser.add_argument("--warmup", type=int, default=1000, help="of each reference chain")
    parser.add_argument("--draws", type=int, default=1000, help="of each reference chain")
    parser.add_argument("--check", choices=CHECKS, default="tempering", help="what reference chains are compared with")
    parser.add_argument("--moves", type=int, default=20, help="of tempering at each temperature")
    parser.add_argument("--through", choices=list(BUDGETS), help="budget of a flow that reference chains go through")
    parser.add_argument("--poor", action="store_true", help="walk again for observations whose stored chains are poor")
    parser.add_argument("--newton", type=int, default=0, help="Newton steps before that flow")
    options = parser.parse_args(argv)
    command = "python -m benchmarks inversion " + shlex.join(argv or [])
    if options.references:
        for name in options.tasks:
            _references(name, options, command)
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "inversion.json"
    report = new_report(options.seed, command)
    if path.exists():
        earlier = from_json(path.read_text())
        report = report if earlier.seed != options.seed else earlier
    for task in options.tasks:
        for budget in options.budgets:
            for algorithm in options.algorithms:
                row = measure(task, algorithm, budget, seed=options.seed, pixels=options.pixels)
                report = report.with_row(row)
                path.write_text(report.to_json())
                (options.output / "inversion.md").write_text(report.to_markdown() + "\n")
                print(
                    f"{task}, {algorithm}, {budget}: C2ST {row.mean_c2st:.3f}, coverage {row.coverage:.3f}", flush=True
                )
    for figure in save_figures(report, options.output):
        print(figure)
    print(report.to_markdown())
    return 0


def _references(name: str, options: argparse.Namespace, command: str) -> None:
    task = get_task(name)
    stored = load_references(task) if options.poor else None
    if options.poor and (stored is None or not stored.poor.size):
        print(f"{name}: no poor chains are stored")
        return
    key_train, key_chains = jax.random.split(jax.random.key(options.seed))
    through = None
    if options.through:
        through, _ = train(task, BUDGETS[options.through], key_train, "flow", newton=options.newton)
    references = make_references(
        task,
        key=key_chains,
        warmup=options.warmup,
        draws=options.draws,
        check=options.check,
        moves=options.moves,
        through=through,
        observations=None if stored is None else stored.poor,
        origin={"command": command, "seed": options.seed},
    )
    references = references if stored is None else stored.renewed(stored.poor, references)
    path = save_references(task, references)
    r_hat, size, check = references.r_hat.max(), references.effective_sample_size.min(), references.check
    print(
        f"{path}: R-hat {r_hat:.3f} at most, {size:.0f} effective draws at least, {references.divergences.sum()} "
        f"divergent; C2ST to another sampler {check.mean():.3f}, {check.max():.3f} at most"
    )


if __name__ == "__main__":
    raise SystemExit(main())
