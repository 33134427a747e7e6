"""How held-out pairs are ranked: users in blocks, scored once, against all items or the candidates.

All items are those of the pair's domain or, across domains, of all of them side by side. An item that no list
of the model holds (:meth:`~landbridge.models.base.Fitted.unlisted`) stands below all others, and is missed.

Shape letters: B users of a block, T targets, I items, C candidates, P the pool of a target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.progress import Progress, Silent
from landbridge.core.threads import all_threads
from landbridge.core.types import Bool, Float32, Int32, Int64, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.ranking.top_k import count_above, count_above_candidates, count_competitors, top_k

BLOCK_BYTES = 128_000_000  # float32 scores of a block of users
ALL = "all"  # the name of the one competition over all domains


class Named(Protocol):
    """Something with a name: the method behind a fitted model."""

    @property
    def name(self) -> str:
        """The method's name."""


class Scorer(Protocol):
    """What can be evaluated: every fitted model."""

    @property
    def history(self) -> MultiDomain:
        """The events it was fitted on."""

    @property
    def method(self) -> Named:
        """What made it."""

    def score(self, domain: str, queries: Queries) -> Float32:
        """Scores of every item for every query, (B, I)."""

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """The same on one scale for all domains, (B, I)."""

    def unlisted(self, domain: str) -> Bool:
        """Items that no list holds, (I,)."""


class RankCounts(NamedTuple):
    """Where the targets of a domain stand, int64 (T,) each, in the order of the targets."""

    above: Int64
    ties: Int64
    candidates: Int64  # unseen items ranked against


class RankingTask(NamedTuple):
    """Targets, and the items they are ranked among: those of one domain, or of all side by side.

    ``excluded``: the pairs that no list holds.
    """

    history: Interactions
    excluded: Interactions
    targets: Targets
    slices: Mapping[str, slice]  # domain -> its items among the columns of scores


class Block(NamedTuple):
    """Some users, and their targets: which ones, and to which of these users each belongs."""

    users_B: Int32
    targets_T: Int64
    row_T: Int64


def rank_targets(
    scorer: Scorer,
    holdout: Holdout,
    *,
    threads: int | None = None,
    block: int | None = None,
    progress: Progress | None = None,
) -> dict[str, RankCounts]:
    """Rank every held-out pair. ``block``: users scored at a time (default: 128 MB of scores)."""
    within = ranking_tasks(holdout)
    n_users = sum(len(np.unique(each.targets.user_idx)) for each in within.values())
    result, done = {}, 0
    with all_threads(threads), (progress or Silent()).task("evaluate", n_users) as task:
        for name, each in within.items():
            standing = RankCounts(*np.zeros((3, len(each.targets)), np.int64))
            for part in blocks(each.targets, each.history.n_items, block):
                ranked = _rank(scorer, each, part)
                for whole, some in zip(standing, ranked, strict=True):
                    whole[part.targets_T] = some
                done += len(part.users_B)
                task.step(done, {})
            result[name] = standing
    return _by_domain(result[ALL], holdout.targets) if holdout.across else result


def ranking_tasks(holdout: Holdout) -> dict[str, RankingTask]:
    """Domain -> what is ranked within it; of a holdout across domains ``all`` -> everything."""
    history, parts = holdout.history, holdout.targets
    if not holdout.across:
        return {
            name: RankingTask(
                history[name], history.excluded(name), targets, {name: slice(0, history[name].n_items)}
            )
            for name, targets in parts.items()
        }
    joined, slices = holdout.joined
    users = [targets.user_idx for targets in parts.values()]
    items = [targets.item_idx + np.int32(slices[name].start) for name, targets in parts.items()]
    targets = Targets(np.concatenate(users), np.concatenate(items))
    return {ALL: RankingTask(joined, holdout.excluded, targets, slices)}


