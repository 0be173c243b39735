"""Maps of any dates from cubes of irregular ones: files, flags, gaps, and problems that have names."""

import datetime

import jax
import numpy as np
import pytest
import xarray as xr
from rasterio.transform import Affine
from typer.testing import CliRunner

from physics import SunView
from releo_jax.cli.app import app
from releo_jax.cubes.block_store import BlockStore
from releo_jax.cubes.convention import assemble
from releo_jax.cubes.rasters import Grid
from releo_jax.errors import ReleoError
from releo_jax.maps import invert_cube
from releo_jax.seasons import season_dates, step_of
from releo_jax.systems.prosail_vae import SENTINEL2_BANDS
from releo_jax.systems.temporal import load_temporal

SOIL = np.array([0.08, 0.11, 0.15, 0.18, 0.20, 0.22, 0.24, 0.25, 0.31, 0.26])
LEAVES = np.array([0.02, 0.05, 0.025, 0.08, 0.30, 0.42, 0.45, 0.46, 0.20, 0.09])
DAYS = np.array([0, 5, 8, 20, 25, 30, 75, 80, 95])  # a gap of 45 days
FIRST = np.datetime64("2022-03-03T10:36:00", "ns")


def _cover(days):
    return 0.9 / (1.0 + np.exp(-(days - 40.0) / 8.0))


def _season(side=4, seed=0):
    """Reflectance `(date, band, y, x)` of fields that close, and a mask that is cloudy here and there."""
    rng = np.random.default_rng(seed)
    cover = np.broadcast_to(_cover(DAYS)[:, None, None], (DAYS.size, side, side))
    values = SOIL[:, None, None] + cover[:, None] * (LEAVES - SOIL)[:, None, None]
    values = values * (1.0 + 0.03 * rng.normal(size=values.shape))
    return values.astype(np.float32), rng.random((DAYS.size, 1, side, side)) < 0.2


def _cube(values, cloudy, days=DAYS):
    side = values.shape[-1]
    grid = Grid(None, Affine(10.0, 0.0, 600_000.0, 0.0, -10.0, 5_300_040.0), side, side)
    coordinates = {"time": FIRST + days * np.timedelta64(1, "D"), "band": list(SENTINEL2_BANDS), **grid.coordinates()}
    reflectance = xr.DataArray(values, coords=coordinates, dims=("time", "band", "y", "x"))
    mask = reflectance.copy(data=np.broadcast_to(cloudy, values.shape).astype(np.uint8))
    angles = {
        name: xr.DataArray(np.full(len(days), angle, np.float32), dims=("time",))
        for name, angle in (("sun_zenith", 40.0), ("view_zenith", 5.0), ("relative_azimuth", 90.0))
    }
    return assemble(
        reflectance, mask, angles, crs="EPSG:32632", transform=grid.transform, attrs={"sensor": "sentinel2a"}
    )


@pytest.fixture(scope="module")
def series():
    """Sixteen pixels `(pixel, date, band)` of the cube."""
    values, cloudy = _season()
    seen = np.broadcast_to(~cloudy, values.shape)
    return tuple(np.moveaxis(x.reshape(*x.shape[:2], -1), -1, 0) for x in (values, seen))


def _angles(shape):
    return SunView.from_degrees(*(np.full(shape, angle, np.float32) for angle in (40.0, 5.0, 90.0)))


def test_weekly_maps_by_the_command(tmp_path):
    values, cloudy = _season()
    cloudy[:, :, 0, 0] = True
    cube = _cube(values, cloudy)
    source, output = tmp_path / "season.nc", tmp_path / "weekly.nc"
    cube.to_netcdf(source)
    run = CliRunner().invoke(
        app, ["invert", str(source), "-o", str(output), "--temporal", "weekly", "--variables", "lai"]
    )
    assert run.exit_code == 0, run.output
    with xr.open_dataset(output, decode_coords="all") as found:
        assert found.sizes == {"time": 14, "y": 4, "x": 4}
        expected = np.datetime64("2022-03-03", "ns") + 7 * np.arange(14) * np.timedelta64(1, "D")
        np.testing.assert_array_equal(found["time"], expected)
        assert found.rio.crs.to_epsg() == 32632
        flag = found["leaf_area_index_flag"].values
        assert (flag[:, 0, 0] == 1).all() and (flag[:, 1:, 1:] == 0).all()
        mean, low, high = (found[f"leaf_area_index_{what}"].values for what in ("mean", "lower", "upper"))
        assert np.isnan(mean[:, 0, 0]).all()
        clear = flag == 0
        assert ((low < mean) & (mean < high))[clear].all()
        course = np.nanmean(mean, (1, 2))
        assert course[0] < 0.7 and course[-1] > 1.5  # bare, then closed
        deviation = np.nanmean(found["leaf_area_index_std"].values, (1, 2))
        score_width = np.nanmean(np.log(high) - np.log(low), (1, 2))
        assert score_width[7] > 1.2 * score_width[13]  # day 49 lies in the gap
        assert np.isfinite(deviation).all()


