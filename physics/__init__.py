"""Forward models of land surface observation: pure, differentiable JAX functions from leaf to sensor."""
