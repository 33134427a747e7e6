"""Reports on finished benchmarks: read from saved folders only, never from live models."""
