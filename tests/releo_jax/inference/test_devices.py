"""Posteriors of pixels that several devices share."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("on_devices.py")


@pytest.mark.long
def test_devices_change_no_posterior():
    command = [sys.executable, str(SCRIPT)]
    engines = ["map", "nuts", "jointly", "amortized"]
    one, two = (
        json.loads(subprocess.run([*command, number, *engines], capture_output=True, check=True, text=True).stdout)
        for number in "12"
    )
    assert (one.pop("devices"), two.pop("devices")) == (1, 2)
    # What all devices can share evenly is shared out, such as chains that go over all pixels.
    assert (one.pop("together"), two.pop("together")) == ([[3] * 3, [4] * 4], [[3] * 3, [2] * 4])
    draws = one.pop("draws"), two.pop("draws")
    assert set(draws[0]) == {"nuts share", "nuts amount", "jointly share", "jointly level"}
    for name, values in draws[0].items():
        np.testing.assert_allclose(draws[1][name], values, rtol=1e-4, atol=1e-4, err_msg=name)
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
