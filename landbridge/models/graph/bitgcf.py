"""BiTGCF: a graph network per domain, and the layers of a user's rows mixed across domains.

Liu, Li, Li & Pan, "Cross domain recommendation via bi-directional transfer graph collaborative filtering
networks" (CIKM 2020). Rows x_0 of the users of each domain and of its items, the domain's adjacency A with
degrees D, and for the layers k = 1 … K

    s = D^(-½) A D^(-½) x_{k-1},   z_k = s + s ⊙ x_{k-1}                                              (1)

For a user u with n_u^s events in the domains s ∈ S_u, the rows of domain d become, with c = ½ in the paper,

    common    Σ_s n_u^s z_u^s / Σ_s n_u^s                                                              (2)
    own       λ z_u^d + (1 - λ) mean_{s ≠ d} z_u^s                                                     (3)
    x_u^d     c (2) + (1 - c) (3)                                                                      (4)

and a row of an item stays, x_i = z_i. A user of one domain has no transfer. Scores are dot products of

    [x_0 ; x_1 / ‖x_1‖ ; … ; x_K / ‖x_K‖]                                                              (5)

The paper has two domains; inferred for more: (2) weighs all of the user's domains, (3) takes the mean over
the others, both of which are the paper's with two. Inferred, too: a user without events in d has no z_u^d,
so (2) and (3) are over the other domains alone, and no x_0 there; the penalty is on x_0 (as in LightGCN).
A layer costs two sparse products of all rows, for any number of domains: (2) to (4) are one matrix.
Dropout leaves out entries of z_k. Shape letters: P users of a domain, over all domains; R rows, first the P,
then all items; T rows of a step; F factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from landbridge.core.settings import setting
from landbridge.core.types import Float32, Int32, Int64
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.sampling.domain_batches import Batch
from landbridge.models.common.graph import neighbours
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.cost import FLOAT32, Cost, Work
from landbridge.models.graph.method import GraphMethod, ScoredBatch, dots, drawn
from landbridge.models.pairwise.cost import graph_bytes
from landbridge.models.search_space import Real, Space, Whole
from landbridge.models.towers.cost import JointSteps, domain_rows, item_rows
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from torch import Tensor
    from torch import device as torch_device

    from landbridge.models.graph.products import SparseMatrix

LAYER_PASSES = 6  # element-wise, over the rows of a layer in one direction
TINY = 1e-24  # of a squared length: rows of zeros stay zeros


@dataclass(frozen=True)
class BiTGCF(GraphMethod):
    """Graph networks, one per domain, that exchange the rows of common users after every layer."""

    layers: int = setting(3, "Steps of propagation.", low=1, symbol="K")
    own_share: float = setting(
        0.8, "Share of the domain's own row in Eq. (3); 1: none of the others.", low=0, high=1, symbol="λ"
    )
    common_share: float = setting(
        0.5, "Share of the mix by numbers of events, Eq. (4); 0: Eq. (3) alone.", low=0, high=1, symbol="c"
    )
    dropout: float = setting(0.1, "Share of a layer's entries left out in training.", low=0, below=1)
    loss: PointwiseLoss = setting(PointwiseLoss(negatives_per_positive=4), "The loss of an event.")
    lr: float = 0.01
    batch_size: int = 8192
    init_std: float = 0.1
    name: ClassVar[str] = "bitgcf"
    paper: ClassVar[str] = "Liu et al., CIKM 2020"
    space: ClassVar[Space] = MappingProxyType(
        {**GraphMethod.space, "layers": Whole(1, 4), "own_share": Real(0.5, 1.0)}
    )

    def cost(self, counts: Counts) -> Cost:
        """Steps of all domains (:mod:`landbridge.models.towers.cost`), in each of which every row goes
        through all layers, forward and backward: a product with the edges, a mix of users, Eqs. (2) to (4),
        and some passes over the rows; and all of them change."""
        tables, domains, factors = counts.domains.values(), len(counts.domains), self.factors
        steps = JointSteps(counts, factors, self.batch_size, self.loss.negatives_per_positive)
        pairs = sum(table.users.filled for table in tables)
        rows, wide = pairs + item_rows(counts), factors * (1 + self.layers)
        layer = Work(
            step=(2 * counts.events + domains * pairs) * factors, pointwise=LAYER_PASSES * rows * factors
        )
        return Cost(
            once=Work(normal=factors * rows, sort=2 * counts.events) + layer * self.layers,
            epoch=replace(steps, factors=wide).pairs()
            + steps.rows(rows, rows)
            + layer * (2 * self.layers * steps.number),
            epochs=self.epochs,
            peak=steps.memory(rows, wide)
            + graph_bytes([*tables], factors)
            + FLOAT32 * (4 * self.layers * factors * rows + 2 * wide * domain_rows(counts)),
            model=FLOAT32 * wide * domain_rows(counts),
            torch=True,
        )

    def network(self, train: MultiDomain, seed: int, where: torch_device | str = "cpu") -> TransferNetwork:
        """Gaussian rows x_0 of the users and items of every domain."""
        weights = {}
        for name, events in train.domains.items():
            sizes = {"user": int((events.user_counts > 0).sum()), "item": events.n_items}
            for side, rows in sizes.items():
                label = f"{side}.{name}"
                weights[label] = drawn(label, rows, self, seed, where).requires_grad_()
        return TransferNetwork(self, Places(train), weights)


@dataclass(frozen=True, eq=False)
class Places:
    """Where the rows are: the users of every domain, one domain after the other, then the items."""

    data: MultiDomain

    @cached_property
    def users(self) -> dict[str, Int64]:
        """The users of every domain, in the order of their rows."""
        return {name: np.flatnonzero(events.user_counts) for name, events in self.data.domains.items()}

    @cached_property
    def first(self) -> dict[str, tuple[int, int]]:
        """The first row of a domain's users, and of its items."""
        sizes = [len(users) for users in self.users.values()]
        sizes += [events.n_items for events in self.data.domains.values()]
        user_D, item_D = np.split(np.cumsum([0, *sizes])[:-1], 2)
        return dict(zip(self.users, zip(user_D.tolist(), item_D.tolist(), strict=True), strict=True))

    def rows_of(self, domain: str, user_N: Int32) -> Int64:
        """The rows of users who have events in the domain."""
        return np.searchsorted(self.users[domain], user_N) + self.first[domain][0]

    @cached_property
    def adjacency(self) -> csr_array:
        """D^(-½) A D^(-½) of all domains, (R, R)."""
        from scipy.sparse import csr_array

        events, _ = self.data.joined()
        row_N = np.concatenate([self.rows_of(n, table.user_idx) for n, table in self.data.domains.items()])
        item_N = np.concatenate(
            [
                table.item_idx.astype(np.int64) + self.first[name][1] - self.n_pairs
                for name, table in self.data.domains.items()
            ]
        )
        edges = neighbours(Interactions.from_events(row_N, item_N, self.n_pairs, events.n_items))
        scale_R = (1 / np.sqrt(np.maximum(edges.lengths, 1))).astype(np.float32)
        value_N = scale_R[edges.entry_rows] * scale_R[edges.columns]
        return csr_array((value_N, edges.columns, edges.offsets), (len(edges), len(edges)))

    @property
    def n_pairs(self) -> int:
        """P."""
        return sum(len(users) for users in self.users.values())

    def mix(self, domain: str, own_share: float, common_share: float) -> csr_array:
        """Eqs. (2) to (4) for a domain's rows of all users, (U, P); empty for users without events."""
        from scipy.sparse import csr_array

        names = self.data.domain_names
        user_P = np.concatenate(list(self.users.values()))
        own_P = np.repeat([name == domain for name in names], [len(users) for users in self.users.values()])
        count_P = np.concatenate([self.data[name].user_counts[users] for name, users in self.users.items()])
        activity_UD = self.data.activity_UD
        total_P = activity_UD.sum(axis=1)[user_P]
        has_P = activity_UD[user_P, names.index(domain)] > 0
        others_P = (activity_UD > 0).sum(axis=1)[user_P] - has_P
        kept_P = np.where(has_P, np.where(others_P > 0, own_share, 1.0), 0.0)
        specific_P = np.where(own_P, kept_P, (1 - kept_P) / np.maximum(others_P, 1))  # Eq. (3)
        mixed_P = common_share * count_P / total_P + (1 - common_share) * specific_P  # Eqs. (2), (4)
        entries = mixed_P.astype(np.float32), (user_P, np.arange(len(user_P)))
        return csr_array(entries, (self.data.n_users, len(user_P)))

    def transfer(self, own_share: float, common_share: float) -> csr_array:
        """Eqs. (2) to (4) for all rows, those of items unchanged, (R, R)."""
        from scipy.sparse import block_diag, csr_array, eye_array, vstack

        mixes = [self.mix(name, own_share, common_share)[users] for name, users in self.users.items()]
        n_items = sum(events.n_items for events in self.data.domains.values())
        whole = block_diag([vstack(mixes), eye_array(n_items, dtype=np.float32)], format="csr")
        whole.eliminate_zeros()
        return csr_array(whole)


