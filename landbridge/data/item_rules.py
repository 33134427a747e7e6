"""Rules about items: ``price < 20 and brand in [acme, 'Best & Co'] and not adult``.

    rule       = all {"or" all}
    all        = one {"and" one}
    one        = "not" one | "(" rule ")" | condition
    condition  = column [order value | ("=" | "!=") value | ["not"] "in" "[" value {"," value} "]"]
    order      = "<" | "<=" | ">" | ">="                                                                (1)

A column alone is true. A value or column is a word (letters, digits and ``_ . : + -``) or stands in quotes,
in which a backslash precedes a quote or a backslash. An unquoted value is a number where it reads as one,
else true, false, null, or text. A rule is a value, so that equal rules share one mask; I items.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import Bool, Int32, Values

Value: TypeAlias = str | int | float | None

DEEPEST = 50  # parentheses and negations inside one another
SHOWN = 60  # characters of a rule that a message repeats
LONG = 40  # digits of a number that is read as a float
PARSED = 1024  # rules whose parsed form is kept
ORDERS = ("<", "<=", ">", ">=")
CONSTANTS: Mapping[str, Value] = {"true": True, "false": False, "null": None}
# "007" and "+7" are text
NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_TOKEN = re.compile(
    r"""(?P<sign><=|>=|!=|[=<>()\[\],])|(?P<word>[\w.:+-]+)|"""
    r"""(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<odd>\S)""",
    re.DOTALL,
)


class Column(Protocol):
    """A column of the items' table."""

    def items_with(self, values: tuple[Value, ...]) -> Int32:
        """The items that have one of the values."""

    def items_ordered(self, order: str, value: Value) -> Int32:
        """The items that have a value on this side of the given one."""


class Columns(Protocol):
    """What a rule is about."""

    def column(self, name: str) -> Column:
        """A column; DataError for one that is not there."""


class Rule(Protocol):
    """A condition on items, which equal ones share a mask by."""

    def __hash__(self) -> int: ...

    def mask(self, columns: Columns, n_items: int) -> Bool:
        """Which items it is true of, (I,)."""


@dataclass(frozen=True)
class OneOf:
    """The column has one of the values; None: it has no value."""

    column: str
    values: tuple[Value, ...]

    def mask(self, columns: Columns, n_items: int) -> Bool:
        """As in :class:`Rule`."""
        return _mask(columns.column(self.column).items_with(self.values), n_items)


@dataclass(frozen=True)
class Ordered:
    """The column has a value below or above this one; an item without a value has none."""

    column: str
    order: str
    value: Value

    def mask(self, columns: Columns, n_items: int) -> Bool:
        """As in :class:`Rule`."""
        return _mask(columns.column(self.column).items_ordered(self.order, self.value), n_items)


@dataclass(frozen=True)
class Not:
    """True where the rule is not."""

    rule: Rule

    def mask(self, columns: Columns, n_items: int) -> Bool:
        """As in :class:`Rule`."""
        return ~self.rule.mask(columns, n_items)


@dataclass(frozen=True)
class AllOf:
    """True where all rules are; without any, of every item."""

    rules: tuple[Rule, ...]

    def mask(self, columns: Columns, n_items: int) -> Bool:
        """As in :class:`Rule`."""
        mask_I = np.ones(n_items, bool)
        for rule in self.rules:
            mask_I &= rule.mask(columns, n_items)
        return mask_I


@dataclass(frozen=True)
class AnyOf:
    """True where any rule is."""

    rules: tuple[Rule, ...]

    def mask(self, columns: Columns, n_items: int) -> Bool:
        """As in :class:`Rule`."""
        mask_I = np.zeros(n_items, bool)
        for rule in self.rules:
            mask_I |= rule.mask(columns, n_items)
        return mask_I


EVERY_ITEM = AllOf(())


def rule_of(where: str | Values) -> Rule:
    """A rule from its text, or from column -> the value, or the values, of which an item must have one.

    DataError, with the place, for a text that is no rule, and for a value that no column can have.
    """
    if isinstance(where, str):
        return parse(where)
    return AllOf(tuple(OneOf(name, _values(wanted)) for name, wanted in where.items()))


@lru_cache(PARSED)
def parse(text: str) -> Rule:
    """The rule of a text; DataError with the place where it is none."""
    return _Parser(text).rule()


