"""Embeddings of a user from all domains, combined element by element for each, and towers above them.

Source: GA-MTCDR (Zhu et al., IJCAI 2020 and TKDE 2023). u^k is the user's embedding from domain k, q_i the
item's, S the domains in which the user has events. In domain d

    ũ^d = Σ_{k ∈ S} w^{d,k} ⊙ M^k u^k,   w^{d,·} = softmax_{k ∈ S} a^{d,k}  for every element           (1)
    x^d = T_users^d(ũ^d),   y_i = T_items^d(q_i)                                                       (2)
    r_ui = cos(x^d, y_i)                                                                               (3)

where a tower T is a stack of layers ReLU(W z + b), the last one with a smooth function in place of ReLU,

    f(z) = (z + √(z² + ε)) / 2,   ε = 0.1                                                              (4)

(Barron 2021; ReLU with ε = 0), which is positive: with ReLU all outputs of a tower can become 0 for good, as
a cosine with 0 has no gradient. The attention a^{d,k} is a vector of F numbers for each user ("user"), or one
for all users ("domain"); with "own" all weight is on domain d. Users of one domain have no attention to learn
and no row for it.

``CombinedModel`` is fitted: x and y of unit length make (3) a dot product. Fold-in: the pretrained model,
``base``, folds in a new user's embedding in every domain, and (1) and (2) follow, with the mean attention of
the users of the fit. Functions take tensors or arrays: scoring needs no torch.

Letters: U users, B users of a batch, N events, J items of an event, R rows, D domains, F factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from landbridge.core.rng import generator
from landbridge.core.types import Arrays, Float32, Ragged, Record
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import StoredState
from landbridge.models.common.attention import masked_softmax, presence, presence_in, weighted_sum
from landbridge.models.common.dot_product import NONE, DotProductModel, embeddings_from
from landbridge.models.common.pretraining import base_from, base_state
from landbridge.models.towers.network import EmbeddedBatch, Weights, embed_batch, he_uniform
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_ROWS = 8192  # bounds the memory of the towers when all users or items go through them
SMOOTHING = 0.1  # ε of Eq. (4)
TINY = 1e-12  # added to squared lengths: a tower whose units are all 0 has no direction
ArrayT = TypeVar("ArrayT", "Tensor", Float32)


@dataclass(frozen=True)
class CombinationNetwork:
    """The architecture. ``attention``: "user", "domain" or "own". ``tower``: widths of layers, times F."""

    domains: tuple[str, ...]
    factors: int
    attention: str
    tower: tuple[int, ...]

    def initial(self, history: MultiDomain, seed: int, init_std: float) -> dict[str, Float32]:
        """M the identity, a of deviation ``init_std``, layers uniform in ±√(6 / in) with biases 0."""
        drawn: dict[str, Float32] = {}
        rows = max(int(attention_rows(history).max(initial=-1)) + 1, 1) if self.attention == "user" else 1
        widths = [self.factors, *(self.factors * width for width in self.tower)]
        for domain in self.domains:
            drawn[f"map.{domain}"] = np.eye(self.factors, dtype=np.float32)
            for side in ("users", "items"):
                for level, (inner, outer) in enumerate(pairwise(widths)):
                    name = f"{side}.{domain}.{level}"
                    drawn[f"{name}.weight"] = he_uniform(generator(seed, name), (outer, inner))
                    drawn[f"{name}.bias"] = np.zeros(outer, np.float32)
            if self.attention != "own":
                # a block per domain, drawn by its name, so that the order of the domains makes no difference
                blocks = [
                    generator(seed, "attention", domain, k).standard_normal((rows, self.factors), np.float32)
                    for k in self.domains
                ]
                drawn[f"attention.{domain}"] = np.concatenate(blocks, axis=1) * np.float32(init_std)
        return drawn

    def combined(
        self,
        weights: Mapping[str, ArrayT],
        domain: str,
        rows: Mapping[str, ArrayT],
        present: Mapping[str, ArrayT],
        logits_BX: ArrayT | None,
    ) -> ArrayT:
        """ũ^d of Eq. (1), (B, F). ``present``: 1 or 0, (B, 1). ``logits_BX``: a, in blocks by domain."""
        if logits_BX is None:
            return present[domain] * (rows[domain] @ weights[f"map.{domain}"].T)
        size = self.factors
        scores = [logits_BX[:, n * size : (n + 1) * size] for n in range(len(self.domains))]
        share = masked_softmax(scores, [present[k] for k in self.domains])
        return weighted_sum(share, [rows[k] @ weights[f"map.{k}"].T for k in self.domains])  # Eq. (1)

    def through(self, weights: Mapping[str, ArrayT], side: str, domain: str, rows_RF: ArrayT) -> ArrayT:
        """T of Eq. (2), (R, F); ``side``: "users" or "items"."""
        for level in range(len(self.tower)):
            name = f"{side}.{domain}.{level}"
            # clip: the same line runs on torch and on NumPy
            below_RF = rows_RF.clip(min=0) if level else rows_RF
            rows_RF = below_RF @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        root_RF: ArrayT = (rows_RF * rows_RF + SMOOTHING) ** 0.5
        smooth_RF: ArrayT = (rows_RF + root_RF) / 2  # type: ignore[assignment]  # Eq. (4)
        return smooth_RF

    def combine_batch(self, weights: Weights, domain: str, users: UserInputs, user_B: Tensor) -> Tensor:
        """ũ^d of users in training, (B, F)."""
        rows = {k: embed_batch(weights[f"user.{k}"], user_B) for k in self.domains}
        present = {k: users.present[k][user_B] for k in self.domains}
        logits_BX = weights.get(f"attention.{domain}")
        if self.attention == "user":
            logits_BX = embed_batch(weights[f"attention.{domain}"], users.row_U[user_B])
        return self.combined(weights, domain, rows, present, logits_BX)

    def embed(
        self,
        weights: Weights,
        domain: str,
        users: UserInputs,
        index: tuple[Tensor, Tensor, Tensor],
    ) -> EmbeddedBatch:
        """x and y of Eq. (2) for the users and items of a batch; every distinct one goes through once."""
        user_N, item_NJ, side_NS = index
        user_B, place_N = user_N.unique(return_inverse=True)
        item_R, place_NJ = item_NJ.unique(return_inverse=True)
        x_BF = self.through(weights, "users", domain, self.combine_batch(weights, domain, users, user_B))
        y_RF = self.through(weights, "items", domain, embed_batch(weights[f"item.{domain}"], item_R))
        none = side_NS.new_zeros(len(user_N), 0).to(x_BF.dtype)
        return EmbeddedBatch(x_BF[place_N], y_RF[place_NJ], none[..., None], none)


@dataclass(frozen=True, eq=False)
class UserInputs:
    """``present``: domain -> 1 for users with events there, else 0, (U, 1). ``row_U``: attention's, or -1."""

    present: Mapping[str, Tensor]
    row_U: Tensor

    @classmethod
    def of(cls, history: MultiDomain, where: torch.device | str = "cpu") -> UserInputs:
        """Those of all users of the fit."""
        present = {k: torch.from_numpy(here_U1).to(where) for k, here_U1 in presence(history).items()}
        return cls(present, torch.from_numpy(attention_rows(history)).to(where))


