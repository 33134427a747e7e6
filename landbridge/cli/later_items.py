"""A run, with the items of a later table of item features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landbridge.models.base import Fitted


def load_with(run: Path, item_features: Path | None) -> Fitted:
    """The model of a run, and where a table is given its new items."""
    from landbridge import load
    from landbridge.inference import with_later_items

    fitted = load(run)
    return fitted if item_features is None else with_later_items(fitted, item_features)
