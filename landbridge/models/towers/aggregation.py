"""Users as their own embeddings beside the pooled items of their history, of one domain and of all.

Source: UniCDR (Cao et al., WSDM 2023). With q_i the embedding of an item, e_u^d and c_u those of a user in
domain d and for all domains, and H_u^d the user's items in d, H_u those of all domains,

    a_u^d = ρ e_u^d + (1 - ρ) W_d m_d(e_u^d, H_u^d)                      of the domain                 (1)
    g_u = ρ c_u + (1 - ρ) W m(c_u, H_u)                                  of all domains                (2)
    m(e, H) = Σ_{i ∈ H} w_i q_i                                                                        (3)
    w_i = 1 / |H|,   or   softmax_{i ∈ H} e · tanh(K q_i + k)            "mean", "attention"           (4)
    r_ui = (a_u^d + g_u) · q_i                                                                         (5)

where K and k belong to the domain, or to all, as W does; an empty history is pooled to 0. a_u^d is 0 for
users without events in d: nothing taught them. A new user has the mean e and c of the users of the fit, and
items of their own: no step is taken.

Weights by name: ``own.books.user`` (its users alone), ``shared.user``, ``item.books``, ``own.books.pool``,
``shared.pool``, and for attention ``own.books.key.weight``, ``own.books.key.bias``. Scoring needs no torch.

Letters: B queries, U users, P users of a domain, I items, E entries of histories, F factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Arrays, Float32, Ragged, Record
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import StoredState
from landbridge.models.common.dot_product import NONE, DotProductModel, embeddings_from
from landbridge.models.pairwise.fitted import joined_events

SHARED = "shared"  # the part of all domains
ENTRIES = 1 << 16  # entries of histories whose attention is computed at once: bounds memory


def own(domain: str) -> str:
    """The name of a domain's part."""
    return f"own.{domain}"


@dataclass(frozen=True)
class Aggregator:
    """How histories are pooled. ``pooling``: "mean" or "attention". ``own_share``: ρ."""

    pooling: str
    own_share: float

    def aggregated(
        self, weights: Mapping[str, Float32], part: str, user_BF: Float32, rows: Ragged, item_IF: Float32
    ) -> Float32:
        """Eq. (1) or (2) of users with these own embeddings and rows of items, (B, F)."""
        from scipy.sparse import csr_array

        share_E = self._shares(weights, part, user_BF, rows, item_IF)
        pooled_BF = csr_array((share_E, rows.columns, rows.offsets), (len(rows), len(item_IF))) @ item_IF
        return np.asarray(
            np.float32(self.own_share) * user_BF
            + np.float32(1 - self.own_share) * (pooled_BF @ weights[f"{part}.pool"].T)
        )

    def _shares(
        self, weights: Mapping[str, Float32], part: str, user_BF: Float32, rows: Ragged, item_IF: Float32
    ) -> Float32:
        """Eq. (4) of every entry, (E,)."""
        row_E = rows.entry_rows
        if self.pooling == "mean":
            return (1 / np.maximum(rows.lengths, 1)).astype(np.float32)[row_E]
        key_IF = np.tanh(item_IF @ weights[f"{part}.key.weight"].T + weights[f"{part}.key.bias"])
        score_E = np.empty(len(row_E), np.float32)
        for start in range(0, len(row_E), ENTRIES):
            here = slice(start, start + ENTRIES)
            score_E[here] = (user_BF[row_E[here]] * key_IF[rows.columns[here]]).sum(axis=1)
        filled_B = rows.lengths > 0
        start_B, count_B = rows.offsets[:-1][filled_B], rows.lengths[filled_B]
        if not len(start_B):
            return score_E
        power_E = np.exp(score_E - np.repeat(np.maximum.reduceat(score_E, start_B), count_B))
        return np.asarray(power_E / np.repeat(np.add.reduceat(power_E, start_B), count_B))


