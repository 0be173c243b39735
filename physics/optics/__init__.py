"""Optics: PROSPECT, SAIL, soils, sensors."""
