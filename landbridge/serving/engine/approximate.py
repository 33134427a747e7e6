"""Approximate search for large catalogues, used only where it saves work and loses little.

The exact search of :mod:`.kernels` stops early where the item embeddings differ in norm, as those of a
factorisation do, and is then the faster one. Where norms are equal it must score every item. A large domain
therefore gets an :class:`.ivf_index.IvfIndex` only if a test with known users shows that it pays: the work it
saves and its recall are measured when the service is opened.

Letters: B queries, N some of them, K places.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from landbridge.core.errors import MissingExtraError
from landbridge.core.rng import generator
from landbridge.core.types import Float32, Int32, Int64
from landbridge.data.queries import Queries
from landbridge.serving.engine.ivf_index import IvfIndex, cell_count
from landbridge.serving.engine.query_builder import ANONYMOUS, QueryGroup, RankingConstraints
from landbridge.serving.engine.rankers import DotProductRanker, Ranker
from landbridge.serving.runtime.logging import log

LARGE = 300_000  # items: below it exact search is about as fast
PLACES, SAMPLED_USERS = 10, 200  # recall: of lists of so many places, for so many users
AT_ONCE, MOST = 64, 1024  # queries whose candidates are held together; places and hidden items of a query


@dataclass(frozen=True)
class AnnPolicy:
    """When a domain is searched approximately.

    ``large``: least number of items. ``probes``: cells that a query searches. ``relative_cost``: cost of an
    item in a cell, in items of the exact search; measured 3 for a single query, 6 for 16 together.
    ``recall``: least share of the exact lists' items that must be found.
    """

    large: int = LARGE
    probes: int = 32
    relative_cost: float = 4.0
    recall: float = 0.95


@dataclass(frozen=True, eq=False)
class AnnDecision:
    """The decision for a domain: the cells to use, if any, their recall, and why there are none."""

    cells: IvfIndex | None
    recall: float | None
    why: str | None


def approximate_ranker(ranker: Ranker, terms: AnnPolicy | None = None) -> tuple[Ranker, dict[str, float]]:
    """The ranker with cells in the domains where they pay, and the recall in each of these.

    Logs every decision. MissingExtraError where faiss is not installed.
    """
    if find_spec("faiss") is None:
        raise MissingExtraError("Approximate search needs faiss: pip install 'landbridge[ann]'.")
    if not isinstance(ranker, DotProductRanker):
        log(logging.INFO, "exact search", why="the model is not a product of rows")
        return ranker, {}
    terms, cells, recalls = terms or AnnPolicy(), {}, {}
    for domain, item_IF in ranker.model.item_IF.items():
        if len(item_IF) < terms.large:
            continue
        trial = _tried(ranker, domain, terms)
        if trial.cells is not None and trial.recall is not None:
            cells[domain], recalls[domain] = trial.cells, trial.recall
        event = "exact search" if trial.cells is None else "approximate search"
        log(logging.INFO, event, domain=domain, recall=trial.recall, why=trial.why)
    return (IvfRanker(ranker, cells) if cells else ranker), recalls


@dataclass(frozen=True, eq=False)
class IvfRanker:
    """Ranks by the cells where the embedding alone decides.

    The exact search serves cold-start users who get popularity, filters, embeddings of zeros, and lists that
    the cells cannot fill.
    """

    exact: DotProductRanker
    cells: Mapping[str, IvfIndex]

    def best(self, part: QueryGroup) -> tuple[Int32, Float32]:
        """As :meth:`Ranker.best`."""
        if part.domain not in self.cells:
            return self.exact.best(part)
        wanted = part.constraints
        rows_BF, weight_B = self.exact.model.query_embeddings(part.domain, part.queries, across=part.across)
        item_BK = np.full((len(wanted.k_B), int(wanted.k_B.max(initial=1))), -1, np.int32)
        score_BK = np.full(item_BK.shape, -np.inf, np.float32)

        def put(some_N: Int64, item_NK: Int32, score_NK: Float32) -> None:
            item_BK[some_N, : item_NK.shape[1]], score_BK[some_N, : item_NK.shape[1]] = item_NK, score_NK

        for some_N in _blocks(_by_row(rows_BF, weight_B, wanted)):
            some = wanted.take(some_N)
            put(some_N, *self.cells[part.domain].best(rows_BF[some_N], some.hidden, some.k_B))
        # never filled, or filled short by the cells: these go the exact way
        left_N = np.flatnonzero((item_BK >= 0).sum(axis=1) < wanted.k_B)
        tiles = self.exact.tiles[part.domain]
        put(left_N, *tiles.best(rows_BF[left_N], weight_B[left_N], wanted.take(left_N))[:2])
        return item_BK, score_BK

    def scores(self, part: QueryGroup) -> Float32:
        """As :meth:`Ranker.scores`."""
        return self.exact.scores(part)

    def score(self, domain: str, queries: Queries, item_N: Int32) -> Float32:
        """As :meth:`Ranker.score`."""
        return self.exact.score(domain, queries, item_N)


def recall_of(approximate_BK: Int32, exact_BK: Int32) -> float:
    """Recall: the share of the exact lists' items that are in the approximate lists at any place."""
    there_BK = (exact_BK[:, :, None] == approximate_BK[:, None, :]).any(axis=2)
    return float(there_BK[exact_BK >= 0].mean())


