"""Implicit ALS and CDIMF: solver, kernels, fitted model."""
