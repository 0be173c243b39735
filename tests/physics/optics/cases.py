"""Reference cases as records, and the box of all optical parameters with one function from box to reflectance."""

import pathlib

import jax.numpy as jnp
import numpy as np

from physics import BimodalCanopy, Canopy, Leaf, LeafPro, Soil, SunView, prospect_d, sail, soil_mixture

REFERENCES = pathlib.Path(__file__).parents[2] / "references"
LOSSLESS = 60  # first edge row: a leaf that absorbs nothing, for which the reference canopy is not a number


def leaf(table, rows, record=Leaf):
    fields = {
        "layers": "in_n",
        "chlorophyll": "in_cab",
        "carotenoids": "in_car",
        "anthocyanins": "in_ant",
        "brown_pigment": "in_cbrown",
    }
    fields |= {"water": "in_cw"}
    fields |= {"dry_matter": "in_cm"} if record is Leaf else {"proteins": "in_prot", "carbon_constituents": "in_cbc"}
    return record(**{name: jnp.asarray(table[key][rows]) for name, key in fields.items()})


def canopy(table, rows, bimodal):
    lai, hot_spot = jnp.asarray(table["in_lai"][rows]), jnp.asarray(table["in_hspot"][rows])
    if bimodal:
        return BimodalCanopy(
            leaf_area_index=lai,
            leaf_angle_a=jnp.asarray(table["in_lidfa"][rows]),
            leaf_angle_b=jnp.asarray(table["in_lidfb"][rows]),
            hot_spot=hot_spot,
        )
    return Canopy(leaf_area_index=lai, mean_leaf_angle=jnp.asarray(table["in_lidfa"][rows]), hot_spot=hot_spot)


def soil(table, rows):
    return Soil(brightness=jnp.asarray(table["in_rsoil"][rows]), wetness=1.0 - jnp.asarray(table["in_psoil"][rows]))


def sun_view(table, rows):
    return SunView.from_degrees(*(jnp.asarray(table[key][rows]) for key in ("in_tts", "in_tto", "in_psi")))


def records_for(kind):
    return LeafPro if kind == "PRO" else Leaf


WAVELENGTHS = np.array([400, 445, 500, 550, 620, 665, 680, 705, 740, 783, 865, 1100, 1450, 1610, 1940, 2190])
NAMES = (
    "layers chlorophyll carotenoids anthocyanins brown_pigment water dry_matter leaf_area_index mean_leaf_angle "
    "hot_spot brightness wetness sun_zenith view_zenith relative_azimuth"
).split()
LOW = np.array([1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0], float)
HIGH = np.array([4, 120, 30, 40, 4, 0.2, 0.06, 15, 85, 1, 1.5, 1, 85, 75, 180], float)


def box_records(p):
    """Records from a vector (..., 15) in the order of NAMES; angles in degrees."""
    fields = {name: p[..., i] for i, name in enumerate(NAMES)}
    return (
        Leaf(**{name: fields[name] for name in NAMES[:7]}),
        Canopy(**{name: fields[name] for name in NAMES[7:10]}),
        Soil(brightness=fields["brightness"], wetness=fields["wetness"]),
        SunView.from_degrees(*(fields[name] for name in NAMES[12:])),
    )


def box_reflectance(p):
    """Bidirectional reflectance (..., 16) from a vector (..., 15)."""
    leaf_, canopy_, soil_, angles = box_records(p)
    optics = prospect_d(leaf_, wavelengths=WAVELENGTHS)
    return sail(canopy_, optics, soil_mixture(soil_, wavelengths=WAVELENGTHS), angles).bidirectional
