"""Rebuilds the tables of `physics.data` from unpacked public packages.

    python -m physics.data.build_tables SOURCE_DIR [--output DIR]

SOURCE_DIR holds the unpacked distributions that `PROVENANCE.md` names (any depth). The package never imports this
module: it needs pandas, and the sources only at build time.
"""

from __future__ import annotations

import argparse
import functools
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


# Measurements left out: dune sand of pure gypsum, unlike any cropped soil, and a vertisol whose record is zero up to
# 610 nm.
SOILS_LEFT_OUT = ("entisol.torripsamment.coarse.0015", "vertisol.chromoxerert.coarse.88P475")
SOIL_COMPONENTS = 6
SMOOTHING_FWHM = 20.0


def smooth(spectra: np.ndarray) -> np.ndarray:
    """Convolves spectra (..., 2101) with a Gaussian that removes the instrument's noise."""
    offsets = np.arange(-30, 31)
    kernel = np.exp(-4.0 * np.log(2.0) * (offsets / SMOOTHING_FWHM) ** 2)
    padding = [(0, 0)] * (spectra.ndim - 1) + [(30, 30)]
    padded = np.pad(spectra, padding, mode="reflect", reflect_type="odd")
    return np.lib.stride_tricks.sliding_window_view(padded, 61, axis=-1) @ (kernel / kernel.sum())


def soil_library(source: Path) -> dict[str, np.ndarray]:
    """Johns Hopkins soils: shapes of unit mean, and principal components of the square roots of the shapes.

    A square root, because its square is a reflectance whatever the scores: positive reconstructions for free.
    """
    folder = find(source, "soil_spectral_library/ProSAIL_DrySoil.txt").parent
    names, spectra = [], []
    for path in sorted(folder.glob("jhu.becknic.soil.*.spectrum.txt")):
        name = path.name.removeprefix("jhu.becknic.soil.").removesuffix(".spectrum.txt")
        if name not in SOILS_LEFT_OUT:
            rows = np.loadtxt(path).T
            require_grid(rows[0], path)
            names.append(name)
            spectra.append(rows[1])
    reflectance = np.maximum(smooth(np.array(spectra)), 0.0)
    if not 0.1 < reflectance.mean() < 0.6:
        raise SystemExit(f"expected reflectance as a fraction, got a mean of {reflectance.mean():g}")
    brightness = reflectance.mean(axis=1)
    shapes = reflectance / brightness[:, None]
    roots = np.sqrt(shapes)
    mean = roots.mean(axis=0)
    left, singular, right = np.linalg.svd(roots - mean, full_matrices=False)
    # Signs are arbitrary in the decomposition: fixed here so that every machine writes the same table.
    signs = np.sign(right[np.arange(len(right)), np.argmax(np.abs(right), axis=1)])
    spread = singular / np.sqrt(len(names) - 1)
    keep = slice(0, SOIL_COMPONENTS)
    return {
        "names": np.array(names),
        "spectra": shapes.astype(np.float32),
        "mean_reflectance": brightness,
        "mean": mean.astype(np.float32),
        "components": (right * (signs * spread)[:, None])[keep].astype(np.float32),
        "scores": (left * signs * np.sqrt(len(names) - 1))[:, keep],
        "explained_variance": (singular**2 / np.sum(singular**2))[keep],
    }


class ArrayUnpickler(pickle.Unpickler):
    """Reads NumPy arrays out of a pickle and refuses everything else it might ask to run."""

    allowed = {"_frombuffer", "scalar", "_reconstruct", "dtype", "ndarray"}

    def find_class(self, module: str, name: str) -> Any:
        """Looks up one of the few names that NumPy arrays need."""
        if module.partition(".")[0] != "numpy" or name not in self.allowed:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}")
        # Pickles of NumPy 1 name a module that NumPy 2 has moved.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def pickled_response(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths (nm) and responses of one sensor, each (sample, band), padded with rubbish."""
    content = ArrayUnpickler(io.BytesIO(path.read_bytes())).load()
    wavelengths = content["wvl_srf"] if "wvl_srf" in content else content["wl_srf"]
    return np.asarray(wavelengths, dtype=np.float64), np.asarray(content["p_srf"], dtype=np.float64)


