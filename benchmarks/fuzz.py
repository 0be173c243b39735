"""Spoils small inputs at random and judges what the command `releo` makes of them.

    python -m benchmarks fuzz [--number 500] [--seed 0] [--first 0] [--output FILE.json]

A case writes a valid input of one of twelve kinds, applies one to three drawn mutations (none in one of fifteen: those
inputs have to come out right), and runs `releo invert --method sl2p --variables lai` or `releo info` on it in process.
It is

* right, if the exit status is 0, and size, places, CRS, dates, masks and numbers of the output are those that GDAL,
  netCDF4, zarr, csv or pyarrow read from the spoilt input (`benchmarks.fuzz_reading`), retrieved by SL2P;
* a named error, if the status is 1 or 2, the error output is one line that names the file, and nothing is left behind;
* partial, if the status is 3 and what was retrieved is right;
* a finding else: a traceback, an unexpected error, a crash, more than 60 seconds, a wrong number or place.

`--first 17 --number 1` repeats case 17 of a seed, with what it did and said.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

OUTCOMES = ("right", "named error", "partial", "finding")
SECONDS = 60.0
"""Longest time of a case; the first one of a process has four times as long, for imports and compilation."""

MEMORY = 12 << 30
"""Bytes of address space that a process may take: a damaged header may ask for any size."""


@dataclasses.dataclass
class Verdict:
    """What came of a case.

    Attributes:
        case: its number; with the seed it repeats the case.
        kind: of the input.
        did: what the mutations did.
        command: the command line without paths.
        outcome: one of `OUTCOMES`.
        told: what is wrong, or the error line.
    """

    case: int
    kind: str
    did: list[str]
    command: str
    outcome: str
    told: str = ""


class RadarIndex:
    """A method that costs nothing: the leaf area index is the VV of the nearest date in dB."""

    name = "radar index"
    bands = ("B04",)
    required: tuple[str, ...] = ()
    variables = ("lai",)
    radar_window = (12.0, 2)

    def __call__(
        self, reflectance: np.ndarray, mask: np.ndarray, sun_view: Any, *, variables: Any, level: float, radar: Any
    ) -> dict[str, np.ndarray]:
        """Values and flags `(pixel,)` as `releo_jax.systems.Retrieval` returns them."""
        seen = radar.mask[:, 0, 0]
        nearest = np.where(seen, radar.decibels[:, 0, 0], np.nan).astype(np.float32)
        figures = {f"lai_{suffix}": nearest for suffix in ("mean", "std", "q05", "q50", "q95", "lower", "upper")}
        return {**figures, "lai_flag": np.where(seen, 0, 1).astype(np.uint8)}


@contextlib.contextmanager
def _heard() -> Iterator[dict[str, str]]:
    """What is written to the output and the error output, by Python or by a library below it."""
    said = {"out": "", "err": ""}
    kept = os.dup(2)
    out = io.StringIO()
    with tempfile.TemporaryFile() as file, open(file.fileno(), "w", closefd=False) as err:
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                yield said
        finally:
            err.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said["err"] = file.read().decode(errors="replace")
            said["out"] = out.getvalue()


def run_case(seed: int, case: int) -> Verdict:
    """One case, in this process."""
    from benchmarks.fuzz_inputs import DEGREES, KINDS
    from benchmarks.fuzz_judge import Wrong, check_error, check_info, check_map, check_table, directions_told
    from benchmarks.fuzz_mutations import spoil
    from benchmarks.fuzz_reading import Refused
    from releo_jax import methods
    from releo_jax.cli import main as releo

    rng = np.random.default_rng([seed, case])
    kind = list(KINDS)[case % len(KINDS)]
    with tempfile.TemporaryDirectory() as temporary:
        folder, results = Path(temporary) / "in", Path(temporary) / "out"
        folder.mkdir()
        results.mkdir()
        source = KINDS[kind](folder, rng)
        told_before = directions_told(source)
        did = spoil(rng, kind, source)
        directed = directions_told(source) == told_before
        options: dict[str, float] = {}
        if rng.random() < 0.1:
            options |= {"scale": 10_000.0, "offset": float(rng.choice([0, -1000]))}
        if rng.random() < 0.1:
            options |= {**DEGREES, "sun_zenith": 40.0}
        table = kind in ("CSV", "Parquet")
        info = kind == "Landsat" or (kind != "Sentinel-1" and not table and rng.random() < 0.15)
        if kind == "Landsat":
            options |= {"view_zenith": 4.0, "relative_azimuth": 100.0}
        suffix = source.suffix if table else str(rng.choice([".tif", ".tif", ".nc"]))
        output = results / f"maps{suffix}"
        flags = [f"--{name.replace('_', '-')}={value:g}" for name, value in options.items()]
        how = ["info"] if info else ["invert", "--method=sl2p", "--variables=lai", f"--output={output}", "--quiet"]
        optical = source.with_name("optical.nc")
        if kind == "Sentinel-1":
            how = [*(word for word in how if "method" not in word), f"--radar={source}"]
            flags = []
            options = {}
        words = [*how, *flags, str(optical if kind == "Sentinel-1" else source)]
        command = " ".join([how[0], f"to {suffix}" if not info else "", *flags]).strip()
        before = _listing(folder)
        load_method = methods.load_method
        if kind == "Sentinel-1":
            methods.load_method = lambda *args, **rest: RadarIndex()  # type: ignore[assignment,return-value]
        try:
            with _heard() as said:
                status = releo(words)
        except BaseException as error:
            return Verdict(case, kind, did, command, "finding", f"raised {type(error).__name__}: {error}"[:300])
        finally:
            methods.load_method = load_method
        errors = said["err"]
        told = errors.replace(temporary, "").strip()
        try:
            changed = _listing(folder) ^ before
            if changed:
                raise Wrong(f"changed its input: {sorted(map(str, changed))[:3]}")
            left = sorted(path.name for path in results.iterdir())
            if status not in (0, 3):
                check_error(status, errors, [source.name, *(path.name for path in folder.rglob("*"))], left)
                if not did and not flags:
                    raise Wrong("refuses what is valid")
                return Verdict(case, kind, did, command, "named error", told[:300])
            strange = [line for line in errors.splitlines() if line.strip() and not line.startswith("releo: ")]
            if strange or "releo: unexpected" in errors:
                raise Wrong(f"says {strange[:2]}")
            if not info and left != [output.name]:
                raise Wrong(f"wrote {left}")
            if info:
                check_info(kind, source, options, said["out"])
            elif table:
                check_table(source, output, options)
            else:
                check_map(kind, source, output, options, status, beside=optical, directed=directed)
        except Wrong as wrong:
            return Verdict(case, kind, did, command, "finding", f"{wrong}; said {told[:200]!r}".replace(temporary, ""))
        except Refused as refused:
            return Verdict(case, kind, did, command, "finding", f"took an input with {refused}")
        except Exception as error:
            detail = f"took what cannot be read ({type(error).__name__}: {error})"
            return Verdict(case, kind, did, command, "finding", detail[:300].replace(temporary, ""))
        finally:
            for path in [folder, *folder.rglob("*")]:
                if path.exists() and not path.is_symlink():
                    path.chmod(0o700)
        return Verdict(case, kind, did, command, "right" if status == 0 else "partial", told[:200])


def _listing(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.lstat().st_size if path.is_file() else 0) for path in folder.rglob("*")}


def _work(pipe: Connection) -> None:
    """A process that takes seeds and cases and answers with verdicts."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while True:
        seed, case = pipe.recv()
        pipe.send(run_case(seed, case))


