"""A former import path; deprecated in version 0.2."""

from __future__ import annotations

from landbridge.core.deprecation import moved

__getattr__ = moved(__name__, {"Service": "landbridge.serving.engine.service"})
