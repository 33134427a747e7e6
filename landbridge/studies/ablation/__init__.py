"""Ablations: one part of a method changed at a time."""
