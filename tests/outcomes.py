"""What a call did: its value, or the sentence with which it was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def outcome(call: Callable[[], T], *refusals: type[Exception]) -> tuple[T | None, str]:
    """The value and no sentence, or None and the sentence of one of the errors."""
    try:
        return call(), ""
    except refusals as error:
        return None, str(error)


def is_sentence(text: str) -> bool:
    """Whether a message is one line that ends as a sentence does."""
    return text.endswith(".") and len(text.splitlines()) == 1
