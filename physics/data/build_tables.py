"""Rebuilds the tables of `physics.data` from unpacked public packages.

    python -m physics.data.build_tables SOURCE_DIR [--output DIR]

SOURCE_DIR holds the unpacked distributions that `PROVENANCE.md` names (any depth). The package never imports this
module: it needs pandas, and the sources only at build time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

WAVELENGTHS = np.arange(400.0, 2501.0)

LEAF_COLUMNS = {
    "n": "refractive_index",
    "Cab": "chlorophyll",
    "Car": "carotenoids",
    "Canth": "anthocyanins",
    "Cbrown": "brown_pigment",
    "Cw": "water",
    "Cm": "dry_matter",
    "prot": "proteins",
    "Cbc": "carbon_constituents",
}


def find(source: Path, relative: str) -> Path:
    """The one file below `source` whose path ends with `relative`."""
    matches = sorted(path for path in source.rglob(Path(relative).name) if path.as_posix().endswith("/" + relative))
    if len(matches) != 1:
        raise SystemExit(
            f"expected one file {relative} below {source}, got {len(matches)}; "
            "unpack the packages that PROVENANCE.md names there"
        )
    return matches[0]


def read_csv(path: Path) -> pd.DataFrame:
    """Reads a table of numbers; Python's own conversion of the texts is exact to the last bit."""
    return pd.read_csv(path, dtype=str).map(float)


def require_grid(wavelengths: np.ndarray, path: Path) -> None:
    """Stops unless a file is on the 400-2500 nm grid in 1 nm steps."""
    if not np.array_equal(np.asarray(wavelengths, dtype=np.float64), WAVELENGTHS):
        raise SystemExit(f"expected 400-2500 nm in 1 nm steps in {path}, got {len(wavelengths)} rows")


def prospect_5(source: Path) -> dict[str, np.ndarray]:
    """PROSPECT-5 coefficients, rounded to single precision like the literals of the published Fortran code."""
    path = find(source, "torchrtm/data/CoefMat.csv")
    frame = read_csv(path)
    require_grid(frame["l"].to_numpy(), path)
    names = [name for name in LEAF_COLUMNS if name in frame]
    return {LEAF_COLUMNS[name]: frame[name].to_numpy(np.float32).astype(np.float64) for name in names}


def prospect_d(source: Path) -> dict[str, np.ndarray]:
    """PROSPECT-D coefficients with all published digits."""
    path = find(source, "pypro4sail/prospect_d_spectra.txt")
    rows = np.loadtxt(path).T
    # The text file has wavelengths along the rows in one release and along the columns in another.
    columns = rows if rows.shape[0] == 8 else rows.T
    require_grid(columns[0], path)
    order = ("n", "Cab", "Car", "Canth", "Cbrown", "Cw", "Cm")
    figures = dict(zip(order, columns[1:], strict=True))
    # The comma-separated copy is rounded to 7 decimals; it must be the same table.
    copy = read_csv(find(source, "torchrtm/data/data_prospectd.csv"))
    for name in order:
        if np.max(np.abs(copy[name].to_numpy() - figures[name])) > 5.1e-8:
            raise SystemExit(f"the two copies of the PROSPECT-D column {name} differ by more than their rounding")
    return {LEAF_COLUMNS[name]: figures[name] for name in order}


def prospect_pro(source: Path) -> dict[str, np.ndarray]:
    """PROSPECT-PRO coefficients: those of PROSPECT-D, with proteins and carbon constituents for dry matter."""
    path = find(source, "torchrtm/data/data_prospectpro.csv")
    frame = read_csv(path)
    require_grid(frame["l"].to_numpy(), path)
    shared = prospect_d(source)
    shared.pop("dry_matter")
    return shared | {LEAF_COLUMNS[name]: frame[name].to_numpy(np.float64) for name in ("prot", "Cbc")}


def soil_dry_wet(source: Path) -> dict[str, np.ndarray]:
    """The dry and the wet soil of PROSAIL, rounded to single precision like the published Fortran code."""
    path = find(source, "torchrtm/data/rtm_soil.csv")
    frame = read_csv(path)
    require_grid(np.arange(400, 400 + len(frame)), path)
    columns = {"dry": "drySoil", "wet": "wetSoil"}
    return {name: frame[column].to_numpy(np.float32).astype(np.float64) for name, column in columns.items()}


BUILDERS = {
    "prospect_5": prospect_5,
    "prospect_d": prospect_d,
    "prospect_pro": prospect_pro,
    "soil_dry_wet": soil_dry_wet,
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the unpacked packages")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="where the tables are written")
    arguments = parser.parse_args()
    for name, build in BUILDERS.items():
        path = arguments.output / f"{name}.npz"
        np.savez_compressed(path, **build(arguments.source))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