def _tried(ranker: DotProductRanker, domain: str, terms: AnnPolicy) -> AnnDecision:
    item_IF, tiles = ranker.model.item_IF[domain], ranker.tiles[domain]
    part = _sampled_queries(ranker, domain)
    if not len(part.queries):
        return AnnDecision(None, None, "the domain has no users to measure recall on")
    exact_BK, _, gone = tiles.best(*ranker.model.query_embeddings(domain, part.queries), part.constraints)
    share = gone / len(part.queries) / len(tiles.norm_T)
    # share of items scored by exact search against that of the cells, in equal cost
    if share < terms.relative_cost * terms.probes / cell_count(len(item_IF)):
        return AnnDecision(None, None, f"it is faster, as it scores only {share:.1%} of the items")
    cells = IvfIndex.of(item_IF, terms.probes)
    recall = recall_of(IvfRanker(ranker, {domain: cells}).best(part)[0], exact_BK)
    if recall < terms.recall:
        return AnnDecision(None, recall, f"approximate search finds less than {terms.recall:.0%}")
    return AnnDecision(cells, recall, None)


def _sampled_queries(ranker: DotProductRanker, domain: str) -> QueryGroup:
    """Queries of known users, without the items of their histories."""
    history = ranker.fitted.history[domain]
    active_N = np.flatnonzero(history.user_counts)
    # a fixed seed: the decision is the same at every start of the server
    user_B = generator(0, "recall", domain).choice(active_N, min(SAMPLED_USERS, len(active_N)), replace=False)
    no_mask = np.zeros((0, history.n_items), bool), np.full(len(user_B), ANONYMOUS)
    wanted = RankingConstraints(
        ranker.fitted.history.excluded(domain).by_user.take(user_B),
        *no_mask,
        np.full(len(user_B), min(PLACES, history.n_items)),
    )
    return QueryGroup(domain, np.arange(len(user_B)), Queries.of_users(user_B), wanted)


def _by_row(rows_BF: Float32, weight_B: Float32, wanted: RankingConstraints) -> Int64:
    """Queries whose lists may come from cells, (N,)."""
    # with many hidden items the exact search is cheaper than so many candidates
    few_B = wanted.k_B + wanted.hidden.lengths <= MOST
    return np.flatnonzero(few_B & (wanted.mask_B == ANONYMOUS) & (weight_B == 0) & rows_BF.any(axis=1))


def _blocks(place_N: Int64) -> list[Int64]:
    return [place_N[start : start + AT_ONCE] for start in range(0, len(place_N), AT_ONCE)]
