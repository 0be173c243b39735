"""Checks an installed wheel: both packages import, their data files came along, and physics stays light."""

import importlib.resources
import pathlib
import sys

import physics

heavy = sorted({"flax", "numpyro", "optax", "xarray", "rasterio", "releo_jax"} & set(sys.modules))
assert not heavy, f"`import physics` loads {heavy}"

import releo_jax  # noqa: E402

for package in (physics, releo_jax):
    folder = pathlib.Path(str(importlib.resources.files(package)))
    assert "site-packages" in folder.parts, f"{package.__name__} was imported from {folder}, not from the wheel"
    assert list((folder / "data").glob("*.npz")), f"{package.__name__}/data has no tables in the wheel"
assert (pathlib.Path(str(importlib.resources.files(physics))) / "data" / "PROVENANCE.md").is_file()

sentinel2 = physics.sensor("sentinel2a")
assert len(sentinel2.bands) == 13, sentinel2.bands
print(f"releo-jax {releo_jax.__version__} from the wheel: imports and data are in order")
