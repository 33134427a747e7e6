"""From queries to the k best items: by rows in tiles where a model is a product of rows, else by all scores.

Shape letters: B queries, F factors, I items, K places, T tiles, J items of a tile, N queries of a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import Float32, Int32, Int64
from landbridge.models.base import DotProducts, Fitted, Queries
from landbridge.ranking.top_k import top_k
from landbridge.serving.engine.catalog import ItemCatalog
from landbridge.serving.engine.query_builder import QueryGroup, RankingConstraints

SCORES_AT_ONCE = 1 << 24  # float32 scores held in memory by each thread, 64 MiB
NOT_A_NUMBER = "The model's scores are not numbers; look for divergence in its fit."


class Ranker(Protocol):
    """How lists are made."""

    def best(self, part: QueryGroup) -> tuple[Int32, Float32]:
        """Items and scores, (B, K), best first, equal scores by the lower item; -1 for an empty place."""

    def scores(self, part: QueryGroup) -> Float32:
        """All scores, (B, I), as lists give them, hidden items included."""

    def score(self, domain: str, queries: Queries, item_N: Int32) -> Float32:
        """The scores of some items, (B, N), as lists give them."""


def ranker_of(fitted: Fitted, catalogues: Mapping[str, ItemCatalog]) -> Ranker:
    """The faster way that the model allows."""
    model = fitted.as_dot_products()
    if model is None:
        return ScoreRanker(fitted, catalogues)
    tiles = {name: TiledTopK.of(item_IF, catalogues[name].share_I) for name, item_IF in model.item_IF.items()}
    return DotProductRanker(fitted, model, catalogues, tiles)


@dataclass(frozen=True, eq=False)
class TiledTopK:
    """A domain's items as :mod:`.kernels` takes them; ``item_IF`` and ``share_I`` are those given."""

    item_IF: Float32
    share_I: Float32
    tile_TFJ: Float32
    share_TJ: Float32
    norm_T: Float32
    most_T: Float32
    order_I: Int32

    @classmethod
    def of(cls, item_IF: Float32, share_I: Float32) -> TiledTopK:
        """Rows of items and their popularity, in the order of the rows' norms."""
        from landbridge.serving.engine.kernels import MULTIPLE, TILE

        norm_I = np.sqrt(np.einsum("if,if->i", item_IF, item_IF))
        order_I = np.argsort(-norm_I, kind="stable").astype(np.int32)
        fill_I, fill_F = -len(item_IF) % TILE, -item_IF.shape[1] % MULTIPLE
        # padding items come last and have score 0; the kernel stops before them
        sorted_IF = np.pad(item_IF[order_I], ((0, fill_I), (0, fill_F)))
        share_TJ = np.pad(share_I[order_I], (0, fill_I)).reshape(-1, TILE)
        return cls(
            item_IF,
            share_I,
            np.ascontiguousarray(sorted_IF.reshape(-1, TILE, sorted_IF.shape[1]).swapaxes(1, 2)),
            share_TJ,
            norm_I[order_I[::TILE]],
            # the largest share of this tile and of all later ones, as the bound is used to stop
            np.maximum.accumulate(share_TJ.max(axis=1)[::-1])[::-1].copy(),
            order_I,
        )

    def best(
        self, rows_BF: Float32, weight_B: Float32, wanted: RankingConstraints
    ) -> tuple[Int32, Float32, int]:
        """As :meth:`Ranker.best`, by row times rows plus weight times popularity; and how many times a query
        went through a tile."""
        from landbridge.serving.engine.kernels import tiled_top_k

        query_BF = self._padded(rows_BF)
        item_BK = np.full((len(rows_BF), int(wanted.k_B.max(initial=1))), -1, np.int32)
        score_BK = np.full(item_BK.shape, -np.inf, np.float32)
        gone = tiled_top_k(
            query_BF,
            weight_B,
            self.tile_TFJ,
            self.share_TJ,
            self.norm_T,
            self.most_T,
            self.order_I,
            (self.item_IF, self.share_I),
            (wanted.hidden.offsets, wanted.hidden.columns),
            (wanted.mask_MI, wanted.mask_B),
            wanted.k_B,
            item_BK,
            score_BK,
        )
        return item_BK, score_BK, gone

    def scores(self, rows_BF: Float32, weight_B: Float32) -> Float32:
        """The scores of all items, (B, I), the very numbers of :meth:`best`."""
        from landbridge.serving.engine.kernels import tiled_scores

        score_BI = np.empty((len(rows_BF), len(self.order_I)), np.float32)
        tiled_scores(self._padded(rows_BF), weight_B, self.tile_TFJ, self.share_TJ, self.order_I, score_BI)
        return score_BI

    def _padded(self, rows_BF: Float32) -> Float32:
        """With factors of 0, like the items."""
        # NaN in a heap would leave it unordered
        if not np.isfinite(rows_BF).all():
            raise DataError(NOT_A_NUMBER)
        query_BF = np.zeros((len(rows_BF), self.tile_TFJ.shape[1]), np.float32)
        query_BF[:, : rows_BF.shape[1]] = rows_BF
        return query_BF


