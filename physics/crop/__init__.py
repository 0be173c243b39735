"""Crops: growth, water, yield and biomass."""