def test_blocks_change_nothing(tmp_path):
    from releo_jax.maps import predict

    values, cloudy = _season()
    cube = _cube(values, cloudy)
    whole = predict(cube, load_temporal(), temporal=30, variables=("lai",))
    parts = predict(cube, load_temporal(), temporal="30", variables=("lai",), block_size=3)
    assert whole.sizes["time"] == 4
    for name in whole.data_vars:
        np.testing.assert_allclose(whole[name], parts[name], rtol=2e-4, atol=2e-5)
    with pytest.raises(ReleoError, match="load_temporal"):
        predict(cube, load_temporal(), variables=("lai",))


def test_a_season_that_was_stopped_between_two_days_of_a_block_goes_on(tmp_path, monkeypatch):
    values, cloudy = _season()
    options = {"temporal": 30, "variables": ("lai",), "block_size": 3}
    invert_cube(_cube(values, cloudy), tmp_path / "whole.nc", load_temporal(), **options)
    write = BlockStore.write
    kept = []

    def some(store, window, found):
        if len(kept) == 6:  # four days of the first block, two of the second
            raise KeyboardInterrupt
        kept.append(window)
        write(store, window, found)

    monkeypatch.setattr(BlockStore, "write", some)
    with pytest.raises(KeyboardInterrupt):
        invert_cube(_cube(values, cloudy), tmp_path / "maps.nc", load_temporal(), resume={}, **options)
    monkeypatch.undo()
    report = invert_cube(_cube(values, cloudy), tmp_path / "maps.nc", load_temporal(), resume={}, **options)
    assert report.pixels == 4 * 16
    assert (tmp_path / "maps.nc").read_bytes() == (tmp_path / "whole.nc").read_bytes()


def test_a_bad_pixel_harms_no_other_and_one_without_dates_has_the_prior(series):
    values, mask = (x.copy() for x in series)
    retrieval = load_temporal()
    clean = retrieval(values, mask, _angles(values.shape[:2]), DAYS, variables=("lai",)).at("lai")
    values[1], mask[2] = np.nan, False
    values[3, :, 2] = 7.0
    found = retrieval(values, mask, _angles(values.shape[:2]), DAYS, variables=("lai",)).at("lai")
    np.testing.assert_allclose(found.mean[4:], clean.mean[4:], rtol=1e-5)
    assert np.isfinite(found.mean).all()
    # half of a normal law with deviation 2.7
    for pixel in (1, 2):
        np.testing.assert_allclose(found.mean[pixel], 2.7 * np.sqrt(2.0 / np.pi), rtol=0.02)
        np.testing.assert_allclose(found.quantiles[1, pixel], 2.7 * 0.6745, rtol=0.02)


def test_the_order_of_padded_dates_and_the_origin_of_days_do_not_matter(series):
    values, mask = series
    retrieval = load_temporal()
    wanted = np.array([12.0, 50.0])
    first = retrieval(values, mask, _angles(values.shape[:2]), DAYS, variables=("pai",)).at("pai", wanted)
    pad = [(0, 0), (0, 3), (0, 0)]
    days = np.concatenate([DAYS, np.full(3, DAYS[-1])]) + 700.0
    padded = retrieval(np.pad(values, pad), np.pad(mask, pad), _angles((16, 12)), days, variables=("pai",)).at(
        "pai", wanted + 700.0
    )
    np.testing.assert_allclose(padded.mean, first.mean, rtol=1e-3)
    np.testing.assert_allclose(padded.std, first.std, rtol=2e-3)


