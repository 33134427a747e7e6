"""Top-k ranking of scores."""
