"""Text of the system and of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: Python keeps names in another encoding with lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_line(part: object) -> str:
    """A part of a sentence that others chose: as it is, or quoted where it has line breaks and the like."""
    text = str(part)
    return text if text.isprintable() else repr(text)


def html_table(title: str, rows: Sequence[Mapping[str, object]]) -> str:
    """A small table for notebooks: numbers with separators and to the right, all text escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in (rows[0] if rows else {}))
    body = "".join("<tr>" + "".join(map(_html_cell, row.values())) + "</tr>" for row in rows)
    caption = f"<caption style='text-align:left'>{escape(title)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(value: object) -> str:
    if isinstance(value, float):
        return f"<td style='text-align:right'>{value:.4f}</td>"
    if isinstance(value, int):
        return f"<td style='text-align:right'>{value:,}</td>"
    return f"<td style='text-align:left'>{escape('' if value is None else str(value))}</td>"
