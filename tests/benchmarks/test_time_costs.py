"""Costs of Gaussian processes over time: in small, and how well the state space agrees with the exact process."""

import pytest

from benchmarks.time_costs import agreement, costs
from releo_jax.gp import Matern12, Matern52


@pytest.mark.parametrize("kernel", [Matern12(0.7, 30.0), Matern52(0.7, 30.0)], ids=["matern12", "matern52"])
def test_the_state_space_agrees_with_the_exact_process(kernel, optimised):
    found = agreement(kernel, pixels=4)
    assert len(found) == 6
    for name, difference in found.items():
        assert difference < (1e-6 if name.startswith("float32") else 1e-12), name


@pytest.mark.thorough
def test_costs_in_small(capsys, optimised):
    found = costs(rounds=2, pixels=128, few=8, lengths=(146,))
    assert {(row["process"], row["dates"]) for row in found["costs"]} >= {
        ("Markov", 73),
        ("Exact", 73),
        ("Markov", 146),
    }
    assert all(row["log_density"] > 0.0 and row["marginals"] > 0.0 for row in found["costs"])
    # Which is what the state space is for; how much faster depends on the machine and the number of pixels.
    assert found["ratios"]["Matern12, log_density"] > 2.0
    assert "exact over state space" in capsys.readouterr().out
