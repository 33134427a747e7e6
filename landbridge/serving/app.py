"""A former import path; deprecated in version 0.2."""

from __future__ import annotations

from landbridge.core.deprecation import moved

__getattr__ = moved(__name__, {"create_app": "landbridge.serving.http.app"})
