"""The same losses on one device, on several, under every strategy, in several processes, and after kills."""

import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("on_devices.py")


def _start(**request):
    command = [sys.executable, str(SCRIPT), json.dumps(request)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _result(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def _same(one, other):
    np.testing.assert_allclose(other["history"], one["history"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other["weights"], one["weights"], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def alone():
    """Losses of four parts on one device, the data whole and split."""
    runs = [{"parts": 4}, {"parts": 4, "split": True}]
    whole, split = _result(_start(devices=1, steps=60, runs=runs))
    assert whole["history"][-1] < 0.3 * whole["history"][0] and whole["history"] != split["history"]
    return {False: whole, True: split}


@pytest.mark.long
def test_devices_and_strategies_change_no_loss(alone):
    runs = [
        {"parts": 4, "split": split, "strategy": strategy, "use": use}
        for split, strategy, use in [
            (False, "jit", 4),
            (False, "pmap", 4),
            (True, "jit", 4),
            (True, "pmap", 4),
            (False, "jit", 2),
            (True, "pmap", 2),
        ]
    ]
    found = _result(_start(devices=4, steps=60, runs=runs))
    for run, result in zip(runs, found, strict=True):
        _same(alone[run["split"]], result)


def _free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_change_no_loss(alone, processes):
    runs = [{"parts": 4}, {"parts": 4, "split": True}, {"parts": 4, "strategy": "pmap"}]
    beside = {"address": f"127.0.0.1:{_free_port()}", "processes": processes}
    started = [
        _start(devices=4 // processes, steps=60, runs=runs, process=process, **beside) for process in range(processes)
    ]
    for found in [_result(process) for process in started]:
        for run, result in zip(runs, found, strict=True):
            _same(alone[run.get("split", False)], result)


@pytest.mark.long
def test_many_steps_on_devices_that_wait_for_each_other_come_to_an_end():
    (found,) = _result(_start(devices=4, steps=2000, runs=[{"parts": 4}]))
    assert len(found["history"]) == 2000 and found["history"][-1] < 0.1


@pytest.mark.long
def test_kills_at_random_moments_change_nothing(tmp_path):
    run = {"parts": 2, "checkpoint_every": 50}
    (whole,) = _result(_start(devices=2, steps=1000, runs=[run]))
    moments = random.Random(0)
    folder = tmp_path / "state"
    for kill in range(3):
        before = set(folder.glob("*"))
        with _start(devices=2, steps=1000, runs=[run | {"checkpoints": str(folder)}]) as process:
            # The first state of this run is there, or being written.
            while process.poll() is None and not set(folder.glob("*")) - before:
                time.sleep(0.01)
            time.sleep(moments.uniform(0.0, 0.5))
            assert process.poll() is None, f"the training was over before kill {kill}"
            process.send_signal(signal.SIGKILL)
    (found,) = _result(_start(devices=2, steps=1000, runs=[run | {"checkpoints": str(folder)}]))
    assert found == whole


@pytest.mark.long
def test_damaged_arrays_of_a_checkpoint_are_passed_over(tmp_path):
    run = {"parts": 2, "checkpoint_every": 50, "checkpoints": str(tmp_path / "state")}
    (whole,) = _result(_start(devices=1, steps=120, runs=[dict(run)]))
    for path in (tmp_path / "state" / "120" / "state" / "d").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    process = _start(devices=1, steps=120, runs=[dict(run)])
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0 and "the checkpoint of step 120 is damaged" in told
    assert json.loads(out.splitlines()[-1]) == [whole]
