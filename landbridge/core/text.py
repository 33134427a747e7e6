"""Text of the system and of others."""

from __future__ import annotations


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: Python keeps names in another encoding with lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