def all_user_vectors(
    aggregator: Aggregator, weights: Mapping[str, Float32], history: MultiDomain
) -> dict[str, Float32]:
    """a + g of all users of the fit by domain, (U, F)."""
    table, slices = history.joined()
    items = np.concatenate([weights[f"item.{name}"] for name in slices])
    shared_UF = aggregator.aggregated(weights, SHARED, weights[f"{SHARED}.user"], table.by_user, items)
    users = {}
    for name, events in history.domains.items():
        user_P = np.flatnonzero(events.user_counts)
        rows, item_IF = events.by_user.take(user_P), weights[f"item.{name}"]
        users[name] = shared_UF.copy()
        users[name][user_P] += aggregator.aggregated(
            weights, own(name), weights[f"{own(name)}.user"], rows, item_IF
        )
    return users


def kept_weights(weights: Mapping[str, Float32], history: MultiDomain) -> dict[str, Float32]:
    """What the fold-in needs: the aggregators, and in place of the users' own embeddings their means (F,)."""
    kept = {name: array for name, array in weights.items() if ".pool" in name or ".key." in name}
    for name in history.domain_names:
        user_PF = weights[f"{own(name)}.user"]
        kept[f"{own(name)}.user"] = (user_PF.sum(axis=0) / np.float32(max(len(user_PF), 1))).astype(
            np.float32
        )
    known_U = history.activity_UD.any(axis=1)
    total_F = weights[f"{SHARED}.user"][known_U].sum(axis=0)
    kept[f"{SHARED}.user"] = (total_F / np.float32(max(known_U.sum(), 1))).astype(np.float32)
    return kept


@dataclass(frozen=True, eq=False)
class AggregatedModel(DotProductModel):
    """``user_UF`` holds a + g of Eqs. (1) and (2). ``weights``: those of :func:`kept_weights`."""

    aggregator: Aggregator
    weights: Mapping[str, Float32]
    kind: ClassVar[str] = "aggregated"
    unexplained: ClassVar[str] = "the user's own embedding is no sum over events"

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """All domains."""
        return np.ones(counts_BD.shape, bool)

    def fold_in(
        self, domain: str, events: Mapping[str, Ragged], size: int, disliked: Mapping[str, Ragged] = NONE
    ) -> Float32:
        """Eqs. (1) and (2) of ``size`` users given by rows of events per domain, (B, F)."""
        n_items, item_XF = self.history[domain].n_items, self._items
        own_rows = joined_events(events, {domain: slice(0, n_items)}, size, n_items).by_user
        rows = joined_events(events, self._slices, size, len(item_XF)).by_user
        user_BF = self._aggregated(SHARED, rows, item_XF)
        own_BF = self._aggregated(own(domain), own_rows, self.item_IF[domain])
        return user_BF + own_BF * (own_rows.lengths > 0)[:, None]

    def _aggregated(self, part: str, rows: Ragged, item_IF: Float32) -> Float32:
        user_BF = np.tile(self.weights[f"{part}.user"], (len(rows), 1))
        return self.aggregator.aggregated(self.weights, part, user_BF, rows, item_IF)

    @cached_property
    def _items(self) -> Float32:
        """The items of all domains, one domain after the other."""
        return np.concatenate([self.item_IF[name] for name in self._slices])

    @cached_property
    def _slices(self) -> dict[str, slice]:
        """Where the items of each domain are among them."""
        sizes = [events.n_items for events in self.history.domains.values()]
        stops = np.cumsum(sizes)
        return {
            name: slice(int(stop - size), int(stop))
            for name, size, stop in zip(self.history.domain_names, sizes, stops, strict=True)
        }

    def state(self) -> tuple[Arrays, Record]:
        """The embeddings, the weights and the way of pooling."""
        arrays, about = self.rows_state()
        arrays |= {f"network/{name}": array for name, array in self.weights.items()}
        return arrays, {**about, "aggregator": asdict(self.aggregator)}

    @classmethod
    def from_state(cls, kept: StoredState) -> AggregatedModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        weights = {
            name.removeprefix("network/"): array
            for name, array in arrays.items()
            if name.startswith("network/")
        }
        rows = embeddings_from(history, arrays, about)
        return cls(history, method, log, *rows, Aggregator(**about["aggregator"]), weights)
