"""Canopy spectra on which spectral quadratures are fitted, chosen and tested.

Three kinds of prior (ATBD, PROSAIL-VAE, and a wide uniform one with senescent leaves) times two kinds of soil (the dry
and wet soils of PROSAIL, and Johns Hopkins soils), all geometries. The soils of the library are dealt out to the
three sets, so that no soil serves in two of them: the unusual ones to the fit, as in any design of experiments.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from physics import Canopy, Leaf, SunView, prospect_d, sail
from physics.data import resolve, table

PARAMETERS = (
    "layers",
    "chlorophyll",
    "carotenoids",
    "anthocyanins",
    "brown_pigment",
    "water",
    "dry_matter",
    "leaf_area_index",
    "mean_leaf_angle",
    "hot_spot",
    "brightness",
    "wetness",
)
# Truncated normals (low, high, mean, sd) and uniforms (low, high): spec of the published priors, Weiss & Baret
# (S2ToolBox level 2 products) and Zérah et al. 2024. Water of the ATBD follows from its relative content.
_COMMON = {
    "layers": (1.2, 1.8, 1.5, 0.3),
    "chlorophyll": (20.0, 90.0, 45.0, 30.0),
    "carotenoids": (5.0, 23.0, 11.0, 5.0),
    "anthocyanins": (0.0, 5.0),
    "brown_pigment": (0.0, 2.0, 0.0, 0.3),
    "water": (0.0075, 0.075, 0.025, 0.02),
    "dry_matter": (0.003, 0.011, 0.005, 0.005),
    "leaf_area_index": (0.0, 15.0, 2.0, 3.0),
    "mean_leaf_angle": (30.0, 80.0, 60.0, 30.0),
    "hot_spot": (0.1, 0.5, 0.2, 0.5),
    "brightness": (0.5, 3.5, 1.2, 2.0),
    "wetness": (0.0, 1.0),
}
PRIORS: dict[str, dict[str, tuple[float, ...]]] = {
    "atbd": _COMMON | {"carotenoids": (5.0, 22.5, 11.25, 7.5), "water": (0.0045, 0.062, 0.015, 0.015)},
    "prosail_vae": _COMMON,
    "wide": {
        "layers": (1.0, 3.0),
        "chlorophyll": (0.0, 110.0),
        "carotenoids": (0.0, 30.0),
        "anthocyanins": (0.0, 10.0),
        "brown_pigment": (0.0, 2.0),
        "water": (0.0, 0.08),
        "dry_matter": (0.001, 0.03),
        "leaf_area_index": (0.0, 10.0),
        "mean_leaf_angle": (15.0, 85.0),
        "hot_spot": (0.01, 1.0),
        "brightness": (0.1, 2.0),
        "wetness": (0.0, 1.0),
    },
}
SETS = ("fit", "choose", "test")


@dataclasses.dataclass(frozen=True)
class Spectra:
    """Simulated spectra at the wavelengths of a sensor's responses.

    Attributes:
        values: bidirectional reflectance, shape (spectrum, wavelength).
        jacobian: its derivative with each parameter, divided by the largest derivative with that parameter under the
            same prior and kind of soil, shape (parameter, spectrum, wavelength).
    """

    values: np.ndarray
    jacobian: np.ndarray


def draw(rng: np.random.Generator, prior: dict[str, tuple[float, ...]], n: int) -> np.ndarray:
    """Parameters (12, n) from truncated normals and uniforms; a tenth of the uniforms at their ends."""
    columns = []
    for name in PARAMETERS:
        low, high, *normal = prior[name]
        if not normal:
            # Steps onto the faces of the box: the largest errors live there.
            values = np.clip(rng.uniform(low - 0.05 * (high - low), high + 0.05 * (high - low), n), low, high)
        else:
            mean, sd = normal
            values = rng.normal(mean, sd, 40 * n)
            values = values[(values >= low) & (values <= high)][:n]
        columns.append(values)
    parameters = np.array(columns)
    # Half of the wide canopies sparse, where the soil shows.
    sparse = rng.random(n) < (0.5 if prior is PRIORS["wide"] else 0.0)
    row = PARAMETERS.index("leaf_area_index")
    parameters[row, sparse] *= rng.random(sparse.sum()) ** 2
    return parameters


def soils(rng: np.random.Generator, kind: str, which: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Dry and wet soil spectra (n, 2101), of unit brightness."""
    mixture = table("soil_dry_wet")
    if kind == "mixture":
        return tuple(np.broadcast_to(mixture[name], (n, 2101)) for name in ("dry", "wet"))  # type: ignore[return-value]
    library = table("soil_library")
    # The half furthest from the mean soil serves the fit; the others take turns to choose and to test.
    outward = np.argsort(-np.sum(library["scores"] ** 2, axis=1))
    half = outward.size // 2
    members = outward[:half] if which == 0 else outward[half + which - 1 :: 2]
    share = rng.random((n, 1)) ** 2
    dry = (1.0 - share) * library["spectra"][rng.choice(members, n)] + share * library["spectra"][
        rng.choice(members, n)
    ]
    dry = dry * library["mean_reflectance"][rng.choice(members, n)][:, None]
    return dry, dry * np.sqrt(mixture["wet"] / mixture["dry"])