def on_grid(wavelengths: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Weights on the 1 nm grid that integrate a piecewise linear spectrum against a sampled response.

    Each weight is the integral of the response times the hat function of its grid point, so that responses sampled
    finer than 1 nm lose nothing.
    """
    fine = np.arange(395.0, 2505.0, 0.05)
    values = np.interp(fine, wavelengths, response, left=0.0, right=0.0)
    position = fine - WAVELENGTHS[0]
    left = np.floor(position + 1e-9).astype(int)
    fraction = np.clip(position - left, 0.0, 1.0)
    weights = np.zeros(WAVELENGTHS.size + 20)
    np.add.at(weights, left + 10, values * (1.0 - fraction))
    np.add.at(weights, left + 11, values * fraction)
    return weights[10:-10]


def response_table(bands: list[str], response: np.ndarray) -> dict[str, np.ndarray]:
    """Scales responses (band, 2101) to a peak of 1, without negative noise and far wings below 1e-5."""
    peaks = response.max(axis=1, keepdims=True)
    scaled = response / peaks
    return {"bands": np.array(bands), "response": np.where(scaled > 1e-5, scaled, 0.0)}


def pickled_sensor(source: Path, *, file: str, bands: list[str], first: int = 0, fine: bool = False) -> dict:
    """A sensor from its pickled responses; `first` is the index of the first band to keep."""
    wavelengths, values = pickled_response(find(source, f"torchrtm/data/sensor_information/{file}.pkl"))
    response = np.zeros((len(bands), WAVELENGTHS.size))
    for row, column in enumerate(range(first, first + len(bands))):
        nm, value = wavelengths[:, column], values[:, column]
        good = np.isfinite(nm) & (nm >= 350.0) & (nm <= 2600.0) & np.isfinite(value)
        if fine:
            response[row] = on_grid(nm[good], value[good])
        else:
            good &= (nm >= WAVELENGTHS[0]) & (nm <= WAVELENGTHS[-1])
            response[row, (nm[good] - WAVELENGTHS[0]).astype(int)] = value[good]
    return response_table(bands, response)


def text_sensor(source: Path, *, file: str) -> dict[str, np.ndarray]:
    """A sensor from a table of responses in 1 nm steps."""
    path = find(source, f"sensor_response_functions/{file}.txt")
    frame = pd.read_csv(path, sep="\t", dtype=str).map(float)
    require_grid(frame.iloc[:, 0].to_numpy(), path)
    return response_table(list(frame.columns[1:]), frame.iloc[:, 1:].to_numpy().T)


def half_maximum(response: np.ndarray) -> tuple[float, float]:
    """Centre and full width at half maximum, nm, of the main peak of one response (2101,)."""
    peak = int(np.argmax(response))
    half = response[peak] / 2.0
    low = peak - int(np.argmax(response[peak::-1] < half))
    high = peak + int(np.argmax(response[peak:] < half))
    low_edge = np.interp(half, response[[low, low + 1]], WAVELENGTHS[[low, low + 1]])
    high_edge = np.interp(half, response[[high, high - 1]], WAVELENGTHS[[high, high - 1]])
    return (low_edge + high_edge) / 2.0, high_edge - low_edge


def prisma(source: Path) -> dict[str, np.ndarray]:
    """Centre and width of the PRISMA bands, in order of wavelength; those cut by the ends of the grid are left out."""
    table = text_sensor(source, file="PRISMA")
    rows = []
    for name, response in zip(table["bands"], table["response"], strict=True):
        centre, width = half_maximum(response)
        inside = WAVELENGTHS[0] + 1.3 * width < centre < WAVELENGTHS[-1] - 1.3 * width
        if inside and 5.0 < width < 20.0:
            rows.append((centre, width, name))
    rows.sort()
    return {
        "bands": np.array([name for _, _, name in rows]),
        "centres": np.round([centre for centre, _, _ in rows], 2),
        "fwhm": np.round([width for _, width, _ in rows], 2),
    }


SENTINEL2_BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
LANDSAT_BANDS = [f"B{number}" for number in range(1, 8)]
# Oa01 is centred on 400 nm, where the leaf tables begin: half of its response has no spectrum.
OLCI_BANDS = [f"Oa{number:02d}" for number in range(2, 22)]

BUILDERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    "prospect_5": prospect_5,
    "prospect_d": prospect_d,
    "prospect_pro": prospect_pro,
    "soil_dry_wet": soil_dry_wet,
    "soil_library": soil_library,
    "response_sentinel2a": functools.partial(pickled_sensor, file="Sentinel2A-MSI", bands=SENTINEL2_BANDS),
    "response_sentinel2b": functools.partial(pickled_sensor, file="Sentinel2B-MSI", bands=SENTINEL2_BANDS),
    "response_sentinel2c": functools.partial(text_sensor, file="Sentinel2C"),
    "response_landsat8": functools.partial(pickled_sensor, file="LANDSAT8-OLI", bands=LANDSAT_BANDS),
    "response_landsat9": functools.partial(text_sensor, file="Landsat9"),
    "response_sentinel3a_olci": functools.partial(
        pickled_sensor, file="Sentinel3A-OLCI", bands=OLCI_BANDS, first=1, fine=True
    ),
    "response_sentinel3b_olci": functools.partial(
        pickled_sensor, file="Sentinel3B-OLCI", bands=OLCI_BANDS, first=1, fine=True
    ),
    "response_prisma": prisma,
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the unpacked packages")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="where the tables are written")
    arguments = parser.parse_args()
    for name, build in BUILDERS.items():
        path = arguments.output / f"{name}.npz"
        np.savez_compressed(path, allow_pickle=False, **build(arguments.source))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
