"""Train/validation/test splits, holdouts and sampled candidates."""