def _by_domain(standing: RankCounts, parts: Mapping[str, Targets]) -> dict[str, RankCounts]:
    """The standing of all targets, cut into the domains they were taken from."""
    starts = np.cumsum([len(targets) for targets in parts.values()])[:-1]
    columns = zip(*(np.split(column, starts) for column in standing), strict=True)
    return {name: RankCounts(*cut) for name, cut in zip(parts, columns, strict=True)}


def blocks(targets: Targets, n_items: int, size: int | None = None) -> Iterator[Block]:
    """The users who have targets, ``size`` at a time, each exactly once."""
    if size is not None and size < 1:
        raise SettingsError(f"block must be 1 user or more, not {size}.")
    size = size or max(1, BLOCK_BYTES // (4 * max(n_items, 1)))
    users, place_T = np.unique(targets.user_idx, return_inverse=True)
    # sorted once, so that the targets of a block of users are one slice
    order_T = np.argsort(place_T, kind="stable")
    sorted_T = place_T[order_T]
    for start in range(0, len(users), size):
        low, high = np.searchsorted(sorted_T, (start, start + size))
        chosen_T = order_T[low:high]
        yield Block(users[start : start + size], chosen_T, place_T[chosen_T] - start)


def score_queries(
    scorer: Scorer, domain: str, users_B: Int32, n_items: int, *, across: bool = False
) -> Float32:
    """The scores of some users, (B, I), their shape checked; ``across``: on a scale for all domains."""
    queries = Queries.of_users(users_B)
    scores_BI = scorer.list_scores(domain, queries) if across else scorer.score(domain, queries)
    if scores_BI.shape != (len(users_B), n_items):
        raise DataError(
            f"The model gives scores of shape {scores_BI.shape} in domain {domain!r}, but "
            f"{(len(users_B), n_items)} is needed: fit and evaluate it on the same data."
        )
    return scores_BI


def compare_on_same_targets(scorer: Scorer, slices: Mapping[str, slice], users_B: Int32) -> Float32:
    """The scores of some users for the items of one domain or of several, computed once each, (B, I)."""
    if len(slices) == 1:
        ((domain, place),) = slices.items()
        return score_queries(scorer, domain, users_B, place.stop)
    scores_BI = np.empty((len(users_B), max(place.stop for place in slices.values())), np.float32)
    for domain, place in slices.items():
        scores_BI[:, place] = score_queries(scorer, domain, users_B, place.stop - place.start, across=True)
    return scores_BI


def _rank(scorer: Scorer, within: RankingTask, part: Block) -> tuple[Int64, Int64, Int64]:
    _, excluded, targets, slices = within
    unlisted_I = _unlisted(scorer, slices)
    scores_BI = _without(compare_on_same_targets(scorer, slices, part.users_B), unlisted_I)
    seen = excluded.by_user.take(part.users_B)
    item_T = targets.item_idx[part.targets_T]
    if targets.candidates_TC is None:
        above_T, ties_T = count_above(scores_BI, item_T, seen, part.row_T)
        others_T = count_other_items(excluded, part, item_T, seen)
    else:
        candidates_TC = targets.candidates_TC[part.targets_T]
        above_T, ties_T = count_above_candidates(scores_BI, item_T, candidates_TC, seen, part.row_T)
        others_T = count_competitors(item_T, candidates_TC, seen, part.row_T)
    missed_T = unlisted_I[item_T]  # the last of all, not among equals
    return np.where(missed_T, others_T, above_T), np.where(missed_T, 0, ties_T), others_T


def _unlisted(scorer: Scorer, slices: Mapping[str, slice]) -> Bool:
    """The items that no list holds, of one domain or of several side by side, (I,)."""
    return np.concatenate([scorer.unlisted(domain) for domain in slices])


def _without(scores_BI: Float32, unlisted_I: Bool) -> Float32:
    # no change in place: scores may be kept for another metric
    return np.where(unlisted_I, np.float32(-np.inf), scores_BI) if unlisted_I.any() else scores_BI


def count_other_items(excluded: Interactions, part: Block, item_T: Int32, seen: Ragged) -> Int64:
    """How many unseen items of the catalogue each target is ranked against, (T,)."""
    # a published split may hold out an item that is also in the history
    others_T = seen.lengths[part.row_T] - excluded.contains(part.users_B[part.row_T], item_T)
    return np.asarray(excluded.n_items - 1 - others_T, np.int64)


def recommended_items(
    scorer: Scorer, within: RankingTask, k: int, block: int | None = None
) -> Iterator[Int32]:
    """The lists shown in a competition, a block at a time, (B or T, K), -1 where too short.

    Whole catalogue: one list per user who has targets. Candidates: one per pair, from its own pool.
    """
    _, excluded, targets, slices = within
    unlisted_I = _unlisted(scorer, slices)
    pool = 0 if targets.candidates_TC is None else targets.candidates_TC.shape[1] + 1
    for part in blocks(
        targets, max(excluded.n_items, 10 * pool), block
    ):  # a pool's cell takes ten times a score's
        scores_BI = _without(compare_on_same_targets(scorer, slices, part.users_B), unlisted_I)
        if targets.candidates_TC is None:
            items_BK = top_k(scores_BI, k, excluded.by_user.take(part.users_B))[0]
        else:
            items_BK = _best_of_pools(scores_BI, k, _pools(targets, part), excluded, part)
        # place -1 reads the last item, and stays -1
        yield np.where(unlisted_I[items_BK], np.int32(-1), items_BK)


def _pools(targets: Targets, part: Block) -> Int32:
    """Each target with its candidates, by item and not by place: ties must not favour the target."""
    assert targets.candidates_TC is not None
    chosen = part.targets_T
    return np.sort(np.column_stack((targets.item_idx[chosen], targets.candidates_TC[chosen])), axis=1)


def _best_of_pools(scores_BI: Float32, k: int, pool_TP: Int32, excluded: Interactions, part: Block) -> Int32:
    users_TP = np.broadcast_to(part.users_B[part.row_T, None], pool_TP.shape)
    barred_TP = (pool_TP < 0) | excluded.contains(users_TP, pool_TP)
    # pools are sorted: an item that was drawn twice is listed once
    barred_TP[:, 1:] |= pool_TP[:, 1:] == pool_TP[:, :-1]
    offsets = np.append(0, np.cumsum(barred_TP.sum(axis=1))).astype(np.int64)
    barred = Ragged(offsets, np.nonzero(barred_TP)[1].astype(np.int32), None)
    place_TK, _ = top_k(scores_BI[part.row_T[:, None], pool_TP], k, barred)
    items_TK: Int32 = np.where(place_TK < 0, -1, np.take_along_axis(pool_TP, np.maximum(place_TK, 0), axis=1))
    return items_TK


def check_same_data(scorer: Scorer, holdout: Holdout) -> None:
    """Raises DataError if ids do not mean the same things, or if the model was fitted on what is held out."""
    for domain in holdout.history.domain_names if holdout.across else holdout.targets:
        if not _same_ids(scorer.history, holdout.history, domain):
            raise DataError(f"The model and the holdout number the users or items of {domain!r} differently.")
    for domain, targets in holdout.targets.items():
        pairs = targets.user_idx, targets.item_idx
        leaked_T = scorer.history[domain].contains(*pairs) & ~holdout.history[domain].contains(*pairs)
        if leaked_T.any():
            raise DataError(
                f"The model was fitted on {int(leaked_T.sum())} of the pairs held out in {domain!r}; "
                "fit it on holdout.history."
            )


def _same_ids(a: MultiDomain, b: MultiDomain, domain: str) -> bool:
    if a is b:
        return True
    pairs: Mapping[str, tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]] = {
        "users": (a.users.ids, b.users.ids),
        "items": (a.items[a.named(domain)].ids, b.items[domain].ids),
    }
    return all(np.array_equal(one, other) for one, other in pairs.values())
