"""BPRMF: matrix factorisation with a pairwise ranking loss, each domain alone or all as one table.

Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR" (UAI 2009): for a user u, an item i of their
events and a sampled item j without an event,

    min Σ_{(u,i,j)} -ln σ(x_u·y_i - x_u·y_j) + λ/2 (‖x_u‖² + ‖y_i‖² + ‖y_j‖²)                          (1)

by gradient steps on batches of pairs (:mod:`landbridge.models.pairwise.table`). ``sharing="separate"`` trains
every domain by itself; ``"joined"`` trains the table [R_1 | … | R_D], so that a user has one embedding for
all domains.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.models.cost import Cost
from landbridge.models.pairwise.fitted import EmbeddingModel
from landbridge.models.pairwise.method import PairwiseMethod
from landbridge.models.search_space import Choice, Real, Space
from landbridge.training.options import FitOptions


@dataclass(frozen=True)
class BPRMF(PairwiseMethod):
    """Matrix factorisation whose settings are those of every pairwise method."""

    pretrains: ClassVar[bool] = True
    name: ClassVar[str] = "bprmf"
    paper: ClassVar[str] = "Rendle et al., UAI 2009"
    folds_in: ClassVar[str] = "steps"
    space: ClassVar[Space] = MappingProxyType(
        {
            "lr": Real(1e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def cost(self, counts: Counts) -> Cost:
        """As in :class:`Method`."""
        return self.cost_with(counts, 0)

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> EmbeddingModel:
        """Train for ``epochs`` passes over all events."""
        return self.learn(train, options or FitOptions(), layers=0)
