"""Models for vector indexes, databases and other runtimes: vectors, and networks as ONNX."""

from landbridge.export.vectors import METRICS, Metric, Vectors, export, vectors_of

__all__ = ["METRICS", "Metric", "Vectors", "export", "vectors_of"]
