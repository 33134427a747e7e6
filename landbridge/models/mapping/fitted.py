"""``MappedModel``: a user's own embedding in a domain or, without events there, the one mapped from others.

    x_u^d = p_u^d                                                where u has events in d               (1)
    x_u^d = Σ_s n_u^s f_{s→d}(p_u^s) / Σ_s n_u^s                 elsewhere                             (2)

with n_u^s events of u in the domains s from which there is a map to d. Maps, with H hidden units:

    f(p) = M p                                                   "linear"                              (3)
    f(p) = W₂ tanh(W₁ p + b₁) + b₂                               "mlp"                                 (4)

A new user is folded in by the first model in every domain, then as in (1) and (2). Scoring needs no torch.
Shape letters as in :mod:`landbridge.models.base`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Arrays, Float32, Int64, Ragged, Record
from landbridge.data.queries import event_counts
from landbridge.models.base import StoredState
from landbridge.models.common.dot_product import NONE, DotProductModel, embeddings_from
from landbridge.models.common.pretraining import base_from, base_state

Layers = Mapping[str, Float32]
Maps = Mapping[tuple[str, str], Layers]  # (source, target) -> Eq. (3) as "w1", or Eq. (4) as "w1" … "b2"
Rows = Callable[[str, Int64], Float32]  # (domain, which users) -> their p there, (N, F)
BLOCK_ROWS = 8192  # bounds the memory of the hidden layer when all users are mapped


@dataclass(frozen=True, eq=False)
class MappedModel(DotProductModel):
    """``user_UF`` holds x of every user. ``base``: the model of each domain by itself."""

    base: DotProductModel
    maps: Maps
    kind: ClassVar[str] = "mapped"
    unexplained: ClassVar[str] = "a map takes the embedding of a user without events in the domain"

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The domain itself for users with events there, for others the domains that are mapped to it."""
        names = self.history.domain_names
        own_D = np.array([name == domain for name in names])
        mapped_D = np.array([(name, domain) in self.maps for name in names])
        return np.where((counts_BD @ own_D > 0)[:, None], own_D, mapped_D)

    def fold_in(
        self, domain: str, events: Mapping[str, Ragged], size: int, disliked: Mapping[str, Ragged] = NONE
    ) -> Float32:
        """Embeddings of new users from ``size`` rows of events per domain, (B, F)."""
        counts_BD = event_counts(events, self.history.domain_names, size)

        def rows(name: str, chosen_B: Int64) -> Float32:
            own, marked = ({d: r.take(chosen_B) for d, r in each.items()} for each in (events, disliked))
            return self.base.fold_in(name, own, len(chosen_B), marked)

        return self.embeddings(domain, counts_BD, rows)

    def embeddings(self, domain: str, counts_BD: Int64, rows: Rows) -> Float32:
        """Eqs. (1) and (2) for users with so many events, (B, F); ``rows``: their p in a domain."""
        out_BF = np.zeros((len(counts_BD), self.item_IF[domain].shape[1]), np.float32)
        part_BD = self.parties(domain, counts_BD)
        share_BD = np.where(part_BD, counts_BD, 0) / np.maximum((part_BD * counts_BD).sum(axis=1), 1)[:, None]
        for column, name in enumerate(self.history.domain_names):
            chosen_B = np.flatnonzero(share_BD[:, column])
            if not len(chosen_B):
                continue
            row_NF = rows(name, chosen_B)
            mapped_NF = row_NF if name == domain else apply(self.maps[name, domain], row_NF)
            out_BF[chosen_B] += share_BD[chosen_B, column, None].astype(np.float32) * mapped_NF
        return out_BF

    def state(self) -> tuple[Arrays, Record]:
        """The embeddings, the maps, and the first model."""
        arrays, about = self.rows_state()
        own, base = base_state(self.base)
        names = self.history.domain_names
        for (source, target), layers in self.maps.items():
            # by number: a domain's name may hold any sign
            place = f"map:{names.index(source)}:{names.index(target)}:"
            arrays |= {place + name: array for name, array in layers.items()}
        return {**arrays, **own}, {**about, **base}

    @classmethod
    def from_state(cls, kept: StoredState) -> MappedModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        names = history.domain_names
        maps: dict[tuple[str, str], dict[str, Float32]] = {}
        for label in [label for label in arrays if label.startswith("map:")]:
            _, source, target, name = label.split(":")
            maps.setdefault((names[int(source)], names[int(target)]), {})[name] = arrays[label]
        base = base_from(history, arrays, about)
        return cls(history, method, log, *embeddings_from(history, arrays, about), base, maps)


def apply(layers: Layers, rows_BF: Float32) -> Float32:
    """Eq. (3) or (4), (B, F)."""
    out_BF = np.empty((len(rows_BF), len(layers.get("w2", layers["w1"]))), np.float32)
    for start in range(0, len(rows_BF), BLOCK_ROWS):
        here = slice(start, start + BLOCK_ROWS)
        first_BH = rows_BF[here] @ layers["w1"].T
        if "w2" in layers:
            out_BF[here] = np.tanh(first_BH + layers["b1"]) @ layers["w2"].T + layers["b2"]  # Eq. (4)
        else:
            out_BF[here] = first_BH  # Eq. (3)
    return out_BF