def reflectance(parameters: jax.Array, dry: jax.Array, wet: jax.Array, angles: jax.Array, wavelengths: np.ndarray):
    """Bidirectional reflectance (n, wavelength) of parameters (12, n) and angles (3, n) in degrees."""
    named = dict(zip(PARAMETERS, parameters, strict=True))
    leaf = Leaf(**{name: named[name] for name in PARAMETERS[:7]})
    canopy = Canopy(**{name: named[name] for name in PARAMETERS[7:10]})
    soil = named["brightness"][:, None] * (dry + named["wetness"][:, None] * (wet - dry))
    sun_view = SunView.from_degrees(sun_zenith=angles[0], view_zenith=angles[1], relative_azimuth=angles[2])
    return sail(canopy, prospect_d(leaf, wavelengths=wavelengths), soil, sun_view).bidirectional


def simulate(
    which: str, wavelengths: np.ndarray, *, n: int, n_jacobian: int, seed: int = 0, chunk: int = 64
) -> Spectra:
    """Spectra of one of the three sets.

    Args:
        which: `fit`, `choose` or `test`.
        wavelengths: nm, whole numbers, shape (wavelength,).
        n: spectra for each prior and kind of soil.
        n_jacobian: those of them whose derivatives are computed too.
        seed: of the random numbers; the sets differ for any seed.
        chunk: spectra a compiled call evaluates at once.
    """
    number = SETS.index(which)
    rng = np.random.default_rng([seed, number])
    n, n_jacobian = -(-n // chunk) * chunk, -(-n_jacobian // chunk) * chunk
    values, jacobians = [], []
    with jax.enable_x64(True):
        forward = jax.jit(functools.partial(reflectance, wavelengths=wavelengths))

        def derivative(parameters, *others):
            def column(direction):
                return jax.jvp(lambda p: forward(p, *others), (parameters,), (direction,))[1]

            basis = jnp.eye(len(PARAMETERS), dtype=parameters.dtype)[:, :, None]
            return jax.lax.map(column, jnp.broadcast_to(basis, (*basis.shape[:2], parameters.shape[1])))

        derivative = jax.jit(derivative)
        for name, prior in PRIORS.items():
            for kind in ("mixture", "library"):
                parameters = draw(rng, prior, n)
                dry, wet = soils(rng, kind, number, n)
                # The published priors of brightness make soils that reflect more than they receive: cut at 1.
                row = PARAMETERS.index("brightness")
                parameters[row] = np.minimum(parameters[row], 1.0 / dry.max(axis=1))
                dry, wet = resolve(dry, wavelengths), resolve(wet, wavelengths)
                widest = 60.0 if name == "wide" else 15.0
                angles = rng.uniform([[0.0], [0.0], [0.0]], [[78.0], [widest], [180.0]], (3, n))
                block = []
                for start in range(0, n, chunk):
                    part = slice(start, start + chunk)
                    inputs = [jnp.asarray(x) for x in (parameters[:, part], dry[part], wet[part], angles[:, part])]
                    values.append(np.asarray(forward(*inputs)))
                    if start < n_jacobian:
                        block.append(np.asarray(derivative(*inputs)))
                jacobian = np.concatenate(block, axis=1)
                jacobians.append(jacobian / np.max(np.abs(jacobian), axis=(1, 2), keepdims=True))
    return Spectra(np.concatenate(values), np.concatenate(jacobians, axis=1))