def attention_rows(history: MultiDomain) -> npt.NDArray[np.int64]:
    """The row of each user's attention, (U,); -1 for users of one domain or none."""
    several_U = (history.activity_UD > 0).sum(axis=1) > 1
    return np.where(several_U, np.cumsum(several_U) - 1, -1)


@dataclass(frozen=True, eq=False)
class CombinedModel(DotProductModel):
    """``user_UF`` and ``item_IF`` hold x and y of Eq. (2), of unit length, for every user and item.

    ``weights``: the network's by name, without embeddings.
    """

    base: DotProductModel
    network: CombinationNetwork
    weights: Mapping[str, Float32]
    kind: ClassVar[str] = "combined"
    unexplained: ClassVar[str] = "the user's embeddings of all domains are combined"

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """All domains, unless each has only its own embeddings."""
        joint = self.network.attention != "own"
        own_D = np.array([name == domain or joint for name in self.history.domain_names])
        return np.tile(own_D, (len(counts_BD), 1))

    def shares_user_space(self, domain: str, to: str) -> bool:
        """Only within a domain: every domain has its own towers of users and items."""
        return self.history.named(domain) == to

    def fold_in(
        self, domain: str, events: Mapping[str, Ragged], size: int, disliked: Mapping[str, Ragged] = NONE
    ) -> Float32:
        """Embeddings of ``size`` users given by rows of events per domain, (B, F); all else stays fixed."""
        names = self.history.domain_names
        rows = {name: self.base.fold_in(name, events, size, disliked) for name in names}
        present = presence_in(events, names, size)
        logits_BX = None
        if domain in self._mean_logits:
            logits_BX = np.tile(self._mean_logits[domain], (size, 1))
        return user_vectors(self.network, self.weights, domain, rows, present, logits_BX)

    @cached_property
    def _mean_logits(self) -> dict[str, Float32]:
        """The mean attention of a domain over the users of the fit, (X,)."""
        return {
            name: self.weights[f"attention.{name}"].mean(axis=0)
            for name in self.history.domain_names
            if self.network.attention != "own"
        }

    def state(self) -> tuple[Arrays, Record]:
        """The embeddings, the weights, the architecture, and the pretrained model."""
        arrays, about = self.rows_state()
        own, base = base_state(self.base)
        arrays |= own | {f"network/{name}": array for name, array in self.weights.items()}
        return arrays, {**about, **base, "network": asdict(self.network)}

    @classmethod
    def from_state(cls, kept: StoredState) -> CombinedModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        plan: Record = {k: tuple(v) if isinstance(v, list) else v for k, v in about["network"].items()}
        own = {
            name.removeprefix("network/"): array
            for name, array in arrays.items()
            if name.startswith("network/")
        }
        rows = embeddings_from(history, arrays, about)
        return cls(
            history, method, log, *rows, base_from(history, arrays, about), CombinationNetwork(**plan), own
        )


