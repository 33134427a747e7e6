"""The running server: model reloading, micro-batching, settings, metrics, logging."""
