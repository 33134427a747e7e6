"""A domain's items: lookup by id, by words, by popularity, by attributes.

Shape letters: I items, B lists of K places, N ids.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import AnyArray, Bool, Float32, Float64, Id, Int32, Int64
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.item_attributes import ItemAttributes
from landbridge.data.item_rules import EVERY_ITEM, AllOf, Rule
from landbridge.data.titles import without_blank
from landbridge.data.vocabulary import IdArray, Vocabulary, whole_number
from landbridge.ranking.strategies import POPULAR, item_scores
from landbridge.serving.engine.cancellation import checkpoint
from landbridge.serving.engine.messages import RecommendationList
from landbridge.serving.engine.text_search import folded, holds_all, words_of

if TYPE_CHECKING:
    import polars as pl

SEARCHED_AT_ONCE = 1 << 14  # items
NO_ITEMS = np.empty(0, np.int32)
PREPARED = ("_popular_I", "_popular_texts", "_orders")  # what depends on the titles and events alone


@dataclass(frozen=True, eq=False)
class ItemCatalog:
    """``count_I``: events per item. ``share_I``: the share of the domain's users who have it. ``cold_I``: new
    items; ``unlisted_I``: items that no list holds; None for none. ``rule``: what is true of every item that
    a list may hold."""

    domain: str
    items: Vocabulary
    titles: AnyArray | None
    count_I: Int64
    share_I: Float32
    columns: ItemAttributes
    cold_I: Bool | None = None
    unlisted_I: Bool | None = None
    rule: Rule = EVERY_ITEM

    @classmethod
    def of(
        cls,
        history: MultiDomain,
        domain: str,
        columns: ItemAttributes | None = None,
        unlisted_I: Bool | None = None,
        rule: Rule = EVERY_ITEM,
    ) -> ItemCatalog:
        """The catalogue of one domain of the data, and what the items' table says of it, if there is one.
        DataError where the rule names a column that the table lacks."""
        events = history[domain]
        columns = columns or ItemAttributes(events.n_items)
        titles = _titles(columns, history.titles.get(domain))
        users = max(int((events.user_counts > 0).sum()), 1)
        share_I = (events.item_counts / users).astype(np.float32)
        columns.matching(rule)
        cold_I = None if history.item_features is None else history.new_items(domain)
        items, counts = history.items[domain], events.item_counts
        return cls(domain, items, titles, counts, share_I, columns, cold_I, unlisted_I, rule)

    def with_columns(self, columns: ItemAttributes, of_events: AnyArray | None) -> ItemCatalog:
        """The same items, about which other things are known; ``of_events``: titles that the events have."""
        if columns is self.columns:
            return self
        titles = self.titles
        if columns.new_titles is not self.columns.new_titles:
            titles = _titles(columns, of_events)
        new = replace(self, titles=titles, columns=columns)
        if titles is self.titles:  # to prepare a search takes long where there are many items
            new.__dict__.update({name: self.__dict__[name] for name in PREPARED if name in self.__dict__})
        return new

    def find(self, item: Id) -> int:
        """An item's index; DataError for one the model does not know."""
        return int(self.find_all([item])[0])

    def find_all(self, items: Sequence[Id]) -> Int64:
        """The items' indices, (N,); DataError for the first that the model does not know."""
        place_N = indices_of(self.items, items)
        if len(place_N) and place_N.min() < 0:
            unknown_item = items[int(np.argmax(place_N < 0))]
            raise DataError(
                f"Domain {self.domain!r} has no item {unknown_item!r} that the model knows; leave it out."
            )
        return place_N

    def places(self, items: Collection[Id]) -> Int32:
        """The indices of those items that are here; others are left out."""
        place_N = indices_of(self.items, list(items))
        return place_N[place_N >= 0].astype(np.int32)

    def listed(self, item_BK: Int32, score_BK: AnyArray) -> list[tuple[RecommendationList, ...]]:
        """Lists with ids and titles; item -1 is an empty place."""
        listed_BK = item_BK >= 0
        item_N = item_BK[listed_BK]
        ids = self.items.ids[item_N].tolist()
        titles = (
            [None] * len(ids) if self.titles is None else [t or None for t in self.titles[item_N].tolist()]
        )
        scores = score_BK[listed_BK].tolist()
        cold = [False] * len(ids) if self.cold_I is None else self.cold_I[item_N].tolist()
        columns = zip(ids, titles, scores, cold, strict=True)
        entries = [RecommendationList(self.domain, *entry) for entry in columns]
        ends = [0, *np.cumsum(listed_BK.sum(axis=1)).tolist()]
        return [tuple(entries[start:end]) for start, end in pairwise(ends)]

    def popular(self, k: int) -> tuple[RecommendationList, ...]:
        """The ``k`` items with the most events that lists may hold; the score is their events."""
        return self._counted(self._listed_I[:k])

    def ranked(self, strategy: str, events: Interactions, k: int) -> tuple[RecommendationList, ...]:
        """The ``k`` best items by a strategy (:mod:`.strategies`), of ``events``, the domain's."""
        if strategy == POPULAR:
            return self.popular(k)
        return self.ranked_among(strategy, events, k, self.matching(EVERY_ITEM) if self.has_rule else None)

    def ranked_among(
        self,
        strategy: str,
        events: Interactions,
        k: int,
        mask_I: Bool | None = None,
        hidden_N: Int32 = NO_ITEMS,
    ) -> tuple[RecommendationList, ...]:
        """As :meth:`ranked`, of the items in a mask, None for all, that are not hidden."""
        order_N, score_I = self._order(strategy, events)
        if mask_I is not None:
            order_N = order_N[mask_I[order_N]]
        best_N = order_N[: k + len(hidden_N)]  # so many hold k that are not hidden
        best_K = best_N[~np.isin(best_N, hidden_N)][:k]
        return self.listed(best_K[None], score_I[best_K][None])[0]

    def _order(self, strategy: str, events: Interactions) -> tuple[Int32, Float64]:
        """The items in the order of a strategy, and the score of every item."""
        if strategy not in self._orders:
            score_I = item_scores(strategy, events, self.domain)
            # stable: equal items by their ids, the same in every process
            order_I = np.argsort(-score_I, kind="stable")
            self._orders[strategy] = order_I[np.isfinite(score_I[order_I])].astype(np.int32), score_I
        return self._orders[strategy]

    def search(self, text: str, k: int) -> tuple[RecommendationList, ...]:
        """Of the items with all words in their title or id, the ``k`` with the most events."""
        words = words_of(text)
        found = [self._popular_I[:0]]
        # popular items first: a common word needs one block, however large the catalogue is
        for start in range(0, len(self.items), SEARCHED_AT_ONCE):
            checkpoint()
            texts = self._popular_texts[start : start + SEARCHED_AT_ONCE]
            held = holds_all(texts, words)
            if self.columns.shown_I is not None:
                held &= self.columns.shown_I[self._popular_I[start : start + SEARCHED_AT_ONCE]]
            found.append(self._popular_I[start : start + SEARCHED_AT_ONCE][held])
            if sum(map(len, found)) >= k:
                break
        return self._counted(np.concatenate(found)[:k])

    def matching(self, rule: Rule) -> Bool:
        """Which items that lists may hold a rule is true of, (I,), to be read only."""
        mask_I = self.columns.matching(rule if self.rule == EVERY_ITEM else AllOf((self.rule, rule)))
        return mask_I if self.unlisted_I is None else mask_I & ~self.unlisted_I

    @property
    def has_rule(self) -> bool:
        """Whether some items may be in no list."""
        return self.rule != EVERY_ITEM or self.columns.shown_I is not None or self.unlisted_I is not None

    @cached_property
    def _popular_I(self) -> Int32:
        # stable: equally popular items by their ids, the same in every process
        return np.argsort(-self.count_I, kind="stable").astype(np.int32)

    @cached_property
    def _orders(self) -> dict[str, tuple[Int32, Float64]]:
        """Strategy -> the items in its order, and the score of every item."""
        return {}

    @cached_property
    def _listed_I(self) -> Int32:
        """Of the popular items those that lists may hold."""
        return (
            self._popular_I[self.matching(EVERY_ITEM)[self._popular_I]] if self.has_rule else self._popular_I
        )

    @cached_property
    def _popular_texts(self) -> pl.Series:
        """What a search looks at, in the order of ``_popular_I``."""
        ids = [self.items.ids] if self.titles is None else [self.titles, self.items.ids]
        columns = [map(str, column[self._popular_I].tolist()) for column in ids]
        # a line per column: a word never reaches from a title into an id
        return folded(["\n".join(texts) for texts in zip(*columns, strict=True)])

    def _counted(self, item_N: Int32) -> tuple[RecommendationList, ...]:
        return self.listed(item_N[None], self.count_I[item_N].astype(np.float64)[None])[0]


