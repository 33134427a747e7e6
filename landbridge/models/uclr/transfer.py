"""ART: a user's embedding in a target domain with what is known of them from other domains.

Source: CAT-ART (Li et al., WSDM 2023). p_u^k is the embedding of user u learned in domain k alone, c_u their
code (:mod:`landbridge.models.uclr.concatenated`), S_u the other domains in which u has events. In domain d

    a_u^s = A^s p_u^s + b^s                                                                            (1)
    w_u^s = softmax_{s ∈ S_u} ((Q p_u^d)·(K a_u^s) / √F)                                               (2)
    x_u = p_u^d + V Σ_{s ∈ S_u} w_u^s a_u^s + C c_u + b                                                (3)
    r_ui = x_u · q_i

The second term of (3) is the domain-specific transfer, "d_sp", the last two are the domain-invariant one,
"d_in". Pooling "mean" has equal weights in place of (2). Where u has no events in d, p_u^d is 0. At the
start V = C = b = 0: x_u = p_u^d, the single-domain model.

``TransferModel`` is fitted. Fold-in: the pretrained model, ``base``, folds in a new user's embedding in every
domain by itself, and Eqs. (1) to (3) follow. Scoring needs no torch.

Letters: U users, B users of a batch, I items, F factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from landbridge.core.rng import generator
from landbridge.core.types import Arrays, Float32, Ragged, Record
from landbridge.models.base import StoredState
from landbridge.models.common.attention import masked_softmax, presence_in, weighted_sum
from landbridge.models.common.dot_product import NONE, DotProductModel, embeddings_from
from landbridge.models.common.pretraining import base_from, base_state
from landbridge.models.uclr.concatenated import ConcatenationEncoder

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_ROWS = 8192  # bounds the memory of the hidden layers when all users are encoded

ArrayT = TypeVar("ArrayT", "Tensor", Float32)
Weights = Mapping[str, Float32]


@dataclass(frozen=True)
class Transfer:
    """What Eq. (3) adds: ``parts`` "d_in", "d_sp", "both" or "none"; ``pooling`` "attention" or "mean"."""

    parts: str
    pooling: str

    @property
    def specific(self) -> bool:
        """Whether embeddings of other domains are added."""
        return self.parts in ("d_sp", "both")

    @property
    def invariant(self) -> bool:
        """Whether the code is added."""
        return self.parts in ("d_in", "both")

    def initial(self, factors: int, sources: tuple[str, ...], seed: int, target: str) -> dict[str, Float32]:
        """The weights of a target before the first step: V, C and b are 0, others uniform in ±1/√F."""
        square, drawn = (factors, factors), list[str]()
        weights: dict[str, Float32] = {}
        if self.specific and sources:
            drawn = [f"adapter.{s}" for s in sources]
            drawn += ["query", "key"] if self.pooling == "attention" else []
            weights |= {f"adapter_bias.{s}": np.zeros(factors, np.float32) for s in sources}
            weights["value"] = np.zeros(square, np.float32)
        if self.invariant:
            weights |= {"code": np.zeros(square, np.float32), "code_bias": np.zeros(factors, np.float32)}
        bound = factors**-0.5
        for name in drawn:
            rng = generator(seed, "art", target, name)
            weights[name] = rng.uniform(-bound, bound, square).astype(np.float32)
        return weights

    def combined(
        self,
        weights: Mapping[str, ArrayT],
        target_BF: ArrayT,
        sources: Mapping[str, ArrayT],
        present: Mapping[str, ArrayT],
        code_BF: ArrayT | None,
    ) -> ArrayT:
        """x of Eq. (3), (B, F); takes tensors or arrays. ``target_BF`` is 0 where there are no events."""
        x_BF = target_BF
        if self.specific and sources:
            attended_BF = self._attended(weights, target_BF, sources, present)
            x_BF = x_BF + attended_BF @ weights["value"].T  # Eq. (3)
        if self.invariant and code_BF is not None:
            x_BF = x_BF + code_BF @ weights["code"].T + weights["code_bias"]  # Eq. (3)
        return x_BF

    def _attended(
        self,
        weights: Mapping[str, ArrayT],
        target_BF: ArrayT,
        sources: Mapping[str, ArrayT],
        present: Mapping[str, ArrayT],
    ) -> ArrayT:
        """Σ w a of Eqs. (1) and (2), (B, F)."""
        adapted = [
            row_BF @ weights[f"adapter.{s}"].T + weights[f"adapter_bias.{s}"] for s, row_BF in sources.items()
        ]  # Eq. (1)
        scores = [0 * present[s] for s in sources]
        if self.pooling == "attention":
            query_BF = target_BF @ weights["query"].T * target_BF.shape[1] ** -0.5
            products = [query_BF * (a_BF @ weights["key"].T) for a_BF in adapted]
            scores = [product_BF.sum(axis=1)[:, None] for product_BF in products]
        share = masked_softmax(scores, [present[s] for s in sources])  # Eq. (2)
        return weighted_sum(share, adapted)


@dataclass(frozen=True, eq=False)
class TransferModel(DotProductModel):
    """``user_UF`` holds x of Eq. (3) for every user and domain, so a known user costs a look-up.

    ``encoder``: the weights of CAT, empty without it. ``heads``: domain -> the weights of Eqs. (1) to (3),
    empty where the pretrained embeddings are used unchanged.
    """

    base: DotProductModel
    transfer: Transfer
    encoder: Weights
    heads: Mapping[str, Weights]
    kind: ClassVar[str] = "transferred"
    unexplained: ClassVar[str] = "the user's embeddings of all domains are combined"

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """All domains where there is a transfer, else the requested one."""
        own_D = np.array([name == domain or bool(self.heads[domain]) for name in self.history.domain_names])
        return np.tile(own_D, (len(counts_BD), 1))

    def shares_user_space(self, domain: str, to: str) -> bool:
        """Only within a domain: every domain has its own embeddings of users and items."""
        return self.history.named(domain) == to

    def fold_in(
        self, domain: str, events: Mapping[str, Ragged], size: int, disliked: Mapping[str, Ragged] = NONE
    ) -> Float32:
        """Embeddings of ``size`` users given by rows of events per domain, (B, F); all else stays fixed."""
        names = self.history.domain_names
        rows = {name: self.base.fold_in(name, events, size, disliked) for name in names}
        present = presence_in(events, names, size)
        return transferred(self.transfer, self.encoder, self.heads[domain], domain, rows, present)

    def state(self) -> tuple[Arrays, Record]:
        """The embeddings, the weights, and the pretrained model."""
        arrays, about = self.rows_state()
        own, base = base_state(self.base)
        arrays |= own
        arrays |= {f"cat/{name}": array for name, array in self.encoder.items()}
        # by number: a domain's name may hold any character
        for number, domain in enumerate(self.history.domain_names):
            arrays |= {f"art/{number}/{name}": array for name, array in self.heads[domain].items()}
        how = {"parts": self.transfer.parts, "pooling": self.transfer.pooling}
        return arrays, {**about, **base, "transfer": how}

    @classmethod
    def from_state(cls, kept: StoredState) -> TransferModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        heads = {
            domain: dict(_below(arrays, f"art/{number}/"))
            for number, domain in enumerate(history.domain_names)
        }
        return cls(
            history,
            method,
            log,
            *embeddings_from(history, arrays, about),
            base_from(history, arrays, about),
            Transfer(**about["transfer"]),
            dict(_below(arrays, "cat/")),
            heads,
        )


def transferred(
    transfer: Transfer,
    encoder: Weights,
    head: Weights,
    domain: str,
    rows: Mapping[str, Float32],
    present: Mapping[str, Float32],
) -> Float32:
    """x of Eq. (3) from every domain's embeddings, (B, F); those of ``domain`` where there is no head."""
    if not head:
        return rows[domain]
    out_BF = np.empty_like(rows[domain])
    for start in range(0, len(out_BF), BLOCK_ROWS):
        here = slice(start, start + BLOCK_ROWS)
        own = {name: row_UF[here] for name, row_UF in rows.items()}
        mask = {name: here_U1[here] for name, here_U1 in present.items()}
        code_BF = encoded(encoder, own, mask) if transfer.invariant else None
        sources = {name: row_BF for name, row_BF in own.items() if name != domain}
        target_BF = own[domain] * mask[domain]
        out_BF[here] = transfer.combined(head, target_BF, sources, mask, code_BF)
    return out_BF


def encoded(encoder: Weights, rows: Mapping[str, Float32], present: Mapping[str, Float32]) -> Float32:
    """The codes c of users, (B, F)."""
    factors = next(iter(rows.values())).shape[1]
    return ConcatenationEncoder(tuple(rows), factors).encode(encoder, rows, present)


def _below(arrays: Mapping[str, Float32], prefix: str) -> Iterator[tuple[str, Float32]]:
    for name, array in arrays.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), array
