"""API keys: several at a time, each with the scopes of what it may do. Only digests are kept.

A file of keys is TOML, with a table ``[[key]]`` for each: ``name``, ``scopes``, and ``value`` or ``sha256``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Values

SCOPES = ("read", "events", "items", "forget", "metrics")
FIELDS = ("name", "scopes", "value", "sha256")
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class ScopedKey:
    """A key by its SHA-256 (hex); ``name``: for the log; ``scopes``: of :data:`SCOPES`."""

    name: str
    digest: str
    scopes: tuple[str, ...] = SCOPES


def scope_of(method: str, path: str) -> str:
    """The scope that a request needs."""
    if method == "DELETE" and path.startswith("/v1/users/"):
        return "forget"
    return {"/v1/events": "events", "/v1/items": "items", "/metrics": "metrics"}.get(path, "read")


def digest_of(key: str) -> str:
    """The SHA-256 of a key, hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def matching_key(given: bytes, keys: Sequence[ScopedKey]) -> ScopedKey | None:
    """The key that the bytes of a header are, in UTF-8 or, as browsers send it, in Latin-1.

    All are compared, in constant time, so that the time of an answer says nothing about a key.
    """
    digests = [hashlib.sha256(form).hexdigest() for form in _forms(given)]
    fitting = [key for key in keys for digest in digests if hmac.compare_digest(digest, key.digest)]
    return fitting[0] if fitting else None


def read_keys(path: Path) -> tuple[ScopedKey, ...]:
    """The keys of a file; SettingsError, which repeats no key, for one that cannot be used."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The file of keys {path} cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):  # its message may repeat a key
        raise SettingsError(f"The file of keys {path} is no TOML; write a table [[key]] for each.") from None
    tables = content.get("key")
    if set(content) != {"key"} or not isinstance(tables, list) or not tables:
        raise SettingsError(f"The file of keys {path} needs a table [[key]] for each key, and nothing else.")
    keys = tuple(_key_of(table, f"Key {number} of {path}") for number, table in enumerate(tables, start=1))
    for what, seen in (("name", [key.name for key in keys]), ("value", [key.digest for key in keys])):
        if len(set(seen)) < len(seen):
            raise SettingsError(f"Two keys of {path} have one {what}; give each its own.")
    return keys


def check_key(key: str, where: str) -> None:
    """SettingsError for a key that no header can carry."""
    if not key or key != key.strip() or any(unicodedata.category(sign) == "Cc" for sign in key):
        raise SettingsError(
            f"The key in {where} is empty, begins or ends with a blank or holds a control character, which "
            "no header can carry; choose another one."
        )


def _key_of(table: object, where: str) -> ScopedKey:
    if not isinstance(table, dict):
        raise SettingsError(f"{where} must be a table [[key]].")
    if strange := [name for name in table if name not in FIELDS]:
        raise SettingsError(f"{where}: {unknown('field', strange[0], FIELDS)}")
    name, scopes = table.get("name"), table.get("scopes")
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise SettingsError(f"{where} needs a name, a text for the log.")
    if not isinstance(scopes, list) or not scopes:
        raise SettingsError(f"{where} needs scopes, a list of {', '.join(SCOPES)}.")
    for scope in scopes:
        if scope not in SCOPES:
            raise SettingsError(f"{where}: {unknown('scope', scope, SCOPES)}")
    return ScopedKey(name, _digest(table, where), tuple(scopes))


def _digest(table: Values, where: str) -> str:
    value, digest = table.get("value"), table.get("sha256")
    if (value is None) == (digest is None):
        raise SettingsError(f"{where} needs either value or sha256.")
    if isinstance(value, str):
        check_key(value, where)
        return digest_of(value)
    if isinstance(digest, str) and DIGEST.fullmatch(digest):
        return digest
    raise SettingsError(f"{where}: value is a text, and sha256 64 hex digits in lower case.")


def _forms(given: bytes) -> list[bytes]:
    """A key as it came and, where it may have come in Latin-1, in UTF-8."""
    forms = [given]
    with suppress(UnicodeEncodeError):
        forms.append(given.decode("latin-1").encode())
    return forms
