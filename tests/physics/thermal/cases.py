"""Reference values of thermal emission."""

import pathlib

import numpy as np

REFERENCES = pathlib.Path(__file__).parents[2] / "references"


def reference():
    """Columns of the reference table."""
    with np.load(REFERENCES / "thermal.npz") as table:
        return dict(table)
