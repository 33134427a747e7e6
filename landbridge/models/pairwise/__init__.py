"""Pairwise learning: BPRMF and LightGCN."""