def number_of(text: str) -> Value:
    """The number that a text reads as, else the text."""
    if not re.fullmatch(NUMBER, text, re.ASCII):
        return text
    return int(text) if text.lstrip("-").isdecimal() and len(text) < LONG else float(text)


def _values(wanted: object) -> tuple[Value, ...]:
    values = tuple(wanted) if isinstance(wanted, list | tuple) else (wanted,)
    for value in values:
        if value is not None and not isinstance(value, str | int | float):
            raise DataError(
                "A value in 'where' is text, a number, true, false or null, or a list of these, "
                f"not {value!r}."
            )
    return values


def _mask(item_N: Int32, n_items: int) -> Bool:
    mask_I = np.zeros(n_items, bool)
    mask_I[item_N.astype(np.intp)] = True  # NumPy takes indices of its own size in half the time
    return mask_I


class _Token(NamedTuple):
    kind: str  # sign, word, quoted, odd or end
    text: str
    place: int


class _Parser:
    """Recursive descent along Eq. (1): one method for each line of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        found = [_Token(str(each.lastgroup), each[0], each.start()) for each in _TOKEN.finditer(text)]
        self.tokens = [*found, _Token("end", "", len(text))]
        self.next = 0
        self.depth = 0

    def rule(self) -> Rule:
        """The whole text."""
        rule = self._any()
        if self._token.kind != "end":
            raise self._error("'and', 'or' or the end")
        return rule

    def _any(self) -> Rule:
        return self._joined(self._all, "or", AnyOf)

    def _all(self) -> Rule:
        return self._joined(self._one, "and", AllOf)

    def _joined(self, part: Callable[[], Rule], word: str, join: Callable[[tuple[Rule, ...]], Rule]) -> Rule:
        parts = [part()]
        while self._takes(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else join(tuple(parts))

    def _one(self) -> Rule:
        if self._takes("not"):
            return Not(self._deeper(self._one))
        if self._takes("("):
            rule = self._deeper(self._any)
            self._expect(")")
            return rule
        return self._condition()

    def _deeper(self, part: Callable[[], Rule]) -> Rule:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(f"fewer than {DEEPEST} parentheses and negations inside one another")
        rule = part()
        self.depth -= 1
        return rule

    def _condition(self) -> Rule:
        column = str(self._name("a column"))
        for order in ORDERS:
            if self._takes(order):
                return Ordered(column, order, self._bound())
        if self._takes("="):
            return OneOf(column, (self._value(),))
        if self._takes("!="):
            return Not(OneOf(column, (self._value(),)))
        if self._takes("in"):
            return OneOf(column, self._list())
        if self._takes("not"):
            self._expect("in")
            return Not(OneOf(column, self._list()))
        return OneOf(column, (True,))

    def _list(self) -> tuple[Value, ...]:
        self._expect("[")
        values = [self._value()]
        while self._takes(","):
            values.append(self._value())
        self._expect("]")
        return tuple(values)

    def _bound(self) -> Value:
        place = self.next
        value = self._value()
        if value is None or isinstance(value, bool):
            self.next = place
            raise self._error("a number or a text")
        return value

    def _value(self) -> Value:
        quoted, lower = self._token.kind == "quoted", self._token.text.lower()
        text = self._name("a value")
        if quoted:
            return text
        return CONSTANTS[lower] if lower in CONSTANTS else number_of(text)

    def _name(self, what: str) -> str:
        """A word or quoted text."""
        kind, text, _ = self._token
        reserved = kind == "word" and text.lower() in ("and", "or", "not", "in")
        if kind not in ("word", "quoted") or reserved:
            raise self._error(f"{what}{' (in quotes, as it is a word of rules)' if reserved else ''}")
        self.next += 1
        return text if kind == "word" else re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)

    def _takes(self, text: str) -> bool:
        """Whether the next token is this sign or word, which is then taken."""
        takes = self._token.kind in ("sign", "word") and self._token.text.lower() == text
        self.next += takes
        return takes

    def _expect(self, text: str) -> None:
        if not self._takes(text):
            raise self._error(f"{text!r}")

    @property
    def _token(self) -> _Token:
        return self.tokens[self.next]

    def _error(self, expected: str) -> DataError:
        kind, text, place = self._token
        got = "the end" if kind == "end" else repr(text[:SHOWN])
        # a long rule is shown around the place
        start = max(0, place - SHOWN // 2)
        shown = self.text[start : start + SHOWN]
        return DataError(f"At character {place + 1} of the rule {shown!r}: expected {expected}, not {got}.")
