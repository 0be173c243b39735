"""Sentinel-1 in GeoTIFF files: dates and polarisations at their places, units, gamma-0 and sigma-0, and mistakes."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from releo_jax import maps, methods
from releo_jax.cli import main
from releo_jax.cubes import open_radar, open_sentinel1, rasters, with_radar, write_cube
from releo_jax.cubes.blocks import Window, load_block
from releo_jax.cubes.convention import grid_of
from releo_jax.errors import ReleoError
from tests.releo_jax.cubes.products import write_tif
from tests.releo_jax.cubes.test_radar import RadarIndex

SHAPE = (36, 48)
STAMPS = ("20220603T054411", "20220607T173215", "20220610T054410")


def powers(date: int, name: str) -> np.ndarray:
    """Linear powers that tell date, polarisation and column."""
    decibels = -10.0 - date - np.arange(SHAPE[1]) / 100.0 - (7.0 if name == "VH" else 0.0)
    return np.broadcast_to(10.0 ** (0.1 * decibels), SHAPE).astype(np.float32)


def angles(date: int) -> np.ndarray:
    return np.broadcast_to(np.linspace(34.0, 40.0, SHAPE[1]) + date, SHAPE).astype(np.float32)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Sigma-0, linear, one angle for all dates; VH is missing on the second date."""
    path = tmp_path / "radar"
    for date, stamp in enumerate(STAMPS):
        for name in ("VV", "VH"):
            if (date, name) != (1, "VH"):
                write_tif(path / f"s1a_32TNT_{name.lower()}_{stamp}_sigma0.tif", powers(date, name), 10, nodata=0.0)
    write_tif(path / "incidence.tif", angles(0), 10)
    return path


def test_every_date_and_polarisation_is_where_it_was_measured(folder):
    radar = open_sentinel1(folder, unit="linear")
    assert [str(time)[:19] for time in radar["radar_time"].values] == [
        "2022-06-03T05:44:11", "2022-06-07T17:32:15", "2022-06-10T05:44:10",
    ]  # fmt: skip
    found = radar["backscatter"].values
    for date in range(3):
        np.testing.assert_allclose(found[date, 0], 10.0 * np.log10(powers(date, "VV")), atol=2e-5)
        np.testing.assert_array_equal(radar["incidence"].values[date], angles(0))
    np.testing.assert_allclose(found[2, 1], 10.0 * np.log10(powers(2, "VH")), atol=2e-5)
    assert np.isnan(found[1, 1]).all()
    with rasterio.open(next(folder.glob("*_vv_*"))) as file:
        assert grid_of(radar) == (file.crs, file.transform)
    assert radar["backscatter"].attrs["units"] == "dB" and "as in the files" in radar.attrs["sigma0"]
    listed = open_sentinel1(sorted(folder.glob("*0[37]T*")), unit="linear", incidence=37.0)
    assert listed.sizes["radar_time"] == 2 and (listed["incidence"].values == 37.0).all()


def test_dates_beside_an_optical_image_stay_unaligned_and_are_padded(folder, cube):
    both = with_radar(cube, open_radar(folder, unit="linear"))
    block = load_block(both, Window(0, 3, 5, 2, 4), ("B04",), radar=(4.0, 4))
    # The image is of 5 June, 10:36: 7 June, 17:32, without VH, is farther than 3 June, 5:44.
    away = np.array(["2022-06-03T05:44:11", "2022-06-07T17:32:15"], "M8[s]") - np.datetime64("2022-06-05T10:36:00")
    np.testing.assert_allclose(block.radar.days[0, :2], away / np.timedelta64(1, "D"), rtol=1e-6)
    assert (block.radar.mask == [[True, True], [True, False], [False, False], [False, False]]).all()