def run(seed: int, cases: Sequence[int], seconds: float = SECONDS) -> Iterator[Verdict]:
    """Verdicts of cases, each in a process that is killed when it takes too long, and begun anew when it dies."""
    context = multiprocessing.get_context("spawn")
    process: Any = None
    for case in cases:
        fresh = process is None or not process.is_alive()
        if fresh:
            pipe, other = context.Pipe()
            process = context.Process(target=_work, args=(other,), daemon=True)
            process.start()
            other.close()
        pipe.send((seed, case))
        try:
            if pipe.poll(seconds * (4 if fresh else 1)):
                yield pipe.recv()
                continue
            told = f"hangs: no answer after {seconds:g} s"
        except EOFError:
            process.join()
            told = f"crashes with exit status {process.exitcode}"
        process.kill()
        process.join()
        from benchmarks.fuzz_inputs import KINDS

        yield Verdict(case, list(KINDS)[case % len(KINDS)], ["repeat it to see"], "", "finding", told)
    if process is not None:
        process.kill()
        process.join()


def table(verdicts: Sequence[Verdict]) -> str:
    """Kinds by outcomes, in Markdown."""
    counts = collections.Counter((verdict.kind, verdict.outcome) for verdict in verdicts)
    kinds = list(dict.fromkeys(verdict.kind for verdict in verdicts))
    rows = [["kind", "cases", *OUTCOMES]]
    for kind in [*kinds, "all"]:
        row = [sum(n for (k, o), n in counts.items() if kind in (k, "all") and o == outcome) for outcome in OUTCOMES]
        rows.append([kind, *map(str, (sum(row), *row))])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=500, help="of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    verdicts = []
    for verdict in run(given.seed, range(given.first, given.first + given.number)):
        verdicts.append(verdict)
        if verdict.outcome == "finding" or given.number == 1:
            print(
                f"case {verdict.case} ({verdict.kind}; {'; '.join(verdict.did) or 'unspoilt'}; {verdict.command}): "
                f"{verdict.outcome}: {verdict.told}",
                flush=True,
            )
    print(table(verdicts))
    if given.output is not None:
        from releo_jax.benchmarking.machine import machine

        content = {"machine": machine(), "seed": given.seed, "first": given.first}
        content["cases"] = [dataclasses.asdict(verdict) for verdict in verdicts]
        given.output.write_text(json.dumps(content, indent=1) + "\n")
    return int(any(verdict.outcome == "finding" for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
