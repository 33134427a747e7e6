"""Inverted-file (IVF) index of item embeddings for approximate search; needs faiss, the extra ``ann``.

Spherical k-means divides the items into cells. A query is compared only with the items of the cells whose
centres have the largest inner products with its embedding. Candidates are scored from the items' own
embeddings, so the scores of a list are exact, but an item of another cell may be missing.

The index type was chosen by measurement on 500,000 items of 64 factors: iALS embeddings, and random ones of
equal and of unequal norms. 32 cells find 99 % of the ten best items or more. A graph (HNSW by inner product)
finds 94 to 98 % in the same time and takes five to fifteen times as long to build; product quantisation finds
46 % of embeddings of equal norm.

Letters: B queries, F factors, I items, K places, C candidates, P cells searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from landbridge.core.types import Bool, Float32, Int32, Int64, Ragged
from landbridge.serving.engine.query_builder import ANONYMOUS, RankingConstraints
from landbridge.serving.engine.rankers import TiledTopK

PER_ROOT = 1.5  # cells, as many as this times the root of the number of items
ROUNDS, SAMPLE = 10, 64  # iterations of k-means, and items per cell that it uses
MARGIN = 16  # further candidates, as rounding may order them otherwise


def cell_count(n_items: int) -> int:
    """How many cells a catalogue has."""
    return max(1, min(n_items, int(PER_ROOT * n_items**0.5)))


@dataclass(frozen=True, eq=False)
class IvfIndex:
    """``index``: the items by their cells, in faiss. ``centres``: as tiles, which find the cells of a query
    in every batch; faiss finds others for many queries than for one."""

    index: Any
    centres: TiledTopK
    item_IF: Float32

    @classmethod
    def of(cls, item_IF: Float32, probes: int) -> IvfIndex:
        """The index of item embeddings; a query searches ``probes`` cells. Reproducible: one thread."""
        import faiss

        n_items, n_factors = item_IF.shape
        n_cells, metric = cell_count(n_items), faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFFlat(faiss.IndexFlat(n_factors, metric), n_factors, n_cells, metric)
        index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = ROUNDS, SAMPLE, 1
        index.nprobe = min(probes, n_cells)
        with _one_thread():
            index.train(item_IF)
            index.add(item_IF)
        centre_RF = index.quantizer.reconstruct_n(0, n_cells)
        return cls(index, TiledTopK.of(centre_RF, np.zeros(n_cells, np.float32)), item_IF)

    def best(self, rows_BF: Float32, hidden: Ragged, k_B: Int64) -> tuple[Int32, Float32]:
        """The best items found that are not hidden, and their scores, (B, K), best first, equal scores by the
        lower item; -1 for an empty place, also where the cells hold too few."""
        # hidden items may be among the nearest: enough candidates to fill a list without them
        size = int((k_B + hidden.lengths).max()) + MARGIN
        item_BC = self._near(rows_BF, min(size, len(self.item_IF)))
        # scored again from the rows: faiss sums in another order for many queries than for one
        score_BC = np.einsum("bf,bcf->bc", rows_BF, self.item_IF[item_BC])
        score_BC[(item_BC < 0) | _among(hidden, item_BC, len(self.item_IF))] = -np.inf
        order_BK = np.lexsort((item_BC, -score_BC))[:, : int(k_B.max())]
        item_BK, score_BK = (
            np.take_along_axis(item_BC, order_BK, 1),
            np.take_along_axis(score_BC, order_BK, 1),
        )
        score_BK[np.arange(score_BK.shape[1]) >= k_B[:, None]] = -np.inf
        return np.where(score_BK == -np.inf, -1, item_BK).astype(np.int32), score_BK

    def _near(self, rows_BF: Float32, size: int) -> Int64:
        """The items of the nearest cells with the largest products, (B, C); -1 where there are no more."""
        n_queries, n_cells = len(rows_BF), len(self.centres.order_I)
        no_mask = np.zeros((0, n_cells), bool), np.full(n_queries, ANONYMOUS)
        every = RankingConstraints(Ragged.empty(n_queries), *no_mask, np.full(n_queries, self.index.nprobe))
        cell_BP, product_BP, _ = self.centres.best(rows_BF, np.zeros(n_queries, np.float32), every)
        with _one_thread():
            _, item_BC = self.index.search_preassigned(rows_BF, size, cell_BP.astype(np.int64), product_BP)
        return np.asarray(item_BC)


def _among(hidden: Ragged, item_BC: Int64, n_items: int) -> Bool:
    """Which candidates are in their query's row."""
    row_N = hidden.entry_rows
    key_BC = np.arange(len(item_BC))[:, None] * n_items + item_BC
    return np.isin(key_BC, row_N * n_items + hidden.columns)


@contextmanager
def _one_thread() -> Iterator[None]:
    """faiss on the calling thread alone."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
