"""landbridge: cross-domain recommendation in which every domain gains."""

__version__ = "0.1.0"
