"""A former import path; it goes in version 0.3."""

from __future__ import annotations

from landbridge.core.deprecation import moved

__getattr__ = moved(__name__, {"create_app": "landbridge.serving.http.app"})
