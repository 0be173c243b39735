"""Reference values of the microwave models."""

import pathlib

import numpy as np

REFERENCES = pathlib.Path(__file__).parents[2] / "references"


def reference(name):
    """Columns of one reference table."""
    with np.load(REFERENCES / "microwave.npz") as table:
        return {key.split("/")[1]: table[key] for key in table.files if key.startswith(name + "/")}