def all_user_vectors(
    network: CombinationNetwork,
    weights: Mapping[str, Float32],
    domain: str,
    users_UF: Mapping[str, Float32],
    history: MultiDomain,
) -> Float32:
    """x of Eq. (2), of unit length, for all users of the fit, (U, F)."""
    logits_UX = None
    if network.attention != "own":
        table_RX = weights[f"attention.{domain}"]
        row_U = (
            attention_rows(history) if network.attention == "user" else np.zeros(history.n_users, np.int64)
        )
        # row -1, of users of one domain, is any row: the softmax over one domain is 1
        logits_UX = table_RX[row_U]
    return user_vectors(network, weights, domain, users_UF, presence(history), logits_UX)


def user_vectors(
    network: CombinationNetwork,
    weights: Mapping[str, Float32],
    domain: str,
    rows: Mapping[str, Float32],
    present: Mapping[str, Float32],
    logits_BX: Float32 | None,
) -> Float32:
    """x of Eq. (2), of unit length, (B, F)."""
    out_BF = np.empty_like(rows[domain])
    for start in range(0, len(out_BF), BLOCK_ROWS):
        here = slice(start, start + BLOCK_ROWS)
        own, mask = ({name: each[name][here] for name in each} for each in (rows, present))
        logits = None if logits_BX is None else logits_BX[here]
        combined_BF = network.combined(weights, domain, own, mask, logits)
        out_BF[here] = unit_length(network.through(weights, "users", domain, combined_BF))
    return out_BF


def item_vectors(
    network: CombinationNetwork, weights: Mapping[str, Float32], domain: str, item_IF: Float32
) -> Float32:
    """y of Eq. (2), of unit length, (I, F)."""
    out_IF = np.empty_like(item_IF)
    for start in range(0, len(out_IF), BLOCK_ROWS):
        here = slice(start, start + BLOCK_ROWS)
        out_IF[here] = unit_length(network.through(weights, "items", domain, item_IF[here]))
    return out_IF


def unit_length(rows_RF: ArrayT) -> ArrayT:
    """Rows divided by their length; a row of zeros stays one. The last axis is that of a row."""
    square_R = (rows_RF * rows_RF).sum(-1)
    unit_RF: ArrayT = rows_RF / (square_R[..., None] + TINY) ** 0.5
    return unit_RF
