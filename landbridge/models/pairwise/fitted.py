"""``EmbeddingModel``: embeddings trained by gradient steps, and the fold-in of new users.

The embedding of a new user starts at zero. It takes ``passes`` steps per event by Eq. (2) of
:mod:`landbridge.models.pairwise.table`, at fixed items and with the optimiser of the fit. The event and the
negative of a step depend on the step's number alone, so equal events give equal embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from landbridge.core.threads import thread_limit
from landbridge.core.types import AnyArray, Arrays, Float32, Ragged, Record, Values
from landbridge.data.interactions import Interactions
from landbridge.data.sampling.pairwise import Pairwise
from landbridge.models.base import StoredState
from landbridge.models.common.dot_product import NONE, DotProductModel, embeddings_from
from landbridge.models.common.sharing import tables_of
from landbridge.training.optimizers import KINDS, Optimizer


@dataclass(frozen=True)
class FoldInSpec:
    """How events become a user embedding: by steps on pairs, in the requested domain or in all."""

    sharing: str
    negatives: str
    reg: float
    passes: int
    optimizer: Optimizer
    reg_power: int = 2  # also that of runs of before it could be chosen

    @classmethod
    def from_record(cls, record: Values) -> FoldInSpec:
        """The inverse of ``asdict``."""
        return cls(**{**record, "optimizer": Optimizer(**record["optimizer"])})


@dataclass(frozen=True, eq=False)
class EmbeddingModel(DotProductModel):
    """Embeddings trained on pairs; see :class:`~landbridge.models.common.dot_product.DotProductModel`."""

    rule: FoldInSpec
    kind: ClassVar[str] = "vectors"
    unexplained: ClassVar[str] = "the user's embedding was learned by gradient steps"

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The requested domain or, in a joined model, all domains."""
        own_D = np.array(
            [name == domain or self.rule.sharing == "joined" for name in self.history.domain_names]
        )
        return np.tile(own_D, (len(counts_BD), 1))

    def fold_in(
        self, domain: str, events: Mapping[str, Ragged], size: int, disliked: Mapping[str, Ragged] = NONE
    ) -> Float32:
        """Embeddings of new users from ``size`` rows of events per domain, (B, F), at fixed items."""
        from landbridge.models.pairwise.kernels import fold_rows

        table, slices = next(
            (table, slices)
            for table, slices in tables_of(self.history, self.rule.sharing).values()
            if domain in slices
        )
        source = Pairwise(table, slices, self.rule.negatives)
        queries = joined_events(events, slices, size, table.n_items)
        rows_BF = np.zeros((size, self.item_IF[domain].shape[1]), np.float32)
        with thread_limit(1):
            fold_rows(
                size,
                np.concatenate([self.folding_items(domain, name) for name in slices]),
                *_kernel_rows(queries.by_user),
                source.ranges,
                self.rule.passes,
                self.rule.reg,
                self.rule.reg_power,
                KINDS[self.rule.optimizer.kind],
                self.rule.optimizer.constants,
                rows_BF,
            )
        return rows_BF

    def folding_items(self, domain: str, of: str) -> Float32:
        """The embeddings of the items of ``of`` that a new user of ``domain`` is folded in at, (I, F)."""
        return self.item_IF[of]

    def state(self) -> tuple[Arrays, Record]:
        """The embeddings, and the rule of the fold-in."""
        arrays, about = self.rows_state()
        return arrays, {**about, "rule": asdict(self.rule)}

    @classmethod
    def from_state(cls, kept: StoredState) -> EmbeddingModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        embeddings = embeddings_from(history, arrays, about)
        return cls(history, method, log, *embeddings, FoldInSpec.from_record(about["rule"]))


def joined_events(
    events: Mapping[str, Ragged], slices: Mapping[str, slice], size: int, n_items: int
) -> Interactions:
    """The queries' events in the domains of one table, over its items."""
    users, items, weights = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for name, part in slices.items():
        if name in events:
            rows = events[name]
            users.append(rows.entry_rows)
            items.append(rows.columns.astype(np.int64) + part.start)
            weights.append(rows.weights)
    return Interactions.from_events(
        np.concatenate(users), np.concatenate(items), size, n_items, np.concatenate(weights)
    )


def _kernel_rows(rows: Ragged) -> tuple[AnyArray, ...]:
    return rows.offsets, rows.columns, np.empty(0, np.float32) if rows.weight is None else rows.weight
