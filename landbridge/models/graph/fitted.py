"""``GraphModel``: embeddings in two parts, one that a domain has for itself and one for all domains.

    s_ui = a_u^d · b_i + g_u · h_i          user_UF[d] = [a^d ; g],   item_IF[d] = [b ; h]             (1)

The own part a_u^d is zero for users without events in d: nothing taught it. A new user is folded in by pairs
of events and negatives, as in :mod:`landbridge.models.pairwise.fitted`: the requested domain's events move
both parts, those of other domains only g, since only h means the same there. Shape letters as in
:mod:`landbridge.models.base`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landbridge.core.types import Arrays, Float32, Record
from landbridge.models.base import StoredState
from landbridge.models.common.dot_product import embeddings_from
from landbridge.models.pairwise.fitted import EmbeddingModel, FoldInSpec


@dataclass(frozen=True, eq=False)
class GraphModel(EmbeddingModel):
    """``own``: the length of the own part, the first columns of every embedding."""

    own: int
    kind: ClassVar[str] = "graph"
    unexplained: ClassVar[str] = "the user's embedding is made of the whole graph"

    def folding_items(self, domain: str, of: str) -> Float32:
        """As in :class:`EmbeddingModel`; of other domains only the shared part."""
        if of == domain:
            return self.item_IF[of]
        shared_IF = self.item_IF[of].copy()
        shared_IF[:, : self.own] = 0
        return shared_IF

    def item_embeddings(self, domain: str, to: str) -> tuple[Float32, Float32]:
        """As in :class:`Fitted`; items of two domains have only the shared part in common."""
        first_IF, second_IF = super().item_embeddings(domain, to)
        skipped = 0 if domain == to else self.own
        return np.ascontiguousarray(first_IF[:, skipped:]), np.ascontiguousarray(second_IF[:, skipped:])

    def state(self) -> tuple[Arrays, Record]:
        """The embeddings, the rule of the fold-in, and the length of the own part."""
        arrays, about = super().state()
        return arrays, {**about, "own": self.own}

    @classmethod
    def from_state(cls, kept: StoredState) -> GraphModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        embeddings = embeddings_from(history, arrays, about)
        return cls(history, method, log, *embeddings, FoldInSpec.from_record(about["rule"]), about["own"])
