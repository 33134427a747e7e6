"""Diversity of recommendation lists: interest entropy, catalogue coverage and the least served domain.

With p_d the share of domain d among the first places of a list,

    interest entropy   mean over the lists of −Σ_d p_d ln p_d                                            (1)
    P90 coverage       the fewest items that fill 90 % of all places / the catalogue                      (2)
    coverage           items in any list / the catalogue                                                  (3)
    least share        min_d of the part that domain d has of all places                                  (4)

An item of n domains counts 1/n in each of them. No value is good or bad in itself.
Shape letters: B lists of a block, K places, I items, D domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import SettingsError
from landbridge.core.threads import all_threads
from landbridge.core.types import Float64, Int32, Int64, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Holdout
from landbridge.evaluation.protocols import RankingTask, Scorer, ranking_tasks, recommended_items

if TYPE_CHECKING:
    import polars as pl

MOST = 9  # tenths of the places
OF_LISTS = (
    "entropy",
    "p90_coverage",
    "coverage",
    "least_share",
)  # values of whole lists, not of held-out pairs


def diversity(
    fitted: Scorer,
    holdout: Holdout,
    k_entropy: int = 50,
    k_cover: int = 10,
    *,
    threads: int | None = None,
    block: int | None = None,
) -> pl.DataFrame:
    """Entropy (nats) of the first ``k_entropy`` places of a list, coverage by the first ``k_cover``.

    Columns domain, lists, catalogue (items with a known event; others are not counted), entropy,
    p90_coverage, coverage, least_share (of the first ``k_cover``), protocol. One row per domain with targets,
    whose entropy and least share are of the memberships of its items (null where these are not known), or
    one row ``all`` for a holdout across domains.
    """
    import polars as pl

    if min(k_entropy, k_cover) < 1:
        raise SettingsError(f"k_entropy and k_cover must be 1 or more, not {k_entropy} and {k_cover}.")
    records = []
    with all_threads(threads):
        for name, within in ranking_tasks(holdout).items():
            if len(within.targets):
                credit_ID = _credit(holdout.history, within.slices)
                metrics = _diversity(fitted, within, credit_ID, k_entropy, k_cover, block)
                records.append({"domain": name, **metrics, "protocol": holdout.protocol})
    kinds = {"domain": pl.String, "lists": pl.Int64, "catalogue": pl.Int64}
    kinds |= dict.fromkeys(("entropy", "p90_coverage", "coverage", "least_share"), pl.Float64)
    return pl.DataFrame(records, schema=kinds | {"protocol": pl.String})


def _diversity(
    fitted: Scorer,
    within: RankingTask,
    credit_ID: Float64 | None,
    k_entropy: int,
    k_cover: int,
    block: int | None,
) -> Record:
    """All values of one ranking task, computed a block of lists at a time."""
    shown_I, entropy, n_lists = np.zeros(within.history.n_items, np.int64), 0.0, 0
    for items_BK in recommended_items(fitted, within, max(k_entropy, k_cover), block):
        first_BK = items_BK[:, :k_cover]
        shown_I += np.bincount(first_BK[first_BK >= 0], minlength=len(shown_I))
        n_lists += len(items_BK)
        if credit_ID is not None:
            entropy += float(_entropy(items_BK[:, :k_entropy], credit_ID).sum())
    least_share = None if credit_ID is None else _least_share(shown_I, credit_ID[:-1])
    size, shown_I = within.history.catalogue, shown_I[within.history.item_counts > 0]
    return {
        "lists": n_lists,
        "catalogue": size,
        "entropy": None if credit_ID is None else entropy / n_lists,  # Eq. (1)
        "p90_coverage": _filling(shown_I) / max(size, 1),  # Eq. (2)
        "coverage": int((shown_I > 0).sum()) / max(size, 1),  # Eq. (3)
        "least_share": least_share,
    }


def _credit(history: MultiDomain, slices: Mapping[str, slice]) -> Float64 | None:
    """What each item counts in each domain, (I + 1, D); the last row is for a place left empty.

    None for a single domain whose memberships are not known: nothing would differ.
    """
    if len(slices) == 1 and not set(slices) <= set(history.memberships):
        return None
    domains = np.arange(len(history.domain_names))
    parts = []
    for name in slices:
        home_ID = domains == np.full((history[name].n_items, 1), history.domain_names.index(name))
        parts.append(history.memberships.get(name, home_ID))
    # item -1, an empty place, indexes this last row
    member_ID = np.concatenate([*parts, np.zeros((1, len(domains)), bool)])
    return np.asarray(member_ID / np.maximum(member_ID.sum(axis=1, keepdims=True), 1))


def _entropy(items_BK: Int32, credit_ID: Float64) -> Float64:
    """Eq. (1) of every list, (B,); 0 for an empty one."""
    from scipy.special import entr

    credit_BD = np.stack([credit_I[items_BK].sum(axis=1) for credit_I in credit_ID.T], axis=1)
    total_B1 = credit_BD.sum(axis=1, keepdims=True)
    return np.asarray(entr(credit_BD / np.where(total_B1 > 0, total_B1, 1.0)).sum(axis=1))


def _least_share(shown_I: Int64, credit_ID: Float64) -> float:
    """Eq. (4); a domain without items has no part to have."""
    shown_D = (shown_I @ credit_ID)[credit_ID.any(axis=0)]
    return float(shown_D.min() / max(shown_D.sum(), 1.0))


def _filling(shown_I: Int64) -> int:
    """The fewest items that have nine tenths of all places."""
    filled_I = np.cumsum(np.sort(shown_I)[::-1])
    # in whole numbers: 0.9 times a sum would round
    return int(np.searchsorted(10 * filled_I, MOST * shown_I.sum()) + 1) if shown_I.any() else 0