@dataclass(frozen=True, eq=False)
class TransferNetwork:
    """The network. ``weights``: x_0 by domain, as ``user.books`` (the domain's users) and ``item.books``."""

    method: BiTGCF
    places: Places
    weights: Mapping[str, Tensor]

    @property
    def own(self) -> int:
        """The length of x_0."""
        return self.method.factors

    def scores(self, step: Mapping[str, Batch]) -> dict[str, ScoredBatch]:
        """Dot products of Eq. (5) for a step, layer by layer; the penalty is on x_0."""
        start_RF = self._start()
        rows = [self._rows(name, batch) for name, batch in step.items()]
        user_N, item_M = (
            torch.from_numpy(np.concatenate(side)).to(start_RF.device) for side in zip(*rows, strict=True)
        )
        shape = len(user_N), -1
        user_NF, item_MF = start_RF.index_select(0, user_N), start_RF.index_select(0, item_M)
        score_NJ = dots(user_NF, item_MF.view(*shape, self.own))
        for _, layer_RF in self.propagated(start_RF, self.method.dropout):
            # lengths once for a row, not for every event that it occurs in
            scale_R = layer_RF.square().sum(dim=1).clamp(min=TINY).rsqrt()
            product_NJ = dots(
                layer_RF.index_select(0, user_N), layer_RF.index_select(0, item_M).view(*shape, self.own)
            )
            score_NJ = score_NJ + product_NJ * scale_R[user_N][:, None] * scale_R[item_M].view(shape)
        sizes = [len(batch.user_N) for batch in step.values()]
        parts = zip(*(each.split(sizes) for each in (score_NJ, user_NF, item_MF.view(shape))), strict=True)
        return {
            name: ScoredBatch(own_NJ, (own_NF, own_NG))
            for name, (own_NJ, own_NF, own_NG) in zip(step, parts, strict=True)
        }

    def propagated(self, start_RF: Tensor, dropout: float = 0.0) -> list[tuple[Tensor, Tensor]]:
        """z and x of every layer, (R, F) each."""
        adjacency, transfer = self._matrices
        layers, mixed_RF = [], start_RF
        for _ in range(self.method.layers):
            side_RF = adjacency @ mixed_RF
            layer_RF = torch.addcmul(side_RF, side_RF, mixed_RF)  # Eq. (1)
            if dropout:
                layer_RF = torch.nn.functional.dropout(layer_RF, dropout)
            mixed_RF = transfer @ layer_RF  # Eqs. (2) to (4)
            layers.append((layer_RF, mixed_RF))
        return layers

    def embeddings(self) -> tuple[dict[str, Float32], dict[str, Float32]]:
        """Eq. (5) for every user and item."""
        places, method = self.places, self.method
        with torch.no_grad():
            start = self._start()
            layers = [(z_RF.cpu().numpy(), x_RF.cpu().numpy()) for z_RF, x_RF in self.propagated(start)]
        start_RF = start.cpu().numpy()
        users, items = {}, {}
        for name, (first_user, first_item) in places.first.items():
            # of all users: those without events in the domain have the mix of their other domains
            mix = places.mix(name, method.own_share, method.common_share)
            own_UF = np.zeros((places.data.n_users, method.factors), np.float32)
            known = places.users[name]
            own_UF[known] = start_RF[first_user : first_user + len(known)]
            mixed = [_unit_rows(mix @ layer_RF[: places.n_pairs]) for layer_RF, _ in layers]
            users[name] = np.concatenate([own_UF, *mixed], axis=1)
            here = slice(first_item, first_item + places.data[name].n_items)
            own = [_unit_rows(mixed_RF[here]) for _, mixed_RF in layers]
            items[name] = np.concatenate([start_RF[here], *own], axis=1)
        return users, items

    def _rows(self, domain: str, batch: Batch) -> tuple[Int64, Int64]:
        """The rows of the users, (N,), and of the items, (NJ,), of a batch."""
        first_item = self.places.first[domain][1]
        item_N = batch.item_NJ.reshape(-1).astype(np.int64)
        return self.places.rows_of(domain, batch.user_N), item_N + first_item

    def _start(self) -> Tensor:
        """x_0 of all rows, (R, F)."""
        names = self.places.data.domain_names
        return torch.cat([self.weights[f"{side}.{name}"] for side in ("user", "item") for name in names])

    @cached_property
    def _matrices(self) -> tuple[SparseMatrix, SparseMatrix]:
        """The adjacency and the transfer, on the device of the weights."""
        from landbridge.models.graph.products import SparseMatrix

        where = next(iter(self.weights.values())).device
        transfer = self.places.transfer(self.method.own_share, self.method.common_share)
        return SparseMatrix(self.places.adjacency, where), SparseMatrix(transfer, where)


def _unit_rows(rows_RF: Float32) -> Float32:
    """Rows of length 1, Eq. (5); zero stays zero."""
    norm_R1 = np.linalg.norm(rows_RF, axis=1, keepdims=True)
    return np.asarray(rows_RF / np.maximum(norm_R1, TINY**0.5), np.float32)
