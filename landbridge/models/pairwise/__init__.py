"""Pairwise ranking: BPRMF and LightGCN, their training on tables of events, and the fitted model."""
