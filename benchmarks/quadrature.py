"""Fits the reduced spectral quadratures of `physics.optics.sensor` and states their errors.

    python -m benchmarks.quadrature [--sensors sentinel2a ...] [--tolerances 1e-3 1e-4] [--size 1024] [--output DIR]

For every band the fewest nodes are sought, and non-negative weights of sum 1, so that reflectance on simulated canopy
spectra (`benchmarks.quadrature_spectra`) differs from the full convolution by at most the tolerance, and derivatives
with the twelve parameters by at most `JACOBIAN_FACTOR` times as much of their largest value. Nodes lie on the 1 nm
grid inside the band's own response, and bands that overlap share them. One set of spectra serves to fit, a second to
choose the number of nodes, and a third, untouched until then, to state the errors that are stored with the nodes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linprog, nnls

import physics.data
from benchmarks.quadrature_spectra import SETS, Spectra, simulate
from physics.optics.sensor import Sensor, sensor

SENSORS = (
    "sentinel2a",
    "sentinel2b",
    "sentinel2c",
    "landsat8",
    "landsat9",
    "sentinel3a_olci",
    "sentinel3b_olci",
)
JACOBIAN_FACTOR = 20.0
# The chosen rule must keep this share of the tolerance on the second set, so that it keeps it all on fresh spectra.
MARGIN = 0.7
MAX_NODES = 12


class Band:
    """One band's problem: rows of spectra inside its response, values first and scaled derivatives after them."""

    def __init__(self, spectra: dict[str, Spectra], wavelengths: np.ndarray, response: np.ndarray) -> None:
        self.inside = np.flatnonzero(response > 0.0)
        self.wavelengths = wavelengths[self.inside]
        self.response = response[self.inside]
        self.n_values = {name: len(part.values) for name, part in spectra.items()}
        self.rows = {
            name: np.concatenate(
                [
                    part.values[:, self.inside],
                    part.jacobian[:, :, self.inside].reshape(-1, self.inside.size) / JACOBIAN_FACTOR,
                ]
            )
            for name, part in spectra.items()
        }

    def residuals(self, name: str, nodes: list[int], weights: np.ndarray) -> np.ndarray:
        """Quadrature less full convolution on every row of a set; `nodes` index the band's wavelengths."""
        rows = self.rows[name]
        return rows[:, nodes] @ weights - rows @ self.response

    def worst(self, name: str, nodes: list[int], weights: np.ndarray) -> float:
        """Largest residual, derivatives counted by their share."""
        return float(np.max(np.abs(self.residuals(name, nodes, weights))))

    def errors(self, name: str, nodes: list[int], weights: np.ndarray) -> dict[str, float]:
        """Largest and root mean square residual of values and of scaled derivatives."""
        residuals = self.residuals(name, nodes, weights)
        value, jacobian = np.split(residuals, [self.n_values[name]])
        jacobian = jacobian * JACOBIAN_FACTOR
        return {
            "value_max": np.max(np.abs(value)),
            "value_rms": np.sqrt(np.mean(value**2)),
            "jacobian_max": np.max(np.abs(jacobian)),
            "jacobian_rms": np.sqrt(np.mean(jacobian**2)),
        }


def least_squares(gram: np.ndarray, response: np.ndarray, nodes: list[int]) -> tuple[np.ndarray, float]:
    """Non-negative weights of sum 1 (by a heavy row) and the mean square that they leave.

    Args:
        gram: mean products of the spectra between wavelengths, shape (wavelength, wavelength).
        response: weights of the full convolution, shape (wavelength,).
        nodes: wavelengths that may have weight.
    """
    pull = (gram @ response)[nodes]
    ridge = 1e-14 * np.trace(gram) * np.eye(len(nodes))
    triangle = np.linalg.cholesky(gram[np.ix_(nodes, nodes)] + ridge)
    goal = np.linalg.solve(triangle, pull)
    heavy = 1e3 * np.max(np.abs(triangle))
    weights, _ = nnls(np.vstack([triangle.T, np.full(len(nodes), heavy)]), np.append(goal, heavy))
    return weights, response @ gram @ response - 2.0 * weights @ pull + weights @ gram[np.ix_(nodes, nodes)] @ weights


