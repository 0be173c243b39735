"""The images that maps are timed on."""

import numpy as np
import pytest

from benchmarks import maps_images
from releo_jax.cubes import open_cube


@pytest.mark.parametrize("size", [32, 96])  # smaller and larger than the part that is repeated
def test_images_of_all_formats_are_one_scene(tmp_path, monkeypatch, size):
    monkeypatch.setattr(maps_images, "SCENE", 48)
    monkeypatch.setattr(maps_images, "UNIT", 64)
    cubes = {kind: open_cube(maps_images.image(tmp_path, size, kind)).load() for kind in maps_images.NAMES}
    expected = cubes["nc"]
    assert expected.sizes["y"] == expected.sizes["x"] == size
    clear = expected["mask"].values == 0
    assert 0.5 < clear.mean() < 1
    for kind, cube in cubes.items():
        found = cube["reflectance"].sel(band=expected["band"]).values
        if kind != "nc":  # 20 m bands are means over four pixels
            fine = [index for index, band in enumerate(expected["band"].values) if band in ("B02", "B03", "B04", "B08")]
            found, clean = found[:, fine], clear[:, fine]
            np.testing.assert_allclose(found[clean], expected["reflectance"].values[:, fine][clean], atol=6e-5)
        for name in ("y", "x"):
            np.testing.assert_array_equal(cube[name], expected[name])
