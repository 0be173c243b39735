"""Optical and radar dates explained by one state: the physics of the radar, the prior of moisture, the retrieval."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from physics import SunView, sensor
from physics.microwave import MoistSoil, RadarView, Roughness, mironov09, oh92
from releo_jax.cli import main
from releo_jax.cubes.blocks import Window, load_block
from releo_jax.cubes.radar import radar_pixels, to_decibels
from releo_jax.cubes.radar_scene import simulate_radar
from releo_jax.cubes.scene import simulate_scene
from releo_jax.errors import ReleoError
from releo_jax.inference.structure import read_structure
from releo_jax.observations import SingleDate
from releo_jax.results import open_result
from releo_jax.systems.optical_radar import (
    MOISTURE,
    RadarScene,
    RadarState,
    acquisition,
    backscatter,
    moisture_law,
    optical_radar,
)
from releo_jax.systems.optical_radar_retrieval import load_optical_radar
from releo_jax.systems.prosail_vae import SENTINEL2_BANDS
from releo_jax.variables import FLAGS

VIEW = RadarView.from_degrees(np.float32(38.0))


def state(**changed):
    usual = {"rms_height": 1.0, "soil_moisture": 0.2, "plant_water": 2.0, "scattering_vv": 0.07, "scattering_vh": 0.02}
    values = {name: np.atleast_1d(np.asarray(value, np.float32)) for name, value in (usual | changed).items()}
    return RadarState(**dict(zip(values, map(jnp.asarray, np.broadcast_arrays(*values.values())), strict=True)))


def test_backscatter_goes_from_bare_soil_to_closed_canopy():
    water = np.concatenate([[0.0, 200.0], np.linspace(0.1, 6.0, 8)])
    found = np.asarray(jax.jit(lambda s: backscatter(s, VIEW))(state(plant_water=water, soil_moisture=0.4)))
    soil = mironov09(MoistSoil(soil_moisture=0.4, clay=0.25, sand=0.35), frequency=5.405)
    bare = oh92(soil, Roughness(rms_height=1.0, correlation_length=6.0), VIEW, frequency=5.405)
    np.testing.assert_allclose(found[0], 10.0 * np.log10([bare.vv, bare.vh]), atol=1e-3)
    np.testing.assert_allclose(found[1], 10.0 * np.log10(np.cos(np.radians(38.0)) * np.array([0.07, 0.02])), atol=1e-3)
    assert (np.diff(found[2:, 0]) < 0).all()  # wet soil is brighter than plants in VV
    moist = np.asarray(jax.jit(lambda s: backscatter(s, VIEW))(state(soil_moisture=np.linspace(0.03, 0.45, 10))))
    assert (np.diff(moist, axis=0) > 0).all()


@pytest.mark.parametrize("water", [0.0, 3.0])
def test_slopes_of_backscatter_are_differences(water):
    names = RadarState._fields
    point = np.array([1.0, 0.2, water, 0.07, 0.02])

    def total(vector):
        view = RadarView(incidence=jnp.asarray(0.66, vector.dtype))
        return backscatter(RadarState(*vector[:, None]), view).sum()

    slopes = np.asarray(jax.jit(jax.grad(total))(jnp.asarray(point, jnp.float32)))
    with jax.enable_x64(True):
        double = jax.jit(total)

        def difference(name, step):
            below = 0.0 if name == "plant_water" and water == 0.0 else 1.0  # there is none below zero
            ends = [float(double(jnp.asarray(point + share * step))) for share in (1.0, -below)]
            return (ends[0] - ends[1]) / (step.sum() * (1.0 + below))

        expected = [difference(*one) for one in zip(names, 1e-6 * np.eye(5), strict=True)]
    np.testing.assert_allclose(slopes, expected, rtol=1e-3, atol=1e-4)


def test_moisture_is_uniform_on_each_date_and_remembers_close_ones():
    law = moisture_law(jnp.asarray([[0.0, 1.0, 9.0]]), memory=8.0)
    draws = np.asarray(law.sample(jax.random.key(0), (4000,)))[:, 0]
    low, high = MOISTURE
    for share in np.moveaxis((draws - low) / (high - low), 1, 0):
        np.testing.assert_allclose(np.quantile(share, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.025)
    ranks = np.corrcoef(draws.T)
    # of uniforms under a Gaussian copula: 6 / pi arcsin(r / 2)
    expected = 6.0 / np.pi * np.arcsin(0.98 * np.exp(-np.array([1.0, 9.0]) / 8.0) / 2.0)
    np.testing.assert_allclose(ranks[0, 1:], expected, atol=0.03)


def test_either_sensor_alone_is_a_model():
    bands = sensor("sentinel2a", bands=("B03", "B04", "B8A"))
    model, sampler = optical_radar(bands, scene=RadarScene(looks=10.0)), acquisition(bands)
    seen = sampler(jax.random.key(0), 500)
    assert {name: record.values.shape for name, record in seen.items()} == {"s2": (500, 3, 3), "s1": (500, 4, 2)}
    for record in seen.values():
        days = np.abs(np.asarray(record.time))
        there = np.asarray(record.mask.any(-1))
        assert days.max() <= 10.0 and (there.mean() > 0.3) and (~there.any(1)).mean() > 0.05
    few = {name: jax.tree.map(lambda leaf: leaf[:2], record) for name, record in seen.items()}
    sites = {
        what: [site.name for site in read_structure(model, {name: few[name] for name in what}).local]
        for what in (("s1",), ("s2",))
    }
    radar = {"rms_height", "plant_water_ratio", "scattering_vv", "scattering_vh"}
    assert set(sites["s1",]) - set(sites["s2",]) == radar
    assert set(sites["s2",]) - set(sites["s1",]) == {"film_capacity"}
    with pytest.raises(ValueError, match="expected the record 's2' or 's1', got"):
        model({})
    with pytest.raises(ValueError, match=r"expected Series records, got another kind for \['s1'\]"):
        model({"s1": SingleDate(jnp.zeros((2, 2)))})


SUFFIXES = ("mean", "std", "q05", "q50", "q95", "lower", "upper", "flag")


@pytest.fixture(scope="module")
def scene():
    """Pixels here and there in a simulated scene and its radar, with their truth."""
    optical = simulate_scene(seed=13, shape=(96, 96), cloud_cover=0.3, moist=True)
    radar = simulate_radar(optical, seed=13)
    nearest = int(np.argmin(np.abs(radar["time"].values - optical["time"].values[0])))
    truth = {
        "lai": optical["leaf_area_index"].values.ravel(),
        "sm": radar["soil_moisture"].values[nearest].ravel(),
        "vwc": radar["vegetation_water"].values.ravel(),
    }
    vv, vh = (to_decibels(radar[name].values.reshape(3, -1).T) for name in ("VV", "VH"))
    degrees = radar["incidence"].values.reshape(3, -1).T
    days = (radar["time"].values - optical["time"].values[0]) / np.timedelta64(1, "D")
    order = np.argsort(np.abs(days))
    pad = ((0, 0), (0, 1))
    decibels = np.pad(np.stack([vv, vh], -1)[:, order], (*pad, (0, 0)), constant_values=np.nan)
    radar_of = radar_pixels(
        decibels, np.pad(degrees[:, order], pad), np.pad(np.tile(days[order], (vv.shape[0], 1)), pad)
    )
    whole = dataclasses.replace(load_block(optical, Window(0, 0, 0, 96, 96), SENTINEL2_BANDS), radar=radar_of)
    rows = np.random.default_rng(0).choice(len(whole), 1024, replace=False)
    return whole[rows], whole[rows].radar, {name: values[rows] for name, values in truth.items()}


VARIABLES = ("lai", "sm", "vwc", "fapar")


def retrieved(block, radar, *, mask=None):
    """Of 1024 pixels, a batch that maps of small scenes use too: one compiled program."""
    block = dataclasses.replace(block, radar=radar, mask=block.mask if mask is None else mask)
    view = SunView.from_degrees(block.sun_zenith, block.view_zenith, block.relative_azimuth)
    return load_optical_radar("sentinel2a")(
        block.reflectance, block.mask, view, variables=VARIABLES, level=0.9, radar=block.radar
    )


def nothing(radar):
    return dataclasses.replace(radar, mask=np.zeros_like(radar.mask))


@pytest.mark.long
def test_what_a_sensor_did_not_see_is_wider(scene):
    block, radar, truth = scene
    both = retrieved(block, radar)
    optical, alone = retrieved(block, nothing(radar)), retrieved(block, radar, mask=np.zeros_like(block.mask))
    clear = np.isfinite(truth["sm"]) & block.mask.any(1)
    for alias, found, wider in (("sm", optical, 1.2), ("lai", alone, 1.2), ("lai", optical, 1.01)):
        assert np.mean(found[f"{alias}_std"][clear]) > wider * np.mean(both[f"{alias}_std"][clear])
    for found in (both, optical, alone):
        for alias in ("lai", "sm", "vwc", "fapar"):
            order = np.stack([found[f"{alias}_{name}"] for name in ("q05", "q50", "q95")])
            shown = np.isfinite(order[0])
            assert shown[clear].all() and (np.diff(order[:, shown], axis=0) >= 0).all()


@pytest.mark.long
def test_one_bad_pixel_is_flagged_and_harms_no_other(scene):
    block, radar, _ = scene
    clean = retrieved(block, radar)
    values, mask = block.reflectance.copy(), block.mask.copy()
    decibels = radar.decibels.copy()
    seen = np.flatnonzero(mask.all(1))[:2]
    values[seen[0]] = 1.4  # white in all bands, as no land is
    decibels[seen[1]] = 4.0  # brighter than any field
    gone = np.flatnonzero(~mask.any(1))[0]
    lost = radar.mask.copy()
    lost[gone] = False
    changed = retrieved(
        dataclasses.replace(block, reflectance=values), dataclasses.replace(radar, decibels=decibels, mask=lost)
    )
    assert changed["lai_flag"][seen[0]] & (FLAGS["out_of_domain"] | FLAGS["predictive_misfit"])
    assert changed["lai_flag"][seen[1]] & FLAGS["out_of_domain"]
    assert changed["lai_flag"][gone] == FLAGS["input_masked"] and np.isnan(changed["sm_mean"][gone])
    others = np.setdiff1d(np.arange(len(values)), [*seen, gone])
    for name in (f"{alias}_{suffix}" for alias in ("lai", "sm", "vwc") for suffix in SUFFIXES):
        np.testing.assert_array_equal(changed[name][others], clean[name][others])


@pytest.mark.long
def test_without_radar_moisture_is_what_darkened_the_soil(scene):
    """Little is known of it: not much less than the prior's deviation is left."""
    block, radar, truth = scene
    found = retrieved(block, nothing(radar))
    low, high = MOISTURE
    clear = block.mask.any(1) & np.isfinite(truth["sm"])
    deviation = (high - low) / np.sqrt(12.0)
    assert 0.8 * deviation < found["sm_std"][clear].mean() < 1.02 * deviation
    bare = clear & (truth["lai"] < 1.0)
    assert found["sm_std"][bare].mean() < found["sm_std"][clear & ~bare].mean()
    with pytest.raises(ReleoError, match="no trained weights for the sensor 'landsat8'"):
        load_optical_radar("landsat8")