def best_addition(gram: np.ndarray, response: np.ndarray, fixed: list[int], others: list[int]) -> int:
    """The one node that serves best beside given ones.

    Without fixed nodes a set that would need a negative weight is refused, and the rest is one batch of small linear
    systems (least squares with the sum of weights held at 1).
    """
    given = fixed + others
    places = np.array([c for c in range(len(gram)) if c not in given])
    if fixed:
        return int(places[np.argmin([least_squares(gram, response, [*given, int(c)])[1] for c in places])])
    sets = np.column_stack([np.tile(given, (places.size, 1)).astype(int), places])
    size = sets.shape[1]
    system = np.ones((places.size, size + 1, size + 1))
    system[:, -1, -1] = 0.0
    system[:, :-1, :-1] = gram[sets[:, :, None], sets[:, None, :]] + 1e-14 * np.trace(gram) * np.eye(size)
    goal = np.concatenate([(gram @ response)[sets], np.ones((places.size, 1))], axis=1)
    weights = np.linalg.solve(system, goal[..., None])[:, :-1, 0]
    residual = np.einsum("ci,cij,cj->c", weights, system[:, :-1, :-1], weights) - 2.0 * np.sum(
        weights * goal[:, :-1], axis=1
    )
    residual[np.any(weights < 0.0, axis=1)] = np.inf
    return int(places[np.argmin(residual)])


def exchange(gram: np.ndarray, response: np.ndarray, fixed: list[int], nodes: list[int], extra: int) -> list[int]:
    """Adds nodes one at a time, then moves each in turn to its best place until all stay."""
    nodes = list(nodes)
    while len(nodes) < extra:
        nodes.append(best_addition(gram, response, fixed, nodes))
    stayed = 0
    for _ in range(8 * extra):
        first, *others = nodes
        spot = best_addition(gram, response, fixed, others)
        nodes = [*others, spot]
        stayed = stayed + 1 if spot == first else 0
        if stayed == extra:
            break
    return nodes


