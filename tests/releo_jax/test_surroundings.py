"""Methods that look around each pixel: the same map whatever the blocks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from releo_jax.cubes.blocks import Window
from releo_jax.errors import ReleoError
from releo_jax.maps import invert_cube, predict, predict_table
from releo_jax.results import open_result
from releo_jax.surroundings import surrounded
from tests.releo_jax.doubles import make_cube


@dataclasses.dataclass
class Smoothed:
    """The mean over the usable pixels among 5 x 5; `shapes` holds what it was called with."""

    halo: int = 2
    name: str = "smoothed"
    bands: tuple[str, ...] = ("B04", "B8A")
    required: tuple[str, ...] = ("B04", "B8A")
    variables: tuple[str, ...] = ("lai",)
    shapes: list[tuple[int, ...]] = dataclasses.field(default_factory=list)

    def __call__(self, reflectance, mask, sun_view, *, variables, level):
        self.shapes.append(reflectance.shape)
        usable = jnp.asarray(mask.all(-1), jnp.float32)
        window = jnp.ones((2 * self.halo + 1,) * 2)
        value = 10.0 * reflectance[..., 1] * jnp.cos(sun_view.sun_zenith) * usable

        def total(image):
            return jax.scipy.signal.convolve(image, window, mode="same")

        mean = np.asarray(total(value) / jnp.maximum(total(usable), 1e-6))
        figures = dict.fromkeys(("mean", "q05", "q50", "q95", "lower", "upper"), mean)
        return {f"lai_{name}": array for name, array in figures.items()} | {
            "lai_std": np.full_like(mean, 0.1),
            "lai_flag": np.zeros(mean.shape, np.uint8),
        }


def expected(cube, halo):
    """The same by loops over the pixels."""
    values = 10.0 * cube["reflectance"].sel(band="B8A").values[0] * np.cos(np.radians(cube["sun_zenith"].values[0]))
    usable = (cube["mask"].sel(band=["B04", "B8A"]).values[0] == 0).all(0)
    result = np.full(usable.shape, np.nan)
    for row, column in np.argwhere(usable):
        around = (
            slice(max(row - halo, 0), row + halo + 1),
            slice(max(column - halo, 0), column + halo + 1),
        )
        result[row, column] = values[around][usable[around]].mean()
    return result


@pytest.mark.parametrize("block_size", [None, 7, 16, 1])
def test_blocks_do_not_show(block_size):
    cube = make_cube(20, 23)
    method = Smoothed()
    found = predict(cube, method, block_size=block_size)
    np.testing.assert_allclose(found["leaf_area_index_mean"].values[0], expected(cube, 2), rtol=2e-5)
    masked = cube["mask"].sel(band="B8A").values[0] != 0
    np.testing.assert_array_equal(found["leaf_area_index_flag"].values[0] != 0, masked)
    assert len(set(method.shapes)) == 1, "every block has one shape, and its program compiles once"


def test_a_file_holds_the_same_and_resumes(tmp_path):
    cube = make_cube(20, 23)
    report = invert_cube(cube, tmp_path / "maps.nc", Smoothed(), block_size=8, resume={"source": "made"})
    with open_result(tmp_path / "maps.nc") as kept:
        np.testing.assert_allclose(kept["leaf_area_index_mean"].values[0], expected(cube, 2), rtol=2e-5)
    assert report.pixels == 20 * 23 and report.retrieved == int(np.isfinite(expected(cube, 2)).sum())


def test_windows_end_with_the_image():
    assert surrounded(Window(1, 0, 8, 8, 8), 3, 20, 16) == Window(1, 0, 5, 11, 11)
    assert surrounded(Window(0, 4, 4, 2, 2), 0, 8, 8) == Window(0, 4, 4, 2, 2)


def test_what_cannot_be_is_named():
    cube = make_cube(8, 8)
    with pytest.raises(ReleoError, match="smoothed: expected a halo of 0 or more pixels, got -1"):
        predict(cube, Smoothed(halo=-1))

    class Cropped(Smoothed):
        def __call__(self, *arguments, **options):
            found = super().__call__(*arguments, **options)
            return {name: array[2:-2, 2:-2] for name, array in found.items()}

    with pytest.raises(ReleoError, match=r"expected lai_mean of shape \(12, 12\).*got \(8, 8\)"):
        predict(cube, Cropped())
    frame = pd.DataFrame({"B04": [0.1], "B8A": [0.3]})
    with pytest.raises(ReleoError, match="smoothed looks at the pixels around each one; give an image"):
        predict_table(frame, None, Smoothed())