def test_gamma_nought_of_hyp3_with_its_own_angles(tmp_path):
    """Each product in a folder of its own; angles to the ellipsoid, in radians, go before local ones."""
    for date, stamp in enumerate(STAMPS):
        stem = f"S1A_IW_{stamp}_DVP_RTC10_G_gpuned_1A2{date}"
        for name in ("VV", "VH"):
            write_tif(tmp_path / stem / f"{stem}_{name}.tif", powers(date, name), 10, nodata=0.0)
        write_tif(tmp_path / stem / f"{stem}_inc_map_ell.tif", np.radians(angles(date)), 10)
        write_tif(tmp_path / stem / f"{stem}_inc_map.tif", np.radians(angles(date) + 9.0), 10)
        write_tif(tmp_path / stem / f"{stem}_dem.tif", np.full(SHAPE, 200.0, np.float32), 10)
    radar = open_sentinel1(tmp_path)
    assert "cosine" in radar.attrs["sigma0"]
    for date in range(3):
        np.testing.assert_allclose(radar["incidence"].values[date], angles(date), rtol=1e-5)
        for index, name in enumerate(("VV", "VH")):
            expected = powers(date, name) * np.cos(np.radians(angles(date)))
            np.testing.assert_allclose(10.0 ** (0.1 * radar["backscatter"].values[date, index]), expected, rtol=1e-5)


def test_two_passes_of_a_day_have_angles_of_their_own(tmp_path):
    for date, stamp in enumerate(("20220603T054411", "20220603T173215", "20220604")):
        write_tif(tmp_path / f"sigma0_VV_{stamp}.tif", powers(date, "VV"), 10)
        write_tif(tmp_path / f"incidence_{stamp.replace('0604', '0604T054411')}.tif", angles(date), 10)
    radar = open_sentinel1(tmp_path, unit="linear")
    for date in range(3):
        np.testing.assert_array_equal(radar["incidence"].values[date], angles(date))


def test_decibels_blank_pixels_and_noise_below_zero(tmp_path):
    decibels = 10.0 * np.log10(powers(0, "VV"))
    decibels[:2] = -9999.0
    write_tif(tmp_path / "db/gamma0_VV_2022-06-03_dB.tif", decibels, 10)
    write_tif(tmp_path / "db/incidence_angle.tif", angles(0), 10)
    radar = open_sentinel1(tmp_path / "db")
    expected = decibels + 10.0 * np.log10(np.cos(np.radians(angles(0))))
    np.testing.assert_allclose(radar["backscatter"].values[0, 0, 2:], expected[2:], atol=2e-5)
    assert np.isnan(radar["backscatter"].values[0, 0, :2]).all() and np.isnan(radar["backscatter"].values[0, 1]).all()
    assert str(radar["radar_time"].values[0])[:16] == "2022-06-03T12:00", "a day without the hour is its noon"
    linear = powers(0, "VV").copy()
    linear[:2], linear[2:4] = 0.0, -1e-4
    write_tif(tmp_path / "linear/sigma0_VV_20220603.tif", linear, 10)
    found = open_sentinel1(tmp_path / "linear", unit="linear", incidence=38.0)["backscatter"].values[0, 0]
    assert np.isnan(found[:4]).all() and np.isfinite(found[4:]).all()


def test_opening_looks_at_a_few_pixels_only(tmp_path, monkeypatch):
    read, pixels = rasters.read, []

    def counted(item, y, x, special):
        pixels.append((y.stop - y.start) * (x.stop - x.start))
        return read(item, y, x, special)

    monkeypatch.setattr(rasters, "read", counted)
    shape = (1200, 1200)
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    for day in range(1, 13):
        write_tif(tmp_path / f"sigma0_VV_202206{day:02d}.tif", np.full(shape, 0.1, np.float32), 10, **options)
    open_sentinel1(tmp_path, unit="linear", incidence=38.0)
    assert 0 < len(pixels) and sum(pixels) < 0.02 * 12 * shape[0] * shape[1]


