"""HeroGRAPH: embeddings of each domain beside embeddings that one graph over all domains makes.

Cui et al., "HeroGRAPH: a heterogeneous graph framework for multi-target cross-domain recommendation"
(ORSUM at RecSys 2020). The union graph joins every user with their items of all domains. Its nodes have
rows e, and a node n the neighbours N_n, to which n itself belongs. With the query h_0 = e_n, each round of
the recurrent attention is

    α_j = softmax_{j ∈ N_n}(h_{t-1} · e_j / √F)                                                        (1)
    h_t = Σ_j α_j e_j                                                                                  (2)

and g_n = h_T. With the embeddings p_u^d, q_i of the domain, a score is

    s_ui = p_u^d · q_i + g_u · g_i                                                                     (3)

A step takes a batch of every domain and minimises the sum of their losses, BPR by default. In training N_n
is n and S of its neighbours, at even distances in its list from a random start, so that none comes twice;
all, where there are no more. The events of the step are no edges: with them a user would be recognised by
the very item that is to be found. Any number of domains, as in the paper.

Known from the authors' notes: the two kinds of embeddings, the graph over all domains, sampled neighbours,
recurrent attention, the step. Inferred: the form of (1) without further weights, a node among its own
neighbours (one without events keeps its row), equal lengths of both parts, that a step's own events are left
out, and that scoring takes all neighbours, so that lists do not depend on a draw. A user without events in d
has no p_u^d.
Shape letters: R nodes, users before items; M nodes of a step; S sampled neighbours, T = S + 1; F factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from landbridge.core.settings import setting
from landbridge.core.types import Float32, Ragged
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.domain_batches import Batch
from landbridge.models.common.graph import neighbours
from landbridge.models.common.pointwise_losses import PointwiseLoss
from landbridge.models.cost import FLOAT32, INT32, Cost, Work
from landbridge.models.graph.method import GraphMethod, ScoredBatch, dots, drawn
from landbridge.models.search_space import Choice, Space
from landbridge.models.towers.cost import JointSteps, domain_rows, item_rows
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as torch_device

PASSES = 4  # element-wise, over the rows of neighbours, forward and backward
SHARED = "graph"  # the weights of the nodes


@dataclass(frozen=True)
class HeroGRAPH(GraphMethod):
    """Matrix factorisation per domain beside attention in the graph of all domains; ``factors`` of each."""

    neighbours: int = setting(10, "Neighbours drawn per node and step.", low=1, symbol="S")
    rounds: int = setting(2, "Rounds of attention, each with the output before as query.", low=1, symbol="T")
    loss: PointwiseLoss = setting(PointwiseLoss("bpr"), "The loss of an event.")
    reg: float = 0.03
    init_std: float = 0.1
    name: ClassVar[str] = "herograph"
    paper: ClassVar[str] = "Cui et al., ORSUM 2020"
    space: ClassVar[Space] = MappingProxyType({**GraphMethod.space, "rounds": Choice((1, 2, 3))})

    def cost(self, counts: Counts) -> Cost:
        """Steps of all domains (:mod:`landbridge.models.towers.cost`), in each of which the different nodes
        attend to their neighbours, forward and backward, Eqs. (1) and (2)."""
        steps = JointSteps(counts, self.factors, self.batch_size, self.loss.negatives_per_positive)
        factors, nodes = self.factors, counts.joined.n_users + item_rows(counts)
        mean = 2 * counts.events / max(nodes, 1.0)
        size = 1 + min(float(self.neighbours), mean)
        touched = steps.touched_in_all()
        attended = touched * size * factors * (1 + self.rounds)
        batch = min(float(self.batch_size), counts.events) * (2 + self.loss.negatives_per_positive)
        largest = min(batch, nodes) * size * factors * (1 + self.rounds)  # where all nodes of a step differ
        rows = domain_rows(counts) + nodes
        own = sum(steps.touched(table) for table in counts.domains.values())
        spread = min(touched * size, nodes)
        every = (2 * counts.events + nodes) * factors * (1 + self.rounds)
        return Cost(
            once=Work(normal=factors * rows, sort=2 * counts.events, vector=every),
            epoch=replace(steps, factors=2 * factors).pairs()
            + steps.rows(rows, own + spread)
            + Work(pointwise=PASSES * attended * steps.number),
            epochs=self.epochs,
            peak=steps.memory(rows, 2 * factors)
            + FLOAT32 * (4 * largest + 2 * factors * domain_rows(counts))
            + 2 * INT32 * 2 * counts.events,
            model=2 * FLOAT32 * factors * domain_rows(counts),
            torch=True,
        )

    def network(self, train: MultiDomain, seed: int, where: torch_device | str = "cpu") -> HeroNetwork:
        """Gaussian rows of the users and items of every domain, and of the nodes."""
        weights, nodes = {}, [drawn(f"{SHARED}.user", train.n_users, self, seed, where)]
        for name, events in train.domains.items():
            for side, rows in {"user": train.n_users, "item": events.n_items}.items():
                weights[f"{side}.{name}"] = drawn(f"{side}.{name}", rows, self, seed, where).requires_grad_()
            nodes.append(drawn(f"{SHARED}.item.{name}", events.n_items, self, seed, where))
        weights[SHARED] = torch.cat(nodes).requires_grad_()
        return HeroNetwork(self, train, neighbours(train.joined()[0]), weights)


@dataclass(frozen=True, eq=False)
class HeroNetwork:
    """The network. ``edges``: the union graph. ``weights``: ``user.books``, ``item.books``, …, ``graph``."""

    method: HeroGRAPH
    data: MultiDomain
    edges: Ragged
    weights: Mapping[str, Tensor]

    @property
    def own(self) -> int:
        """The length of p and q."""
        return self.method.factors

    def scores(self, step: Mapping[str, Batch]) -> dict[str, ScoredBatch]:
        """Eq. (3) for a step."""
        where = self.weights[SHARED].device
        index = {
            name: [torch.from_numpy(array).long().to(where) for array in batch[:2]]
            for name, batch in step.items()
        }
        nodes = [
            part.reshape(-1) + first
            for name, (user_N, item_NJ) in index.items()
            for part, first in ((user_N, 0), (item_NJ, self._first_item[name]))
        ]
        # each node once: users and popular items occur in many events of a step
        node_M, place_N = torch.cat(nodes).unique(return_inverse=True)
        shared_MF = self.attend(node_M, self._edges(nodes[::2], nodes[1::2]))
        places = iter(place_N.split([len(part) for part in nodes]))
        return {
            name: self._joined(name, own, shared_MF[next(places)], shared_MF[next(places)])
            for name, own in index.items()
        }

    def attend(self, node_M: Tensor, without_E: Tensor) -> Tensor:
        """g of some nodes, (M, F), from sampled neighbours; ``without_E``: edges that do not count."""
        other_MS, has_MS = self._sampled(node_M)
        has_MS &= ~torch.isin(node_M[:, None] * len(self.edges) + other_MS, without_E)
        row_MTF = _rows(self.weights[SHARED], torch.cat([node_M[:, None], other_MS], dim=1))
        absent_MT = torch.cat([torch.zeros_like(has_MS[:, :1]), ~has_MS], dim=1)
        query_MF, scale = row_MTF[:, 0], self.method.factors**-0.5
        for _ in range(self.method.rounds):
            logit_MT = (row_MTF @ query_MF[:, :, None]).squeeze(2) * scale
            share_MT = logit_MT.masked_fill(absent_MT, -torch.inf).softmax(dim=1)  # Eq. (1)
            query_MF = (share_MT[:, None] @ row_MTF).squeeze(1)  # Eq. (2)
        return query_MF

    def embeddings(self) -> tuple[dict[str, Float32], dict[str, Float32]]:
        """Both parts of every user and item, with all neighbours."""
        from landbridge.models.graph.kernels import attend_all

        arrays = {name: weight.detach().cpu().numpy() for name, weight in self.weights.items()}
        shared_RF = np.empty_like(arrays[SHARED])
        edges = self.edges.offsets, self.edges.columns
        attend_all(len(shared_RF), *edges, arrays[SHARED], self.method.rounds, shared_RF)
        users, items = {}, {}
        for name, first in self._first_item.items():
            events = self.data[name]
            # without events in the domain a user's row there is the random one of the start
            own_UF = arrays[f"user.{name}"] * (events.user_counts > 0)[:, None].astype(np.float32)
            users[name] = np.concatenate([own_UF, shared_RF[: self.data.n_users]], axis=1)
            here = slice(first, first + events.n_items)
            items[name] = np.concatenate([arrays[f"item.{name}"], shared_RF[here]], axis=1)
        return users, items

    def _edges(self, users: list[Tensor], items: list[Tensor]) -> Tensor:
        """The edges of a step's events in both directions, as numbers, (E,)."""
        user_N = torch.cat(users)
        positive_N = torch.cat([m.view(len(n), -1)[:, 0] for n, m in zip(users, items, strict=True)])
        return torch.cat([user_N * len(self.edges) + positive_N, positive_N * len(self.edges) + user_N])

    def _sampled(self, node_M: Tensor) -> tuple[Tensor, Tensor]:
        """S neighbours of each node, (M, S), and which of them there are; the node itself stands for none."""
        offsets_R, columns_N = self._graph
        start_M1 = offsets_R[node_M][:, None]
        degree_M1, size = offsets_R[node_M + 1][:, None] - start_M1, self.method.neighbours
        part_S = torch.arange(size, device=node_M.device)
        chance_M1 = torch.rand(len(node_M), 1, device=node_M.device, dtype=torch.float64)
        drawn_MS = ((part_S + chance_M1) * degree_M1 / size).long().clamp(max=degree_M1 - 1)
        has_MS = part_S < degree_M1
        place_MS = torch.where(degree_M1 > size, drawn_MS, part_S.expand_as(drawn_MS))
        # an entry that is not there reads some other one; the node takes its place
        other_MS = columns_N[(start_M1 + place_MS).clamp(max=len(columns_N) - 1)]
        return torch.where(has_MS, other_MS, node_M[:, None]), has_MS

    def _joined(self, domain: str, index: list[Tensor], user_NF: Tensor, item_MF: Tensor) -> ScoredBatch:
        own_NF, own_NJF = (
            _rows(self.weights[f"{side}.{domain}"], part)
            for side, part in zip(("user", "item"), index, strict=True)
        )
        user_NG = torch.cat([own_NF, user_NF], dim=1)
        item_NJG = torch.cat([own_NJF, item_MF.view_as(own_NJF)], dim=2)
        return ScoredBatch(dots(user_NG, item_NJG), (user_NG, item_NJG.flatten(1)))  # Eq. (3)

    @cached_property
    def _first_item(self) -> dict[str, int]:
        """The node of each domain's first item."""
        return {name: self.data.n_users + here.start for name, here in self.data.item_slices.items()}

    @cached_property
    def _graph(self) -> tuple[Tensor, Tensor]:
        """The union graph on the device of the weights."""
        where = self.weights[SHARED].device
        return (
            torch.tensor(self.edges.offsets, device=where),
            torch.tensor(self.edges.columns, dtype=torch.int64, device=where),
        )


def _rows(table_RF: Tensor, index: Tensor) -> Tensor:
    return torch.nn.functional.embedding(index, table_RF, sparse=True)