def minimax(rows: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Non-negative weights of sum 1 with the smallest largest residual, by a linear programme on the worst rows."""
    n = rows.shape[1]
    residual = np.abs(rows @ weights - target)
    best, bound = weights, residual.max()
    active = np.argsort(-residual)[:400]
    for _ in range(8):
        matrix, one = rows[active], np.ones((len(active), 1))
        result = linprog(
            np.append(np.zeros(n), 1.0),
            A_ub=np.block([[matrix, -one], [-matrix, -one]]),
            b_ub=np.concatenate([target[active], -target[active]]),
            A_eq=np.append(np.ones(n), 0.0)[None],
            b_eq=[1.0],
            method="highs",
        )
        if result.status != 0:
            break
        weights = result.x[:n]
        residual = np.abs(rows @ weights - target)
        if residual.max() < bound:
            best, bound = weights, residual.max()
        if residual.max() <= result.x[n] * (1.0 + 1e-3):
            break
        active = np.unique(np.concatenate([active, np.argsort(-residual)[:200]]))
    return best


def weigh(band: Band, nodes: list[int]) -> np.ndarray:
    """Best weights of given nodes on the spectra of the fit."""
    rows = band.rows["fit"]
    weights, _ = least_squares(rows.T @ rows / len(rows), band.response, nodes)
    return minimax(rows[:, nodes], rows @ band.response, weights)


def place(band: Band, fixed: list[int], extra: int) -> tuple[list[int], np.ndarray]:
    """Nodes and weights of one band with the smallest largest residual on the spectra of the fit.

    Least squares with rows reweighted by their residuals (Lawson) proposes sets of nodes; a linear programme gives
    each its best weights.
    """
    rows = band.rows["fit"]
    target = rows @ band.response
    best: tuple[float, list[int], np.ndarray] | None = None
    seen: set[tuple[int, ...]] = set()
    for power in (1.0, 0.5):
        importance = np.ones(len(rows))
        nodes: list[int] = []
        for step in range(10 if extra else 1):
            gram = (rows * importance[:, None]).T @ rows / importance.sum()
            nodes = exchange(gram, band.response, fixed, [] if step % 4 == 0 else nodes, extra)
            weights, _ = least_squares(gram, band.response, fixed + nodes)
            residual = np.abs(rows[:, fixed + nodes] @ weights - target)
            if (key := tuple(sorted(nodes))) not in seen:
                seen.add(key)
                weights = minimax(rows[:, fixed + nodes], target, weights)
                bound = band.worst("fit", fixed + nodes, weights)
                if best is None or bound < best[0]:
                    best = (bound, fixed + nodes, weights)
            importance *= (residual / residual.max() + 1e-3) ** power
            importance /= importance.mean()
    assert best is not None
    return best[1], best[2]


def good(band: Band, nodes: list[int], weights: np.ndarray, tolerance: float) -> bool:
    """Whether a rule may be kept: the tolerance on the fit, a margin below it on the set that chooses."""
    return band.worst("fit", nodes, weights) <= tolerance and (
        band.worst("choose", nodes, weights) <= MARGIN * tolerance
    )


def reduce_sensor(full: Sensor, spectra: dict[str, Spectra], tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (nm) and weights (band, node) of all bands of a sensor."""
    bands = [Band(spectra, full.wavelengths, response) for response in full.weights]
    chosen: set[float] = set()
    # Narrow bands first: the wide ones around them take over their nodes.
    for band in sorted(bands, key=lambda band: band.inside.size):
        fixed = [i for i, nm in enumerate(band.wavelengths) if nm in chosen]
        for extra in range(0 if fixed else 1, MAX_NODES + 1):
            nodes, weights = place(band, fixed, extra)
            if good(band, nodes, weights, tolerance):
                break
        else:
            raise SystemExit(f"{full.name}: {MAX_NODES} nodes in a band do not reach {tolerance:g}")
        chosen |= {band.wavelengths[node] for node, weight in zip(nodes, weights, strict=True) if weight > 1e-6}
    rules = {}

    def try_nodes(candidate: set[float], touched: list[int]) -> dict | None:
        found = {}
        for b in touched:
            nodes = [i for i, nm in enumerate(bands[b].wavelengths) if nm in candidate]
            if not nodes:
                return None
            weights = weigh(bands[b], nodes)
            if b in rules and not good(bands[b], nodes, weights, tolerance):
                return None
            found[b] = (nodes, weights)
        return found

    rules = try_nodes(chosen, list(range(len(bands)))) or {}
    # What several bands share may have become more than they need.
    for nm in sorted(chosen):
        touched = [b for b, band in enumerate(bands) if nm in band.wavelengths]
        if fewer := try_nodes(chosen - {nm}, touched):
            chosen -= {nm}
            rules |= fewer
    wavelengths = np.array(sorted(chosen))
    matrix = np.zeros((len(bands), wavelengths.size))
    for b, (nodes, weights) in rules.items():
        kept = np.where(weights > 1e-6, weights, 0.0)
        matrix[b, np.searchsorted(wavelengths, bands[b].wavelengths[nodes])] = kept / kept.sum()
    used = np.any(matrix > 0.0, axis=0)
    return wavelengths[used], matrix[:, used]


def measure(full: Sensor, part: Spectra, wavelengths: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Errors of a rule on one set, each (band,)."""
    columns: dict[str, list[float]] = {}
    for response, row in zip(full.weights, weights, strict=True):
        band = Band({"test": part}, full.wavelengths, response)
        nodes = list(np.searchsorted(band.wavelengths, wavelengths[row > 0.0]))
        for key, value in band.errors("test", nodes, row[row > 0.0]).items():
            columns.setdefault(key, []).append(value)
    return {key: np.array(values) for key, values in columns.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; `argv` without the program's name, None for the arguments of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sensors", nargs="+", default=SENSORS)
    parser.add_argument("--tolerances", nargs="+", type=float, default=[1e-3, 1e-4])
    parser.add_argument("--size", type=int, default=1024, help="spectra for each of six scenarios in each set")
    parser.add_argument("--output", type=Path, default=Path(physics.data.__file__).parent)
    arguments = parser.parse_args(argv)
    for name in arguments.sensors:
        full = sensor(name, tolerance=0.0)
        spectra = {
            part: simulate(part, full.wavelengths, n=arguments.size, n_jacobian=arguments.size // 5) for part in SETS
        }
        stored: dict[str, np.ndarray] = {"bands": np.array(full.bands)}
        for tolerance in arguments.tolerances:
            wavelengths, weights = reduce_sensor(full, {k: spectra[k] for k in ("fit", "choose")}, tolerance)
            errors = measure(full, spectra["test"], wavelengths, weights)
            rule = {"tolerance": np.array(tolerance), "wavelengths": wavelengths, "weights": weights, **errors}
            stored |= {f"{tolerance:g}_{key}": value for key, value in rule.items()}
            print(f"\n{name}, tolerance {tolerance:g}: {wavelengths.size} nodes; errors on spectra of the test set")
            print("band  nodes  value max    rms      Jacobian max  rms      wavelengths")
            for b, band in enumerate(full.bands):
                nodes = wavelengths[weights[b] > 0.0].astype(int)
                figures = "  ".join(f"{errors[key][b]:8.1e}" for key in errors)
                print(f"{band:5} {nodes.size:5}  {figures}  {' '.join(map(str, nodes))}", flush=True)
        np.savez_compressed(arguments.output / f"quadrature_{name}.npz", allow_pickle=False, **stored)


if __name__ == "__main__":
    main()
