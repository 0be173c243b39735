"""Figures show the numbers they are given: read back from what is drawn."""

import io

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from releo_jax.metrics import central_interval, predictive_chi2, rank_check, simultaneous_band
from releo_jax.plots import (
    CYCLE,
    label,
    plot_corner,
    plot_coverage,
    plot_predictive,
    plot_ranks,
    plot_scatter,
    plot_series,
    plot_spectra,
    pretty_unit,
)

RNG = np.random.default_rng(0)
SAMPLES = 400


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def drawn(figure):
    """Writes the figure as a user would: what is made on drawing must not fail or warn."""
    written = io.BytesIO()
    figure.savefig(written)
    assert written.getvalue().startswith(b"\x89PNG")
    return figure


@pytest.fixture(scope="module")
def check():
    uniform = RNG.integers(0, 100, SAMPLES)
    return rank_check(np.stack([uniform, uniform // 2], 1), draws=99)


def test_ranks_are_drawn_minus_their_expectation_in_their_band(check):
    (ax,) = drawn(plot_ranks(check, names=["one", "two"])).axes
    assert texts(ax) == ["calibrated, 95 %", "one", "two"]
    lines = [line for line in ax.get_lines() if line.get_label() in ("one", "two")]
    for line, ecdf in zip(lines, check.ecdf, strict=True):
        np.testing.assert_allclose(line.get_xdata()[1:-1], check.points)
        np.testing.assert_allclose(line.get_ydata()[1:-1], ecdf - check.points)
    assert lines[1].get_linewidth() > 1.5 > lines[0].get_linewidth()  # the one that leaves the band
    (band,) = [found for found in ax.collections if isinstance(found, PolyCollection)]
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx((check.upper - check.points).max())
    assert heights.min() == pytest.approx((check.lower - check.points).min())
    low, high = ax.get_ylim()
    assert low == -high and high > np.abs(check.ecdf - check.points).max()


def test_several_checks_share_an_axis_that_shows_them_all(check):
    calibrated = rank_check(RNG.integers(0, 100, (SAMPLES, 2)), draws=99)
    figure = drawn(plot_ranks({"first": check, "second": calibrated, "third": check, "fourth": calibrated}))
    used = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title() for ax in used] == ["first", "second", "third", "fourth"]
    assert {ax.get_ylim() for ax in used} == {used[0].get_ylim()}
    assert used[0].get_ylim()[1] > np.abs(check.ecdf - check.points).max()


def test_misfits_are_drawn_like_ranks():
    found = predictive_chi2(RNG.normal(size=(SAMPLES, 4)), np.zeros((SAMPLES, 2, 4)), noise_std=1.0)
    (ax,) = plot_ranks(found).axes
    assert ax.get_xlabel() == "probability of a smaller misfit"
    np.testing.assert_allclose(ax.get_lines()[-1].get_ydata()[1:-1], found.ecdf - found.points)


def test_coverage_has_the_band_of_its_samples():
    levels = [0.5, 0.9]
    (ax,) = drawn(plot_coverage(levels, {"NUTS": [0.52, 0.88], "VAE": [0.3, 0.6]}, samples=200)).axes
    assert texts(ax) == ["calibrated, 95 %", "NUTS", "VAE"]
    lines = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_array_equal(lines["VAE"].get_xydata(), [[0.5, 0.3], [0.9, 0.6]])
    lower, upper, _ = simultaneous_band(200, tuple(np.linspace(0, 1, 101)[1:-1].tolist()), 0.95)
    (band,) = ax.collections
    at_half = band.get_paths()[0].vertices
    at_half = np.sort(at_half[np.isclose(at_half[:, 0], 0.5), 1])
    np.testing.assert_allclose(at_half, [lower[49] / 200, upper[49] / 200])
    assert not plot_coverage(levels, {"NUTS": [0.5, 0.9]}).axes[0].collections


def test_scatter_draws_intervals_and_names_other_variables():
    truth = RNG.uniform(0.0, 0.4, 50)
    (ax,) = drawn(plot_scatter(truth, truth, truth - 0.1, truth + 0.1, name="soil_moisture", unit="m3 m-3")).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("true soil moisture (m³ m⁻³)", "retrieved soil moisture (m³ m⁻³)")
    (bars,) = [found for found in ax.collections if len(found.get_paths()) == 50]
    ends = np.array([path.vertices[:, 1] for path in bars.get_paths()])
    np.testing.assert_allclose(ends, np.stack([truth - 0.1, truth + 0.1], 1))
    assert "90 % intervals cover 100 %" in ax.texts[0].get_text()


def test_many_points_are_drawn_as_a_density():
    truth = RNG.uniform(0.0, 6.0, 2000)
    figure = drawn(plot_scatter(truth, truth, truth - 1.0, truth + 1.0, name="lai"))
    ax = figure.axes[0]
    assert ax.get_xlabel() == "true leaf area index (m² m⁻²)"
    assert ax.collections[0].get_array().sum() == 2000
    lower = ax.get_lines()[1]
    np.testing.assert_allclose(lower.get_ydata(), np.asarray(lower.get_xdata()) - 1.0, atol=1e-9)


@pytest.mark.parametrize("bands", [np.array([490.0, 560.0, 665.0]), ["B02", "B03", "B04"]], ids=["numbers", "names"])
def test_predictive_bands_are_the_quantiles_and_masked_bands_look_different(bands):
    predicted = 0.1 + 0.01 * RNG.normal(size=(500, 3))
    mask = np.array([True, True, False])
    (ax,) = drawn(plot_predictive([0.1, 0.11, 0.3], predicted, bands=bands, mask=mask)).axes
    assert texts(ax) == ["median", "50 % predictive", "90 % predictive", "observed", "masked"]
    lower, upper = central_interval(predicted[None], level=0.9)
    if isinstance(bands, list):
        boxes = np.array([[box.get_y(), box.get_y() + box.get_height()] for box in ax.patches])
        np.testing.assert_allclose(boxes[:3], np.stack([lower[0], upper[0]], 1))
        assert [tick.get_text() for tick in ax.get_xticklabels()] == bands
    else:
        heights = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((lower.min(), upper.max()))
        assert ax.get_xlabel() == "wavelength (nm)"
    observed, masked = ax.get_lines()[-2:]
    assert observed.get_ydata().tolist() == [0.1, 0.11] and masked.get_ydata().tolist() == [0.3]
    assert to_hex(masked.get_markerfacecolor()) == "#ffffff" != to_hex(observed.get_markerfacecolor())


def test_corner_regions_hold_the_draws_they_claim():
    """Contours of 50 % and 90 %: draws are counted inside the drawn lines."""
    factor = np.linalg.cholesky([[1.0, 0.7], [0.7, 1.0]])
    draws = RNG.normal(size=(20_000, 2)) @ factor.T
    figure = drawn(plot_corner(draws, labels=["a (m)", "b"], truth=[0.0, np.nan], levels=(0.5, 0.9)))
    panel = figure.axes[2]
    contours = [found for found in panel.collections if isinstance(found, QuadContourSet) and not found.filled]
    held = [path.contains_points(draws).mean() for path in contours[0].get_paths()]
    np.testing.assert_allclose(sorted(held), [0.5, 0.9], atol=0.015)
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("a\n(m)", "b")
    assert [line.get_xdata()[0] for line in panel.get_lines()] == [0.0]  # one known truth: a vertical line only
    assert figure.axes[0].get_title().startswith(f"{np.median(draws[:, 0]):.3g} [")
    assert not figure.axes[1].axison


def test_corner_compares_posteriors_within_bounds():
    one, other = RNG.exponential(size=(500, 3)), RNG.exponential(size=(300, 3))
    figure = drawn(plot_corner({"NUTS": one, "VAE": other}, labels=["a", "b", "c"]))
    diagonal = [figure.axes[index] for index in (0, 4, 8)]
    assert all(ax.get_xlim()[0] == 0.0 and len(ax.get_lines()) == 2 and not ax.get_title() for ax in diagonal)
    assert texts(figure.axes[2]) == ["NUTS", "VAE"]
    given = plot_corner(one, labels=["a", "b", "c"], limits=[(0, 9)] * 3)
    assert given.axes[0].get_xlim() == (0.0, 9.0)
    steady = plot_corner(np.stack([one[:, 0], np.full(500, 2.0)], 1), labels=["a", "constant"])
    assert steady.axes[3].get_xlim()[0] < 2.0 < steady.axes[3].get_xlim()[1]


def test_single_panels_draw_into_given_axes(check):
    y = np.array([0.1, 0.2])
    predicted = RNG.normal(size=(50, 2))
    for call in (
        lambda ax: plot_ranks(check, ax=ax),
        lambda ax: plot_coverage([0.5], {"a": [0.5]}, ax=ax),
        lambda ax: plot_scatter(y, y, y, y, name="lai", ax=ax),
        lambda ax: plot_spectra(np.array([400.0, 500.0]), {"a": y}, ax=ax),
        lambda ax: plot_predictive(y, predicted, bands=["a", "b"], ax=ax),
    ):
        figure = Figure()
        left, right = figure.subplots(1, 2)
        assert call(right) is figure
        assert right.has_data() and not left.has_data()
        drawn(figure)


def test_labels_carry_units():
    assert label("lai") == label("leaf_area_index") == "leaf area index (m² m⁻²)"
    assert label("fcover", "true") == "true fraction of ground covered by green vegetation"
    assert label("leaf_chlorophyll", unit="ug cm-2") == "leaf chlorophyll (µg cm⁻²)"
    assert label("clumping", unit="1") == "clumping"
    assert pretty_unit("um") == "µm" and pretty_unit("K") == "K"


# Machado, Oliveira & Fernandes 2009, IEEE Trans. Vis. Comput. Graph. 15, 1291-1298, severity 1: linear RGB as seen.
SEEN = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.mark.parametrize("matrix", SEEN.values(), ids=SEEN)
def test_colours_can_be_told_apart_by_the_colour_blind(matrix):
    """Distances in linear RGB as dichromats see it; red and green of equal lightness would be 0.05 apart or less."""
    colours = np.array([to_rgb(colour) for colour in CYCLE[:6]])
    seen = (np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)) @ np.array(matrix).T
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 9.0 * np.eye(6)
    assert distance.min() > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: plot_ranks({"a": c}, ax=Figure().subplots()), "call it once for each of the axes"),
        (lambda c: plot_ranks(c, names=["a"]), "expected 2 names, got 1"),
        (lambda c: plot_corner(np.zeros((50, 2)), labels=["a"]), "a label for each dimension"),
        (lambda c: plot_corner(np.full((50, 1), np.nan), labels=["a"]), "expected finite draws"),
        (lambda c: plot_corner(np.zeros((50, 1)), labels=["a"], truth=[1, 2]), "NaN where it is unknown"),
        (lambda c: plot_predictive(np.zeros(3), np.zeros((3, 50)), bands=[1, 2, 3]), "one spectrum at a time"),
        (lambda c: label("rain"), "or give a unit"),
    ],
)
def test_bad_requests_say_what_to_do(call, message, check):
    with pytest.raises(ValueError, match=message):
        call(check)


