"""How a list is made beside its scores: limits per value, boosts, pins, diversity and the tail.

A :class:`ListOrder` is the wish, with raw ids, as Python, the command line and HTTP give it. A
:class:`ListCatalog` knows the items of the domains that a list is about, one domain after the other, and
turns the wish into the arrays of :mod:`landbridge.ranking.rerank`, whose equations say what it does.

Shape letters: I items of all domains of the list, V values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import Float64, Id, Int32, Int64, Ragged, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.item_attributes import ItemAttributes
from landbridge.data.item_rules import EVERY_ITEM, Value, rule_of
from landbridge.ranking.rerank import NO_VECTORS, ItemVectors, Reranking

COLUMNS_KEPT = 16  # whose values are kept for the next list


@dataclass(frozen=True)
class Boost:
    """Items that are lifted by ``by`` or, below 0, lowered.

    The scale is relevance, Eq. (1) of :mod:`landbridge.ranking.rerank`: 1 is the distance from the user's
    item at place 100 to their best one. The items are those that the rule ``where`` is true of
    (:mod:`landbridge.data.item_rules`), or those of ``items``, domain -> ids.
    """

    by: float
    where: str | Values = field(default_factory=dict)
    items: Mapping[str, Sequence[Id]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pin:
    """An item at a place of the list, from 1, if the list may hold it. ``domain``: that of the list by
    default."""

    place: int
    item: Id
    domain: str | None = None


@dataclass(frozen=True, kw_only=True)
class ListOrder:
    """What decides over a list beside scores.

    ``max_per``: column of the items' table -> how many items of one value a list holds at most; an item
    without a value is not limited. ``boosts``, ``pins``: see there; a pinned item obeys the rules, too, and
    one that may not be listed is left out. ``diversity``: 0 to 1, how much an item like those above it loses.
    ``tail``: 0 to 1, how much of the scale of :class:`Boost` the most popular item loses. The formulas:
    :mod:`landbridge.ranking.rerank`.
    """

    max_per: Mapping[str, int] = field(default_factory=dict)
    boosts: Sequence[Boost] = ()
    pins: Sequence[Pin] = ()
    diversity: float = 0.0
    tail: float = 0.0

    @property
    def by_score(self) -> bool:
        """Whether the scores alone decide."""
        return not (self.max_per or self.boosts or self.pins or self.diversity or self.tail)


BY_SCORE = ListOrder()


@dataclass(frozen=True, eq=False)
class ListCatalog:
    """The items of ``domains``, one domain after the other. ``attributes``: domain -> its part of the items'
    table. ``find``: indices of raw ids in a domain, -1 for an unknown one. ``compare``: the item vectors."""

    history: MultiDomain
    domains: tuple[str, ...]
    attributes: Mapping[str, ItemAttributes]
    find: Callable[[str, Sequence[Id]], Int32 | Int64]
    compare: Callable[[tuple[str, ...]], ItemVectors]

    def reranking(self, order: ListOrder) -> Reranking:
        """The wish as arrays; DataError for what is no wish, and for a column that the table lacks."""
        _check(order)
        values, limit_V = self._limits(order.max_per)
        pin_P, place_P = self._pins(order.pins)
        vectors = self._vectors if order.diversity else NO_VECTORS
        return Reranking(order.diversity, self._bonus(order), values, limit_V, pin_P, place_P, vectors)

    @cached_property
    def starts(self) -> dict[str, int]:
        """The number of the first item of each domain."""
        sizes = [self.history[name].n_items for name in self.domains]
        return dict(zip(self.domains, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))

    @cached_property
    def n_items(self) -> int:
        """I."""
        return sum(self.history[name].n_items for name in self.domains)

    @cached_property
    def _vectors(self) -> ItemVectors:
        return self.compare(self.domains)

    @cached_property
    def _popularity_I(self) -> Float64:
        """ln(1 + n_i) / ln(1 + max n) of Eq. (2)."""
        count_I = np.concatenate([self.history[name].item_counts for name in self.domains])
        return np.asarray(np.log1p(count_I) / np.log1p(count_I.max(initial=1)))

    def _bonus(self, order: ListOrder) -> Float64 | None:
        """What Eq. (2) adds to the relevance, (I,); None where that is nothing."""
        if not order.boosts and not order.tail:
            return None
        bonus_I = -order.tail * self._popularity_I  # Eq. (2)
        for boost in order.boosts:
            self._add(boost, bonus_I)
        return bonus_I

    def _add(self, boost: Boost, bonus_I: Float64) -> None:
        rule = rule_of(boost.where)
        for name in boost.items:
            if name not in self.history.domain_names:
                raise DataError(unknown("domain", name, self.history.domain_names))
        for name, start in self.starts.items():
            own_I = bonus_I[start : start + self.history[name].n_items]
            if rule != EVERY_ITEM:
                own_I[self.attributes[name].matching(rule)] += boost.by
            if items := boost.items.get(name):
                place_N = self.find(name, list(items))
                own_I[np.unique(place_N[place_N >= 0])] += boost.by

    def _limits(self, max_per: Mapping[str, int]) -> tuple[Ragged, Int64]:
        """The values of each item in the limited columns, and how often each value may be listed."""
        values, limits = Ragged.empty(self.n_items), [np.zeros(0, np.int64)]
        for column, limit in max_per.items():
            own, n_values = self._values_of(column)
            shifted = Ragged(own.offsets, (own.columns + sum(map(len, limits))).astype(np.int32))
            values = values.concat(shifted)
            limits.append(np.full(n_values, limit, np.int64))
        return values, np.concatenate(limits)

    @cached_property
    def _values_of(self) -> Callable[[str], tuple[Ragged, int]]:
        return lru_cache(COLUMNS_KEPT)(self._computed_values)

    def _computed_values(self, column: str) -> tuple[Ragged, int]:
        """Row i: the values of item i in a column, numbered from 0; and how many there are."""
        number: dict[Value, int] = {}
        items, numbers = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for name, start in self.starts.items():
            values, items_V = self.attributes[name].column(column).values
            # equal values of two domains are one
            number_V = np.array([number.setdefault(each, len(number)) for each in values], np.int64)
            items.append(items_V.columns.astype(np.int64) + start)
            numbers.append(np.repeat(number_V, items_V.lengths))
        return Ragged.from_index(np.concatenate(items), np.concatenate(numbers), self.n_items), len(number)

    def _pins(self, pins: Sequence[Pin]) -> tuple[Int32, Int32]:
        """The known pinned items and their places from 0, in the order of the places."""
        placed: dict[int, int] = {}
        for pin in sorted(pins, key=lambda each: each.place):
            domain = self._domain(pin)
            item = int(self.find(domain, [pin.item])[0])
            if item >= 0:
                # of an item that is pinned twice the first place counts
                placed.setdefault(self.starts[domain] + item, pin.place - 1)
        return np.array([*placed], np.int32), np.array([*placed.values()], np.int32)

    def _domain(self, pin: Pin) -> str:
        if pin.domain is None and len(self.domains) == 1:
            return self.domains[0]
        if pin.domain is None:
            raise DataError(f"The pinned item {pin.item!r} needs its domain, as the list has several.")
        if pin.domain not in self.domains:
            raise DataError(unknown("domain of the list", pin.domain, self.domains))
        return pin.domain


def _check(order: ListOrder) -> None:
    for name, share in (("diversity", order.diversity), ("tail", order.tail)):
        if not 0 <= share <= 1:
            raise DataError(f"{name!r} must be between 0 and 1, not {share}.")
    for column, limit in order.max_per.items():
        if limit < 1:
            raise DataError(f"'max_per' must be 1 or more, not {limit} for {column!r}.")
    for boost in order.boosts:
        if not math.isfinite(boost.by):
            raise DataError(f"A boost's 'by' must be a number, not {boost.by}.")
        if not boost.where and not boost.items:
            raise DataError("A boost needs the items that it is about: give 'where' or 'items'.")
    places = [pin.place for pin in order.pins]
    if places and min(places) < 1:
        raise DataError(f"A pin's place must be 1 or more, not {min(places)}.")
    if len(set(places)) < len(places):
        raise DataError("Two pinned items have one place; give each its own.")
