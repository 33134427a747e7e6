"""Research tools on top of the pipeline: benchmarks, ablations, transfer."""
