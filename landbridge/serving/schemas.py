"""A former import path; deprecated in version 0.2."""

from __future__ import annotations

from landbridge.core.deprecation import moved

BODIES = ("BatchBody", "EventBody", "EventsBody", "ExplainBody", "RecommendBody", "SimilarBody")

__getattr__ = moved(__name__, dict.fromkeys(BODIES, "landbridge.serving.http.schemas"))
