"""Errors a caller may want to catch.

    LandbridgeError
    ├── DataError          the data cannot be used as they are (the message names file, row or column)
    ├── SettingsError      an unknown setting or an invalid value (the message offers the nearest valid key)
    ├── StoreError         a run folder or file is damaged, not of landbridge, of another format version, or
    │                      cannot be written
    ├── DivergenceError    training diverged: values are not finite or grow without bound
    ├── FederationError    a party or coordinator refuses a message, or cannot be reached
    └── MissingExtraError  an optional extra is not installed (the message holds the install command)

Every message says in one sentence what is wrong, where, and what to do about it.
The command line prints the message and exits with status 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class LandbridgeError(Exception):
    """Base class of all errors that landbridge raises deliberately."""


class DataError(LandbridgeError):
    """The data cannot be used as they are."""


class SettingsError(LandbridgeError):
    """A setting is unknown or has an invalid value."""


class StoreError(LandbridgeError):
    """A stored file is damaged, not of landbridge, of another format version, or cannot be written."""


class DivergenceError(LandbridgeError):
    """Training diverged and was stopped: its values are not finite or grow without bound."""


class FederationError(LandbridgeError):
    """A party or a coordinator refuses a message, or cannot be reached."""


class MissingExtraError(LandbridgeError):
    """An optional dependency is required but not installed."""


def unknown(kind: str, given: object, valid: Iterable[str]) -> str:
    """The error message for an unknown name: the name, the nearest valid one, and all valid ones."""
    names = sorted(valid)
    ends = {name.rpartition(".")[2]: name for name in names}  # "factors" is enough for "encoder.factors"
    near = get_close_matches(str(given), [*names, *ends], n=1)
    hint = f"did you mean {ends.get(near[0], near[0])!r}? " if near else ""
    return f"Unknown {kind} {given!r}: {hint}Valid are {', '.join(names) or 'none'}."


@contextmanager
def as_store_error(what: str) -> Iterator[None]:
    """Turn any failure of a stored model into a StoreError of one sentence."""
    try:
        yield
    except (StoreError, MissingExtraError):
        raise
    except LandbridgeError as error:
        raise StoreError(f"{what}: {error}") from error
    except Exception as error:  # a forged file can fail in any way
        why = " ".join(str(error).split())
        raise StoreError(f"{what}: {type(error).__name__}, {why}; fit it again.") from error
