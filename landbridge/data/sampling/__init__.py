"""Training batches: pairs with sampled negatives, sequence windows, batches per domain, masked histories."""
