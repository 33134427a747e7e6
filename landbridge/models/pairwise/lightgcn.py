"""LightGCN: pairwise ranking on embeddings that are propagated over the graph of users and items.

He et al. (SIGIR 2020). With A the symmetric adjacency matrix of users and items and D its degrees,

    X' = 1/(K+1) Σ_{k=0…K} (D^(-½) A D^(-½))ᵏ X                                                        (1)
    min Σ_{(u,i,j)} -ln σ(x'_u·x'_i - x'_u·x'_j) + λ/2 (‖x_u‖² + ‖x_i‖² + ‖x_j‖²)                      (2)

by gradient steps on batches of pairs (:mod:`landbridge.models.pairwise.table`); with K = 0 this is BPRMF.
``sharing="separate"`` uses one graph per domain; ``"joined"`` uses the union graph, in which users connect
the catalogues. The weight of an event counts in the loss of its pairs, not as the weight of its edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from landbridge.core.settings import setting
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.models.cost import Cost
from landbridge.models.pairwise.fitted import EmbeddingModel
from landbridge.models.pairwise.method import PairwiseMethod
from landbridge.models.search_space import Choice, Real, Space, Whole
from landbridge.training.options import FitOptions


@dataclass(frozen=True)
class LightGCN(PairwiseMethod):
    """BPRMF on embeddings that are averaged over ``layers`` steps in the graph of events."""

    reg: float = 1e-4
    batch_size: int = 8192
    init_std: float = 0.1
    layers: int = setting(3, "Steps of propagation; 0: BPRMF.", low=0, symbol="K")
    pretrains: ClassVar[bool] = True
    name: ClassVar[str] = "lightgcn"
    paper: ClassVar[str] = "He et al., SIGIR 2020"
    folds_in: ClassVar[str] = "steps"
    space: ClassVar[Space] = MappingProxyType(
        {
            "layers": Whole(1, 4),
            "lr": Real(3e-4, 3e-2, log=True),
            "reg": Real(1e-6, 1e-1, log=True),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    def cost(self, counts: Counts) -> Cost:
        """As in :class:`Method`."""
        return self.cost_with(counts, self.layers)

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> EmbeddingModel:
        """Train for ``epochs`` passes over all events, propagating at every step."""
        return self.learn(train, options or FitOptions(), self.layers)