def indices_of(vocabulary: Vocabulary, raw: Sequence[Id]) -> Int64:
    """The indices of raw ids, (N,), -1 where one is unknown: '17' finds 17, and 17 finds '17'.

    Texts are looked up one by one, in microseconds, because NumPy's search among them takes as long as a
    copy of all.
    """
    if not raw:
        return np.empty(0, np.int64)
    for each in raw:
        # bool is a subclass of int: true would be item 1
        if isinstance(each, bool) or not isinstance(each, str | int):
            raise DataError(f"An id is text or a whole number, not {each!r}.")
    if vocabulary.folded:
        raw = vocabulary.spelled(raw).tolist()
    if vocabulary.is_text:
        return np.array([_place_of_text(vocabulary.ids, str(each)) for each in raw], np.int64)
    whole = [whole_number(each) for each in raw]
    place_N = vocabulary.index(np.array([number or 0 for number in whole], np.int64))
    return np.where([number is not None for number in whole], place_N, -1).astype(np.int64)


def _place_of_text(ids: IdArray, text: str) -> int:
    place = bisect_left(ids, text)
    return place if place < len(ids) and ids[place] == text else -1


def _titles(columns: ItemAttributes, of_events: AnyArray | None) -> AnyArray | None:
    """Titles, empty where an item has none to be seen: those that were said last count first, then those of
    the items' table, as the table may be newer than the model."""
    titles = _first(columns.titles, of_events)
    return titles if columns.new_titles is None else _first(columns.new_titles, titles)


def _first(of_table: AnyArray | None, of_events: AnyArray | None) -> AnyArray | None:
    import polars as pl

    if of_events is not None:
        visible = without_blank(pl.Series(of_events.tolist(), dtype=pl.String)).fill_null("")
        of_events = np.array(visible.to_list(), np.dtypes.StringDType())
    if of_table is None or of_events is None:
        return of_events if of_table is None else of_table
    return np.where(of_table != "", of_table, of_events)


def catalog_of(catalogues: Mapping[str, ItemCatalog], domain: object) -> ItemCatalog:
    """A domain's catalogue; DataError for an unknown domain."""
    if not isinstance(domain, str) or domain not in catalogues:
        raise DataError(unknown("domain", domain, catalogues))
    return catalogues[domain]