def test_a_series_shows_its_band_the_observations_and_the_field():
    dates = np.datetime64("2018-03-01") + np.arange(0, 60, 7)
    mean = np.linspace(1.0, 3.0, dates.size)
    mean[3] = np.nan
    field = (dates[[2, 5]], [1.4, 2.2], 0.2)
    seen = (dates[:5] + np.timedelta64(1, "D"), [1.1, 1.2, 1.5, 1.9, 2.0])
    figure = drawn(plot_series(dates, mean, mean - 0.4, mean + 0.4, name="lai", observed=seen, measured=field))
    (ax,) = figure.axes
    assert texts(ax) == ["90 % interval", "posterior mean", "observed", "measured in the field"]
    assert ax.get_ylabel() == "leaf area index (m² m⁻²)" and len(ax.collections[0].get_paths()) == 2  # a gap parts it
    assert [line.get_ydata().tolist() for line in ax.get_lines()[1:3]] == [list(seen[1]), field[1]]
    with pytest.raises(ValueError, match="expected dates and values of the posterior of one shape"):
        plot_series(dates, mean[:-1], mean, mean, name="lai")
    with pytest.raises(ValueError, match="got some that fall"):
        plot_series(dates[::-1], mean, mean, mean, name="lai")
    with pytest.raises(ValueError, match="subtract an origin from both"):
        plot_series(dates, mean, mean, mean, name="lai", measured=([3.0], [1.0]))
