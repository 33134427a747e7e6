"""Errors a caller may want to catch.

    LandbridgeError
    ├── DataError          the data given cannot be used as they are (file, row or column named)
    ├── SettingsError      an unknown or impossible setting (key named, nearest valid one offered)
    ├── StoreError         a run folder or artefact is damaged, foreign or of another format version
    ├── DivergenceError    training left the region where its numbers mean something
    └── MissingExtraError  an optional extra is not installed (the install command is the message)

Every message is one sentence that says what is wrong, where, and what to do about it.
The command line prints it and exits with status 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LandbridgeError(Exception):
    """Base of all errors raised on purpose by landbridge."""


class DataError(LandbridgeError):
    """The data given cannot be used as they are."""


class SettingsError(LandbridgeError):
    """A setting is unknown or has an impossible value."""


class StoreError(LandbridgeError):
    """A stored artefact is damaged, foreign or of another format version."""


class DivergenceError(LandbridgeError):
    """Training diverged and was stopped."""


class MissingExtraError(LandbridgeError):
    """An optional dependency is needed and not installed."""


def unknown(kind: str, given: object, valid: Iterable[str]) -> str:
    """The sentence for an unknown name: what was given, the nearest valid one, all valid ones."""
    names = sorted(valid)
    near = get_close_matches(str(given), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"Unknown {kind} {given!r}: {hint}Valid are {', '.join(names) or 'none'}."
