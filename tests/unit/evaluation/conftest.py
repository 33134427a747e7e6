from __future__ import annotations

from .worlds import random_world

__all__ = ["random_world"]
