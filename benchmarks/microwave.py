"""Our microwave models as entries of the benchmark of simulators, each over the box that it is used in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from benchmarks.columns import Columns, of
from physics.microwave import (
    Backscatter,
    CanopyLayer,
    MoistSoil,
    Permittivity,
    RadarView,
    Roughness,
    ScatteringLayer,
    WaterCloud,
    baghdadi16,
    calibrated_iem,
    dobson85,
    dubois95,
    elrayes87,
    exponential,
    fresnel,
    gaussian,
    hallikainen85,
    henyey_greenstein,
    iem,
    iem_fung92,
    linear_soil,
    mironov09,
    oh04,
    oh92,
    peplinski95,
    rayleigh_henyey_greenstein,
    rt1,
    single_scattering,
    topp80,
    topp80_inverse,
    water_cloud,
)
from releo_jax.benchmarking import Simulator, by_name

C_BAND = 5.405  # GHz, Sentinel-1
SOIL = {
    "soil_moisture": (0.02, 0.5),
    "clay": (0.0, 0.6),
    "sand": (0.0, 0.4),
    "bulk_density": (1.1, 1.7),
    "temperature": (1.0, 40.0),
}
PERMITTIVITY = {"dielectric_constant": (2.5, 40.0), "dielectric_loss": (0.0, 12.0)}
ROUGHNESS = {"rms_height": (0.1, 4.0), "correlation_length": (2.0, 20.0)}
WATER_CLOUD = {"scattering": (0.0, 0.3), "attenuation": (0.0, 1.5), "exponent": (0.5, 1.5)}
LAYER = {
    "height": (0.0, 3.0),
    "extinction_vertical": (0.0, 2.0),
    "extinction_horizontal": (0.0, 2.0),
    "albedo": (0.0, 0.3),
}


def incidence(low: float, high: float) -> dict[str, tuple[float, float]]:
    """Range of the incidence, degrees."""
    return {"incidence": (low, high)}


def view(fields: Columns) -> RadarView:
    """Direction of the radar."""
    return RadarView.from_degrees(fields["incidence"])


def stacked(found: Backscatter | Permittivity | tuple[Any, ...]) -> Any:
    """Outputs (batch, output) from what a model returns."""
    if isinstance(found, Permittivity):
        found = (found.dielectric_constant, found.dielectric_loss)
    if isinstance(found, Backscatter):
        found = tuple(one for one in (found.vv, found.hh, found.vh) if one is not None)
    return jnp.stack(found, axis=-1)


def soil_entry(
    model: Callable[..., Permittivity], fields: tuple[str, ...], **changed: tuple[float, float]
) -> Simulator:
    """A model of the permittivity of soil; what it does not use is left out of its box."""
    prior = {name: SOIL[name] for name in fields} | changed
    rest = {name: 0.5 * (low + high) for name, (low, high) in SOIL.items() if name not in fields}

    def function(columns: Columns) -> Any:
        filled = {name: jnp.full_like(columns[fields[0]], value) for name, value in rest.items()}
        return stacked(model(of(MoistSoil, {**columns, **filled}, SOIL), frequency=C_BAND))

    return Simulator(name=model.__name__, function=by_name(function, prior), prior=prior)


def surface_entry(
    name: str, prior: Mapping[str, tuple[float, float]], model: Callable[[Columns, Roughness, RadarView], Backscatter]
) -> Simulator:
    """A model of bare soil."""

    def function(columns: Columns) -> Any:
        length = columns.get("correlation_length", jnp.full_like(columns["incidence"], 5.0))
        roughness = Roughness(rms_height=columns["rms_height"], correlation_length=length)
        return stacked(model(columns, roughness, view(columns)))

    return Simulator(name=name, function=by_name(function, prior), prior=prior)


def permittivities() -> list[Simulator]:
    """Dielectric models."""
    moisture = {"soil_moisture": SOIL["soil_moisture"]}
    constant = {"dielectric_constant": (3.0, 40.0)}
    water = {"gravimetric_moisture": (0.2, 0.8)}
    boundary = PERMITTIVITY | incidence(0.0, 80.0)
    return [
        soil_entry(mironov09, ("soil_moisture", "clay")),
        soil_entry(dobson85, tuple(SOIL)),
        soil_entry(peplinski95, tuple(SOIL)),
        soil_entry(hallikainen85, ("soil_moisture", "clay", "sand")),
        Simulator(
            name="topp80", function=by_name(lambda p: topp80(p["soil_moisture"])[:, None], moisture), prior=moisture
        ),
        Simulator(
            name="topp80_inverse",
            function=by_name(lambda p: topp80_inverse(p["dielectric_constant"])[:, None], constant),
            prior=constant,
        ),
        Simulator(
            name="elrayes87",
            function=by_name(lambda p: stacked(elrayes87(p["gravimetric_moisture"], frequency=C_BAND)), water),
            prior=water,
        ),
        Simulator(
            name="fresnel",
            function=by_name(lambda p: stacked(fresnel(of(Permittivity, p, PERMITTIVITY), view(p))), boundary),
            prior=boundary,
        ),
    ]


def surfaces() -> list[Simulator]:
    """Models of bare soil, by closed forms and by the integral equation."""
    height = {"rms_height": ROUGHNESS["rms_height"]}
    moisture = {"soil_moisture": (0.04, 0.4)}

    def dielectric(model: Callable[..., Backscatter], **options: Any) -> Callable[..., Backscatter]:
        return lambda p, roughness, seen: model(
            of(Permittivity, p, PERMITTIVITY), roughness, seen, frequency=C_BAND, **options
        )

    def moist(model: Callable[..., Backscatter]) -> Callable[..., Backscatter]:
        return lambda p, roughness, seen: model(p["soil_moisture"], roughness, seen, frequency=C_BAND)

    constant = {"dielectric_constant": PERMITTIVITY["dielectric_constant"]}

    def dubois(p: Columns, roughness: Roughness, seen: RadarView) -> Backscatter:
        lossless = Permittivity(
            dielectric_constant=p["dielectric_constant"], dielectric_loss=jnp.zeros_like(p["dielectric_constant"])
        )
        return dubois95(lossless, roughness, seen, frequency=C_BAND)

    def calibrated(p: Columns, roughness: Roughness, seen: RadarView) -> Backscatter:
        return calibrated_iem(of(Permittivity, p, PERMITTIVITY), roughness.rms_height, seen, frequency=C_BAND)

    flat = {"rms_height": (0.1, 2.2)}
    rough = PERMITTIVITY | ROUGHNESS | incidence(15.0, 60.0)
    return [
        surface_entry("oh92", PERMITTIVITY | height | incidence(10.0, 70.0), dielectric(oh92)),
        surface_entry("oh04", moisture | height | incidence(10.0, 70.0), moist(oh04)),
        surface_entry("dubois95", constant | flat | incidence(30.0, 65.0), dubois),
        surface_entry("baghdadi16", moisture | height | incidence(20.0, 50.0), moist(baghdadi16)),
        surface_entry("iem_fung92", rough, dielectric(iem_fung92)),
        surface_entry("iem, exponential", rough, dielectric(iem, correlation=exponential)),
        surface_entry(
            "iem, gaussian", rough | {"correlation_length": (2.0, 6.0)}, dielectric(iem, correlation=gaussian)
        ),
        surface_entry("calibrated_iem", PERMITTIVITY | {"rms_height": (0.3, 3.0)} | incidence(20.0, 50.0), calibrated),
    ]


def vegetations() -> list[Simulator]:
    """Models of soil under vegetation."""
    cloud = WATER_CLOUD | {"descriptor": (0.0, 6.0), "soil_moisture": (0.0, 0.5)} | incidence(20.0, 60.0)
    layer = LAYER | PERMITTIVITY | {"rms_height": (0.1, 3.0)} | incidence(20.0, 60.0)
    canopy = {"optical_depth": (0.0, 1.5), "albedo": (0.0, 0.4), "reflectance": (0.0, 0.5)} | incidence(15.0, 60.0)

    def clouded(p: Columns) -> Any:
        soil = linear_soil(p["soil_moisture"], -15.0, 25.0)
        return stacked(water_cloud(soil, p["descriptor"], of(WaterCloud, p, WATER_CLOUD), view(p)))

    def layered(p: Columns) -> Any:
        ground = Roughness(rms_height=p["rms_height"], correlation_length=jnp.full_like(p["rms_height"], 5.0))
        soil = of(Permittivity, p, PERMITTIVITY)
        bare = oh92(soil, ground, view(p), frequency=C_BAND)
        found = single_scattering(bare, soil, ground, of(ScatteringLayer, p, LAYER), view(p), frequency=C_BAND)
        return stacked(found.total)

    def transferred(p: Columns) -> Any:
        volume, surface = rayleigh_henyey_greenstein(0.3), henyey_greenstein(0.4)
        return stacked(rt1(of(CanopyLayer, p, list(canopy)[:3]), view(p), volume=volume, surface=surface))  # type: ignore

    return [
        Simulator(name=name, function=by_name(function, prior), prior=prior)
        for name, function, prior in (
            ("water_cloud", clouded, cloud),
            ("single_scattering", layered, layer),
            ("rt1", transferred, canopy),
        )
    ]


def microwave() -> list[Simulator]:
    """All of them."""
    return [*permittivities(), *surfaces(), *vegetations()]