@dataclass(frozen=True, eq=False)
class DotProductRanker:
    """User embeddings times item embeddings, and popularity for cold-start users as the cold-start policy
    says."""

    fitted: Fitted
    model: DotProducts
    catalogues: Mapping[str, ItemCatalog]
    tiles: Mapping[str, TiledTopK]

    def best(self, part: QueryGroup) -> tuple[Int32, Float32]:
        """As :meth:`Ranker.best`."""
        rows_BF, weight_B = self.model.query_embeddings(part.domain, part.queries, across=part.across)
        return self.tiles[part.domain].best(rows_BF, weight_B, part.constraints)[:2]

    def scores(self, part: QueryGroup) -> Float32:
        """As :meth:`Ranker.scores`."""
        rows_BF, weight_B = self.model.query_embeddings(part.domain, part.queries, across=part.across)
        return self.tiles[part.domain].scores(rows_BF, weight_B)

    def score(self, domain: str, queries: Queries, item_N: Int32) -> Float32:
        """As :meth:`Ranker.score`."""
        rows_BF, weight_B = self.model.query_embeddings(domain, queries)
        share_N = self.catalogues[domain].share_I[item_N]
        return np.asarray(rows_BF @ self.model.item_IF[domain][item_N].T + weight_B[:, None] * share_N)


@dataclass(frozen=True, eq=False)
class ScoreRanker:
    """All scores of a model of any kind, a block of queries at a time."""

    fitted: Fitted
    catalogues: Mapping[str, ItemCatalog]

    def best(self, part: QueryGroup) -> tuple[Int32, Float32]:
        """As :meth:`Ranker.best`."""
        hidden, mask_MI, mask_B, k_B = part.constraints
        item_BK = np.full((len(k_B), int(k_B.max(initial=1))), -1, np.int32)
        score_BK = np.full(item_BK.shape, -np.inf, np.float32)
        for some_N in self._blocks(part.domain, len(k_B)):
            scores_NI = self._scores(part.domain, part.queries.take(some_N), across=part.across)
            for mask in np.unique(mask_B[some_N][mask_B[some_N] >= 0]):
                scores_NI[np.ix_(mask_B[some_N] == mask, ~mask_MI[mask])] = -np.inf
            item_BK[some_N], score_BK[some_N] = top_k(scores_NI, item_BK.shape[1], hidden.take(some_N))
        item_BK[(score_BK == -np.inf) | (np.arange(item_BK.shape[1]) >= k_B[:, None])] = -1
        return item_BK, score_BK

    def scores(self, part: QueryGroup) -> Float32:
        """As :meth:`Ranker.scores`."""
        return self._scores(part.domain, part.queries, across=part.across)

    def score(self, domain: str, queries: Queries, item_N: Int32) -> Float32:
        """As :meth:`Ranker.score`."""
        blocks = self._blocks(domain, len(queries))
        return np.concatenate([self._scores(domain, queries.take(some_B))[:, item_N] for some_B in blocks])

    def _scores(self, domain: str, queries: Queries, *, across: bool = False) -> Float32:
        """All scores, (B, I); a query with equal scores for all items gets the popular ones."""
        scores_BI = (self.fitted.list_scores if across else self.fitted.score)(domain, queries)
        alike_B = scores_BI.max(axis=1, initial=-np.inf) == scores_BI.min(axis=1, initial=np.inf)
        unknown_B = ~self.fitted.knows(domain, queries)
        # else the order of equal scores, which is that of the ids, would make the list
        scores_BI[alike_B & unknown_B] = self.catalogues[domain].share_I
        return scores_BI

    def _blocks(self, domain: str, size: int) -> list[Int64]:
        at_once = max(1, SCORES_AT_ONCE // max(len(self.catalogues[domain].items), 1))
        return [np.arange(start, min(start + at_once, size)) for start in range(0, size, at_once)]
