"""``TowerModel``: a fitted tower network, which scores catalogues and folds in new users without torch.

The first layer on [e ; q] is the sum of a user part and an item part,

    W_1 [e_u ; q_i] + b_1 = (U e_u + b_1) + V q_i        W_1 = [U V]                                   (1)

so each part is computed once, and the kernel of :mod:`landbridge.models.towers.kernels` takes all pairs
through the other layers. With cross units (:mod:`landbridge.models.towers.network`, Eq. (4)) the towers of
the other domains run too, on the mean q̄_s of the user's items there. With P towers in all and the
factor c = 1 / (P - 1), the first layers are

    requested   (U e + b) + c H Σ_s [e ; q̄_s]  +  V q_i                                                (2)
    another     (W_s [e ; q̄_s] + b_s) + c H ([e ; 0] + Σ_{k≠s} [e ; q̄_k])  +  c H [0 ; q_i]            (3)

and in the layers after them all towers depend on the item. The fold-in of a new user starts from the mean
embedding and takes Adam steps on the objective of the fit over the user's events, at all other weights
fixed, with new negatives in each step (:mod:`landbridge.models.towers.fold_in`). B queries, S other
domains, T = 1 + S, N events, J items each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DivergenceError
from landbridge.core.threads import thread_limit
from landbridge.core.types import Arrays, Float32, Ragged, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.models.base import Queries, StoredState
from landbridge.models.common.cold_start import ColdStartMixin, mean_embedding
from landbridge.models.towers.fold_in import FoldIn, FoldInQueries, SideInputs, optimise_users
from landbridge.models.towers.network import TowerNetwork

PAIRS = 1 << 16  # pairs of a new user and an item that go through the towers at once: bounds memory


class ItemTable(NamedTuple):
    """The item part of the first layer and of the product, padded to whole tiles."""

    first_2HI: Float32
    product_GI: Float32


@dataclass(frozen=True, eq=False)
class TowerModel(ColdStartMixin):
    """A network and its ``weights`` by name (:mod:`landbridge.models.towers.network`).

    With cold policy "blend", users without any usable event have the mean embedding.
    """

    towers: TowerNetwork
    weights: Mapping[str, Float32]
    rule: FoldIn
    cold_policy: str
    popularity_weight: float
    kind: ClassVar[str] = "network"
    unexplained: ClassVar[str] = "a network turns the user's embedding into the score"

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The requested domain where domains share nothing, else all domains."""
        own_D = [name == domain or self.towers.sharing != "separate" for name in self.history.domain_names]
        return np.tile(np.array(own_D), (len(counts_BD), 1))

    def warm_scores(self, domain: str, queries: Queries) -> Float32:
        """Scores of all items from the domain's tower, (B, I)."""
        rows_BF = self.query_rows(domain, queries)
        scores_BI = self._through(domain, rows_BF, self._sides(domain, queries))
        if self.cold_policy == "zero":
            scores_BI[self._cold_B(domain, queries)] = 0
        return scores_BI

    def query_rows(self, domain: str, queries: Queries) -> Float32:
        """The embedding of every query, (B, F): looked up, folded in, or the mean one."""
        rows_BF = self.weights[self.towers.users(domain)][queries.user_idx]
        if queries.events is not None:
            given_B = np.flatnonzero(queries.has_events_B)
            rows_BF[given_B] = self.fold_in(domain, queries.take(given_B))
        rows_BF[self._cold_B(domain, queries)] = self._mean_F[domain]
        return rows_BF

    def fold_in(self, domain: str, queries: Queries) -> Float32:
        """Embeddings of new users from their events, (B, F)."""
        own_D = self.parties(domain, np.zeros((1, len(self.history.domain_names)), np.int64))[0]
        names = [name for name, own in zip(self.history.domain_names, own_D, strict=True) if own]
        rows_BF = np.tile(self._mean_F[domain], (len(queries), 1))
        pairs = sum(len(rows.columns) for rows in (queries.events or {}).values())
        # bounds the memory of a step, which keeps the activations of all its pairs
        parts = -(-pairs * (1 + self.rule.per_positive) // PAIRS)
        for chosen_B in np.array_split(np.arange(len(queries)), max(parts, 1)):
            some, folded_BF = queries.take(chosen_B), rows_BF[chosen_B]
            events = {
                name: FoldInQueries.of(
                    _events(some, name, self.history), self._sides(name, some), table.n_items
                )
                for name, table in self.history.domains.items()
                if name in names
            }
            with thread_limit(1), np.errstate(over="ignore", invalid="ignore"):  # reported below
                optimise_users(self.towers, self.weights, self.rule, self.history, events, folded_BF)
            rows_BF[chosen_B] = folded_BF
        if not np.isfinite(rows_BF).all():
            raise DivergenceError(
                f"The embeddings of new users diverge: the weights of this {self.method.name} model are too "
                "large; fit it again with a lower lr."
            )
        return rows_BF

    def state(self) -> tuple[Arrays, Record]:
        """The weights, the architecture, and the rule of the fold-in."""
        cold = {"cold_policy": self.cold_policy, "cold_weight": self.popularity_weight}
        return dict(self.weights), {"towers": asdict(self.towers), "rule": asdict(self.rule), **cold}

    @classmethod
    def from_state(cls, kept: StoredState) -> TowerModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        plan: Record = {k: tuple(v) if isinstance(v, list) else v for k, v in about["towers"].items()}
        rule = FoldIn(**about["rule"])
        cold = about["cold_policy"], about["cold_weight"]
        return cls(history, method, log, TowerNetwork(**plan), dict(arrays), rule, *cold)

    @cached_property
    def _mean_F(self) -> dict[str, Float32]:
        return {
            name: mean_embedding(self.weights[self.towers.users(name)], trained_U)
            for name, trained_U in self._trained_U.items()
        }

    @cached_property
    def _catalogue(self) -> dict[str, ItemTable]:
        """Every domain's items in the first layer, Eqs. (1) to (3), and their products."""
        return {name: self._items(name) for name in self.history.domain_names}

    def _items(self, domain: str) -> ItemTable:
        from landbridge.models.towers.kernels import TILE

        towers, item_IF = self.towers, self.weights[f"item.{domain}"]
        padding = (0, -len(item_IF) % TILE)
        # W [e ; y] = W_e e + W_y y: the item part of the first layer does not depend on the user
        own_HI, _, cross_HI = towers.layer(self.weights, domain, 0)
        parts = [own_HI[:, towers.width :] @ item_IF[:, : towers.width].T]
        if towers.others(domain):
            # cross-stitch units leave the first layer of the other towers without a part of the item
            parts.append(
                np.zeros_like(parts[0])
                if cross_HI is None
                else cross_HI[:, towers.width :] @ item_IF[:, : towers.width].T
            )
        product_GI = np.ascontiguousarray(item_IF[:, towers.width :].T)
        first_2HI = np.pad(np.stack([_filled(part, 0) for part in parts]), ((0, 0), (0, 0), padding))
        return ItemTable(first_2HI, np.pad(product_GI, ((0, 0), padding)))

    def _through(self, domain: str, rows_BF: Float32, sides: SideInputs) -> Float32:
        """Scores of all items for users with these embeddings, (B, I)."""
        from landbridge.models.towers.kernels import MULTIPLE, USERS, score_catalogue

        towers, out_H = self.towers, self.weights[self.towers.out(domain)]
        catalogue, (layer_L4, flat) = self._catalogue[domain], self._layers[domain]
        # the requested domain's tower always runs, the others where the user has events
        mask_BT = np.concatenate([np.ones((len(rows_BF), 1), bool), sides.has_BS], axis=1)
        # at least 1: a user without events elsewhere has no other tower to average
        share_B = (1 / np.maximum(mask_BT.sum(axis=1) - 1, 1)).astype(np.float32)
        first_BTH = self._first(domain, rows_BF, sides, share_B)
        product_BG = rows_BF[:, towers.width :] * out_H[len(out_H) - towers.product :]
        scores_BI = np.empty((len(rows_BF), self.history[domain].n_items), np.float32)
        score_catalogue(
            -(-len(rows_BF) // USERS),
            _filled(first_BTH, 2),
            catalogue.first_2HI,
            share_B,
            mask_BT,
            layer_L4,
            flat,
            max(*towers.tower, *towers.head, 1) + MULTIPLE,
            (_filled(out_H[: len(out_H) - towers.product], 0), product_BG, catalogue.product_GI),
            scores_BI,
        )
        return scores_BI

    def _first(self, domain: str, rows_BF: Float32, sides: SideInputs, share_B: Float32) -> Float32:
        """The user parts of Eqs. (2) and (3), (B, T, H)."""
        towers, weights = self.towers, self.weights
        e_BM = rows_BF[:, : towers.width]
        (weight_HI, bias_H, cross_HI), others = towers.layer(weights, domain, 0), towers.others(domain)
        own_BH = _times(e_BM, weight_HI[:, : towers.width]) + bias_H
        if not others:
            return own_BH[:, None]
        e_BSM = np.broadcast_to(e_BM[:, None], sides.mean_BSM.shape)
        x_BSI = np.concatenate([e_BSM, sides.mean_BSM], axis=2) * sides.has_BS[..., None]
        total_BI, own_BI = x_BSI.sum(axis=1), np.concatenate([e_BM, np.zeros_like(e_BM)], axis=1)
        first = [towers.layer(weights, name, 0) for name in others]
        through = [_times(x_BSI[:, s], layer.own) + layer.bias for s, layer in enumerate(first)]
        if cross_HI is None:
            return np.stack([own_BH, *through], axis=1)
        parts = [own_BH + _times(total_BI * share_B[:, None], cross_HI)]  # Eq. (2)
        for column, through_BH in enumerate(through):
            rest_BI = (own_BI + total_BI - x_BSI[:, column]) * share_B[:, None]
            parts.append(through_BH + _times(rest_BI, cross_HI))  # Eq. (3)
        return np.stack(parts, axis=1)

    @cached_property
    def _layers(self) -> dict[str, tuple[npt.NDArray[np.int64], Float32]]:
        """Domain -> the layers after the first, in the form of the kernel."""
        return {name: self._flat(name) for name in self.history.domain_names}

    def _flat(self, domain: str) -> tuple[npt.NDArray[np.int64], Float32]:
        towers, others = self.towers, self.towers.others(domain)
        layers, parts = [], [np.empty(0, np.float32)]
        for level in range(1, len(towers.layers(domain))):
            running = towers.running(level, (domain, *others))
            for name in running:
                weight_KH, bias_K, cross_KH = towers.layer(self.weights, name, level)
                parts += [_filled(weight_KH, 0, 1).ravel(), _filled(bias_K, 0)]
                if others and cross_KH is not None:
                    parts.append(_filled(cross_KH, 0, 1).ravel())
            n_above, n_below = _filled(weight_KH, 0, 1).shape
            layers.append((n_below, n_above, len(running), int(bool(others) and level in towers.crossed)))
        return np.array(layers, np.int64).reshape(-1, 4), np.concatenate(parts)

    def _sides(self, domain: str, queries: Queries) -> SideInputs:
        """The side inputs of the queries; empty unless the network has cross units."""
        others = self.towers.others(domain)
        size, width = len(queries), self.towers.width
        mean_BSM = np.zeros((size, len(others), width), np.float32)
        has_BS = np.zeros((size, len(others)), bool)
        for column, name in enumerate(others):
            rows = _own(queries, name, self.history)
            mean_BSM[:, column] = _means(rows, self.weights[f"item.{name}"][:, :width])
            has_BS[:, column] = rows.lengths > 0
        return SideInputs(mean_BSM, has_BS)


def _filled(array: Float32, *axes: int) -> Float32:
    """Pad with units that are always 0 to a multiple of what the kernel takes at once."""
    from landbridge.models.towers.kernels import MULTIPLE

    padding = [(0, -n % MULTIPLE if axis in axes else 0) for axis, n in enumerate(array.shape)]
    return np.pad(array, padding)


def _own(queries: Queries, domain: str, history: MultiDomain) -> Ragged:
    """Each query's history in a domain, sorted and without repeated items."""
    rows = queries.histories(history, domain)
    if not queries.events:
        return rows
    n_items = history[domain].n_items
    return Interactions.from_events(rows.entry_rows, rows.columns, len(queries), n_items).by_user


def _events(queries: Queries, domain: str, history: MultiDomain) -> Ragged:
    """The queries' own events in a domain, sorted and without repeated items."""
    rows = queries.own_events(domain)
    table = Interactions.from_events(
        rows.entry_rows, rows.columns, len(queries), history[domain].n_items, rows.weight
    )
    return table.by_user


def _means(rows: Ragged, item_IM: Float32) -> Float32:
    """The mean embedding of each query's items, (B, M); zero if there are none."""
    from scipy.sparse import csr_array

    ones = np.ones(len(rows.columns), np.float32)
    shape = (len(rows), len(item_IM))
    sum_BM = csr_array((ones, rows.columns, rows.offsets), shape) @ item_IM
    return np.asarray(sum_BM / np.maximum(rows.lengths, 1)[:, None].astype(np.float32))


def _times(rows_BI: Float32, weight_HI: Float32) -> Float32:
    """rows Wᵀ, not by BLAS: there the last bit of a row depends on the other rows of the batch."""
    return np.asarray(np.einsum("bi,hi->bh", rows_BI, weight_HI))
