"""A former import path; it goes in version 0.3."""

from __future__ import annotations

from landbridge.core.deprecation import moved

__getattr__ = moved(__name__, {"Service": "landbridge.serving.engine.service"})