def test_a_day_far_from_all_dates_is_a_forecast_that_tends_to_the_prior(series):
    values, mask = series
    season = load_temporal()(values, mask, _angles(values.shape[:2]), DAYS, variables=("lai",))
    near, far = season.at("lai", np.array([95.0])), season.at("lai", np.array([600.0]))
    assert (far.quantiles[2] - far.quantiles[0] > near.quantiles[2] - near.quantiles[0]).all()
    np.testing.assert_allclose(far.quantiles[2], 2.7 * 1.96, rtol=0.15)


def test_dates_that_are_no_season_are_named():
    dates = FIRST + DAYS * np.timedelta64(1, "D")
    np.testing.assert_array_equal(season_dates(dates, "x"), dates)
    with pytest.raises(ReleoError, match="image 1 .* after a later one; sort them"):
        season_dates(dates[::-1], "x")
    with pytest.raises(ReleoError, match="image 3 of 2022-03-11T10:36:00 comes twice"):
        season_dates(np.insert(dates, 3, dates[2]), "x")
    with pytest.raises(ReleoError, match="image 2 has no date"):
        season_dates(np.insert(dates, 2, np.datetime64("NaT")), "x")
    with pytest.raises(ReleoError, match="two dates at least"):
        season_dates(dates[:1], "x")
    with pytest.raises(ReleoError, match="one season at a time"):
        season_dates(FIRST + np.array([0, 800]) * np.timedelta64(1, "D"), "x")
    with pytest.raises(ReleoError, match="expected dates, got float64"):
        season_dates(DAYS.astype(float), "x")
    plain, zone = datetime.datetime(2022, 3, 3, 10), datetime.timezone(datetime.timedelta(hours=2))
    with pytest.raises(ReleoError, match="1 of 2 dates have a time zone"):
        season_dates(np.array([plain, plain.replace(day=4, tzinfo=zone)], object), "x")
    found = season_dates(np.array([plain.replace(tzinfo=zone), plain.replace(day=4, tzinfo=zone)], object), "x")
    assert found[0] == np.datetime64("2022-03-03T08:00:00")


def test_steps_and_what_does_not_go_together(tmp_path):
    assert (step_of("weekly"), step_of("10"), step_of(5)) == (7, 10, 5)
    for wrong in ("fortnightly", "0", "-3", "2.5"):
        with pytest.raises(ReleoError, match="number of days"):
            step_of(wrong)
    source = tmp_path / "season.nc"
    _cube(*_season()).to_netcdf(source)
    base = ["invert", str(source), "-o", str(tmp_path / "out.nc"), "--temporal"]
    for options, message in (
        (["weekly", "--method", "sl2p"], "no temporal form"),
        (["weekly", "--adapt"], "--temporal does not go with --adapt"),
        (["weekly", "--variables", "fapar"], "retrieves lai, pai, ccc, cwc, fcover"),
        (["sometimes"], "number of days"),
    ):
        run = CliRunner().invoke(app, [*base, *options])
        assert run.exit_code != 0
        assert message in f"{run.output} {run.exception}"
    assert not (tmp_path / "out.nc").exists()


def test_falling_days_and_unknown_variables_are_refused(series):
    values, mask = series
    with pytest.raises(ValueError, match="days that rise"):
        load_temporal()(values, mask, _angles(values.shape[:2]), DAYS[::-1].copy())
    with pytest.raises(ValueError, match="variables among"):
        load_temporal()(values, mask, _angles(values.shape[:2]), DAYS, variables=("fapar",))
    with pytest.raises(ValueError, match=r"\(pixel, date, 10\)"):
        load_temporal()(values[..., :3], mask[..., :3], _angles(values.shape[:2]), DAYS)


def test_weights_come_back_from_a_file(tmp_path):
    retrieval = load_temporal()
    retrieval.save(tmp_path / "weights.safetensors")
    again = type(retrieval).load(tmp_path / "weights.safetensors")
    assert again.bands == SENTINEL2_BANDS
    jax.tree.map(np.testing.assert_array_equal, again.parameters, retrieval.parameters)
