"""Variational encoders of a bipartite graph: a normal distribution for every user or item; imports torch.

A table of events with the rows of its matrix divided by their sum is A (from items to users), and its
transpose, divided likewise, B. Rows x of users pass through a layer by way of the items, and those of items
by way of the users, with A and B exchanged: with φ = LeakyReLU of slope .1 and ψ = softplus

    h(x) = φ(A φ(B x W + b) V + c)                                                                     (1)
    x_k = ReLU([h(x_{k-1}) ; x_{k-1}] U + e)                         layers k = 1 … K - 1              (2)
    μ = [h_μ(x_{K-1}) ; x_{K-1}] U_μ + e_μ,   ρ likewise             the last layer                    (3)
    σ = .1 + .9 ψ(ρ)                                                                                   (4)

where h_μ and h_ρ of the last layer have W and b in common. The divergence of two such distributions is

    KL(q ‖ p) = Σ_f [ ln(σ_p / σ_q) + (σ_q² + (μ_q - μ_p)²) / (2 σ_p²) - ½ ]                           (5)

Shape letters: R rows of users or of items, F factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import dropout, leaky_relu, softplus

from landbridge.core.rng import generator
from landbridge.core.types import Float32, Int64
from landbridge.data.interactions import Interactions
from landbridge.models.graph.products import SparseMatrix

SLOPE = 0.1  # of LeakyReLU
LEAST = 0.1  # of a deviation


class Sides(NamedTuple):
    """A table of events as seen from its users or its items: ``there`` makes rows of the other side of one's
    own, B of Eq. (1), ``back`` brings them back, A."""

    there: SparseMatrix
    back: SparseMatrix


class Normal(NamedTuple):
    """Independent normal distributions, (R, F) each."""

    mean_RF: Tensor
    deviation_RF: Tensor

    @classmethod
    def of(cls, mean_RF: Tensor, raw_RF: Tensor) -> Normal:
        """From μ and ρ, Eq. (4)."""
        return cls(mean_RF, LEAST + (1 - LEAST) * softplus(raw_RF))

    def sample(self) -> Tensor:
        """A draw of each, through which gradients pass to μ and σ."""
        return self.mean_RF + self.deviation_RF * torch.randn_like(self.mean_RF)

    def rows(self, index: Tensor) -> Normal:
        """Those of some rows."""
        return Normal(self.mean_RF[index], self.deviation_RF[index])


def divergence(q: Normal, p: Normal | None = None) -> Tensor:
    """Eq. (5) of every row, (R,); ``p``: of mean 0 and deviation 1 if not given."""
    mean_RF, deviation_RF = p or (torch.zeros_like(q.mean_RF), torch.ones_like(q.mean_RF))
    ratio_RF, gap_RF = q.deviation_RF / deviation_RF, (q.mean_RF - mean_RF) / deviation_RF
    return (ratio_RF.square() / 2 + gap_RF.square() / 2 - 0.5 - ratio_RF.log()).sum(dim=1)  # Eq. (5)


def sides_of(events: Interactions, user_P: Int64, where: torch.device | str) -> dict[str, Sides]:
    """A table as seen from its users ("user") and items ("item"). ``user_P``: the users with events."""
    row_N = np.searchsorted(user_P, events.user_idx)
    shape = len(user_P), events.n_items
    of_user_N, of_item_N = (
        (1 / counts[index_N]).astype(np.float32)
        for counts, index_N in ((events.user_counts, events.user_idx), (events.item_counts, events.item_idx))
    )
    a = SparseMatrix(csr_array((of_user_N, (row_N, events.item_idx)), shape), where)
    b = SparseMatrix(csr_array((of_item_N, (events.item_idx, row_N)), shape[::-1]), where)
    return {"user": Sides(there=b, back=a), "item": Sides(there=a, back=b)}


@dataclass(frozen=True)
class Encoder:
    """An encoder of Eqs. (1) to (3). ``label``: the beginning of its weights' names. ``layers``: K."""

    label: str
    layers: int
    factors: int
    dropout: float

    def initial(self, seed: int) -> dict[str, Float32]:
        """Matrices (out, in) uniform in ±1/√in, biases 0."""
        drawn: dict[str, Float32] = {}
        for name in self._names():
            inner = 2 * self.factors if ".join" in name else self.factors
            rng, bound = generator(seed, name), inner**-0.5
            drawn[f"{name}.weight"] = rng.uniform(-bound, bound, (self.factors, inner)).astype(np.float32)
            drawn[f"{name}.bias"] = np.zeros(self.factors, np.float32)
        return drawn

    def _names(self) -> Iterator[str]:
        for level in range(self.layers):
            yield f"{self.label}.{level}.there"
            for part in (".mean", ".scale") if level == self.layers - 1 else ("",):
                yield f"{self.label}.{level}.back{part}"
                yield f"{self.label}.{level}.join{part}"

    def hidden(self, weights: Mapping[str, Tensor], sides: Sides, level: int, rows_RF: Tensor) -> Tensor:
        """Eq. (2) of the layer ``level``, from 0, (R, F)."""
        rows_RF = self._dropped(rows_RF)
        return self._joined(
            weights, sides, level, "", rows_RF, self._there(weights, sides, level, rows_RF)
        ).relu()

    def last(self, weights: Mapping[str, Tensor], sides: Sides, rows_RF: Tensor) -> tuple[Tensor, Tensor]:
        """μ and ρ of Eq. (3), (R, F) each."""
        rows_RF, level = self._dropped(rows_RF), self.layers - 1
        there = self._there(weights, sides, level, rows_RF)
        mean_RF, raw_RF = (
            self._joined(weights, sides, level, part, rows_RF, there) for part in (".mean", ".scale")
        )
        return mean_RF, raw_RF

    def through(self, weights: Mapping[str, Tensor], sides: Sides, rows_RF: Tensor) -> Normal:
        """All layers, Eqs. (1) to (4)."""
        for level in range(self.layers - 1):
            rows_RF = self.hidden(weights, sides, level, rows_RF)
        return Normal.of(*self.last(weights, sides, rows_RF))

    def _there(self, weights: Mapping[str, Tensor], sides: Sides, level: int, rows_RF: Tensor) -> Tensor:
        """The inner half of Eq. (1), rows of the other side."""
        near_RF = rows_RF @ weights[f"{self.label}.{level}.there.weight"].T
        return leaky_relu(sides.there @ near_RF + weights[f"{self.label}.{level}.there.bias"], SLOPE)

    def _joined(
        self,
        weights: Mapping[str, Tensor],
        sides: Sides,
        level: int,
        part: str,
        rows_RF: Tensor,
        there: Tensor,
    ) -> Tensor:
        """The outer half of Eq. (1), beside x and through U."""
        back, join = (f"{self.label}.{level}.{step}{part}" for step in ("back", "join"))
        far_RF = leaky_relu(
            sides.back @ (there @ weights[f"{back}.weight"].T) + weights[f"{back}.bias"], SLOPE
        )  # Eq. (1)
        return torch.cat([far_RF, rows_RF], dim=1) @ weights[f"{join}.weight"].T + weights[f"{join}.bias"]

    def _dropped(self, rows_RF: Tensor) -> Tensor:
        return dropout(rows_RF, self.dropout) if self.dropout else rows_RF
