"""The entries of `python -m benchmarks simulators`."""

import importlib.util

import jax
import jax.numpy as jnp

from benchmarks import peers
from benchmarks.optics import LAND_BANDS, PRIOR, exact_bands, ours
from releo_jax.benchmarking import Skipped


def test_entries_whose_package_is_absent_are_skipped_and_say_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    absent = [peers.prosail_entry(), peers.torchrtm_entry()]
    assert all(isinstance(one, Skipped) and "install" in one.reason for one in absent)
    assert [one.name for one in absent] == ["prosail", "torchrtm"]


def test_quadratures_are_compared_with_the_convolution_of_their_bands():
    by_entry = {one.name: one for one in ours()}
    assert by_entry["ten bands"].reference is exact_bands(LAND_BANDS)
    rows = jax.ShapeDtypeStruct((4, len(PRIOR)), jnp.float32)
    for name, width in (("ten bands", 10), ("ten bands at 1e-4", 10), ("all bands", 13)):
        one = by_entry[name]
        assert one.reference is not None
        assert jax.eval_shape(one.function, rows).shape == (4, width)
        assert jax.eval_shape(one.reference.function, rows).shape == (4, width)
