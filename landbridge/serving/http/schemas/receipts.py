"""Answers that say what was stored, kept or deleted."""

from __future__ import annotations

from landbridge.serving.http.schemas.answers import Answer, NamedWrongEntry


class Patched(Answer):
    """How many entries about items were kept, for good."""

    patched: int
    """How many entries are on disk, and count on this server."""
    unknown: int
    """How many of these are about items that the model does not know yet."""
    errors: list[NamedWrongEntry] | None = None
    """With `partial`: the entries that were refused."""


class Stored(Answer):
    """How many events were stored, for good."""

    stored: int
    """How many of the events are on disk; none of a user who is to be forgotten."""
    errors: list[NamedWrongEntry] | None = None
    """With `partial`: the events that were refused."""


class Deleted(Answer):
    """How many events were deleted."""

    deleted: int
    """1, or 0 where the store had no such event."""


class Forgotten(Answer):
    """How many events were deleted."""

    forgotten: int
    """How many events were deleted."""
