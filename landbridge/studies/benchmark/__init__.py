"""Benchmarks: methods x data sets x seeds x protocols."""
