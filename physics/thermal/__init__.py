"""Thermal emission: Planck's law, emissivity, the temperature of the surface, and the canopy as an emitter."""
