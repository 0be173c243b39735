"""Phenology: curves of a vegetation index over a season, and the dates that mark it."""
