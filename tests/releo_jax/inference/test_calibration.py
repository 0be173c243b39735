"""Reports of simulation-based calibration, from ranks whose law is known."""

import numpy as np
import pytest

from releo_jax.inference import CalibrationReport


@pytest.fixture
def report():
    rng = np.random.default_rng(0)
    uniform = rng.integers(0, 201, (1000, 3))
    extreme = np.floor(201 * rng.beta(0.6, 0.6, 1000)).astype(int)  # the posterior is too narrow
    return CalibrationReport(draws=200, ranks={"soil_moisture": uniform, "leaf_area_index": extreme})


def test_checks_decide_by_site_and_name_the_direction(report):
    checks = report.checks()
    assert checks["soil_moisture"].within and checks["soil_moisture"].ecdf.shape[0] == 3
    assert not checks["leaf_area_index"].within
    assert checks["leaf_area_index"].spread > 0.1


def test_sites_share_the_level(report):
    assert report.checks(level=0.9)["leaf_area_index"].level == pytest.approx(0.95)


def test_other_summaries_agree_with_the_checks(report):
    assert report.p_values()["leaf_area_index"] < 1e-6 < 0.01 < report.p_values()["soil_moisture"]
    assert report.deviations()["leaf_area_index"] > 1.36 / np.sqrt(1000) > report.deviations()["soil_moisture"]
    assert report.coverage(0.9)["leaf_area_index"] < 0.85
    assert report.coverage(0.9)["soil_moisture"] == pytest.approx(0.9, abs=0.03)
    assert report.histogram("leaf_area_index").sum() == 1000
