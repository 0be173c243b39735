"""Rebuilds `sl2p.npz` from the published coefficients: python -m releo_jax.data.build_sl2p SOURCE_DIR OUTPUT.

SOURCE_DIR is the folder `biophysical/2_1` of the auxiliary data of the Sentinel-2 toolbox, with a folder a variable
(see PROVENANCE.md). Only figures are read.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

NETWORKS = {"lai": "LAI", "ccc": "LAI_Cab", "cwc": "LAI_Cw", "fapar": "FAPAR", "fcover": "FCOVER"}


def read_networks(source: Path) -> dict[str, np.ndarray]:
    """Figures of the networks by name; see PROVENANCE.md for shapes."""

    def figures(alias: str, what: str) -> np.ndarray:
        folder = NETWORKS[alias]
        return np.loadtxt(source / folder / f"{folder}_{what}", delimiter=",")

    def stacked(what: str) -> np.ndarray:
        return np.stack([figures(alias, what) for alias in NETWORKS])

    inputs = stacked("Normalisation")
    bounds, cells = stacked("DefinitionDomain_MinMax"), stacked("DefinitionDomain_Grid")
    if np.any(inputs != inputs[0]) or np.any(bounds != bounds[0]) or np.any(cells != cells[0]):
        raise ValueError(f"{source}: expected one input scaling and domain for all networks, got several; use v2.1")
    tolerance, smallest, largest = stacked("ExtremeCases").T
    return {
        "input_range": inputs[0].T,
        "hidden_weight": stacked("Weights_Layer1_Neurons"),
        "hidden_bias": stacked("Weights_Layer1_Bias"),
        "output_weight": stacked("Weights_Layer2_Neurons"),
        "output_bias": stacked("Weights_Layer2_Bias").reshape(-1),
        "output_range": stacked("Denormalisation"),
        "limits": np.stack([smallest, largest], -1),
        "tolerance": np.abs(tolerance),
        "domain_range": bounds[0],
        "domain_cells": cells[0].astype(np.uint8),
    }


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    np.savez_compressed(sys.argv[2], **read_networks(Path(sys.argv[1])))  # type: ignore[arg-type]