def test_maps_from_the_command_line(folder, cube, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "load_method", lambda *args, **options: RadarIndex())
    write_cube(cube, tmp_path / "scene.nc")
    command = ["invert", str(tmp_path / "scene.nc"), "--radar", str(folder), "-o", str(tmp_path / "maps.nc"), "--quiet"]
    assert main(command) != 0, "the unit is not in the names"
    assert main([*command, "--radar-unit", "linear"]) == 0
    with maps.xr.open_dataset(tmp_path / "maps.nc") as result:
        found = result["soil_moisture_mean"].values[0]
    np.testing.assert_allclose(found, 10.0 * np.log10(powers(0, "VV")), atol=2e-5)


def rename(old: str, new: str):
    def change(folder: Path) -> None:
        for path in folder.glob(f"*{old}*"):
            path.rename(path.with_name(path.name.replace(old, new)))

    return change


def rewrite(name: str, numbers: np.ndarray, **options):
    return lambda folder: write_tif(next(folder.glob(name)), numbers, options.pop("size", 10), **options)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (rename("_sigma0", ""), "does not say whether it is sigma0 or gamma0; give --radar-quantity sigma0"),
        (rename(f"vv_{STAMPS[0]}_sigma0", f"vv_{STAMPS[0]}_gamma0"), "files of several kinds .linear gamma0, linear s"),
        (rename(STAMPS[0], "June"), "vh_June_sigma0.tif: expected a date such as 20200108"),
        (rename("_vv_", "_hh_"), "expected GeoTIFF files named after date and polarisation VV .*found none"),
        (lambda f: (f / "incidence.tif").unlink(), "no angle of incidence for 2022-06-03; add .* give --incidence"),
        (rewrite("incidence.tif", np.radians(angles(0))), "got 0.593 to 0.698; they look like radians"),
        (rewrite("*vv*0607*", powers(1, "VV"), crs="EPSG:32633"), "grids do not match: .*0607.*32633"),
        (rewrite("*vv*0607*", powers(1, "VV")[::2, ::2].copy(), size=20), "grids do not match: .*gdalwarp"),
        (rewrite("*vv*0607*", powers(1, "VV")[1:].copy()), "grids do not match: .*gdalwarp"),
        (rewrite("*vv*0607*", (powers(1, "VV") * 1e4).astype(np.int16)), "expected calibrated backscatter"),
        (rewrite("*vv*0607*", 10.0 * np.log10(powers(1, "VV"))), "looks like dB: give --radar-unit dB"),
        (lambda f: next(f.glob("*vv*0603*")).rename(f / f"vv_{STAMPS[1]}_sigma0.tif"), "both hold VV of 2022-06-07"),
        (lambda f: next(f.glob("*vv*0603*")).write_bytes(b""), "the file is empty"),
    ],
)
def test_mistakes_are_named_with_their_remedy(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ReleoError, match=message) as caught:
        open_sentinel1(folder, unit="linear")
    assert "\n" not in str(caught.value)


def test_units_and_amplitude(folder, tmp_path):
    with pytest.raises(ReleoError, match="does not say whether it is linear power or dB; give --radar-unit"):
        open_sentinel1(folder)
    write_tif(tmp_path / "S1A_IW_20220603T054411_DVP_RTC10_G_gauned_1A2B_VV.tif", powers(0, "VV"), 10)
    with pytest.raises(ReleoError, match="expected backscatter as one of sigma0, gamma0, got 'beta0'"):
        open_sentinel1(folder, unit="linear", quantity="beta0")
    with pytest.raises(ReleoError, match="holds amplitude; order the product as power or dB"):
        open_sentinel1(list(tmp_path.glob("*.tif")), incidence=38.0)
    with pytest.raises(ReleoError, match="no such folder"):
        open_sentinel1(tmp_path / "nowhere")


def test_a_radar_in_another_projection_is_refused(folder, cube):
    radar = open_sentinel1(folder, unit="linear").rio.write_crs("EPSG:32631")
    with pytest.raises(ReleoError, match="grids do not match: .*EPSG:32632, .*EPSG:32631; warp the radar"):
        with_radar(cube, radar)
