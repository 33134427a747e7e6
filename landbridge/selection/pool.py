"""The items that can be among the best of a blend: every validation pair with its strongest competitors.

A blend of members with weights w ≥ 0 ranks an item high only if some member does. So the ``depth`` best
unseen items of every member and the held-out item itself suffice to rank the pair under any weights, but for
the rare item that no member has among its ``depth`` best and that still passes the held-out one. An entry has
the standardised scores z of all members (:mod:`landbridge.models.mixture`), so that thousands of weight
vectors are tried without another score being computed. Sampled candidates are all kept. What no list of any
member holds (:meth:`~landbridge.models.base.Fitted.unlisted`) stands below all else, and a held-out item of
that kind below this, as in an evaluation.

Letters: T pairs, N entries of all pools, M members, W weight vectors, B users of a block, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from landbridge.core.progress import Progress, Silent
from landbridge.core.threads import all_threads
from landbridge.core.types import Float32, Int32, Int64
from landbridge.data.activity import ACTIVITY, activity_group
from landbridge.data.splitting.holdout import Holdout
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.protocols import Block, blocks, score_queries
from landbridge.models.base import Fitted
from landbridge.models.mixture import standardised
from landbridge.ranking.top_k import top_k

DEPTH = 50  # best items of a member; at least five times the cutoff of the metric
BLOCK_BYTES = 64_000_000  # of the scores held at once
NEVER = np.float32(-1e30)  # finite: a weight of 0 times it is 0, and sums over members stay in float32
POOL_BYTES = 1_000_000_000  # of all pools: beyond it pairs are sampled


class Cells:
    """Pairs by cell, which is an activity group of a domain: for classes with these columns."""

    domain_T: Int64
    group_T: Int64
    domains: tuple[str, ...]

    @property
    def cell_T(self) -> Int64:
        """Domain and activity group as one number."""
        return self.domain_T * len(ACTIVITY) + self.group_T

    @property
    def cells(self) -> int:
        """Domains times activity groups."""
        return len(self.domains) * len(ACTIVITY)


@dataclass(frozen=True, eq=False)
class Pool(Cells):
    """``offsets``: where the entries of each pair start, (T + 1,). ``own_TM``: scores of the held-out items.

    ``domain_T``, ``group_T``: index of a pair's domain and activity group; ``user_T``: its user.
    """

    offsets: Int64
    z_NM: Float32
    own_TM: Float32
    domain_T: Int64
    group_T: Int64
    user_T: Int64
    domains: tuple[str, ...]
    labels: tuple[str, ...]
    metric: str

    def __len__(self) -> int:
        return len(self.own_TM)

    def values(self, weight_WM: npt.ArrayLike, pair_P: Int64 | None = None) -> Float32:
        """The metric of some pairs (default: all) under every weight vector, (P, W)."""
        from landbridge.selection import pool_kernels as kernels

        pairs = np.arange(len(self)) if pair_P is None else pair_P
        weights = np.ascontiguousarray(weight_WM, np.float32)
        above_PW, ties_PW = kernels.count_above(self.offsets, self.z_NM, self.own_TM, pairs, weights)
        return self._values(above_PW, ties_PW, pairs)

    def greedy(self, pair_P: Int64, steps: int) -> Float32:
        """Weights by greedy selection with replacement (Caruana et al., ICML 2004), (M,).

        Each step adds the member that raises the mean metric of the pairs most; the best prefix is returned.
        """
        from landbridge.selection import pool_kernels as kernels

        of = self.offsets, self.z_NM, self.own_TM, pair_P
        sums = np.zeros(len(self.z_NM), np.float32), np.zeros(len(self), np.float32)
        count_M, best_M, best = np.zeros(len(self.labels), np.float32), None, -np.inf
        for _ in range(steps):
            above_PM, ties_PM = kernels.count_above_extended(*of, *sums)
            value_M = self._values(above_PM, ties_PM, pair_P).mean(axis=0, dtype=np.float64)
            member = int(value_M.argmax())
            kernels.add_member(len(pair_P), *of, member, *sums)
            count_M[member] += 1
            if value_M[member] > best:  # a shorter prefix wins ties
                best, best_M = value_M[member], count_M / count_M.sum()
        return np.asarray(best_M)

    def reached(self) -> Pool:
        """The pairs whose own item is among the best of some member, and of their entries those that lists
        hold: what a model of the choice between the best items can learn from."""
        from landbridge.selection import pool_kernels as kernels

        above_TM = kernels.count_above_each(self.offsets, self.z_NM, self.own_TM)
        kept_T = (above_TM.min(axis=1) < DEPTH) & (self.own_TM[:, 0] > NEVER)
        pair_N = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        kept_N = kept_T[pair_N] & (self.z_NM[:, 0] > NEVER)
        lengths_T = np.bincount(pair_N[kept_N], minlength=len(self))[kept_T]
        return replace(
            self,
            offsets=np.concatenate(([0], np.cumsum(lengths_T))).astype(np.int64),
            z_NM=self.z_NM[kept_N],
            own_TM=self.own_TM[kept_T],
            domain_T=self.domain_T[kept_T],
            group_T=self.group_T[kept_T],
            user_T=self.user_T[kept_T],
        )

    @cached_property
    def single_TM(self) -> Float32:
        """The metric of every pair under each member alone, (T, M)."""
        return self.values(np.eye(len(self.labels)))

    def _values(self, above_PW: Int32, ties_PW: Int32, pair_P: Int64) -> Float32:
        metric = Metric.parse(self.metric)
        value_PW = np.zeros(above_PW.shape, np.float32)
        # beyond the cutoff every metric is 0: few pairs are left to compute
        counts = above_PW < metric.cutoff if metric.cutoff else np.ones(above_PW.shape, np.bool_)
        candidates_PW = np.broadcast_to(np.diff(self.offsets)[pair_P, None], above_PW.shape)
        value_PW[counts] = metric.per_pair(above_PW[counts], ties_PW[counts], candidates_PW[counts])
        return value_PW


def build_pool(
    members: Mapping[str, Fitted],
    holdout: Holdout,
    metric: str = "ndcg@10",
    threads: int | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Pool:
    """Score every validation pair with every member and keep its strongest competitors."""
    depth = _depth(holdout, Metric.parse(metric).cutoff)
    holdout = holdout.sample(_most(holdout, len(members), depth), seed)
    total = sum(len(targets) for targets in holdout.targets.values())
    parts: list[_Part] = []
    done = 0
    with all_threads(threads), (progress or Silent()).task("blends", total) as task:
        for place, (domain, targets) in enumerate(holdout.targets.items()):
            n_items = holdout.history[domain].n_items
            size = max(1, BLOCK_BYTES // (4 * n_items * len(members)))
            for block in blocks(targets, n_items, size):
                parts.append(_part(members, holdout, domain, place, block, depth))
                done += len(block.targets_T)
                task.step(done, {})
    return _stacked(parts, holdout, tuple(members), metric)


@dataclass(frozen=True, eq=False)
class _Part:
    """The pools of one block of users."""

    lengths_T: Int64
    z_NM: Float32
    own_TM: Float32
    domain_T: Int64
    group_T: Int64
    user_T: Int64


def _part(
    members: Mapping[str, Fitted], holdout: Holdout, domain: str, place: int, block: Block, depth: int
) -> _Part:
    history, targets = holdout.history[domain], holdout.targets[domain]
    excluded = holdout.history.excluded(domain)
    z_MBI = np.stack(
        [
            standardised(score_queries(each, domain, block.users_B, history.n_items))
            for each in members.values()
        ]
    )
    # as of a blend of all members, which lists what any of them does
    unlisted_I = np.logical_and.reduce([each.unlisted(domain) for each in members.values()])
    z_MBI[:, :, unlisted_I] = NEVER
    seen, item_T = excluded.by_user.take(block.users_B), targets.item_idx[block.targets_T]
    if targets.candidates_TC is None:
        depth = min(depth, history.n_items)
        best_BC = np.concatenate([top_k(z_BI, depth, seen)[0] for z_BI in z_MBI], axis=1)
        item_TC = best_BC[block.row_T]
    else:
        item_TC = targets.candidates_TC[block.targets_T]
    item_TC = np.sort(item_TC, axis=1)
    kept_TC = (item_TC >= 0) & (item_TC != item_T[:, None])
    kept_TC[:, 1:] &= item_TC[:, 1:] != item_TC[:, :-1]
    if targets.candidates_TC is not None:
        users_TC = np.broadcast_to(targets.user_idx[block.targets_T, None], item_TC.shape)
        kept_TC[kept_TC] &= ~excluded.contains(users_TC[kept_TC], item_TC[kept_TC])
    pair_N, _ = np.nonzero(kept_TC)
    own_MT = z_MBI[:, block.row_T, item_T]
    own_MT[:, unlisted_I[item_T]] = 2 * NEVER
    user_T = targets.user_idx[block.targets_T].astype(np.int64)
    return _Part(
        kept_TC.sum(axis=1),
        np.ascontiguousarray(z_MBI[:, block.row_T[pair_N], item_TC[kept_TC]].T),
        np.ascontiguousarray(own_MT.T),
        np.full(len(item_T), place),
        activity_group(history.user_counts[user_T]),
        user_T,
    )


def _stacked(parts: Sequence[_Part], holdout: Holdout, labels: tuple[str, ...], metric: str) -> Pool:
    columns = {entry.name: [getattr(part, entry.name) for part in parts] for entry in fields(_Part)}
    whole = {name: np.concatenate(arrays) for name, arrays in columns.items()}
    offsets = np.concatenate(([0], np.cumsum(whole.pop("lengths_T")))).astype(np.int64)
    return Pool(offsets, **whole, domains=tuple(holdout.targets), labels=labels, metric=metric)


def _depth(holdout: Holdout, cutoff: int) -> int:
    """How many items of a member are kept: all for a metric of the whole ranking, such as AUC."""
    largest = max(events.n_items for events in holdout.history.domains.values())
    return min(max(DEPTH, 5 * cutoff), largest) if cutoff else largest


def _most(holdout: Holdout, members: int, depth: int) -> int:
    """How many pairs of a domain fit into ``POOL_BYTES``, with pools as long as they can be."""
    width = depth * members
    candidates = [t.candidates_TC.shape[1] for t in holdout.targets.values() if t.candidates_TC is not None]
    width = max(candidates, default=min(width, max(e.n_items for e in holdout.history.domains.values())))
    return max(1, POOL_BYTES // (4 * members * width * max(len(holdout.targets), 1)))
