"""What a user should know about a data set."""

from __future__ import annotations

from dataclasses import dataclass

RESEARCH = "research use; do not redistribute"


@dataclass(frozen=True)
class Info:
    """What a user should know about a data set.

    ``layout`` in words, ``size`` in events, ``sha256`` of the checked download (None for other sets),
    ``folder`` below the directory that LANDBRIDGE_DATA names (None for other sets).
    """

    title: str
    licence: str
    source: str
    layout: str
    size: int
    sha256: str | None = None
    folder: str | None = None
