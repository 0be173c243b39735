"""Bayesian retrievals of land surface properties: priors, amortised inference, images in and maps out."""

__version__ = "0.1.0"
