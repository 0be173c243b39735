"""The benchmark of kills: what it counts, on a command that is cheap to kill."""

import random
import sys

import pytest

from benchmarks.kills import digest, disturbed

WRITES = """
import pathlib, sys, time
folder, wrong = pathlib.Path(sys.argv[1]), len(sys.argv) > 2
state = folder / "state"
done = int(state.read_text()) if state.exists() else 0
for step in range(done, 20):
    beside = folder / "state.part"
    beside.write_text(str(step + 1))
    beside.replace(state)
    time.sleep(0.01)
(folder / "result").write_text("started at %d" % done if wrong else "done")
state.unlink()
"""


@pytest.mark.parametrize("wrong", [False, True])
def test_what_differs_and_what_is_left_is_counted(tmp_path, wrong):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", WRITES, str(folder), *(["wrong"] if wrong else [])]
    found = disturbed(
        command,
        folder,
        folder / "result",
        digest,
        {"result", "state.part"},
        working=lambda: any(folder.glob("state*")),
        kills=4,
        moments=random.Random(1),
    )
    assert found["kills"] == 4 and found["finished"] >= 1 and found["left_behind"] == 0
    # One that does not go on as it would have is found out.
    assert (found["different"] > 0) == wrong