@pytest.mark.long
def test_the_command_makes_maps_of_both(tmp_path, capsys):
    scene, radar, maps = (str(tmp_path / name) for name in ("scene.nc", "radar.nc", "maps.nc"))
    assert main(["simulate", scene, "--radar", radar, "--size", "24x36", "--seed", "3", "--clouds", "0.3", "-q"]) == 0
    words = ["invert", scene, "-o", maps, "--radar", radar, "--variables", ",".join(VARIABLES), "-q"]
    assert main(words) == 0
    with open_result(maps) as found, xr.open_dataset(radar) as truth:
        moisture = found["soil_moisture_mean"].values
        assert found.attrs["method"] == "optical-radar" and len(found.attrs["radar_dates"].split()) == 3
        assert np.isfinite(moisture).all()  # the radar saw through the clouds
        assert found["soil_moisture_mean"].attrs["units"] == "m3 m-3"
        wet = truth["soil_moisture"].values[1]
        assert np.corrcoef(wet[np.isfinite(wet)], moisture[0][np.isfinite(wet)])[0, 1] > 0.4
    capsys.readouterr()
    assert main([*words, "--overwrite", "--radar-unit", "dB"]) == 1
    out, err = capsys.readouterr()
    assert "looks like linear power: give --radar-unit linear" in err and "Traceback" not in out + err
