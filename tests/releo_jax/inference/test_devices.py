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
    engines = ["map", "nuts", "amortized"]
    one, two = (
        json.loads(subprocess.run([*command, number, *engines], capture_output=True, check=True, text=True).stdout)
        for number in "12"
    )
    assert (one.pop("devices"), two.pop("devices")) == (1, 2)
    # Short chains, whose last digits part after a few steps: the same posterior, not the same draws.
    np.testing.assert_allclose(two.pop("nuts"), one.pop("nuts"), atol=0.2)
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
