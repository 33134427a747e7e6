"""Lists that more than scores decide: all scores of a request's domains, one domain after the other, and
:mod:`landbridge.ranking.rerank` on them.

Shape letters: B requests, I items of all domains of a list, K places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np

from landbridge.core.types import Float32, Int32, Ragged
from landbridge.models.base import Fitted
from landbridge.models.similarity import item_vectors
from landbridge.ranking.list_order import ListCatalog
from landbridge.ranking.rerank import rerank
from landbridge.serving.engine.cancellation import checkpoint
from landbridge.serving.engine.catalog import ItemCatalog, indices_of
from landbridge.serving.engine.messages import RecommendationList, Request
from landbridge.serving.engine.query_builder import QueryBatch, QueryGroup
from landbridge.serving.engine.rankers import Ranker

SCORES_AT_ONCE = 1 << 24  # float32 scores held in memory, 64 MiB
CATALOGS_KEPT = 64  # sets of domains that lists are about
Entries = tuple[RecommendationList, ...]


@dataclass(frozen=True, eq=False)
class DomainScores:
    """Of one request in one domain: scores, (I,), -inf for what the list may not hold, and hidden items."""

    domain: str
    score_I: Float32
    hidden_N: Int32


@dataclass(frozen=True, eq=False)
class Reorderer:
    """Makes the lists of requests whose ``order`` is not that of the scores."""

    fitted: Fitted
    ranker: Ranker
    catalogues: Mapping[str, ItemCatalog]

    def check(self, requests: Sequence[Request]) -> None:
        """DataError for an order that the model or the items' table cannot follow."""
        for request in requests:
            if not request.order.by_score:
                self._catalog_of(request).reranking(request.order)

    def blocks(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """The places of the requests that are reordered, as many as may be held together."""
        block, size = list[int](), 0
        for place, request in enumerate(requests):
            if request.order.by_score:
                continue
            n_items = self._catalog_of(request).n_items
            if block and size + n_items > SCORES_AT_ONCE:
                yield block
                block, size = [], 0
            block.append(place)
            size += n_items
        if block:
            yield block

    def lists(self, batch: QueryBatch, parts: Sequence[QueryGroup]) -> dict[int, Entries]:
        """The lists of the parts' requests, by their place in the batch."""
        scores: dict[int, list[DomainScores]] = {}
        for part in parts:
            checkpoint()
            for place, own in zip(part.place_B.tolist(), self._scores(part), strict=True):
                scores.setdefault(place, []).append(own)
        return {place: self._list(batch.requests[place], own) for place, own in scores.items()}

    def _scores(self, part: QueryGroup) -> Iterator[DomainScores]:
        score_BI, wanted = self.ranker.scores(part), part.constraints
        offsets = wanted.hidden.offsets
        for b, mask in enumerate(wanted.mask_B.tolist()):
            if mask >= 0:
                score_BI[b, ~wanted.mask_MI[mask]] = -np.inf
            hidden_N = wanted.hidden.columns[offsets[b] : offsets[b + 1]]
            yield DomainScores(part.domain, score_BI[b], hidden_N)

    def _list(self, request: Request, scores: Sequence[DomainScores]) -> Entries:
        checkpoint()
        catalog = self._catalog_of(request)
        # a list over several domains is in the order of score + ln w
        ahead = {name: np.float32(math.log(weight)) for name, weight in request.weights.items()}
        order_I = np.concatenate([own.score_I + ahead.get(own.domain, np.float32(0)) for own in scores])
        hidden_N = np.concatenate([own.hidden_N + catalog.starts[own.domain] for own in scores])
        how = catalog.reranking(request.order)
        item_BK, _ = rerank(order_I[None], request.k, Ragged.from_rows([hidden_N]), how)
        return self._entries(item_BK[item_BK >= 0], catalog, scores)

    def _entries(self, item_N: Int32, catalog: ListCatalog, scores: Sequence[DomainScores]) -> Entries:
        """Ids, titles and the model's own scores, in the order of the list."""
        entries: dict[int, RecommendationList] = {}
        for own in scores:
            place_N = item_N - catalog.starts[own.domain]
            place_N = place_N[(place_N >= 0) & (place_N < len(own.score_I))]
            listed = self.catalogues[own.domain].listed(place_N[None], own.score_I[place_N][None])[0]
            entries |= dict(zip((place_N + catalog.starts[own.domain]).tolist(), listed, strict=True))
        return tuple(entries[item] for item in item_N.tolist())

    def _catalog_of(self, request: Request) -> ListCatalog:
        # in the order of the data's domains, as the parts of a batch are
        return self._catalog(tuple(name for name in self.catalogues if name in request.domains))

    @cached_property
    def _catalog(self) -> Callable[[tuple[str, ...]], ListCatalog]:
        return lru_cache(CATALOGS_KEPT)(self._made)

    def _made(self, domains: tuple[str, ...]) -> ListCatalog:
        return ListCatalog(
            self.fitted.history,
            domains,
            {name: each.columns for name, each in self.catalogues.items()},
            lambda name, items: indices_of(self.catalogues[name].items, items),
            partial(item_vectors, self.fitted),
        )
